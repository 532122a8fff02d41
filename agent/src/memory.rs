//! What the agent remembers over a restart or a reboot, on the instance's own disk: what the instance is to ECS,
//! and whether the agent drained it.
//!
//! Keyed by instance id, so that an image made from a running instance can't carry another's.

use crate::{draining::Drained, ecs_agent::Registration};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

const FILE: &str = "registration.json";
const DRAINING: &str = "draining.json";

fn directory(state_dir: &Path, instance: &str) -> PathBuf {
    state_dir.join(instance)
}

/// What an earlier run saved. `None`: nothing, or nothing that can be understood.
pub fn registration(state_dir: &Path, instance: &str) -> Option<Registration> {
    let text = fs::read(directory(state_dir, instance).join(FILE)).ok()?;
    serde_json::from_slice(&text).ok()
}

/// Saves it, whole or not at all.
///
/// # Errors
/// The disk is full, or the directory can't be written.
pub fn save_registration(state_dir: &Path, instance: &str, registration: &Registration) -> io::Result<()> {
    save(&directory(state_dir, instance), FILE, registration)
}

/// Whether this agent drained the container instance, in this run or an earlier one.
pub fn drained(state_dir: &Path, instance: &str, container_instance: &str) -> Option<Drained> {
    let text = fs::read(directory(state_dir, instance).join(DRAINING)).ok()?;
    let drained: Drained = serde_json::from_slice(&text).ok()?;
    (drained.container_instance == container_instance).then_some(drained)
}

/// Saves that it is about to be drained, whole or not at all.
///
/// # Errors
/// As [`save_registration`].
pub fn save_drained(state_dir: &Path, instance: &str, drained: &Drained) -> io::Result<()> {
    save(&directory(state_dir, instance), DRAINING, drained)
}

/// It was set back.
///
/// # Errors
/// The directory can't be written.
pub fn forget_drained(state_dir: &Path, instance: &str) -> io::Result<()> {
    match fs::remove_file(directory(state_dir, instance).join(DRAINING)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn save(directory: &Path, name: &str, what: &impl serde::Serialize) -> io::Result<()> {
    // The ban is for the share; this is the instance's own disk.
    #[allow(clippy::disallowed_methods)]
    fs::create_dir_all(directory)?;
    let temporary = directory.join(format!(".{name}"));
    fs::write(&temporary, serde_json::to_vec_pretty(what)?)?;
    fs::rename(temporary, directory.join(name))
}
