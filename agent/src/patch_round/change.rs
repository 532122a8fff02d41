//! What a round changes: directories, revisions and services, each only with a lock that was confirmed a moment ago.

use super::{RoundError, Running, SHARE_DEADLINE, about};
use crate::{
    directories::{EnsureRequest, Ensured},
    history::{Dropped, Moved},
    patch::{self, Needed},
    reading::{Unpatched, Verdict},
    report::{Outcome, timestamp},
    service::Service,
    share_worker::{Request, Worker, WorkerError},
};
use nix::time::{ClockId, clock_gettime};
use std::time::{Duration, SystemTime};
use tokio::sync::Mutex;
use tracing::info;

/// For a write through the lock's descriptor.
const CONFIRM_DEADLINE: Duration = Duration::from_secs(3);
/// A confirmation older than this, on a clock that counts suspension, is none: the lock may be another's by now.
const CONFIRMATION_LASTS: Duration = Duration::from_secs(3);

/// A proof that the lock was held, and patching not paused, a moment ago.
#[derive(Debug, Clone, Copy)]
struct Confirmation(Duration);

impl Running<'_> {
    /// The directories of the volumes, before any task could need them. `Some`: why they can't be had.
    pub(super) async fn ensure(&mut self, volumes: &[Needed]) -> Result<Option<String>, RoundError> {
        if self.lock.is_none() {
            return Ok(None);
        }
        for wanted in volumes {
            if self.round.memory.ensured.contains(&wanted.relative) {
                continue;
            }
            let request = EnsureRequest::new(
                &wanted.rack,
                &wanted.app,
                vec![wanted.relative.clone()],
                &self.round.instance,
                timestamp(SystemTime::now()),
            );
            let ensured = self.share.ask_within::<Ensured>(&Request::Ensure(request), SHARE_DEADLINE).await;
            match ensured {
                Ok(ensured) => {
                    for path in ensured.made {
                        info!(volume = %path, "directory made");
                    }
                    self.round.memory.ensured.insert(wanted.relative.clone());
                }
                Err(WorkerError::Failed(refusal)) => return Ok(Some(refusal.text)),
                Err(error) => return Err(RoundError::Share(error)),
            }
        }
        Ok(None)
    }

    /// Registers, and compares ECS's answer with what was sent before anything uses it.
    pub(super) async fn register(
        &mut self,
        lock: &Mutex<Worker>,
        service: &Service,
        unpatched: &Unpatched,
    ) -> Result<Result<String, Verdict>, RoundError> {
        let patched = &unpatched.patched;
        let source = service.primary().map(|primary| primary.task_definition.clone()).unwrap_or_default();
        self.ecs.may_register().await;
        self.confirm(lock).await?.still_holds()?;
        let answer = self.ecs.register(&patched.document).await?;
        self.registered += 1;
        let arn = answer.pointer("/taskDefinition/taskDefinitionArn").and_then(serde_json::Value::as_str);
        let Some(arn) = arn.map(str::to_owned) else {
            let reason = "ECS's answer to RegisterTaskDefinition names no revision";
            return Ok(Err(Verdict::refused("refused-by-aws", reason)));
        };
        let dropped = patch::dropped_fields(&patched.document, &answer);
        if dropped.is_empty() {
            info!(service = %service.name, %source, revision = %arn, fingerprint = %patched.fingerprint, "patched revision registered");
            return Ok(Ok(arn));
        }
        let reason = format!(
            "ECS did not keep {} of revision {arn}, so the service was not moved to it. Deregister {arn}, and deploy without what ECS does not keep",
            dropped.join(", ")
        );
        let known = Dropped { source, reason: reason.clone() };
        self.change_history(service, |history| history.dropped = Some(known));
        Ok(Err(Verdict::refused("dropped-field", reason)))
    }

    /// Moves the service, if it is still what was decided about.
    pub(super) async fn moved(
        &mut self,
        lock: &Mutex<Worker>,
        service: &Service,
        unpatched: &Unpatched,
        to: String,
    ) -> Result<Verdict, RoundError> {
        self.ecs.may_update().await;
        let fresh = self.ecs.service(&self.round.cluster, &service.arn).await?;
        if fresh.as_ref().map(about) != Some(about(service)) {
            let reason = "it was deployed anew, or removed, meanwhile: this patch is dropped";
            return Ok(Verdict::because(Outcome::Waiting, "superseded", reason));
        }
        self.confirm(lock).await?.still_holds()?;
        self.ecs.update_service(&self.round.cluster, &service.arn, &to).await?;
        self.updated += 1;
        let (from_deployment, source) = about(service);
        info!(service = %service.name, from = %source, to = %to, "service updated");
        let fingerprint = unpatched.patched.fingerprint.clone();
        self.round.memory.refused.remove(&service.arn);
        self.change_history(service, |history| {
            history.moved =
                Some(Moved { source, patched: to.clone(), fingerprint, from_deployment, has_failed: false });
        });
        Ok(Verdict::because(Outcome::Updated, "moved", format!("moved to {to}")))
    }

    pub(super) async fn not_paused(&self) -> Result<(), RoundError> {
        match self.share.ask_within(&Request::Paused, SHARE_DEADLINE).await.map_err(RoundError::Share)? {
            true => Err(RoundError::Paused),
            false => Ok(()),
        }
    }

    /// Asks whether an operator paused patching, then writes through the lock and notes when that began.
    async fn confirm(&self, lock: &Mutex<Worker>) -> Result<Confirmation, RoundError> {
        self.not_paused().await?;
        let begun = since_boot()?;
        let mut worker = lock.lock().await;
        worker
            .ask_within::<()>(&Request::ConfirmLock, CONFIRM_DEADLINE)
            .await
            .map_err(RoundError::LostLock)?;
        Ok(Confirmation(begun))
    }
}

impl Confirmation {
    /// Asked just before a change is sent.
    fn still_holds(self) -> Result<(), RoundError> {
        let age = since_boot()?.saturating_sub(self.0);
        if age <= CONFIRMATION_LASTS { Ok(()) } else { Err(RoundError::LostLock(WorkerError::TimedOut(age))) }
    }
}

/// A clock that counts suspension (CLOCK_BOOTTIME, clock_gettime(2)).
fn since_boot() -> Result<Duration, RoundError> {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).map_err(RoundError::Clock)
}
