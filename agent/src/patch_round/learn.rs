//! What a round asks for: revisions and what they are, and why tasks stopped.

use super::{RoundError, Running, now};
use crate::{
    family,
    history::{Cause, History, Moved},
    reading::{Reader, Reading, Unpatched},
    report::Outcome,
    rollout::Latest,
    service::Service,
};
use std::sync::Arc;
use tracing::warn;

impl Running<'_> {
    /// A revision's reading; a revision is read once.
    pub(super) async fn reading(&mut self, arn: &str, is_daemon: bool) -> Result<Arc<Reading>, RoundError> {
        let key = (arn.to_owned(), is_daemon);
        if let Some(reading) = self.round.memory.readings.get(&key) {
            return Ok(reading.clone());
        }
        let answer = self.ecs.task_definition(arn).await?;
        let reader = Reader { rack: &self.round.rack, host_paths: &self.round.host_paths, is_daemon };
        let reading = Arc::new(reader.read(arn, answer));
        self.round.memory.readings.insert(key, reading.clone());
        Ok(reading)
    }

    /// How many of the service's tasks run a revision that declares volumes and doesn't mount them.
    pub(super) async fn tasks_without_volumes(
        &mut self,
        service: &Service,
        outcome: Outcome,
    ) -> Result<u32, RoundError> {
        if matches!(outcome, Outcome::NothingDeclared) {
            return Ok(0);
        }
        let mut tasks = 0;
        for deployment in service.deployments.iter().filter(|deployment| deployment.running > 0) {
            let reading = match self.reading(&deployment.task_definition, service.is_daemon).await {
                Ok(reading) => reading,
                // A revision that can't be read any more tells nothing.
                Err(error) if error.of_one_service().is_some() => continue,
                Err(error) => return Err(error),
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
            warn!(service = %service.name, source = %failed.source, revision = %failed.patched, cause = ?failed.cause, said = %failed.said, times = failed.times, "the deployment of a patched revision failed");
        }
        Ok(())
    }

    /// What the family's latest revision tells: whether it is the patched one already, or somebody's newer code.
    pub(super) async fn latest(
        &self,
        revision: &str,
        unpatched: &Unpatched,
        history: &History,
    ) -> Result<Latest, RoundError> {
        let before = history.moved.as_ref().filter(|moved| moved.source == revision);
        let before = before.filter(|moved| moved.fingerprint == unpatched.patched.fingerprint);
        let before = before.map(|moved| moved.patched.as_str());
        Ok(family::latest(self.ecs, revision, unpatched, before, family::same_stripped).await?)
    }
}
