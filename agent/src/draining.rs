//! Draining: whether the instance is taken out of ECS's hands for as long as its share is away, and given back afterwards.
//!
//! Off by default (`drain_after`). ECS moves the tasks of services off an instance that is DRAINING, and places none there. Only what
//! the agent itself drained is set back: it remembers that on the instance's own disk, before it asks for it. An instance that an
//! operator drained is not touched and not claimed. Pure.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// That this agent set the instance to DRAINING, as it is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drained {
    /// The container instance that was drained: another one is none of ours.
    pub container_instance: String,
    /// Since when, RFC 3339.
    pub since: String,
    /// The share's state and its reason then.
    pub reason: String,
}

impl Drained {
    /// What is so, and what becomes of it.
    pub fn problem(&self) -> String {
        format!(
            "this agent set the instance to DRAINING in ECS at {}, because its share was away ({}); it is set back to ACTIVE once the gate is \
             open",
            self.since, self.reason
        )
    }
}

/// The status of a container instance (ECS API reference, ContainerInstance).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Tasks may be placed there.
    Active,
    /// Tasks are moved away from there.
    Draining,
    /// Being registered or deregistered, or unknown to this agent.
    Other,
}

/// What should be done about draining.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Nothing.
    Nothing,
    /// Set it to DRAINING, unless it is by somebody else.
    Drain,
    /// Set it back to ACTIVE.
    Activate,
}

/// What follows from the facts: the configured time, how long the share has not been ready (`None`: it is), what is remembered of
/// this container instance, and whether ECS was told that the gate is open.
pub fn wanted(
    drain_after: Option<Duration>,
    not_ready_for: Option<Duration>,
    is_drained: bool,
    gate_is_open: bool,
) -> Wanted {
    match (drain_after, not_ready_for) {
        // Whatever is configured by now: what was drained is given back.
        (_, None) if is_drained && gate_is_open => Wanted::Activate,
        (Some(after), Some(away)) if !is_drained && away >= after => Wanted::Drain,
        _ => Wanted::Nothing,
    }
}

/// Whether an instance that ECS describes so may be set to DRAINING and claimed.
pub fn may_drain(status: Status) -> bool {
    status == Status::Active
}

/// Whether one that this agent drained has to be set back: somebody may have done so already, or is removing it.
pub fn must_activate(status: Status) -> bool {
    status == Status::Draining
}

#[cfg(test)]
mod tests {
    use super::*;

    const AFTER: Option<Duration> = Some(Duration::from_secs(60));

    fn away(seconds: u64) -> Option<Duration> {
        Some(Duration::from_secs(seconds))
    }

    #[test]
    fn an_instance_is_drained_after_the_configured_time_and_given_back_once_the_gate_is_open() {
        for (after, away, is_drained, gate, expected, why) in [
            (AFTER, away(59), false, false, Wanted::Nothing, "not yet"),
            (AFTER, away(60), false, false, Wanted::Drain, "long enough"),
            (AFTER, away(600), true, false, Wanted::Nothing, "once"),
            (AFTER, None, true, false, Wanted::Nothing, "ready, and the gate not open yet"),
            (AFTER, None, true, true, Wanted::Activate, "the gate is open"),
            (AFTER, None, false, true, Wanted::Nothing, "never drained by this agent"),
            (None, away(6000), false, false, Wanted::Nothing, "off by default"),
            (None, None, true, true, Wanted::Activate, "switched off since"),
            (None, away(6000), true, false, Wanted::Nothing, "switched off while it is away"),
        ] {
            assert_eq!(wanted(after, away, is_drained, gate), expected, "{why}");
        }
    }

    #[test]
    fn what_an_operator_did_is_left_alone() {
        assert!(may_drain(Status::Active) && !may_drain(Status::Draining) && !may_drain(Status::Other));
        assert!(
            must_activate(Status::Draining)
                && !must_activate(Status::Active)
                && !must_activate(Status::Other)
        );
    }
}
