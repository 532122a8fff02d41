//! What the agent remembers over a restart or a reboot, on the instance's own disk: what the instance is to ECS, how many agents there are,
//! whether this one drained it, where its share was last found, and what has happened since this boot.
//!
//! What is the instance's own is keyed by instance id, so that an image made from a running instance can't carry another's; what
//! is this boot's carries the kernel's boot id, which no other boot of any machine has (random(4)).

use crate::{
    config::ShareChoice, draining::Drained, ecs_agent::Registration, imds::Instance, target::MountTarget,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

const REGISTRATION: &str = "registration.json";
const AGENTS: &str = "agents.json";
const DRAINING: &str = "draining.json";
const TARGET: &str = "mount-target.json";
const BOOT: &str = "boot.json";
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// A mount target with the configuration that it was found for: another choice of file system asks anew.
#[derive(Debug, Serialize, Deserialize)]
struct KnownTarget {
    share: String,
    target: MountTarget,
}

/// What is known since this boot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boot {
    /// Which boot, in the kernel's words.
    id: String,
    /// What instance metadata told: an instance doesn't become another one without a boot.
    pub instance: Option<Instance>,
    /// Whether ECS was told `ready`, so that tasks may have been placed here.
    pub gate_opened: bool,
}

/// What an earlier run saved. `None`: nothing, or nothing that can be understood.
pub fn registration(state_dir: &Path, instance: &str) -> Option<Registration> {
    read(&state_dir.join(instance).join(REGISTRATION))
}

/// Saves it, whole or not at all.
///
/// # Errors
/// The disk is full, or the directory can't be written.
pub fn save_registration(state_dir: &Path, instance: &str, registration: &Registration) -> io::Result<()> {
    write(state_dir.join(instance), REGISTRATION, registration)
}

/// How many agents there were when an earlier run counted them last.
pub fn agents(state_dir: &Path, instance: &str) -> Option<usize> {
    read(&state_dir.join(instance).join(AGENTS))
}

/// Saves it, whole or not at all.
///
/// # Errors
/// As [`save_registration`].
pub fn save_agents(state_dir: &Path, instance: &str, agents: usize) -> io::Result<()> {
    write(state_dir.join(instance), AGENTS, &agents)
}

/// Whether this agent drained the container instance, in this run or an earlier one.
pub fn drained(state_dir: &Path, instance: &str, container_instance: &str) -> Option<Drained> {
    let drained: Drained = read(&state_dir.join(instance).join(DRAINING))?;
    (drained.container_instance == container_instance).then_some(drained)
}

/// Saves that it is about to be drained, whole or not at all.
///
/// # Errors
/// As [`save_registration`].
pub fn save_drained(state_dir: &Path, instance: &str, drained: &Drained) -> io::Result<()> {
    write(state_dir.join(instance), DRAINING, drained)
}

/// It was set back.
///
/// # Errors
/// The directory can't be written.
pub fn forget_drained(state_dir: &Path, instance: &str) -> io::Result<()> {
    match fs::remove_file(state_dir.join(instance).join(DRAINING)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The mount target that was last found for this choice of file system.
pub fn target(state_dir: &Path, instance: &str, share: &ShareChoice) -> Option<MountTarget> {
    let known: KnownTarget = read(&state_dir.join(instance).join(TARGET))?;
    (known.share == share.to_string()).then_some(known.target)
}

/// Saves it, whole or not at all.
///
/// # Errors
/// The disk is full, or the directory can't be written.
pub fn save_target(
    state_dir: &Path,
    instance: &str,
    share: &ShareChoice,
    target: &MountTarget,
) -> io::Result<()> {
    let known = KnownTarget { share: share.to_string(), target: target.clone() };
    write(state_dir.join(instance), TARGET, &known)
}

impl Boot {
    /// What earlier runs since this boot noted; nothing, where there was none.
    pub fn recall(state_dir: &Path) -> Self {
        let id = fs::read_to_string(BOOT_ID).map(|id| id.trim().to_owned()).unwrap_or_default();
        let noted: Option<Self> = read(&state_dir.join(BOOT));
        // Without a boot id nothing can be told from an earlier boot's.
        match noted {
            Some(noted) if noted.id == id && !id.is_empty() => noted,
            _ => Self { id, ..Self::default() },
        }
    }

    /// Saves it, whole or not at all.
    ///
    /// # Errors
    /// The disk is full, or the directory can't be written.
    pub fn save(&self, state_dir: &Path) -> io::Result<()> {
        write(state_dir.to_owned(), BOOT, self)
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

fn write(directory: PathBuf, file: &str, value: &impl Serialize) -> io::Result<()> {
    // The ban is for the share; this is the instance's own disk.
    #[allow(clippy::disallowed_methods)]
    fs::create_dir_all(&directory)?;
    let temporary = directory.join(format!(".{file}"));
    fs::write(&temporary, serde_json::to_vec_pretty(value)?)?;
    fs::rename(temporary, directory.join(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch() -> PathBuf {
        std::env::temp_dir().join(format!("volumes-agent-memory-{:016x}", fastrand::u64(..)))
    }

    #[test]
    fn a_target_is_remembered_for_one_instance_and_one_choice() {
        let dir = scratch();
        let share = ShareChoice::FileSystem("fs-0123456789abcdef0".to_owned());
        let found = MountTarget::plain_server("10.0.0.1".parse().unwrap(), "/");
        save_target(&dir, "i-1", &share, &found).unwrap();
        assert_eq!(target(&dir, "i-1", &share), Some(found));
        assert_eq!(target(&dir, "i-2", &share), None, "an image carries another instance's");
        let other = ShareChoice::Tag { key: "a".to_owned(), value: "b".to_owned() };
        assert_eq!(target(&dir, "i-1", &other), None);
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn what_was_drained_under_another_registration_is_none_of_ours() {
        let dir = scratch();
        let drained = Drained {
            container_instance: "arn:1".to_owned(),
            since: "today".to_owned(),
            reason: "lost".to_owned(),
        };
        save_drained(&dir, "i-1", &drained).unwrap();
        assert_eq!(super::drained(&dir, "i-1", "arn:1"), Some(drained));
        assert_eq!(super::drained(&dir, "i-1", "arn:2"), None, "registered anew");
        assert_eq!(super::drained(&dir, "i-2", "arn:1"), None, "an image carries another instance's");
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn what_another_boot_noted_is_forgotten() {
        let dir = scratch();
        let noted = Boot { gate_opened: true, ..Boot::recall(&dir) };
        noted.save(&dir).unwrap();
        assert_eq!(Boot::recall(&dir), noted);
        Boot { id: "of another boot".to_owned(), ..noted }.save(&dir).unwrap();
        assert!(!Boot::recall(&dir).gate_opened);
        fs::remove_dir_all(dir).unwrap();
    }
}
