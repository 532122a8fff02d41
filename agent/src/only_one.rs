//! One agent an instance: whoever holds the lock on a file of the state directory. A second one would mount, tell ECS and look at
//! everything twice.
//!
//! The lock is flock(2)'s: the kernel lets go of it when the process ends, however it ends, so nothing is ever left over. Share
//! workers don't inherit it.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
    time::Duration,
};

/// The file's name in the state directory.
const NAME: &str = "agent.lock";
/// One that was killed a moment ago may still be ending.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(100);

/// Held for as long as the agent runs.
#[derive(Debug)]
pub struct OnlyOne(
    // Held for its drop, which lets go of the lock.
    #[allow(dead_code)] File,
);

/// Why this agent is not the only one, or can't know.
#[derive(Debug, thiserror::Error)]
pub enum OnlyOneError {
    /// Another one runs.
    #[error("another volumes-agent runs on this instance ({}): it holds {}", holder(.0), .1.display())]
    Taken(Option<String>, PathBuf),
    /// The file can't be made or locked: two could run, and one still should.
    #[error("{} can't be locked", .0.display())]
    Unknown(PathBuf, #[source] io::Error),
}

fn holder(told: &Option<String>) -> String {
    told.clone().unwrap_or_else(|| "it has not said who it is".to_owned())
}

/// Takes the lock, and writes into the file who has it.
///
/// # Errors
/// [`OnlyOneError`]
pub fn take(state_dir: &Path, started: &str) -> Result<OnlyOne, OnlyOneError> {
    take_within(state_dir, started, PATIENCE)
}

fn take_within(state_dir: &Path, started: &str, patience: Duration) -> Result<OnlyOne, OnlyOneError> {
    let path = state_dir.join(NAME);
    let unknown = |error| OnlyOneError::Unknown(path.clone(), error);
    // The ban is for the share; this is the instance's own disk.
    #[allow(clippy::disallowed_methods)]
    std::fs::create_dir_all(state_dir).map_err(unknown)?;
    let open = || OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
    let mut file = open().map_err(unknown)?;
    let mut waited = Duration::ZERO;
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) if waited < patience => {
                std::thread::sleep(PAUSE);
                waited += PAUSE;
            }
            Err(TryLockError::WouldBlock) => {
                let mut told = String::new();
                let told = file.read_to_string(&mut told).ok().map(|_| told.trim().to_owned());
                return Err(OnlyOneError::Taken(told.filter(|told| !told.is_empty()), path));
            }
            Err(TryLockError::Error(error)) => return Err(unknown(error)),
        }
    }
    let written = file.set_len(0).and_then(|()| file.rewind());
    let written = written.and_then(|()| writeln!(file, "process {}, started {started}", std::process::id()));
    written.map_err(unknown)?;
    Ok(OnlyOne(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_one_is_told_who_is_the_first_and_follows_once_that_ended() {
        let folder = std::env::temp_dir().join(format!("only-one-{}", std::process::id()));
        let take = || take_within(&folder, "today", Duration::from_millis(200));
        let first = take().unwrap();
        let refused = take().unwrap_err();
        let expected = format!(
            "another volumes-agent runs on this instance (process {}, started today): it holds {}",
            std::process::id(),
            folder.join(NAME).display()
        );
        assert_eq!(refused.to_string(), expected);
        drop(first);
        let next = take().unwrap();
        drop(next);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
