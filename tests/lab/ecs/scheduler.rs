//! What ECS's service scheduler does next: which tasks it places where, and which it stops.
//!
//! The rules are those of rolling updates (developer guide, "minimumHealthyPercent and maximumPercent"): never fewer tasks running
//! than the minimum because of a deployment, never more wanted than the maximum. A task that stops is replaced by one of the
//! PRIMARY deployment.

use super::{
    definitions::Definition,
    instances::ContainerInstance,
    placement::Expression,
    services::{Service, ServiceStatus},
    state::State,
    tasks::{Placed, Status},
};
use serde_json::Value;
use std::time::Duration;

/// The longest pause before a deployment whose tasks fail to start is tried again. ECS itself goes up to some minutes.
const MAX_PAUSE: Duration = Duration::from_secs(16);

/// Why no instance takes a task, the nearest miss last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Miss {
    NoInstance,
    AgentDisconnected,
    Capability,
    MemberOf,
    DistinctInstance,
    Port,
}

impl Miss {
    fn told(self, instance: &str) -> String {
        let what = match self {
            Self::NoInstance => {
                return "Reason: No Container Instances were found in your cluster.".to_owned();
            }
            Self::AgentDisconnected => "has its agent disconnected.",
            Self::Capability => "is missing an attribute required by your task.",
            Self::MemberOf => "encountered error \"MemberOf placement constraint unsatisfied.\"",
            Self::DistinctInstance => {
                "encountered error \"DistinctInstance placement constraint unsatisfied.\""
            }
            Self::Port => "is already using a port required by your task.",
        };
        format!("The closest matching (container-instance {instance}) {what}")
    }
}

/// What the next look at a service finds.
struct Wanted {
    /// Tasks of the PRIMARY deployment to place.
    start: usize,
    /// Positions of tasks to stop.
    stop: Vec<usize>,
    completed: bool,
}

impl State {
    /// One round of the scheduler over all services. Without news, it changes nothing.
    pub fn step(&mut self, now: Duration) {
        for at in 0..self.services.len() {
            match self.services[at].status {
                ServiceStatus::Active => self.step_active(at, now),
                ServiceStatus::Draining => self.step_draining(at),
                ServiceStatus::Inactive => {}
            }
        }
    }

    fn tasks_of(&self, service: &Service) -> impl Iterator<Item = usize> {
        let (cluster, name) = (service.cluster.clone(), service.name.clone());
        self.tasks
            .iter()
            .enumerate()
            .filter(move |(_, t)| t.last != Status::Stopped && t.cluster == cluster && t.service == name)
            .map(|(at, _)| at)
    }

    fn step_draining(&mut self, at: usize) {
        let left: Vec<usize> = self.tasks_of(&self.services[at]).collect();
        for &task in &left {
            let deployment = self.tasks[task].deployment.clone();
            self.tasks[task].want_stopped("ServiceSchedulerInitiated", &stop_reason(&deployment));
        }
        if left.is_empty() {
            self.services[at].status = ServiceStatus::Inactive;
            self.services[at].deployments.clear();
        }
    }

    fn step_active(&mut self, at: usize, now: Duration) {
        let wanted = self.wanted(&self.services[at], now);
        for &task in &wanted.stop {
            let deployment = self.tasks[task].deployment.clone();
            self.tasks[task].want_stopped("ServiceSchedulerInitiated", &stop_reason(&deployment));
            let told = format!("has stopped 1 running tasks: (task {}).", self.tasks[task].id());
            self.tell(at, now, &told);
        }
        for _ in 0..wanted.start {
            match self.place(&self.services[at], now) {
                Ok(placed) => {
                    let id = self.start_task(placed, now);
                    self.tell(at, now, &format!("has started 1 tasks: (task {id})."));
                }
                Err((miss, instance)) => {
                    let told = format!(
                        "was unable to place a task because no container instance met all of its requirements. {}",
                        miss.told(&instance)
                    );
                    self.tell_once(at, now, &told);
                    break;
                }
            }
        }
        let busy: Vec<String> =
            self.tasks_of(&self.services[at]).map(|t| self.tasks[t].deployment.clone()).collect();
        let service = &mut self.services[at];
        let mut first = true;
        service.deployments.retain(|d| std::mem::take(&mut first) || busy.contains(&d.id));
        if wanted.completed
            && let Some(primary) = service.deployments.first_mut().filter(|d| !d.completed)
        {
            primary.completed = true;
            primary.updated_at = now;
            primary.reason = None;
            let last_completed = primary.clone();
            let told = format!("(deployment {}) deployment completed.", primary.id);
            service.last_completed = Some(last_completed);
            self.tell(at, now, &told);
            self.tell(at, now, "has reached a steady state.");
        }
        self.break_circuit(at, now);
    }

    pub(super) fn tell(&mut self, at: usize, now: Duration, message: &str) {
        let id = self.new_number();
        let service = &mut self.services[at];
        let message = format!("(service {}) {message}", service.name);
        service.event(id, now, message);
    }

    /// Tells what was not the last thing told.
    fn tell_once(&mut self, at: usize, now: Duration, message: &str) {
        let last = self.services[at].events.first().and_then(|event| event["message"].as_str());
        if !last.is_some_and(|last| last.ends_with(message)) {
            self.tell(at, now, message);
        }
    }

    fn wanted(&self, service: &Service, now: Duration) -> Wanted {
        let Some(primary) = service.deployments.first().filter(|primary| !primary.broken) else {
            return Wanted { start: 0, stop: vec![], completed: false };
        };
        let live: Vec<usize> = self.tasks_of(service).filter(|&t| self.tasks[t].wanted).collect();
        let (mut new, mut old): (Vec<usize>, Vec<usize>) =
            live.iter().partition(|&&t| self.tasks[t].deployment == primary.id);
        let is_running = |t: &usize| self.tasks[*t].last == Status::Running;
        let running = live.iter().filter(|t| is_running(t)).count();
        let least = (service.desired * service.percent("minimumHealthyPercent", 100)).div_ceil(100);
        let most = service.desired * service.percent("maximumPercent", 200) / 100;

        // Tasks that don't run yet go first: stopping them takes nothing from anybody.
        new.sort_by_key(is_running);
        old.sort_by_key(is_running);
        let too_many = new.len().saturating_sub(service.desired);
        let mut stop: Vec<usize> = new.iter().copied().take(too_many).collect();
        let spare =
            running.saturating_sub(stop.iter().filter(|t| is_running(t)).count()).saturating_sub(least);
        let mut taken = 0;
        for task in &old {
            if is_running(task) {
                if taken == spare {
                    break;
                }
                taken += 1;
            }
            stop.push(*task);
        }
        let missing = service.desired.saturating_sub(new.len());
        let room = most.saturating_sub(live.len() - stop.len());
        Wanted {
            start: if now < primary.not_before { 0 } else { missing.min(room) },
            stop,
            completed: old.is_empty() && new.len() == service.desired && new.iter().all(is_running),
        }
    }

    /// The instance for one more task of the service's PRIMARY deployment: of those that may take it, one in the zone, then the
    /// instance, with the fewest of its tasks (ECS spreads services over zones by default).
    fn place(&self, service: &Service, now: Duration) -> Result<Placed, (Miss, String)> {
        let mut nearest = (Miss::NoInstance, String::new());
        let nowhere = || (Miss::NoInstance, String::new());
        let primary = service.deployments.first().ok_or_else(nowhere)?;
        let definition = self.definition(&primary.definition).ok_or_else(nowhere)?;
        let ports = host_ports(definition);
        let mut best: Option<((usize, usize, usize), &ContainerInstance)> = None;
        for instance in self.instances.iter().filter(|i| i.cluster == service.cluster) {
            if let Err(miss) = self.fits(service, definition, &ports, instance, now) {
                if miss > nearest.0 {
                    nearest = (miss, instance.id().to_owned());
                }
                continue;
            }
            let zone = |i: &ContainerInstance| i.attributes.get("ecs.availability-zone").cloned().flatten();
            let here = zone(instance);
            let of_service =
                |arn: &str| self.tasks_of(service).filter(|&t| self.tasks[t].instance == arn).count();
            let in_zone = self.instances.iter().filter(|i| zone(i) == here).map(|i| of_service(&i.arn)).sum();
            let all =
                self.tasks.iter().filter(|t| t.instance == instance.arn && t.last != Status::Stopped).count();
            let load = (in_zone, of_service(&instance.arn), all);
            if best.as_ref().is_none_or(|(least, _)| load < *least) {
                best = Some((load, instance));
            }
        }
        let (_, instance) = best.ok_or(nearest)?;
        Ok(Placed {
            cluster: service.cluster.clone(),
            instance: instance.arn.clone(),
            definition: definition.arn.clone(),
            service: service.name.clone(),
            deployment: primary.id.clone(),
            ports,
        })
    }

    fn fits(
        &self,
        service: &Service,
        definition: &Definition,
        ports: &[u64],
        instance: &ContainerInstance,
        now: Duration,
    ) -> Result<(), Miss> {
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let of = |key: &str| definition.document.get(key).map(list).unwrap_or_default();
        if !instance.is_connected(now) {
            return Err(Miss::AgentDisconnected);
        }
        if !of("requiresAttributes")
            .iter()
            .all(|a| a["name"].as_str().is_some_and(|n| instance.attributes.contains_key(n)))
        {
            return Err(Miss::Capability);
        }
        let mut constraints = of("placementConstraints");
        constraints.extend(list(service.setting("placementConstraints")));
        // Expressions were parsed when they came in; one that can't be now is met by nobody.
        let meets = |text: &str| Expression::parse(text).is_ok_and(|e| e.matches(&instance.attributes));
        if !constraints.iter().filter_map(|c| c["expression"].as_str()).all(meets) {
            return Err(Miss::MemberOf);
        }
        let distinct = constraints.iter().any(|c| c["type"] == "distinctInstance");
        if distinct && self.tasks_of(service).any(|t| self.tasks[t].instance == instance.arn) {
            return Err(Miss::DistinctInstance);
        }
        let held = self.tasks.iter().filter(|t| t.instance == instance.arn && t.last != Status::Stopped);
        if held.flat_map(|t| &t.ports).any(|port| ports.contains(port)) {
            return Err(Miss::Port);
        }
        Ok(())
    }

    /// Counts what stopped before it ran, and makes its deployment wait a little longer each time.
    pub(super) fn note_outcome(
        &mut self,
        cluster: &str,
        service: &str,
        deployment: &str,
        failed: bool,
        now: Duration,
    ) {
        let services = self.services.iter_mut().filter(|s| s.cluster == cluster && s.name == service);
        for deployment in services.flat_map(|s| &mut s.deployments).filter(|d| d.id == deployment) {
            if failed {
                deployment.failed += 1;
                let pause = Duration::from_secs(1 << deployment.failed.min(8).saturating_sub(1));
                deployment.not_before = now + pause.min(MAX_PAUSE);
            } else {
                deployment.failed = 0;
            }
        }
    }
}

fn stop_reason(deployment: &str) -> String {
    format!("Scaling activity initiated by (deployment {deployment})")
}

/// The ports of the instance that a task needs for itself; 0 stands for any that is free.
fn host_ports(definition: &Definition) -> Vec<u64> {
    let list =
        |value: &Value, key: &str| value.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let containers = list(&Value::Object(definition.document.clone()), "containerDefinitions");
    let ports = containers.iter().flat_map(|c| list(c, "portMappings"));
    ports.filter_map(|port| port["hostPort"].as_u64()).filter(|port| *port != 0).collect()
}

#[cfg(test)]
#[path = "scheduler_tests.rs"]
mod tests;
