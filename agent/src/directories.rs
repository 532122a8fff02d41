//! The directories of volumes on the share: owner files, `mkdirat` below held descriptors, and a record a volume.
//!
//! `<rack>-<app>` is ambiguous (`a-b` + `c`, `a` + `b-c`), so each such directory has an owner file with rack and app apart, and
//! a second owner is refused. A volume's record keeps its directory's inode: a directory that was replaced or is gone is an
//! alarm, since Docker would make an empty one without a word.

use crate::{
    diagnostics::in_one_line,
    ownership::{Mode, Owner as Ownership},
    record::{Left, Record, State, record_name},
    share::{Created, Directory, ShareError},
};
use rustix::{
    fs::{Gid, OFlags, Uid},
    io::Errno,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Directories are root's and readable by all, as Docker makes them.
const MODE: u32 = 0o755;

/// A user that is not root, for trying whether owners can be changed.
const NOBODY: u32 = 65_534;

/// How many volumes are asked about at a time: most of the time of each is a wait for the server.
const AT_A_TIME: usize = 16;

/// Volumes that should have a directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnsureRequest {
    /// Which.
    pub volumes: Vec<Wanted>,
    /// The instance that asks, for the records.
    pub by: String,
    /// The time, RFC 3339, for the records.
    pub now: String,
    /// The format that records are written in: what every agent of the share can read.
    pub format: u32,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// The rack.
    pub rack: String,
    /// The app.
    pub app: String,
    /// Its layout path, relative to the volumes root.
    pub path: String,
    /// Whose it is to be, where somebody says; else it is root's until the image says.
    pub owner: Option<Ownership>,
    /// Its permissions, likewise.
    pub mode: Option<Mode>,
    /// Why it is never to be filled, if it isn't.
    pub left: Option<Left>,
}

impl Wanted {
    /// What several services want of one directory together: who says something of it is heard, and who can't wait decides.
    pub fn join(&mut self, other: Self) {
        self.owner = self.owner.or(other.owner);
        self.mode = self.mode.or(other.mode);
        self.left = self.left.or(other.left);
    }
}

/// What was done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ensured {
    /// Layout paths whose directory was made just now.
    pub made: Vec<String>,
    /// Whether the share lets nobody change owners; tried only where a directory was made.
    pub chown_denied: bool,
    /// Those that no container may be given.
    pub refused: Vec<Refused>,
}

/// A volume that can't be had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Its layout path.
    pub path: String,
    /// Why, with what to do.
    pub why: String,
}

/// Why a volume has no directory that a container may be given.
#[derive(Debug, thiserror::Error)]
pub enum DirectoriesError {
    /// The directory belongs to another rack and app of the same joined name.
    #[error(
        "`{joined}` on the share belongs to app `{app}` of rack `{rack}`: two that join to one name can't share it, so rename one"
    )]
    SecondOwner {
        /// `<rack>-<app>`
        joined: String,
        /// Whose it is.
        rack: String,
        /// Whose it is.
        app: String,
    },
    /// The recorded directory isn't there.
    #[error(
        "the directory of volume `{path}` is gone; its record says that it was made at {made_at} by {made_by}: restore it, or remove the record `.volumes-agent/volumes/{record}` to begin with an empty one"
    )]
    Gone {
        /// Layout path.
        path: String,
        /// When it was made.
        made_at: String,
        /// By which instance.
        made_by: String,
        /// The record's file name.
        record: String,
    },
    /// Another directory is where the recorded one was.
    #[error(
        "the directory of volume `{path}` was replaced: its inode is {found}, its record of {made_at} says {recorded}. Containers that run since then write to the old one. To accept the new one, remove the record `.volumes-agent/volumes/{record}`"
    )]
    Replaced {
        /// Layout path.
        path: String,
        /// When it was made.
        made_at: String,
        /// Recorded inode.
        recorded: u64,
        /// Inode found.
        found: u64,
        /// The record's file name.
        record: String,
    },
    /// A call on the share.
    #[error(transparent)]
    Share(#[from] ShareError),
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Owner {
    format: u32,
    rack: String,
    app: String,
}

/// Makes what is missing, in a worker, [`AT_A_TIME`] volumes at a time. Nothing that exists is changed. What one volume can't have, others
/// can.
///
/// # Errors
/// The share as a whole can't be had. What was made before it stays.
pub fn ensure(request: &EnsureRequest) -> Result<Ensured, ShareError> {
    let share = Share {
        root: Directory::root()?,
        owners: Directory::of_agent("owners")?,
        records: Directory::of_agent("volumes")?,
        request,
    };
    let apps: BTreeSet<(&str, &str)> =
        request.volumes.iter().map(|volume| (volume.rack.as_str(), volume.app.as_str())).collect();
    let refused = |error: &DirectoriesError| in_one_line(error);
    let claims: BTreeMap<_, _> = apps
        .into_iter()
        .map(|(rack, app)| ((rack, app), share.claim(rack, app).err().as_ref().map(refused)))
        .collect();
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Ensured::default());
    let work = || {
        while let Some(volume) = request.volumes.get(next.fetch_add(1, Ordering::Relaxed)) {
            let claim = claims.get(&(volume.rack.as_str(), volume.app.as_str())).cloned().flatten();
            let made = match claim {
                Some(why) => Err(why),
                None => share.volume(volume).map_err(|error| refused(&error)),
            };
            // A thread that panicked while it held it had pushed all or nothing.
            let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
            match made {
                Ok(had) => {
                    if had.was_made {
                        done.made.push(volume.path.clone());
                    }
                    done.chown_denied |= had.chown_denied;
                }
                Err(why) => done.refused.push(Refused { path: volume.path.clone(), why }),
            }
        }
    };
    std::thread::scope(|scope| {
        // This thread is one of them.
        for _ in 1..AT_A_TIME.min(request.volumes.len()) {
            scope.spawn(work);
        }
        work();
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    if !done.made.is_empty() && !done.chown_denied {
        done.chown_denied = !share.lets_owners_change()?;
    }
    Ok(done)
}

/// What became of the records of a share that was adopted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renewed {
    /// Records that took the inode of the directory that is there now.
    pub renewed: usize,
    /// Layout paths of volumes whose directory is not there; their records are as they were.
    pub gone: Vec<String>,
    /// Why records, or the directories that they name, could not be looked at.
    pub unread: Vec<String>,
}

fn inode_at(path: &str) -> Result<Option<u64>, ShareError> {
    let mut directory = Directory::root()?;
    for component in path.split('/') {
        match directory.open(component)? {
            Some(next) => directory = next,
            None => return Ok(None),
        }
    }
    directory.inode().map(Some)
}

/// Gives each record the inode of its directory as it is now: in a restored copy every file has another one.
///
/// # Errors
/// [`ShareError`]; what was renewed before it stays, and doing it again does the rest.
pub fn renew_records() -> Result<Renewed, ShareError> {
    let records = Directory::of_agent("volumes")?;
    let mut done = Renewed::default();
    for name in records.names()?.into_iter().filter(|name| name.ends_with(".json") && !name.starts_with('.'))
    {
        // One that can't be read, or whose directory can't be opened, is no reason to leave the others: its alarm stays.
        let mut record = match records.read::<Record>(&name) {
            Ok(Some(record)) => record,
            Ok(None) => continue,
            Err(error) => {
                done.unread.push(in_one_line(&error));
                continue;
            }
        };
        match inode_at(&record.path) {
            Err(error) => done.unread.push(in_one_line(&error)),
            Ok(None) => done.gone.push(record.path),
            Ok(Some(inode)) if record.is_of(inode) => {}
            Ok(Some(inode)) => {
                record.inode = inode;
                records.replace(&name, &record)?;
                done.renewed += 1;
            }
        }
    }
    Ok(done)
}

/// What all volumes of a request need.
struct Share<'a> {
    root: Directory,
    owners: Directory,
    records: Directory,
    request: &'a EnsureRequest,
}

impl Share<'_> {
    /// Found out by trying, with a file of the agent's own: what an image has is given to its owner later, by a container, and nobody could
    /// say before that it can't.
    fn lets_owners_change(&self) -> Result<bool, ShareError> {
        let name = format!(".chown.{:016x}", fastrand::u64(..));
        let file = self.records.file(&name, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL)?;
        let changed =
            allowed(rustix::fs::fchown(&file, Some(Uid::from_raw(NOBODY)), Some(Gid::from_raw(NOBODY))));
        self.records.remove(&name)?;
        changed.map_err(self.records.failed("changing the owner of a file"))
    }

    fn claim(&self, rack: &str, app: &str) -> Result<(), DirectoriesError> {
        let joined = format!("{rack}-{app}");
        let name = format!("{joined}.json");
        let owner = Owner { format: self.request.format, rack: rack.to_owned(), app: app.to_owned() };
        let found = match self.owners.read::<Owner>(&name)? {
            Some(found) => Some(found),
            None => match self.owners.create(&name, &owner)? {
                Created::Made => return Ok(()),
                Created::Existed => self.owners.read::<Owner>(&name)?,
            },
        };
        match found {
            Some(found) if found.rack == rack && found.app == app => Ok(()),
            Some(Owner { rack, app, .. }) => Err(DirectoriesError::SecondOwner { joined, rack, app }),
            // Removed between two calls: the next round sees it either way.
            None => Ok(()),
        }
    }

    fn volume(&self, wanted: &Wanted) -> Result<Had, DirectoriesError> {
        let path = wanted.path.as_str();
        let name = record_name(path);
        let record = self.records.read::<Record>(&name)?;
        let (directory, was_made) = match (self.directory(path)?, &record) {
            (Some(found), _) => (found, false),
            (None, None) => self.make(path)?,
            (None, Some(record)) => {
                return Err(DirectoriesError::Gone {
                    path: path.to_owned(),
                    made_at: record.made_at.clone(),
                    made_by: record.made_by.clone(),
                    record: name,
                });
            }
        };
        let inode = directory.inode()?;
        let mut had = Had { was_made, chown_denied: false };
        let record = match record {
            Some(record) => Some(record),
            None => {
                // New, or made by Docker, or by an agent that ended here: what is in use is not given another owner.
                if directory.is_empty()? {
                    had.chown_denied = !dress(&directory, wanted)?;
                }
                let record = Record {
                    format: self.request.format,
                    path: path.to_owned(),
                    state: wanted.left.map_or(State::Made, |why| State::Left { why }),
                    inode,
                    made_at: self.request.now.clone(),
                    made_by: self.request.by.clone(),
                    owner: wanted.owner,
                    mode: wanted.mode,
                };
                match self.records.create(&name, &record)? {
                    Created::Made => Some(record),
                    Created::Existed => self.records.read(&name)?,
                }
            }
        };
        match record {
            Some(record) if !record.is_of(inode) => Err(DirectoriesError::Replaced {
                path: path.to_owned(),
                made_at: record.made_at,
                recorded: record.inode,
                found: inode,
                record: name,
            }),
            Some(mut record) => {
                let asked = (wanted.owner, wanted.mode);
                let left = wanted.left.filter(|_| record.state == State::Made);
                if left.is_some() || (record.owner, record.mode) != asked {
                    (record.owner, record.mode) = asked;
                    if let Some(why) = left {
                        record.state = State::Left { why };
                    }
                    self.records.replace(&name, &record)?;
                }
                Ok(had)
            }
            None => Ok(had),
        }
    }

    /// In one walk where it is there; where something else is on the way, the walk by components says what.
    fn directory(&self, path: &str) -> Result<Option<Directory>, ShareError> {
        match self.root.open(path) {
            Err(ShareError::NotADirectory(_)) => {}
            result => return result,
        }
        let mut directory = None;
        for component in path.split('/') {
            directory = directory.as_ref().unwrap_or(&self.root).open(component)?;
            if directory.is_none() {
                return Ok(None);
            }
        }
        Ok(directory)
    }

    fn make(&self, path: &str) -> Result<(Directory, bool), ShareError> {
        let mut made: Option<(Directory, bool)> = None;
        for component in path.split('/') {
            let parent = made.as_ref().map_or(&self.root, |(directory, _)| directory);
            made = Some(parent.make(component, MODE)?);
        }
        // `split` gives one component at least.
        made.ok_or(ShareError::NotADirectory(path.to_owned()))
    }
}

/// What became of a volume.
struct Had {
    was_made: bool,
    chown_denied: bool,
}

/// Whether an owner was changed; not, on a share that lets nobody do that.
fn allowed(changed: Result<(), Errno>) -> Result<bool, Errno> {
    match changed {
        Ok(()) => Ok(true),
        Err(Errno::PERM | Errno::ACCESS) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Gives a new directory its owner and mode. `false`: the share lets nobody change owners.
fn dress(directory: &Directory, wanted: &Wanted) -> Result<bool, ShareError> {
    let mut is_given = true;
    if let Some(Ownership { uid, gid }) = wanted.owner {
        let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        is_given = allowed(rustix::fs::fchown(directory.as_fd(), uid, gid))
            .map_err(directory.failed("changing the owner"))?;
    }
    if let Some(mode) = wanted.mode {
        rustix::fs::fchmod(directory.as_fd(), rustix::fs::Mode::from_raw_mode(mode.bits()))
            .map_err(directory.failed("changing the mode"))?;
    }
    Ok(is_given)
}
