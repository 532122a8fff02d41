//! Mounting the share: mount(2) with the design's flags and options, the NFS client's identifier before it, read-ahead after it.
//!
//! Runs in a share worker: mount(2) of a hard NFS mount may wait for ever. Options: Amazon EFS user guide, "Recommended NFS
//! mount options"; nfs(5). The identifier: Linux, Documentation/filesystems/nfs/client-identifier.rst.

pub use crate::share::VOLUMES_ROOT;
use crate::{
    config::MountFlag,
    diagnostics::in_one_line,
    guard::{self, GuardError},
    mountinfo, namespaces, read_ahead, target,
    trouble::Trouble,
};
use nix::{
    errno::Errno,
    mount::{MntFlags, MsFlags, mount, umount2},
};
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};
use std::{
    net::IpAddr,
    os::fd::{AsRawFd, OwnedFd},
    process::Command,
};

/// Largest read and write, in bytes.
pub const RSIZE_BYTES: u64 = 1_048_576;
/// What tells this NFS client from others; the file is there once the kernel's NFS client is.
pub const CLIENT_IDENTIFIER: &str = "/sys/fs/nfs/net/nfs_client/identifier";

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
    /// The guard can't be set, so a lost share would be written elsewhere in silence.
    #[error("the bare mount point can't be guarded, so nothing is mounted on it")]
    Guard(#[source] GuardError),
    /// The mount point is a file, a symlink, or not there.
    #[error("{VOLUMES_ROOT} is not a directory")]
    NotADirectory,
    /// A mount would hide what lies there.
    #[error("{VOLUMES_ROOT} is not empty: {} on this instance's own disk, from before the share, and a mount hides it", found(.0))]
    NotEmpty(Vec<String>),
    /// Another file system came in between.
    #[error("{VOLUMES_ROOT} already has {0} on it")]
    Taken(String),
    /// mount(2) failed.
    #[error("mount of {mount_source} at {VOLUMES_ROOT} failed: {}", words(*.errno))]
    Refused {
        /// `address:/export`
        mount_source: String,
        /// What mount(2) said.
        errno: Errno,
    },
    /// mount(2) succeeded and the mount isn't there.
    #[error("mount(2) of {0} succeeded, but mountinfo does not show it at {VOLUMES_ROOT}")]
    NotThere(String),
    /// Containers came in between.
    #[error("containers hold the share by now, so it stays mounted")]
    Held,
    /// umount(2) failed.
    #[error("unmounting {VOLUMES_ROOT} failed: {0}")]
    StillMounted(Errno),
    /// mountinfo can't be read.
    #[error("/proc/self/mountinfo can't be read")]
    Mountinfo(#[source] std::io::Error),
}

/// Where content found under the mount point is moved by the command that the operator is told: on the same file system, whatever
/// else is one of its own.
pub const FOUND: &str = "/volumes-found";

/// Where that command looks at the instance's own disk without what is mounted on it.
const BARE: &str = "/run/volumes-agent-bare";

fn found(names: &[String]) -> String {
    const NAMED: usize = 3;
    let named = names.iter().take(NAMED).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    match names.len().checked_sub(NAMED) {
        Some(more @ 1..) => format!("{named} and {more} more lie"),
        _ if names.len() == 1 => format!("{named} lies"),
        _ => format!("{named} lie"),
    }
}

/// What mount(2)'s errors mean for NFS.
fn words(errno: Errno) -> String {
    let words = match errno {
        Errno::ETIMEDOUT => "no answer",
        Errno::ECONNREFUSED => "nothing listens on port 2049 there",
        Errno::EHOSTUNREACH | Errno::ENETUNREACH => "there is no route to it",
        Errno::ENOENT => "the server has no such export",
        Errno::EACCES | Errno::EPERM => "permission denied by the server",
        Errno::EPROTONOSUPPORT => "the server does not speak NFSv4.1",
        Errno::EBUSY => "the mount point is in use",
        Errno::ENOTDIR => "the mount point is not a directory",
        Errno::ENODEV => "this kernel has no NFSv4 client",
        Errno::EIO => "the NFS client gave up, or another mount was cut short a moment ago",
        _ => return errno.to_string(),
    };
    format!("{words} ({errno})")
}

impl MountError {
    /// The stable word for it.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoNfs => "no-nfs-client",
            Self::Identifier(_) => "no-client-identifier",
            Self::Guard(GuardError::NotADirectory) | Self::NotADirectory => "mount-point-not-a-directory",
            Self::Guard(_) => "no-guard",
            Self::NotEmpty(_) => "mount-point-not-empty",
            Self::Taken(_) => "mount-point-busy",
            Self::Refused { errno, .. } => match errno {
                Errno::ETIMEDOUT => "port-timeout",
                Errno::ECONNREFUSED => "port-refused",
                Errno::EHOSTUNREACH | Errno::ENETUNREACH => "no-route",
                Errno::ENOENT => "no-export",
                Errno::EACCES | Errno::EPERM => "mount-denied",
                Errno::EBUSY => "mount-point-busy",
                Errno::ENOTDIR => "mount-point-not-a-directory",
                Errno::ENODEV => "no-nfs-client",
                _ => "mount-failed",
            },
            Self::Held | Self::StillMounted(_) => "mount-point-busy",
            Self::NotThere(_) | Self::Mountinfo(_) => "mount-failed",
        }
    }

    /// What to do next.
    pub fn help(&self) -> String {
        match self.code() {
            "no-nfs-client" => {
                "Install the kernel's NFS modules, or take an image whose kernel has them; `modprobe nfsv4` says why it fails".to_owned()
            }
            "no-client-identifier" => {
                "Use a kernel of 5.3 or later, and give every instance a host name of its own".to_owned()
            }
            "mount-point-not-a-directory" => format!(
                "Remove what is there (`chattr -i {VOLUMES_ROOT}` first, if it is flagged): the agent makes the directory itself"
            ),
            // By way of a bind of `/`: the share may be mounted by the time that somebody types it.
            "mount-point-not-empty" => format!(
                "Look at it, and move it away: `mkdir -p {BARE} {FOUND} && mount --bind / {BARE} && chattr -R -i {BARE}{VOLUMES_ROOT} && find {BARE}{VOLUMES_ROOT} -mindepth 1 -maxdepth 1 -exec mv --backup=numbered -t {BARE}{FOUND} {{}} + ; umount {BARE}; volumes-agent guard`"
            ),
            "mount-point-busy" => format!("See what uses it by `findmnt {VOLUMES_ROOT}` and `fuser -vm {VOLUMES_ROOT}`"),
            "port-timeout" => "Look at the security groups (TCP port 2049 from this instance) and the network's routes".to_owned(),
            "port-refused" | "no-route" => "Look at the network and the server's address".to_owned(),
            "no-export" => "Correct the export in `nfs_server`; an EFS file system is mounted at `/`".to_owned(),
            "mount-denied" => "Look at the file system's policy (it may demand TLS or IAM: then `mount = \"external\"`), or the server's export list".to_owned(),
            _ => "`dmesg` and the server's log may say more; it is tried again by itself".to_owned(),
        }
    }
}

impl From<MountError> for Trouble {
    fn from(error: MountError) -> Self {
        Self::coded(error.code(), in_one_line(&error)).help(error.help())
    }
}

impl MountRequest {
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
    // Looked at without setting flags: somebody who is moving it away must not be hindered.
    let lies_there = guard::found_inside().map_err(MountError::Guard)?;
    if !lies_there.is_empty() {
        return Err(MountError::NotEmpty(lies_there));
    }
    guard::set().map_err(MountError::Guard)?;
    let mount_point = mount_point()?;
    // Looked at last: what came in between is never mounted over.
    if let Some(taken) = look()? {
        return Err(MountError::Taken(taken.source));
    }
    let source = target::source(request.address, &request.export);
    mount(
        Some(source.as_str()),
        format!("/proc/self/fd/{}", mount_point.as_raw_fd()).as_str(),
        Some("nfs4"),
        request.flags(),
        Some(request.options().as_str()),
    )
    .map_err(|errno| MountError::Refused { mount_source: source.clone(), errno })?;
    let entry = look()?.filter(|entry| entry.fs_type == "nfs4").ok_or(MountError::NotThere(source))?;
    Ok(Mounted { warnings: read_ahead::keep(&entry.device).err().into_iter().collect() })
}

/// Unmounts the share, if it is still what is mounted and no other mount namespace holds it: looked at just before.
///
/// # Errors
/// [`MountError`]; it is still mounted then.
pub fn let_go(device: &str, answers: bool) -> Result<(), MountError> {
    let mounted = mountinfo::look(VOLUMES_ROOT).map_err(MountError::Mountinfo)?;
    if mounted.is_none_or(|mounted| mounted.device != device) {
        return Ok(());
    }
    if namespaces::scan().map_err(MountError::Mountinfo)?.held_by_others(device) {
        return Err(MountError::Held);
    }
    // A silent server would hold an ordinary umount(2) for ever. Detached, and not by force: a process of the host's own that waits for
    // it gets no error.
    let how = if answers { MntFlags::empty() } else { MntFlags::MNT_DETACH };
    let flags = how | MntFlags::UMOUNT_NOFOLLOW;
    umount2(VOLUMES_ROOT, flags).map_err(MountError::StillMounted)
}

/// What is wrong with the options that the kernel shows of a mount that somebody else made, or that was made by another configuration.
pub fn unwanted_options(options: &str, flags: &[MountFlag]) -> Vec<String> {
    let has = |option: &str| options.split(',').any(|one| one == option);
    let wrong = [
        ("soft", "`soft` gives containers errors where `hard` would wait"),
        ("softerr", "`softerr` gives containers errors where `hard` would wait"),
        ("ro", "`ro`: nothing can be written"),
    ];
    let wrong = wrong.into_iter().filter(|(option, _)| has(option)).map(|(_, words)| words.to_owned());
    let missing = flags.iter().map(|flag| flag.option()).filter(|option| !has(option));
    wrong.chain(missing.map(|option| format!("`{option}` is missing"))).collect()
}

/// The directory itself, held: mount(2) by its name would follow a symlink that somebody put in its place.
fn mount_point() -> Result<OwnedFd, MountError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(VOLUMES_ROOT, flags, Mode::empty()).map_err(|_| MountError::NotADirectory)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_options_are_what_efs_asks_for() {
        let mut request = MountRequest {
            address: "10.0.0.5".parse().unwrap(),
            export: "/".to_owned(),
            flags: vec![MountFlag::Nosuid, MountFlag::Nodev],
            client_identifier: "i-1".to_owned(),
        };
        assert_eq!(
            request.options(),
            "vers=4.1,addr=10.0.0.5,clientaddr=0.0.0.0,rsize=1048576,wsize=1048576,hard,timeo=600,retrans=2,noresvport,sec=sys"
        );
        assert_eq!(request.flags(), MsFlags::MS_NOSUID | MsFlags::MS_NODEV);
        request.address = "fd00::5".parse().unwrap();
        assert!(request.options().contains("addr=fd00::5,clientaddr=::,"));
    }

    #[test]
    fn options_that_lose_data_or_protection_are_named() {
        let flags = [MountFlag::Nosuid, MountFlag::Nodev];
        assert!(unwanted_options("rw,nosuid,nodev,relatime,rw,hard", &flags).is_empty());
        let told = unwanted_options("ro,nosuid,soft,proto=tcp", &flags);
        assert_eq!(told.len(), 3, "{told:?}");
        assert_eq!(told[2], "`nodev` is missing");
    }

    #[test]
    fn what_lies_under_the_mount_point_is_named_with_the_way_out() {
        let names = |count: usize| (0..count).map(|n| format!("app-{n}")).collect();
        let told = |count| MountError::NotEmpty(names(count)).to_string();
        assert!(told(1).contains("`app-0` lies on"), "{}", told(1));
        assert!(told(3).contains("`app-0`, `app-1`, `app-2` lie on"), "{}", told(3));
        assert!(told(5).contains("`app-2` and 2 more lie on"), "{}", told(5));
        let trouble = Trouble::from(MountError::NotEmpty(names(1)));
        assert_eq!(trouble.code.as_deref(), Some("mount-point-not-empty"));
        assert!(
            trouble.sentence().contains("chattr -R -i /run/volumes-agent-bare/volumes "),
            "{}",
            trouble.text
        );
    }
}
