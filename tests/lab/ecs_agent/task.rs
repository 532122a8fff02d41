//! A task as ECS tells it, and how its containers are created; pure.

use super::{
    dependencies::{Condition, Health, Known, Member},
    task_metadata,
};
use serde_json::Value;
use std::time::{Duration, SystemTime};

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
const NOT_IMITATED: [&str; 5] = ["environmentFiles", "links", "restartPolicy", "secrets", "volumesFrom"];

/// What of `linuxParameters` becomes an option of Docker's; the rest would be missed.
const LINUX_PARAMETERS: [&str; 3] = ["capabilities", "initProcessEnabled", "tmpfs"];

/// What a health check has for what the revision leaves out (service model, `HealthCheck`), and Docker's option for it.
const HEALTH: [(&str, u64, &str, &str); 4] = [
    ("interval", 30, "--health-interval", "s"),
    ("timeout", 5, "--health-timeout", "s"),
    ("retries", 3, "--health-retries", ""),
    ("startPeriod", 0, "--health-start-period", "s"),
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
    /// What ECS was told of its containers, as DescribeTasks has them.
    pub told: Vec<Value>,
    /// The registered revision, raw.
    pub definition: Value,
}

/// A container of a task, as Docker shows it.
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
    /// What its health check says.
    pub health: Health,
    /// When it was started; asked for only where a `startTimeout` is counted.
    pub started_at: Option<SystemTime>,
}

impl Container {
    /// How far it has come (`agent/dockerclient/dockerapi/docker_client.go:764`).
    pub fn known(&self) -> Known {
        match self.state.as_str() {
            "created" => Known::Created,
            "running" | "paused" | "restarting" => Known::Running,
            _ => Known::Stopped,
        }
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
            told: list(answer, "containers").cloned().collect(),
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

    /// The name of its revision's task role.
    pub fn role(&self) -> Option<&str> {
        text(&self.definition, "taskRoleArn")?.rsplit('/').next()
    }

    /// The number of its revision.
    pub fn revision(&self) -> u64 {
        self.definition["revision"].as_u64().unwrap_or_default()
    }

    fn containers(&self) -> impl Iterator<Item = &Value> {
        list(&self.definition, "containerDefinitions")
    }

    /// How long `docker stop` gives the container.
    pub fn stop_timeout_seconds(&self, container: &str) -> u64 {
        let found = self.containers().find(|c| text(c, "name") == Some(container));
        found.and_then(|c| c["stopTimeout"].as_u64()).unwrap_or(STOP_TIMEOUT_SECONDS)
    }

    /// Whether the start of this container is counted from: others wait for it, and not for ever.
    pub fn is_timed(&self, container: &str) -> bool {
        let found = self.containers().find(|c| text(c, "name") == Some(container));
        !self.running && found.is_some_and(|c| c["startTimeout"].is_u64())
    }

    /// Its containers in order, none of which has come anywhere yet.
    ///
    /// # Errors
    /// What no revision can lack, and a condition that there isn't.
    pub fn members(&self) -> Result<Vec<Member>, TaskError> {
        let members: Vec<_> = self.containers().map(member).collect::<Result<_, _>>()?;
        if members.is_empty() { Err(TaskError::Malformed("taskDefinition")) } else { Ok(members) }
    }

    /// Whether all of it can be run here.
    ///
    /// # Errors
    /// As [`Task::creation`].
    pub fn check(&self) -> Result<(), TaskError> {
        self.containers().try_for_each(|container| self.arguments("", container).map(drop))
    }

    /// The arguments of `docker create` for one of its containers.
    ///
    /// # Errors
    /// What the stand-in doesn't imitate, and what no revision can lack.
    pub fn creation(&self, cluster: &str, container: &str) -> Result<Vec<String>, TaskError> {
        let found = self.containers().find(|c| text(c, "name") == Some(container));
        self.arguments(cluster, found.ok_or(TaskError::Malformed("name"))?)
    }

    fn arguments(&self, cluster: &str, container: &Value) -> Result<Vec<String>, TaskError> {
        let name = text(container, "name").ok_or(TaskError::Malformed("name"))?;
        let image = text(container, "image").ok_or(TaskError::Malformed("image"))?;
        if let Some(key) = NOT_IMITATED.iter().find(|key| asks(&container[**key])) {
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
        add("--env", &format!("ECS_CONTAINER_METADATA_URI_V4={}", task_metadata::address(self, name)));
        if self.role().is_some() {
            let address = task_metadata::credentials(self);
            add("--env", &format!("AWS_CONTAINER_CREDENTIALS_FULL_URI={address}"));
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
        let options = [
            linux_parameters(name, &container["linuxParameters"])?,
            health_check(name, &container["healthCheck"])?,
        ];
        for (flag, value) in options.into_iter().flatten() {
            add(flag, &value);
        }
        let entry_point = texts(container, "entryPoint");
        if let Some(program) = entry_point.first() {
            add("--entrypoint", program);
        }
        for (flag, asked) in [
            ("--init", &container["linuxParameters"]["initProcessEnabled"]),
            ("--privileged", &container["privileged"]),
            ("--read-only", &container["readonlyRootFilesystem"]),
        ] {
            if asked.as_bool() == Some(true) {
                arguments.push(flag.to_owned());
            }
        }
        arguments.push(image.to_owned());
        arguments.extend(entry_point.into_iter().skip(1));
        arguments.extend(texts(container, "command"));
        Ok(arguments)
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

/// A container of a revision, as its dependencies see it.
fn member(container: &Value) -> Result<Member, TaskError> {
    let mut depends_on = Vec::new();
    for dependency in list(container, "dependsOn") {
        let on = text(dependency, "containerName").ok_or(TaskError::Malformed("containerName"))?;
        let condition = text(dependency, "condition").and_then(Condition::named);
        depends_on.push((on.to_owned(), condition.ok_or(TaskError::Malformed("condition"))?));
    }
    Ok(Member {
        name: text(container, "name").ok_or(TaskError::Malformed("name"))?.to_owned(),
        image: text(container, "image").ok_or(TaskError::Malformed("image"))?.to_owned(),
        essential: container["essential"].as_bool().unwrap_or(true),
        depends_on,
        start_timeout: container["startTimeout"].as_u64().map(Duration::from_secs),
        known: Known::None,
        given_up: false,
        id: None,
        started_at: None,
        exit_code: None,
        health: Health::Unknown,
        reason: None,
    })
}

/// Docker's options for what a container asks of the kernel (service model, `LinuxParameters`).
fn linux_parameters(container: &str, asked: &Value) -> Result<Vec<(&'static str, String)>, TaskError> {
    let known = |key: &String| LINUX_PARAMETERS.contains(&key.as_str());
    let mut members = asked.as_object().into_iter().flatten();
    if let Some((key, _)) = members.find(|(key, value)| !known(key) && asks(value)) {
        return Err(TaskError::NotImitated(format!("`linuxParameters.{key}` (container `{container}`)")));
    }
    let mut options = Vec::new();
    for (flag, key) in [("--cap-drop", "drop"), ("--cap-add", "add")] {
        options.extend(texts(&asked["capabilities"], key).into_iter().map(|capability| (flag, capability)));
    }
    for tmpfs in list(asked, "tmpfs") {
        let path = text(tmpfs, "containerPath").ok_or(TaskError::Malformed("tmpfs"))?;
        // In MiB.
        let size = tmpfs["size"].as_u64().ok_or(TaskError::Malformed("tmpfs"))?;
        let words = [format!("size={size}m")].into_iter().chain(texts(tmpfs, "mountOptions"));
        options.push(("--tmpfs", format!("{path}:{}", words.collect::<Vec<_>>().join(","))));
    }
    Ok(options)
}

/// Whether a member of a revision says anything.
fn asks(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Array(items) => !items.is_empty(),
        _ => true,
    }
}

/// Docker's options for a health check. Its CLI runs one in a shell only.
fn health_check(container: &str, check: &Value) -> Result<Vec<(&'static str, String)>, TaskError> {
    if check.is_null() {
        return Ok(vec![]);
    }
    let command = texts(check, "command");
    let [kind, command] = command.as_slice() else {
        return Err(TaskError::NotImitated(format!(
            "`healthCheck` without a shell (container `{container}`)"
        )));
    };
    if kind != "CMD-SHELL" {
        return Err(TaskError::NotImitated(format!("`healthCheck` with {kind} (container `{container}`)")));
    }
    let mut options = vec![("--health-cmd", command.clone())];
    for (key, default, flag, unit) in HEALTH {
        options.push((flag, format!("{}{unit}", check[key].as_u64().unwrap_or(default))));
    }
    Ok(options)
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

    fn task(change: impl FnOnce(&mut Value)) -> Task {
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
            wanted: true,
            running: false,
            told: vec![],
            definition,
        }
    }

    #[test]
    fn a_container_is_created_from_its_registered_revision_alone() {
        let arguments = task(|_| {}).creation("production", "web").unwrap();
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
            "--env ECS_CONTAINER_METADATA_URI_V4=http://127.0.0.1:51679/v4/0123456789abcdef0123456789abcdef-web",
            "--env A=b c",
            "--volume /volumes/production-example/web/var/www/html:/var/www/html",
            "--volume /volumes/production-example/web/var/www/html:/again:ro",
            "--user 33:33 --entrypoint /entry web:1 first serve",
        ];
        assert_eq!(arguments.join(" "), expected.join(" "));
    }

    #[test]
    fn a_task_role_is_told_by_its_address() {
        let task = task(|d| d["taskRoleArn"] = "arn:aws:iam::1:role/patcher".into());
        let arguments = task.creation("c", "web").unwrap().join(" ");
        let expected = "AWS_CONTAINER_CREDENTIALS_FULL_URI=http://127.0.0.1:51679/v2/credentials/0123456789abcdef0123456789abcdef";
        assert!(arguments.contains(expected), "{arguments}");
    }

    #[test]
    fn what_is_not_imitated_is_not_run() {
        for (part, change) in [
            ("links", json!(["db"])),
            ("linuxParameters", json!({ "sharedMemorySize": 64 })),
            ("linuxParameters", json!({ "capabilities": {}, "devices": [{ "hostPath": "/dev/fuse" }] })),
            ("secrets", json!([{ "name": "A", "valueFrom": "b" }])),
            ("healthCheck", json!({ "command": ["CMD", "true"] })),
            ("healthCheck", json!({ "command": ["true"] })),
        ] {
            let error =
                task(|d| d["containerDefinitions"][0][part] = change).check().unwrap_err().to_string();
            assert!(error.contains(part) && error.contains("stand-in"), "{error}");
        }
        let error = task(|d| d["volumes"] = json!([{ "name": "v" }])).check().unwrap_err().to_string();
        assert!(error.contains("without a `host.sourcePath`"), "{error}");
    }

    #[test]
    fn what_is_asked_of_the_kernel_is_an_option_of_docker() {
        let asked = json!({
            "capabilities": { "drop": ["ALL"], "add": ["CHOWN", "FOWNER"] },
            "devices": [],
            "initProcessEnabled": true,
            "tmpfs": [{ "containerPath": "/run", "size": 16, "mountOptions": ["mode=755", "ro"] }],
        });
        let task = task(|d| d["containerDefinitions"][0]["linuxParameters"] = asked);
        let arguments = task.creation("c", "web").unwrap();
        for (flag, value) in [
            ("--cap-drop", "ALL"),
            ("--cap-add", "CHOWN"),
            ("--cap-add", "FOWNER"),
            ("--tmpfs", "/run:size=16m,mode=755,ro"),
        ] {
            let is_there = arguments.windows(2).any(|pair| pair == [flag, value]);
            assert!(is_there, "{flag} {value}: {arguments:?}");
        }
        assert!(arguments.contains(&"--init".to_owned()), "{arguments:?}");
    }

    #[test]
    fn where_logs_go_is_nothing_to_the_stand_in() {
        let logs = json!({ "logDriver": "awslogs", "options": { "awslogs-group": "web" } });
        let task = task(|d| d["containerDefinitions"][0]["logConfiguration"] = logs);
        assert_eq!(task.check(), Ok(()));
        assert!(!task.creation("c", "web").unwrap().join(" ").contains("log"));
    }

    #[test]
    fn a_health_check_is_dockers_own() {
        let check = json!({ "command": ["CMD-SHELL", "test -e /ready || exit 1"], "interval": 5 });
        let task = task(|d| d["containerDefinitions"][0]["healthCheck"] = check);
        let arguments = task.creation("c", "web").unwrap().join(" ");
        let expected = "--health-cmd test -e /ready || exit 1 --health-interval 5s --health-timeout 5s --health-retries 3 \
                        --health-start-period 0s";
        assert!(arguments.contains(expected), "{arguments}");
    }
}
