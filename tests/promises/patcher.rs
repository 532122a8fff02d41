//! The halves apart: instances that mount and gate, and one ECS service that patches, both with the rights of the shipped policies alone.

use crate::services::{remove, source};
use lab::{
    Error, Lab,
    app::{self, DEPLOYED},
    cluster::{ACCOUNT, CLUSTER},
    expect, host, iam, metadata, place, wait,
};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const FILE: &str = "/etc/volumes-agent/config.toml";
const SERVICE: &str = "volumes-agent-patcher";
const IMAGE: &str = "volumes-agent:lab";
/// Every container of the lab has its instance's network, where the instance's own agent has the usual port.
const PORT: u16 = 12050;
/// From what happens to a patcher until the next one leads: three health checks, a container that doesn't hear SIGTERM, another task, its
/// first probes, and the next try for the lock.
const REPLACED: Duration = Duration::from_secs(150);

/// The Dockerfile of `docs/patcher`, as far as it goes without a registry: the binary, what it is linked with, a shell for the health
/// check, and what this test takes the share away with.
const MAKE_IMAGE: &str = "cd / && tar --dereference -c usr/bin/volumes-agent bin/sh bin/umount \
    $(ldd /usr/bin/volumes-agent /bin/sh /bin/umount | grep -o '/[^ :]*lib[^ :]*' | sort -u | sed 's|^/||') \
    | docker import --change 'ENTRYPOINT [\"/usr/bin/volumes-agent\"]' --change 'ENV PATH=/usr/bin:/bin' - ";

/// A patcher that runs.
struct Patcher {
    instance: usize,
    task: String,
    /// Of its first process, in its instance.
    pid: u32,
}

impl Patcher {
    /// Waits until a task other than `before` holds the leader's lock.
    fn leads(lab: &Lab, before: Option<&Self>) -> Result<Self, Error> {
        wait::until(&lab.progress, "a patcher of its own leads", REPLACED, || {
            let tasks = app::running(lab, SERVICE).map_err(|error| error.to_string())?;
            let task = tasks.iter().find(|task| before.is_none_or(|before| before.task != task.arn));
            let task = task.ok_or_else(|| format!("running: {tasks:?}"))?;
            let guest = lab.instance(task.instance);
            let status = guest.get(PORT, "/status", "application/json").json();
            if status["patching"]["role"] != "leader" || status["task"] != task.arn.as_str() {
                return Err(format!("{task:?}: {status}"));
            }
            let find = format!(
                "docker inspect --format '{{{{.State.Pid}}}}' $(docker ps --quiet --filter label=com.amazonaws.ecs.task-arn={})",
                task.arn
            );
            let pid = guest.run(&find).map_err(|error| error.to_string())?;
            let pid = pid.trim().parse().map_err(|_| format!("process {pid:?}"))?;
            Ok(Self { instance: task.instance, task: task.arn.clone(), pid })
        })
    }

    fn name(&self) -> String {
        format!("task-{}", self.task.rsplit('/').next().unwrap_or_default())
    }
}

/// Deploys an app and waits until it is patched. Everything that was registered or updated for it was so by the patcher's role.
fn patches(lab: &Lab, family: &str) -> Result<(), Error> {
    let before = lab.ecs_calls(None)?.len();
    app::create(lab, family, &source(lab, family, |_| {})?, 0)?;
    app::patched(lab, family)?;
    let key = metadata::access_key(iam::PATCHER_ROLE);
    let instances: Vec<String> = lab.instances().iter().map(|guest| guest.identity.access_key()).collect();
    let calls = lab.ecs_calls(None)?.split_off(before);
    let changes = ["RegisterTaskDefinition", "UpdateService"];
    let by = |keys: &[String]| {
        let is_one = |call: &&Value| {
            changes.iter().any(|change| call["operation"] == *change)
                && keys.iter().any(|key| call["access_key"] == key.as_str())
        };
        calls.iter().filter(is_one).count()
    };
    let seen = (by(&[key]), by(&instances));
    expect(seen == (2, 0), "registered and moved by the patcher's role alone", format!("{seen:?}"))?;
    remove(lab, family)
}

fn task_definition(lab: &Lab) -> Result<Value, Error> {
    let text = host::read(&place::repository().join("docs/patcher/task-definition.json"))?
        .replace("ACCOUNT", ACCOUNT)
        .replace("IMAGE", IMAGE)
        .replace("fs-0123456789abcdef0", &lab.file_system.id);
    let mut document: Value = serde_json::from_str(&text).unwrap_or_default();
    let container = &mut document["containerDefinitions"][0];
    // A test that waits for a health check should not wait for half a minute.
    container["healthCheck"]["interval"] = json!(3);
    let endpoint = lab.instance(0).run("grep ECS= /etc/volumes-agent/environment | cut -d= -f2-")?;
    for (name, value) in [
        ("VOLUMES_AGENT_LISTEN", format!("127.0.0.1:{PORT}")),
        ("AWS_ENDPOINT_URL_ECS", endpoint.trim().to_owned()),
    ] {
        if let Some(environment) = container["environment"].as_array_mut() {
            environment.push(json!({ "name": name, "value": value }));
        }
    }
    Ok(document)
}

/// Instances with `patch = "off"`; the patcher leads, patches, and is replaced when it is frozen and when its bind is gone.
pub(crate) fn a_patcher_of_its_own_patches(lab: &Lab) -> Result<String, Error> {
    let right = lab.instance(0).run(&format!("cat {FILE}"))?;
    let mounts_only = iam::allowed(&["instance"])?;
    for guest in lab.instances() {
        let policy = json!({ "access_key": guest.identity.access_key(), "allow": mounts_only });
        lab.ecs_control("POST", "policy", &policy)?;
        guest.write(FILE, &format!("{}\npatch = \"off\"", right.trim_end()))?;
        guest.run(&format!("{MAKE_IMAGE} {IMAGE}"))?;
    }
    let revision = app::register(lab, &task_definition(lab)?)?;
    app::create(lab, SERVICE, &revision, 1)?;
    let first = Patcher::leads(lab, None)?;
    patches(lab, "by-a-task")?;
    let page = lab.instance(first.instance).get(PORT, "/status", "text/plain").body;
    let says = page.contains(&format!("task        {}", first.task)) && !page.contains("guard ");
    expect(says, "its page tells the task, and neither guard nor gate", page)?;
    let lock = lab.instance(0).run("cat /volumes/.volumes-agent/leader/*.json")?;
    expect(lock.contains(&first.name()), format!("{} has the cluster's one lock", first.name()), lock)?;

    let begun = Instant::now();
    lab.instance(first.instance).run(&format!("kill -STOP {}", first.pid))?;
    let second = Patcher::leads(lab, Some(&first))?;
    let frozen = begun.elapsed();
    let events = app::services(lab, SERVICE)?.unwrap_or_default()["events"].to_string();
    expect(events.contains("failed container health checks"), "its health check ended it", events)?;
    patches(lab, "by-the-next-task")?;

    let begun = Instant::now();
    // The patcher may end, and this process of its namespace with it, before `umount` tells how it went.
    lab.instance(second.instance).run(&format!(
        "nsenter --mount --pid --target {} umount --lazy --no-canonicalize --internal-only /volumes || true",
        second.pid
    ))?;
    let third = Patcher::leads(lab, Some(&second))?;
    let gone = begun.elapsed();
    let task =
        lab.ecs("DescribeTasks", &json!({ "cluster": CLUSTER, "tasks": [second.task] }))?["tasks"][0].clone();
    let container = &task["containers"][0];
    expect(container["exitCode"] == 1, "it ended by itself, with 1", task.to_string())?;
    patches(lab, "by-the-third-task")?;

    remove(lab, SERVICE)?;
    lab.restore_rights()?;
    for guest in lab.instances() {
        guest.write(FILE, right.trim_end())?;
    }
    wait::until(&lab.progress, "an instance leads again", DEPLOYED, || {
        if lab.leads(0) || lab.leads(1) { Ok(()) } else { Err("none does".to_owned()) }
    })?;
    Ok(format!(
        "{} leads; frozen: another one after {:.1} s; its bind gone: {} after {:.1} s",
        first.name(),
        frozen.as_secs_f64(),
        third.name(),
        gone.as_secs_f64()
    ))
}
