//! The guard: the bare mount point is immutable (`chattr +i`), so that a container started without the share fails with EPERM
//! instead of writing to the instance's own disk.
//!
//! The bare directory is reached through a detached, non-recursive clone of the root mount (open_tree(2)): what is mounted at
//! the volumes root is not in it, so nothing here ever touches the share. The flag: ioctl_iflags(2).

use rustix::{
    fs::{AtFlags, IFlags, Mode, OFlags},
    io::Errno,
    mount::OpenTreeFlags,
};
use serde::{Deserialize, Serialize};
use std::{
    ffi::CString,
    os::fd::{AsFd, OwnedFd},
};

/// The volumes root's name below `/`.
const NAME: &str = "volumes";

/// Whether the bare mount point is immutable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Guard {
    /// It is.
    Set,
    /// It is not, or that isn't known yet.
    #[default]
    Unset,
    /// The root file system has no such flag.
    Unsupported,
}

/// What the guard did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guarded {
    /// The flag's state now.
    pub guard: Guard,
    /// Names of what lies in the bare mount point from before, flagged as well, with all that is in it.
    pub found_inside: Vec<String>,
}

/// Why the guard can't be set.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// The root mount can't be cloned.
    #[error(
        "the root mount can't be looked at without what is mounted on it (open_tree: {0}): this needs root and Linux 5.2"
    )]
    Clone(Errno),
    /// Something that isn't a directory is in the way.
    #[error("/{NAME} is there and is not a directory")]
    NotADirectory,
    /// A call failed.
    #[error("{what} failed: {errno}")]
    Failed {
        /// The call and its object.
        what: String,
        /// The error.
        errno: Errno,
    },
}

fn failed(what: &str) -> impl FnOnce(Errno) -> GuardError {
    let what = what.to_owned();
    move |errno| GuardError::Failed { what, errno }
}

/// Makes the mount point, if it isn't there, and sets the flag on it and on all that lies inside: nothing there is changed,
/// hidden or removed.
///
/// # Errors
/// [`GuardError`]: the mount point is as it was, or flagged in part.
pub fn set() -> Result<Guarded, GuardError> {
    let root = bare_root()?;
    match rustix::fs::mkdirat(&root, NAME, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(failed("making /volumes")(errno)),
    }
    let mount_point = open_directory(&root, NAME)?.ok_or(GuardError::NotADirectory)?;
    let found_inside = flag_inside(&mount_point, "")?;
    let guard = flag(&mount_point, "/volumes")?;
    Ok(Guarded { guard, found_inside })
}

/// Names of what lies in the bare mount point; changes nothing.
///
/// # Errors
/// [`GuardError`]
pub fn found_inside() -> Result<Vec<String>, GuardError> {
    let root = bare_root()?;
    match open_directory(&root, NAME)? {
        Some(mount_point) => Ok(for_people(&names_in(&mount_point, "")?)),
        None => Ok(Vec::new()),
    }
}

/// Whether the flag is set; changes nothing.
///
/// # Errors
/// [`GuardError`]
pub fn look() -> Result<Guard, GuardError> {
    let root = bare_root()?;
    let Some(mount_point) = open_directory(&root, NAME)? else { return Ok(Guard::Unset) };
    match rustix::fs::ioctl_getflags(&mount_point) {
        Ok(flags) if flags.contains(IFlags::IMMUTABLE) => Ok(Guard::Set),
        Ok(_) => Ok(Guard::Unset),
        Err(Errno::NOTTY | Errno::OPNOTSUPP | Errno::INVAL) => Ok(Guard::Unsupported),
        Err(errno) => Err(failed("reading the flags of /volumes")(errno)),
    }
}

/// `/` alone, without anything mounted below it.
fn bare_root() -> Result<OwnedFd, GuardError> {
    rustix::mount::open_tree(
        rustix::fs::CWD,
        "/",
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC,
    )
    .map_err(GuardError::Clone)
}

fn open_directory(parent: impl AsFd, name: &str) -> Result<Option<OwnedFd>, GuardError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(parent, name, flags, Mode::empty()) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::NOENT) => Ok(None),
        Err(Errno::NOTDIR | Errno::LOOP) => Err(GuardError::NotADirectory),
        Err(errno) => Err(failed(&format!("opening `{name}`"))(errno)),
    }
}

fn flag(file: &OwnedFd, name: &str) -> Result<Guard, GuardError> {
    let result = rustix::fs::ioctl_getflags(file).and_then(|flags| {
        if flags.contains(IFlags::IMMUTABLE) {
            Ok(())
        } else {
            rustix::fs::ioctl_setflags(file, flags | IFlags::IMMUTABLE)
        }
    });
    match result {
        Ok(()) => Ok(Guard::Set),
        Err(Errno::NOTTY | Errno::OPNOTSUPP | Errno::INVAL) => Ok(Guard::Unsupported),
        Err(errno) => Err(failed(&format!("making {name} immutable"))(errno)),
    }
}

/// The flag of a directory doesn't reach into what is in it: a container could be bound there, so all of it is flagged. Gives the
/// names in this directory.
fn flag_inside(directory: &OwnedFd, path: &str) -> Result<Vec<String>, GuardError> {
    let names = names_in(directory, path)?;
    for name in &names {
        let inner = format!("{path}{}", name.to_string_lossy());
        let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(failed(&format!("stat of /volumes/{inner}")))?;
        let kind = rustix::fs::FileType::from_raw_mode(stat.st_mode);
        // Only these have flags, and opening a device or a pipe may do something.
        if kind.is_dir() || kind.is_file() {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let file = rustix::fs::openat(directory, name, flags, Mode::empty())
                .map_err(failed(&format!("opening /volumes/{inner}")))?;
            if kind.is_dir() {
                flag_inside(&file, &format!("{inner}/"))?;
            }
            flag(&file, &format!("/volumes/{inner}"))?;
        }
    }
    Ok(for_people(&names))
}

/// Sorted.
fn names_in(directory: &OwnedFd, path: &str) -> Result<Vec<CString>, GuardError> {
    let what = format!("listing /volumes/{path}");
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(directory).map_err(failed(&what))? {
        let name = entry.map_err(failed(&what))?.file_name().to_owned();
        if name.as_c_str() != c"." && name.as_c_str() != c".." {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn for_people(names: &[CString]) -> Vec<String> {
    names.iter().map(|name| name.to_string_lossy().into_owned()).collect()
}
