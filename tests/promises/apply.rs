//! `apply`, from a file to running tasks, on the booted cluster. What it refuses before it changes anything is seen in `tests/cli`.

use crate::services::{ROUNDS, create_under_the_breaker, remove, told};
use lab::{Error, Lab, app, cluster::CLUSTER, expect, guest::Output, story::calls_of_agents, wait};
use serde_json::{Value, json};
use std::time::Duration;

const SERVICE: &str = "applied-web";
/// Files need no agent to appear, only NFS.
const SOON: Duration = Duration::from_secs(30);

/// A plain service, as infrastructure code makes one: no label, no volume. Its task tells who it is in a file of its volume.
fn plain_service(lab: &Lab) -> Result<String, Error> {
    let says = "mkdir -p /data; echo $HOSTNAME >> /data/tasks; exec sleep 3600";
    let plain = app::register(
        lab,
        &json!({
            "family": SERVICE,
            "containerDefinitions": [{
                "name": "web", "image": "wordpress:4.5.2-apache", "memory": 64, "stopTimeout": 2,
                "entryPoint": ["/bin/sh", "-c"], "command": [says],
            }],
        }),
    )?;
    create_under_the_breaker(lab, SERVICE, &plain)?;
    Ok(plain)
}

fn apply(lab: &Lab, volumes: &str, code: i32) -> Result<Output, Error> {
    let file = format!("services: {{ web: {{ image: shop, volumes: {volumes} }} }}");
    let service = format!("web={SERVICE}");
    let flags = ["--cluster", CLUSTER, "--rack", "production", "--app", "applied", "--service", &service];
    let arguments = [&["apply", "-f", "-"], &flags[..]].concat();
    let output = lab.pipeline(&arguments, &file)?;
    let text = format!("{}{}", output.stdout, output.stderr);
    expect(output.code == code, format!("`apply` of {volumes} ends with {code}"), text)?;
    Ok(output)
}

pub(crate) fn apply_takes_the_whole_way(lab: &Lab) -> Result<String, Error> {
    let plain = plain_service(lab)?;
    let first = apply(lab, "[/data]", 0)?;
    let told_while = ["registered", "moved to", "of 1 new task running", "ECS: "];
    let is_told = told_while.iter().all(|words| first.stderr.contains(words));
    expect(is_told, format!("progress: {told_while:?}"), first.stderr.clone())?;
    expect(
        first.stdout.contains("stable after"),
        "a line that says that it is stable",
        first.stdout.clone(),
    )?;
    let patched = app::primary(lab, SERVICE)?;
    expect(patched != plain, "another revision", patched.clone())?;
    let tasks = lab.share.path("production-applied/web/data/tasks");
    wait::until(&lab.progress, "the task's file is on the share", SOON, || {
        std::fs::read_to_string(&tasks).map_err(|error| format!("{}: {error}", tasks.display()))
    })?;

    let again = apply(lab, "[/data]", 0)?;
    expect(again.stdout.contains("in place: 1 volume"), "applied twice is applied once", again.stdout)?;
    let revisions = app::revisions(lab, SERVICE)?;
    expect(revisions == [plain.clone(), patched.clone()], "one revision more", format!("{revisions:?}"))?;
    wait::until(&lab.progress, "the leader finds it patched", ROUNDS, || {
        let seen = told(lab, SERVICE);
        if seen["outcome"] == "patched" { Ok(()) } else { Err(seen.to_string()) }
    })?;

    // The new volume hides the image's programs.
    let failed = apply(lab, "[/data, '/hides:/bin']", 4)?;
    let says_why = ["goes back to applied-web:2", "its tasks stopped: ", "/bin/sh", "did not mount all"];
    let is_told = says_why.iter().all(|words| failed.stdout.contains(words));
    expect(is_told, format!("why: {says_why:?}"), failed.stdout.clone())?;
    wait::until(&lab.progress, "the revision before runs again", app::DEPLOYED, || {
        let service = app::services(lab, SERVICE).map_err(|error| error.to_string())?.unwrap_or_default();
        let primary = &service["deployments"][0];
        let is_back = primary["taskDefinition"] == patched.as_str() && primary["runningCount"] == 1;
        if is_back { Ok(()) } else { Err(service["deployments"].to_string()) }
    })?;
    let of_agents: Vec<Value> = calls_of_agents(lab, "RegisterTaskDefinition", SERVICE)?;
    expect(of_agents.is_empty(), "no agent registers anything", format!("{of_agents:?}"))?;
    remove(lab, SERVICE)?;
    Ok(format!("{}{}", first.stderr, failed.stdout))
}
