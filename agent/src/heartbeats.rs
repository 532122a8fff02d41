//! Which agents use the share, and what each can read: a small file an agent, written again now and then.
//!
//! While an image is upgraded, old and new agents use one share. A new format of what lies there is written only once every agent that is
//! alive can read it. Ages are told by the server's clock alone: instances need not agree on the time.

use crate::{
    ecs_task,
    share::{Directory, FORMAT, ShareError},
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// An agent that was silent for so long is gone: several times the pause between two beats, a share that stalled for a while included.
pub const ALIVE_WITHIN: Duration = Duration::from_secs(600);
/// What is older is removed.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(7 * 24 * 3600);
/// Where they lie, in the agent's own directory.
const FOLDER: &str = "agents";

/// What an agent says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    format: u32,
    /// Its instance id, or what stands for it.
    pub instance: String,
    /// Its version.
    pub version: String,
    /// The newest format of files on the share that it reads.
    pub reads: u32,
}

impl Heartbeat {
    /// This agent's.
    pub fn of(instance: String) -> Self {
        // In the first format for ever: everybody must be able to read it.
        Self { format: 1, instance, version: env!("CARGO_PKG_VERSION").to_owned(), reads: FORMAT }
    }
}

/// The agents that are alive.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fleet {
    /// Sorted by instance.
    pub alive: Vec<Heartbeat>,
    /// Heartbeats that can't be understood, each with why: whoever writes them is alive too.
    pub unreadable: Vec<String>,
}

impl Fleet {
    /// The format to write in: the newest that everybody who is alive reads, and this agent knows.
    pub fn format(&self) -> u32 {
        // Who can't be understood is alive all the same, and may know the first alone.
        if self.unreadable.is_empty() { self.common(FORMAT) } else { 1 }
    }

    fn common(&self, mine: u32) -> u32 {
        // Nothing is older than the first.
        self.alive.iter().map(|heartbeat| heartbeat.reads).fold(mine, u32::min).max(1)
    }

    /// How many agents run each version, sorted.
    pub fn versions(&self) -> Vec<(String, usize)> {
        let mut versions = std::collections::BTreeMap::<String, usize>::new();
        for heartbeat in &self.alive {
            *versions.entry(heartbeat.version.clone()).or_default() += 1;
        }
        versions.into_iter().collect()
    }
}

/// What came of a heartbeat.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beaten {
    /// How many instances have an agent, or had one within the last week.
    pub agents: usize,
    /// Those that are alive, where they were asked for.
    pub fleet: Option<Fleet>,
}

/// Writes this agent's heartbeat, counts all, and looks at them where asked to.
///
/// # Errors
/// [`ShareError`]
pub fn beat(heartbeat: &Heartbeat, look: bool) -> Result<Beaten, ShareError> {
    let agents = Directory::of_agent(FOLDER)?;
    let own = format!("{}.json", heartbeat.instance);
    agents.replace(&own, heartbeat)?;
    let mut names = agents.names()?;
    names.retain(|name| name.ends_with(".json") && !name.starts_with('.'));
    // A patcher of its own has no gate.
    let of_instances = names.iter().filter(|name| !name.starts_with(ecs_task::NAME_PREFIX)).count();
    let beaten = Beaten { agents: of_instances, fleet: None };
    if !look {
        return Ok(beaten);
    }
    // Written just now: the server's present.
    let Some(now) = agents.changed_at(&own)? else { return Ok(beaten) };
    let mut fleet = Fleet::default();
    names.sort();
    for name in names {
        let Some(at) = agents.changed_at(&name)? else { continue };
        let age = now.saturating_sub(at);
        if age >= FORGOTTEN_AFTER {
            agents.remove(&name)?;
        } else if age < ALIVE_WITHIN {
            match agents.read::<Heartbeat>(&name) {
                Ok(heartbeat) => fleet.alive.extend(heartbeat),
                Err(error @ (ShareError::Garbled { .. } | ShareError::Newer { .. })) => {
                    fleet.unreadable.push(error.to_string());
                }
                Err(error) => return Err(error),
            }
        }
    }
    Ok(Beaten { fleet: Some(fleet), ..beaten })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fleet(reads: &[u32]) -> Fleet {
        let one = |(n, reads): (usize, &u32)| Heartbeat {
            reads: *reads,
            version: format!("0.{reads}"),
            ..Heartbeat::of(format!("i-{n}"))
        };
        Fleet { alive: reads.iter().enumerate().map(one).collect(), unreadable: Vec::new() }
    }

    #[test]
    fn a_new_format_is_written_only_once_everybody_alive_reads_it() {
        for (mine, others, expected) in [
            (2, &[2, 2][..], 2),
            (2, &[2, 1], 1),
            (2, &[3, 3], 2),
            (1, &[3, 2], 1),
            (2, &[], 2),
            (2, &[0], 1),
        ] {
            assert_eq!(fleet(others).common(mine), expected, "{mine} among {others:?}");
        }
        assert_eq!(fleet(&[2, 1, 2]).versions(), [("0.1".to_owned(), 1), ("0.2".to_owned(), 2)]);
    }
}
