//! A volume's record on the share: whose directory it is, by its inode, and how far its first use has come.

use crate::ownership::{Mode, Owner};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The record of one volume, `.volumes-agent/volumes/<hash of its path>.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The format of this file.
    pub format: u32,
    /// Layout path, relative to the volumes root.
    pub path: String,
    /// How far its first use has come.
    #[serde(flatten)]
    pub state: State,
    /// The directory's inode: another one there means another directory.
    pub inode: u64,
    /// When the directory was made, or found, RFC 3339.
    #[serde(default)]
    pub made_at: String,
    /// By which instance or container.
    #[serde(default)]
    pub made_by: String,
    /// Whose it is to be, by `x-volumes` or the configuration; else the image says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
    /// Its permissions, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
}

/// How far the first use of a volume has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum State {
    /// The directory is there, and no container has been let to it by a seeding container.
    Made,
    /// It is being filled: a hidden sibling that is complete either takes its place by one rename, or is emptied into it entry by entry.
    Seeding {
        /// The sibling's inode, which the volume has once it was renamed.
        next: u64,
        /// Its name, beside the volume.
        sibling: String,
        /// How many entries it has.
        #[serde(default)]
        entries: u64,
        /// Whether the share let nobody change owners.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        chown_denied: bool,
    },
    /// It has what the image had.
    Seeded {
        /// When, RFC 3339.
        #[serde(default)]
        seeded_at: String,
        /// From the image of which container.
        #[serde(default)]
        seeded_by: String,
        /// How many entries it was given.
        #[serde(default)]
        entries: u64,
        /// Whether the share let nobody change owners.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        chown_denied: bool,
    },
    /// It is left as it is, for good.
    Left {
        /// Why.
        why: Left,
    },
}

/// Why a volume is not filled, and never will be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Left {
    /// It had files in it.
    NotEmpty,
    /// A container mounts it, or did, that doesn't wait for it to be filled.
    Held,
    /// The configuration says so.
    Off,
    /// The image has no directory there, and its containers have been let to the empty one.
    NothingInImage,
}

impl Left {
    /// In words, after "left as it is: ".
    pub fn words(self) -> &'static str {
        match self {
            Self::NotEmpty => "it had files in it",
            Self::Held => "a container has it, or had it, that does not wait for it to be filled",
            Self::Off => "the agent's configuration says `seed = \"off\"`",
            Self::NothingInImage => "the image has no directory there",
        }
    }
}

impl State {
    /// Whether a container may be let to the volume without a closer look.
    pub fn is_settled(&self) -> bool {
        matches!(self, Self::Seeded { .. } | Self::Left { .. })
    }
}

impl Record {
    /// Whether a directory with this inode is the volume's: while it is being filled there are two that may be.
    pub fn is_of(&self, inode: u64) -> bool {
        self.inode == inode || matches!(self.state, State::Seeding { next, .. } if next == inode)
    }
}

/// The first part of a volume's file names: a layout path may be longer than a name can be, so it is a hash of it.
fn hashed(path: &str) -> String {
    let hash = Sha256::digest(path.as_bytes());
    hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// The file name of a volume's record.
pub fn record_name(path: &str) -> String {
    format!("{}.json", hashed(path))
}

/// The file name of the lock, beside its record, that whoever changes a record holds.
pub fn lock_name(path: &str) -> String {
    format!(".{}.lock", hashed(path))
}

/// What the hidden siblings of volumes that are being filled begin with.
pub const SIBLING: &str = ".volumes-agent-seeding-";

/// What the siblings of one volume begin with.
pub fn sibling_prefix(path: &str) -> String {
    format!("{SIBLING}{}-", hashed(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_record_is_flat_and_those_without_an_owner_are_read() {
        let text = json!({ "format": 1, "path": "r-a/web/data", "state": "made", "inode": 7, "made_at": "t", "made_by": "i-1" });
        let mut record: Record = serde_json::from_value(text.clone()).unwrap();
        assert_eq!((record.state.clone(), record.owner), (State::Made, None));
        assert_eq!(serde_json::to_value(&record).unwrap(), text);
        record.state = State::Seeding { next: 8, sibling: ".s".to_owned(), entries: 1, chown_denied: false };
        assert!(record.is_of(7) && record.is_of(8) && !record.is_of(9));
        record.state = State::Left { why: Left::NotEmpty };
        let written = serde_json::to_value(&record).unwrap();
        assert_eq!((&written["state"], &written["why"]), (&json!("left"), &json!("not-empty")));
        assert!(record.state.is_settled() && !State::Made.is_settled());
    }
}
