//! The policies of `docs/iam`: everybody in the lab has their rights and no others, so what they lack breaks other promises. Here: what they
//! have to spare.

use lab::{Error, Lab, expect, iam, metadata};

/// Checked with RegisterTaskDefinition, and no calls.
const CHECKED_ALONG: [&str; 2] = ["ecs:TagResource", "iam:PassRole"];

/// Fails if a policy allows an ECS action that neither instance nor patcher called in this run.
fn nothing_to_spare(lab: &Lab, policy: &str) -> Result<String, Error> {
    let mut keys: Vec<String> = lab.instances().iter().map(|guest| guest.identity.access_key()).collect();
    keys.push(metadata::access_key(iam::PATCHER_ROLE));
    let calls = lab.ecs_calls(None)?;
    let is_called = |action: &str| {
        calls.iter().any(|call| {
            keys.iter().any(|key| call["access_key"] == key.as_str())
                && call["operation"].as_str().is_some_and(|operation| action == format!("ecs:{operation}"))
        })
    };
    let actions: Vec<String> = iam::allowed(&[policy])?.into_iter().map(|allow| allow.action).collect();
    let of_ecs = actions.iter().filter(|action| !action.starts_with("elasticfilesystem:"));
    let unused: Vec<&String> =
        of_ecs.filter(|action| !CHECKED_ALONG.contains(&action.as_str()) && !is_called(action)).collect();
    expect(
        unused.is_empty(),
        format!("every action of docs/iam/{policy}.json was called"),
        format!("not: {unused:?}"),
    )?;
    Ok(format!("{} actions", actions.len()))
}

pub(crate) fn of_the_patcher(lab: &Lab) -> Result<String, Error> {
    nothing_to_spare(lab, "patcher")
}

/// `drain_after` included, which another promise turns on.
pub(crate) fn of_an_instance(lab: &Lab) -> Result<String, Error> {
    nothing_to_spare(lab, "instance")
}
