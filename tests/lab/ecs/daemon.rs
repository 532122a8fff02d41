//! DAEMON services: one task on each container instance that is ACTIVE and matches, and none where it stops matching.
//!
//! Source: the service model's `SchedulingStrategy`. Defaults of a daemon: minimumHealthyPercent 0, maximumPercent 100, so the old
//! task of an instance stops before the new one starts. On an instance that drains it goes last.

use super::{
    deployments::Rollout,
    placing::Demand,
    scheduler::{Place, Wanted},
    services::Service,
    state::State,
    tasks::Status,
};
use std::time::Duration;

impl State {
    /// ARNs of the instances that are to have a task of PRIMARY's revision.
    pub(super) fn daemon_instances(&self, service: &Service) -> Vec<String> {
        let primary = service.deployments.primary();
        let Some(definition) = primary.and_then(|d| self.definition(&d.definition)) else { return vec![] };
        let demand = Demand {
            cluster: &service.cluster,
            definition,
            constraints: service.constraints(),
            group: &service.group(),
        };
        let matching = self
            .active_instances(&service.cluster)
            .filter(|i| demand.matches(i).is_ok())
            .map(|i| i.arn.clone());
        matching.collect()
    }

    pub(super) fn wanted_daemon(&self, service: &Service, now: Duration) -> Wanted {
        let Some(primary) = service.deployments.primary() else { return Wanted::default() };
        let instances = self.daemon_instances(service);
        let all: Vec<usize> = self.tasks_of(service).collect();
        let live: Vec<usize> = all.iter().copied().filter(|&t| self.tasks[t].wanted).collect();
        let is_running = |t: usize| self.tasks[t].last == Status::Running;
        let is_new = |t: usize| self.tasks[t].deployment == primary.id;
        let least = (service.desired * service.percent("minimumHealthyPercent")).div_ceil(100);
        let most = service.desired * service.percent("maximumPercent") / 100;
        let failed = primary.rollout == Rollout::Failed;

        let is_last = |instance: &str| {
            !self.tasks.iter().any(|t| {
                t.instance == instance
                    && t.last != Status::Stopped
                    && t.service.is_some()
                    && t.service.as_ref() != Some(&service.name)
            })
        };
        let (here, elsewhere): (Vec<usize>, Vec<usize>) =
            live.iter().partition(|&&t| instances.contains(&self.tasks[t].instance));
        let mut stop: Vec<usize> = elsewhere
            .into_iter()
            .filter(|&t| {
                let instance = &self.tasks[t].instance;
                !self.is_draining(instance) || is_last(instance)
            })
            .collect();
        let mut running = here.iter().filter(|&&t| is_running(t)).count();
        for &task in here.iter().filter(|&&t| !is_new(t) && !failed) {
            if is_running(task) {
                if running <= least {
                    continue;
                }
                running -= 1;
            }
            stop.push(task);
        }
        let mut start = Vec::new();
        if !failed && now >= primary.not_before {
            let mut room = most
                .saturating_sub(all.iter().filter(|&&t| instances.contains(&self.tasks[t].instance)).count());
            for instance in &instances {
                let connected = self.instances.iter().any(|i| i.arn == *instance && i.is_connected(now));
                let has_new = live.iter().any(|&t| is_new(t) && self.tasks[t].instance == *instance);
                if connected && !has_new && room > 0 {
                    let has_other = all.iter().any(|&t| self.tasks[t].instance == *instance);
                    if !has_other || most > service.desired {
                        start.push((primary.id.clone(), Place::On(instance.clone())));
                        room -= 1;
                    }
                }
            }
        }
        let new =
            |arn: &String| here.iter().any(|&t| is_new(t) && is_running(t) && self.tasks[t].instance == *arn);
        let completed = instances.iter().all(new) && live.len() == instances.len();
        Wanted { start, stop, completed }
    }
}

#[cfg(test)]
#[path = "kinds_tests.rs"]
mod tests;
