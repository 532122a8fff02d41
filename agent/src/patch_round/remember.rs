//! What a round remembers: histories on the share for the next leader, and what was read for the next round.

use super::{LastAction, RoundError, Running, SHARE_DEADLINE, Unwritten};
use crate::{
    history::{Histories, History, Moved, Moving},
    report::timestamp,
    service::Service,
    share_worker::{Answers, Request},
};
use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

/// The record is one file for all services: while a queue is worked off it is written no more often than this. What a leader that dies
/// in between had not written yet, the next one sees in ECS.
const BETWEEN_WRITES: Duration = Duration::from_secs(5);

impl<S: Answers, L: Answers> Running<'_, S, L> {
    /// Reads the record, once a term.
    pub(super) async fn recall(&mut self) -> Result<(), RoundError> {
        if self.round.memory.histories.is_some() {
            return Ok(());
        }
        let histories = match &self.round.record {
            Some(name) => {
                let request = Request::ReadHistories { name: name.clone() };
                let read = self.share.ask_within::<(Histories, Option<Moving>)>(&request, SHARE_DEADLINE);
                let (mut histories, moving) = read.await.map_err(RoundError::Share)?;
                if let Some(moving) = moving {
                    histories.expect(moving);
                }
                histories
            }
            None => Histories::default(),
        };
        self.round.memory.histories = Some(Arc::new(histories));
        Ok(())
    }

    pub(super) fn history(&self, service: &Service) -> History {
        let histories = self.round.memory.histories.as_ref();
        histories.and_then(|all| all.services.get(&service.arn)).cloned().unwrap_or_default()
    }

    pub(super) fn change_history(&mut self, service: &Service, change: impl FnOnce(&mut History)) {
        let before = self.history(service);
        let mut history = before.clone();
        change(&mut history);
        if history == before {
            return;
        }
        let histories = Arc::make_mut(self.round.memory.histories.get_or_insert_default());
        if history.is_empty() {
            histories.services.remove(&service.arn);
        } else {
            histories.services.insert(service.arn.clone(), history);
        }
        self.round.memory.unwritten.histories = true;
    }

    /// Notes a change to ECS, for people.
    pub(super) fn note(&mut self, what: String) {
        let by = self.round.instance.clone();
        if let Some(leads) = &mut self.round.leads {
            leads.last_action = Some(LastAction { at: timestamp(SystemTime::now()), by, what });
            self.round.memory.unwritten.leads = true;
        }
    }

    /// [`Running::remember`], unless that was done a moment ago.
    pub(super) async fn remember_soon(&mut self) -> Result<(), RoundError> {
        match self.round.memory.unwritten.at {
            Some(at) if at.elapsed() < BETWEEN_WRITES => Ok(()),
            _ => self.remember().await,
        }
    }

    /// [`Running::remember`] for the end of a round: the last change may be long ago, and the record another leader's by now.
    pub(super) async fn remember_at_the_end(&mut self) -> Result<(), RoundError> {
        let Unwritten { histories, leads, .. } = self.round.memory.unwritten;
        let (Some(lock), true) = (self.lock, histories || leads) else { return Ok(()) };
        self.write_through(lock).await?;
        self.remember().await
    }

    /// Keeps on the share what the next leader must know, if the share doesn't have it yet.
    pub(super) async fn remember(&mut self) -> Result<(), RoundError> {
        let (Some(name), true) = (&self.round.record, self.lock.is_some()) else { return Ok(()) };
        if let (Some(histories), true) =
            (&mut self.round.memory.histories, self.round.memory.unwritten.histories)
        {
            Arc::make_mut(histories).format = self.round.format;
            let request = Request::WriteHistories { name: name.clone(), histories: histories.clone() };
            self.share.ask_within::<()>(&request, SHARE_DEADLINE).await.map_err(RoundError::Share)?;
            self.round.memory.unwritten.histories = false;
            self.round.memory.unwritten.at = Some(Instant::now());
        }
        if let (Some(leads), true) = (&self.round.leads, self.round.memory.unwritten.leads) {
            let request = Request::WriteLeads { name: name.clone(), leads: leads.clone() };
            self.share.ask_within::<()>(&request, SHARE_DEADLINE).await.map_err(RoundError::Share)?;
            self.round.memory.unwritten.leads = false;
            self.round.memory.unwritten.at = Some(Instant::now());
        }
        Ok(())
    }

    /// Keeps on the share what is about to be asked for: if its answer is lost, or the lock, whoever looks next knows what it was decided about.
    pub(super) async fn intend(&mut self, service: &Service, moved: Moved) -> Result<(), RoundError> {
        if let Some(name) = &self.round.record {
            let (service, moved) = (service.arn.clone(), moved.clone());
            let moving = Some(Moving { format: self.round.format, service, moved });
            let request = Request::WriteMoving { name: name.clone(), moving };
            self.share.ask_within::<()>(&request, SHARE_DEADLINE).await.map_err(RoundError::Share)?;
        }
        self.change_history(service, |history| history.moving = Some(moved));
        Ok(())
    }

    /// AWS said that it did not do what was asked for.
    pub(super) async fn not_intended(&mut self, service: &Service) -> Result<(), RoundError> {
        self.change_history(service, |history| history.moving = None);
        if let Some(name) = &self.round.record {
            let request = Request::WriteMoving { name: name.clone(), moving: None };
            self.share.ask_within::<()>(&request, SHARE_DEADLINE).await.map_err(RoundError::Share)?;
        }
        Ok(())
    }

    /// Revisions that nobody runs, and services that are gone.
    pub(super) fn forget_what_is_gone(&mut self, services: &[Service]) {
        let are: HashSet<&str> = services.iter().map(|service| service.arn.as_str()).collect();
        let runs: HashSet<&str> = services
            .iter()
            .flat_map(|service| &service.deployments)
            .map(|deployment| deployment.task_definition.as_str())
            .collect();
        let memory = &mut self.round.memory;
        // What services were moved to in this round is not among what they ran when it began.
        let moved: HashSet<&str> = memory
            .histories
            .iter()
            .flat_map(|histories| histories.services.values())
            .filter_map(|history| Some(history.moved.as_ref()?.patched.as_str()))
            .collect();
        memory
            .readings
            .retain(|(revision, _), _| runs.contains(revision.as_str()) || moved.contains(revision.as_str()));
        memory.refused.retain(|arn, _| are.contains(arn.as_str()));
        memory.fruitless.retain(|arn, _| are.contains(arn.as_str()));
        memory.said.retain(|arn, _| are.contains(arn.as_str()));
        let Some(histories) = memory.histories.as_mut().map(Arc::make_mut) else { return };
        let before = histories.services.len();
        histories.services.retain(|arn, _| are.contains(arn.as_str()));
        memory.unwritten.histories |= histories.services.len() != before;
    }
}
