//! What a round asks for: revisions and what they are, and why tasks stopped.

use super::{DOCUMENTS_KEPT, FRESH, QUEUED, Round, RoundError, Running, now};
use crate::{
    aws::AwsError,
    draining::Status,
    family::{self, Versions},
    history::{Cause, History, Moved},
    reading::{Documents, Reader, Reading, Unpatched, Verdict},
    report::Outcome,
    rollout::Latest,
    service::{Instances, Service},
    share::FILLED_FORMAT,
    share_worker::Answers,
};
use serde_json::Value;
use std::{sync::Arc, time::Instant};
use tracing::warn;

impl<S: Answers, L: Answers> Running<'_, S, L> {
    /// A revision's reading; a revision is read once.
    pub(super) async fn reading(&mut self, arn: &str, is_daemon: bool) -> Result<Arc<Reading>, RoundError> {
        let key = (arn.to_owned(), is_daemon);
        if let Some(reading) = self.round.memory.readings.get(&key) {
            return Ok(reading.clone());
        }
        let (reading, documents) = self.read(arn, is_daemon).await?;
        let reading = Arc::new(reading);
        if let Some(documents) = documents
            && self.documents.len() < DOCUMENTS_KEPT
        {
            self.documents.insert(key.clone(), documents);
        }
        self.round.memory.readings.insert(key, reading.clone());
        Ok(reading)
    }

    fn reader(&self, is_daemon: bool) -> Reader<'_> {
        let Round { rack, host_paths, format, .. } = &self.round;
        Reader { rack, host_paths, is_daemon, fills: *format >= FILLED_FORMAT }
    }

    async fn read(&self, arn: &str, is_daemon: bool) -> Result<(Reading, Option<Documents>), RoundError> {
        let answer = self.ecs.task_definition(arn).await?;
        Ok(self.reader(is_daemon).read(arn, answer))
    }

    /// Reads what was just registered from ECS's own answer, which is all that describing it would say.
    pub(super) fn read_registered(&mut self, arn: &str, is_daemon: bool, answer: Value) {
        let (reading, _) = self.reader(is_daemon).read(arn, answer);
        self.round.memory.readings.insert((arn.to_owned(), is_daemon), Arc::new(reading));
    }

    /// The documents of a revision that is to be patched: kept from its reading, or read again.
    pub(super) async fn documents(&mut self, service: &Service) -> Result<&Documents, RoundError> {
        let arn = service.primary().map(|primary| primary.task_definition.clone()).unwrap_or_default();
        let key = (arn, service.is_daemon);
        let documents = match self.documents.remove(&key) {
            Some(documents) => documents,
            None => {
                let (_, documents) = self.read(&key.0, service.is_daemon).await?;
                let cause = format!("{} is not what it was a moment ago", key.0);
                documents.ok_or(AwsError::Garbled { call: "ecs:DescribeTaskDefinition", cause })?
            }
        };
        Ok(self.documents.entry(key).or_insert(documents))
    }

    /// Its turn is over.
    pub(super) fn forget_documents(&mut self, service: &Service) {
        let arn = service.primary().map(|primary| primary.task_definition.clone()).unwrap_or_default();
        self.documents.remove(&(arn, service.is_daemon));
    }

    /// The instances, if they were asked for a moment ago.
    pub(super) fn instances(&self) -> Option<Instances> {
        self.instances.filter(|(at, _)| at.elapsed() < FRESH).map(|(_, instances)| instances)
    }

    pub(super) async fn learn_instances(&mut self) -> Result<(), RoundError> {
        let instances = self.ecs.instances(&self.round.cluster).await?;
        self.step(|| instances.to_string());
        self.instances = Some((Instant::now(), instances));
        Ok(())
    }

    /// An instance that drains is about to go: who leads must stay.
    pub(super) async fn not_draining(&self) -> Result<(), RoundError> {
        let Some(own) = &self.round.container_instance else { return Ok(()) };
        match self.ecs.status(&self.round.cluster, own).await? {
            Status::Draining => Err(RoundError::Draining),
            Status::Active | Status::Other => Ok(()),
        }
    }

    /// How many of the service's tasks run a revision that declares volumes and doesn't mount them.
    pub(super) async fn tasks_without_volumes(
        &mut self,
        service: &Service,
        verdict: &Verdict,
    ) -> Result<u32, RoundError> {
        if matches!(verdict.outcome, Outcome::NothingDeclared) {
            return Ok(0);
        }
        let mut tasks = 0;
        for deployment in service.deployments.iter().filter(|deployment| deployment.running > 0) {
            let key = (deployment.task_definition.clone(), service.is_daemon);
            let reading = match self.round.memory.readings.get(&key) {
                Some(reading) => reading.clone(),
                // It has not been read for the lack of time.
                None if verdict.code == Some(QUEUED) => continue,
                None => match self.reading(&deployment.task_definition, service.is_daemon).await {
                    Ok(reading) => reading,
                    // A revision that can't be read any more tells nothing.
                    Err(error) if error.of_one_service().is_some() => continue,
                    Err(error) => return Err(error),
                },
            };
            if matches!(reading.as_ref(), Reading::Unpatched(_) | Reading::Refused(_)) {
                tasks += deployment.running;
            }
        }
        Ok(tasks)
    }

    pub(super) async fn learn_failure(&mut self, service: &Service, moved: &Moved) -> Result<(), RoundError> {
        let tasks = self.ecs.stopped_tasks(&self.round.cluster, &service.arn, &moved.patched).await?;
        let mut noted = None;
        self.change_history(service, |history| {
            noted = history.failed(&tasks, service.unplaced.as_ref(), now()).cloned()
        });
        let Some(failed) = noted else { return Ok(()) };
        self.step(|| {
            let by = match failed.cause {
                Cause::Share => "the share",
                Cause::App => "the app",
            };
            format!("the deployment of {} failed because of {by}: {}", failed.patched, failed.said)
        });
        if self.lock.is_some() {
            warn!(cluster = %self.round.cluster, service = %service.name, source = %failed.source, revision = %failed.patched, cause = ?failed.cause, said = %failed.said, times = failed.times, "the deployment of a patched revision failed");
        }
        Ok(())
    }

    /// What the family's latest revision tells: whether it is the patched one already, or somebody's newer code.
    pub(super) async fn latest(
        &mut self,
        service: &Service,
        unpatched: &Unpatched,
        history: &History,
    ) -> Result<Latest, RoundError> {
        let ecs = self.ecs;
        let documents = self.documents(service).await?;
        let versions = Versions { source: &documents.source, patched: &documents.patched };
        let revision = service.primary().map(|primary| primary.task_definition.as_str()).unwrap_or_default();
        let before = history.moved.as_ref().filter(|moved| moved.source == revision);
        let before = before.filter(|moved| moved.fingerprint == unpatched.fingerprint);
        let before = before.map(|moved| moved.patched.as_str());
        let family = &unpatched.family;
        Ok(family::latest(ecs, revision, family, versions, before, family::same_stripped).await?)
    }
}
