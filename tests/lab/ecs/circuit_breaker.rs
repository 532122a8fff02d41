//! The deployment circuit breaker: when a deployment whose tasks fail to start is given up, and what ECS goes back to.
//!
//! Source: developer guide, "How the Amazon ECS deployment circuit breaker detects failures" and API reference,
//! DeploymentCircuitBreaker. The threshold is half of the desired count, at least 3 and at most 200; a task that runs sets the
//! count back. With `rollback` the most recent COMPLETED deployment becomes PRIMARY again, under its own id, and is IN_PROGRESS;
//! without such a one nothing is started any more.

use super::{services::Service, state::State};
use std::time::Duration;

fn threshold(desired: usize) -> usize {
    desired.div_ceil(2).clamp(3, 200)
}

impl State {
    /// Breaks the PRIMARY deployment of a service where too many of its tasks failed to start.
    pub(super) fn break_circuit(&mut self, at: usize, now: Duration) {
        let service = &mut self.services[at];
        let breaker = service.setting("deploymentConfiguration")["deploymentCircuitBreaker"].clone();
        let most = threshold(service.desired);
        let Some(primary) = service.deployments.first_mut() else { return };
        let has_failed = usize::try_from(primary.failed).is_ok_and(|failed| failed >= most);
        if breaker["enable"] != true || primary.completed || primary.broken || !has_failed {
            return;
        }
        primary.broken = true;
        primary.updated_at = now;
        primary.reason = Some("ECS deployment circuit breaker: tasks failed to start.".to_owned());
        let mut told = vec![format!("(deployment {}) deployment failed: tasks failed to start.", primary.id)];
        if breaker["rollback"] == true
            && let Some(target) = roll_back(service, now)
        {
            told.push(format!("rolling back to deployment {target}."));
        }
        for message in told {
            self.tell(at, now, &message);
        }
    }
}

/// Makes the last completed deployment PRIMARY again. Gives its id.
fn roll_back(service: &mut Service, now: Duration) -> Option<String> {
    let completed = service.last_completed.take()?;
    service.deployments.retain(|deployment| deployment.id != completed.id);
    let mut target = completed;
    target.completed = false;
    target.updated_at = now;
    target.failed = 0;
    target.not_before = now;
    target.reason =
        Some(format!("ECS deployment circuit breaker: rolling back to deploymentId {}.", target.id));
    let id = target.id.clone();
    service.deployments.insert(0, target);
    Some(id)
}
