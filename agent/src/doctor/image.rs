//! An image of an instance, before an instance is made of it: what each of them will rest on, and that nothing of the building one is left.

use super::{Check, Findings, kernel, units};
use crate::mount::VOLUMES_ROOT;

/// What the machine that an image is taken of leaves in it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LeftBehind {
    /// Paths of what the agent and the ECS agent remember of it.
    pub state: Vec<String>,
    /// Its systemd machine id, if it is still there.
    pub machine_id: Option<String>,
}

/// The checks of an image, in the order of those of an instance.
pub fn examine(found: &Findings, left: &LeftBehind) -> Vec<Check> {
    vec![
        units::configuration(found),
        units::helper(found),
        kernel::nfs_client(found),
        kernel::mount_point(found),
        kernel::guard(found),
        units::order(found),
        left_behind(found, left),
    ]
}

/// Whether an instance of the image could take itself for the one that built it.
fn left_behind(found: &Findings, left: &LeftBehind) -> Check {
    const NAME: &str = "left-behind";
    if let Some(mounted) = found.mounted() {
        return Check::fail(
            NAME,
            format!("{} is mounted at {VOLUMES_ROOT}: this is an instance at work", mounted.source),
            "take the image of an instance that is in no cluster, or run `volumes-agent doctor`",
        );
    }
    if !left.state.is_empty() {
        return Check::fail(
            NAME,
            format!("what the building instance remembers of itself: {}", left.state.join(", ")),
            "stop ecs.service and volumes-agent.service, and remove it: each instance finds out who it is",
        );
    }
    match &left.machine_id {
        Some(id) => Check::warn(
            NAME,
            format!("/etc/machine-id is {id}: every instance of the image would have it"),
            "`truncate --size 0 /etc/machine-id`: systemd makes a new one at the first boot (machine-id(5))",
        ),
        None => Check::pass(NAME, "nothing of the building instance: no state, no machine id"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::{Verdict, tests::well, worst};

    /// An instance on which all is well, without its share.
    fn image() -> Findings {
        Findings { mounts: Ok(Vec::new()), ..well() }
    }

    #[test]
    fn an_image_needs_no_share_no_daemon_and_no_aws() {
        let mut found = image();
        let away = || "not there".to_owned();
        found.daemon = Err(away());
        found.instance = Err(away());
        found.registration = Err(away());
        found.share = None;
        let checks = examine(&found, &LeftBehind::default());
        assert_eq!(worst(&checks), Verdict::Pass, "{checks:#?}");
    }

    #[test]
    fn what_is_left_of_the_building_instance_is_told() {
        let told = |found: &Findings, left: &LeftBehind| {
            let checks = examine(found, left);
            let check = checks.into_iter().find(|check| check.name == "left-behind").unwrap();
            (check.result, check.detail)
        };
        let state = LeftBehind { state: vec!["/var/lib/ecs/data/agent.db".to_owned()], machine_id: None };
        let (result, detail) = told(&image(), &state);
        assert!(result == Verdict::Fail && detail.contains("agent.db"), "{detail}");
        let id = LeftBehind { state: Vec::new(), machine_id: Some("0f1e".to_owned()) };
        assert_eq!(told(&image(), &id).0, Verdict::Warn);
        let (result, detail) = told(&well(), &LeftBehind::default());
        assert!(result == Verdict::Fail && detail.contains("at work"), "{detail}");
    }
}
