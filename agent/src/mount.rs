//! Mounting the share: mount(2) with the design's flags and options, the NFS client's identifier before it, read-ahead after it.
//!
//! Runs in a share worker: mount(2) of a hard NFS mount may wait for ever. Options: Amazon EFS user guide, "Recommended NFS
//! mount options"; nfs(5). The identifier: Linux, Documentation/filesystems/nfs/client-identifier.rst. Read-ahead: efs-utils
//! sets 15 times `rsize` since kernels of 5.4 and later ask for only 128 KiB by themselves.

use crate::{
    config::MountFlag,
    mountinfo::{self, MountEntry},
};
use nix::mount::{MsFlags, mount};
use serde::{Deserialize, Serialize};
use std::{net::IpAddr, path::Path, process::Command};

/// The volumes root: where the share is mounted. Not configurable: task definitions name it.
pub const VOLUMES_ROOT: &str = "/volumes";
/// Largest read and write, in bytes.
const RSIZE_BYTES: u64 = 1_048_576;
/// What is read ahead: 15 times [`RSIZE_BYTES`], in KiB.
const READ_AHEAD_KB: u64 = 15 * RSIZE_BYTES / 1024;
const CLIENT_IDENTIFIER: &str = "/sys/fs/nfs/net/nfs_client/identifier";

/// What to mount: checked fields only, so that nothing but these reaches the option string.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountRequest {
    /// The server.
    pub address: IpAddr,
    /// The exported path, absolute.
    pub export: String,
    /// Flags of the mount.
    pub flags: Vec<MountFlag>,
    /// What tells this NFS client from all others: the instance id.
    pub client_identifier: String,
}

/// Why nothing was mounted.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// The kernel has no NFSv4 client.
    #[error(
        "this kernel has no NFSv4 client: /proc/filesystems doesn't list nfs4, and `modprobe nfsv4` did not help"
    )]
    NoNfs,
    /// The client's identifier can't be set.
    #[error("the NFS client's identifier can't be set in {CLIENT_IDENTIFIER}")]
    Identifier(#[source] std::io::Error),
    /// Another file system came in between.
    #[error("{VOLUMES_ROOT} already has {0} on it")]
    Taken(String),
    /// mount(2) failed.
    #[error("mount of {mount_source} at {VOLUMES_ROOT} failed: {}", meaning(*.errno))]
    Refused {
        /// `address:/export`
        mount_source: String,
        /// What mount(2) said.
        errno: nix::errno::Errno,
    },
    /// mount(2) succeeded and the mount isn't there.
    #[error("mount(2) of {0} succeeded, but mountinfo does not show it at {VOLUMES_ROOT}")]
    NotThere(String),
    /// mountinfo can't be read.
    #[error("/proc/self/mountinfo can't be read")]
    Mountinfo(#[source] std::io::Error),
}

/// What mount(2)'s errors mean for NFS, in words that name the next thing to look at.
fn meaning(errno: nix::errno::Errno) -> String {
    use nix::errno::Errno;
    let words = match errno {
        Errno::ETIMEDOUT => {
            "no answer: look at the security group (TCP port 2049 from this instance) and the network's routes"
        }
        Errno::ECONNREFUSED => "refused: nothing listens on port 2049 there",
        Errno::EHOSTUNREACH | Errno::ENETUNREACH => {
            "there is no route to it: look at the network and the server's address"
        }
        Errno::ENOENT => "the server has no such export",
        Errno::EACCES | Errno::EPERM => {
            "permission denied: look at the file system's policy or the server's export list"
        }
        Errno::EPROTONOSUPPORT => "the server does not speak NFSv4.1",
        Errno::EBUSY => "busy: the mount point is in use",
        Errno::ENOTDIR => "the mount point is not a directory",
        Errno::ENODEV => "this kernel has no NFSv4 client",
        _ => return errno.to_string(),
    };
    format!("{words} ({errno})")
}

impl MountRequest {
    /// `address:/export`, as mount(2) and mountinfo write it.
    pub fn source(&self) -> String {
        match self.address {
            IpAddr::V4(address) => format!("{address}:{}", self.export),
            IpAddr::V6(address) => format!("[{address}]:{}", self.export),
        }
    }

    /// The text options, for the NFS client.
    pub fn options(&self) -> String {
        let clientaddr = if self.address.is_ipv4() { "0.0.0.0" } else { "::" };
        format!(
            "vers=4.1,addr={},clientaddr={clientaddr},rsize={RSIZE_BYTES},wsize={RSIZE_BYTES},hard,timeo=600,retrans=2,noresvport,sec=sys",
            self.address
        )
    }

    fn flags(&self) -> MsFlags {
        self.flags.iter().fold(MsFlags::empty(), |flags, flag| {
            flags
                | match flag {
                    MountFlag::Nosuid => MsFlags::MS_NOSUID,
                    MountFlag::Nodev => MsFlags::MS_NODEV,
                    MountFlag::Noexec => MsFlags::MS_NOEXEC,
                    MountFlag::Noatime => MsFlags::MS_NOATIME,
                }
        })
    }
}

/// What was mounted, with what is not as it should be but stops nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mounted {
    /// For the log.
    pub warnings: Vec<String>,
}

/// Mounts the share at the volumes root and sees it in mountinfo. Waits as long as the server does.
///
/// # Errors
/// [`MountError`]; nothing was mounted then.
pub fn mount_share(request: &MountRequest) -> Result<Mounted, MountError> {
    let look = || mountinfo::look(VOLUMES_ROOT).map_err(MountError::Mountinfo);
    ensure_nfs_client()?;
    set_client_identifier(&request.client_identifier)?;
    // Looked at last: what came in between is never mounted over.
    if let Some(taken) = look()? {
        return Err(MountError::Taken(taken.source));
    }
    let source = request.source();
    mount(
        Some(source.as_str()),
        VOLUMES_ROOT,
        Some("nfs4"),
        request.flags(),
        Some(request.options().as_str()),
    )
    .map_err(|errno| MountError::Refused { mount_source: source.clone(), errno })?;
    let entry = look()?.filter(|entry| entry.fs_type == "nfs4").ok_or(MountError::NotThere(source))?;
    Ok(Mounted { warnings: set_read_ahead(&entry).err().into_iter().collect() })
}

/// Writes to the server what it doesn't have yet, and waits for that: syncfs(2).
///
/// # Errors
/// The server, or the kernel, gave up some of it.
pub fn flush() -> rustix::io::Result<()> {
    let root = rustix::fs::open(
        VOLUMES_ROOT,
        rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )?;
    rustix::fs::syncfs(root)
}

/// Ends every call that waits for the server with EIO, whoever made it: umount2(2) with `MNT_FORCE`. Only for a server that is dead
/// and an instance that is shutting down, after everything that used the share: what wasn't written is lost. It unmounts too, if
/// nothing uses the mount. The walk to a mount point of umount2 asks no server.
///
/// # Errors
/// Nothing is mounted, or not allowed. That the mount is in use is no error: the calls have been ended.
pub fn abandon() -> nix::Result<()> {
    match nix::mount::umount2(VOLUMES_ROOT, nix::mount::MntFlags::MNT_FORCE) {
        Err(nix::errno::Errno::EBUSY) => Ok(()),
        result => result,
    }
}

fn ensure_nfs_client() -> Result<(), MountError> {
    let known = || {
        std::fs::read_to_string("/proc/filesystems")
            .is_ok_and(|list| list.lines().any(|line| line.split_whitespace().last() == Some("nfs4")))
    };
    // The identifier's file comes with the module, so it is loaded first. A kernel with NFS built in has no modprobe to ask.
    if !known() {
        drop(Command::new("modprobe").args(["-q", "nfsv4"]).status());
    }
    if known() { Ok(()) } else { Err(MountError::NoNfs) }
}

/// Two clients of one name would take each other's leases and locks away.
fn set_client_identifier(identifier: &str) -> Result<(), MountError> {
    if std::fs::read_to_string(CLIENT_IDENTIFIER).is_ok_and(|set| set.trim_end() == identifier) {
        return Ok(());
    }
    std::fs::write(CLIENT_IDENTIFIER, identifier).map_err(MountError::Identifier)
}

fn set_read_ahead(entry: &MountEntry) -> Result<(), String> {
    let file = format!("/sys/class/bdi/{}/read_ahead_kb", entry.device);
    if Path::new(&file).exists() {
        std::fs::write(&file, READ_AHEAD_KB.to_string()).map_err(|error| format!("{file}: {error}"))
    } else {
        Err(format!("{file} doesn't exist: read-ahead stays at the kernel's default"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn source_and_options_are_what_efs_asks_for() {
        let mut request = MountRequest {
            address: "10.0.0.5".parse().unwrap(),
            export: "/".to_owned(),
            flags: vec![MountFlag::Nosuid, MountFlag::Nodev],
            client_identifier: "i-1".to_owned(),
        };
        assert_eq!(request.source(), "10.0.0.5:/");
        assert_eq!(
            request.options(),
            "vers=4.1,addr=10.0.0.5,clientaddr=0.0.0.0,rsize=1048576,wsize=1048576,hard,timeo=600,retrans=2,noresvport,sec=sys"
        );
        assert_eq!(request.flags(), MsFlags::MS_NOSUID | MsFlags::MS_NODEV);
        request.address = "fd00::5".parse().unwrap();
        assert_eq!(request.source(), "[fd00::5]:/");
        assert!(request.options().contains("addr=fd00::5,clientaddr=::,"));
    }
}
