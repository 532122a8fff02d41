//! What the agent does while too few instances are ready, and when that makes a deployment fail.

use crate::services::{pause, remove, source, tells, under_the_breaker};
use lab::{Error, Lab, app, cluster::CLUSTER, expect, story::calls_of_agents, wait};
use serde_json::json;
use std::time::Duration;

/// Tells ECS a value of an instance's gate, as another agent of it would.
fn gate(lab: &Lab, index: usize, value: &str) -> Result<(), Error> {
    let instance = lab.container_instance(index)?["containerInstanceArn"].clone();
    let attribute = json!({ "name": "convox.volumes", "value": value, "targetId": instance });
    lab.ecs("PutAttributes", &json!({ "cluster": CLUSTER, "attributes": [attribute] })).map(drop)
}

/// No instance takes a patched revision: ECS rolls back, and it is tried again. A service with one task an instance waits meanwhile.
pub(crate) fn what_no_instance_was_ready_for_is_tried_again(lab: &Lab) -> Result<String, Error> {
    const PINNED: &str = "pinned";
    const SPREAD: &str = "one-an-instance";
    let away = 1;
    let zone = lab.instance(away).identity.zone;
    under_the_breaker(lab, PINNED, |document| {
        let expression = format!("attribute:ecs.availability-zone == {zone}");
        document["placementConstraints"] = json!([{ "type": "memberOf", "expression": expression }]);
    })?;
    let spread = source(lab, SPREAD, |_| {})?;
    lab.ecs(
        "CreateService",
        &json!({
            "cluster": CLUSTER, "serviceName": SPREAD, "taskDefinition": spread, "desiredCount": 2, "launchType": "EC2",
            "placementConstraints": [{ "type": "distinctInstance" }],
            "deploymentConfiguration": { "minimumHealthyPercent": 100, "maximumPercent": 200 },
        }),
    )?;
    gate(lab, away, "not-ready")?;
    lab.ecs_control("POST", "pace", &json!({ "unplaced_counts_every": 3 }))?;
    pause(lab, false)?;
    let waits = tells(lab, SPREAD, "too-few-ready")?;
    let failed = tells(lab, PINNED, "share-failed-it")?;
    let reason = failed["reason"].as_str().unwrap_or_default().to_owned();
    expect(reason.contains("unable to place a task"), "the reason has ECS's words", reason.clone())?;
    lab.ecs_control("POST", "pace", &json!({ "unplaced_counts_every": 20 }))?;
    gate(lab, away, "ready")?;
    wait::until(&lab.progress, "the pinned one runs with its volumes", Duration::from_secs(120), || {
        let service = app::services(lab, PINNED).map_err(|error| error.to_string())?.unwrap_or_default();
        let primary = &service["deployments"][0];
        let arn = primary["taskDefinition"].as_str().unwrap_or_default();
        let document = app::revision(lab, arn).map_err(|error| error.to_string())?;
        let is_done = app::is_patched(&document) && primary["runningCount"] == service["desiredCount"];
        if is_done { Ok(()) } else { Err(service["deployments"].to_string()) }
    })?;
    // With as many tasks as instances and none to spare it can't go further here; what counts is that it was moved only now.
    app::patched(lab, SPREAD)?;
    for name in [PINNED, SPREAD] {
        let made = calls_of_agents(lab, "RegisterTaskDefinition", name)?.len();
        expect(made == 1, format!("one patched revision of {name}"), made.to_string())?;
    }
    for name in [PINNED, SPREAD] {
        remove(lab, name)?;
    }
    Ok(format!("{waits} {reason}"))
}
