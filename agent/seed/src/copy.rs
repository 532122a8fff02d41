//! A directory of an image into an empty one on the share, as Docker fills a volume: contents, owner, group, mode, times, symlinks as
//! such, hard links, holes of sparse files. Sockets and devices are left out, and named.
//!
//! What Docker copies: moby, `daemon/volumes_linux.go` and containerd's `continuity/fs.CopyDir`. A share is slow by the call and not by the
//! byte, so that [`AT_A_TIME`] files are copied at once.

use crate::{
    chown,
    ownership::{Mode as Permissions, Owner},
};
use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags, SeekFrom, Stat, Timespec, Timestamps},
    io::Errno,
};
use std::{
    collections::{BTreeMap, HashMap},
    ffi::{CStr, CString},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
};

/// How many files are copied at a time: most of the time of each is a wait for the server.
const AT_A_TIME: usize = 16;
/// What is read and written at once, in bytes: an NFS write of EFS's largest size.
const CHUNK_BYTES: usize = 1024 * 1024;
/// More that was left out is counted, and not named.
const MOST_NAMED: usize = 20;
/// `f_type` of what is no image's content, should a symlink of the image lead there (statfs(2), linux/magic.h): NFS, proc, sysfs, cgroup2,
/// devpts, tmpfs, mqueue.
const NOT_OF_AN_IMAGE: [i64; 7] =
    [0x6969, 0x9fa0, 0x6265_6572, 0x6367_7270, 0x1cd1, 0x0102_1994, 0x1980_0202];

/// Why a directory was not copied.
#[derive(Debug, thiserror::Error)]
#[error("{call} of {place} failed: {errno}{}", words(*.errno))]
pub struct CopyError {
    call: &'static str,
    place: String,
    /// The error.
    pub errno: Errno,
}

fn words(errno: Errno) -> &'static str {
    match errno {
        Errno::NOSPC => {
            ": the share is full; remove files, or make it larger, and the next start begins again"
        }
        Errno::DQUOT => ": a quota of the share, or a limit of this instance's NFS client, is reached",
        _ => "",
    }
}

/// What was copied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Copied {
    /// Files, directories, symlinks and FIFOs.
    pub entries: u64,
    /// Bytes of files, without holes.
    pub bytes: u64,
    /// What was not, each with why; after some, how many more.
    pub left_out: Vec<String>,
    /// Whether the share let nobody change owners: all of it belongs to whoever the share says.
    pub chown_denied: bool,
}

/// What a directory itself is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Looks {
    /// Whose.
    pub owner: Owner,
    /// Its permissions.
    pub mode: Permissions,
    /// When it was read and written last.
    times: [(i64, i64); 2],
}

impl Looks {
    /// Those of a directory that is there.
    ///
    /// # Errors
    /// The call's.
    pub fn of(directory: impl AsFd) -> Result<Self, Errno> {
        Ok(Self::of_stat(&rustix::fs::fstat(directory)?))
    }

    // The fields' types differ between architectures.
    #[allow(clippy::unnecessary_cast)]
    fn of_stat(stat: &Stat) -> Self {
        Self {
            owner: Owner { uid: stat.st_uid, gid: stat.st_gid },
            mode: Permissions::of_bits(stat.st_mode),
            times: [
                (stat.st_atime as i64, stat.st_atime_nsec as i64),
                (stat.st_mtime as i64, stat.st_mtime_nsec as i64),
            ],
        }
    }

    /// Gives a directory these looks. `false`: the share lets nobody change owners.
    ///
    /// # Errors
    /// The call's.
    pub fn give(self, directory: impl AsFd) -> Result<bool, Errno> {
        let directory = directory.as_fd();
        let is_given = chown::of_open(directory, self.owner)?;
        rustix::fs::fchmod(directory, Mode::from_raw_mode(self.mode.bits()))?;
        rustix::fs::futimens(directory, &self.timestamps())?;
        Ok(is_given)
    }

    fn timestamps(self) -> Timestamps {
        let time = |(tv_sec, tv_nsec): (i64, i64)| Timespec { tv_sec, tv_nsec: tv_nsec as _ };
        Timestamps { last_access: time(self.times[0]), last_modification: time(self.times[1]) }
    }
}

/// Whether a directory may hold an image's content.
///
/// # Errors
/// The call's.
pub fn is_of_an_image(directory: impl AsFd) -> Result<bool, Errno> {
    let stat = rustix::fs::fstatfs(directory)?;
    // The type's width differs between architectures.
    #[allow(clippy::unnecessary_cast)]
    let kind = stat.f_type as i64;
    Ok(!NOT_OF_AN_IMAGE.contains(&kind))
}

/// Copies what is in `source` into `destination`, which is empty; not what the two themselves look like.
///
/// # Errors
/// The first that happened; `destination` then has a part of it.
pub fn copy(source: OwnedFd, destination: OwnedFd) -> Result<Copied, CopyError> {
    let all = Known::default();
    let (queue, files) = sync_channel(AT_A_TIME * 4);
    let files = Mutex::new(files);
    let mut walk =
        Walk { all: &all, linked: HashMap::new(), later: Vec::new(), directories: BTreeMap::new() };
    let root = Arc::new(Place { source, destination, path: String::new() });
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| all.work(&files));
        }
        all.note(walk.below(&root, &mut Vec::new(), &queue));
        drop(queue);
    });
    // Only now is all of it there: links to it, and directories that nothing is added to any more.
    if !all.has_failed() {
        all.note(walk.links(&root));
    }
    if !all.has_failed() {
        all.note(walk.dress(&root));
    }
    all.end()
}

/// A directory on both sides.
struct Place {
    source: OwnedFd,
    destination: OwnedFd,
    /// For messages, from the top.
    path: String,
}

impl Place {
    fn path_of(&self, name: &CStr) -> String {
        let name = name.to_string_lossy();
        if self.path.is_empty() { name.into_owned() } else { format!("{}/{name}", self.path) }
    }

    fn failed(&self, call: &'static str, name: &CStr) -> impl FnOnce(Errno) -> CopyError {
        let place = format!("`{}`", self.path_of(name));
        move |errno| CopyError { call, place, errno }
    }
}

/// A file to be copied.
struct File {
    place: Arc<Place>,
    name: CString,
    stat: Stat,
}

/// What all threads know.
#[derive(Default)]
struct Known {
    is_over: AtomicBool,
    entries: AtomicU64,
    bytes: AtomicU64,
    chown_denied: AtomicBool,
    left_out: Mutex<Vec<String>>,
    failed: Mutex<Option<CopyError>>,
}

impl Known {
    fn note(&self, done: Result<(), CopyError>) {
        if let Err(error) = done {
            self.failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            self.is_over.store(true, Ordering::Relaxed);
        }
    }

    fn has_failed(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    fn leave_out(&self, path: &str, why: &str) {
        let mut left_out = self.left_out.lock().unwrap_or_else(PoisonError::into_inner);
        left_out.push(format!("{path} ({why})"));
    }

    fn chowned(&self, is_given: bool) {
        if !is_given {
            self.chown_denied.store(true, Ordering::Relaxed);
        }
    }

    fn work(&self, files: &Mutex<Receiver<File>>) {
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            let next = files.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(file) = next else { return };
            // The rest is taken off the queue, so that the walk is not left waiting.
            if !self.has_failed() {
                self.note(self.file(&file, &mut buffer));
            }
        }
    }

    fn file(&self, file: &File, buffer: &mut [u8]) -> Result<(), CopyError> {
        let File { place, name, stat } = file;
        let failed = |call| place.failed(call, name);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let from =
            rustix::fs::openat(&place.source, name, flags, Mode::empty()).map_err(failed("opening"))?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let to = rustix::fs::openat(&place.destination, name, flags, Mode::from_raw_mode(0o600))
            .map_err(failed("making"))?;
        let bytes = contents(from.as_fd(), to.as_fd(), stat, buffer).map_err(failed("copying"))?;
        let looks = Looks::of_stat(stat);
        self.chowned(chown::of_open(&to, looks.owner).map_err(failed("changing the owner"))?);
        // After the owner: a change of that takes set-user-id bits away (chown(2)).
        rustix::fs::fchmod(&to, Mode::from_raw_mode(looks.mode.bits()))
            .map_err(failed("changing the mode"))?;
        // What the server has not taken is not copied: it may be full.
        rustix::fs::fsync(&to).map_err(failed("writing"))?;
        rustix::fs::futimens(&to, &looks.timestamps()).map_err(failed("setting the times"))?;
        if has_capabilities(&from) {
            self.leave_out(
                &place.path_of(name),
                "copied without its file capabilities, which NFS has none of",
            );
        }
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.entries.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn end(self) -> Result<Copied, CopyError> {
        if let Some(error) = self.failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error);
        }
        let mut left_out = self.left_out.into_inner().unwrap_or_else(PoisonError::into_inner);
        left_out.sort();
        if left_out.len() > MOST_NAMED {
            let more = left_out.len() - MOST_NAMED;
            left_out.truncate(MOST_NAMED);
            left_out.push(format!("and {more} more"));
        }
        Ok(Copied {
            entries: self.entries.into_inner(),
            bytes: self.bytes.into_inner(),
            left_out,
            chown_denied: self.chown_denied.into_inner(),
        })
    }
}

/// The copying of what is in a file, hole by hole. Gives how many bytes that were.
fn contents(from: BorrowedFd<'_>, to: BorrowedFd<'_>, stat: &Stat, buffer: &mut [u8]) -> Result<u64, Errno> {
    let size = u64::try_from(stat.st_size).unwrap_or_default();
    let mut copied = 0;
    let mut at = 0;
    while at < size {
        let data = match rustix::fs::seek(from, SeekFrom::Data(at)) {
            Ok(data) => data,
            // Nothing but a hole is left (lseek(2)).
            Err(Errno::NXIO) => break,
            Err(errno) => return Err(errno),
        };
        let end = rustix::fs::seek(from, SeekFrom::Hole(data))?;
        at = data;
        while at < end {
            let most = usize::try_from(end - at).unwrap_or(usize::MAX).min(buffer.len());
            let count = rustix::io::pread(from, &mut buffer[..most], at)?;
            if count == 0 {
                return Ok(copied); // shorter than it said: nobody writes to an image, but it is no reason to hang
            }
            let mut rest = &buffer[..count];
            while !rest.is_empty() {
                let written = rustix::io::pwrite(to, rest, at)?;
                at += written as u64;
                rest = rest.get(written..).unwrap_or_default();
            }
            copied += count as u64;
        }
    }
    rustix::fs::ftruncate(to, size)?;
    Ok(copied)
}

/// `security.capability`, as of `ping`.
fn has_capabilities(file: impl AsFd) -> bool {
    rustix::fs::fgetxattr(file, c"security.capability", &mut [0u8; 64]).is_ok()
}

/// What the one thread knows that walks.
struct Walk<'a> {
    all: &'a Known,
    /// Files of several names, by device and inode: the first name.
    linked: HashMap<(u64, u64), Vec<CString>>,
    /// The further ones, with the first.
    later: Vec<(Vec<CString>, Vec<CString>)>,
    /// Directories, by their path from the top, so that what lies deeper comes later.
    directories: BTreeMap<Vec<CString>, Looks>,
}

impl Walk<'_> {
    fn below(
        &mut self,
        place: &Arc<Place>,
        way: &mut Vec<CString>,
        queue: &SyncSender<File>,
    ) -> Result<(), CopyError> {
        let listed = Dir::read_from(&place.source).map_err(place.failed("listing", c"."))?;
        for entry in listed {
            if self.all.has_failed() {
                return Ok(());
            }
            let entry = entry.map_err(place.failed("listing", c"."))?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let name = name.to_owned();
            let stat = rustix::fs::statat(&place.source, &name, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(place.failed("looking", &name))?;
            self.entry(place, way, name, stat, queue)?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        place: &Arc<Place>,
        way: &mut Vec<CString>,
        name: CString,
        stat: Stat,
        queue: &SyncSender<File>,
    ) -> Result<(), CopyError> {
        let failed = |call| place.failed(call, &name);
        let kind = FileType::from_raw_mode(stat.st_mode);
        let looks = Looks::of_stat(&stat);
        way.push(name.clone());
        let is_another_name = !kind.is_dir() && stat.st_nlink > 1 && {
            // The fields' types differ between architectures.
            #[allow(clippy::unnecessary_cast)]
            let key = (stat.st_dev as u64, stat.st_ino as u64);
            match self.linked.get(&key) {
                Some(first) => {
                    self.later.push((way.clone(), first.clone()));
                    true
                }
                None => {
                    self.linked.insert(key, way.clone());
                    false
                }
            }
        };
        if !is_another_name {
            match kind {
                FileType::Directory => {
                    self.subdirectory(place, way, &name, looks, queue)?;
                }
                FileType::RegularFile if is_mounted(&place.source, &name) => {
                    self.all.leave_out(&place.path_of(&name), "no part of the image: it is mounted there");
                }
                FileType::RegularFile => {
                    // Nobody receives only when all workers have ended, and they end when this queue does.
                    let _ = queue.send(File { place: Arc::clone(place), name: name.clone(), stat });
                }
                FileType::Symlink => {
                    let to = rustix::fs::readlinkat(&place.source, &name, Vec::new())
                        .map_err(failed("reading"))?;
                    rustix::fs::symlinkat(to.as_c_str(), &place.destination, &name)
                        .map_err(failed("making"))?;
                    self.own(place, &name, looks)?;
                }
                FileType::Fifo => {
                    let mode = Mode::from_raw_mode(looks.mode.bits());
                    rustix::fs::mknodat(&place.destination, &name, FileType::Fifo, mode, 0)
                        .map_err(failed("making"))?;
                    self.own(place, &name, looks)?;
                    rustix::fs::chmodat(&place.destination, &name, mode, AtFlags::empty())
                        .map_err(failed("changing the mode"))?;
                }
                FileType::Socket => self.all.leave_out(&place.path_of(&name), "a socket"),
                FileType::CharacterDevice | FileType::BlockDevice => {
                    self.all.leave_out(&place.path_of(&name), "a device");
                }
                FileType::Unknown => self.all.leave_out(&place.path_of(&name), "of an unknown kind"),
            }
        }
        way.pop();
        Ok(())
    }

    fn subdirectory(
        &mut self,
        place: &Arc<Place>,
        way: &mut Vec<CString>,
        name: &CStr,
        looks: Looks,
        queue: &SyncSender<File>,
    ) -> Result<(), CopyError> {
        let failed = |call| place.failed(call, name);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let source =
            rustix::fs::openat(&place.source, name, flags, Mode::empty()).map_err(failed("opening"))?;
        if !is_of_an_image(&source).map_err(failed("looking"))? {
            self.all.leave_out(&place.path_of(name), "no part of the image is mounted there");
            return Ok(());
        }
        rustix::fs::mkdirat(&place.destination, name, Mode::RWXU).map_err(failed("making"))?;
        let destination =
            rustix::fs::openat(&place.destination, name, flags, Mode::empty()).map_err(failed("opening"))?;
        self.directories.insert(way.clone(), looks);
        self.all.entries.fetch_add(1, Ordering::Relaxed);
        let inner = Arc::new(Place { source, destination, path: place.path_of(name) });
        self.below(&inner, way, queue)
    }

    /// Owner and times of what can't be opened.
    fn own(&self, place: &Place, name: &CStr, looks: Looks) -> Result<(), CopyError> {
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        let is_given = chown::of_entry(&place.destination, name, looks.owner)
            .map_err(place.failed("changing the owner", name))?;
        self.all.chowned(is_given);
        match rustix::fs::utimensat(&place.destination, name, &looks.timestamps(), flags) {
            // A server need not keep times of symlinks.
            Ok(()) | Err(Errno::OPNOTSUPP) => {}
            Err(errno) => return Err(place.failed("setting the times", name)(errno)),
        }
        self.all.entries.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn links(&mut self, root: &Place) -> Result<(), CopyError> {
        for (name, first) in std::mem::take(&mut self.later) {
            let (name, first) = (joined(&name), joined(&first));
            match rustix::fs::linkat(&root.destination, &first, &root.destination, &name, AtFlags::empty()) {
                Ok(()) => drop(self.all.entries.fetch_add(1, Ordering::Relaxed)),
                // The first name was left out itself.
                Err(Errno::NOENT) => {
                    self.all.leave_out(&name.to_string_lossy(), "another name of what was left out");
                }
                Err(errno) => return Err(root.failed("linking", &name)(errno)),
            }
        }
        Ok(())
    }

    fn dress(&mut self, root: &Place) -> Result<(), CopyError> {
        // What is made in a directory changes its times: the deepest first.
        for (way, looks) in std::mem::take(&mut self.directories).into_iter().rev() {
            let name = joined(&way);
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let is_given = rustix::fs::openat(&root.destination, &name, flags, Mode::empty())
                .and_then(|directory| looks.give(directory))
                .map_err(root.failed("changing the looks", &name))?;
            self.all.chowned(is_given);
        }
        Ok(())
    }
}

/// Whether something is mounted on a file: Docker does so with `hosts`, `hostname` and `resolv.conf` in `/etc`. A kernel that doesn't tell
/// (before 5.8) has none.
fn is_mounted(directory: &OwnedFd, name: &CStr) -> bool {
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::statx(directory, name, flags, rustix::fs::StatxFlags::empty())
        .is_ok_and(|stat| stat.stx_attributes.contains(rustix::fs::StatxAttributes::MOUNT_ROOT))
}

/// One path of several names. None of them has a NUL or a slash in it.
fn joined(way: &[CString]) -> CString {
    let bytes = way.iter().map(|name| name.to_bytes()).collect::<Vec<_>>().join(&b'/');
    CString::new(bytes).unwrap_or_default()
}

#[cfg(test)]
#[path = "copy_tests.rs"]
pub(crate) mod tests;
