//! What the agent does to services: when it waits, when it yields, and what it says.

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

/// A quiet round of the leader, and some.
pub(crate) const ROUNDS: Duration = Duration::from_secs(35);

/// A source revision of a family of its own, whose one container sleeps.
pub(crate) fn source(lab: &Lab, family: &str, change: impl FnOnce(&mut Value)) -> Result<String, Error> {
    let mut document: Value = serde_json::from_str(&app::file("task-definition.json")?).unwrap_or_default();
    document["family"] = json!(family);
    let container = &mut document["containerDefinitions"][0];
    container["portMappings"] = json!([]);
    container["entryPoint"] = json!(["/bin/busybox"]);
    container["command"] = json!(["sleep", "3600"]);
    container["stopTimeout"] = json!(2);
    container["dockerLabels"]["convox.app"] = json!(family);
    change(&mut document);
    app::register(lab, &document)
}

pub(crate) fn remove(lab: &Lab, service: &str) -> Result<(), Error> {
    lab.ecs("DeleteService", &json!({ "cluster": CLUSTER, "service": service, "force": true })).map(drop)
}

pub(crate) fn update(lab: &Lab, service: &str, revision: &str) -> Result<(), Error> {
    let request = json!({ "cluster": CLUSTER, "service": service, "taskDefinition": revision });
    lab.ecs("UpdateService", &request).map(drop)
}

/// What the leader's `/status` has about patching.
pub(crate) fn patching(lab: &Lab) -> Value {
    let status = |index: usize| lab.instance(index).get(12049, "/status", "application/json").json();
    let all = [status(0), status(1)];
    all.iter().map(|one| &one["patching"]).find(|one| one["role"] == "leader").cloned().unwrap_or_default()
}

pub(crate) fn told(lab: &Lab, service: &str) -> Value {
    let patching = patching(lab);
    let services = patching["services"].as_array().cloned().unwrap_or_default();
    services.into_iter().find(|one| one["service"] == service).unwrap_or_default()
}

/// Waits until the leader tells this code of a service. Gives its line.
pub(crate) fn tells(lab: &Lab, service: &str, code: &str) -> Result<Value, Error> {
    wait::until(&lab.progress, &format!("/status tells `{code}` of {service}"), DEPLOYED, || {
        let seen = told(lab, service);
        if seen["code"] == code { Ok(seen) } else { Err(seen.to_string()) }
    })
}

/// Looks all the time until the leader has gone over all services once more from beginning to end; fails at once when `look` sees
/// something else (`Err`).
pub(crate) fn through_a_round(
    lab: &Lab,
    expected: &str,
    mut look: impl FnMut() -> Result<(), String>,
) -> Result<(), Error> {
    // Each round begins with one.
    let begun = || -> Result<usize, Error> {
        let calls = [lab.ecs_calls(Some(0))?, lab.ecs_calls(Some(1))?];
        Ok(calls.iter().flatten().filter(|call| call["operation"] == "ListServices").count())
    };
    let before = begun()?;
    let mut wrong = None;
    wait::until(&lab.progress, expected, DEPLOYED, || {
        wrong = look().err();
        let rounds = begun().map_err(|error| error.to_string())? - before;
        if wrong.is_some() || rounds >= 2 { Ok(()) } else { Err(format!("{rounds} rounds of the leader")) }
    })?;
    expect(wrong.is_none(), expected, wrong.unwrap_or_default())
}

/// The unit's environment names the lab's endpoints; on a real instance there is nothing to name.
pub(crate) const AS_THE_UNIT: &str = "set -a; . /etc/volumes-agent/environment; set +a; volumes-agent";

fn explain(lab: &Lab, service: &str) -> Result<(i32, String), Error> {
    let command = format!("{AS_THE_UNIT} explain-service {service} 2>&1; echo \"exit $?\"");
    let text = lab.instance(0).run(&command)?;
    let code = text.rsplit_once("exit ").and_then(|(_, code)| code.trim().parse().ok()).unwrap_or(-1);
    Ok((code, text))
}

/// A pipeline registered 43 while the service runs 41: a patched copy of 41 would become the latest.
pub(crate) fn never_old_code_as_the_latest(lab: &Lab) -> Result<String, Error> {
    const NAME: &str = "old-code";
    let old = source(lab, NAME, |_| {})?;
    let new = source(lab, NAME, |document| {
        document["containerDefinitions"][0]["environment"] = json!([{ "name": "RELEASE", "value": "2" }]);
    })?;
    app::create(lab, NAME, &old, 1)?;
    let waits = tells(lab, NAME, "deploy-under-way")?;
    let names = waits["reason"].as_str().is_some_and(|reason| reason.contains(&new));
    expect(names, format!("the reason names {new}"), waits.to_string())?;
    let alarm =
        wait::until(&lab.progress, "/status says that it runs without its volumes", DEPLOYED, || {
            let seen = told(lab, NAME);
            if seen["tasks_without_volumes"] == 1 { Ok(seen) } else { Err(seen.to_string()) }
        })?;
    let revisions = app::revisions(lab, NAME)?;
    expect(revisions == [old, new.clone()], "nothing was registered", format!("{revisions:?}"))?;
    let (code, text) = explain(lab, NAME)?;
    expect(code == 1 && text.contains("waiting [deploy-under-way]"), "explain-service says why", text)?;
    update(lab, NAME, &new)?;
    app::patched(lab, NAME)?;
    wait::until(&lab.progress, "no task runs without its volumes any more", DEPLOYED, || {
        let seen = told(lab, NAME);
        if seen["tasks_without_volumes"] == 0 && seen["outcome"] == "patched" {
            Ok(())
        } else {
            Err(seen.to_string())
        }
    })?;
    let (code, text) = explain(lab, NAME)?;
    expect(code == 0 && text.contains("patched"), "explain-service says that it is patched", text)?;
    remove(lab, NAME)?;
    Ok(alarm.to_string())
}

/// Something puts the unpatched revision back again and again; a new deploy ends the fight.
pub(crate) fn who_puts_it_back_is_yielded_to(lab: &Lab) -> Result<String, Error> {
    const NAME: &str = "fought-over";
    let theirs = source(lab, NAME, |_| {})?;
    app::create(lab, NAME, &theirs, 0)?;
    for _ in 0..3 {
        app::patched(lab, NAME)?;
        update(lab, NAME, &theirs)?;
    }
    let yields = tells(lab, NAME, "put-back")?;
    let deployment = app::services(lab, NAME)?.unwrap_or_default()["deployments"][0]["id"].clone();
    let reason = yields["reason"].as_str().unwrap_or_default();
    let names_both = reason.contains(&theirs) && deployment.as_str().is_some_and(|id| reason.contains(id));
    expect(names_both, format!("the reason names {theirs} and {deployment}"), reason)?;
    let updates = calls_of_agents(lab, "UpdateService", NAME)?.len();
    through_a_round(lab, "the agent lets it be", || {
        let now = calls_of_agents(lab, "UpdateService", NAME).map_err(|error| error.to_string())?.len();
        if now == updates { Ok(()) } else { Err(format!("{now} updates")) }
    })?;
    let new = source(lab, NAME, |document| document["containerDefinitions"][0]["stopTimeout"] = json!(3))?;
    update(lab, NAME, &new)?;
    app::patched(lab, NAME)?;
    remove(lab, NAME)?;
    Ok(reason.to_owned())
}

/// Makes or removes the file `pause` as an operator does who is on an instance that doesn't lead.
pub(crate) fn pause(lab: &Lab, paused: bool) -> Result<(), Error> {
    let follower = usize::from(lab.leads(0));
    let command = if paused { "touch" } else { "rm" };
    lab.instance(follower).run(&format!("{command} /volumes/.volumes-agent/pause")).map(drop)
}

/// The file `pause` stops patching at once, and its removal lets it go on.
pub(crate) fn pause_stops_patching(lab: &Lab) -> Result<String, Error> {
    const NAME: &str = "paused";
    pause(lab, true)?;
    let theirs = source(lab, NAME, |_| {})?;
    app::create(lab, NAME, &theirs, 0)?;
    let said = wait::until(&lab.progress, "/status says that patching is paused", DEPLOYED, || {
        let seen = patching(lab)["last_error"].clone();
        if seen.as_str().is_some_and(|error| error.contains("paused")) {
            Ok(seen)
        } else {
            Err(seen.to_string())
        }
    })?;
    wait::always(&lab.progress, "nothing is patched", ROUNDS, || {
        let seen = app::primary(lab, NAME).map_err(|error| error.to_string())?;
        if seen == theirs { Ok(()) } else { Err(seen) }
    })?;
    pause(lab, false)?;
    // After failed rounds the leader comes back within two minutes.
    wait::until(&lab.progress, "it is patched", Duration::from_secs(150), || {
        let arn = app::primary(lab, NAME).map_err(|error| error.to_string())?;
        if arn == theirs { Err(arn) } else { Ok(()) }
    })?;
    remove(lab, NAME)?;
    Ok(said.to_string())
}

/// Hands off a task definition with the label `off`, and off what can't be had; both are told.
pub(crate) fn every_refusal_is_told(lab: &Lab) -> Result<String, Error> {
    let off = source(lab, "hands-off", |document| {
        document["containerDefinitions"][0]["dockerLabels"]["convox.volumes.agent"] = json!("off");
    })?;
    let broken = source(lab, "broken-label", |document| {
        document["containerDefinitions"][0]["dockerLabels"]["convox.volumes"] = json!("[\"./src:/app\"]");
    })?;
    app::create(lab, "hands-off", &off, 0)?;
    app::create(lab, "broken-label", &broken, 0)?;
    tells(lab, "hands-off", "agent-off")?;
    let refused = tells(lab, "broken-label", "relative-source")?;
    let lines = |text: &str| {
        let command = format!("journalctl -u volumes-agent --no-pager -o cat | grep -c '{text}' || true");
        let counted = lab.instances().iter().map(|guest| guest.run(&command));
        counted
            .map(|count| Ok(count?.trim().parse::<usize>().unwrap_or_default()))
            .sum::<Result<usize, Error>>()
    };
    let refusals = "refused service=broken-label";
    through_a_round(lab, "one line of the log says so, not one a round", || {
        let count = lines(refusals).map_err(|error| error.to_string())?;
        if count == 1 { Ok(()) } else { Err(format!("{count} lines")) }
    })?;
    let metrics: String =
        lab.instances().iter().map(|guest| guest.get(12049, "/metrics", "text/plain").body).collect();
    let line = "volumes_agent_services_not_patched{reason=\"relative-source\"} 1";
    expect(metrics.lines().any(|seen| seen.starts_with(line)), line, metrics.clone())?;
    let mended = source(lab, "broken-label", |_| {})?;
    update(lab, "broken-label", &mended)?;
    app::patched(lab, "broken-label")?;
    wait::until(&lab.progress, "one line of the log says that it is over", DEPLOYED, || {
        let count = lines("over service=broken-label").map_err(|error| error.to_string())?;
        if count == 1 { Ok(()) } else { Err(format!("{count} lines")) }
    })?;
    for name in ["hands-off", "broken-label"] {
        remove(lab, name)?;
    }
    Ok(refused.to_string())
}

/// A source with the hold is never placed unpatched; its deployment, which would never end, is patched at once.
pub(crate) fn a_held_source_is_patched_at_once(lab: &Lab) -> Result<String, Error> {
    const NAME: &str = "held";
    let held = source(lab, NAME, |document| {
        document["placementConstraints"] =
            json!([{ "type": "memberOf", "expression": "attribute:convox.volumes.hold exists" }]);
    })?;
    app::create(lab, NAME, &held, 1)?;
    let patched = app::patched(lab, NAME)?;
    let tasks = wait::until(&lab.progress, "its task runs with its volume", DEPLOYED, || {
        let tasks = app::running(lab, NAME).map_err(|error| error.to_string())?;
        if tasks.len() == 1 && tasks[0].revision == patched { Ok(tasks) } else { Err(format!("{tasks:?}")) }
    })?;
    let state =
        lab.ecs("ListTasks", &json!({ "cluster": CLUSTER, "family": NAME, "desiredStatus": "STOPPED" }))?;
    expect(state["taskArns"] == json!([]), "no task of the source was ever placed", state.to_string())?;
    remove(lab, NAME)?;
    Ok(format!("{tasks:?}"))
}

/// `run --dry-run` says what would be done and changes nothing.
pub(crate) fn a_dry_run_changes_nothing(lab: &Lab) -> Result<String, Error> {
    const NAME: &str = "dry";
    pause(lab, true)?;
    let theirs = source(lab, NAME, |_| {})?;
    app::create(lab, NAME, &theirs, 0)?;
    let changes = || -> Result<usize, Error> {
        let calls = lab.ecs_calls(Some(0))?;
        let changing = ["RegisterTaskDefinition", "UpdateService", "PutAttributes"];
        Ok(calls
            .iter()
            .filter(|call| call["operation"].as_str().is_some_and(|name| changing.contains(&name)))
            .count())
    };
    let before = changes()?;
    let text = lab.instance(0).run(&format!("{AS_THE_UNIT} run --dry-run"))?;
    let expected = format!("service {NAME} ({theirs}): a patched revision of {NAME} would be registered");
    expect(text.contains(&expected), expected, text.clone())?;
    expect(changes()? == before, "no call that changes anything", format!("{:?}", changes()?))?;
    remove(lab, NAME)?;
    pause(lab, false)?;
    Ok(text)
}

/// A service under the circuit breaker, its source running and completed, patching paused.
pub(crate) fn under_the_breaker(
    lab: &Lab,
    name: &str,
    change: impl FnOnce(&mut Value),
) -> Result<String, Error> {
    pause(lab, true)?;
    let theirs = source(lab, name, change)?;
    create_under_the_breaker(lab, name, &theirs)?;
    Ok(theirs)
}

/// A service of one task under the circuit breaker, rolled out.
pub(crate) fn create_under_the_breaker(lab: &Lab, name: &str, revision: &str) -> Result<(), Error> {
    let breaker = json!({
        "minimumHealthyPercent": 0, "maximumPercent": 100,
        "deploymentCircuitBreaker": { "enable": true, "rollback": true },
    });
    lab.ecs(
        "CreateService",
        &json!({
            "cluster": CLUSTER, "serviceName": name, "taskDefinition": revision, "desiredCount": 1, "launchType": "EC2",
            "deploymentConfiguration": breaker,
        }),
    )?;
    rolled_out(lab, name, revision).map(drop)
}

/// Waits until the PRIMARY deployment is this revision's, and completed.
fn rolled_out(lab: &Lab, service: &str, revision: &str) -> Result<Value, Error> {
    wait::until(&lab.progress, &format!("{revision} is rolled out"), Duration::from_secs(120), || {
        let seen = app::services(lab, service).map_err(|error| error.to_string())?.unwrap_or_default();
        let primary = &seen["deployments"][0];
        let is_done = primary["taskDefinition"] == revision && primary["rolloutState"] == "COMPLETED";
        if is_done { Ok(primary.clone()) } else { Err(seen["deployments"].to_string()) }
    })
}

/// The app can't run with its volume (it hides its program): ECS rolls back, and the source is left alone, with the alarm on.
pub(crate) fn what_the_app_breaks_is_left_alone(lab: &Lab) -> Result<String, Error> {
    const NAME: &str = "broken-by-app";
    let theirs = under_the_breaker(lab, NAME, |document| {
        document["containerDefinitions"][0]["dockerLabels"]["convox.volumes"] = json!("[\"/hides:/bin\"]");
    })?;
    // ECS's rollback takes its time: a new deployment in the middle of it would stall the service.
    lab.ecs_control("POST", "pace", &json!({ "least_rollout": 20 }))?;
    pause(lab, false)?;
    tells(lab, NAME, "rollback-under-way")?;
    tells(lab, NAME, "deployment-failed")?;
    rolled_out(lab, NAME, &theirs)?;
    lab.ecs_control("POST", "pace", &json!({ "least_rollout": 1 }))?;
    // Whoever leads next knows it from the share.
    lab.instances().iter().try_for_each(|guest| guest.run("systemctl restart volumes-agent").map(drop))?;
    tells(lab, NAME, "deployment-failed")?;
    through_a_round(lab, "the source is left alone", || {
        let updates = calls_of_agents(lab, "UpdateService", NAME).map_err(|error| error.to_string())?.len();
        if updates == 1 { Ok(()) } else { Err(format!("{updates} updates")) }
    })?;
    let seen = told(lab, NAME);
    let alarm =
        seen["tasks_without_volumes"] == 1 && seen["reason"].as_str().is_some_and(|r| r.contains("busybox"));
    expect(alarm, "the alarm, with what ECS said", seen.to_string())?;
    remove(lab, NAME)?;
    Ok(seen.to_string())
}

/// The share is away where the task has to run: ECS rolls back; the share comes back, and the same revision is rolled out.
pub(crate) fn what_the_share_breaks_is_tried_again(lab: &Lab) -> Result<String, Error> {
    const NAME: &str = "broken-by-share";
    let leads = |index: usize| lab.leads(index);
    let away = usize::from(leads(0));
    let zone = ["us-east-1a", "us-east-1b"][away];
    under_the_breaker(lab, NAME, |document| {
        // Without the gate, and on that instance alone: ECS has to find out by itself.
        document["containerDefinitions"][0]["dockerLabels"]["convox.volumes.gate"] = json!("off");
        document["placementConstraints"] = json!([{ "type": "memberOf", "expression": format!("attribute:ecs.availability-zone == {zone}") }]);
    })?;
    // `pause` is removed before the follower loses the share.
    let guest = lab.instance(away);
    guest.run("systemctl stop volumes-agent; rm /volumes/.volumes-agent/pause; umount --lazy --internal-only /volumes")?;
    let seen = tells(lab, NAME, "share-failed-it")?;
    let reason = seen["reason"].as_str().unwrap_or_default().to_owned();
    expect(reason.contains("/volumes/"), "the reason names the path", reason.clone())?;
    guest.run("systemctl start volumes-agent")?;
    let patched =
        wait::until(&lab.progress, "the patched revision is rolled out", Duration::from_secs(120), || {
            let service = app::services(lab, NAME).map_err(|error| error.to_string())?.unwrap_or_default();
            let primary = &service["deployments"][0];
            let arn = primary["taskDefinition"].as_str().unwrap_or_default().to_owned();
            let document = app::revision(lab, &arn).map_err(|error| error.to_string())?;
            let is_done = primary["rolloutState"] == "COMPLETED" && app::is_patched(&document);
            if is_done { Ok(arn) } else { Err(service["deployments"].to_string()) }
        })?;
    let revisions = app::revisions(lab, NAME)?;
    expect(revisions.len() == 2, "one patched revision, registered once", format!("{revisions:?}"))?;
    remove(lab, NAME)?;
    Ok(format!("{patched}: {reason}"))
}
