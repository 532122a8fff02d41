//! The app of the demo and the tests: deployed as a deploy tool would, and looked at from outside.

use crate::{Error, Lab, cluster::CLUSTER, expect, host, http, place, wait};
use serde_json::{Value, json};
use std::{collections::BTreeSet, time::Duration};

/// The app's name, in its labels and on the share.
pub const APP: &str = "example-app";
/// The ECS service, and the family of its task definition.
pub const SERVICE: &str = "example-app-web";
/// Where the volume has to be, below the share.
pub const ON_SHARE: &str = "production-example-app/web/var/www/html";
/// From a deploy until all tasks run with their volumes: some rounds of the agent, and two tasks one after the other.
pub const DEPLOYED: Duration = Duration::from_secs(90);

/// Files of the app as its author wrote them.
///
/// # Errors
/// [`Error::File`].
pub fn file(name: &str) -> Result<String, Error> {
    host::read(&place::repository().join("tests").join(APP).join(name))
}

/// A running task of the app.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Task {
    /// Which instance it runs on.
    pub instance: usize,
    /// Its ARN.
    pub arn: String,
    /// The revision it was started from.
    pub revision: String,
}

/// What a plain deploy does: registers the task definition and makes or updates the service. Gives the revision's ARN.
///
/// # Errors
/// What ECS says.
pub fn deploy(lab: &Lab) -> Result<String, Error> {
    let document: Value = serde_json::from_str(&file("task-definition.json")?).unwrap_or_default();
    let revision = register(lab, &document)?;
    if services(lab, SERVICE)?.is_some() {
        lab.ecs(
            "UpdateService",
            &json!({ "cluster": CLUSTER, "service": SERVICE, "taskDefinition": revision }),
        )?;
    } else {
        create(lab, SERVICE, &revision, 2)?;
    }
    Ok(revision)
}

/// Registers a task definition. Gives the revision's ARN.
///
/// # Errors
/// What ECS says.
pub fn register(lab: &Lab, document: &Value) -> Result<String, Error> {
    let answer = lab.ecs("RegisterTaskDefinition", document)?;
    Ok(answer["taskDefinition"]["taskDefinitionArn"].as_str().unwrap_or_default().to_owned())
}

/// Creates a service of `count` tasks. Its port is taken on each instance, so an old task ends before a new one starts.
///
/// # Errors
/// What ECS says.
pub fn create(lab: &Lab, service: &str, revision: &str, count: u64) -> Result<(), Error> {
    lab.ecs(
        "CreateService",
        &json!({
            "cluster": CLUSTER, "serviceName": service, "taskDefinition": revision, "desiredCount": count, "launchType": "EC2",
            "deploymentConfiguration": { "minimumHealthyPercent": 0, "maximumPercent": 100 },
        }),
    )
    .map(drop)
}

/// A service as ECS describes it, if it is there and active.
///
/// # Errors
/// What ECS says.
pub fn services(lab: &Lab, service: &str) -> Result<Option<Value>, Error> {
    let answer = lab.ecs("DescribeServices", &json!({ "cluster": CLUSTER, "services": [service] }))?;
    let found = answer["services"].as_array().and_then(|services| services.first()).cloned();
    Ok(found.filter(|service| service["status"] == "ACTIVE"))
}

/// The revision that a service's PRIMARY deployment names.
///
/// # Errors
/// What ECS says.
pub fn primary(lab: &Lab, service: &str) -> Result<String, Error> {
    let service = services(lab, service)?.unwrap_or_default();
    let deployments = service["deployments"].as_array().cloned().unwrap_or_default();
    let primary =
        deployments.iter().find(|deployment| deployment["status"] == "PRIMARY").cloned().unwrap_or_default();
    Ok(primary["taskDefinition"].as_str().unwrap_or_default().to_owned())
}

/// A registered revision with its tags inside.
///
/// # Errors
/// What ECS says.
pub fn revision(lab: &Lab, arn: &str) -> Result<Value, Error> {
    let answer = lab.ecs("DescribeTaskDefinition", &json!({ "taskDefinition": arn, "include": ["TAGS"] }))?;
    let mut document = answer["taskDefinition"].clone();
    document["tags"] = answer["tags"].clone();
    Ok(document)
}

/// The revisions of a family, oldest first.
///
/// # Errors
/// What ECS says.
pub fn revisions(lab: &Lab, family: &str) -> Result<Vec<String>, Error> {
    let answer = lab.ecs("ListTaskDefinitions", &json!({ "familyPrefix": family }))?;
    let arns = answer["taskDefinitionArns"].as_array().cloned().unwrap_or_default();
    Ok(arns.iter().filter_map(Value::as_str).map(str::to_owned).collect())
}

/// The tasks of a service that run.
///
/// # Errors
/// What ECS says.
pub fn running(lab: &Lab, service: &str) -> Result<Vec<Task>, Error> {
    let arns =
        lab.ecs("ListTasks", &json!({ "cluster": CLUSTER, "serviceName": service }))?["taskArns"].clone();
    if arns.as_array().is_none_or(Vec::is_empty) {
        return Ok(Vec::new());
    }
    let registered = |index: usize| match lab.container_instance(index) {
        // One that was deregistered has no tasks.
        Err(Error::NotSeen { .. }) => Ok(Value::Null),
        other => other,
    };
    let instances = [registered(0)?, registered(1)?];
    let tasks = lab.ecs("DescribeTasks", &json!({ "cluster": CLUSTER, "tasks": arns }))?["tasks"].clone();
    let mut running: Vec<Task> = tasks
        .as_array()
        .into_iter()
        .flatten()
        .filter(|task| task["lastStatus"] == "RUNNING" && task["desiredStatus"] == "RUNNING")
        .filter_map(|task| {
            let on = |instance: &Value| instance["containerInstanceArn"] == task["containerInstanceArn"];
            Some(Task {
                instance: instances.iter().position(on)?,
                arn: task["taskArn"].as_str()?.to_owned(),
                revision: task["taskDefinitionArn"].as_str()?.to_owned(),
            })
        })
        .collect();
    running.sort();
    Ok(running)
}

/// What the seeding containers of a container said, as far as an instance still has them, a line each.
///
/// # Errors
/// What Docker says.
pub fn seeding_said(lab: &Lab, index: usize, container: &str) -> Result<String, Error> {
    lab.instance(index).run(&format!(
        "for id in $(docker ps -aq --filter label=com.amazonaws.ecs.container-name=convox-volumes-seed-{container}); do docker logs $id 2>&1; done",
    ))
}

/// Whether a revision binds a directory below `/volumes`.
pub fn is_patched(document: &Value) -> bool {
    let volumes = document["volumes"].as_array().cloned().unwrap_or_default();
    volumes
        .iter()
        .any(|volume| volume["host"]["sourcePath"].as_str().is_some_and(|path| path.starts_with("/volumes/")))
}

/// Waits until the service's PRIMARY revision is a patched one. Gives its ARN.
///
/// # Errors
/// [`Error::NotSeen`] with what it names instead.
pub fn patched(lab: &Lab, service: &str) -> Result<String, Error> {
    wait::until(
        &lab.progress,
        &format!("the service {service} uses a revision with its volumes"),
        DEPLOYED,
        || {
            let arn = primary(lab, service).map_err(|error| error.to_string())?;
            let document = revision(lab, &arn).map_err(|error| error.to_string())?;
            if is_patched(&document) {
                Ok(arn)
            } else {
                Err(format!("it uses {arn}, volumes {}", document["volumes"]))
            }
        },
    )
}

/// Waits until a task of this revision runs and answers on each instance.
///
/// # Errors
/// [`Error::NotSeen`] with what runs instead, and the service's last word.
pub fn serving(lab: &Lab, revision: &str) -> Result<Vec<Task>, Error> {
    wait::until(&lab.progress, "a task with the volume runs on each instance", DEPLOYED, || {
        let tasks = running(lab, SERVICE).map_err(|error| error.to_string())?;
        let right: BTreeSet<usize> =
            tasks.iter().filter(|task| task.revision == revision).map(|task| task.instance).collect();
        if right.len() < 2 || tasks.len() > 2 {
            let event = services(lab, SERVICE)
                .ok()
                .flatten()
                .map(|service| service["events"][0]["message"].to_string());
            return Err(format!(
                "running: {tasks:?}; the service's last event: {}",
                event.unwrap_or_default()
            ));
        }
        for instance in right {
            let page = fetch(lab, instance, "index.html")?;
            if page.status != 200 {
                return Err(format!("instance {instance} answers {} {}", page.status, page.body.trim()));
            }
        }
        Ok(tasks)
    })
}

/// The app deployed, patched, and running on both instances: makes it so unless it is. Gives the patched revision.
///
/// # Errors
/// As [`patched`] and [`serving`].
pub fn up(lab: &Lab) -> Result<String, Error> {
    if services(lab, SERVICE)?.is_none() {
        deploy(lab)?;
    }
    let revision = patched(lab, SERVICE)?;
    serving(lab, &revision)?;
    Ok(revision)
}

/// Asks the app's process on an instance for a file.
///
/// # Errors
/// Why there was no answer.
pub fn fetch(lab: &Lab, instance: usize, path: &str) -> Result<http::Answer, String> {
    http::get(&url(lab, instance, path)).map_err(|error| error.to_string())
}

/// Has the app's process on an instance store a file.
///
/// # Errors
/// [`Error::Request`] when it didn't.
pub fn upload(lab: &Lab, instance: usize, name: &str, content: &str) -> Result<(), Error> {
    let url = url(lab, instance, &format!("cgi-bin/upload?{name}"));
    let answer = http::succeed("POST", &url, &[], content.as_bytes())?;
    expect(answer.body.starts_with("stored"), format!("the process stores {name}"), answer.body)
}

/// Waits until the app's process on an instance gives back what was uploaded.
///
/// # Errors
/// [`Error::NotSeen`] with what it gives instead.
pub fn reads(lab: &Lab, instance: usize, name: &str, content: &str) -> Result<(), Error> {
    let path = format!("wp-content/uploads/{name}");
    let what = format!("the process on {} reads {path}", lab.instance(instance).identity.name);
    wait::until(&lab.progress, &what, Duration::from_secs(30), || {
        let answer = fetch(lab, instance, &path)?;
        if answer.status == 200 && answer.body == content {
            Ok(())
        } else {
            Err(format!("{} {:?}", answer.status, answer.body))
        }
    })
}

fn url(lab: &Lab, instance: usize, path: &str) -> String {
    format!("http://{}/{path}", lab.instance(instance).identity.address)
}
