//! One patcher a cluster: an NFSv4 lock on a file of the share, held by a share worker.
//!
//! The lock manager is the share itself, so there is no second system to run, and a host that can't reach the share can't lead.
//! Before each change to ECS the leader writes through the very descriptor that holds the lock, with O_DIRECT so that nothing
//! waits in the page cache: the kernel fails that with EIO once the lock was lost. A kernel that recovers lost locks by itself
//! (`nfs.recover_lost_locks`) would hide the loss, and may not lead. Only lock workers open that file: closing any other
//! descriptor would not release an open file description lock, but a POSIX one it would.

use crate::share::{Directory, ShareError};
use nix::{
    errno::Errno,
    fcntl::{FcntlArg, fcntl},
    libc,
};
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use std::os::fd::{AsFd, OwnedFd};

/// `Y`: the kernel takes lost locks again by itself.
pub const RECOVER_LOST_LOCKS: &str = "/sys/module/nfs/parameters/recover_lost_locks";
/// While a file of this name is there nothing is patched.
const PAUSE: &str = "pause";
/// Direct I/O wants whole blocks on some file systems; NFS takes any size.
const BLOCK_BYTES: usize = 512;

/// Who wants to lead what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockRequest {
    /// `<region>-<account>-<cluster>`: the lock file's name. One share may serve several clusters.
    pub name: String,
    /// The instance.
    pub instance: String,
    /// The time, RFC 3339, for people.
    pub now: String,
}

/// Who leads since when, for people; the lock itself is what counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leads {
    format: u32,
    /// The leader's instance id.
    pub instance: String,
    /// Since when, RFC 3339.
    pub since: String,
    /// How many leaders the cluster has had with this one.
    #[serde(default)]
    pub term: u64,
    /// The last change to ECS, this leader's or an earlier one's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_action: Option<LastAction>,
}

/// A change to ECS, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastAction {
    /// When, RFC 3339.
    pub at: String,
    /// Who: an instance id.
    pub by: String,
    /// What, in a sentence.
    pub what: String,
}

/// What became of a try.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LockAnswer {
    /// This worker holds the lock.
    Held {
        /// What it wrote for people.
        leads: Leads,
    },
    /// Another one does.
    Busy {
        /// Who, as far as the file for people tells.
        leads: Option<Leads>,
    },
}

/// Why there is no lock.
#[derive(Debug, thiserror::Error)]
pub enum LeaderError {
    /// The kernel would hide a lost lock.
    #[error(
        "this kernel recovers lost NFS locks by itself ({RECOVER_LOST_LOCKS} is Y), so a lost lock would not be noticed: this instance may not lead. Remove nfs.recover_lost_locks from the kernel's command line"
    )]
    RecoversLostLocks,
    /// The lock call failed.
    #[error("locking the leader's file failed: {0}")]
    Lock(Errno),
    /// The lock was lost.
    #[error("the leader's lock is lost: writing through it failed: {0}")]
    Lost(rustix::io::Errno),
    /// A call on the share.
    #[error(transparent)]
    Share(#[from] ShareError),
}

/// The lock, held as long as this value lives.
#[derive(Debug)]
pub struct LeaderLock {
    file: OwnedFd,
    block: Vec<u8>,
}

/// Takes the lock if nobody has it; never waits for it.
///
/// # Errors
/// [`LeaderError`]
pub fn try_lock(request: &LockRequest) -> Result<Result<(LeaderLock, Leads), Option<Leads>>, LeaderError> {
    if std::fs::read_to_string(RECOVER_LOST_LOCKS).is_ok_and(|value| value.trim() == "Y") {
        return Err(LeaderError::RecoversLostLocks);
    }
    let directory = Directory::of_agent("leader")?;
    let file = directory.file(&request.name, OFlags::RDWR | OFlags::CREATE | OFlags::DIRECT)?;
    let people = format!("{}.json", request.name);
    match lock_whole(&file) {
        Ok(()) => {}
        Err(Errno::EAGAIN | Errno::EACCES) => {
            // Only for people: a file that can't be read doesn't change who leads.
            return Ok(Err(directory.read(&people).unwrap_or_default()));
        }
        Err(errno) => return Err(LeaderError::Lock(errno)),
    }
    let mut block = format!("{}\n", request.instance).into_bytes();
    block.resize(BLOCK_BYTES, b'\n');
    let lock = LeaderLock { file, block };
    lock.confirm()?;
    // One that can't be read is a newer agent's, or somebody's scribble: only for people, and written anew.
    let before: Option<Leads> = directory.read(&people).unwrap_or_default();
    let leads = Leads {
        // In the first format for ever, as heartbeats are: whoever leads next must be able to read it.
        format: 1,
        instance: request.instance.clone(),
        since: request.now.clone(),
        term: before.as_ref().map_or(0, |before| before.term) + 1,
        last_action: before.and_then(|before| before.last_action),
    };
    directory.replace(&people, &leads)?;
    Ok(Ok((lock, leads)))
}

/// Takes an open file description lock (fcntl(2)) on all of a file; never waits for it. It goes with the open file.
///
/// # Errors
/// Somebody else has it, or the server gives none.
pub fn lock_whole(file: &OwnedFd) -> Result<(), Errno> {
    let whole_file = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    fcntl(file.as_fd(), FcntlArg::F_OFD_SETLK(&whole_file)).map(drop)
}

impl LeaderLock {
    /// Writes through the locked descriptor, to the server and back.
    ///
    /// # Errors
    /// [`LeaderError::Lost`]
    pub fn confirm(&self) -> Result<(), LeaderError> {
        match rustix::io::pwrite(&self.file, &self.block, 0) {
            Ok(written) if written == self.block.len() => Ok(()),
            Ok(_) => Err(LeaderError::Lost(rustix::io::Errno::NOSPC)),
            Err(errno) => Err(LeaderError::Lost(errno)),
        }
    }
}

/// Replaces what is said about the leader.
///
/// # Errors
/// [`ShareError`]
pub fn write_leads(name: &str, leads: &Leads) -> Result<(), ShareError> {
    Directory::of_agent("leader")?.replace(&format!("{name}.json"), leads)
}

/// Whether an operator stopped patching: the file [`PAUSE`] in the agent's directory.
///
/// # Errors
/// [`ShareError`]
pub fn paused() -> Result<bool, ShareError> {
    Directory::of_agent("")?.has(PAUSE)
}

/// Stops patching, for every agent of the share. `said`: who did it, for people; what the file said before is gone.
///
/// # Errors
/// [`ShareError`]
pub fn pause(said: &str) -> Result<(), ShareError> {
    Directory::of_agent("")?.write(PAUSE, said)
}
