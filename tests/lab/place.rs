//! Where the lab keeps things: all of it in one folder, `.lab` in the repository unless `VOLUMES_LAB_DIR` names another.

use crate::{error::Error, host};
use std::path::{Path, PathBuf};

/// Names another folder than `.lab`.
const VARIABLE: &str = "VOLUMES_LAB_DIR";

/// The root of the repository.
pub fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The folder of everything that the labs make.
///
/// # Errors
/// [`Error::Missing`] for a folder that the lab itself would hide, [`Error::File`] when it can't be made.
pub fn folder() -> Result<PathBuf, Error> {
    let folder = std::env::var_os(VARIABLE).map_or_else(|| repository().join(".lab"), PathBuf::from);
    host::directory(&folder)?;
    let folder = folder.canonicalize().map_err(host::failed("find", &folder))?;
    if folder.starts_with("/dev/shm") {
        return Err(Error::Missing {
            what: "a folder on a disk".to_owned(),
            help: format!("{VARIABLE} is {}, and each lab mounts its own memory there", folder.display()),
        });
    }
    Ok(folder)
}

/// What is made once and used by every lab: the guests' files, the Python environment.
///
/// # Errors
/// As [`folder`].
pub fn cache() -> Result<PathBuf, Error> {
    let cache = folder()?.join("cache");
    host::directory(&cache)?;
    Ok(cache)
}

/// One lab's own folder: its logs stay there until it is started again.
///
/// # Errors
/// As [`folder`].
pub fn of(lab: &str) -> Result<PathBuf, Error> {
    Ok(folder()?.join(lab))
}

/// Inside of a lab: a tmpfs of its own, in its own mount namespace. Memory of the guests, sockets, the share's files.
pub const MEMORY: &str = "/dev/shm";
