//! ECS that throttles, fails, loses answers or refuses, and deploys that come in between: each change is made once all the same.

use crate::services::{pause, remove, source, tells, told, update};
use lab::{
    Error, Lab,
    app::{self, DEPLOYED},
    cluster::CLUSTER,
    expect,
    story::calls_of_agents,
    wait,
};
use serde_json::{Value, json};
use std::time::Duration;

/// Two agents' worth of back-off after rounds that ECS ended.
const LATER: Duration = Duration::from_secs(150);

/// Sets a fault for the calls of each instance's agent; deploy tools are not met.
fn fault(lab: &Lab, operation: &str, fault: Value) -> Result<(), Error> {
    for guest in lab.instances() {
        let mut fault = fault.clone();
        fault["operation"] = json!(operation);
        fault["access_key"] = json!(guest.identity.access_key());
        lab.ecs_control("POST", "faults", &fault)?;
    }
    Ok(())
}

fn no_faults(lab: &Lab) -> Result<(), Error> {
    lab.ecs_control("DELETE", "faults", &Value::Null).map(drop)
}

/// The answer to a registration is lost, the update fails and is throttled, and so are the calls before: one revision, one update.
pub(crate) fn lost_answers_and_throttling_end_in_one_change(lab: &Lab) -> Result<String, Error> {
    const NAME: &str = "troubled";
    fault(lab, "RegisterTaskDefinition", json!({ "fault": "timeout", "applied": true, "count": 1 }))?;
    fault(lab, "UpdateService", json!({ "fault": "server-error", "count": 1 }))?;
    fault(lab, "UpdateService", json!({ "fault": "throttle", "count": 1 }))?;
    fault(lab, "UpdateService", json!({ "fault": "garbled", "applied": true, "count": 1 }))?;
    fault(lab, "DescribeServices", json!({ "fault": "throttle", "count": 2 }))?;
    fault(lab, "ListServices", json!({ "fault": "garbled", "count": 1 }))?;
    let theirs = source(lab, NAME, |_| {})?;
    app::create(lab, NAME, &theirs, 0)?;
    wait::until(&lab.progress, "it is told as patched", LATER, || {
        let seen = told(lab, NAME);
        if seen["outcome"] == "patched" { Ok(()) } else { Err(seen.to_string()) }
    })?;
    no_faults(lab)?;
    let revisions = app::revisions(lab, NAME)?;
    expect(revisions.len() == 2, "the source and one patched revision", format!("{revisions:?}"))?;
    let calls = lab.ecs_calls(None)?;
    let met: Vec<&Value> = calls
        .iter()
        .filter(|call| {
            ["RegisterTaskDefinition", "UpdateService"].iter().any(|name| call["operation"] == *name)
        })
        .map(|call| &call["fault"])
        .filter(|fault| !fault.is_null())
        .collect();
    for wanted in ["timeout", "server-error", "throttle", "garbled"] {
        expect(
            met.iter().any(|fault| **fault == wanted),
            format!("the fault {wanted} was met"),
            format!("{met:?}"),
        )?;
    }
    let deployments = app::services(lab, NAME)?.unwrap_or_default()["deployments"].clone();
    let of_patched =
        deployments.as_array().into_iter().flatten().filter(|d| d["taskDefinition"] == *revisions[1]);
    expect(of_patched.count() == 1, "one deployment of it", deployments.to_string())?;
    remove(lab, NAME)?;
    Ok(revisions[1].clone())
}

/// While a patched copy is being registered, other code is deployed, and another service is removed: both patches are dropped.
pub(crate) fn a_superseded_patch_is_dropped(lab: &Lab) -> Result<String, Error> {
    const NAMES: [&str; 2] = ["superseded", "removed"];
    // The answers come late, but in time for the agent: what happens until then it has not seen.
    fault(
        lab,
        "RegisterTaskDefinition",
        json!({ "fault": "timeout", "seconds": 3, "applied": true, "count": 2 }),
    )?;
    for name in NAMES {
        app::create(lab, name, &source(lab, name, |_| {})?, 0)?;
    }
    let release = |document: &mut Value| {
        document["containerDefinitions"][0]["environment"] = json!([{ "name": "RELEASE", "value": "2" }]);
    };
    // ECS lists its services in no order that is promised.
    let mut left = NAMES.to_vec();
    let mut new = String::new();
    while !left.is_empty() {
        let at = wait::until(&lab.progress, "one of the two is being patched", DEPLOYED, || {
            let is_under_way = |name: &&str| {
                calls_of_agents(lab, "RegisterTaskDefinition", name).is_ok_and(|calls| !calls.is_empty())
            };
            left.iter().position(is_under_way).ok_or_else(|| "neither".to_owned())
        })?;
        let name = left.remove(at);
        if name == "removed" {
            remove(lab, name)?;
        } else {
            new = source(lab, name, release)?;
            update(lab, name, &new)?;
        }
    }
    let patched = app::patched(lab, NAMES[0])?;
    no_faults(lab)?;
    let document = app::revision(lab, &patched)?;
    let code = &document["containerDefinitions"][0]["environment"];
    expect(code[0]["value"] == "2", "the patched revision has the new code", document.to_string())?;
    let updates = calls_of_agents(lab, "UpdateService", NAMES[0])?;
    expect(updates.len() == 1, "one update, to the new code's patched revision", format!("{updates:?}"))?;
    expect(
        calls_of_agents(lab, "UpdateService", NAMES[1])?.is_empty(),
        "none of the removed one",
        "an update",
    )?;
    remove(lab, NAMES[0])?;
    Ok(format!("{new} became {patched}"))
}

/// What AWS refuses for one service (a role that may not be passed, a sixth deployment) is told of that one, and others go on.
pub(crate) fn what_aws_refuses_of_one_service_stops_no_other(lab: &Lab) -> Result<String, Error> {
    const CROWDED: &str = "five-deployments";
    let role = |name: &str| format!("arn:aws:iam::123456789012:role/{name}");
    let with_role = |name: &str, its: &str| {
        let role = role(its);
        source(lab, name, |document| document["taskRoleArn"] = json!(role))
    };
    let allow =
        json!([{ "action": "ecs:*" }, { "action": "iam:PassRole", "resource": role("may-be-passed") }]);
    for guest in lab.instances() {
        let policy = json!({ "access_key": guest.identity.access_key(), "allow": allow });
        lab.ecs_control("POST", "policy", &policy)?;
    }
    pause(lab, true)?;
    // Each update leaves a task that takes its time to end, and with it its deployment.
    for release in 0..5 {
        let revision = source(lab, CROWDED, |document| {
            let container = &mut document["containerDefinitions"][0];
            container["stopTimeout"] = json!(90);
            container["environment"] = json!([{ "name": "RELEASE", "value": release.to_string() }]);
        })?;
        if release == 0 {
            app::create(lab, CROWDED, &revision, 1)?;
        } else {
            update(lab, CROWDED, &revision)?;
        }
        wait::until(&lab.progress, &format!("{revision} runs"), DEPLOYED, || {
            let tasks = app::running(lab, CROWDED).map_err(|error| error.to_string())?;
            if tasks.iter().any(|task| task.revision == revision) {
                Ok(())
            } else {
                Err(format!("{tasks:?}"))
            }
        })?;
    }
    let deployments = app::services(lab, CROWDED)?.unwrap_or_default()["deployments"].clone();
    expect(
        deployments.as_array().is_some_and(|d| d.len() == 5),
        "five deployments",
        deployments.to_string(),
    )?;
    app::create(lab, "role-denied", &with_role("role-denied", "not-to-be-passed")?, 0)?;
    app::create(lab, "role-allowed", &with_role("role-allowed", "may-be-passed")?, 0)?;
    pause(lab, false)?;
    let crowded = tells(lab, CROWDED, "too-many-deployments")?;
    let denied = tells(lab, "role-denied", "pass-role")?;
    let names = denied["reason"].as_str().is_some_and(|reason| reason.contains("not-to-be-passed"));
    expect(names, "the reason names the role", denied.to_string())?;
    app::patched(lab, "role-allowed")?;
    lab.restore_rights()?;
    for name in [CROWDED, "role-denied"] {
        wait::until(&lab.progress, &format!("{name} is patched as soon as AWS lets it"), LATER, || {
            let seen = told(lab, name);
            if seen["outcome"] == "patched" || seen["outcome"] == "updated" {
                Ok(())
            } else {
                Err(seen.to_string())
            }
        })?;
        expect(calls_of_agents(lab, "UpdateService", name)?.len() == 1, "by one update", name)?;
    }
    for name in [CROWDED, "role-denied", "role-allowed"] {
        remove(lab, name)?;
    }
    Ok(crowded.to_string())
}

/// An agent whose role may not patch says so and lets go of the lock; another one patches.
pub(crate) fn who_may_not_patch_lets_another_lead(lab: &Lab) -> Result<String, Error> {
    const NAME: &str = "by-another";
    let role = |index: usize| {
        lab.instance(index).get(12049, "/status", "application/json").json()["patching"]["role"].clone()
    };
    let leader = wait::until(&lab.progress, "an instance leads", DEPLOYED, || {
        [0, 1]
            .into_iter()
            .find(|index| role(*index) == "leader")
            .ok_or_else(|| format!("{} {}", role(0), role(1)))
    })?;
    let key = lab.instance(leader).identity.access_key();
    let mounts_only = json!([
        { "action": "ecs:PutAttributes" }, { "action": "ecs:Describe*" }, { "action": "ecs:List*" },
        { "action": "ecs:RegisterContainerInstance" },
    ]);
    lab.ecs_control("POST", "policy", &json!({ "access_key": key, "allow": mounts_only }))?;
    app::create(lab, NAME, &source(lab, NAME, |_| {})?, 0)?;
    wait::until(&lab.progress, "the leader says that it may not, the other one leads", LATER, || {
        let seen = (role(leader), role(1 - leader));
        if seen.0 == "not-allowed" && seen.1 == "leader" { Ok(()) } else { Err(format!("{seen:?}")) }
    })?;
    let patched = app::patched(lab, NAME)?;
    let health = lab.health(leader);
    expect(health.status == 200, "the one that may not patch is ready all the same", health.body)?;
    lab.restore_rights()?;
    lab.instance(leader).run("systemctl restart volumes-agent")?;
    lab.ecs("DeleteService", &json!({ "cluster": CLUSTER, "service": NAME, "force": true }))?;
    Ok(patched)
}
