//! The agent's work: look at what ECS wants and what Docker has, and act on the difference.

use super::{
    docker::{self, DockerError},
    introspection::Introspection,
    registration::{AgentError, Http},
    task::{Action, Container, Task, next},
};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    io::Write,
    thread::{self, JoinHandle},
    time::Duration,
};

const PAUSE: Duration = Duration::from_secs(1);

/// A line of the log; without a standard error there is nobody to tell.
pub fn say(line: &str) {
    drop(writeln!(std::io::stderr(), "{line}"));
}

/// An error with its causes, in one line.
pub fn told(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// One agent at work for one container instance.
#[derive(Debug, Clone)]
pub struct Rounds {
    /// How ECS is asked.
    pub http: Http,
    /// Base URL of the lab's ECS.
    pub backend: String,
    /// The cluster, as containers are labelled.
    pub cluster: String,
    /// ARN of the container instance.
    pub instance: String,
    /// What is told about it.
    pub introspection: Introspection,
}

impl Rounds {
    /// Goes on for ever. What takes its time (Docker on a share that hangs) has a thread for each task, so that others go on.
    pub fn run(&self) -> ! {
        let mut workers: HashMap<String, JoinHandle<()>> = HashMap::new();
        let mut trouble = String::new();
        loop {
            workers.retain(|_, worker| !worker.is_finished());
            // What was busy when the round began is left alone in it: what was seen of it may be half of the truth.
            match self.round(&mut workers) {
                Ok(()) => trouble.clear(),
                Err(error) if error == trouble => {}
                Err(error) => {
                    say(&error);
                    trouble = error;
                }
            }
            thread::sleep(PAUSE);
        }
    }

    fn path(&self, rest: &str) -> String {
        let id = self.instance.rsplit('/').next().unwrap_or(&self.instance);
        format!("{}/lab/agent/{id}/tasks{rest}", self.backend)
    }

    fn round(&self, workers: &mut HashMap<String, JoinHandle<()>>) -> Result<(), String> {
        let answer = self.http.get(&self.path("")).map_err(|error| told(&error))?;
        let entries = answer["tasks"].as_array().cloned().unwrap_or_default();
        let tasks: Vec<Task> =
            entries.iter().map(Task::from_answer).collect::<Result<_, _>>().map_err(|error| told(&error))?;
        let containers = docker::containers().map_err(|error| told(&error))?;
        self.introspection.tell(&tasks, &containers);
        for left in &containers {
            if !workers.contains_key(&left.task) && !tasks.iter().any(|task| task.arn == left.task) {
                remove(left); // of a task that ECS has done with
            }
        }
        for task in tasks {
            if workers.contains_key(&task.arn) {
                continue;
            }
            let mine: Vec<Container> = containers.iter().filter(|c| c.task == task.arn).cloned().collect();
            let action = next(&task, &mine);
            if action == Action::Leave {
                continue;
            }
            let (rounds, arn) = (self.clone(), task.arn.clone());
            workers.insert(arn, thread::spawn(move || rounds.act(&task, action, &mine)));
        }
        Ok(())
    }

    fn act(&self, task: &Task, action: Action, containers: &[Container]) {
        match action {
            Action::Leave => {}
            Action::ReportRunning => self.report_running(task),
            Action::Start => match self.start(task) {
                Ok(()) => self.report_running(task),
                Err(reason) => {
                    for left in docker::containers().unwrap_or_default() {
                        if left.task == task.arn {
                            end(task, &left);
                        }
                    }
                    self.report(
                        task,
                        json!({ "status": "STOPPED", "stopCode": "TaskFailedToStart", "reason": reason }),
                    );
                }
            },
            Action::End { code, reason } => {
                for container in containers {
                    if container.state == "running"
                        && let Err(error) = stop(task, container)
                    {
                        say(&format!(
                            "task {}: could not stop {}: {}",
                            task.id(),
                            container.name,
                            told(&error)
                        ));
                    }
                }
                let after = docker::containers().unwrap_or_default();
                let mine: Vec<&Container> = after.iter().filter(|c| c.task == task.arn).collect();
                let ended: Vec<Value> = mine.iter().map(|c| answer(c)).collect();
                for container in mine {
                    remove(container);
                }
                self.report(
                    task,
                    json!({ "status": "STOPPED", "stopCode": code, "reason": reason, "containers": ended }),
                );
            }
        }
    }

    /// Creates all containers, then starts all; the error is the task's `stoppedReason`.
    fn start(&self, task: &Task) -> Result<(), String> {
        let creations =
            task.creations(&self.cluster).map_err(|error| format!("CannotCreateContainerError: {error}"))?;
        let mut ids = Vec::new();
        for (_, arguments) in &creations {
            let created = docker::run(arguments).map_err(|error| match &error {
                DockerError::Refused(said) if said.contains("No such image") => {
                    format!("CannotPullContainerError: {error} (the lab has no registry)")
                }
                _ => format!("CannotCreateContainerError: {error}"),
            })?;
            ids.push(created);
        }
        for id in &ids {
            docker::run(&["start", id]).map_err(|error| format!("CannotStartContainerError: {error}"))?;
        }
        Ok(())
    }

    fn report_running(&self, task: &Task) {
        let containers = docker::containers().unwrap_or_default();
        let mine: Vec<Value> = containers.iter().filter(|c| c.task == task.arn).map(answer).collect();
        self.report(task, json!({ "status": "RUNNING", "containers": mine }));
    }

    /// Tells ECS, again and again while it is out of reach: a reason would be lost otherwise.
    fn report(&self, task: &Task, report: Value) {
        say(&format!("task {}: {report}", task.id()));
        let url = self.path(&format!("/{}/state", task.id()));
        loop {
            match self.http.post(&url, None, &report) {
                Ok(_) => return,
                Err(error @ AgentError::Unreachable { .. }) => say(&told(&error)),
                Err(error) => return say(&told(&error)),
            }
            thread::sleep(PAUSE);
        }
    }
}

/// As DescribeTasks tells a container.
fn answer(container: &Container) -> Value {
    let status = if container.state == "running" { "RUNNING" } else { "STOPPED" };
    let mut answer = json!({
        "name": container.name, "runtimeId": container.id, "image": container.image, "lastStatus": status,
    });
    if let Some(code) = container.exit_code {
        answer["exitCode"] = code.into();
    }
    answer
}

fn stop(task: &Task, container: &Container) -> Result<(), DockerError> {
    let seconds = task.stop_timeout_seconds(&container.name).to_string();
    docker::run(&["stop", "--time", &seconds, &container.id]).map(drop)
}

fn end(task: &Task, container: &Container) {
    if container.state == "running"
        && let Err(error) = stop(task, container)
    {
        say(&format!("task {}: could not stop {}: {}", task.id(), container.name, told(&error)));
    }
    remove(container);
}

/// With its anonymous volumes. What can't be removed now is tried again when ECS has done with the task.
fn remove(container: &Container) {
    if let Err(error) = docker::run(&["rm", "--force", "--volumes", &container.id]) {
        say(&format!("could not remove {}: {}", container.docker_name, told(&error)));
    }
}
