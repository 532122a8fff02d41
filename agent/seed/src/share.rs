//! Files of the share, from inside a share worker: a held descriptor of the volumes root, and walks below it that no symlink
//! leads astray.
//!
//! Containers can write anything inside their volumes. Every path is walked by openat2(2) with
//! `RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV`, a component at a time, and the root's
//! descriptor is checked to be NFS: nothing is ever made on the instance's own disk.

use crate::ownership::{Mode as Permissions, Owner};
use rustix::{
    fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, ResolveFlags},
    io::Errno,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    ffi::CString,
    io::{Read, Write},
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

/// The volumes root: where the share is mounted on an instance. Not configurable: task definitions name it.
pub const VOLUMES_ROOT: &str = "/volumes";
/// The agent's own directory at the volumes root.
pub const AGENT_DIRECTORY: &str = ".volumes-agent";
/// `f_type` of NFS (statfs(2), linux/magic.h).
const NFS_SUPER_MAGIC: i64 = 0x6969;
/// A record of ours is a few hundred bytes; more is not a record.
const LARGEST_RECORD_BYTES: u64 = 16 * 1024 * 1024;
/// The newest format of files on the share, which this agent reads, and writes where all others read it.
pub const FORMAT: u32 = FILLED_FORMAT;
/// The format that has volumes which are filled. Agents that don't read it have no helper for that either.
pub const FILLED_FORMAT: u32 = 2;
/// The format that all agents read.
pub const FIRST_FORMAT: u32 = 1;

/// Why something on the share was not done.
#[derive(Debug, thiserror::Error)]
pub enum ShareError {
    /// The volumes root is bare.
    #[error("{VOLUMES_ROOT} is not an NFS mount: the share is not there")]
    NotMounted,
    /// Something that isn't a directory is where one belongs.
    #[error(
        "`{VOLUMES_ROOT}/{0}` is a symlink or a file where a directory belongs: a container, or a person, put it there"
    )]
    NotADirectory(String),
    /// A file of ours that can't be understood.
    #[error("`{VOLUMES_ROOT}/{path}` can't be understood")]
    Garbled {
        /// The file, relative to the volumes root.
        path: String,
        /// Why.
        source: serde_json::Error,
    },
    /// A file of ours from a newer agent.
    #[error(
        "`{VOLUMES_ROOT}/{path}` has format {format}, this agent knows formats up to {FORMAT}: it was written by a newer one, and is left alone"
    )]
    Newer {
        /// The file, relative to the volumes root.
        path: String,
        /// Its format.
        format: u32,
    },
    /// A call failed.
    #[error("{call} of `{VOLUMES_ROOT}/{path}` failed: {errno}{}", words(Some(*.errno)))]
    Failed {
        /// What was tried.
        call: &'static str,
        /// On what, relative to the volumes root.
        path: String,
        /// The error.
        errno: Errno,
    },
    /// Reading or writing failed.
    #[error("{call} of `{VOLUMES_ROOT}/{path}` failed{}", words(Errno::from_io_error(.source)))]
    Io {
        /// What was tried.
        call: &'static str,
        /// On what, relative to the volumes root.
        path: String,
        /// The error.
        source: std::io::Error,
    },
}

/// What an error of the share means, where its name alone says nothing of what to do; with what leads over to it.
///
/// EDQUOT: Amazon EFS user guide, "Troubleshooting file operation errors" and "Quotas for NFS clients".
fn words(errno: Option<Errno>) -> String {
    let words = match errno {
        Some(Errno::DQUOT) => {
            "this instance has reached a limit of one NFS client, or a quota: EFS gives one 32,768 open files, 128 users with open files, and \
             8,192 locks on 256 pairs of a file and a process; spread the tasks over more instances, or have them close what they \
             don't use"
        }
        Some(Errno::NOSPC) => "the share is full: remove files, or make it larger",
        Some(Errno::ROFS) => {
            "the share is read-only: look at the server's export, or at the file system's policy \
             (elasticfilesystem:ClientWrite)"
        }
        Some(Errno::ACCESS | Errno::PERM) => {
            "the server doesn't let root of this instance do it: look at the export (no_root_squash), at the file system's policy \
             (elasticfilesystem:ClientWrite and elasticfilesystem:ClientRootAccess), or at who owns the directory"
        }
        Some(Errno::STALE) => "it was removed on the server meanwhile",
        _ => return String::new(),
    };
    format!(": {words}")
}

fn failed(call: &'static str, path: &str) -> impl FnOnce(Errno) -> ShareError {
    let path = path.to_owned();
    move |errno| ShareError::Failed { call, path, errno }
}

fn io(call: &'static str, path: &str) -> impl FnOnce(std::io::Error) -> ShareError {
    let path = path.to_owned();
    move |source| ShareError::Io { call, path, source }
}

/// A directory on the share, with its path for messages.
#[derive(Debug)]
pub struct Directory {
    fd: OwnedFd,
    /// Relative to the volumes root; empty for the root itself.
    path: String,
}

/// Something in a directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its name; what is no UTF-8 in it is replaced, so that it is told, though it can't be opened by that.
    pub name: String,
    /// The inode of a directory; none for anything else, a symlink to a directory too.
    pub inode: Option<u64>,
    /// Whose a directory is, and with which permissions.
    #[serde(default)]
    pub looks: Option<(Owner, Permissions)>,
}

/// What became of a file that should be made.
#[derive(Debug)]
pub enum Created {
    /// It is there now, whole.
    Made,
    /// Something of that name was there already, and is untouched.
    Existed,
}

impl Directory {
    /// The volumes root, if the share is mounted there.
    ///
    /// # Errors
    /// [`ShareError::NotMounted`], or the call's.
    pub fn root() -> Result<Self, ShareError> {
        Self::mounted(VOLUMES_ROOT, "")
    }

    /// A part of the share where it is bound: `path` is what it is below the volumes root.
    ///
    /// # Errors
    /// [`ShareError::NotMounted`], or the call's.
    pub fn mounted(at: &str, path: &str) -> Result<Self, ShareError> {
        let directory = Self::anywhere(at, path)?;
        let stat = rustix::fs::fstatfs(&directory.fd).map_err(failed("statfs", path))?;
        // The type's width differs between architectures.
        #[allow(clippy::unnecessary_cast)]
        let is_nfs = stat.f_type as i64 == NFS_SUPER_MAGIC;
        if is_nfs { Ok(directory) } else { Err(ShareError::NotMounted) }
    }

    /// A directory of any file system: for tests.
    ///
    /// # Errors
    /// The call's.
    #[doc(hidden)]
    pub fn anywhere(at: impl rustix::path::Arg, path: &str) -> Result<Self, ShareError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::open(at, flags, Mode::empty()).map_err(failed("opening", path))?;
        Ok(Self { fd, path: path.to_owned() })
    }

    /// The agent's own directory, or one below it, made where it is missing; readable by root alone.
    ///
    /// # Errors
    /// [`ShareError`]
    pub fn of_agent(below: &str) -> Result<Self, ShareError> {
        let (directory, _) = Self::root()?.make(AGENT_DIRECTORY, 0o700)?;
        if below.is_empty() { Ok(directory) } else { Ok(directory.make(below, 0o700)?.0) }
    }

    /// The same directory, by a descriptor of its own.
    ///
    /// # Errors
    /// The call's.
    pub fn again(&self) -> Result<Self, ShareError> {
        let fd = self.fd.try_clone().map_err(io("opening", &self.path))?;
        Ok(Self { fd, path: self.path.clone() })
    }

    /// Its own name, in the directory that it is in.
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    /// The descriptor, for what has no function here.
    pub fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }

    fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}/{name}", self.path) }
    }

    /// Opens what is below, by one component or several; none may be a symlink. `None`: there is nothing of that name.
    ///
    /// # Errors
    /// [`ShareError::NotADirectory`], or the call's.
    pub fn open(&self, name: &str) -> Result<Option<Self>, ShareError> {
        self.open_as(OFlags::RDONLY, name)
    }

    fn open_as(&self, access: OFlags, name: &str) -> Result<Option<Self>, ShareError> {
        let path = self.path_of(name);
        let flags = access | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match openat2(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => Ok(Some(Self { fd, path })),
            Err(Errno::NOENT) => Ok(None),
            Err(Errno::LOOP | Errno::NOTDIR) => Err(ShareError::NotADirectory(path)),
            Err(errno) => Err(failed("opening", &path)(errno)),
        }
    }

    /// Opens one component below, made if it isn't there. The flag says whether it was made.
    ///
    /// # Errors
    /// [`ShareError`]
    pub fn make(&self, name: &str, mode: u32) -> Result<(Self, bool), ShareError> {
        self.make_opened(name, mode, OFlags::RDONLY)
    }

    /// As [`Directory::make`], for going on below. One that was made is opened for that alone (`O_PATH`), which saves two questions
    /// about a directory that the server has just told of. It can't be listed, or given to anybody: [`Directory::whole`] can.
    ///
    /// # Errors
    /// [`ShareError`]
    pub fn make_on_the_way(&self, name: &str, mode: u32) -> Result<(Self, bool), ShareError> {
        self.make_opened(name, mode, OFlags::PATH)
    }

    fn make_opened(&self, name: &str, mode: u32, new: OFlags) -> Result<(Self, bool), ShareError> {
        let (access, made) = match rustix::fs::mkdirat(&self.fd, name, Mode::from_raw_mode(mode)) {
            Ok(()) => (new, true),
            Err(Errno::EXIST) => (OFlags::RDONLY, false),
            Err(errno) => return Err(failed("making", &self.path_of(name))(errno)),
        };
        match self.open_as(access, name)? {
            Some(directory) => Ok((directory, made)),
            None => Err(failed("opening", &self.path_of(name))(Errno::NOENT)),
        }
    }

    /// The same directory, opened anew for all that can be done with one.
    ///
    /// # Errors
    /// The call's.
    pub fn whole(&self) -> Result<Self, ShareError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = openat2(&self.fd, ".", flags, Mode::empty()).map_err(failed("opening", &self.path))?;
        Ok(Self { fd, path: self.path.clone() })
    }

    /// The directory's inode: another number means another directory.
    ///
    /// # Errors
    /// The call's.
    pub fn inode(&self) -> Result<u64, ShareError> {
        Ok(rustix::fs::fstat(&self.fd).map_err(failed("stat", &self.path))?.st_ino)
    }

    /// Whose it is, and with which permissions.
    ///
    /// # Errors
    /// The call's.
    pub fn looks(&self) -> Result<(Owner, Permissions), ShareError> {
        let stat = rustix::fs::fstat(&self.fd).map_err(failed("stat", &self.path))?;
        Ok((Owner { uid: stat.st_uid, gid: stat.st_gid }, Permissions::of_bits(stat.st_mode)))
    }

    /// Whether there is nothing in it.
    ///
    /// # Errors
    /// The call's.
    pub fn is_empty(&self) -> Result<bool, ShareError> {
        is_empty(&self.fd).map_err(failed("listing", &self.path))
    }

    /// The error of a call on the directory itself, for what has no function here.
    pub fn failed(&self, call: &'static str) -> impl FnOnce(Errno) -> ShareError {
        failed(call, &self.path)
    }

    /// Asks the server for the directory's attributes: the NFS client remembers for up to a minute what was there and what was not
    /// (`acdirmax`, nfs(5)), unless it learns that the directory changed.
    ///
    /// # Errors
    /// The call's.
    pub fn refresh(&self) -> Result<(), ShareError> {
        let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_FORCE_SYNC;
        rustix::fs::statx(&self.fd, "", flags, rustix::fs::StatxFlags::BASIC_STATS)
            .map(drop)
            .map_err(failed("statx", &self.path))
    }

    /// Whether there is anything of that name, whatever it is, by the server's word.
    ///
    /// # Errors
    /// The call's.
    pub fn has(&self, name: &str) -> Result<bool, ShareError> {
        self.refresh()?;
        match rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(failed("stat", &self.path_of(name))(errno)),
        }
    }

    /// When a file was written last, by the server's clock, since the Unix epoch. `None`: there is none of that name.
    ///
    /// # Errors
    /// The call's.
    pub fn changed_at(&self, name: &str) -> Result<Option<Duration>, ShareError> {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::STATX_FORCE_SYNC;
        match rustix::fs::statx(&self.fd, name, flags, rustix::fs::StatxFlags::MTIME) {
            Ok(stat) => {
                let seconds = u64::try_from(stat.stx_mtime.tv_sec).unwrap_or_default();
                Ok(Some(Duration::new(seconds, stat.stx_mtime.tv_nsec)))
            }
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(failed("statx", &self.path_of(name))(errno)),
        }
    }

    /// Removes a file; one that is gone already is none the worse.
    ///
    /// # Errors
    /// The call's.
    pub fn remove(&self, name: &str) -> Result<(), ShareError> {
        match rustix::fs::unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(failed("removing", &self.path_of(name))(errno)),
        }
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// The call's.
    pub fn remove_directory(&self, name: &str) -> Result<(), ShareError> {
        rustix::fs::unlinkat(&self.fd, name, AtFlags::REMOVEDIR)
            .map_err(failed("removing", &self.path_of(name)))
    }

    /// The names of what is in it, in no order. A name that is no UTF-8 is none of ours and left out.
    ///
    /// # Errors
    /// The call's.
    pub fn names(&self) -> Result<Vec<String>, ShareError> {
        let listed = rustix::fs::Dir::read_from(&self.fd).map_err(failed("listing", &self.path))?;
        let mut names = Vec::new();
        for entry in listed {
            let entry = entry.map_err(failed("listing", &self.path))?;
            names.extend(
                entry
                    .file_name()
                    .to_str()
                    .ok()
                    .filter(|name| !matches!(*name, "." | ".."))
                    .map(str::to_owned),
            );
        }
        Ok(names)
    }

    /// What is in it by the server's word, in no order. `None`: more than `most`.
    ///
    /// # Errors
    /// The call's.
    pub fn entries(&self, most: usize) -> Result<Option<Vec<Entry>>, ShareError> {
        self.refresh()?;
        let listed = rustix::fs::Dir::read_from(&self.fd).map_err(failed("listing", &self.path))?;
        let mut entries = Vec::new();
        for entry in listed {
            let entry = entry.map_err(failed("listing", &self.path))?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            if entries.len() == most {
                return Ok(None);
            }
            // The inode that a listing gives need not be the one that stat(2) gives, and records have that one.
            let mut looks = None;
            let inode = if entry.file_type() == FileType::RegularFile {
                None
            } else {
                match rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(stat) if FileType::from_raw_mode(stat.st_mode).is_dir() => {
                        let owner = Owner { uid: stat.st_uid, gid: stat.st_gid };
                        looks = Some((owner, Permissions::of_bits(stat.st_mode)));
                        Some(stat.st_ino)
                    }
                    Ok(_) => None,
                    // Removed meanwhile.
                    Err(Errno::NOENT | Errno::STALE) => continue,
                    Err(errno) => return Err(failed("stat", &self.path_of(&name.to_string_lossy()))(errno)),
                }
            };
            entries.push(Entry { name: name.to_string_lossy().into_owned(), inode, looks });
        }
        Ok(Some(entries))
    }

    /// Opens a file with the walk's rules.
    ///
    /// # Errors
    /// The call's.
    pub fn file(&self, name: &str, flags: OFlags) -> Result<OwnedFd, ShareError> {
        let mode = if flags.contains(OFlags::CREATE) { 0o600 } else { 0 };
        openat2(&self.fd, name, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::from_raw_mode(mode))
            .map_err(failed("opening", &self.path_of(name)))
    }

    /// Takes the lock of that name, a file that is made where it is missing. `None`: another process has it, here or on another host. It
    /// is let go of when the file is closed, however the process ends, and by the server when this host is gone for a lease.
    ///
    /// # Errors
    /// The call's.
    pub fn lock(&self, name: &str) -> Result<Option<std::fs::File>, ShareError> {
        let file = self.file(name, OFlags::RDWR | OFlags::CREATE)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(file.into())),
            Err(Errno::WOULDBLOCK | Errno::INTR) => Ok(None),
            Err(errno) => Err(failed("locking", &self.path_of(name))(errno)),
        }
    }

    /// Reads a record. `None`: there is no such file.
    ///
    /// # Errors
    /// [`ShareError::Newer`], [`ShareError::Garbled`], or the call's.
    pub fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, ShareError> {
        let path = self.path_of(name);
        let fd = match self.file(name, OFlags::RDONLY) {
            Ok(fd) => fd,
            Err(ShareError::Failed { errno: Errno::NOENT, .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut text = Vec::new();
        std::fs::File::from(fd)
            .take(LARGEST_RECORD_BYTES)
            .read_to_end(&mut text)
            .map_err(io("reading", &path))?;
        #[derive(serde::Deserialize)]
        struct Versioned {
            format: u32,
        }
        let garbled = |source| ShareError::Garbled { path: path.clone(), source };
        let Versioned { format } = serde_json::from_slice(&text).map_err(garbled)?;
        if format > FORMAT {
            return Err(ShareError::Newer { path, format });
        }
        serde_json::from_slice(&text).map(Some).map_err(garbled)
    }

    /// Writes a record whole, then links it into place: whoever reads the name sees all of it or nothing.
    ///
    /// # Errors
    /// The call's; nothing of that name is left then.
    pub fn create(&self, name: &str, record: &impl Serialize) -> Result<Created, ShareError> {
        self.create_by(self, name, record)
    }

    /// The same, written in another directory, `drafts`, first.
    ///
    /// # Errors
    /// The call's; nothing of that name is left then.
    pub fn create_by(
        &self,
        drafts: &Self,
        name: &str,
        record: &impl Serialize,
    ) -> Result<Created, ShareError> {
        let path = self.path_of(name);
        let temporary = drafts.write_temporary(name, record)?;
        let linked = rustix::fs::linkat(&drafts.fd, &temporary, &self.fd, name, AtFlags::empty());
        rustix::fs::unlinkat(&drafts.fd, &temporary, AtFlags::empty())
            .map_err(failed("removing", &drafts.path_of(&temporary)))?;
        match linked {
            Ok(()) => Ok(Created::Made),
            Err(Errno::EXIST) => Ok(Created::Existed),
            Err(errno) => Err(failed("linking", &path)(errno)),
        }
    }

    /// Writes a record whole, then renames it over what was there.
    ///
    /// # Errors
    /// The call's; what was there is untouched then.
    pub fn replace(&self, name: &str, record: &impl Serialize) -> Result<(), ShareError> {
        let temporary = self.write_temporary(name, record)?;
        rustix::fs::renameat(&self.fd, &temporary, &self.fd, name)
            .map_err(failed("renaming", &self.path_of(name)))
    }

    /// Writes a file for people, in place of what it said before.
    ///
    /// # Errors
    /// The call's.
    pub fn write(&self, name: &str, text: &str) -> Result<(), ShareError> {
        let fd = self.file(name, OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC)?;
        let mut file = std::fs::File::from(fd);
        file.write_all(text.as_bytes())
            .and_then(|()| file.sync_all())
            .map_err(io("writing", &self.path_of(name)))
    }

    fn write_temporary(&self, name: &str, record: &impl Serialize) -> Result<String, ShareError> {
        let temporary = format!(".{name}.{:016x}", fastrand::u64(..));
        let path = self.path_of(&temporary);
        // No EXCL, since nobody else has that name: of a server that can't set the mode at an exclusive creation it takes one more call.
        let fd = self.file(&temporary, OFlags::WRONLY | OFlags::CREATE)?;
        let mut file = std::fs::File::from(fd);
        let mut text =
            serde_json::to_vec_pretty(record).map_err(|error| io("writing", &path)(error.into()))?;
        text.push(b'\n');
        file.write_all(&text).and_then(|()| file.sync_all()).map_err(io("writing", &path))?;
        Ok(temporary)
    }
}

/// The names of what is in a directory, those too that are no UTF-8.
///
/// # Errors
/// The call's.
pub fn raw_names(directory: impl AsFd) -> Result<Vec<CString>, Errno> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(directory)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    Ok(names)
}

/// Whether there is nothing in a directory of any file system.
///
/// # Errors
/// The call's.
pub fn is_empty(directory: impl AsFd) -> Result<bool, Errno> {
    for entry in rustix::fs::Dir::read_from(directory)? {
        if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
            return Ok(false);
        }
    }
    Ok(true)
}

fn openat2(directory: impl AsFd, name: &str, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH
        | ResolveFlags::NO_SYMLINKS
        | ResolveFlags::NO_MAGICLINKS
        | ResolveFlags::NO_XDEV;
    loop {
        match rustix::fs::openat2(&directory, name, flags, mode, resolve) {
            // A rename somewhere in the tree during the walk (openat2(2)): the walk is begun again.
            Err(Errno::AGAIN | Errno::INTR) => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_share_refuses_is_said_in_words() {
        for (errno, expected) in [
            (Errno::DQUOT, "a limit of one NFS client"),
            (Errno::NOSPC, "the share is full"),
            (Errno::ROFS, "read-only"),
            (Errno::PERM, "no_root_squash"),
            (Errno::ACCESS, "elasticfilesystem:ClientRootAccess"),
        ] {
            let call = failed("making", "a/b")(errno).to_string();
            assert!(
                call.starts_with("making of `/volumes/a/b` failed: ") && call.contains(expected),
                "{call}"
            );
            let written = io("writing", "a/b")(std::io::Error::from(errno)).to_string();
            assert!(written.contains(expected), "{written}");
        }
        let plain = failed("making", "a/b")(Errno::EXIST).to_string();
        assert_eq!(plain, format!("making of `/volumes/a/b` failed: {}", Errno::EXIST));
    }
}
