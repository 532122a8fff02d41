//! What the agent looks at beside the share's state, and tells.

use crate::services::{remove, source};
use lab::{Error, Lab, app, cluster::CLUSTER, expect, faults, guest::Guest, wait};
use serde_json::{Value, json};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(90);

fn status(guest: &Guest) -> Value {
    guest.get(12049, "/status", "application/json").json()
}

/// Waits for exactly one line of the agent's log with these words.
fn logs_once(lab: &Lab, guest: &Guest, words: &str) -> Result<(), Error> {
    wait::until(&lab.progress, &format!("the agent logs `{words}`"), Duration::from_secs(90), || {
        let command = format!("journalctl -u volumes-agent -o cat --no-pager | grep -c '{words}' || true");
        let lines = guest.run(&command).map_err(|error| error.to_string())?;
        if lines.trim() == "1" { Ok(()) } else { Err(lines) }
    })
}

/// Starts a container that sleeps, with this directory at `/data`.
fn container(guest: &Guest, name: &str, directory: &str) -> Result<(), Error> {
    guest
        .run(&format!(
            "docker run --detach --name {name} --network none -v {directory}:/data --entrypoint /bin/busybox \
             wordpress:4.5.2-apache sleep 3600"
        ))
        .map(drop)
}

/// Waits until `/status` names just these, by path and why.
fn names(lab: &Lab, guest: &Guest, expected: &[(&str, &str)]) -> Result<Value, Error> {
    wait::until(&lab.progress, &format!("/status names {expected:?}"), Duration::from_secs(90), || {
        let seen = status(guest);
        let elsewhere = seen["containers_elsewhere"].as_array().cloned().unwrap_or_default();
        let pair = |one: &Value| {
            [one["path"].as_str(), one["why"].as_str()].map(|text| text.unwrap_or_default().to_owned())
        };
        let mut found: Vec<[String; 2]> = elsewhere.iter().map(pair).collect();
        found.sort();
        let mut wanted: Vec<[String; 2]> =
            expected.iter().map(|(path, why)| [*path, *why].map(str::to_owned)).collect();
        wanted.sort();
        if found == wanted { Ok(seen) } else { Err(format!("{found:?}")) }
    })
}

/// One container on the own disk, one on what somebody mounted over the share, one whose directory was removed.
pub(crate) fn containers_that_write_elsewhere_are_named(lab: &Lab) -> Result<String, Error> {
    let guest = lab.instance(1);
    lab.reports(1, "ready", SOON)?;
    guest.run("mkdir /volumes/removed /volumes/kept")?;
    container(guest, "removed", "/volumes/removed")?;
    container(guest, "kept", "/volumes/kept")?;
    guest.run("rmdir /volumes/removed && systemctl stop volumes-agent")?;
    faults::unmount(lab, 1)?;
    // An operator took the guard off.
    guest.run("chattr -i /volumes && mkdir /volumes/astray")?;
    container(guest, "astray", "/volumes/astray")?;
    guest.run("mount -t tmpfs theirs /volumes && mkdir /volumes/over")?;
    container(guest, "over", "/volumes/over")?;
    guest.run("systemctl start volumes-agent")?;
    lab.reports(1, "foreign", SOON)?;
    names(lab, guest, &[("/volumes/astray", "own-disk"), ("/volumes/over", "foreign-mount")])?;
    // Nothing is mounted over what was written there, until somebody moves it as the agent says.
    guest.unmount_volumes()?;
    let health = wait::until(&lab.progress, "the share waits for `astray` to be moved", SOON, || {
        let health = lab.health(1).json();
        if health["code"] == "mount-point-not-empty" { Ok(health) } else { Err(health.to_string()) }
    })?;
    let reason = health["reason"].as_str().unwrap_or_default();
    guest.run(reason.split('`').find(|part| part.contains("chattr -R -i")).unwrap_or_default())?;
    lab.reports(1, "ready", SOON)?;
    let astray = "/volumes-found/astray";
    let seen = names(lab, guest, &[(astray, "own-disk"), ("/volumes/removed", "deleted")])?;
    let id = guest.run("docker inspect --format '{{.Id}}' astray")?;
    let ids = seen["containers_elsewhere"].to_string();
    expect(ids.contains(id.trim()), format!("it is named by its id {id}"), ids)?;
    let problems = seen["problems"].to_string();
    let says = problems.contains("on this instance's own disk") && problems.contains("start it anew");
    expect(says, "/status says what is wrong and what to do", problems.clone())?;
    let page = guest.get(12049, "/metrics", "text/plain").body;
    for line in
        ["volumes_agent_containers_elsewhere{why=\"own-disk\"} 1", "volumes_agent_nfs_lease_seconds 10.0"]
    {
        expect(page.lines().any(|seen| seen.starts_with(line)), line, page.clone())?;
    }
    let running = guest.run("docker ps --format '{{.Names}}'")?;
    let all = ["removed", "kept", "astray", "over"].iter().all(|name| running.contains(name));
    expect(all, "none of them was ended", running)?;
    let lines = guest.run("journalctl -u volumes-agent -o cat --no-pager | grep -c 'why=\"own-disk\"'")?;
    expect(lines.trim() == "1", "one line of the log says so", lines)?;
    guest.run("docker rm --force removed kept astray over; rmdir /volumes/kept; rm -r /volumes-found")?;
    Ok(problems)
}

/// What the leader tells of the volumes, once this many are missing.
fn missing(lab: &Lab, count: usize) -> Result<Value, Error> {
    // Whoever leads next looks at once.
    let leads = lab.instances().iter().position(|guest| status(guest)["patching"]["role"] == "leader");
    lab.instance(leads.unwrap_or_default()).run("systemctl restart volumes-agent")?;
    wait::until(
        &lab.progress,
        &format!("/status tells {count} missing volumes"),
        Duration::from_secs(120),
        || {
            let all: Vec<Value> = lab.instances().iter().map(status).collect();
            let leader = all.into_iter().find(|one| one["patching"]["role"] == "leader").unwrap_or_default();
            let missing = leader["volumes"]["missing"].as_array().map(Vec::len);
            if missing == Some(count) { Ok(leader) } else { Err(leader["volumes"].to_string()) }
        },
    )
}

/// One directory is moved away and another one replaced, on the server; both are told by the leader, and when they are back it is over.
pub(crate) fn a_volume_that_vanished_is_told(lab: &Lab) -> Result<String, Error> {
    const NAME: &str = "vanishing";
    let theirs = source(lab, NAME, |document| {
        document["containerDefinitions"][0]["dockerLabels"]["convox.volumes"] =
            json!("[\"/gone\", \"/replaced\"]");
    })?;
    app::create(lab, NAME, &theirs, 0)?;
    app::patched(lab, NAME)?;
    // By another client than the leader's, and not on the server behind its back.
    let leads = lab.instances().iter().position(|guest| status(guest)["patching"]["role"] == "leader");
    let other = lab.instance(usize::from(leads != Some(1)));
    let folder = format!("/volumes/production-{NAME}/web");
    other.run(&format!("cd {folder} && mv gone gone.away && mv replaced replaced.away && mkdir replaced"))?;
    let seen = missing(lab, 2)?;
    let problems = seen["problems"].to_string();
    for part in [
        format!("the directory of volume /volumes/production-{NAME}/web/gone, made at "),
        "is gone".to_owned(),
        format!("the directory of volume /volumes/production-{NAME}/web/replaced, made at "),
        "was replaced by another directory".to_owned(),
    ] {
        expect(problems.contains(&part), &*part, problems.clone())?;
    }
    let pages: String =
        lab.instances().iter().map(|guest| guest.get(12049, "/metrics", "text/plain").body).collect();
    for line in ["volumes_agent_volumes_missing 1.0", "volumes_agent_volumes_replaced 1.0"] {
        expect(pages.lines().any(|seen| seen == line), line, pages.clone())?;
    }
    other.run(&format!("cd {folder} && mv gone.away gone && rmdir replaced && mv replaced.away replaced"))?;
    missing(lab, 0)?;
    remove(lab, NAME)?;
    Ok(problems)
}

/// Waits until ECS has this status for the instance.
fn in_ecs(lab: &Lab, index: usize, status: &str) -> Result<(), Error> {
    wait::until(&lab.progress, &format!("the instance is {status} in ECS"), Duration::from_secs(120), || {
        let seen = lab.container_instance(index).map_err(|error| error.to_string())?;
        if seen["status"] == status { Ok(()) } else { Err(seen["status"].to_string()) }
    })
}

/// The agent drains, and gives back after a restart in between; what an operator drained it neither takes nor gives.
pub(crate) fn an_instance_without_its_share_is_drained(lab: &Lab) -> Result<String, Error> {
    let guest = lab.instance(1);
    for index in [0, 1] {
        lab.gates(index, "ready", SOON)?;
    }
    let arn = lab.container_instance(1)?["containerInstanceArn"].clone();
    let set = |status: &str| {
        let request = json!({ "cluster": CLUSTER, "containerInstances": [arn], "status": status });
        lab.ecs("UpdateContainerInstancesState", &request).map(drop)
    };
    let calls = || -> Result<usize, Error> {
        let calls = lab.ecs_calls(Some(1))?;
        Ok(calls.iter().filter(|call| call["operation"] == "UpdateContainerInstancesState").count())
    };
    // Something else at the volumes root keeps the share away without a stall.
    let away = "systemctl stop volumes-agent; umount --lazy --no-canonicalize --internal-only /volumes; \
                mount -t tmpfs theirs /volumes; systemctl start volumes-agent";
    let says_of_the_other = |value: &str| {
        let other = lab.container_instance(0)?["containerInstanceArn"].clone();
        let attribute = json!({ "name": "convox.volumes", "value": value, "targetId": other });
        lab.ecs("PutAttributes", &json!({ "cluster": CLUSTER, "attributes": [attribute] })).map(drop)
    };
    let none_yet = calls()?;
    says_of_the_other("not-ready")?;
    guest.run(&format!("echo 'drain_after = \"10s\"' >> /etc/volumes-agent/config.toml; {away}"))?;
    logs_once(lab, guest, "no other one of its cluster has the share")?;
    expect(calls()? == none_yet, "nobody is drained while nobody has the share", "it was")?;
    says_of_the_other("ready")?;
    in_ecs(lab, 1, "DRAINING")?;
    guest.run("systemctl restart volumes-agent")?;
    let told = wait::until(&lab.progress, "/status says so after a restart too", SOON, || {
        let seen = status(guest);
        let is_told = seen["draining"]["since"].is_string();
        if is_told { Ok(seen["problems"].to_string()) } else { Err(seen["draining"].to_string()) }
    })?;
    expect(told.contains("set the instance to DRAINING"), "a problem says so", told.clone())?;
    guest.unmount_volumes()?;
    in_ecs(lab, 1, "ACTIVE")?;
    let before = calls()?;
    set("DRAINING")?;
    guest.run(away)?;
    logs_once(lab, guest, "not ACTIVE in ECS already")?;
    guest.unmount_volumes()?;
    guest.run("sed -i /drain_after/d /etc/volumes-agent/config.toml")?;
    lab.gates(1, "ready", SOON)?;
    in_ecs(lab, 1, "DRAINING")?;
    let after = calls()?;
    expect(
        after == before,
        "what an operator drained is neither taken nor given back",
        format!("{after} calls"),
    )?;
    set("ACTIVE")?;
    Ok(told)
}

/// The second one on a host says who is the first, and leaves it alone; the unit's restarts are never refused.
pub(crate) fn a_second_agent_refuses_to_start(lab: &Lab) -> Result<String, Error> {
    let guest = lab.instance(0);
    let main = guest.run("systemctl show --property MainPID --value volumes-agent")?;
    let said = guest.try_run("volumes-agent run --listen 127.0.0.1:12050", Duration::from_secs(15));
    let expected = format!("another volumes-agent runs on this instance (process {}, started ", main.trim());
    let refused = said.code == 1 && said.stderr.contains(&expected);
    expect(refused, expected, format!("{} {}", said.code, said.stderr))?;
    guest.run("systemctl kill --signal KILL volumes-agent; systemctl restart volumes-agent")?;
    lab.reports(0, "ready", SOON)?;
    let refusals = guest
        .run("journalctl -u volumes-agent -o cat --no-pager | grep -c 'another volumes-agent' || true")?;
    expect(refusals.trim() == "0", "no restart was refused", refusals)?;
    Ok(said.stderr)
}
