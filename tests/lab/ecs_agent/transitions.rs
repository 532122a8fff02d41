//! Which containers of a task are created, started and stopped next, and what ECS is told; pure.
//!
//! Decided anew each time from what ECS knows and what Docker has, so that a stand-in which is started again goes on where it was.
//! Docker doesn't know what failed: it is tried again until ECS was told of it.
//!
//! Read in aws/amazon-ecs-agent 1.105.1 (8dfceca):
//! - Containers go on side by side, each as far as its dependencies let it (`agent/engine/task_manager.go:1166`, and
//!   [`super::dependencies`]).
//! - One that waits for what can't come any more is STOPPED with exit code 143 and the reason `CannotStartContainerError:
//!   dependency graph: ...`, never created (`task_manager.go:1220`). The task ends only if it was essential.
//! - A container that fails to be created or started is STOPPED, with a reason and no exit code (`task_manager.go:960-1006`).
//! - A task is RUNNING once each container runs or has ended (`agent/api/task/task.go:1777-1859`,
//!   `ecs-agent/api/task/status/statusmapping.go:26`): until then, be it for a seeding container, it is PENDING.
//! - It is to stop once an essential container has ended or never will begin (`task.go:2828`). What was not started is then
//!   STOPPED as it is, what runs is stopped after what depends on it (`task_manager.go:1430`, `graph.go:506`).
//! - It is STOPPED when all containers are, and no stop code is told: that is ECS's own (`agent/api/statechange.go:86`).
//! - A container that can't be stopped counts as stopped (`task_manager.go:1032-1047`).
//! - One that Docker has lost is STOPPED with `ContainerVanishedError` (`agent/engine/docker_task_engine.go:825`).

use super::{
    dependencies::{Gate, Known, Member, gate, may_stop},
    task::{Container, Task, TaskError},
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::SystemTime};

/// What the real agent says a container ended with that never began; Docker says so of one that SIGTERM ended.
const NEVER_BEGAN: i64 = 143;

/// What is seen on the instance at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// The task's containers in Docker.
    pub containers: &'a [Container],
    /// What could not be done to some of them, by name, and ECS wasn't told yet.
    pub failed: &'a BTreeMap<String, String>,
    /// When.
    pub now: SystemTime,
}

/// Something to do to a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Move {
    /// Create it, by its name in the revision.
    Create(String),
    /// Start it.
    Start {
        /// Its name in the revision.
        name: String,
        /// Docker's id.
        id: String,
    },
    /// Stop it.
    Stop {
        /// Its name in the revision.
        name: String,
        /// Docker's id.
        id: String,
    },
}

/// What ECS is told: a task's status, and all of its containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// `PENDING`, `RUNNING` or `STOPPED`.
    pub status: &'static str,
    /// Why it could not be run at all; else the containers tell.
    pub reason: Option<String>,
    /// As DescribeTasks has them.
    pub containers: Vec<Value>,
}

/// The next thing to do with a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// It is as it should be, or waits.
    Leave,
    /// Do these, side by side.
    Move(Vec<Move>),
    /// Tell ECS.
    Report(Report),
    /// Tell ECS that it is STOPPED, then remove what is left of it.
    End(Report),
}

/// Decides what comes next.
pub fn next(task: &Task, seen: &Seen) -> Action {
    let mut members = match members(task, seen) {
        Ok(members) => members,
        Err(error) => return refused(&error),
    };
    if task.wanted
        && seen.containers.is_empty()
        && let Err(error) = task.check()
    {
        return refused(&error);
    }
    let essential = || members.iter().filter(|member| member.essential);
    let have_all_begun = members.iter().all(|member| member.has_ended() || member.known == Known::Running);
    // Told even of a task that has ended since: one that ran and died is another thing to ECS than one that failed to start.
    if task.wanted && !task.running && have_all_begun && essential().all(Member::has_run) {
        return Action::Report(report("RUNNING", &members));
    }
    if !task.wanted || essential().any(Member::has_ended) {
        return wind_down(&members);
    }
    let mut moves = Vec::new();
    let mut hopeless = false;
    for at in 0..members.len() {
        let member = &members[at];
        if member.has_ended() || member.known == Known::Running {
            continue;
        }
        match (gate(member, &members, seen.now), member.id.clone()) {
            (Gate::Open, Some(id)) => moves.push(Move::Start { name: member.name.clone(), id }),
            (Gate::Open, None) => moves.push(Move::Create(member.name.clone())),
            (Gate::Waiting, _) => {}
            (Gate::Never(why), _) => {
                let member = &mut members[at]; // those after it see it so
                member.given_up = true;
                member.exit_code = Some(NEVER_BEGAN);
                member.reason = Some(format!("CannotStartContainerError: {why}"));
                hopeless = true;
            }
        }
    }
    if !hopeless && !moves.is_empty() {
        return Action::Move(moves);
    }
    let report = report(if task.running { "RUNNING" } else { "PENDING" }, &members);
    if report.containers == task.told { Action::Leave } else { Action::Report(report) }
}

/// Stops what runs, what others depend on last; when nothing runs any more, the task has ended.
fn wind_down(members: &[Member]) -> Action {
    let running = members.iter().filter(|member| member.known == Known::Running && may_stop(member, members));
    let stops: Vec<Move> = running
        .filter_map(|member| Some(Move::Stop { name: member.name.clone(), id: member.id.clone()? }))
        .collect();
    if stops.is_empty() { Action::End(report("STOPPED", members)) } else { Action::Move(stops) }
}

/// Nothing is run rather than something else than was asked for.
fn refused(error: &TaskError) -> Action {
    let reason = Some(format!("CannotCreateContainerError: {error}"));
    Action::End(Report { status: "STOPPED", reason, containers: vec![] })
}

fn report(status: &'static str, members: &[Member]) -> Report {
    let ended = status == "STOPPED";
    let containers = members.iter().map(|member| answer(member, ended)).collect();
    Report { status, reason: None, containers }
}

/// As DescribeTasks tells a container.
fn answer(member: &Member, ended: bool) -> Value {
    let status = match member.known {
        _ if ended || member.has_ended() => "STOPPED",
        Known::Running => "RUNNING",
        Known::None | Known::Created | Known::Stopped => "PENDING",
    };
    let mut answer = json!({ "name": member.name, "image": member.image, "lastStatus": status });
    for (key, value) in [
        ("runtimeId", member.id.clone().map(Value::from)),
        ("exitCode", member.exit_code.map(Value::from)),
        ("reason", member.reason.clone().map(Value::from)),
        ("healthStatus", member.health.name().map(Value::from)),
    ] {
        if let Some(value) = value {
            answer[key] = value;
        }
    }
    answer
}

/// The task's containers, in the revision's order, as far as they have come.
fn members(task: &Task, seen: &Seen) -> Result<Vec<Member>, TaskError> {
    let mut members = task.members()?;
    for member in &mut members {
        let told = task.told.iter().find(|told| told["name"] == member.name.as_str());
        let in_docker = seen.containers.iter().find(|container| container.name == member.name);
        if let Some(container) = in_docker {
            member.known = container.known();
            member.exit_code = container.exit_code;
            member.health = container.health;
            member.started_at = container.started_at;
        }
        let told_id = || told.and_then(|told| told["runtimeId"].as_str()).map(str::to_owned);
        member.id = in_docker.map(|container| container.id.clone()).or_else(told_id);
        let told_status = told.and_then(|told| told["lastStatus"].as_str());
        let ended = told.filter(|_| told_status == Some("STOPPED"));
        if let Some(reason) = seen.failed.get(&member.name) {
            end(member, None, Some(reason));
        } else if let Some(told) = ended {
            end(member, told["exitCode"].as_i64(), told["reason"].as_str()); // for good: it never comes back
        } else if in_docker.is_none() && (task.running || told_status == Some("RUNNING")) {
            member.known = Known::Stopped;
            member.reason = Some("ContainerVanishedError: No container matching saved ID found".to_owned());
        }
    }
    Ok(members)
}

/// Without an exit code, what Docker has not started was given up, and those that wait for it are told so.
fn end(member: &mut Member, exit_code: Option<i64>, reason: Option<&str>) {
    member.exit_code = exit_code;
    member.reason = reason.map(str::to_owned);
    let has_begun = member.known >= Known::Running || (member.known == Known::None && member.id.is_some());
    if exit_code.is_none() && !has_begun {
        member.given_up = true;
    } else {
        member.known = Known::Stopped;
    }
}

#[cfg(test)]
#[path = "transitions_tests.rs"]
mod tests;
