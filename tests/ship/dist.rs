//! The packages that `make package` made, and newer ones of the same program for upgrades.

use lab::{Error, host, place, progress::Progress};
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// The version of the newer packages.
pub(crate) const NEWER: &str = "99.0.0";

/// The folder of the newer packages, and of Debian 11.
pub(crate) fn folder() -> Result<PathBuf, Error> {
    Ok(place::cache()?.join("ship"))
}

/// The only file of `folder` that ends so.
fn only(folder: &Path, ending: &str) -> Result<PathBuf, Error> {
    let missing = || Error::Missing {
        what: format!("one *{ending} in {}", folder.display()),
        help: "`make package` makes it".to_owned(),
    };
    let found: Vec<PathBuf> = std::fs::read_dir(folder)
        .map_err(|_| missing())?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.to_string_lossy().ends_with(ending))
        .collect();
    match <[PathBuf; 1]>::try_from(found) {
        Ok([one]) => Ok(one),
        Err(_) => Err(missing()),
    }
}

/// The package that is shipped: `.deb` or `.rpm`.
pub(crate) fn package(ending: &str) -> Result<PathBuf, Error> {
    only(&place::repository().join("dist"), ending)
}

/// The same program in a package of version [`NEWER`].
pub(crate) fn newer(ending: &str) -> Result<PathBuf, Error> {
    only(&folder()?.join("newer"), ending)
}

/// Debian 11.
pub(crate) fn debian_11() -> Result<PathBuf, Error> {
    Ok(folder()?.join("debian-11"))
}

/// Makes the newer packages and a root of Debian 11, outside of the lab, where the network is.
pub(crate) fn prepare(progress: &Progress) -> Result<(), Error> {
    let folder = folder()?;
    host::directory(&folder)?;
    let newer = folder.join("newer");
    host::remove(&newer)?;
    host::directory(&newer)?;
    progress.say("making newer packages of the same program");
    host::run(
        Command::new(place::repository().join("agent/package/build"))
            .arg("--again")
            .arg(NEWER)
            .arg(&newer)
            .current_dir(place::repository()),
    )?;
    let debian_11 = debian_11()?;
    if !debian_11.exists() {
        progress.say("installing a root of Debian 11, once");
        let new = folder.join("debian-11.new");
        host::remove(&new)?;
        lab::image::bootstrap_of("bullseye", &folder, "kmod\nsystemd\n", &new)?;
        std::fs::rename(&new, &debian_11).map_err(host::failed("rename", &new))?;
    }
    Ok(())
}
