//! One volume, from its record's word to a filled directory: once, whole or not at all, by one host at a time.
//!
//! What decides is the record, under a lock on the share. Where nobody but tasks of the service that wait for this can have the
//! directory, a hidden sibling is filled and takes its place by rename(2), which the server refuses where the directory is not empty. A
//! named volume may be held by any service of the app, and a rename would send what those write to a deleted directory: there the sibling
//! is emptied into it, entry by entry. A crash at any point leaves a record that says how far it came, and siblings that the next start
//! removes.

use crate::{
    copy::{self, Copied, CopyError, Looks},
    order::{self, Order, RECORDS},
    record::{self, Left, Record, State},
    share::{self, AGENT_DIRECTORY, Created, Directory, FORMAT, ShareError, VOLUMES_ROOT},
};
use rustix::{
    fs::{AtFlags, Mode, OFlags},
    io::Errno,
};
use std::{
    fmt,
    fs::File,
    io::{self, Seek, Write},
    os::fd::{AsRawFd, OwnedFd},
    time::{Duration, Instant, SystemTime},
};

/// Volumes' directories are root's and readable by all, as Docker makes them, until the image says otherwise.
const MODE: u32 = 0o755;
/// How often the lock is asked for, while another host fills the volume.
const ASK_AGAIN: Duration = Duration::from_millis(250);
/// How often it is said that it is waited for.
const SAY_AGAIN: Duration = Duration::from_secs(15);
/// How often the NFS client is asked for what it remembers otherwise, before that counts as so.
const LOOKS: u32 = 5;

/// What a seeding container has of the share, and who it is.
#[derive(Debug)]
pub struct Site {
    /// The directory of volumes' records.
    pub records: Directory,
    /// The root of the image, which targets are below; `/` but in tests.
    pub image: String,
    /// Who does it, for records.
    pub by: String,
}

/// What became of a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was settled before.
    Before(State),
    /// It was filled now.
    Filled(Copied),
    /// It was given the image's owner and mode; the image has nothing in it.
    Dressed,
    /// It stays as it is, for good.
    Left(Left),
    /// The image has no directory there; another service's may have one.
    Nothing,
}

/// Why a volume can't be given to the app.
#[derive(Debug, thiserror::Error)]
pub enum SeedingError {
    /// The path in the order is none.
    #[error("`{0}` is no path of a volume")]
    NoPath(String),
    /// Something on the share.
    #[error(transparent)]
    Share(#[from] ShareError),
    /// The image could not be read, or not copied.
    #[error("the image's `{target}` could not be copied")]
    Copy {
        /// The path in the image.
        target: String,
        /// Why.
        source: CopyError,
    },
    /// A call on the image's directory.
    #[error("{call} of the image's `{target}` failed: {errno}")]
    Image {
        /// What was tried.
        call: &'static str,
        /// The path in the image.
        target: String,
        /// The error.
        errno: Errno,
    },
    /// The directory is not the recorded one.
    #[error(
        "the directory of volume {VOLUMES_ROOT}/{path} {what}, made at {made_at} by {made_by}: put it back, or, to go on with what is there, remove the record {VOLUMES_ROOT}/{AGENT_DIRECTORY}/{RECORDS}/{record} and start the task anew"
    )]
    NotTheRecorded {
        /// Layout path.
        path: String,
        /// `is gone`, `was replaced`.
        what: &'static str,
        /// When the recorded one was made.
        made_at: String,
        /// By whom.
        made_by: String,
        /// The record's file name.
        record: String,
    },
}

/// How a step along the way is told.
pub type Tell<'a> = &'a dyn Fn(fmt::Arguments<'_>);

/// Sees to it that a volume is as it should be when a container is let to it. `folder` is the part of the share that holds it.
///
/// # Errors
/// [`SeedingError`]; the app is not to start then, and the next start begins again.
pub fn seed(site: &Site, folder: &Directory, order: &Order, tell: Tell<'_>) -> Result<Outcome, SeedingError> {
    let (_, below) = order::folder(&order.path).ok_or_else(|| SeedingError::NoPath(order.path.clone()))?;
    let volume = Volume { site, folder, order, below, record: record::record_name(&order.path) };
    if let Some(record) = volume.record()?
        && record.state.is_settled()
    {
        volume.is_the_recorded(&record)?;
        return Ok(Outcome::Before(record.state));
    }
    let mut lock = volume.lock(tell)?;
    volume.under_the_lock(&mut lock)
}

/// A volume that is being looked at.
struct Volume<'a> {
    site: &'a Site,
    folder: &'a Directory,
    order: &'a Order,
    /// Its path below the folder.
    below: &'a str,
    /// Its record's file name.
    record: String,
}

impl Volume<'_> {
    /// By the server's word: another host may have written it a moment ago.
    fn record(&self) -> Result<Option<Record>, SeedingError> {
        self.site.records.refresh()?;
        Ok(self.site.records.read(&self.record)?)
    }

    fn write(&self, record: &Record) -> Result<(), SeedingError> {
        Ok(self.site.records.replace(&self.record, record)?)
    }

    fn failed(&self, call: &'static str) -> impl FnOnce(Errno) -> SeedingError {
        let path = self.order.path.clone();
        move |errno| ShareError::Failed { call, path, errno }.into()
    }

    fn of_the_image(&self, call: &'static str) -> impl FnOnce(Errno) -> SeedingError {
        let target = self.order.target.clone();
        move |errno| SeedingError::Image { call, target, errno }
    }

    /// The directory, by the server's word, with the one that it is in. `None`: it, or that one, is not there.
    fn directory(&self) -> Result<Option<(Directory, Directory)>, SeedingError> {
        let Some(parent) = self.parent()? else { return Ok(None) };
        parent.refresh()?;
        Ok(parent.open(self.name())?.map(|directory| (parent, directory)))
    }

    fn name(&self) -> &str {
        self.below.rsplit('/').next().unwrap_or(self.below)
    }

    fn parent(&self) -> Result<Option<Directory>, SeedingError> {
        let mut parent = self.folder.again()?;
        let Some((way, _)) = self.below.rsplit_once('/') else { return Ok(Some(parent)) };
        for component in way.split('/') {
            parent.refresh()?;
            match parent.open(component)? {
                Some(next) => parent = next,
                None => return Ok(None),
            }
        }
        Ok(Some(parent))
    }

    /// That the directory is the record's, for this host as well: Docker is about to bind what its NFS client remembers.
    fn is_the_recorded(&self, record: &Record) -> Result<(Directory, Directory), SeedingError> {
        let mut what = "is gone";
        for look in 0..LOOKS {
            if look > 0 {
                std::thread::sleep(ASK_AGAIN);
            }
            match self.directory()? {
                Some((parent, directory)) if record.is_of(directory.inode()?) => {
                    return Ok((parent, directory));
                }
                Some(_) => what = "was replaced",
                None => what = "is gone",
            }
        }
        Err(SeedingError::NotTheRecorded {
            path: self.order.path.clone(),
            what,
            made_at: record.made_at.clone(),
            made_by: record.made_by.clone(),
            record: self.record.clone(),
        })
    }

    /// Waits until no other container, on any host, has it.
    fn lock(&self, tell: Tell<'_>) -> Result<File, SeedingError> {
        let name = record::lock_name(&self.order.path);
        let begun = Instant::now();
        let mut said: Option<Instant> = None;
        loop {
            if let Some(lock) = self.site.records.lock(&name)? {
                return Ok(lock);
            }
            if said.is_none_or(|said| said.elapsed() >= SAY_AGAIN) {
                tell(format_args!(
                    "another container fills it; waiting ({} s so far)",
                    begun.elapsed().as_secs()
                ));
                said = Some(Instant::now());
            }
            std::thread::sleep(ASK_AGAIN);
        }
    }

    fn under_the_lock(&self, lock: &mut File) -> Result<Outcome, SeedingError> {
        let record = match self.record()? {
            Some(record) => record,
            None => self.first_record()?,
        };
        let (parent, directory) = self.is_the_recorded(&record)?;
        let mut record = match record.state.clone() {
            State::Seeded { .. } | State::Left { .. } => return Ok(Outcome::Before(record.state)),
            State::Made => record,
            State::Seeding { .. } => match self.resumed(record, &parent, &directory)? {
                Resumed::Filled(copied) => return Ok(Outcome::Filled(copied)),
                Resumed::ToBegin(record) => record,
            },
        };
        self.remove_siblings(&parent)?;
        if !directory.is_empty()? {
            return self.left(record, Left::NotEmpty);
        }
        let image = match self.image()? {
            Some(image) => image,
            None => {
                self.asked(&record, &directory)?;
                // Who holds a named volume keeps the directory when another service's image fills it.
                return match order::is_named(&self.order.path) {
                    true => Ok(Outcome::Nothing),
                    false => self.left(record, Left::NothingInImage),
                };
            }
        };
        let looks = self.looks(&record, &image)?;
        if share::is_empty(&image).map_err(self.of_the_image("listing"))? {
            let chown_denied = !looks.give(directory.as_fd()).map_err(self.failed("changing the owner"))?;
            self.seeded(record, 0, chown_denied)?;
            return Ok(Outcome::Dressed);
        }
        let sibling = format!("{}{:016x}", record::sibling_prefix(&self.order.path), fastrand::u64(..));
        let (filled, _) = parent.make(&sibling, 0o700)?;
        let destination =
            filled.as_fd().try_clone_to_owned().map_err(|error| self.failed("opening")(errno(&error)))?;
        let mut copied = copy::copy(image, destination).map_err(|source| {
            // What can be removed now need not lie on a share that is full; the next start sees to the rest.
            let _ = remove_tree(&parent, &sibling);
            SeedingError::Copy { target: self.order.target.clone(), source }
        })?;
        copied.chown_denied |= !looks.give(filled.as_fd()).map_err(self.failed("changing the owner"))?;
        // The lock is lost where this host was away for longer than its lease: then another one may be at it.
        self.still_have(lock)?;
        let Copied { entries, chown_denied, .. } = copied;
        record.state = State::Seeding { next: filled.inode()?, sibling, entries, chown_denied };
        self.write(&record)?;
        self.put(&parent, &directory, &filled)?;
        self.finish(record, &parent, entries, chown_denied)?;
        Ok(Outcome::Filled(copied))
    }

    /// A pipeline patched, and no daemon was there yet: Docker made the directory, or it is not there at all.
    fn first_record(&self) -> Result<Record, SeedingError> {
        let mut directory: Option<Directory> = None;
        for component in self.below.split('/') {
            let parent = directory.as_ref().unwrap_or(self.folder);
            parent.refresh()?;
            directory = Some(parent.make(component, MODE)?.0);
        }
        let Some(directory) = directory else { return Err(SeedingError::NoPath(self.order.path.clone())) };
        let record = Record {
            format: FORMAT,
            path: self.order.path.clone(),
            state: State::Made,
            inode: directory.inode()?,
            made_at: now(),
            made_by: self.site.by.clone(),
            owner: self.order.owner,
            mode: self.order.mode,
        };
        match self.site.records.create(&self.record, &record)? {
            Created::Made => Ok(record),
            // A daemon made one meanwhile.
            Created::Existed => Ok(self.record()?.unwrap_or(record)),
        }
    }

    /// What an earlier start came to, by a record that says that it was filling.
    fn resumed(
        &self,
        mut record: Record,
        parent: &Directory,
        directory: &Directory,
    ) -> Result<Resumed, SeedingError> {
        let State::Seeding { next, sibling, entries, chown_denied } = record.state.clone() else {
            return Ok(Resumed::ToBegin(record));
        };
        let copied = Copied { entries, chown_denied, ..Copied::default() };
        // Where it was renamed already, only noting that is left to do.
        if directory.inode()? != next {
            parent.refresh()?;
            let complete =
                parent.open(&sibling)?.filter(|found| found.inode().is_ok_and(|inode| inode == next));
            // What is emptied into a named volume may be half in it.
            let may_go_on = order::is_named(&self.order.path) || directory.is_empty()?;
            let Some(complete) = complete.filter(|_| may_go_on) else {
                record.state = State::Made;
                return Ok(Resumed::ToBegin(record));
            };
            self.put(parent, directory, &complete)?;
        }
        self.finish(record, parent, entries, chown_denied)?;
        Ok(Resumed::Filled(copied))
    }

    /// The complete sibling to where the volume is.
    fn put(
        &self,
        parent: &Directory,
        directory: &Directory,
        complete: &Directory,
    ) -> Result<(), SeedingError> {
        if !order::is_named(&self.order.path) {
            return rustix::fs::renameat(parent.as_fd(), complete.name(), parent.as_fd(), self.name())
                .map_err(self.failed("renaming"));
        }
        let looks = Looks::of(complete.as_fd()).map_err(self.failed("looking"))?;
        for name in share::raw_names(complete.as_fd()).map_err(self.failed("listing"))? {
            match rustix::fs::statat(directory.as_fd(), &name, AtFlags::SYMLINK_NOFOLLOW) {
                // Whoever holds the volume made it meanwhile, and it is theirs.
                Ok(_) => continue,
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(self.failed("looking")(errno)),
            }
            rustix::fs::renameat(complete.as_fd(), &name, directory.as_fd(), &name)
                .map_err(self.failed("renaming"))?;
        }
        looks.give(directory.as_fd()).map(drop).map_err(self.failed("changing the owner"))
    }

    fn finish(
        &self,
        mut record: Record,
        parent: &Directory,
        entries: u64,
        chown_denied: bool,
    ) -> Result<(), SeedingError> {
        parent.refresh()?;
        if let Some(directory) = parent.open(self.name())? {
            record.inode = directory.inode()?;
        }
        self.seeded(record, entries, chown_denied)?;
        self.remove_siblings(parent)
    }

    fn seeded(&self, mut record: Record, entries: u64, chown_denied: bool) -> Result<(), SeedingError> {
        let (seeded_at, seeded_by) = (now(), self.site.by.clone());
        record.state = State::Seeded { seeded_at, seeded_by, entries, chown_denied };
        self.write(&record)
    }

    fn left(&self, mut record: Record, why: Left) -> Result<Outcome, SeedingError> {
        record.state = State::Left { why };
        self.write(&record)?;
        Ok(Outcome::Left(why))
    }

    /// The image's directory at the target, wherever its symlinks lead in the image. `None`: it has none.
    fn image(&self) -> Result<Option<OwnedFd>, SeedingError> {
        let path = format!("{}{}", self.site.image, self.order.target);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let found = match rustix::fs::open(&path, flags, Mode::empty()) {
            Ok(found) => found,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
            Err(errno) => return Err(self.of_the_image("opening")(errno)),
        };
        let is_image = copy::is_of_an_image(&found).map_err(self.of_the_image("looking"))?;
        Ok(is_image.then_some(found))
    }

    /// What was asked for wins over what the image has.
    fn looks(&self, record: &Record, image: &OwnedFd) -> Result<Looks, SeedingError> {
        let mut looks = Looks::of(image).map_err(self.of_the_image("looking"))?;
        looks.owner = record.owner.or(self.order.owner).unwrap_or(looks.owner);
        looks.mode = record.mode.or(self.order.mode).unwrap_or(looks.mode);
        Ok(looks)
    }

    /// Gives an empty directory what was asked for, where the image has nothing to say.
    fn asked(&self, record: &Record, directory: &Directory) -> Result<(), SeedingError> {
        let (owner, mode) = (record.owner.or(self.order.owner), record.mode.or(self.order.mode));
        if owner.is_none() && mode.is_none() {
            return Ok(());
        }
        let mut looks = Looks::of(directory.as_fd()).map_err(self.failed("looking"))?;
        looks.owner = owner.unwrap_or(looks.owner);
        looks.mode = mode.unwrap_or(looks.mode);
        looks.give(directory.as_fd()).map(drop).map_err(self.failed("changing the owner"))
    }

    /// A write through the descriptor that holds the lock: the kernel fails it where the server gave the lock to another.
    fn still_have(&self, lock: &mut File) -> Result<(), SeedingError> {
        let written = lock.rewind().and_then(|()| lock.write_all(self.site.by.as_bytes()));
        written
            .and_then(|()| lock.sync_all())
            .map_err(|error| self.failed("writing to the lock")(errno(&error)))
    }

    /// What earlier starts left behind.
    fn remove_siblings(&self, parent: &Directory) -> Result<(), SeedingError> {
        let prefix = record::sibling_prefix(&self.order.path);
        for name in parent.names()?.into_iter().filter(|name| name.starts_with(&prefix)) {
            remove_tree(parent, &name).map_err(self.failed("removing what an earlier start left"))?;
        }
        Ok(())
    }
}

/// What a record that says "seeding" comes to.
enum Resumed {
    /// It was complete, and is in its place.
    Filled(Copied),
    /// It was not.
    ToBegin(Record),
}

fn now() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

/// Removes a directory of ours with all that is in it, following nothing.
fn remove_tree(parent: &Directory, name: &str) -> Result<(), Errno> {
    let path = format!("/proc/self/fd/{}/{name}", parent.as_fd().as_raw_fd());
    match std::fs::remove_dir_all(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(errno(&error)),
    }
}

#[cfg(test)]
#[path = "seeding_tests.rs"]
mod tests;
