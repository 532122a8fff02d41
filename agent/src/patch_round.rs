//! One look of the leader at its cluster: every service whose task definition declares volumes ends on a revision that mounts
//! them. Level-triggered: a round that was cut off anywhere is finished by the next one. What is done is decided by [`rollout`]; here
//! it is asked for and done.
//!
//! Without the lock a round looks only: `explain-service` and `run --dry-run` take the same way up to the first change.

use crate::{
    aws::AwsError,
    directories::{EnsureRequest, Ensured},
    ecs::Ecs,
    history::{Dropped, Histories, History, Moved},
    names::Rack,
    patch::{self, Needed},
    reading::{Reader, Reading, Unpatched, Verdict},
    report::{Outcome, ServiceReport, timestamp},
    rollout::{self, Facts, Latest, Next},
    service::{Instances, Service},
    share_worker::{Request, Worker, WorkerError},
};
use nix::time::{ClockId, clock_gettime};
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::sync::Mutex;
use tracing::{error, info, warn};

/// For a write through the lock's descriptor.
const CONFIRM_DEADLINE: Duration = Duration::from_secs(3);
/// A confirmation older than this, on a clock that counts suspension, is none: the lock may be another's by now.
const CONFIRMATION_LASTS: Duration = Duration::from_secs(3);
/// For making directories, and for records.
const SHARE_DEADLINE: Duration = Duration::from_secs(10);
/// Between two tries of what AWS refused for one service; doubled each time.
const REFUSED_PAUSE: Duration = Duration::from_secs(60);
/// Its longest.
const LONGEST_REFUSED_PAUSE: Duration = Duration::from_secs(3600);

/// What the leader knows from earlier rounds of its term.
#[derive(Debug, Default)]
pub struct Memory {
    /// By revision, and whether it is for a daemon. Revisions never change.
    readings: HashMap<(String, bool), Arc<Reading>>,
    ensured: HashSet<String>,
    histories: Option<Histories>,
    /// What AWS refused, by service.
    refused: HashMap<String, RefusedByAws>,
    /// What was said of each service last: its outcome, the reason's code, and whether tasks run without volumes.
    said: HashMap<String, (Outcome, Option<&'static str>, bool)>,
}

#[derive(Debug, Clone)]
struct RefusedByAws {
    /// The PRIMARY deployment and revision that it was about: another one is tried at once.
    about: (String, String),
    verdict: Verdict,
    until: Instant,
    times: u32,
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
    /// The name of the cluster's record on the share; none where the share can't be read.
    pub record: Option<String>,
    /// One service alone, by name or ARN, and step by step.
    pub only: Option<String>,
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
    /// The steps, where one service was asked for.
    pub steps: Vec<String>,
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

    /// What is about one service alone, as its verdict: what AWS won't do for this service it may do for others.
    fn of_one_service(&self) -> Option<Verdict> {
        let Self::Aws(error) = self else { return None };
        match error {
            AwsError::Refused { cause, .. } if cause.contains("active deployments exist") => {
                Some(Verdict::because(Outcome::Waiting, "too-many-deployments", error.to_string()))
            }
            AwsError::Refused { .. } | AwsError::Garbled { .. } => {
                Some(Verdict::refused("refused-by-aws", error.to_string()))
            }
            AwsError::Denied { cause, .. } if cause.contains("iam:PassRole") => Some(Verdict::refused(
                "pass-role",
                format!("{error}. Allow iam:PassRole on that role, or patch in the pipeline"),
            )),
            AwsError::Denied { .. } | AwsError::Throttled { .. } | AwsError::Unreachable { .. } => None,
        }
    }
}

/// A proof that the lock was held, and patching not paused, a moment ago.
#[derive(Debug, Clone, Copy)]
struct Confirmation(Duration);

impl Round {
    /// Goes over all services once. Without a lock nothing is changed.
    pub async fn run(self, ecs: &Ecs, lock: Option<&Mutex<Worker>>) -> RoundResult {
        let mut running = Running {
            round: self,
            ecs,
            lock,
            instances: None,
            services: Vec::new(),
            steps: Vec::new(),
            registered: 0,
            updated: 0,
        };
        let error = running.all().await.err();
        let aws_reached = match &error {
            None => Some(true),
            Some(RoundError::Aws(error)) => Some(error.reached()),
            Some(_) => None,
        };
        let Running { round, services, steps, registered, updated, .. } = running;
        RoundResult { services, error, registered, updated, aws_reached, steps, memory: round.memory }
    }
}

struct Running<'a> {
    round: Round,
    ecs: &'a Ecs,
    lock: Option<&'a Mutex<Worker>>,
    /// Asked for once a round, and only if somebody needs it.
    instances: Option<Instances>,
    services: Vec<ServiceReport>,
    steps: Vec<String>,
    registered: u64,
    updated: u64,
}

impl Running<'_> {
    async fn all(&mut self) -> Result<(), RoundError> {
        if self.lock.is_some() {
            self.not_paused().await?;
        }
        if self.round.memory.histories.is_none() {
            let histories = match &self.round.record {
                Some(name) => {
                    let request = Request::ReadHistories { name: name.clone() };
                    crate::share_worker::ask(&request, SHARE_DEADLINE).await.map_err(RoundError::Share)?
                }
                None => Histories::default(),
            };
            self.round.memory.histories = Some(histories);
        }
        let services = match &self.round.only {
            Some(name) => self.ecs.service(&self.round.cluster, name).await?.into_iter().collect(),
            None => self.ecs.services(&self.round.cluster).await?,
        };
        for service in &services {
            self.one(service).await?;
        }
        if self.lock.is_some() {
            self.forget_what_is_gone(&services).await?;
        }
        Ok(())
    }

    /// One service, to its line in the report.
    async fn one(&mut self, service: &Service) -> Result<(), RoundError> {
        let before = self.history(service);
        let verdict = match self.decided(service).await {
            Ok(verdict) => verdict,
            Err(error) => {
                let verdict = error.of_one_service().ok_or(error)?;
                self.refused_by_aws(service, verdict)
            }
        };
        if self.history(service) != before {
            self.remember().await?;
        }
        let tasks_without_volumes = self.tasks_without_volumes(service, verdict.outcome).await?;
        self.say(service, &verdict, tasks_without_volumes);
        let revision = service.primary().map(|primary| primary.task_definition.clone()).unwrap_or_default();
        self.services.push(ServiceReport {
            service: service.name.clone(),
            outcome: verdict.outcome,
            task_definition: revision,
            reason: verdict.reason,
            code: verdict.code.map(str::to_owned),
            tasks_without_volumes,
        });
        Ok(())
    }

    async fn decided(&mut self, service: &Service) -> Result<Verdict, RoundError> {
        let Some(primary) = service.primary() else {
            return Ok(Verdict::refused("no-deployment", "it has no deployment and no task definition"));
        };
        self.step(|| format!("service {} ({})", service.name, service.arn));
        for deployment in &service.deployments {
            self.step(|| {
                format!(
                    "deployment {}{}: {} {:?}, {} of {} tasks run, {} failed",
                    deployment.id,
                    if deployment.is_primary { " (PRIMARY)" } else { "" },
                    deployment.task_definition,
                    deployment.rollout,
                    deployment.running,
                    deployment.desired,
                    deployment.failed
                )
            });
        }
        if let Some(refused) = self.round.memory.refused.get(&service.arn)
            && refused.about == about(service)
            && Instant::now() < refused.until
        {
            return Ok(refused.verdict.clone());
        }
        let reading = self.reading(&primary.task_definition, service.is_daemon).await?;
        self.look_at(service, &reading);
        let volumes = match reading.as_ref() {
            Reading::Patched { volumes, .. } => &volumes[..],
            Reading::Unpatched(unpatched) => &unpatched.patched.volumes,
            _ => &[],
        };
        if let Some(refusal) = self.ensure(volumes).await? {
            return Ok(Verdict::refused("directories", refusal));
        }
        let mut latest = None;
        loop {
            let history = self.history(service);
            let facts = Facts {
                service,
                reading: &reading,
                history: &history,
                now: now(),
                instances: self.instances,
                latest: latest.as_ref(),
            };
            match rollout::next(facts) {
                Next::Stay(verdict) => return Ok(verdict),
                Next::LearnFailure(moved) => self.learn_failure(service, moved).await?,
                Next::LearnInstances => {
                    let instances = self.ecs.instances(&self.round.cluster).await?;
                    self.step(|| {
                        format!("{} instances are ready, {} are not", instances.ready, instances.not_ready)
                    });
                    self.instances = Some(instances);
                }
                Next::LearnLatest(unpatched) => {
                    let learnt = self.latest(&primary.task_definition, unpatched, &history).await?;
                    self.step(|| format!("the family's latest revision: {learnt:?}"));
                    latest = Some(learnt);
                }
                Next::Register(unpatched) => {
                    let Some(lock) = self.lock else {
                        let reason = format!(
                            "a patched revision of {} would be registered, and the service moved to it",
                            unpatched.family
                        );
                        return Ok(Verdict::because(Outcome::Waiting, "would-register", reason));
                    };
                    match self.register(lock, service, unpatched).await? {
                        Ok(arn) => latest = Some(Latest::Patched(arn)),
                        Err(verdict) => return Ok(verdict),
                    }
                }
                Next::Move(unpatched, to) => {
                    let Some(lock) = self.lock else {
                        let reason = format!("the service would be moved to {to}");
                        return Ok(Verdict::because(Outcome::Waiting, "would-move", reason));
                    };
                    return self.moved(lock, service, unpatched, to).await;
                }
            }
        }
    }

    /// Adds a step to what `explain-service` tells.
    fn step(&mut self, text: impl FnOnce() -> String) {
        if self.round.only.is_some() {
            self.steps.push(text());
        }
    }

    fn history(&self, service: &Service) -> History {
        let histories = self.round.memory.histories.as_ref();
        histories.and_then(|all| all.services.get(&service.arn)).cloned().unwrap_or_default()
    }

    fn change_history(&mut self, service: &Service, change: impl FnOnce(&mut History)) {
        let histories = self.round.memory.histories.get_or_insert_default();
        let history = histories.services.entry(service.arn.clone()).or_default();
        change(history);
        if history.is_empty() {
            histories.services.remove(&service.arn);
        }
    }

    /// What this look tells that later ones must know.
    fn look_at(&mut self, service: &Service, reading: &Reading) {
        let at = now();
        match reading {
            Reading::NothingDeclared => self.step(|| "the PRIMARY revision declares no volumes".to_owned()),
            Reading::LeftAlone(_) | Reading::Refused(_) => {}
            Reading::Patched { source, fingerprint, volumes } => {
                self.step(|| format!("the PRIMARY revision is patched; it was made from {source}"));
                for volume in volumes {
                    self.step(|| format!("volume /volumes/{}", volume.relative));
                }
                self.change_history(service, |history| {
                    history.saw_patched(service, source, fingerprint, at);
                });
            }
            Reading::Unpatched(unpatched) => {
                self.step(|| "the PRIMARY revision declares volumes that it does not mount".to_owned());
                for volume in &unpatched.patched.volumes {
                    self.step(|| format!("volume /volumes/{}", volume.relative));
                }
                self.change_history(service, |history| {
                    history.saw_unpatched(service, &unpatched.patched.fingerprint, at);
                });
            }
        }
    }

    /// A revision's reading; a revision is read once.
    async fn reading(&mut self, arn: &str, is_daemon: bool) -> Result<Arc<Reading>, RoundError> {
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
    async fn tasks_without_volumes(
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

    /// One line when something begins and one when it ends; `/status` says it all the time.
    fn say(&mut self, service: &Service, verdict: &Verdict, tasks_without_volumes: u32) {
        let now = (verdict.outcome, verdict.code, tasks_without_volumes > 0);
        let before = self.round.memory.said.insert(service.arn.clone(), now);
        if self.lock.is_none() {
            return;
        }
        let (name, reason) = (&service.name, verdict.reason.as_deref().unwrap_or_default());
        let task_definition = service.primary().map_or("", |primary| primary.task_definition.as_str());
        match (before.is_some_and(|(_, _, without)| without), now.2) {
            (false, true) => {
                error!(service = %name, %task_definition, tasks = tasks_without_volumes, outcome = verdict.outcome.name(), %reason, "tasks run without their volumes: what they write there is lost with them");
            }
            (true, false) => info!(service = %name, "no task runs without its volumes any more"),
            _ => {}
        }
        let is_said = |outcome| matches!(outcome, Outcome::Refused | Outcome::Waiting | Outcome::LeftAlone);
        let was =
            before.filter(|(outcome, _, _)| is_said(*outcome)).map(|(outcome, code, _)| (outcome, code));
        let is = is_said(verdict.outcome).then_some((verdict.outcome, verdict.code));
        if was == is {
            return;
        }
        if let Some((outcome, code)) = was {
            info!(service = %name, was = outcome.name(), code = code.unwrap_or_default(), now = verdict.outcome.name(), "over");
        }
        match is {
            Some((Outcome::Refused, code)) => {
                warn!(service = %name, %task_definition, code = code.unwrap_or_default(), %reason, "refused");
            }
            Some((outcome, code)) => {
                info!(service = %name, %task_definition, code = code.unwrap_or_default(), %reason, "{}", outcome.name());
            }
            None => {}
        }
    }

    /// The directories of the volumes, before any task could need them. `Some`: why they can't be had.
    async fn ensure(&mut self, volumes: &[Needed]) -> Result<Option<String>, RoundError> {
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

    async fn learn_failure(&mut self, service: &Service, moved: &Moved) -> Result<(), RoundError> {
        let tasks = self.ecs.stopped_tasks(&self.round.cluster, &service.arn, &moved.patched).await?;
        let mut noted = None;
        self.change_history(service, |history| noted = history.failed(&tasks, now()).cloned());
        let Some(failed) = noted else { return Ok(()) };
        self.step(|| {
            format!("the deployment of {} failed, by the {:?}: {}", failed.patched, failed.cause, failed.said)
        });
        if self.lock.is_some() {
            warn!(service = %service.name, source = %failed.source, revision = %failed.patched, cause = ?failed.cause, said = %failed.said, times = failed.times, "the deployment of a patched revision failed");
        }
        Ok(())
    }

    /// What the family's latest revision tells: whether it is the patched one already, or somebody's newer code.
    async fn latest(
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

    /// Registers, and compares ECS's answer with what was sent before anything uses it.
    async fn register(
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
    async fn moved(
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

    fn refused_by_aws(&mut self, service: &Service, verdict: Verdict) -> Verdict {
        let before = self.round.memory.refused.get(&service.arn);
        let times =
            before.filter(|before| before.about == about(service)).map_or(0, |before| before.times + 1);
        let pause = REFUSED_PAUSE.saturating_mul(1 << times.min(10)).min(LONGEST_REFUSED_PAUSE);
        let refused = RefusedByAws {
            about: about(service),
            verdict: verdict.clone(),
            until: Instant::now() + pause,
            times,
        };
        self.round.memory.refused.insert(service.arn.clone(), refused);
        verdict
    }

    /// Keeps on the share what the next leader must know.
    async fn remember(&mut self) -> Result<(), RoundError> {
        let (Some(name), Some(histories), true) =
            (&self.round.record, &self.round.memory.histories, self.lock.is_some())
        else {
            return Ok(());
        };
        let request = Request::WriteHistories { name: name.clone(), histories: histories.clone() };
        crate::share_worker::ask::<()>(&request, SHARE_DEADLINE).await.map_err(RoundError::Share)
    }

    async fn forget_what_is_gone(&mut self, services: &[Service]) -> Result<(), RoundError> {
        let are: HashSet<&str> = services.iter().map(|service| service.arn.as_str()).collect();
        let runs: HashSet<&str> = services
            .iter()
            .flat_map(|service| &service.deployments)
            .map(|deployment| deployment.task_definition.as_str())
            .collect();
        let memory = &mut self.round.memory;
        memory.readings.retain(|(revision, _), _| runs.contains(revision.as_str()));
        memory.refused.retain(|arn, _| are.contains(arn.as_str()));
        memory.said.retain(|arn, _| are.contains(arn.as_str()));
        let Some(histories) = &mut memory.histories else { return Ok(()) };
        let before = histories.services.len();
        histories.services.retain(|arn, _| are.contains(arn.as_str()));
        if histories.services.len() == before { Ok(()) } else { self.remember().await }
    }

    async fn not_paused(&self) -> Result<(), RoundError> {
        // A worker of its own: the one that holds the lock must not hang in anything else.
        match crate::share_worker::ask(&Request::Paused, SHARE_DEADLINE).await.map_err(RoundError::Share)? {
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

/// What a decision is about: the PRIMARY deployment and its revision.
fn about(service: &Service) -> (String, String) {
    let primary = service.primary();
    primary.map(|primary| (primary.id.clone(), primary.task_definition.clone())).unwrap_or_default()
}

fn now() -> Duration {
    // Before 1970 all times are alike.
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// A clock that counts suspension (CLOCK_BOOTTIME, clock_gettime(2)).
fn since_boot() -> Result<Duration, RoundError> {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).map_err(RoundError::Clock)
}
