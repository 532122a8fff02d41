//! Deployments of one service: which is PRIMARY, how far each has come, and what a rollback makes of them.
//!
//! Sources: the service model's `Deployment`; developer guide, "deployment circuit breaker" (the target of a rollback is the most
//! recent COMPLETED deployment, which turns IN_PROGRESS; without one a failed deployment stalls); containers-roadmap#2836 (five
//! active ones at most). Reasons and events are in ECS's words.

use super::{ApiError, circuit_breaker::CircuitBreaker};
use std::time::Duration;

/// Most deployments of a service at a time.
const MAX_ACTIVE: usize = 5;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rollout {
    InProgress,
    Completed,
    Failed,
}

impl Rollout {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::InProgress => "IN_PROGRESS",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
        }
    }
}

/// One rollout of one revision.
#[derive(Debug)]
pub(super) struct Deployment {
    pub(super) id: String,
    /// ARN of the revision.
    pub(super) definition: String,
    pub(super) rollout: Rollout,
    /// `rolloutStateReason`.
    pub(super) reason: String,
    pub(super) created_at: Duration,
    pub(super) updated_at: Duration,
    /// Tasks that stopped before they ran, or found no place; set back as the circuit breaker says.
    pub(super) failed: u32,
    /// No task is started before: the more failed, the later.
    pub(super) not_before: Duration,
    /// When finding no place last counted as a failure, or the deployment began.
    pub(super) unplaced_at: Duration,
    /// Tasks that stopped by themselves while another deployment was PRIMARY: replaced by this one's revision (ECS since Nov 2025).
    pub(super) lost: usize,
}

impl Deployment {
    pub(super) fn new(id: String, definition: String, now: Duration) -> Self {
        Self {
            reason: format!("ECS deployment {id} in progress."),
            id,
            definition,
            rollout: Rollout::InProgress,
            created_at: now,
            updated_at: now,
            failed: 0,
            not_before: now,
            unplaced_at: now,
            lost: 0,
        }
    }

    fn turn(&mut self, rollout: Rollout, reason: String, now: Duration) {
        self.rollout = rollout;
        self.reason = reason;
        self.updated_at = now;
    }
}

/// A service's deployments. Invariant: at most one is COMPLETED, `past` included.
#[derive(Debug, Default)]
pub(super) struct Deployments {
    /// Newest first; the first one is PRIMARY, the others ACTIVE.
    list: Vec<Deployment>,
    /// The most recent COMPLETED one, when it has no tasks any more and left the list: still the target of a rollback.
    past: Option<Deployment>,
}

impl Deployments {
    pub(super) fn new(first: Option<Deployment>) -> Self {
        Self { list: first.into_iter().collect(), past: None }
    }

    pub(super) fn primary(&self) -> Option<&Deployment> {
        self.list.first()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Deployment> {
        self.list.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Deployment> {
        self.list.iter_mut()
    }

    /// What a rollback would go back to now.
    pub(super) fn target(&self) -> Option<&Deployment> {
        self.list.iter().find(|d| d.rollout == Rollout::Completed).or(self.past.as_ref())
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Whether one more may begin.
    ///
    /// # Errors
    /// Five are active.
    pub(super) fn may_begin(&self) -> Result<(), ApiError> {
        if self.list.len() < MAX_ACTIVE {
            return Ok(());
        }
        Err(ApiError::InvalidParameter(format!(
            "{MAX_ACTIVE} active deployments exist, unable to create new deployment"
        )))
    }

    /// The deployment becomes PRIMARY, the one before ACTIVE.
    pub(super) fn begin(&mut self, deployment: Deployment) {
        self.list.insert(0, deployment);
    }

    /// PRIMARY has come to its end, if it was on its way for `least`. Gives what is told.
    pub(super) fn complete(&mut self, least: Duration, now: Duration) -> Option<String> {
        let is_due = |d: &&mut Deployment| {
            d.rollout == Rollout::InProgress && now.saturating_sub(d.updated_at) >= least
        };
        let primary = self.list.first_mut().filter(is_due)?;
        let reason = format!("ECS deployment {} completed.", primary.id);
        primary.turn(Rollout::Completed, reason, now);
        self.past = None;
        Some(format!("(deployment {}) deployment completed.", primary.id))
    }

    /// PRIMARY fails if it is on its way and has as many failures as the circuit breaker allows; with `rollback` the most recent
    /// COMPLETED one becomes PRIMARY again. Gives what is told.
    pub(super) fn trip(&mut self, breaker: CircuitBreaker, desired: usize, now: Duration) -> Vec<String> {
        let threshold = breaker.threshold(desired);
        let Some(primary) =
            self.list.first_mut().filter(|d| d.rollout == Rollout::InProgress && d.failed >= threshold)
        else {
            return vec![];
        };
        let reason = "ECS deployment circuit breaker: tasks failed to start.".to_owned();
        primary.turn(Rollout::Failed, reason, now);
        let mut told = vec![format!("(deployment {}) deployment failed: tasks failed to start.", primary.id)];
        if breaker.rollback
            && let Some(mut target) = self.take_completed()
        {
            let reason =
                format!("ECS deployment circuit breaker: rolling back to deploymentId {}.", target.id);
            target.turn(Rollout::InProgress, reason, now);
            target.failed = 0;
            target.not_before = now;
            target.unplaced_at = now;
            told.push(format!("rolling back to deployment {}.", target.id));
            self.list.insert(0, target);
        }
        told
    }

    fn take_completed(&mut self) -> Option<Deployment> {
        match self.list.iter().position(|d| d.rollout == Rollout::Completed) {
            Some(at) => Some(self.list.remove(at)),
            None => self.past.take(),
        }
    }

    /// Superseded deployments without a task leave the list.
    pub(super) fn drop_drained(&mut self, has_tasks: impl Fn(&str) -> bool) {
        let mut first = true;
        let (stay, gone): (Vec<_>, Vec<_>) =
            self.list.drain(..).partition(|d| std::mem::take(&mut first) || has_tasks(&d.id));
        self.list = stay;
        if let Some(completed) = gone.into_iter().find(|d| d.rollout == Rollout::Completed) {
            self.past = Some(completed);
        }
    }
}

#[cfg(test)]
#[path = "deployment_tests.rs"]
mod tests;
