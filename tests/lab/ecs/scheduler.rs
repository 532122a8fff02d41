//! What ECS's service scheduler does next: which tasks it places where, and which it stops.
//!
//! The rules are those of rolling updates (developer guide, "minimumHealthyPercent and maximumPercent"): never fewer tasks running
//! than the minimum because of a deployment or of an instance that drains, never more wanted than the maximum. A task that stops is
//! replaced by one of its own deployment, or of PRIMARY once that has no more to replace. Every strategy is carried out as a rolling
//! one: traffic is not the lab's business.

use super::{
    circuit_breaker::CircuitBreaker,
    deployments::Rollout,
    placing::{Demand, Miss},
    services::{Service, ServiceStatus},
    state::State,
    tasks::{Placed, Status},
};
use serde_json::Value;
use std::time::Duration;

/// What the next look at a service finds.
#[derive(Default)]
pub(super) struct Wanted {
    /// Ids of deployments, once for each task of it to place.
    pub(super) start: Vec<(String, Place)>,
    /// Positions of tasks to stop.
    pub(super) stop: Vec<usize>,
    pub(super) completed: bool,
}

/// What became of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Ran,
    /// It stopped unasked before it ran.
    Failed,
    /// It stopped unasked after it ran.
    Died,
    /// It was asked to stop.
    Stopped,
}

/// Where a task is to be placed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    Anywhere,
    /// ARN of the container instance.
    On(String),
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

    /// Positions of the service's tasks that have not stopped.
    pub(super) fn tasks_of(&self, service: &Service) -> impl Iterator<Item = usize> {
        let (cluster, name) = (service.cluster.clone(), service.name.clone());
        self.tasks
            .iter()
            .enumerate()
            .filter(move |(_, t)| {
                t.last != Status::Stopped && t.cluster == cluster && t.service.as_ref() == Some(&name)
            })
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
        if let Some(breaker) = CircuitBreaker::of(self.services[at].setting("deploymentConfiguration")) {
            let desired = self.services[at].desired;
            for told in self.services[at].deployments.trip(breaker, desired, now) {
                self.tell(at, now, &told);
            }
        }
        if let Some(capacity) = self.services[at].unplaced_capacity() {
            if self.services[at].desired > 0 {
                let told = format!(
                    "was unable to place a task. Reason: the lab's ECS places no tasks on {capacity}."
                );
                self.tell_once(at, now, &told);
            }
            return;
        }
        let wanted = if self.services[at].is_daemon() {
            self.services[at].desired = self.daemon_instances(&self.services[at]).len();
            self.wanted_daemon(&self.services[at], now)
        } else {
            self.wanted(&self.services[at], now)
        };
        for &task in &wanted.stop {
            let deployment = self.tasks[task].deployment.clone();
            self.tasks[task].want_stopped("ServiceSchedulerInitiated", &stop_reason(&deployment));
            let told = format!("has stopped 1 running tasks: (task {}).", self.tasks[task].id());
            self.tell(at, now, &told);
        }
        for (deployment, place) in &wanted.start {
            match self.placed(&self.services[at], deployment, place, now) {
                Ok(placed) => {
                    let id = self.start_task(placed, now);
                    self.tell(at, now, &format!("has started 1 tasks: (task {id})."));
                    for one in self.services[at].deployments.iter_mut().filter(|d| d.id == *deployment) {
                        one.lost = one.lost.saturating_sub(1);
                    }
                }
                Err((miss, instance)) => {
                    let id = instance.rsplit('/').next().unwrap_or_default();
                    let told = format!(
                        "was unable to place a task because no container instance met all of its requirements. {}",
                        miss.told(id)
                    );
                    self.tell_once(at, now, &told);
                    self.note_unplaced(at, deployment, now);
                    break;
                }
            }
        }
        let busy: Vec<String> =
            self.tasks_of(&self.services[at]).map(|t| self.tasks[t].deployment.clone()).collect();
        let least = self.config.least_rollout;
        let service = &mut self.services[at];
        service.deployments.drop_drained(|id| busy.iter().any(|busy| busy == id));
        if wanted.completed
            && let Some(told) = service.deployments.complete(least, now)
        {
            self.tell(at, now, &told);
            self.tell(at, now, "has reached a steady state.");
        }
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

    pub(super) fn is_draining(&self, instance: &str) -> bool {
        self.instances.iter().any(|i| i.arn == instance && i.draining)
    }

    fn wanted(&self, service: &Service, now: Duration) -> Wanted {
        let Some(primary) = service.deployments.primary() else { return Wanted::default() };
        let live: Vec<usize> = self.tasks_of(service).filter(|&t| self.tasks[t].wanted).collect();
        let (mut new, mut old): (Vec<usize>, Vec<usize>) = live.iter().partition(|&&t| {
            self.tasks[t].deployment == primary.id && !self.is_draining(&self.tasks[t].instance)
        });
        let is_running = |t: &usize| self.tasks[*t].last == Status::Running;
        let running = live.iter().filter(|t| is_running(t)).count();
        let least = (service.desired * service.percent("minimumHealthyPercent")).div_ceil(100);
        let most = service.desired * service.percent("maximumPercent") / 100;
        let failed = primary.rollout == Rollout::Failed;

        // Tasks that don't run yet go first: stopping them takes nothing from anybody.
        new.sort_by_key(is_running);
        old.sort_by_key(is_running);
        let too_many = new.len().saturating_sub(service.desired);
        let mut stop: Vec<usize> = new.iter().copied().take(too_many).collect();
        let spare =
            running.saturating_sub(stop.iter().filter(|t| is_running(t)).count()).saturating_sub(least);
        let mut taken = 0;
        for task in &old {
            // A deployment that failed takes no more from those before it; what drains goes all the same.
            if failed && !self.is_draining(&self.tasks[*task].instance) {
                continue;
            }
            if is_running(task) {
                if taken == spare {
                    break;
                }
                taken += 1;
            }
            stop.push(*task);
        }
        let left = live.len() - stop.len();
        let mut room = most.saturating_sub(left);
        let mut start = Vec::new();
        // What an older deployment lost by itself it replaces, as long as that leaves a task missing.
        let mut gap = service.desired.saturating_sub(left);
        let may = |rollout| rollout != Rollout::Failed;
        for older in service.deployments.iter().skip(1).filter(|d| may(d.rollout) && now >= d.not_before) {
            let count = older.lost.min(gap).min(room);
            start.extend(std::iter::repeat_n((older.id.clone(), Place::Anywhere), count));
            gap -= count;
            room -= count;
        }
        if !failed && now >= primary.not_before {
            let missing = service.desired.saturating_sub(new.len()).min(room);
            start.extend(std::iter::repeat_n((primary.id.clone(), Place::Anywhere), missing));
        }
        let completed = old.is_empty() && new.len() == service.desired && new.iter().all(is_running);
        Wanted { start, stop, completed }
    }

    fn placed(
        &self,
        service: &Service,
        deployment: &str,
        place: &Place,
        now: Duration,
    ) -> Result<Placed, (Miss, String)> {
        let nowhere = || (Miss::NoInstance, String::new());
        let deployment = service.deployments.iter().find(|d| d.id == deployment).ok_or_else(nowhere)?;
        let definition = self.definition(&deployment.definition).ok_or_else(nowhere)?;
        let group = service.group();
        let demand = Demand {
            cluster: &service.cluster,
            definition,
            constraints: service.constraints(),
            group: &group,
        };
        let instance = match place {
            Place::Anywhere => self.place(&demand, now)?,
            Place::On(arn) => {
                let instance = self.active_instances(&service.cluster).find(|i| i.arn == *arn);
                let instance = instance.ok_or_else(nowhere)?;
                self.fits(&demand, instance, now).map_err(|miss| (miss, arn.clone()))?;
                instance
            }
        };
        Ok(Placed {
            cluster: service.cluster.clone(),
            instance: instance.arn.clone(),
            definition: definition.arn.clone(),
            ports: demand.ports(),
            group: group.clone(),
            service: Some(service.name.clone()),
            deployment: deployment.id.clone(),
            overrides: Value::Object(serde_json::Map::new()),
        })
    }

    /// Finding no place counts as a failed task (service model, `Deployment.failedTasks`), now and then.
    fn note_unplaced(&mut self, at: usize, deployment: &str, now: Duration) {
        let Some(every) = self.config.unplaced_counts_every else { return };
        for one in self.services[at].deployments.iter_mut().filter(|d| d.id == deployment) {
            if now.saturating_sub(one.unplaced_at) >= every && one.rollout == Rollout::InProgress {
                one.unplaced_at = now;
                one.failed += 1;
            }
        }
    }

    /// Counts tasks that stopped before they ran, and makes their deployment wait a little longer each time.
    pub(super) fn note_outcome(&mut self, task: usize, outcome: Outcome, now: Duration) {
        let task = &self.tasks[task];
        let (cluster, id) = (task.cluster.clone(), task.deployment.clone());
        let Some(name) = task.service.clone() else { return };
        let longest = self.config.longest_pause;
        let Some(at) = self.services.iter().position(|s| s.cluster == cluster && s.name == name) else {
            return;
        };
        let service = &mut self.services[at];
        let resets = CircuitBreaker::of(service.setting("deploymentConfiguration")).is_none_or(|b| b.resets);
        let is_primary = service.deployments.primary().is_some_and(|d| d.id == id);
        let mut inconsistent = false;
        for deployment in service.deployments.iter_mut().filter(|d| d.id == id) {
            if outcome == Outcome::Failed {
                deployment.failed += 1;
                let pause = Duration::from_secs(1 << deployment.failed.min(8).saturating_sub(1));
                deployment.not_before = now + pause.min(longest);
                inconsistent = deployment.failed == 3;
            } else if resets && outcome == Outcome::Ran {
                deployment.failed = 0;
            }
            if !is_primary && matches!(outcome, Outcome::Failed | Outcome::Died) {
                deployment.lost += 1;
            }
        }
        if inconsistent {
            self.tell(
                at,
                now,
                "is unable to consistently start tasks successfully. For more information, see the Troubleshooting section of the Amazon ECS Developer Guide.",
            );
        }
    }
}

fn stop_reason(deployment: &str) -> String {
    format!("Scaling activity initiated by (deployment {deployment})")
}

#[cfg(test)]
#[path = "scheduler_tests.rs"]
mod tests;
