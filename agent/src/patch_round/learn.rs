//! What a round asks for: revisions and what they are, and why tasks stopped.

use super::{RoundError, Running, now};
use crate::{
    aws::AwsError,
    history::{Cause, History, Moved},
    patch,
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
        // One that the service was moved to before need not be the latest any more.
        let before = history.moved.as_ref().filter(|moved| moved.source == revision);
        let before = before.filter(|moved| moved.fingerprint == unpatched.patched.fingerprint);
        for name in before.map(|moved| moved.patched.as_str()).into_iter().chain([unpatched.family.as_str()])
        {
            let answer = match self.ecs.task_definition(name).await {
                Ok(answer) => answer,
                Err(AwsError::Refused { code, .. }) if code == "ClientException" => {
                    if name == unpatched.family { return Ok(Latest::Nothing) } else { continue }
                }
                Err(error) => return Err(error.into()),
            };
            let text = |path: &str| {
                answer.pointer(path).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
            };
            let (arn, status) = (text("/taskDefinition/taskDefinitionArn"), text("/taskDefinition/status"));
            if arn == revision {
                return Ok(Latest::SameCode);
            }
            let Ok(document) = patch::registerable(answer) else {
                return Ok(Latest::OtherCode(arn));
            };
            if status != "INACTIVE" && patch::equivalent(&document, &unpatched.patched.document) {
                return Ok(Latest::Patched(arn));
            }
            if name == unpatched.family {
                let is_same = patch::equivalent(&patch::strip(&document), &patch::strip(&unpatched.document));
                return Ok(if is_same { Latest::SameCode } else { Latest::OtherCode(arn) });
            }
        }
        Ok(Latest::Nothing)
    }
}
