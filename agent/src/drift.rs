//! Volumes whose directory has another owner or mode than was asked for: told, and never changed, but by `volumes-agent chown`.

use crate::{
    inventory::{self, PageRequest},
    listing,
    mount::VOLUMES_ROOT,
    ownership::{Mode, Owner},
    record::Record,
    share::{Directory, ShareError},
};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// What a look at all volumes found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drift {
    /// How many volumes were looked at.
    pub volumes: usize,
    /// Whether the time was enough for all of them.
    pub is_all: bool,
    /// What is not as it was asked for, a sentence a volume.
    pub told: Vec<String>,
}

/// Looks at the directories of all volumes of which an owner or a mode was asked for, as long as `budget` lasts. Runs in a share worker.
///
/// # Errors
/// The share's. Records and directories that can't be read are not this look's business: `ls` tells of them.
pub fn look(budget: Duration) -> Result<Drift, ShareError> {
    look_below(&Directory::root()?, budget)
}

fn look_below(root: &Directory, budget: Duration) -> Result<Drift, ShareError> {
    let begun = Instant::now();
    let page = inventory::records_below(root, &PageRequest::first(budget))?;
    let mut drift = Drift { volumes: 0, is_all: page.until.is_none(), told: Vec::new() };
    for (_, record) in page.files {
        if begun.elapsed() >= budget {
            drift.is_all = false;
            break;
        }
        drift.volumes += 1;
        let is_asked = record.owner.is_some() || record.mode.is_some();
        if !is_asked || !listing::is_layout_path(&record.path) {
            continue;
        }
        let looks = root.open(&record.path).ok().flatten().and_then(|directory| directory.looks().ok());
        drift.told.extend(told(&record.path, Some(&record), looks.as_ref()));
    }
    Ok(drift)
}

/// What of a directory is not as it was asked for, and what to do. An existing one is never changed by itself.
pub fn told(path: &str, record: Option<&Record>, looks: Option<&(Owner, Mode)>) -> Option<String> {
    let ((owner, mode), record) = (looks?, record?);
    let other_owner = record.owner.filter(|asked| asked != owner);
    let other_mode = record.mode.filter(|asked| asked != mode);
    let asked: Vec<String> = other_owner
        .map(|owner| format!("owner {owner}"))
        .into_iter()
        .chain(other_mode.map(|mode| format!("mode {mode}")))
        .collect();
    if asked.is_empty() {
        return None;
    }
    let path = format!("{VOLUMES_ROOT}/{path}");
    let way = match (other_owner, other_mode) {
        (Some(owner), _) => format!("`volumes-agent chown {path} {owner}` does it"),
        (None, mode) => {
            format!("`chmod {} {path}` does it", mode.map(|mode| mode.to_string()).unwrap_or_default())
        }
    };
    Some(format!(
        "{path} is {owner}'s with mode {mode}, and {} was asked for: an existing directory is never changed by itself; {way}",
        asked.join(" and ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_of_volumes_that_are_not_as_asked_for() {
        let path = std::env::temp_dir().join(format!("volumes-agent-drift-{}", std::process::id()));
        let records = path.join(".volumes-agent/volumes");
        let make = |path: &std::path::Path| std::fs::DirBuilder::new().recursive(true).create(path).unwrap();
        make(&records);
        let mode = |mode: u32| std::os::unix::fs::PermissionsExt::from_mode(mode);
        for (name, asked) in [("right", "0750"), ("wrong", "0700"), ("free", "")] {
            let volume = format!("r-a/web/{name}");
            make(&path.join(&volume));
            std::fs::set_permissions(path.join(&volume), mode(0o750)).unwrap();
            let mut record = serde_json::json!({
                "format": 2, "path": volume, "inode": 1, "state": "made", "made_at": "", "made_by": ""
            });
            if !asked.is_empty() {
                record["mode"] = asked.into();
            }
            std::fs::write(records.join(format!("{name}.json")), record.to_string()).unwrap();
        }
        let root = Directory::anywhere(&path, "").unwrap();
        let drift = look_below(&root, Duration::from_secs(10)).unwrap();
        assert_eq!((drift.volumes, drift.is_all, drift.told.len()), (3, true, 1), "{drift:?}");
        assert!(drift.told[0].contains("`chmod 0700 /volumes/r-a/web/wrong` does it"), "{drift:?}");
        let none = look_below(&root, Duration::ZERO).unwrap();
        assert!(!none.is_all && none.told.is_empty(), "{none:?}");
        std::fs::remove_dir_all(&path).unwrap();
    }
}
