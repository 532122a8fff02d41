//! Keys that look like a slip of `volumes` and its like: Docker Compose refuses every key that it doesn't know; here only those,
//! for they would lose data.

use crate::{problem::Problem, yaml::Node};

/// Keys of a service that bring volumes.
const OF_SERVICES: [&str; 3] = ["volumes", "volumes_from", "tmpfs"];
/// Top-level keys that bring volumes.
const AT_TOP_LEVEL: [&str; 3] = ["services", "volumes", "include"];
/// Other words for them.
const OTHER_WORDS: [&str; 5] = ["vol", "vols", "mount", "mounts", "volume_mounts"];
/// What else begins like one of them and isn't one.
const KNOWN: [&str; 2] = ["secrets", "devices"];

/// About a service's key that is not known to this reader.
pub fn in_service(key: &str, node: &Node) -> Option<Problem> {
    if key == "volume_driver" {
        let reason = "`volume_driver` is not a key of a service any more";
        let help = "write `driver` in the top-level `volumes`";
        return Some(Problem::error("slip", reason, help).at(&node.place));
    }
    if key == "<<" {
        let reason = "`<<` in quotes is a key like any other, and brings nothing";
        return Some(
            Problem::error("slip", reason, "remove the quotes").at(&node.place).fix(Some("<<".to_owned())),
        );
    }
    let meant = meant(key, &OF_SERVICES).or_else(|| OTHER_WORDS.contains(&key).then_some("volumes"))?;
    Some(problem(key, meant, "a service", node))
}

/// About a top-level key that is not known to this reader.
pub fn at_top_level(key: &str, node: &Node) -> Option<Problem> {
    if OF_SERVICES.contains(&key) {
        let problem =
            Problem::error("slip", format!("`{key}` is a key of a service"), "put it into a service");
        return Some(
            problem
                .at(&node.place)
                .why("Docker Compose refuses the file; no service has what is written there"),
        );
    }
    let meant = meant(key, &AT_TOP_LEVEL)?;
    Some(problem(key, meant, "a compose file", node))
}

fn problem(key: &str, meant: &str, of: &str, node: &Node) -> Problem {
    Problem::error("slip", format!("`{key}` is not a key of {of}"), format!("write `{meant}`"))
        .at(&node.place)
        .came_by(node.origin.as_ref())
        .why(format!(
            "Docker Compose refuses the file; what is written below `{key}` would be lost otherwise"
        ))
        .fix(Some(meant.to_owned()))
}

fn meant(key: &str, keys: &[&'static str]) -> Option<&'static str> {
    if key.starts_with("x-") || KNOWN.contains(&key) {
        return None;
    }
    let plain = key.to_lowercase().replace('-', "_");
    let most = |meant: &str| if meant.len() > 5 { 2 } else { 1 };
    keys.iter().copied().find(|meant| strsim::levenshtein(&plain, meant) <= most(meant))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_told_from_other_keys() {
        for (key, expected) in [
            ("volume", Some("volumes")),
            ("Volumes", Some("volumes")),
            ("volmues", Some("volumes")),
            ("volumes-from", Some("volumes_from")),
            ("volumesfrom", Some("volumes_from")),
            ("tmpf", Some("tmpfs")),
            ("volumes_list", None),
            ("x-volume", None),
            ("dockerfile", None),
            ("devices", None),
            ("models", None),
        ] {
            assert_eq!(meant(key, &OF_SERVICES), expected, "{key}");
        }
        assert_eq!(meant("service", &AT_TOP_LEVEL), Some("services"));
        for key in ["secrets", "networks", "configs", "version", "models", "foo"] {
            assert_eq!(meant(key, &AT_TOP_LEVEL), None, "{key}");
        }
    }
}
