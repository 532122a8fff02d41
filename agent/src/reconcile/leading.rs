//! Leading: the lock that makes this agent the one that patches, and what its rounds come to.

use super::{Agent, pace, reach::Service};
use crate::{
    config::MountMode,
    heartbeats::Beaten,
    jobs::Tried,
    leader::Leads,
    memory,
    patch_round::{Memory, RoundError, RoundResult},
    plan::Action,
    report::{Patching, Role, ServiceReport, timestamp},
    schedule::jittered,
    share_worker::WorkerError,
    trouble::Trouble,
};
use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};
use tokio::sync::Mutex;
use tracing::{info, warn};

/// After AWS said that this role may not patch.
const DENIED_PAUSE: Duration = Duration::from_secs(3600);

/// Between two rounds after one in which something happened.
const BUSY_PAUSE: Duration = Duration::from_secs(5);
/// The longest between two rounds; each quiet one doubles the pause.
const QUIET_PAUSE: Duration = Duration::from_secs(30);
/// After ECS said that this instance drains.
const DRAINING_PAUSE: Duration = Duration::from_secs(60);

/// What a lock's file says of its leader.
fn about(leads: Option<&Leads>) -> Patching {
    Patching {
        leader: leads.map(|leads| leads.instance.clone()),
        leader_since: leads.map(|leads| leads.since.clone()),
        term: leads.map(|leads| leads.term),
        last_action: leads.and_then(|leads| leads.last_action.clone()),
        ..Patching::default()
    }
}

impl Agent {
    pub(super) fn led(&mut self, result: Result<Tried, WorkerError>) {
        let Some(answer) = self.ended(Action::Lead, result.map_err(Trouble::from)) else {
            self.patching.role = Role::Waiting;
            self.patching.reason = self.problems.get(Action::Lead.name()).map(|trouble| trouble.text.clone());
            return;
        };
        let role = self.patching.role;
        match answer {
            // The share may have gone while the lock was being taken: the next pass steps down then.
            Tried::Holds(worker, leads) => {
                info!(term = leads.term, "this instance leads: it patches the cluster's services");
                self.lock = Some(Arc::new(Mutex::new(*worker)));
                self.observed.leads = true;
                self.observed.leads_by = self.observed.lock_name(&self.config());
                self.memory = Memory::default();
                self.quiet_rounds = 0;
                self.schedule.hurry(Action::Patch.name());
                // Who else is alive decides what may be written.
                self.schedule.hurry(Action::Beat.name());
                self.patching = Patching { role: Role::Leader, ..about(Some(&leads)) };
                self.leads = Some(leads);
            }
            Tried::Busy(leads) => {
                if role != Role::Follower {
                    let leader = leads.as_ref().map_or("unknown", |leads| leads.instance.as_str());
                    info!(leader, "another instance leads");
                }
                self.schedule.postpone(
                    Action::Lead.name(),
                    jittered(pace(Action::Lead).after_success),
                    Instant::now(),
                );
                self.patching = Patching { role: Role::Follower, ..about(leads.as_ref()) };
            }
        }
    }

    /// Lets the lock go: the worker that holds it is killed, and a round that uses it ends at its next confirmation.
    pub(super) fn step_down(&mut self, why: &str) {
        warn!(why, "stepping down as leader");
        self.schedule.cancel(Action::Patch.name());
        self.round_is_outdated = false;
        self.forget_volumes();
        self.lock = None;
        self.leads = None;
        self.fleet = None;
        self.progress.send_replace(None);
        self.observed.leads = false;
        self.patching = Patching { role: Role::Waiting, reason: Some(why.to_owned()), ..Patching::default() };
    }

    /// The agents that are alive; a leader writes nothing that one of them can't read.
    pub(super) fn beaten(&mut self, result: Result<Beaten, WorkerError>) {
        let Some(Beaten { agents, fleet }) = self.ended(Action::Beat, result.map_err(Trouble::from)) else {
            return;
        };
        self.counted(agents);
        // One that was begun before this agent led has looked at nobody; it was hurried then, and is made again.
        let Some(fleet) = fleet.filter(|_| self.observed.leads) else { return };
        for unreadable in &fleet.unreadable {
            warn!(%unreadable, "an agent's heartbeat can't be understood");
        }
        let versions = fleet.versions().into_iter().collect();
        if self.patching.fleet != versions {
            info!(agents = ?versions, format = fleet.format(), "agents that use the share");
        }
        self.patching.fleet = versions;
        self.fleet = Some(fleet);
    }

    /// How large the fleet is; the next boot begins with that.
    fn counted(&mut self, agents: usize) {
        if self.observed.agents.replace(agents) == Some(agents) {
            return;
        }
        // A task has no next boot.
        if self.config().mount != MountMode::None
            && let Some(instance) = &self.observed.instance
            && let Err(error) = memory::save_agents(&self.config().state_dir, &instance.id, agents)
        {
            warn!(%error, "the number of agents could not be remembered");
        }
    }

    /// The lines of a round; of one that ended early, with those of the round before for what it didn't reach.
    fn merged(&self, mut services: Vec<ServiceReport>, ended_early: bool) -> Vec<ServiceReport> {
        if ended_early {
            let reached: HashSet<&str> = services.iter().map(|service| service.service.as_str()).collect();
            let before = self.patching.services.iter();
            let missing: Vec<_> =
                before.filter(|before| !reached.contains(before.service.as_str())).cloned().collect();
            services.extend(missing);
            services.sort_by(|a, b| a.service.cmp(&b.service));
        }
        services
    }

    pub(super) fn patched(&mut self, result: RoundResult) {
        let is_outdated = std::mem::take(&mut self.round_is_outdated);
        self.memory = if is_outdated { Memory::default() } else { result.memory };
        self.counters.registered += result.registered;
        self.counters.updated += result.updated;
        self.patching.last_round = Some(timestamp(SystemTime::now()));
        self.patching.services = Arc::new(self.merged(result.services, result.error.is_some()));
        self.patching.last_action = result.leads.as_ref().and_then(|leads| leads.last_action.clone());
        self.leads = result.leads;
        let denied = result.error.as_ref().is_some_and(RoundError::is_denied);
        let lost = result.error.as_ref().is_some_and(RoundError::is_lost_lock);
        let paused = matches!(result.error, Some(RoundError::Paused));
        let drains = matches!(result.error, Some(RoundError::Draining));
        self.quiet_rounds = if result.is_busy { 0 } else { self.quiet_rounds.saturating_add(1) };
        if let Some(is_reached) = result.aws_reached {
            self.aws.note(Service::Ecs, is_reached);
        }
        let outcome = match result.error {
            None => Ok(()),
            Some(error) => Err(error.to_string()),
        };
        self.patching.last_error = outcome.as_ref().err().cloned();
        let ok = self.ended(Action::Patch, outcome.map_err(Trouble::from)).is_some();
        // One that was hurried meanwhile is due.
        if (ok && !is_outdated) || paused {
            let pause = BUSY_PAUSE.saturating_mul(1 << self.quiet_rounds.min(8)).min(QUIET_PAUSE);
            self.schedule.postpone(Action::Patch.name(), jittered(pause), Instant::now());
        }
        if drains {
            self.step_down("this instance drains: another one leads");
            self.schedule.postpone(Action::Lead.name(), jittered(DRAINING_PAUSE), Instant::now());
        } else if lost {
            self.step_down("the leader's lock is lost");
        } else if denied {
            let why = self.patching.last_error.clone().unwrap_or_default();
            self.step_down(&why);
            self.patching.role = Role::NotAllowed;
            self.schedule.postpone(Action::Lead.name(), DENIED_PAUSE, Instant::now());
        }
    }
}
