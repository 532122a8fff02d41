//! Whether each volume's directory is still the one that its record names. Runs in a share worker; changes nothing.
//!
//! Containers keep a directory that was removed or replaced, and what they write there is lost with them; Docker gives the next
//! ones an empty directory, or the other one, without a word.

pub(crate) use crate::order::RECORDS;
use crate::{
    mount::VOLUMES_ROOT,
    record::Record,
    share::{AGENT_DIRECTORY, Directory, ShareError},
};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// Who fills a volume notes the new directory's inode before it renames that into its place: what looks wrong is looked at again after
/// this.
const SECOND_LOOK: Duration = Duration::from_secs(2);

/// What to look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckRequest {
    /// Where the last look stopped: the name of its last record. `None`: from the beginning.
    pub after: Option<String>,
    /// Stop after about so many milliseconds, and be asked again.
    pub budget_ms: u64,
    /// The names of the records to look at. `None`: all there are.
    pub only: Option<Vec<String>>,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// Records that were looked at.
    pub records: u64,
    /// Where it stopped. `None`: all of the rest was looked at.
    pub until: Option<String>,
    /// Volumes that are not what their record says, by the records' names.
    pub missing: Vec<MissingVolume>,
    /// Records that can't be understood, each with why.
    pub unreadable: Vec<Unreadable>,
}

/// A volume whose directory is not the recorded one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissingVolume {
    /// Its path, relative to the volumes root.
    pub path: String,
    /// The record's file name.
    pub record: String,
    /// When its directory was made, as the record says, RFC 3339.
    pub made_at: String,
    /// By which instance.
    pub made_by: String,
    /// What is there instead.
    pub found: Found,
}

/// What is where the recorded directory was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Found {
    /// Nothing.
    Nothing,
    /// Another directory.
    OtherDirectory,
    /// A symlink or a file, at the place or on the way to it.
    NoDirectory,
}

/// A record that can't be understood.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unreadable {
    /// The record's file name.
    pub record: String,
    /// Why.
    pub why: String,
}

impl Found {
    /// Whether the directory was replaced by something else.
    pub fn is_replaced(self) -> bool {
        self != Self::Nothing
    }
}

impl MissingVolume {
    /// What is wrong, and what to do.
    pub fn problem(&self) -> String {
        let Self { path, record, made_at, made_by, .. } = self;
        let path = format!("{VOLUMES_ROOT}/{path}");
        let record = format!("{VOLUMES_ROOT}/{AGENT_DIRECTORY}/{RECORDS}/{record}");
        let (wrong, mend, accept) = match self.found {
            Found::Nothing => {
                ("is gone", "put it back, by its name or from a backup", "to begin with an empty one")
            }
            Found::OtherDirectory => (
                "was replaced by another directory",
                "put the old one back by its name",
                "to keep the new one",
            ),
            Found::NoDirectory => (
                "was replaced by a symlink or a file, there or on the way to it",
                "put the old one back by its name",
                "to begin with an empty one, once that is removed",
            ),
        };
        format!(
            "the directory of volume {path}, made at {made_at} by {made_by}, {wrong}: what running containers write to the old one is lost \
             with them. Stop their tasks and {mend}; or, {accept}, remove the record {record} and deploy its service anew"
        )
    }
}

/// Looks at the records in the order of their names.
///
/// # Errors
/// The share's; of a single record they are in the answer.
pub fn check(request: &CheckRequest) -> Result<Checked, ShareError> {
    let begun = Instant::now();
    let budget = Duration::from_millis(request.budget_ms);
    let mut checked = Checked::default();
    let root = Directory::root()?;
    let Some(agent) = root.open(AGENT_DIRECTORY)? else { return Ok(checked) };
    let Some(records) = agent.open(RECORDS)? else { return Ok(checked) };
    let names = match &request.only {
        Some(names) => names.clone(),
        None => records.names()?,
    };
    for name in whole_records(names, request.after.as_deref()) {
        checked.records += 1;
        match look(&root, &records, &name) {
            Ok(None) => {}
            Ok(Some(missing)) => checked.missing.push(missing),
            Err(
                why @ (ShareError::Garbled { .. } | ShareError::Newer { .. } | ShareError::NotADirectory(_)),
            ) => {
                checked.unreadable.push(Unreadable { record: name.clone(), why: why.to_string() });
            }
            Err(error) => return Err(error),
        }
        if begun.elapsed() >= budget {
            checked.until = Some(name);
            break;
        }
    }
    if !checked.missing.is_empty() {
        std::thread::sleep(SECOND_LOOK);
        let mut still = Vec::new();
        for missing in checked.missing {
            still.extend(look(&root, &records, &missing.record)?);
        }
        checked.missing = still;
    }
    Ok(checked)
}

/// The records' names, in order, after the one where the last look stopped. Files that are being written begin with a dot.
pub(crate) fn whole_records(mut names: Vec<String>, after: Option<&str>) -> Vec<String> {
    names.retain(|name| {
        name.ends_with(".json") && !name.starts_with('.') && after.is_none_or(|after| name.as_str() > after)
    });
    names.sort();
    names
}

fn look(root: &Directory, records: &Directory, name: &str) -> Result<Option<MissingVolume>, ShareError> {
    // Removed meanwhile: there is no volume to look at.
    let Some(record) = records.read::<Record>(name)? else { return Ok(None) };
    let found = match inode_of(root, &record.path) {
        Ok(Some(inode)) if record.is_of(inode) => return Ok(None),
        Ok(Some(_)) => Found::OtherDirectory,
        Ok(None) | Err(ShareError::Failed { errno: Errno::STALE, .. }) => Found::Nothing,
        Err(ShareError::NotADirectory(_)) => Found::NoDirectory,
        Err(error) => return Err(error),
    };
    Ok(Some(MissingVolume {
        path: record.path,
        record: name.to_owned(),
        made_at: record.made_at,
        made_by: record.made_by,
        found,
    }))
}

fn inode_of(root: &Directory, path: &str) -> Result<Option<u64>, ShareError> {
    let mut at: Option<Directory> = None;
    for component in path.split('/') {
        let parent = at.as_ref().unwrap_or(root);
        // Another instance may have removed it: what this one's NFS client remembers doesn't count.
        parent.refresh()?;
        match parent.open(component)? {
            Some(next) => at = Some(next),
            None => return Ok(None),
        }
    }
    at.map(|directory| directory.inode()).transpose()
}

/// What many looks, each over a part of the records, know together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// Where the next look goes on.
    pub after: Option<String>,
    /// Records seen in this round so far, and in the last whole one.
    records: (u64, Option<u64>),
    missing: Vec<MissingVolume>,
    unreadable: Vec<Unreadable>,
}

impl Known {
    /// Takes over a look that began after `self.after`. What it saw is as it says; the rest is as it was.
    pub fn take(&mut self, checked: Checked) {
        let after = self.after.take();
        let was_looked_at = |record: &str| {
            after.as_deref().is_none_or(|after| record > after)
                && checked.until.as_deref().is_none_or(|until| record <= until)
        };
        self.missing.retain(|known| !was_looked_at(&known.record));
        self.unreadable.retain(|known| !was_looked_at(&known.record));
        self.missing.extend(checked.missing);
        self.unreadable.extend(checked.unreadable);
        self.missing.sort_by(|a, b| a.path.cmp(&b.path));
        self.unreadable.sort_by(|a, b| a.record.cmp(&b.record));
        self.records.0 += checked.records;
        self.after = checked.until;
        if self.after.is_none() {
            self.records = (0, Some(self.records.0));
        }
    }

    /// Volumes that are not what their record says, by path.
    pub fn missing(&self) -> &[MissingVolume] {
        &self.missing
    }

    /// Records in the last whole round.
    pub fn records(&self) -> Option<u64> {
        self.records.1
    }

    /// What is wrong, each with what to do.
    pub fn problems(&self) -> impl Iterator<Item = String> + '_ {
        let missing = self.missing.iter().map(MissingVolume::problem);
        let unreadable = self.unreadable.iter().map(|record| {
            format!(
                "a volume's record can't be read, so that nobody notices when its directory goes: {}",
                record.why
            )
        });
        missing.chain(unreadable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn missing(record: &str) -> MissingVolume {
        MissingVolume {
            path: format!("p/{record}"),
            record: record.to_owned(),
            made_at: "2026-01-02T03:04:05Z".to_owned(),
            made_by: "i-1".to_owned(),
            found: Found::Nothing,
        }
    }

    #[test]
    fn a_volume_that_is_gone_is_told_with_what_to_do() {
        let mut volume = missing("ab.json");
        assert_eq!(
            volume.problem(),
            "the directory of volume /volumes/p/ab.json, made at 2026-01-02T03:04:05Z by i-1, is gone: what running containers write to \
             the old one is lost with them. Stop their tasks and put it back, by its name or from a backup; or, to begin with an empty \
             one, remove the record /volumes/.volumes-agent/volumes/ab.json and deploy its service anew"
        );
        volume.found = Found::OtherDirectory;
        assert!(volume.problem().contains("was replaced by another directory") && volume.found.is_replaced());
    }

    #[test]
    fn only_whole_records_are_looked_at_in_their_order() {
        let names = ["b.json", ".a.json.0123", "a.json", "notes"].map(str::to_owned).to_vec();
        assert_eq!(whole_records(names.clone(), None), ["a.json", "b.json"]);
        assert_eq!(whole_records(names, Some("a.json")), ["b.json"]);
    }

    proptest! {
        /// However the looks are cut, after a whole round what is known is what is so.
        #[test]
        fn a_round_of_looks_knows_what_one_look_would(
            before in prop::collection::btree_set(0u8..40, 0..12),
            now in prop::collection::btree_set(0u8..40, 0..12),
            cuts in prop::collection::btree_set(0u8..40, 0..6),
        ) {
            let name = |number: &u8| format!("{number:02}.json");
            let mut known = Known::default();
            known.take(Checked { records: 40, missing: before.iter().map(|n| missing(&name(n))).collect(), ..Checked::default() });
            let mut from = 0u8;
            for until in cuts.iter().map(|cut| Some(*cut)).chain([None]) {
                let range: Vec<u8> = (from..=until.unwrap_or(39)).collect();
                let found = now.iter().filter(|n| range.contains(n)).map(|n| missing(&name(n))).collect();
                from = until.map_or(40, |until| until + 1);
                known.take(Checked {
                    records: range.len() as u64, until: until.as_ref().map(name), missing: found, ..Checked::default()
                });
            }
            let seen: BTreeSet<&str> = known.missing().iter().map(|one| one.record.as_str()).collect();
            let expected: Vec<String> = now.iter().map(name).collect();
            prop_assert_eq!(seen, expected.iter().map(String::as_str).collect());
            prop_assert_eq!(known.records(), Some(40));
            prop_assert_eq!(known.after, None);
        }
    }
}
