//! What the agent remembers over a restart or a reboot, on the instance's own disk: what the instance is to ECS.
//!
//! Keyed by instance id, so that an image made from a running instance can't carry another's.

use crate::ecs_agent::Registration;
use std::{
    fs, io,
    path::{Path, PathBuf},
};

const FILE: &str = "registration.json";

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
    let directory = directory(state_dir, instance);
    // The ban is for the share; this is the instance's own disk.
    #[allow(clippy::disallowed_methods)]
    fs::create_dir_all(&directory)?;
    let temporary = directory.join(format!(".{FILE}"));
    fs::write(&temporary, serde_json::to_vec_pretty(registration)?)?;
    fs::rename(temporary, directory.join(FILE))
}
