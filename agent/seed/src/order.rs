//! What a seeding container is told: one JSON object a volume, as its command's arguments; and where it finds things.
//!
//! These are part of the format of patched task definitions: a revision that is registered today runs for years.

use crate::ownership::{Mode, Owner};
use serde::{Deserialize, Serialize};

/// Where the helper lies on an instance: in a folder that is named by the format of task definitions, not by the agent's version, and
/// outlives the agent's upgrades. A folder and not the file, since Docker would make a missing file a directory.
pub const HELPER_FOLDER: &str = "/usr/lib/volumes-agent/seed/v2";
/// The helper's name in it.
pub const HELPER: &str = "volumes-agent-seed";
/// What is the seeding container's own in the image's tree: below it are the helper's folder and parts of the share.
pub const OWN_FOLDER: &str = "/.volumes-agent";
/// The directory, in the agent's own on the share, of volumes' records.
pub const RECORDS: &str = "volumes";
/// The folder of an app's named volumes; no service can be called so.
pub const NAMED: &str = "@volumes";

/// One volume that is to be filled if it is new.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// Its layout path, relative to the volumes root.
    pub path: String,
    /// The path in the container.
    pub target: String,
    /// Whose it is to be, whatever the image says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
    /// Its permissions, whatever the image says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
}

/// Where the helper's folder is in a seeding container.
pub fn helper_mount() -> String {
    format!("{OWN_FOLDER}/bin")
}

/// The entry point of a seeding container.
pub fn entry_point() -> String {
    format!("{}/{HELPER}", helper_mount())
}

/// Where a part of the share is in a seeding container.
pub fn share_mount(path: &str) -> String {
    format!("{OWN_FOLDER}/share/{path}")
}

/// The folder that holds a volume and is not itself inside of one, with what of the path lies below it: the service's folder, or that of the
/// named volumes. `None`: the path is no layout path.
pub fn folder(path: &str) -> Option<(&str, &str)> {
    let (second, _) = path.match_indices('/').nth(1)?;
    let (folder, below) = path.split_at_checked(second)?;
    Some((folder, below.get(1..).filter(|below| !below.is_empty())?))
}

/// Whether several services may hold the volume at any time, so that its directory must stay the same one.
pub fn is_named(path: &str) -> bool {
    path.split('/').nth(1) == Some(NAMED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_lies_in_its_services_folder_or_in_that_of_named_ones() {
        assert_eq!(folder("r-a/web/var/www"), Some(("r-a/web", "var/www")));
        assert_eq!(folder("r-a/@volumes/db"), Some(("r-a/@volumes", "db")));
        assert_eq!([folder("r-a/web"), folder("r-a/web/"), folder("r-a")], [None; 3]);
        assert!(is_named("r-a/@volumes/db") && !is_named("r-a/web/@volumes"));
    }

    #[test]
    fn an_order_is_what_revisions_say_for_years() {
        let order = Order {
            path: "r-a/web/data".to_owned(),
            target: "/data".to_owned(),
            owner: "1000:1000".parse().ok(),
            mode: None,
        };
        let text = r#"{"path":"r-a/web/data","target":"/data","owner":"1000:1000"}"#;
        assert_eq!(serde_json::to_string(&order).ok().as_deref(), Some(text));
        assert_eq!(serde_json::from_str::<Order>(text).ok(), Some(order));
    }
}
