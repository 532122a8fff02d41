//! Leading: the lock that makes this agent the one that patches, and what its rounds come to.

use super::{Agent, pace, reach::Service};
use crate::{
    leader::Leads,
    patch_round::{Memory, RoundError, RoundResult},
    plan::Action,
    report::{Patching, Role, timestamp},
    schedule::jittered,
    share_worker::{Worker, WorkerError},
    trouble::Trouble,
};
use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};
use tokio::sync::Mutex;
use tracing::{info, warn};

/// After AWS said that this role may not patch.
const DENIED_PAUSE: Duration = Duration::from_secs(3600);

impl Agent {
    pub(super) fn led(&mut self, result: Result<Result<Worker, Option<Leads>>, WorkerError>) {
        let Some(answer) = self.ended(Action::Lead, result.map_err(Trouble::from)) else {
            self.patching.role = Role::Waiting;
            self.patching.reason = self.problems.get(Action::Lead.name()).map(|trouble| trouble.text.clone());
            return;
        };
        let role = self.patching.role;
        match answer {
            // The share may have gone while the lock was being taken: the next pass steps down then.
            Ok(worker) => {
                info!("this instance leads: it patches the cluster's services");
                self.lock = Some(Arc::new(Mutex::new(worker)));
                self.observed.leads = true;
                self.observed.leads_by = self.observed.lock_name(&self.config());
                self.memory = Memory::default();
                self.schedule.hurry(Action::Patch.name());
                self.patching = Patching {
                    role: Role::Leader,
                    leader: self.observed.instance.as_ref().map(|instance| instance.id.clone()),
                    leader_since: Some(timestamp(SystemTime::now())),
                    ..Patching::default()
                };
            }
            Err(leads) => {
                if role != Role::Follower {
                    let leader = leads.as_ref().map_or("unknown", |leads| leads.instance.as_str());
                    info!(leader, "another instance leads");
                }
                self.schedule.postpone(
                    Action::Lead.name(),
                    jittered(pace(Action::Lead).after_success),
                    Instant::now(),
                );
                self.patching = Patching {
                    role: Role::Follower,
                    leader: leads.as_ref().map(|leads| leads.instance.clone()),
                    leader_since: leads.map(|leads| leads.since),
                    ..Patching::default()
                };
            }
        }
    }

    /// Lets the lock go: the worker that holds it is killed, and a round that uses it ends at its next confirmation.
    pub(super) fn step_down(&mut self, why: &str) {
        warn!(why, "stepping down as leader");
        self.schedule.cancel(Action::Patch.name());
        self.forget_volumes();
        self.lock = None;
        self.observed.leads = false;
        self.patching = Patching { role: Role::Waiting, reason: Some(why.to_owned()), ..Patching::default() };
    }

    pub(super) fn patched(&mut self, result: RoundResult) {
        self.memory = result.memory;
        self.counters.registered += result.registered;
        self.counters.updated += result.updated;
        self.patching.last_round = Some(timestamp(SystemTime::now()));
        self.patching.services = result.services;
        let denied = result.error.as_ref().is_some_and(RoundError::is_denied);
        let lost = result.error.as_ref().is_some_and(RoundError::is_lost_lock);
        let paused = matches!(result.error, Some(RoundError::Paused));
        if let Some(is_reached) = result.aws_reached {
            self.aws.note(Service::Ecs, is_reached);
        }
        let outcome = match result.error {
            None => Ok(()),
            Some(error) => Err(error.to_string()),
        };
        self.patching.last_error = outcome.as_ref().err().cloned();
        let ok = self.ended(Action::Patch, outcome.map_err(Trouble::from)).is_some();
        if ok || paused {
            self.schedule.postpone(
                Action::Patch.name(),
                jittered(pace(Action::Patch).after_success),
                Instant::now(),
            );
        }
        if lost {
            self.step_down("the leader's lock is lost");
        } else if denied {
            let why = self.patching.last_error.clone().unwrap_or_default();
            self.step_down(&why);
            self.patching.role = Role::NotAllowed;
            self.schedule.postpone(Action::Lead.name(), DENIED_PAUSE, Instant::now());
        }
    }
}
