//! What to do with a task, and how its containers are created; pure.

use serde_json::Value;

/// Why a registered revision can't be run here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TaskError {
    /// The revision lacks something that ECS would not have registered it without.
    #[error("the task has no usable `{0}`")]
    Malformed(&'static str),
    /// Nothing was run, rather than something else than was asked for.
    #[error("the lab's stand-in for the ECS agent doesn't know {0}")]
    NotImitated(String),
}

/// What a container may ask for that would change how it behaves, and that the stand-in hasn't.
const NOT_IMITATED: [&str; 8] = [
    "dependsOn",
    "environmentFiles",
    "healthCheck",
    "linuxParameters",
    "links",
    "restartPolicy",
    "secrets",
    "volumesFrom",
];

/// Seconds between SIGTERM and SIGKILL when the revision doesn't say (`ECS_CONTAINER_STOP_TIMEOUT`).
const STOP_TIMEOUT_SECONDS: u64 = 30;

/// A task as the lab's ECS tells it to its instance.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// Its ARN.
    pub arn: String,
    /// Whether ECS wants it to run.
    pub wanted: bool,
    /// Whether it was reported as RUNNING already; else it is PENDING.
    pub running: bool,
    /// The registered revision, raw.
    pub definition: Value,
}

/// A container of a task, as `docker ps` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Docker's id.
    pub id: String,
    /// Docker's name.
    pub docker_name: String,
    /// ARN of the task.
    pub task: String,
    /// Its name in the revision.
    pub name: String,
    /// The image's name.
    pub image: String,
    /// `created`, `running`, `exited`, ...
    pub state: String,
    /// Once it has exited.
    pub exit_code: Option<i64>,
}

/// The next thing to do with a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// It is as it should be.
    Leave,
    /// Create and start its containers, then report RUNNING, or why not.
    Start,
    /// Report RUNNING: it does.
    ReportRunning,
    /// Stop what still runs, remove it all, and report STOPPED with this code and reason.
    End {
        /// As `stopCode` has it; none where ECS itself wanted it to stop.
        code: Option<&'static str>,
        /// As `stoppedReason` has it.
        reason: Option<String>,
    },
}

/// Decides from what ECS wants and what Docker has; nothing is remembered, so a restart of the agent changes nothing.
pub fn next(task: &Task, containers: &[Container]) -> Action {
    let end = |code, reason: &str| Action::End { code: Some(code), reason: Some(reason.to_owned()) };
    if !task.wanted {
        return Action::End { code: None, reason: None };
    }
    if containers.is_empty() {
        return if task.running {
            end("EssentialContainerExited", "The task no longer exists")
        } else {
            Action::Start
        };
    }
    let gone = task.essential().into_iter().find(|name| {
        !containers.iter().any(|container| container.name == *name && container.state == "running")
    });
    match gone {
        None if task.running => Action::Leave,
        None => Action::ReportRunning,
        Some(_) if task.running => end("EssentialContainerExited", "Essential container in task exited"),
        Some(name) => end("TaskFailedToStart", &format!("Container {name} was left unstarted")),
    }
}

impl Task {
    /// Reads one entry of what the lab's ECS answers.
    ///
    /// # Errors
    /// What is missing in it.
    pub fn from_answer(answer: &Value) -> Result<Self, TaskError> {
        Ok(Self {
            arn: text(answer, "taskArn").ok_or(TaskError::Malformed("taskArn"))?.to_owned(),
            wanted: text(answer, "desiredStatus") == Some("RUNNING"),
            running: text(answer, "lastStatus") == Some("RUNNING"),
            definition: answer.get("taskDefinition").cloned().unwrap_or_default(),
        })
    }

    /// The last part of the ARN.
    pub fn id(&self) -> &str {
        self.arn.rsplit('/').next().unwrap_or(&self.arn)
    }

    /// The family of its revision.
    pub fn family(&self) -> &str {
        text(&self.definition, "family").unwrap_or_default()
    }

    /// The number of its revision.
    pub fn revision(&self) -> u64 {
        self.definition["revision"].as_u64().unwrap_or_default()
    }

    fn containers(&self) -> impl Iterator<Item = &Value> {
        list(&self.definition, "containerDefinitions")
    }

    fn essential(&self) -> Vec<&str> {
        let essential = self.containers().filter(|c| c["essential"].as_bool().unwrap_or(true));
        essential.filter_map(|c| text(c, "name")).collect()
    }

    /// How long `docker stop` gives the container.
    pub fn stop_timeout_seconds(&self, container: &str) -> u64 {
        let found = self.containers().find(|c| text(c, "name") == Some(container));
        found.and_then(|c| c["stopTimeout"].as_u64()).unwrap_or(STOP_TIMEOUT_SECONDS)
    }

    /// The arguments of `docker create` for each of its containers, in order, with the container's name.
    ///
    /// # Errors
    /// What the stand-in doesn't imitate, and what no revision can lack.
    pub fn creations(&self, cluster: &str) -> Result<Vec<(String, Vec<String>)>, TaskError> {
        let containers: Vec<_> =
            self.containers().map(|c| self.creation(cluster, c)).collect::<Result<_, _>>()?;
        if containers.is_empty() {
            return Err(TaskError::Malformed("taskDefinition"));
        }
        Ok(containers)
    }

    fn creation(&self, cluster: &str, container: &Value) -> Result<(String, Vec<String>), TaskError> {
        let name = text(container, "name").ok_or(TaskError::Malformed("name"))?;
        let image = text(container, "image").ok_or(TaskError::Malformed("image"))?;
        let asks = |key: &&&str| match &container[**key] {
            Value::Null => false,
            Value::Array(items) => !items.is_empty(),
            _ => true,
        };
        if let Some(key) = NOT_IMITATED.iter().find(asks) {
            return Err(TaskError::NotImitated(format!("`{key}` (container `{name}`)")));
        }
        let (family, revision) = (self.family(), self.revision());
        let hex = self.id().get(..20).unwrap_or(self.id());
        let mut arguments = vec!["create".to_owned()];
        let mut add = |flag: &str, value: &str| arguments.extend([flag.to_owned(), value.to_owned()]);
        add("--name", &format!("ecs-{family}-{revision}-{name}-{hex}"));
        add("--pull", "never");
        add("--network", "host");
        for (key, value) in container["dockerLabels"].as_object().into_iter().flatten() {
            add("--label", &format!("{key}={}", value.as_str().unwrap_or_default()));
        }
        for (key, value) in [
            ("cluster", cluster),
            ("container-name", name),
            ("task-arn", &self.arn),
            ("task-definition-family", family),
            ("task-definition-version", &revision.to_string()),
        ] {
            add("--label", &format!("com.amazonaws.ecs.{key}={value}"));
        }
        for pair in list(container, "environment") {
            let key = text(pair, "name").ok_or(TaskError::Malformed("environment"))?;
            add("--env", &format!("{key}={}", text(pair, "value").unwrap_or_default()));
        }
        for mount in list(container, "mountPoints") {
            add("--volume", &self.bind(mount)?);
        }
        for (flag, key) in [("--user", "user"), ("--workdir", "workingDirectory")] {
            if let Some(value) = text(container, key) {
                add(flag, value);
            }
        }
        let entry_point = texts(container, "entryPoint");
        if let Some(program) = entry_point.first() {
            add("--entrypoint", program);
        }
        for (flag, key) in [("--privileged", "privileged"), ("--read-only", "readonlyRootFilesystem")] {
            if container[key].as_bool() == Some(true) {
                arguments.push(flag.to_owned());
            }
        }
        arguments.push(image.to_owned());
        arguments.extend(entry_point.into_iter().skip(1));
        arguments.extend(texts(container, "command"));
        Ok((name.to_owned(), arguments))
    }

    /// A mount point as Docker's bind, as the real agent writes it: no propagation, and no question whether the source exists.
    fn bind(&self, mount: &Value) -> Result<String, TaskError> {
        let name = text(mount, "sourceVolume").ok_or(TaskError::Malformed("sourceVolume"))?;
        let target = text(mount, "containerPath").ok_or(TaskError::Malformed("containerPath"))?;
        let volume = list(&self.definition, "volumes").find(|volume| text(volume, "name") == Some(name));
        let source = volume
            .and_then(|volume| text(&volume["host"], "sourcePath"))
            .ok_or_else(|| TaskError::NotImitated(format!("volume `{name}` without a `host.sourcePath`")))?;
        let read_only = if mount["readOnly"].as_bool() == Some(true) { ":ro" } else { "" };
        Ok(format!("{source}:{target}{read_only}"))
    }
}

fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key).and_then(Value::as_str)
}

fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}

fn texts(value: &Value, key: &str) -> Vec<String> {
    list(value, key).filter_map(Value::as_str).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn task(wanted: bool, running: bool, change: impl FnOnce(&mut Value)) -> Task {
        let mut definition = json!({
            "family": "production-web", "revision": 7,
            "containerDefinitions": [{
                "name": "web", "image": "web:1", "essential": true, "user": "33:33",
                "environment": [{ "name": "A", "value": "b c" }],
                "entryPoint": ["/entry", "first"], "command": ["serve"],
                "dockerLabels": { "convox.app": "example" },
                "mountPoints": [
                    { "sourceVolume": "v", "containerPath": "/var/www/html" },
                    { "sourceVolume": "v", "containerPath": "/again", "readOnly": true },
                ],
                "links": [], "newerThanTheAgent": true,
            }],
            "volumes": [{ "name": "v", "host": { "sourcePath": "/volumes/production-example/web/var/www/html" } }],
        });
        change(&mut definition);
        Task {
            arn: "arn:aws:ecs:us-east-1:1:task/c/0123456789abcdef0123456789abcdef".into(),
            wanted,
            running,
            definition,
        }
    }

    fn container(name: &str, state: &str) -> Container {
        let text = |text: &str| text.to_owned();
        let (id, docker_name, task, image) = (text("1"), text("n"), text("t"), text("i"));
        Container { id, docker_name, task, name: text(name), image, state: text(state), exit_code: None }
    }

    #[test]
    fn a_container_is_created_from_its_registered_revision_alone() {
        let creations = task(true, false, |_| {}).creations("production").unwrap();
        let (name, arguments) = &creations[0];
        assert_eq!(name, "web");
        let expected = [
            "create",
            "--name ecs-production-web-7-web-0123456789abcdef0123",
            "--pull never --network host",
            "--label convox.app=example",
            "--label com.amazonaws.ecs.cluster=production",
            "--label com.amazonaws.ecs.container-name=web",
            "--label com.amazonaws.ecs.task-arn=arn:aws:ecs:us-east-1:1:task/c/0123456789abcdef0123456789abcdef",
            "--label com.amazonaws.ecs.task-definition-family=production-web",
            "--label com.amazonaws.ecs.task-definition-version=7",
            "--env A=b c",
            "--volume /volumes/production-example/web/var/www/html:/var/www/html",
            "--volume /volumes/production-example/web/var/www/html:/again:ro",
            "--user 33:33 --entrypoint /entry web:1 first serve",
        ];
        assert_eq!(arguments.join(" "), expected.join(" "));
    }

    #[test]
    fn what_is_not_imitated_is_not_run() {
        for (part, change) in [
            ("dependsOn", json!([{ "containerName": "seed", "condition": "SUCCESS" }])),
            ("healthCheck", json!({ "command": ["CMD", "true"] })),
        ] {
            let task = task(true, false, |d| d["containerDefinitions"][0][part] = change);
            let error = task.creations("c").unwrap_err().to_string();
            assert!(error.contains(part) && error.contains("stand-in"), "{error}");
        }
        let task = task(true, false, |d| d["volumes"] = json!([{ "name": "v" }]));
        assert!(task.creations("c").unwrap_err().to_string().contains("without a `host.sourcePath`"));
    }

    #[test]
    fn what_is_done_follows_from_what_is_wanted_and_what_is_there() {
        let running = [container("web", "running")];
        let exited = [container("web", "exited")];
        let end = |code, reason: &str| Action::End { code: Some(code), reason: Some(reason.to_owned()) };
        let cases = [
            (true, false, &[][..], Action::Start, "a new task"),
            (true, false, &running, Action::ReportRunning, "an agent that died before it could report"),
            (true, true, &running, Action::Leave, "all is well; so after a restart of the agent"),
            (
                true,
                true,
                &exited,
                end("EssentialContainerExited", "Essential container in task exited"),
                "it exited, or the instance was rebooted",
            ),
            (
                true,
                true,
                &[],
                end("EssentialContainerExited", "The task no longer exists"),
                "someone removed it",
            ),
            (
                true,
                false,
                &[container("web", "created")],
                end("TaskFailedToStart", "Container web was left unstarted"),
                "an agent that died half-way",
            ),
            (false, true, &running, Action::End { code: None, reason: None }, "to be stopped"),
            (false, false, &[], Action::End { code: None, reason: None }, "to be stopped before it began"),
        ];
        for (wanted, was_running, containers, expected, why) in cases {
            assert_eq!(next(&task(wanted, was_running, |_| {}), containers), expected, "{why}");
        }
    }
}
