//! What patching changes, and what it leaves alone.

use lab::{Error, Lab, app, app::SERVICE, cluster::CLUSTER, expect, story::calls_of_agents, wait};
use serde_json::{Value, json};
use std::time::Duration;

/// A new leader takes over when the old one's lease ends; a round is every ten seconds.
const ROUNDS: Duration = Duration::from_secs(60);

fn status(lab: &Lab, index: usize) -> Value {
    lab.instance(index).get(12049, "/status", "application/json").json()
}

/// Waits until one instance leads and has been through a round. Gives its index.
fn leader(lab: &Lab) -> Result<usize, Error> {
    wait::until(&lab.progress, "one instance leads and the other follows", ROUNDS, || {
        let all = [status(lab, 0), status(lab, 1)];
        let role = |index: usize| all[index]["patching"]["role"].as_str().unwrap_or_default().to_owned();
        let has_looked = |index: usize| all[index]["patching"]["last_round"].is_string();
        match (role(0).as_str(), role(1).as_str()) {
            ("leader", "follower") if has_looked(0) => Ok(0),
            ("follower", "leader") if has_looked(1) => Ok(1),
            _ => Err(format!("{} and {}", all[0]["patching"], all[1]["patching"])),
        }
    })
}

/// Agents that start anew look at everything again, and find nothing to do.
pub(crate) fn patching_twice_changes_nothing(lab: &Lab) -> Result<String, Error> {
    app::up(lab)?;
    let facts = |lab: &Lab| -> Result<Value, Error> {
        let deployments = app::services(lab, SERVICE)?.unwrap_or_default()["deployments"].clone();
        let ids: Vec<Value> = deployments.as_array().into_iter().flatten().map(|d| d["id"].clone()).collect();
        let made = calls_of_agents(lab, "RegisterTaskDefinition", SERVICE)?.len();
        let updates = calls_of_agents(lab, "UpdateService", SERVICE)?.len();
        Ok(json!([app::revisions(lab, SERVICE)?, ids, made, updates]))
    };
    let before = facts(lab)?;
    for guest in lab.instances() {
        guest.run("systemctl restart volumes-agent")?;
    }
    let leader = leader(lab)?;
    let service = status(lab, leader)["patching"]["services"][0].clone();
    expect(service["outcome"] == "patched", "the service is found patched", service.to_string())?;
    let after = facts(lab)?;
    expect(before == after, format!("no new revision, deployment or call: {before}"), after.to_string())?;
    Ok(after.to_string())
}

/// Fields of a future API, nested and at top level, and tags, pass through the daemon.
pub(crate) fn fields_that_nobody_knows_are_kept(lab: &Lab) -> Result<String, Error> {
    let mut document: Value = serde_json::from_str(&app::file("task-definition.json")?).unwrap_or_default();
    document["family"] = json!("of-tomorrow");
    document["aFieldOfTomorrow"] = json!({ "deep": [1, { "er": true }] });
    document["containerDefinitions"][0]["anotherOne"] = json!("kept");
    document["containerDefinitions"][0]["dockerLabels"]["convox.app"] = json!("of-tomorrow");
    document["containerDefinitions"][0]["linuxParameters"] =
        json!({ "initProcessEnabled": true, "newToo": 7 });
    let new = [
        "aFieldOfTomorrow",
        "containerDefinitions[].anotherOne",
        "containerDefinitions[].linuxParameters.newToo",
    ];
    lab.newer_ecs("RegisterTaskDefinition", &new)?;
    let source = app::register(lab, &document)?;
    app::create(lab, "of-tomorrow", &source, 0)?;
    let patched = app::revision(lab, &app::patched(lab, "of-tomorrow")?)?;
    for path in [
        "/aFieldOfTomorrow",
        "/containerDefinitions/0/anotherOne",
        "/containerDefinitions/0/linuxParameters",
        "/tags",
    ] {
        let (sent, kept) = (document.pointer(path), patched.pointer(path));
        expect(sent == kept, format!("{path} is {sent:?}"), format!("{kept:?}"))?;
    }
    lab.ecs("DeleteService", &json!({ "cluster": CLUSTER, "service": "of-tomorrow", "force": true }))?;
    Ok(patched["taskDefinitionArn"].to_string())
}

/// While the leader goes over the cluster, the other instance's agent asks ECS nothing about it.
pub(crate) fn a_follower_makes_no_reads_of_the_cluster(lab: &Lab) -> Result<String, Error> {
    let leader = leader(lab)?;
    let follower = 1 - leader;
    let rounds = || {
        Ok::<_, Error>(
            lab.ecs_calls(Some(leader))?.iter().filter(|call| call["operation"] == "ListServices").count(),
        )
    };
    let (seen, before) = (lab.ecs_calls(Some(follower))?.len(), rounds()?);
    wait::until(&lab.progress, "the leader has gone over the cluster twice", ROUNDS, || {
        let now = rounds().map_err(|error| error.to_string())?;
        if now >= before + 2 { Ok(()) } else { Err(format!("{} rounds", now - before)) }
    })?;
    let calls = lab.ecs_calls(Some(follower))?;
    let new: Vec<&Value> = calls
        .iter()
        .skip(seen)
        .map(|call| &call["operation"])
        .filter(|name| **name != "PutAttributes")
        .collect();
    expect(new.is_empty(), "no call of the follower but its attribute", format!("{new:?}"))?;
    Ok(format!("instance {leader} leads"))
}
