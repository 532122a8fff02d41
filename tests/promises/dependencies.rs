//! What seeding rests on: ECS creates the app's containers only after a first container has succeeded, or never.

use lab::{Error, Lab, app, cluster::CLUSTER, expect, guest::Guest, wait};
use serde_json::{Value, json};
use std::time::Duration;

/// A volume on the instance, and the file that the first container waits for.
const VOLUME: &str = "/var/tmp/dependencies";
const SOON: Duration = Duration::from_secs(90);
/// The first container: waits to be told to go on, writes a file and succeeds.
const SEEDS: &str = "until [ -e /data/go ]; do sleep 0.2; done; echo seeded > /data/file";

/// A task of two containers, the app after the first; without labels, so the agent has nothing to patch.
fn task_definition(
    lab: &Lab,
    family: &str,
    script: &str,
    change: impl FnOnce(&mut Value),
) -> Result<String, Error> {
    let container = |name: &str, script: &str| {
        json!({
            "name": name, "image": "wordpress:4.5.2-apache", "memory": 64, "stopTimeout": 2,
            "entryPoint": ["/bin/sh", "-c"], "command": [script],
            "mountPoints": [{ "sourceVolume": "data", "containerPath": "/data" }],
        })
    };
    let mut app = container("app", "grep -q seeded /data/file && exec sleep 3600");
    app["dependsOn"] = json!([{ "containerName": "first", "condition": "SUCCESS" }]);
    let mut first = container("first", script);
    first["essential"] = json!(false);
    first["startTimeout"] = json!(60);
    let mut document = json!({
        "family": family, "networkMode": "host",
        "containerDefinitions": [app, first],
        "volumes": [{ "name": "data", "host": { "sourcePath": VOLUME } }],
    });
    change(&mut document);
    app::register(lab, &document)
}

/// A task that was placed.
struct Placed<'a> {
    lab: &'a Lab,
    guest: &'a Guest,
    arn: String,
}

impl<'a> Placed<'a> {
    fn run(lab: &'a Lab, revision: &str) -> Result<Self, Error> {
        let answer = lab.ecs("RunTask", &json!({ "cluster": CLUSTER, "taskDefinition": revision }))?;
        let arn = answer["tasks"][0]["taskArn"].as_str().unwrap_or_default().to_owned();
        expect(!arn.is_empty(), format!("{revision} is placed"), answer.to_string())?;
        let instance = &answer["tasks"][0]["containerInstanceArn"];
        let index = usize::from(lab.container_instance(0)?["containerInstanceArn"] != *instance);
        Ok(Self { lab, guest: lab.instance(index), arn })
    }

    fn described(&self) -> Result<Value, Error> {
        let answer = self.lab.ecs("DescribeTasks", &json!({ "cluster": CLUSTER, "tasks": [self.arn] }))?;
        Ok(answer["tasks"][0].clone())
    }

    /// Waits until DescribeTasks tells this status of the task and of its containers, with their exit codes. Gives its answer.
    fn tells(
        &self,
        status: &str,
        app: (&str, Option<i64>),
        first: (&str, Option<i64>),
    ) -> Result<Value, Error> {
        let expected = format!("the task is {status}, its app {app:?}, the first container {first:?}");
        wait::until(&self.lab.progress, &expected, SOON, || {
            let seen = self.described().map_err(|error| error.to_string())?;
            let is = |name: &str, (status, code): (&str, Option<i64>)| {
                let found = container(&seen, name);
                found["lastStatus"] == status && found["exitCode"].as_i64() == code
            };
            if seen["lastStatus"] == status && is("app", app) && is("first", first) {
                Ok(seen)
            } else {
                Err(seen.to_string())
            }
        })
    }

    /// What Docker tells of one of its containers; empty if it isn't there.
    fn inspect(&self, name: &str, format: &str) -> Result<String, Error> {
        let filters = [("task-arn", self.arn.as_str()), ("container-name", name)]
            .map(|(key, value)| format!("--filter label=com.amazonaws.ecs.{key}={value}"));
        let ids = format!("$(docker ps --all --quiet {})", filters.join(" "));
        let command = format!("for id in {ids}; do docker inspect --format '{format}' $id; done");
        Ok(self.guest.run(&command)?.trim().to_owned())
    }

    /// The names of all containers that were ever created for it.
    fn ever_created(&self) -> Result<Vec<String>, Error> {
        let command = format!(
            "docker events --since 30m --until 0s --filter type=container --filter event=create \
             --filter label=com.amazonaws.ecs.task-arn={} \
             --format '{{{{index .Actor.Attributes \"com.amazonaws.ecs.container-name\"}}}}'",
            self.arn
        );
        Ok(self.guest.run(&command)?.lines().map(str::to_owned).collect())
    }

    fn stop(&self) -> Result<(), Error> {
        self.lab.ecs("StopTask", &json!({ "cluster": CLUSTER, "task": self.arn })).map(drop)
    }
}

fn container(task: &Value, name: &str) -> Value {
    let containers = task["containers"].as_array().cloned().unwrap_or_default();
    containers.into_iter().find(|container| container["name"] == name).unwrap_or_default()
}

/// Tells the first containers to go on, or to wait.
fn go(lab: &Lab, go: bool) -> Result<(), Error> {
    let command = if go { "touch" } else { "rm -rf" };
    lab.instances()
        .iter()
        .try_for_each(|guest| guest.run(&format!("mkdir -p {VOLUME} && {command} {VOLUME}/go")).map(drop))
}

/// The app is created when the first container has succeeded, whoever was started again meanwhile, and never if it can't.
pub(crate) fn the_app_is_created_after_the_first_container(lab: &Lab) -> Result<String, Error> {
    (0..2).try_for_each(|index| lab.gates(index, "ready", Duration::from_secs(60)))?;
    go(lab, false)?;
    let order = in_order(lab)?;
    healthy(lab)?;
    let hangs = task_definition(lab, "first-hangs", SEEDS, |document| {
        document["containerDefinitions"][1]["startTimeout"] = json!(3);
    })?;
    let fails = task_definition(lab, "first-fails", "exit 1", |_| {})?;
    let (hangs, fails) = (Placed::run(lab, &hangs)?, Placed::run(lab, &fails)?);
    // 137 is Docker's SIGKILL: a shell that is process 1 has no handler for SIGTERM.
    never(&hangs, 137, "has timed out.")?;
    let reason = never(&fails, 1, "as dependency did not exit successfully.")?;
    lab.instances().iter().try_for_each(|guest| guest.run(&format!("rm -r {VOLUME}")).map(drop))?;
    Ok(format!("{order}; {reason}"))
}

fn in_order(lab: &Lab) -> Result<String, Error> {
    let task = Placed::run(lab, &task_definition(lab, "first-succeeds", SEEDS, |_| {})?)?;
    task.tells("PENDING", ("PENDING", None), ("RUNNING", None))?;
    task.guest.run("systemctl restart ecs")?;
    go(lab, true)?;
    task.tells("RUNNING", ("RUNNING", None), ("STOPPED", Some(0)))?;
    let (created, ended) =
        (task.inspect("app", "{{.Created}}")?, task.inspect("first", "{{.State.FinishedAt}}")?);
    let at = |text: &str| humantime::parse_rfc3339(text).ok();
    let is_after = at(&created).zip(at(&ended)).is_some_and(|(created, ended)| created > ended);
    let order = format!("the first container ended at {ended}, the app's was created at {created}");
    expect(is_after, "the app's container is created after the first has ended", order.clone())?;
    wait::always(
        &lab.progress,
        "the task goes on without its first container",
        Duration::from_secs(5),
        || {
            let seen = task.described().map_err(|error| error.to_string())?;
            if seen["lastStatus"] == "RUNNING" { Ok(()) } else { Err(seen.to_string()) }
        },
    )?;
    task.stop()?;
    let stopped = task.tells("STOPPED", ("STOPPED", Some(137)), ("STOPPED", Some(0)))?;
    expect(stopped["stopCode"] == "UserInitiated", "StopTask's own stop code", stopped.to_string())?;
    go(lab, false)?;
    Ok(order)
}

/// HEALTHY waits for Docker's own health check.
fn healthy(lab: &Lab) -> Result<(), Error> {
    let revision =
        task_definition(lab, "first-healthy", "echo seeded > /data/file; exec sleep 3600", |document| {
            document["containerDefinitions"][0]["dependsOn"][0]["condition"] = json!("HEALTHY");
            document["containerDefinitions"][1]["healthCheck"] =
                json!({ "command": ["CMD-SHELL", "test -e /data/go"], "interval": 5 });
        })?;
    let task = Placed::run(lab, &revision)?;
    task.tells("PENDING", ("PENDING", None), ("RUNNING", None))?;
    let created = task.ever_created()?;
    expect(created == ["first"], "the app waits for the first to be healthy", format!("{created:?}"))?;
    go(lab, true)?;
    task.tells("RUNNING", ("RUNNING", None), ("RUNNING", None))?;
    task.stop()?;
    task.tells("STOPPED", ("STOPPED", Some(137)), ("STOPPED", Some(137)))?;
    go(lab, false)
}

/// The task ends without its app ever having been created, and DescribeTasks says why. Gives the reason.
fn never(task: &Placed, exit_code: i64, why: &str) -> Result<String, Error> {
    let seen = task.tells("STOPPED", ("STOPPED", Some(143)), ("STOPPED", Some(exit_code)))?;
    let says = seen["stopCode"] == "TaskFailedToStart" && seen["stoppedReason"] == "Task failed to start";
    expect(says, "TaskFailedToStart, Task failed to start", seen.to_string())?;
    let reason = container(&seen, "app")["reason"].as_str().unwrap_or_default().to_owned();
    let is_told =
        reason.starts_with("CannotStartContainerError: dependency graph: ") && reason.ends_with(why);
    expect(
        is_told,
        format!("the app's reason: CannotStartContainerError: dependency graph: ... {why}"),
        &reason,
    )?;
    let created = task.ever_created()?;
    expect(created == ["first"], "only the first container was ever created", format!("{created:?}"))?;
    Ok(reason)
}
