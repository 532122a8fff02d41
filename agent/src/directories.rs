//! The directories of volumes on the share: owner files, `mkdirat` below held descriptors, and a record a volume.
//!
//! `<rack>-<app>` is ambiguous (`a-b` + `c`, `a` + `b-c`), so each such directory has an owner file with rack and app apart, and
//! a second owner is refused. A volume's record keeps its directory's inode: a directory that was replaced or is gone is an
//! alarm, since Docker would make an empty one without a word.

use crate::{
    chown,
    diagnostics::in_one_line,
    ownership::{Mode, Owner as Ownership},
    record::{Left, Record, State, lock_name, record_name},
    share::{Created, Directory, FILLED_FORMAT, ShareError},
};
use draft::Draft;
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

mod draft;
mod side_by_side;

/// Directories are root's and readable by all, as Docker makes them.
const MODE: u32 = 0o755;

/// A user that is not root, for trying whether owners can be changed.
const NOBODY: Ownership = Ownership { uid: 65_534, gid: 65_534 };

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
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
    /// Those that stay whose the share says, since it lets nobody change owners; found out where a directory is new.
    pub chown_denied: Vec<String>,
    /// Those that are being filled just now, so that their records are to be looked at again.
    pub busy: Vec<String>,
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

/// Makes what is missing, in a worker, several volumes at a time. Nothing that exists is changed. What one volume can't have, others can.
///
/// # Errors
/// The share as a whole can't be had. What was made before it stays.
pub fn ensure(request: &EnsureRequest) -> Result<Ensured, ShareError> {
    let share = Share {
        root: Directory::root()?,
        owners: Directory::of_agent("owners")?,
        records: Directory::of_agent("volumes")?,
        drafts: Directory::of_agent("drafts")?,
        request,
    };
    let apps: BTreeSet<App<'_>> = request.volumes.iter().map(app_of).collect();
    let apps: Vec<_> = apps.into_iter().collect();
    let nothing = |_| ();
    let claims = side_by_side::map(&apps, nothing, |(), (rack, app)| share.claim(rack, app));
    let claims: BTreeMap<App<'_>, _> = apps.iter().copied().zip(claims).collect();
    // All are read before any is made: in a directory of NFS whoever looks for a name waits for those who make one, and the other way round.
    let records = side_by_side::map(&request.volumes, nothing, |(), volume| {
        share.records.read::<Record>(&record_name(&volume.path))
    });
    let volumes: Vec<_> = request.volumes.iter().zip(&records).collect();
    let draft = |thread| Draft::new(&share.drafts, &request.by, thread);
    let had = side_by_side::map(&volumes, draft, |draft, (volume, record)| {
        if let Some(Err(error)) = claims.get(&app_of(volume)) {
            return Err(in_one_line(error));
        }
        let record = record.as_ref().map_err(|error| in_one_line(error))?.clone();
        share.volume(volume, record, draft).map_err(|error| in_one_line(&error))
    });
    let mut done = Ensured::default();
    for (volume, had) in request.volumes.iter().zip(had) {
        let path = || volume.path.clone();
        match had {
            Ok(had) => {
                done.made.extend(had.was_made.then(path));
                done.chown_denied.extend(had.chown_denied.then(path));
                done.busy.extend(had.is_busy.then(path));
            }
            Err(why) => done.refused.push(Refused { path: path(), why }),
        }
    }
    if !done.made.is_empty() && done.chown_denied.is_empty() && !share.lets_owners_change()? {
        done.chown_denied.clone_from(&done.made);
    }
    Ok(done)
}

/// Rack and app.
type App<'a> = (&'a str, &'a str);

fn app_of(volume: &Wanted) -> App<'_> {
    (&volume.rack, &volume.app)
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
    drafts: Directory,
    request: &'a EnsureRequest,
}

impl Share<'_> {
    /// Found out by trying, with a file of the agent's own: what an image has is given to its owner later, by a container, and nobody could
    /// say before that it can't.
    fn lets_owners_change(&self) -> Result<bool, ShareError> {
        let name = format!(".chown.{:016x}", fastrand::u64(..));
        let file = self.records.file(&name, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL)?;
        let changed = chown::of_open(&file, NOBODY);
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

    /// `record`: what was there of it when the request began. Where it doesn't fit, it is read anew before anybody is told: meanwhile a
    /// container may have put what it filled in place, or an operator have removed record and directory.
    fn volume(
        &self,
        wanted: &Wanted,
        record: Option<Record>,
        draft: &mut Draft<'_>,
    ) -> Result<Had, DirectoriesError> {
        match self.volume_of(record, wanted, draft) {
            Err(DirectoriesError::Gone { .. } | DirectoriesError::Replaced { .. }) => {
                self.volume_of(self.record_by_now(&wanted.path)?, wanted, draft)
            }
            result => result,
        }
    }

    /// By the server's word.
    fn record_by_now(&self, path: &str) -> Result<Option<Record>, ShareError> {
        self.records.refresh()?;
        self.records.read(&record_name(path))
    }

    fn volume_of(
        &self,
        record: Option<Record>,
        wanted: &Wanted,
        draft: &mut Draft<'_>,
    ) -> Result<Had, DirectoriesError> {
        let path = wanted.path.as_str();
        let name = record_name(path);
        let (directory, was_made) = match &record {
            Some(record) => match self.directory(path)? {
                Some(found) => (found, false),
                None => {
                    return Err(DirectoriesError::Gone {
                        path: path.to_owned(),
                        made_at: record.made_at.clone(),
                        made_by: record.made_by.clone(),
                        record: name,
                    });
                }
            },
            None => match self.make(path)? {
                (made, true) => (made, true),
                // The NFS client may remember a directory that was removed on another instance, together with its record: a new
                // record of that one would be wrong for ever.
                (_, false) => match self.by_the_servers_word(path)? {
                    Some(found) => (found, false),
                    None => self.make(path)?,
                },
            },
        };
        let inode = directory.inode()?;
        let mut had = Had { was_made, chown_denied: false, is_busy: false };
        // Who reads an older format has never heard of volumes that are filled, and none is then.
        let left = wanted.left.filter(|_| self.request.format >= FILLED_FORMAT);
        let record = match record {
            // Whoever made the directory meanwhile has made a record as well, or does so now.
            None if !was_made => self.record_by_now(path)?,
            record => record,
        };
        let record = match record {
            Some(record) => Some(record),
            None => {
                // New, or made by Docker, or by an agent that ended here: what is in use is not given another owner.
                let is_asked_for = wanted.owner.is_some() || wanted.mode.is_some();
                if is_asked_for {
                    let directory = directory.whole()?;
                    if directory.is_empty()? {
                        had.chown_denied = !dress(&directory, wanted)?;
                    }
                }
                let record = Record {
                    format: self.request.format,
                    path: path.to_owned(),
                    state: left.map_or(State::Made, |why| State::Left { why }),
                    inode,
                    made_at: self.request.now.clone(),
                    made_by: self.request.by.clone(),
                    owner: wanted.owner,
                    mode: wanted.mode,
                };
                match self.records.create_by(draft.folder()?, &name, &record)? {
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
            Some(record) => {
                had.is_busy = self.update(record, wanted, left)?;
                Ok(had)
            }
            None => Ok(had),
        }
    }

    /// Notes in a record that is there what is asked for by now. `true`: not yet, since a container fills the volume.
    fn update(&self, record: Record, wanted: &Wanted, left: Option<Left>) -> Result<bool, ShareError> {
        let as_asked = |mut record: Record| {
            (record.owner, record.mode) = (wanted.owner, wanted.mode);
            if let Some(why) = left.filter(|_| record.state == State::Made) {
                record.state = State::Left { why };
                record.format = self.request.format;
            }
            record
        };
        if as_asked(record.clone()) == record {
            return Ok(false);
        }
        // A container may be writing it as well: who has the lock, and reads what is there by then, loses nothing of the other's.
        let Some(_lock) = self.records.lock(&lock_name(&record.path))? else { return Ok(true) };
        let name = record_name(&record.path);
        self.records.refresh()?;
        if let Some(record) = self.records.read::<Record>(&name)? {
            self.records.replace(&name, &as_asked(record))?;
        }
        Ok(false)
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

    /// As [`Share::directory`], and each component is asked for anew.
    fn by_the_servers_word(&self, path: &str) -> Result<Option<Directory>, ShareError> {
        let mut directory = None;
        for component in path.split('/') {
            let parent = directory.as_ref().unwrap_or(&self.root);
            parent.refresh()?;
            directory = parent.open(component)?;
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
            made = Some(parent.make_on_the_way(component, MODE)?);
        }
        // `split` gives one component at least.
        made.ok_or(ShareError::NotADirectory(path.to_owned()))
    }
}

/// What became of a volume.
struct Had {
    was_made: bool,
    chown_denied: bool,
    is_busy: bool,
}

/// Gives a new directory its owner and mode. `false`: the share lets nobody change owners.
fn dress(directory: &Directory, wanted: &Wanted) -> Result<bool, ShareError> {
    let is_given = match wanted.owner {
        Some(owner) => {
            chown::of_open(directory.as_fd(), owner).map_err(directory.failed("changing the owner"))?
        }
        None => true,
    };
    if let Some(mode) = wanted.mode {
        rustix::fs::fchmod(directory.as_fd(), rustix::fs::Mode::from_raw_mode(mode.bits()))
            .map_err(directory.failed("changing the mode"))?;
    }
    Ok(is_given)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const PATH: &str = "r-a/web/data";

    fn request(format: u32) -> EnsureRequest {
        EnsureRequest { volumes: Vec::new(), by: "i-1".to_owned(), now: "t".to_owned(), format }
    }

    fn wanted(left: Option<Left>, owner: Option<&str>) -> Wanted {
        Wanted {
            rack: "r".to_owned(),
            app: "a".to_owned(),
            path: PATH.to_owned(),
            owner: owner.map(|owner| owner.parse().unwrap()),
            mode: None,
            left,
        }
    }

    fn volume(share: &Share<'_>, wanted: &Wanted) -> Result<Had, DirectoriesError> {
        volume_knowing(share, share.records.read(&record_name(PATH))?, wanted)
    }

    fn volume_knowing(
        share: &Share<'_>,
        record: Option<Record>,
        wanted: &Wanted,
    ) -> Result<Had, DirectoriesError> {
        share.volume(wanted, record, &mut Draft::new(&share.drafts, "i-1", 0))
    }

    /// What is done on a share that is a directory of this machine.
    fn on_a_share(name: &str, format: u32, test: impl FnOnce(&Share<'_>, &dyn Fn() -> Record)) {
        let path =
            std::env::temp_dir().join(format!("volumes-agent-directories-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        for folder in ["owners", "records", "drafts"] {
            fs::create_dir(path.join(folder)).unwrap();
        }
        // Of a worker that was killed.
        fs::create_dir(path.join("drafts/i-1-0")).unwrap();
        fs::write(path.join("drafts/i-1-0/.left"), "").unwrap();
        let open = |folder: &str| Directory::anywhere(path.join(folder), folder).unwrap();
        let request = request(format);
        let share = Share {
            root: open(""),
            owners: open("owners"),
            records: open("records"),
            drafts: open("drafts"),
            request: &request,
        };
        test(&share, &|| open("records").read(&record_name(PATH)).unwrap().unwrap());
        assert_eq!(open("drafts").names().unwrap(), Vec::<String>::new(), "drafts are gone afterwards");
        fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn a_new_directory_is_whose_it_is_to_be_and_an_existing_one_never() {
        on_a_share("owner", FILLED_FORMAT, |share, record| {
            volume(share, &wanted(None, Some("7:8"))).unwrap();
            assert!(share.directory(PATH).unwrap().unwrap().inode().is_ok_and(|inode| record().is_of(inode)));
            let owner = || {
                let stat = rustix::fs::fstat(share.directory(PATH).unwrap().unwrap().as_fd()).unwrap();
                Ownership { uid: stat.st_uid, gid: stat.st_gid }
            };
            assert_eq!(Some(owner()), "7:8".parse().ok());
            volume(share, &wanted(None, Some("9:9"))).unwrap();
            assert_eq!(Some(owner()), "7:8".parse().ok(), "never changed by itself");
            assert_eq!(record().owner, "9:9".parse().ok(), "and told as drift");
        });
    }

    #[test]
    fn a_record_that_a_container_is_writing_is_left_for_later() {
        on_a_share("busy", FILLED_FORMAT, |share, record| {
            volume(share, &wanted(None, None)).unwrap();
            let lock = share.records.lock(&lock_name(PATH)).unwrap();
            assert!(volume(share, &wanted(Some(Left::Held), None)).unwrap().is_busy);
            let mut filled = record();
            filled.state =
                State::Seeding { next: 5, sibling: ".s".to_owned(), entries: 1, chown_denied: false };
            share.records.replace(&record_name(PATH), &filled).unwrap();
            drop(lock);
            assert!(!volume(share, &wanted(Some(Left::Held), Some("7:8"))).unwrap().is_busy);
            assert_eq!(record().state, filled.state, "it is being filled: nothing of that is lost");
            assert_eq!(record().owner, "7:8".parse().ok());
        });
    }

    #[test]
    fn what_became_of_a_record_since_it_was_read_counts() {
        on_a_share("since", FILLED_FORMAT, |share, record| {
            volume(share, &wanted(None, Some("7:8"))).unwrap();
            // Another instance made it, and nothing is in it yet.
            let had = volume_knowing(share, None, &wanted(None, Some("9:9"))).unwrap();
            let (owner, _) = share.directory(PATH).unwrap().unwrap().looks().unwrap();
            assert_eq!((had.was_made, Some(owner)), (false, "7:8".parse().ok()), "not given away again");
            // A container put another directory in its place.
            let another = Record { inode: record().inode + 1, ..record() };
            assert!(volume_knowing(share, Some(another.clone()), &wanted(None, None)).is_ok());
            share.records.replace(&record_name(PATH), &another).unwrap();
            let replaced = volume_knowing(share, Some(another), &wanted(None, None));
            assert!(
                matches!(replaced, Err(DirectoriesError::Replaced { .. })),
                "and what is so still is told"
            );
            // An operator removed both.
            let gone = record();
            share.records.remove(&record_name(PATH)).unwrap();
            share.root.open("r-a/web").unwrap().unwrap().remove_directory("data").unwrap();
            assert!(volume_knowing(share, Some(gone), &wanted(None, None)).unwrap().was_made);
            assert!(share.directory(PATH).unwrap().unwrap().inode().is_ok_and(|inode| record().is_of(inode)));
        });
    }

    #[test]
    fn what_older_agents_do_not_know_is_not_written_while_they_are_alive() {
        on_a_share("format", 1, |share, record| {
            volume(share, &wanted(Some(Left::Held), None)).unwrap();
            assert_eq!((record().state, record().format), (State::Made, 1));
            let request = request(FILLED_FORMAT);
            let newer = Share {
                request: &request,
                root: share.root.again().unwrap(),
                owners: share.owners.again().unwrap(),
                records: share.records.again().unwrap(),
                drafts: share.drafts.again().unwrap(),
            };
            volume(&newer, &wanted(Some(Left::Held), None)).unwrap();
            assert_eq!((record().state, record().format), (State::Left { why: Left::Held }, FILLED_FORMAT));
        });
    }
}
