//! Another owner for a volume's directory and all that is in it. Runs in a process of its own, which a share that hangs may keep.
//!
//! Containers write while it works, so that every directory is opened below the one before it and no symlink is followed: what a container
//! puts in the way is given away as what it is, a symlink.

use crate::{
    chown,
    mount::VOLUMES_ROOT,
    order::RECORDS,
    ownership::Owner,
    record::{Record, record_name},
    share::{AGENT_DIRECTORY, Directory, ShareError},
};
use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags},
    io::Errno,
};
use std::{
    ffi::CStr,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

/// How often it is told how far it is.
const TELLS: Duration = Duration::from_secs(2);

/// How far it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// To whom.
    pub owner: Owner,
    /// Entries that were looked at.
    pub looked_at: u64,
    /// Those that were somebody else's.
    pub changed: u64,
}

/// Why it ended.
#[derive(Debug, thiserror::Error)]
pub enum GivingError {
    /// The share.
    #[error(transparent)]
    Share(#[from] ShareError),
    /// No volume of that path has a record.
    #[error("{VOLUMES_ROOT}/{0} is no volume that the agent knows")]
    NoVolume(String),
    /// Nobody said to whom.
    #[error("nothing says whose {VOLUMES_ROOT}/{0} is to be")]
    NoOwner(String),
    /// A call, on something in the volume.
    #[error("{call} of {VOLUMES_ROOT}/{path} failed: {errno}; {changed} entries were given away before")]
    Failed {
        /// What was tried.
        call: &'static str,
        /// On what.
        path: String,
        /// The error.
        errno: Errno,
        /// How many were changed.
        changed: u64,
    },
}

impl GivingError {
    /// What to do next.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Share(_) => "`volumes-agent doctor` tells what is wrong with the share",
            Self::NoVolume(_) => "`volumes-agent ls` lists them",
            Self::NoOwner(_) => "name it, as in `1000:1000`, or set `owner` in `x-volumes`",
            Self::Failed { errno: Errno::PERM, .. } => {
                "the share lets nobody change owners: an access point with a user of its own, or an export that squashes root"
            }
            Self::Failed { .. } => "call it again: it goes on where it ended",
        }
    }
}

/// Gives a volume away; to whom its record says, where nobody else is named.
///
/// # Errors
/// [`GivingError`]
pub fn give(path: &str, to: Option<Owner>, tell: &dyn Fn(&Given)) -> Result<Given, GivingError> {
    let root = Directory::root()?;
    give_below(&root, path, to, tell)
}

fn give_below(
    root: &Directory,
    path: &str,
    to: Option<Owner>,
    tell: &dyn Fn(&Given),
) -> Result<Given, GivingError> {
    let records = match root.open(AGENT_DIRECTORY)? {
        Some(agent) => agent.open(RECORDS)?,
        None => None,
    };
    let record: Option<Record> = match &records {
        Some(records) => records.read(&record_name(path))?,
        None => None,
    };
    let no_volume = || GivingError::NoVolume(path.to_owned());
    let record = record.ok_or_else(no_volume)?;
    let owner = to.or(record.owner).ok_or_else(|| GivingError::NoOwner(path.to_owned()))?;
    let volume = root.open(path)?.ok_or_else(no_volume)?;
    let given = Given { owner, looked_at: 0, changed: 0 };
    let mut giving = Giving { given, told: Instant::now(), tell, path: path.to_owned() };
    let directory =
        volume.as_fd().try_clone_to_owned().map_err(|error| giving.failed("opening", c"")(errno(&error)))?;
    giving.below(&directory)?;
    giving.one(&directory, c"")?;
    Ok(giving.given)
}

fn errno(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

struct Giving<'a> {
    given: Given,
    told: Instant,
    tell: &'a dyn Fn(&Given),
    /// The directory that it is in, for messages.
    path: String,
}

impl Giving<'_> {
    fn failed(&self, call: &'static str, name: &CStr) -> impl FnOnce(Errno) -> GivingError + use<> {
        let path = format!("{}/{}", self.path, name.to_string_lossy()).trim_end_matches('/').to_owned();
        let changed = self.given.changed;
        move |errno| GivingError::Failed { call, path, errno, changed }
    }

    /// All that is in a directory.
    fn below(&mut self, directory: &OwnedFd) -> Result<(), GivingError> {
        let listed = Dir::read_from(directory).map_err(self.failed("listing", c""))?;
        for entry in listed {
            let entry = entry.map_err(self.failed("listing", c""))?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            if entry.file_type() != FileType::RegularFile {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                match rustix::fs::openat(directory, name, flags, Mode::empty()) {
                    Ok(inner) => {
                        let above = self.path.len();
                        self.path = format!("{}/{}", self.path, name.to_string_lossy());
                        self.below(&inner)?;
                        self.path.truncate(above);
                    }
                    // No directory, or removed meanwhile.
                    Err(Errno::NOTDIR | Errno::LOOP | Errno::NOENT | Errno::STALE | Errno::NXIO) => {}
                    Err(errno) => return Err(self.failed("opening", name)(errno)),
                }
            }
            self.one(directory, name)?;
        }
        Ok(())
    }

    /// One entry; without a name the directory itself.
    fn one(&mut self, directory: &OwnedFd, name: &CStr) -> Result<(), GivingError> {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
        let stat = match rustix::fs::statat(directory, name, flags) {
            Ok(stat) => stat,
            Err(Errno::NOENT | Errno::STALE) => return Ok(()),
            Err(errno) => return Err(self.failed("stat", name)(errno)),
        };
        self.given.looked_at += 1;
        let Owner { uid, gid } = self.given.owner;
        if (stat.st_uid, stat.st_gid) != (uid, gid) {
            match chown::of_entry(directory, name, self.given.owner) {
                Ok(true) => self.given.changed += 1,
                Ok(false) => return Err(self.failed("changing the owner", name)(Errno::PERM)),
                Err(Errno::NOENT | Errno::STALE) => {}
                Err(errno) => return Err(self.failed("changing the owner", name)(errno)),
            }
        }
        if self.told.elapsed() >= TELLS {
            (self.tell)(&self.given);
            self.told = Instant::now();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{record::State, share::FORMAT};
    use std::{
        fs,
        os::unix::fs::{MetadataExt, lchown, symlink},
    };

    // Temporary directories of tests are on no mount.
    #[allow(clippy::disallowed_methods)]
    #[test]
    fn a_volume_is_given_away_whole_and_nothing_outside_of_it() {
        let share = std::env::temp_dir().join(format!("volumes-agent-giving-{}", std::process::id()));
        let _ = fs::remove_dir_all(&share);
        let path = "r-a/web/data";
        let volume = share.join(path);
        fs::create_dir_all(volume.join("sub/deep")).unwrap();
        fs::create_dir_all(share.join(".volumes-agent/volumes")).unwrap();
        fs::write(volume.join("sub/file"), "").unwrap();
        fs::write(share.join("outside"), "").unwrap();
        symlink(share.join("outside"), volume.join("link")).unwrap();
        lchown(volume.join("sub/file"), Some(5), Some(6)).unwrap();
        let root = Directory::anywhere(&share, "").unwrap();
        let give = |to: Option<&str>| {
            let to = to.map(|to| to.parse().unwrap());
            give_below(&root, path, to, &|_| {}).map_err(|error| error.to_string())
        };
        assert_eq!(give(None).unwrap_err(), format!("/volumes/{path} is no volume that the agent knows"));
        let record = Record {
            format: FORMAT,
            path: path.to_owned(),
            state: State::Made,
            inode: 1,
            made_at: String::new(),
            made_by: String::new(),
            owner: None,
            mode: None,
        };
        let write = |record: &Record| {
            let name = share.join(".volumes-agent/volumes").join(record_name(path));
            fs::write(name, serde_json::to_string(record).unwrap()).unwrap();
        };
        write(&record);
        assert_eq!(give(None).unwrap_err(), format!("nothing says whose /volumes/{path} is to be"));
        write(&Record { owner: "5:6".parse().ok(), ..record });
        let given = give(None).unwrap();
        assert_eq!((given.looked_at, given.changed), (5, 4), "one was right already");
        for name in ["", "sub", "sub/deep", "sub/file", "link"] {
            let meta = fs::symlink_metadata(volume.join(name)).unwrap();
            assert_eq!((meta.uid(), meta.gid()), (5, 6), "{name}");
        }
        assert_eq!(fs::metadata(share.join("outside")).unwrap().uid(), 0);
        assert_eq!(give(Some("7:8")).unwrap().changed, 5, "who is named wins");
        assert_eq!(give(Some("7:8")).unwrap().changed, 0, "what is right is left alone");
        fs::remove_dir_all(&share).unwrap();
    }
}
