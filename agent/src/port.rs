//! Whether the NFS server can be reached at all: a TCP connection to port 2049.
//!
//! mount(2) tells a security group, a closed port and a missing route apart only after minutes, if at all.

use crate::trouble::Trouble;
use std::{
    io::ErrorKind,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};
use tokio::net::TcpStream;

/// NFS's port, and the only one of EFS's mount targets.
pub const NFS_PORT: u16 = 2049;
/// A packet to a mount target takes milliseconds; this leaves room for two that were lost (TCP tries again after 1 s and 3 s).
pub const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// Why the port can't be reached.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// Nothing came back.
    #[error(
        "port {NFS_PORT} of {0} does not answer within {wait}: a security group or a network ACL, most likely",
        wait = humantime::format_duration(CONNECT_WITHIN)
    )]
    Silent(IpAddr),
    /// The machine is there, and nothing listens.
    #[error("port {NFS_PORT} of {0} refuses the connection: nothing listens there")]
    Refused(IpAddr),
    /// Anything else that the kernel says.
    #[error("port {NFS_PORT} of {0} can't be reached: {1}")]
    Unreachable(IpAddr, std::io::Error),
}

impl PortError {
    /// The stable word for it.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Silent(_) => "port-timeout",
            Self::Refused(_) => "port-refused",
            Self::Unreachable(..) => "no-route",
        }
    }

    /// What to do next.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Silent(_) => {
                "Let this instance's security group out to TCP 2049, and the mount target's security group let it in"
            }
            Self::Refused(_) => "Look whether the NFS server runs, and whether the address is the right one",
            Self::Unreachable(..) => "Look at the instance's network and routes",
        }
    }
}

impl From<PortError> for Trouble {
    fn from(error: PortError) -> Self {
        Self::coded(error.code(), error.to_string()).help(error.help())
    }
}

/// Connects and hangs up. Gives the time it took.
///
/// # Errors
/// [`PortError`]
pub async fn reach(address: IpAddr) -> Result<Duration, PortError> {
    connect(SocketAddr::new(address, NFS_PORT)).await
}

async fn connect(to: SocketAddr) -> Result<Duration, PortError> {
    let (begun, address) = (Instant::now(), to.ip());
    match tokio::time::timeout(CONNECT_WITHIN, TcpStream::connect(to)).await {
        Ok(Ok(_)) => Ok(begun.elapsed()),
        Err(_) => Err(PortError::Silent(address)),
        Ok(Err(error)) => Err(match error.kind() {
            ErrorKind::TimedOut => PortError::Silent(address),
            ErrorKind::ConnectionRefused => PortError::Refused(address),
            _ => PortError::Unreachable(address, error),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_closed_port_is_told() {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let here = listener.local_addr().unwrap();
        connect(here).await.unwrap();
        drop(listener);
        let refused = connect(here).await.unwrap_err();
        assert_eq!(refused.code(), "port-refused", "{refused}");
    }
}
