//! The cluster: each service of a compose file is an ECS service, patched by a pipeline, its volumes on the share.

use crate::{
    composed::{Composed, compose_file},
    place::{Application, Place},
};
use lab::{
    Error, Lab,
    app::{self, Task},
    cluster::CLUSTER,
    expect, host,
    place::MEMORY,
    wait,
};
use serde_json::{Value, json};
use std::{path::Path, time::Duration};

/// Until the tasks of a service run: with their seeding containers, some in guests that are slow.
const RUNS: Duration = Duration::from_secs(300);
/// A line of shell in a container.
const LINE: Duration = Duration::from_secs(580);
/// `docker load` of a gigabyte in a guest.
const LOAD: Duration = Duration::from_secs(580);

/// Gives both instances the applications' images: there is no registry.
///
/// # Errors
/// What Docker says.
pub(crate) fn load(lab: &Lab, composed: &Composed, applications: &[&Application]) -> Result<(), Error> {
    let names: Vec<&str> = applications.iter().flat_map(|one| one.images).map(|(name, _)| *name).collect();
    let tar = Path::new(MEMORY).join("images.tar");
    composed.save(&names, &tar)?;
    lab.progress.say("both instances load the images");
    let loaded = std::thread::scope(|scope| {
        let loads = [0, 1].map(|index| {
            let tar = &tar;
            scope.spawn(move || lab.instance(index).feed(tar, "docker load --quiet", LOAD))
        });
        loads.map(|load| load.join())
    });
    for output in loaded {
        let output = output.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        expect(output.code == 0, "docker load succeeds", output.stdout + &output.stderr)?;
    }
    host::remove(&tar)
}

/// An application on the cluster.
pub(crate) struct Cluster<'a> {
    lab: &'a Lab,
    composed: &'a Composed,
    application: &'static Application,
}

impl<'a> Cluster<'a> {
    /// Nothing is started yet.
    pub(crate) fn new(lab: &'a Lab, composed: &'a Composed, application: &'static Application) -> Self {
        Self { lab, composed, application }
    }

    fn named(&self, service: &str) -> String {
        format!("{}-{service}", self.application.name)
    }

    /// The task definition that a pipeline registers: from Docker Compose's own reading of the file, and patched.
    fn document(&self, service: &str, variables: &[(&str, &str)]) -> Result<Value, Error> {
        let model = self.composed.model(self.application.name, service, variables)?;
        let environment: Vec<Value> = model["environment"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, value)| json!({ "name": name, "value": value.as_str().unwrap_or_default() }))
            .collect();
        let constraints = match self.application.at_one_address.contains(&service) {
            true => {
                json!([{ "type": "memberOf", "expression": "attribute:ecs.availability-zone == us-east-1a" }])
            }
            false => json!([]),
        };
        let document = json!({
            "family": self.named(service),
            "networkMode": "host",
            "requiresCompatibilities": ["EC2"],
            "placementConstraints": constraints,
            "containerDefinitions": [{
                "name": service,
                "image": model["image"],
                "essential": true,
                "memory": 512,
                "environment": environment,
                "command": model["command"].as_array().cloned().unwrap_or_default(),
            }],
        });
        let file = compose_file(self.application.name);
        let flags = [
            "patch",
            "--rack",
            CLUSTER,
            "--app",
            self.application.name,
            "--compose",
            &file.to_string_lossy(),
        ];
        let patched = self.lab.pipeline(&flags, &document.to_string())?;
        expect(patched.code == 0, "the compose file's volumes are patched in", patched.stderr.clone())?;
        Ok(serde_json::from_str(&patched.stdout).unwrap_or_default())
    }

    /// The command that tells the id of the service's container, in the guest.
    fn container(&self, service: &str) -> String {
        let labels = [("task-definition-family", &*self.named(service)), ("container-name", service)]
            .map(|(name, value)| format!("--filter label=com.amazonaws.ecs.{name}={value}"));
        format!("docker ps -q {}", labels.join(" "))
    }

    fn tasks(&self, service: &str) -> Result<Vec<Task>, Error> {
        app::running(self.lab, &self.named(service))
    }

    /// Waits until so many tasks run that are none of `before`.
    fn running(&self, service: &str, copies: usize, before: &[Task]) -> Result<(), Error> {
        let name = self.named(service);
        wait::until(&self.lab.progress, &format!("{copies} new tasks of {name} run"), RUNS, || {
            let tasks = self.tasks(service).map_err(|error| error.to_string())?;
            let is_new = tasks.iter().all(|task| before.iter().all(|old| old.arn != task.arn));
            if is_new && tasks.len() == copies { Ok(()) } else { Err(format!("{tasks:?}")) }
        })
    }
}

impl Place for Cluster<'_> {
    fn told(&self) -> &'static str {
        "on the share"
    }

    fn start(&self, service: &str, copies: u64, variables: &[(&str, &str)]) -> Result<(), Error> {
        let revision = app::register(self.lab, &self.document(service, variables)?)?;
        app::create(self.lab, &self.named(service), &revision, copies)?;
        self.running(service, usize::try_from(copies).unwrap_or(usize::MAX), &[])
    }

    fn scale(&self, service: &str, copies: u64) -> Result<(), Error> {
        let name = self.named(service);
        let request = json!({ "cluster": CLUSTER, "service": name, "desiredCount": copies });
        self.lab.ecs("UpdateService", &request)?;
        self.running(service, usize::try_from(copies).unwrap_or(usize::MAX), &[])
    }

    fn addresses(&self, service: &str) -> Result<Vec<String>, Error> {
        let tasks = self.tasks(service)?;
        Ok(tasks.iter().map(|task| self.lab.instance(task.instance).identity.address.clone()).collect())
    }

    fn inside(&self, service: &str, address: &str, line: &str) -> Result<String, String> {
        let instances = self.lab.instances();
        let guest = instances.iter().find(|guest| guest.identity.address == address);
        let guest = guest.ok_or_else(|| format!("no instance has the address {address:?}"))?;
        let output = guest
            .try_run(&format!("docker exec $({}) sh -c {}", self.container(service), quoted(line)), LINE);
        if output.code == 0 { Ok(output.stdout) } else { Err(output.stdout + &output.stderr) }
    }

    /// By a new deployment; as the service asks for, the old tasks end before new ones start.
    fn replace(&self, service: &str) -> Result<(), Error> {
        let before = self.tasks(service)?;
        let request =
            json!({ "cluster": CLUSTER, "service": self.named(service), "forceNewDeployment": true });
        self.lab.ecs("UpdateService", &request)?;
        self.running(service, before.len(), &before)
    }

    fn elsewhere(&self, service: &str, image: &str, line: &str) -> Result<String, Error> {
        let taken = self.addresses(service)?;
        let instances = self.lab.instances();
        let guest = instances.iter().find(|guest| !taken.contains(&guest.identity.address));
        let guest = guest.unwrap_or(&instances[0]);
        let line = quoted(line);
        let output =
            guest.try_run(&format!("docker run --rm --network host --entrypoint sh {image} -c {line}"), LINE);
        Ok(output.stdout)
    }

    fn kill(&self, service: &str) -> Result<(), Error> {
        let before = self.tasks(service)?;
        for task in &before {
            self.lab.instance(task.instance).run(&format!("docker kill $({})", self.container(service)))?;
        }
        self.running(service, before.len(), &before)
    }

    /// The power of its instance is cut, for good: an auto scaling group would deregister it.
    fn lose_machine(&self, service: &str) -> Result<(), Error> {
        let before = self.tasks(service)?;
        let task = before.first().ok_or_else(|| Error::NotSeen {
            expected: format!("a task of {service}"),
            seen: "none".to_owned(),
            waited: Duration::ZERO,
        })?;
        let instance = self.lab.container_instance(task.instance)?["containerInstanceArn"].clone();
        self.lab.instance(task.instance).kill()?;
        let request = json!({ "cluster": CLUSTER, "containerInstance": instance, "force": true });
        self.lab.ecs("DeregisterContainerInstance", &request)?;
        self.running(service, 1, &before)
    }

    fn end(&self) -> Result<(), Error> {
        let listed = self.lab.ecs("ListServices", &json!({ "cluster": CLUSTER }))?;
        for arn in listed["serviceArns"].as_array().into_iter().flatten() {
            self.lab.ecs("DeleteService", &json!({ "cluster": CLUSTER, "service": arn, "force": true }))?;
        }
        wait::until(&self.lab.progress, "the application has ended", RUNS, || {
            let listed =
                self.lab.ecs("ListTasks", &json!({ "cluster": CLUSTER, "desiredStatus": "STOPPED" }));
            let listed = listed.map_err(|error| error.to_string())?;
            let tasks = listed["taskArns"].as_array().cloned().unwrap_or_default();
            for hundred in tasks.chunks(100) {
                let request = json!({ "cluster": CLUSTER, "tasks": hundred });
                let tasks = self.lab.ecs("DescribeTasks", &request).map_err(|error| error.to_string())?;
                let left = tasks["tasks"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .find(|one| one["lastStatus"] != "STOPPED");
                if let Some(left) = left {
                    return Err(left["taskArn"].to_string());
                }
            }
            Ok(())
        })
    }
}

/// A line as one word of a shell's.
fn quoted(line: &str) -> String {
    format!("'{}'", line.replace('\'', "'\\''"))
}
