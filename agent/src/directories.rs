//! The directories of volumes on the share: owner files, `mkdirat` below held descriptors, and a record a volume.
//!
//! `<rack>-<app>` is ambiguous (`a-b` + `c`, `a` + `b-c`), so each such directory has an owner file with rack and app apart, and
//! a second owner is refused. A volume's record keeps its directory's inode: a directory that was replaced or is gone is an
//! alarm, since Docker would make an empty one without a word.

use crate::{
    names::{App, Rack},
    share::{Created, Directory, FORMAT, ShareError},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Directories are root's and readable by all, as Docker makes them.
const MODE: u32 = 0o755;

/// Volumes of one app that should have a directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnsureRequest {
    /// The rack.
    pub rack: String,
    /// The app.
    pub app: String,
    /// Layout paths, relative to the volumes root.
    pub volumes: Vec<String>,
    /// The instance that asks, for the records.
    pub by: String,
    /// The time, RFC 3339, for the records.
    pub now: String,
}

impl EnsureRequest {
    /// A request of `by` at `now`.
    pub fn new(rack: &Rack, app: &App, volumes: Vec<String>, by: &str, now: String) -> Self {
        Self { rack: rack.to_string(), app: app.to_string(), volumes, by: by.to_owned(), now }
    }
}

/// What was done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ensured {
    /// Layout paths whose directory was made just now.
    pub made: Vec<String>,
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

/// Makes what is missing, in a worker. Nothing that exists is changed.
///
/// # Errors
/// [`DirectoriesError`]; what was made before it stays.
pub fn ensure(request: &EnsureRequest) -> Result<Ensured, DirectoriesError> {
    let joined = format!("{}-{}", request.rack, request.app);
    claim(&joined, &Owner { format: FORMAT, rack: request.rack.clone(), app: request.app.clone() })?;
    let records = Directory::of_agent("volumes")?;
    let mut done = Ensured::default();
    for path in &request.volumes {
        if volume(&records, path, request)? {
            done.made.push(path.clone());
        }
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
        let Some(mut record) = records.read::<Record>(&name)? else { continue };
        let mut directory = Some(Directory::root()?);
        for component in record.path.split('/') {
            directory = match directory {
                Some(at) => at.open(component)?,
                None => break,
            };
        }
        match directory.map(|directory| directory.inode()).transpose()? {
            None => done.gone.push(record.path),
            Some(inode) if inode == record.inode => {}
            Some(inode) => {
                record.inode = inode;
                records.replace(&name, &record)?;
                done.renewed += 1;
            }
        }
    }
    Ok(done)
}

fn claim(joined: &str, owner: &Owner) -> Result<(), DirectoriesError> {
    let owners = Directory::of_agent("owners")?;
    let name = format!("{joined}.json");
    let found = match owners.read::<Owner>(&name)? {
        Some(found) => Some(found),
        None => match owners.create(&name, owner)? {
            Created::Made => return Ok(()),
            Created::Existed => owners.read::<Owner>(&name)?,
        },
    };
    match found {
        Some(found) if found.rack == owner.rack && found.app == owner.app => Ok(()),
        Some(Owner { rack, app, .. }) => {
            Err(DirectoriesError::SecondOwner { joined: joined.to_owned(), rack, app })
        }
        // Removed between two calls: the next round sees it either way.
        None => Ok(()),
    }
}

/// Returns whether the directory was made.
fn volume(records: &Directory, path: &str, request: &EnsureRequest) -> Result<bool, DirectoriesError> {
    let name = record_name(path);
    let record = records.read::<Record>(&name)?;
    let mut directory = Directory::root()?;
    let mut made = false;
    for component in path.split('/') {
        let (next, new) = match &record {
            None => directory.make(component, MODE)?,
            Some(record) => match directory.open(component)? {
                Some(next) => (next, false),
                None => {
                    return Err(DirectoriesError::Gone {
                        path: path.to_owned(),
                        made_at: record.made_at.clone(),
                        made_by: record.made_by.clone(),
                        record: name,
                    });
                }
            },
        };
        (directory, made) = (next, new);
    }
    let inode = directory.inode()?;
    let record = match record {
        Some(record) => Some(record),
        None => {
            let record = Record {
                format: FORMAT,
                path: path.to_owned(),
                state: State::Made,
                inode,
                made_at: request.now.clone(),
                made_by: request.by.clone(),
            };
            match records.create(&name, &record)? {
                Created::Made => Some(record),
                Created::Existed => records.read(&name)?,
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
