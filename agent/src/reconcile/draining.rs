//! Draining the instance while its share is away, as the loop does it.

use super::{Agent, reach::Service};
use crate::{
    draining::Drained,
    jobs::{DrainError, DrainOutcome, DrainRequest},
    memory,
    mount_state::Seen,
    plan::Action,
    report::timestamp,
    trouble::Trouble,
};
use std::time::{Instant, SystemTime};
use tracing::{info, warn};

/// What is known of it.
#[derive(Debug, Default)]
pub(super) struct Draining {
    /// When the share was ready last; at first the agent's start.
    last_ready: Option<Instant>,
    /// What an earlier run or this one remembered of which container instance.
    drained: Option<Drained>,
    /// The container instance whose memory was read.
    read_for: Option<String>,
    /// Why it was not drained, as far as this agent asked: said once.
    kept: Option<&'static str>,
}

impl Agent {
    /// Facts for the plan.
    pub(super) fn observe_draining(&mut self) {
        let now = Instant::now();
        let last_ready = self.draining.last_ready.get_or_insert(now);
        if self.observed.state.is_ready() {
            *last_ready = now;
        }
        let ready = self.observed.state.is_ready();
        self.observed.not_ready_for = (!ready).then(|| now.duration_since(*last_ready));
        let (Some(instance), Some(registration)) = (&self.observed.instance, &self.observed.registration)
        else {
            return;
        };
        let container_instance = &registration.container_instance;
        if self.draining.read_for.as_ref() != Some(container_instance) {
            let state_dir = self.config.clone().unwrap_or_default().state_dir;
            self.draining.drained = memory::drained(&state_dir, &instance.id, container_instance);
            self.draining.read_for = Some(container_instance.clone());
        }
        self.observed.is_drained = self.draining.drained.is_some();
    }

    /// What the job needs.
    pub(super) fn drain_request(&self) -> Option<DrainRequest> {
        let seen = self.config.as_ref().map_or(Seen::Nothing, |config| self.observed.seen(config));
        Some(DrainRequest {
            at: self.observed.registration.clone()?,
            state_dir: self.config().state_dir,
            instance: self.observed.instance.as_ref()?.id.clone(),
            now: timestamp(SystemTime::now()),
            reason: format!("{}: {}", self.observed.state, self.reason(seen).text),
        })
    }

    /// Takes in what came of it.
    pub(super) fn drained(&mut self, draining: bool, result: Result<DrainOutcome, DrainError>) {
        let result = match result {
            Err(DrainError::Aws(error)) => self.aws.heard(Service::Ecs, Err(error)).map_err(DrainError::Aws),
            other => {
                self.aws.note(Service::Ecs, true);
                other
            }
        };
        let result = result.map_err(|error| match error {
            DrainError::Aws(error) if error.is_denied() => Trouble::coded("drain-denied", error.to_string()).help(
                "allow ecs:DescribeContainerInstances and ecs:UpdateContainerInstancesState on this container instance and \
                 ecs:ListContainerInstances on its cluster, or set `drain_after` to off",
            ),
            DrainError::Aws(error) => Trouble::from(error.to_string()),
            DrainError::Memory(..) => Trouble::from(crate::diagnostics::in_one_line(&error)),
        });
        let Some(outcome) = self.ended(Action::SetDraining { draining }, result) else { return };
        let kept = match &outcome {
            DrainOutcome::NotOurs => {
                Some("the instance is not ACTIVE in ECS already: whoever did that sets it back")
            }
            DrainOutcome::Nowhere => Some(
                "the instance is not set to DRAINING: no other one of its cluster has the share either, so its tasks wait where they are",
            ),
            DrainOutcome::Drained(_) | DrainOutcome::GivenBack => None,
        };
        if let Some(why) = kept
            && self.draining.kept != kept
        {
            info!("{why}");
        }
        self.draining.kept = kept;
        match outcome {
            DrainOutcome::Drained(drained) => {
                warn!(reason = %drained.reason, "the instance was set to DRAINING: its share was away for `drain_after`");
                self.draining.drained = Some(drained);
            }
            DrainOutcome::NotOurs | DrainOutcome::Nowhere => {}
            DrainOutcome::GivenBack => {
                info!("the instance was set back to ACTIVE: its share is ready, and the gate open");
                self.draining.drained = None;
            }
        }
    }

    /// What this agent drained.
    pub(super) fn draining_report(&self) -> Option<Drained> {
        self.draining.drained.clone()
    }
}
