//! What the applications' images are made of: one root of Debian's packages, made once.

use lab::{Error, host, image, place, progress::Progress};
use std::{path::PathBuf, process::Command};

/// What is kept between runs.
pub(crate) struct Images {
    /// The root, as a tar.
    pub(crate) root: PathBuf,
    /// The folder of the compose plugin.
    pub(crate) compose: PathBuf,
}

/// The folder of the applications.
pub(crate) fn folder() -> PathBuf {
    place::repository().join("tests/apps")
}

/// Makes what isn't there yet; this is what needs the network.
///
/// # Errors
/// What the tools say.
pub(crate) fn prepare(progress: &Progress) -> Result<Images, Error> {
    let cache = place::cache()?;
    let compose = cache.join("compose");
    host::run(Command::new(place::repository().join("tests/install-compose")).arg(&compose))?;
    let packages = host::read(&folder().join("packages"))?;
    let root = cache.join(format!("applications-{:016x}.tar", image::hash([&packages])));
    if !root.exists() {
        progress.say("making the applications' root from Debian's packages, some minutes, once");
        let new = cache.join("applications.new.tar");
        image::bootstrap(
            &cache,
            &packages,
            // What its packages' scripts have made of the databases is not part of an image.
            &["--customize-hook=rm -rf \"$1\"/var/lib/mysql/* \"$1\"/var/lib/postgresql/*"],
            &new,
        )?;
        std::fs::rename(&new, &root).map_err(host::failed("rename", &new))?;
    }
    Ok(Images { root, compose })
}
