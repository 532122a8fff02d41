//! The directories of volumes on the share: owner files, `mkdirat` below held descriptors, and a record a volume.
//!
//! `<rack>-<app>` is ambiguous (`a-b` + `c`, `a` + `b-c`), so each such directory has an owner file with rack and app apart, and
//! a second owner is refused. A volume's record keeps its directory's inode: a directory that was replaced or is gone is an
//! alarm, since Docker would make an empty one without a word.

use crate::{
    diagnostics::in_one_line,
    share::{Created, Directory, ShareError},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Directories are root's and readable by all, as Docker makes them.
const MODE: u32 = 0o755;

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
}

/// What was done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ensured {
    /// Layout paths whose directory was made just now.
    pub made: Vec<String>,
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

#[derive(Debug, Serialize, Deserialize)]
struct Record {
    format: u32,
    path: String,
    state: State,
    inode: u64,
    made_at: String,
    made_by: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Made,
}

/// The file name of a volume's record: a layout path may be longer than a name can be, so it is a hash of it.
pub fn record_name(path: &str) -> String {
    let hash = Sha256::digest(path.as_bytes());
    let hex: String = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("{hex}.json")
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
                None => share.volume(&volume.path).map_err(|error| refused(&error)),
            };
            // A thread that panicked while it held it had pushed all or nothing.
            let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
            match made {
                Ok(true) => done.made.push(volume.path.clone()),
                Ok(false) => {}
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
    Ok(done.into_inner().unwrap_or_else(PoisonError::into_inner))
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
            Ok(Some(inode)) if inode == record.inode => {}
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

    /// Returns whether the directory was made.
    fn volume(&self, path: &str) -> Result<bool, DirectoriesError> {
        let name = record_name(path);
        let record = self.records.read::<Record>(&name)?;
        let (directory, made) = match (self.directory(path)?, &record) {
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
        let record = match record {
            Some(record) => Some(record),
            None => {
                let record = Record {
                    format: self.request.format,
                    path: path.to_owned(),
                    state: State::Made,
                    inode,
                    made_at: self.request.now.clone(),
                    made_by: self.request.by.clone(),
                };
                match self.records.create(&name, &record)? {
                    Created::Made => Some(record),
                    Created::Existed => self.records.read(&name)?,
                }
            }
        };
        match record {
            Some(record) if record.inode != inode => Err(DirectoriesError::Replaced {
                path: path.to_owned(),
                made_at: record.made_at,
                recorded: record.inode,
                found: inode,
                record: name,
            }),
            _ => Ok(made),
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
