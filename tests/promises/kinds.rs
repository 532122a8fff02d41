//! Every kind of service and revision side by side: each ends where the rules say, and nothing moves after that.

use crate::services::{pause, remove, source, tells, through_a_round, told};
use lab::{
    Error, Lab,
    app::{self, DEPLOYED},
    cluster::CLUSTER,
    expect,
    story::calls_of_agents,
    wait,
};
use serde_json::{Value, json};
use volumes_agent::patch;

const GATE: &str = "attribute:convox.volumes == ready";

fn create(lab: &Lab, name: &str, revision: &str, more: &Value) -> Result<(), Error> {
    let mut request = json!({ "cluster": CLUSTER, "serviceName": name, "taskDefinition": revision });
    for (key, value) in more.as_object().into_iter().flatten() {
        request[key] = value.clone();
    }
    lab.ecs("CreateService", &request).map(drop)
}

fn is_gated(document: &Value) -> bool {
    document["placementConstraints"].to_string().contains(GATE)
}

/// The patched revision of a service, and its document.
fn patched(lab: &Lab, name: &str) -> Result<(String, Value), Error> {
    let arn = app::patched(lab, name)?;
    let document = app::revision(lab, &arn)?;
    Ok((arn, document))
}

/// What the paths on the instance are that a revision binds, sorted.
fn sources(document: &Value) -> Vec<String> {
    let mut paths = patch::our_sources(document);
    paths.sort();
    paths
}

/// Several containers of several apps with a sidecar, as many containers as can be near 64 KiB, one family for two racks, one family for a REPLICA
/// and a DAEMON service, what a pipeline patched, and what can't be patched.
pub(crate) fn every_kind_of_service_ends_where_the_rules_say(lab: &Lab) -> Result<String, Error> {
    const NONE: fn() -> Value = || json!({ "desiredCount": 0 });
    pause(lab, true)?;
    let several = source(lab, "several", |document| {
        let web = document["containerDefinitions"][0].clone();
        let with = |name: &str, labels: Value| {
            let mut container = web.clone();
            container["name"] = json!(name);
            container["dockerLabels"] = labels;
            container["essential"] = json!(false);
            container
        };
        let worker =
            with("worker", json!({ "convox.app": "another", "convox.volumes": "[\"/jobs\",\"shared:/s\"]" }));
        let sidecar = with("sidecar", json!({ "nothing": "of ours" }));
        document["containerDefinitions"] = json!([web, worker, sidecar]);
    })?;
    let large = source(lab, "large", |document| {
        let web = document["containerDefinitions"][0].clone();
        for n in 1..9 {
            let mut other = web.clone();
            other["name"] = json!(format!("c{n}"));
            other["essential"] = json!(false);
            other["dockerLabels"] = json!({ "padding": "x".repeat(7_400) });
            document["containerDefinitions"]
                .as_array_mut()
                .into_iter()
                .for_each(|all| all.push(other.clone()));
        }
    })?;
    let racks = source(lab, "two-racks", |_| {})?;
    let staging = source(lab, "staging-only", |document| {
        document["containerDefinitions"][0]["dockerLabels"]["convox.rack"] = json!("staging");
    })?;
    let both = source(lab, "both-kinds", |_| {})?;
    let gone = source(lab, "inactive", |_| {})?;
    let plain = source(lab, "not-rolling", |_| {})?;
    let fargate = source(lab, "on-fargate", |document| {
        document["requiresCompatibilities"] = json!(["EC2", "FARGATE"]);
        document["networkMode"] = json!("awsvpc");
        document["cpu"] = json!("256");
        document["memory"] = json!("512");
    })?;
    let document = app::revision(lab, &source(lab, "by-pipeline", |_| {})?)?;
    let filtered =
        lab.agent(&["patch", "--rack", "production", "--app", "by-pipeline"], &document.to_string())?;
    let by_pipeline = app::register(lab, &serde_json::from_str(&filtered.stdout).unwrap_or_default())?;

    create(lab, "several", &several, &NONE())?;
    create(lab, "large", &large, &NONE())?;
    create(lab, "two-racks", &racks, &NONE())?;
    // The other rack's agent was here first: its patched copy is the family's latest.
    let filtered = lab.agent(
        &["patch", "--rack", "staging", "--app", "two-racks"],
        &app::revision(lab, &racks)?.to_string(),
    )?;
    let theirs = app::register(lab, &serde_json::from_str(&filtered.stdout).unwrap_or_default())?;
    create(lab, "staging-only", &staging, &NONE())?;
    create(lab, "both-replica", &both, &NONE())?;
    create(lab, "both-daemon", &both, &json!({ "schedulingStrategy": "DAEMON" }))?;
    create(lab, "inactive", &gone, &NONE())?;
    lab.ecs("DeregisterTaskDefinition", &json!({ "taskDefinition": gone }))?;
    for controller in ["CODE_DEPLOY", "EXTERNAL"] {
        let mut request = json!({ "deploymentController": { "type": controller }, "desiredCount": 0 });
        let name = format!("by-{}", controller.to_lowercase().replace('_', "-"));
        if controller == "EXTERNAL" {
            // Its revisions come with task sets.
            request["cluster"] = json!(CLUSTER);
            request["serviceName"] = json!(name);
            lab.ecs("CreateService", &request)?;
        } else {
            create(lab, &name, &plain, &request)?;
        }
    }
    create(lab, "on-fargate", &fargate, &json!({ "launchType": "FARGATE", "desiredCount": 0 }))?;
    create(lab, "by-pipeline", &by_pipeline, &NONE())?;
    pause(lab, false)?;

    let (_, document) = patched(lab, "several")?;
    let expected = [
        "/volumes/production-another/@volumes/shared",
        "/volumes/production-another/worker/jobs",
        "/volumes/production-several/web/var/www/html",
    ];
    expect(sources(&document) == expected, format!("{expected:?}"), format!("{:?}", sources(&document)))?;
    let sidecar = &document["containerDefinitions"][2];
    expect(sidecar["mountPoints"] == json!([]), "the sidecar mounts nothing", sidecar.to_string())?;

    let (_, document) = patched(lab, "large")?;
    let bytes = document.to_string().len();
    expect(bytes > 62_000, "a document of nearly 64 KiB", bytes.to_string())?;

    let (arn, document) = patched(lab, "two-racks")?;
    let ours = ["/volumes/production-two-racks/web/var/www/html"];
    expect(arn != theirs && sources(&document) == ours, format!("{ours:?} in {arn}"), document.to_string())?;

    let (replica, document) = patched(lab, "both-replica")?;
    expect(is_gated(&document), "the replicas' revision has the gate", &*replica)?;
    let (daemon, document) = patched(lab, "both-daemon")?;
    expect(!is_gated(&document), "the daemon's has not", &*daemon)?;

    for (name, code) in [
        ("staging-only", "other-rack"),
        ("inactive", "inactive-source"),
        ("by-code-deploy", "not-rolling"),
        ("by-external", "no-deployment"),
        ("on-fargate", "no-instances"),
    ] {
        tells(lab, name, code)?;
    }
    // Its pipeline brings a revision by a task set.
    lab.ecs(
        "CreateTaskSet",
        &json!({ "cluster": CLUSTER, "service": "by-external", "taskDefinition": plain, "launchType": "EC2" }),
    )?;
    tells(lab, "by-external", "not-rolling")?;
    expect(
        told(lab, "by-pipeline")["outcome"] == "patched",
        "what a pipeline patched is patched",
        "it is not",
    )?;

    let names = [
        "several",
        "large",
        "two-racks",
        "staging-only",
        "both-replica",
        "both-daemon",
        "inactive",
        "by-code-deploy",
        "by-external",
        "on-fargate",
        "by-pipeline",
    ];
    let changes = || -> Result<(usize, usize), Error> {
        let count = |operation, names: &[&str]| -> Result<usize, Error> {
            names.iter().map(|name| Ok(calls_of_agents(lab, operation, name)?.len())).sum()
        };
        let families =
            ["several", "large", "two-racks", "both-kinds", "inactive", "not-rolling", "by-pipeline"];
        Ok((count("RegisterTaskDefinition", &families)?, count("UpdateService", &names)?))
    };
    through_a_round(lab, "five copies, five moves, and no more", || {
        let seen = changes().map_err(|error| error.to_string())?;
        if seen == (5, 5) { Ok(()) } else { Err(format!("{seen:?}")) }
    })?;
    daemons_outlive_a_closed_gate(lab)?;
    for name in names {
        remove(lab, name)?;
    }
    Ok(format!("{replica} {daemon}"))
}

/// ECS stops a daemon whose instance no longer matches its constraint: what the agent patches for daemons has none. A daemon that
/// asks for the gate by itself shows that this ECS would stop it.
fn daemons_outlive_a_closed_gate(lab: &Lab) -> Result<(), Error> {
    let gated = source(lab, "gated-daemon", |document| {
        document["containerDefinitions"][0]["dockerLabels"] = json!({});
        document["placementConstraints"] = json!([{ "type": "memberOf", "expression": GATE }]);
    })?;
    create(lab, "gated-daemon", &gated, &json!({ "schedulingStrategy": "DAEMON" }))?;
    let tasks = |name: &str, count: usize| {
        wait::until(&lab.progress, &format!("{name} runs {count} tasks"), DEPLOYED, || {
            let tasks = app::running(lab, name).map_err(|error| error.to_string())?;
            if tasks.len() == count { Ok(tasks) } else { Err(format!("{tasks:?}")) }
        })
    };
    let before = tasks("both-daemon", 2)?;
    tasks("gated-daemon", 2)?;
    let instance = lab.container_instance(1)?["containerInstanceArn"].clone();
    let gate = |value: &str| {
        let attribute = json!({ "name": "convox.volumes", "value": value, "targetId": instance });
        lab.ecs("PutAttributes", &json!({ "cluster": CLUSTER, "attributes": [attribute] })).map(drop)
    };
    gate("not-ready")?;
    tasks("gated-daemon", 1)?;
    let after = tasks("both-daemon", 2)?;
    gate("ready")?;
    expect(before == after, format!("the patched daemon's tasks go on: {before:?}"), format!("{after:?}"))?;
    remove(lab, "gated-daemon")
}
