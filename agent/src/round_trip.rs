//! One round trip on the share, from inside a share worker: a file of its own is written, read, locked and removed.
//!
//! O_DIRECT, so that each step goes to the server and nothing waits in the page cache: a direct call that waits can be killed,
//! one that waits for written pages can't. The server is asked for a sign of life first, so that a silent one is met before
//! there is a file that would be left behind.

use crate::{
    leader::lock_whole,
    share::{AGENT_DIRECTORY, Directory, ShareError},
};
use rustix::fs::{AtFlags, OFlags};
use serde::{Deserialize, Serialize};
use std::{
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

/// What is written: one block, which direct I/O takes everywhere.
const BLOCK_BYTES: usize = 4096;

/// How it went. Times in milliseconds, of the calls alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RoundTrip {
    /// statfs(2): the smallest thing that asks the server.
    pub answer_ms: f64,
    /// Making the file and writing a block.
    pub write_ms: f64,
    /// Reading it from the server.
    pub read_ms: f64,
    /// Removing it.
    pub delete_ms: f64,
    /// Why the server gave no lock on it; `None`: it gave one.
    pub lock_refused: Option<String>,
}

/// Why it didn't come back. The file is removed, unless that is what failed.
#[derive(Debug, thiserror::Error)]
pub enum RoundTripError {
    /// A call on the share.
    #[error(transparent)]
    Share(#[from] ShareError),
    /// Writing, reading or removing failed.
    #[error("{call} a file in `{}/{AGENT_DIRECTORY}` failed: {errno}", crate::mount::VOLUMES_ROOT)]
    Failed {
        /// What was tried.
        call: &'static str,
        /// The error.
        errno: rustix::io::Errno,
    },
    /// The server gave back something else.
    #[error("what was read is not what was written ({read} of {BLOCK_BYTES} bytes came back)")]
    Differs {
        /// How many bytes were read.
        read: usize,
    },
}

/// Makes the round trip. `None`: the agent's directory is not on the share yet, and is not made here.
///
/// # Errors
/// [`RoundTripError`]
pub fn make() -> Result<Option<RoundTrip>, RoundTripError> {
    let begun = Instant::now();
    let root = Directory::root()?;
    let answer = begun.elapsed();
    let Some(directory) = root.open(AGENT_DIRECTORY)? else { return Ok(None) };
    let name = format!(".doctor.{:016x}", fastrand::u64(..));
    let begun = Instant::now();
    let file = directory.file(&name, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::DIRECT)?;
    let tried = write_and_read(&file, begun);
    let begun = Instant::now();
    let removed = rustix::fs::unlinkat(directory.as_fd(), &name, AtFlags::empty());
    let delete = begun.elapsed();
    let (write, read, lock_refused) = tried?;
    removed.map_err(|errno| RoundTripError::Failed { call: "removing", errno })?;
    Ok(Some(RoundTrip {
        answer_ms: milliseconds(answer),
        write_ms: milliseconds(write),
        read_ms: milliseconds(read),
        delete_ms: milliseconds(delete),
        lock_refused,
    }))
}

fn write_and_read(
    file: &OwnedFd,
    begun: Instant,
) -> Result<(Duration, Duration, Option<String>), RoundTripError> {
    let failed = |call: &'static str| move |errno| RoundTripError::Failed { call, errno };
    let mut block = vec![0; BLOCK_BYTES];
    fastrand::fill(&mut block);
    let written = rustix::io::pwrite(file, &block, 0).map_err(failed("writing"))?;
    if written != BLOCK_BYTES {
        return Err(failed("writing")(rustix::io::Errno::NOSPC));
    }
    let write = begun.elapsed();
    let begun = Instant::now();
    let mut back = vec![0; BLOCK_BYTES];
    let read = rustix::io::pread(file, &mut *back, 0).map_err(failed("reading"))?;
    if back != block {
        return Err(RoundTripError::Differs { read });
    }
    Ok((write, begun.elapsed(), lock_whole(file).err().map(|errno| errno.to_string())))
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
