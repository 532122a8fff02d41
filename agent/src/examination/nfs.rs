//! An NFS server from outside of the mount: its port, and the one call that does nothing.

use crate::doctor::Reached;
use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Connects, and makes the call; each within `deadline`.
pub(super) async fn reach(address: SocketAddr, deadline: Duration) -> Reached {
    let begun = Instant::now();
    let mut stream = match timeout(deadline, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Reached::Refused(error.to_string()),
        Err(_) => return Reached::TimedOut(deadline),
    };
    let connected = begun.elapsed();
    let begun = Instant::now();
    match timeout(deadline, null(&mut stream, fastrand::u32(..))).await {
        Ok(Ok(())) => Reached::Answered { connected, answered: begun.elapsed() },
        Ok(Err(error)) => Reached::Silent { connected, why: error.to_string() },
        Err(_) => Reached::Silent { connected, why: super::no_answer(deadline) },
    }
}

async fn null(stream: &mut TcpStream, number: u32) -> io::Result<()> {
    stream.write_all(&call(number)).await?;
    let mut answer = [0; 16];
    stream.read_exact(&mut answer).await?;
    if is_reply(&answer, number) {
        Ok(())
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidData, "it answers something that is no RPC reply"))
    }
}

/// Procedure NULL of NFS version 4 (RFC 8881, section 16.1), as one record (RFC 5531, sections 9 and 11).
fn call(number: u32) -> Vec<u8> {
    const LAST_FRAGMENT: u32 = 0x8000_0000;
    const BYTES: u32 = 40;
    // Call, RPC version 2, NFS, version 4, NULL; no credentials, no verifier.
    let words = [LAST_FRAGMENT | BYTES, number, 0, 2, 100_003, 4, 0, 0, 0, 0, 0];
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// The record's mark, the call's number, `REPLY`, accepted or denied: that there is an answer is what counts.
fn is_reply(answer: &[u8; 16], number: u32) -> bool {
    answer[4..8] == number.to_be_bytes() && answer[8..12] == 1_u32.to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_call_is_one_record_of_ten_words() {
        let call = call(7);
        assert_eq!(call.len(), 44);
        assert_eq!(call[..8], [0x80, 0, 0, 40, 0, 0, 0, 7]);
        assert_eq!(call[16..24], [0, 1, 0x86, 0xa3, 0, 0, 0, 4]);
    }

    #[test]
    fn only_a_reply_to_the_call_counts() {
        let mut answer = [0x80, 0, 0, 24, 0, 0, 0, 7, 0, 0, 0, 1, 0, 0, 0, 0];
        assert!(is_reply(&answer, 7));
        assert!(!is_reply(&answer, 8));
        answer[11] = 0;
        assert!(!is_reply(&answer, 7));
    }
}
