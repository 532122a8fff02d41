//! Sets the instance to DRAINING, or back to ACTIVE: described first, so that what an operator did is never taken for ours, and only while
//! another instance could take its tasks.

use super::{Clients, Done, Jobs};
use crate::{
    aws::AwsError,
    draining::{self, Drained},
    ecs::Ecs,
    ecs_agent::Registration,
    memory,
};
use std::path::PathBuf;

/// What to set, and where it is remembered.
#[derive(Debug, Clone)]
pub struct DrainRequest {
    /// The container instance.
    pub at: Registration,
    /// The agent's state directory.
    pub state_dir: PathBuf,
    /// The instance's id.
    pub instance: String,
    /// The time, RFC 3339.
    pub now: String,
    /// Why.
    pub reason: String,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DrainOutcome {
    /// This agent drained it.
    Drained(Drained),
    /// Somebody else has it in hand: it is not touched and not claimed.
    NotOurs,
    /// No other instance has the share either: its tasks would find no place, and wait better where they are.
    Nowhere,
    /// It is not drained by this agent any more.
    GivenBack,
}

/// Why it is as it was.
#[derive(Debug, thiserror::Error)]
pub enum DrainError {
    /// ECS.
    #[error(transparent)]
    Aws(#[from] AwsError),
    /// The instance's own disk. It is not drained then, since nobody would know who drained it.
    #[error("whether this agent drained the instance can't be remembered in {}", .0.display())]
    Memory(PathBuf, #[source] std::io::Error),
}

async fn drain(ecs: &Ecs, request: DrainRequest) -> Result<DrainOutcome, DrainError> {
    let DrainRequest { at, state_dir, instance, now, reason } = request;
    let Registration { cluster, container_instance } = at;
    // A call of ours whose answer was lost is ours.
    let claimed = memory::drained(&state_dir, &instance, &container_instance);
    if claimed.is_none() && !draining::may_drain(ecs.status(&cluster, &container_instance).await?) {
        return Ok(DrainOutcome::NotOurs);
    }
    if claimed.is_none() && !ecs.another_is_ready(&cluster, &container_instance).await? {
        return Ok(DrainOutcome::Nowhere);
    }
    let drained = claimed.unwrap_or(Drained { container_instance, since: now, reason });
    let remember = |error| DrainError::Memory(state_dir.clone(), error);
    // Before it is done: an agent that dies in between must find it.
    memory::save_drained(&state_dir, &instance, &drained).map_err(remember)?;
    match ecs.set_draining(&cluster, &drained.container_instance, true).await {
        Ok(()) => Ok(DrainOutcome::Drained(drained)),
        Err(error) => {
            // One that was not reached may have been told all the same.
            if error.reached() {
                memory::forget_drained(&state_dir, &instance).map_err(remember)?;
            }
            Err(error.into())
        }
    }
}

async fn activate(ecs: &Ecs, request: DrainRequest) -> Result<DrainOutcome, DrainError> {
    let DrainRequest { at, state_dir, instance, .. } = request;
    if draining::must_activate(ecs.status(&at.cluster, &at.container_instance).await?) {
        ecs.set_draining(&at.cluster, &at.container_instance, false).await?;
    }
    memory::forget_drained(&state_dir, &instance).map_err(|error| DrainError::Memory(state_dir, error))?;
    Ok(DrainOutcome::GivenBack)
}

impl Jobs {
    /// Sets it to DRAINING, or back.
    pub fn set_draining(
        &self,
        clients: Clients,
        region: String,
        request: DrainRequest,
        draining: bool,
    ) -> tokio::task::AbortHandle {
        self.spawn(async move {
            let ecs = clients.ecs(&region).await;
            let done = if draining { drain(ecs, request).await } else { activate(ecs, request).await };
            Done::Draining(draining, done)
        })
    }
}
