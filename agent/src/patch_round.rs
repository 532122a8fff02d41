//! One look of the leader at its cluster: every service whose task definition declares volumes ends on a revision that mounts
//! them. Level-triggered: a round that was cut off anywhere is finished by the next one.

use crate::{
    aws::AwsError,
    directories::{EnsureRequest, Ensured},
    ecs::{Ecs, Service},
    names::Rack,
    patch::{self, PatchSettings, Patched},
    report::{Outcome, ServiceReport, timestamp},
    share_worker::{Request, Worker, WorkerError},
};
use nix::time::{ClockId, clock_gettime};
use serde_json::Value;
use std::{
    collections::{HashMap, HashSet},
    time::{Duration, SystemTime},
};
use tokio::sync::Mutex;
use tracing::{info, warn};

/// For a write through the lock's descriptor.
const CONFIRM_DEADLINE: Duration = Duration::from_secs(3);
/// A confirmation older than this, on a clock that counts suspension, is none: the lock may be another's by now.
const CONFIRMATION_LASTS: Duration = Duration::from_secs(3);
/// For making directories.
const SHARE_DEADLINE: Duration = Duration::from_secs(10);
/// RegisterTaskDefinition refills at one a second for the whole account; half of it is ours.
const REGISTER_PACE: Duration = Duration::from_secs(2);

/// What the leader knows from earlier rounds of its term. Revisions never change, so a verdict on one holds.
#[derive(Debug, Default)]
pub struct Memory {
    verdicts: HashMap<(String, bool), (Outcome, Option<String>)>,
    ensured: HashSet<String>,
    said: HashSet<String>,
}

/// What a round works with.
#[derive(Debug)]
pub struct Round {
    /// The cluster's name or ARN.
    pub cluster: String,
    /// The rack.
    pub rack: Rack,
    /// Paths of the instances that may be mounted verbatim.
    pub host_paths: Vec<String>,
    /// The leader's instance id, for records.
    pub instance: String,
    /// From the round before.
    pub memory: Memory,
}

/// What a round did.
#[derive(Debug)]
pub struct RoundResult {
    /// A line a service, as far as the round came.
    pub services: Vec<ServiceReport>,
    /// Why it ended early.
    pub error: Option<RoundError>,
    /// Revisions registered.
    pub registered: u64,
    /// Services updated.
    pub updated: u64,
    /// Whether AWS answered the last call.
    pub aws_reached: Option<bool>,
    /// For the next round.
    pub memory: Memory,
}

/// Why a round ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum RoundError {
    /// An operator said so.
    #[error("patching is paused by the file /volumes/.volumes-agent/pause: remove it to go on")]
    Paused,
    /// AWS.
    #[error(transparent)]
    Aws(#[from] AwsError),
    /// The lock could not be confirmed, so nothing may be changed.
    #[error("the leader's lock could not be confirmed: {0}")]
    LostLock(WorkerError),
    /// The share.
    #[error("the share: {0}")]
    Share(WorkerError),
    /// The clock.
    #[error("the time since boot can't be read: {0}")]
    Clock(nix::errno::Errno),
}

impl RoundError {
    /// Whether this instance's role may not patch.
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::Aws(error) if error.is_denied())
    }

    /// Whether another instance may lead now.
    pub fn is_lost_lock(&self) -> bool {
        matches!(self, Self::LostLock(_))
    }
}

/// A proof that the lock was held a moment ago.
#[derive(Debug, Clone, Copy)]
struct Confirmation(Duration);

impl Round {
    /// Goes over all services once.
    pub async fn run(self, ecs: &Ecs, lock: &Mutex<Worker>) -> RoundResult {
        let mut running = Running { round: self, ecs, lock, services: Vec::new(), registered: 0, updated: 0 };
        let error = running.all().await.err();
        let aws_reached = match &error {
            None => Some(true),
            Some(RoundError::Aws(error)) => Some(error.reached()),
            Some(_) => None,
        };
        let Running { round, services, registered, updated, .. } = running;
        RoundResult { services, error, registered, updated, aws_reached, memory: round.memory }
    }
}

struct Running<'a> {
    round: Round,
    ecs: &'a Ecs,
    lock: &'a Mutex<Worker>,
    services: Vec<ServiceReport>,
    registered: u64,
    updated: u64,
}

type Verdict = (Outcome, Option<String>);

impl Running<'_> {
    async fn all(&mut self) -> Result<(), RoundError> {
        let paused = self.lock.lock().await.ask_within(&Request::Paused, SHARE_DEADLINE).await;
        if paused.map_err(RoundError::Share)? {
            return Err(RoundError::Paused);
        }
        let services = self.ecs.services(&self.round.cluster).await?;
        for service in services {
            let (outcome, reason, task_definition) = self.one(&service).await?;
            if outcome == Outcome::Refused {
                let reason = reason.as_deref().unwrap_or_default();
                // Said once a term of the leader; `/status` says it all the time.
                if self.round.memory.said.insert(format!("{} {reason}", service.arn)) {
                    warn!(service = %service.name, task_definition = %service.task_definition, %reason, "refused");
                }
            }
            self.services.push(ServiceReport { service: service.name, outcome, task_definition, reason });
        }
        Ok(())
    }

    async fn one(&mut self, service: &Service) -> Result<(Outcome, Option<String>, String), RoundError> {
        let revision = service.task_definition.clone();
        let key = (revision.clone(), service.is_daemon);
        if let Some((outcome, reason)) = self.round.memory.verdicts.get(&key) {
            return Ok((*outcome, reason.clone(), revision));
        }
        let answer = self.ecs.task_definition(&revision).await?;
        let document = match patch::registerable(answer) {
            Ok(document) => document,
            Err(error) => return Ok(self.settled(key, (Outcome::Refused, Some(error.to_string())))),
        };
        let settings = PatchSettings {
            rack: &self.round.rack,
            // ECS stops running daemons whose instance no longer matches: what they use has no gate.
            gate: !service.is_daemon,
            source: revision.clone(),
            host_paths: &self.round.host_paths,
        };
        match patch::patch(&document, &settings) {
            Ok(patch::Outcome::NothingDeclared) => Ok(self.settled(key, (Outcome::NothingDeclared, None))),
            Ok(patch::Outcome::Off) => {
                let reason = "its label `convox.volumes.agent` is `off`".to_owned();
                Ok(self.settled(key, (Outcome::LeftAlone, Some(reason))))
            }
            Ok(patch::Outcome::OtherRack { rack }) => {
                let reason = format!("it is rack `{rack}`'s by its label `convox.rack`");
                Ok(self.settled(key, (Outcome::LeftAlone, Some(reason))))
            }
            Err(error) => Ok(self.settled(key, (Outcome::Refused, Some(error.to_string())))),
            Ok(patch::Outcome::Patched(patched)) => {
                if let Some(refusal) = self.ensure(&patched).await? {
                    return Ok((Outcome::Refused, Some(refusal), revision));
                }
                if patch::equivalent(&patched.document, &document) {
                    return Ok(self.settled(key, (Outcome::Patched, None)));
                }
                self.update(service, &document, &patched).await
            }
        }
    }

    /// Keeps what will be the same for this revision in every round.
    fn settled(&mut self, key: (String, bool), verdict: Verdict) -> (Outcome, Option<String>, String) {
        let revision = key.0.clone();
        self.round.memory.verdicts.insert(key, verdict.clone());
        (verdict.0, verdict.1, revision)
    }

    /// The directories of the volumes, before any task could need them. `Some`: why they can't be had.
    async fn ensure(&mut self, patched: &Patched) -> Result<Option<String>, RoundError> {
        let missing: Vec<_> =
            patched.volumes.iter().filter(|v| !self.round.memory.ensured.contains(&v.relative)).collect();
        for wanted in missing {
            let request = EnsureRequest::new(
                &wanted.rack,
                &wanted.app,
                vec![wanted.relative.clone()],
                &self.round.instance,
                timestamp(SystemTime::now()),
            );
            // A worker of its own: the one that holds the lock must not hang in anything else.
            let ensured =
                crate::share_worker::ask::<Ensured>(&Request::Ensure(request), SHARE_DEADLINE).await;
            match ensured {
                Ok(ensured) => {
                    for path in ensured.made {
                        info!(volume = %path, "directory made");
                    }
                    self.round.memory.ensured.insert(wanted.relative.clone());
                }
                Err(WorkerError::Failed(refusal)) => return Ok(Some(refusal)),
                Err(error) => return Err(RoundError::Share(error)),
            }
        }
        Ok(None)
    }

    /// Registers the patched revision, unless it is there already, and moves the service to it.
    async fn update(
        &mut self,
        service: &Service,
        document: &Value,
        patched: &Patched,
    ) -> Result<(Outcome, Option<String>, String), RoundError> {
        let revision = service.task_definition.clone();
        let wait = |reason: String| Ok((Outcome::Waiting, Some(reason), revision.clone()));
        if let Some(why) = &service.not_rolling {
            let reason =
                format!("{why}, which this agent does not update: run `volumes-agent patch` in the pipeline");
            return Ok((Outcome::Refused, Some(reason), revision));
        }
        if service.has_failed_deployment {
            return wait("a deployment of it failed; ECS may be rolling back".to_owned());
        }
        let registered = match self.registered_before(&revision, document, patched).await? {
            Before::Reuse(arn) => arn,
            Before::Wait(reason) => return wait(reason),
            Before::Register => match self.register(service, patched).await? {
                Ok(arn) => arn,
                Err(refusal) => return Ok((Outcome::Refused, Some(refusal), revision)),
            },
        };
        let now = self.ecs.service(&self.round.cluster, &service.arn).await?;
        if now.is_none_or(|now| now.task_definition != service.task_definition) {
            return wait("it was deployed anew meanwhile".to_owned());
        }
        let confirmation = self.confirm().await?;
        confirmation.still_holds()?;
        self.ecs.update_service(&self.round.cluster, &service.arn, &registered).await?;
        self.updated += 1;
        info!(service = %service.name, from = %service.task_definition, to = %registered, "service updated");
        Ok((Outcome::Updated, None, registered))
    }

    /// What the family's latest revision tells: whether it is the patched one already, or somebody's newer code.
    async fn registered_before(
        &self,
        revision: &str,
        document: &Value,
        patched: &Patched,
    ) -> Result<Before, RoundError> {
        let family = document.get("family").and_then(Value::as_str).unwrap_or_default();
        let answer = self.ecs.task_definition(family).await?;
        let latest = answer
            .pointer("/taskDefinition/taskDefinitionArn")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        if latest == revision {
            return Ok(Before::Register);
        }
        let Ok(latest_document) = patch::registerable(answer) else {
            return Ok(Before::Wait(format!("the family's latest revision, {latest}, can't be read")));
        };
        if patch::equivalent(&latest_document, &patched.document) {
            return Ok(Before::Reuse(latest));
        }
        // The patched old code would become the latest, which one-off runs and schedules use.
        if patch::equivalent(&patch::strip(&latest_document), &patch::strip(document)) {
            return Ok(Before::Register);
        }
        Ok(Before::Wait(format!(
            "the family's latest revision, {latest}, is other code than the service runs: a deploy seems to be under way"
        )))
    }

    /// Registers, and compares ECS's answer with what was sent before anything uses it.
    async fn register(
        &mut self,
        service: &Service,
        patched: &Patched,
    ) -> Result<Result<String, String>, RoundError> {
        let confirmation = self.confirm().await?;
        confirmation.still_holds()?;
        let answer = self.ecs.register(&patched.document).await?;
        self.registered += 1;
        let arn =
            answer.pointer("/taskDefinition/taskDefinitionArn").and_then(Value::as_str).map(str::to_owned);
        let dropped = patch::dropped_fields(&patched.document, &answer);
        tokio::time::sleep(REGISTER_PACE).await;
        match arn {
            None => Ok(Err("ECS's answer to RegisterTaskDefinition names no revision".to_owned())),
            Some(arn) if !dropped.is_empty() => Ok(Err(format!(
                "ECS did not keep {} of revision {arn}; the service was not updated",
                dropped.join(", ")
            ))),
            Some(arn) => {
                info!(service = %service.name, source = %service.task_definition, revision = %arn, fingerprint = %patched.fingerprint, "patched revision registered");
                Ok(Ok(arn))
            }
        }
    }

    /// Writes through the lock, and notes when that began.
    async fn confirm(&self) -> Result<Confirmation, RoundError> {
        let begun = since_boot()?;
        let mut worker = self.lock.lock().await;
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

enum Before {
    Register,
    Reuse(String),
    Wait(String),
}

/// A clock that counts suspension (CLOCK_BOOTTIME, clock_gettime(2)).
fn since_boot() -> Result<Duration, RoundError> {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).map_err(RoundError::Clock)
}
