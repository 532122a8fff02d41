//! The agent's work: look at what ECS wants and what Docker has, and act on the difference.

use super::{
    docker::{self, DockerError},
    introspection::Introspection,
    registration::{AgentError, Http},
    task::{Container, Task},
    transitions::{Action, Move, Report, Seen, next},
};
use serde_json::json;
use std::{
    collections::{BTreeMap, HashMap},
    io::Write,
    thread::{self, JoinHandle},
    time::{Duration, SystemTime},
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

    /// What ECS wants of this instance.
    fn tasks(&self) -> Result<Vec<Task>, String> {
        let answer = self.http.get(&self.path("")).map_err(|error| told(&error))?;
        let entries = answer["tasks"].as_array().cloned().unwrap_or_default();
        entries.iter().map(Task::from_answer).collect::<Result<_, _>>().map_err(|error| told(&error))
    }

    fn round(&self, workers: &mut HashMap<String, JoinHandle<()>>) -> Result<(), String> {
        let tasks = self.tasks()?;
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
            let mine = of(&task, &containers);
            let seen = Seen { containers: &mine, failed: &BTreeMap::new(), now: SystemTime::now() };
            // One that begins may wait for a time that only its worker asks for.
            if task.wanted && task.running && next(&task, &seen) == Action::Leave {
                continue;
            }
            let (rounds, arn) = (self.clone(), task.arn.clone());
            let work = move || rounds.drive(task, mine).unwrap_or_else(|error| say(&error));
            workers.insert(arn, thread::spawn(work));
        }
        Ok(())
    }

    /// Takes a task as far as it can go until ECS is to be told something; a later round goes on from there.
    fn drive(&self, mut task: Task, mut containers: Vec<Container>) -> Result<(), String> {
        let mut failed = BTreeMap::new();
        loop {
            count(&task, &mut containers).map_err(|error| told(&error))?;
            let seen = Seen { containers: &containers, failed: &failed, now: SystemTime::now() };
            match next(&task, &seen) {
                Action::Leave => return Ok(()),
                Action::Report(report) => return self.report(&task, &report),
                Action::Move(moves) => failed.extend(self.make(&task, &moves)),
                Action::End(report) => {
                    // Told first: exit codes are in Docker alone until then.
                    self.report(&task, &report)?;
                    containers.iter().for_each(remove);
                    return Ok(());
                }
            }
            let all = self.tasks()?; // it may be wanted no more
            let Some(again) = all.into_iter().find(|other| other.arn == task.arn) else { return Ok(()) };
            task = again;
            containers = of(&task, &docker::containers().map_err(|error| told(&error))?);
        }
    }

    /// Makes all moves at once. Gives why some could not be made, by the container's name.
    fn make(&self, task: &Task, moves: &[Move]) -> Vec<(String, String)> {
        thread::scope(|scope| {
            let under_way: Vec<_> =
                moves.iter().map(|one| scope.spawn(move || self.make_one(task, one))).collect();
            under_way.into_iter().filter_map(|one| one.join().ok().flatten()).collect()
        })
    }

    fn make_one(&self, task: &Task, one: &Move) -> Option<(String, String)> {
        let (name, outcome) = match one {
            Move::Create(name) => (name, self.create(task, name)),
            Move::Start { name, id } => {
                let started = docker::run(&["start", id]).map(drop);
                (name, started.map_err(|error| format!("CannotStartContainerError: {error}")))
            }
            Move::Stop { name, id } => {
                let seconds = task.stop_timeout_seconds(name).to_string();
                let stopped = docker::run(&["stop", "--time", &seconds, id]).map(drop);
                (name, stopped.map_err(|error| format!("CannotStopContainerError: {error}")))
            }
        };
        outcome.err().map(|reason| (name.clone(), reason))
    }

    fn create(&self, task: &Task, container: &str) -> Result<(), String> {
        let arguments = task
            .creation(&self.cluster, container)
            .map_err(|error| format!("CannotCreateContainerError: {error}"))?;
        let created = docker::run(&arguments).map(drop);
        created.map_err(|error| match &error {
            DockerError::Refused(said) if said.contains("No such image") => {
                format!("CannotPullContainerError: {error} (the lab has no registry)")
            }
            _ => format!("CannotCreateContainerError: {error}"),
        })
    }

    /// Tells ECS, again and again while it is out of reach: a reason would be lost otherwise.
    fn report(&self, task: &Task, report: &Report) -> Result<(), String> {
        let mut body = json!({ "status": report.status, "containers": report.containers });
        if let Some(reason) = &report.reason {
            body["reason"] = reason.as_str().into();
        }
        say(&format!("task {}: {body}", task.id()));
        let url = self.path(&format!("/{}/state", task.id()));
        loop {
            match self.http.post(&url, None, &body) {
                Ok(_) => return Ok(()),
                Err(error @ AgentError::Unreachable { .. }) => say(&told(&error)),
                Err(error) => return Err(told(&error)),
            }
            thread::sleep(PAUSE);
        }
    }
}

fn of(task: &Task, containers: &[Container]) -> Vec<Container> {
    containers.iter().filter(|container| container.task == task.arn).cloned().collect()
}

/// Finds out since when those run whose `startTimeout` is counted.
fn count(task: &Task, containers: &mut [Container]) -> Result<(), DockerError> {
    for container in containers.iter_mut().filter(|c| c.state == "running" && task.is_timed(&c.name)) {
        container.started_at = docker::started_at(&container.id)?;
    }
    Ok(())
}

/// With its anonymous volumes. What can't be removed now is tried again when ECS has done with the task.
fn remove(container: &Container) {
    if let Err(error) = docker::run(&["rm", "--force", "--volumes", &container.id]) {
        say(&format!("could not remove {}: {}", container.docker_name, told(&error)));
    }
}
