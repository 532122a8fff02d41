//! One look of the leader at its cluster: every service whose task definition declares volumes ends on a revision that mounts
//! them. Level-triggered: a round that was cut off anywhere is finished by the next one. What is done is decided by [`rollout`]; here
//! it is asked for (`learn`), done (`change`), remembered (`remember`) and told (`tell`).
//!
//! First all services are looked at, those that were deployed last before the others; what needs a change is queued, and changed in that
//! order for a while. The rest of the queue is the next round's, which sees first what was deployed meanwhile: a cluster that
//! has never been patched takes long (ECS's own limit is one registration a second), a new deploy doesn't wait for it.
//!
//! Without the lock a round looks only: `explain-service` and `run --dry-run` take the same way up to the first change.

mod change;
mod learn;
mod remember;
mod tell;

use crate::{
    aws::AwsError,
    ecs::Ecs,
    first_use::Configured,
    history::{Histories, History},
    leader::{LastAction, Leads},
    names::Rack,
    reading::{Documents, Reading, Verdict},
    report::{Outcome, RoundProgress, ServiceReport},
    rollout::{self, Facts, Latest, Next},
    service::{Instances, Service},
    share::FORMAT,
    share_worker::{Answers, WorkerError},
};
use std::{
    cmp::Reverse,
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::sync::watch;

/// For making directories, and for records.
const SHARE_DEADLINE: Duration = Duration::from_secs(10);
/// Between two tries of what AWS refused for one service; doubled each time.
const REFUSED_PAUSE: Duration = Duration::from_secs(60);
/// Its longest.
const LONGEST_REFUSED_PAUSE: Duration = Duration::from_secs(3600);
/// So many services' revisions are read, and their directories made, before they are judged.
const AT_A_TIME: usize = 100;
/// Once something is queued, no more revisions are read in this round after so long: the queue shouldn't wait for thousands.
const READING_LASTS: Duration = Duration::from_secs(20);
/// A queue is worked off for so long before everything is looked at again.
const CHANGING_LASTS: Duration = Duration::from_secs(60);
/// What ECS said of a service longer ago than this is asked again before something is changed.
const FRESH: Duration = Duration::from_secs(5);
/// The code of a service whose turn comes in a later round.
const QUEUED: &str = "queued";
/// How many revisions' documents a round keeps, of those that it just read and may need soon.
const DOCUMENTS_KEPT: usize = 64;

/// What the leader knows from earlier rounds of its term.
#[derive(Debug, Default)]
pub struct Memory {
    /// The format that all else is of: what a revision becomes, and what is noted of its volumes, depends on it.
    format: u32,
    /// By revision, and whether it is for a daemon. Revisions never change.
    readings: HashMap<(String, bool), Arc<Reading>>,
    /// Volumes whose directory is there, by layout path, with a hash of what was asked for: that is small, and there may be thousands.
    ensured: HashMap<String, u64>,
    /// Why others can't be had, by layout path.
    refused_paths: HashMap<String, String>,
    /// Services that were tried to be changed and could not be, with what that was about: others are tried before them.
    fruitless: HashMap<String, (String, String)>,
    unwritten: Unwritten,
    /// A large one of thousands of services is not copied to be written.
    histories: Option<Arc<Histories>>,
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
    /// What the configuration says of new volumes.
    pub first_use: Configured,
    /// The leader's instance id, for records.
    pub instance: String,
    /// Its own ARN in ECS: an instance that drains leads no more. None where it is no instance.
    pub container_instance: Option<String>,
    /// The name of the cluster's record on the share; none where the share can't be read.
    pub record: Option<String>,
    /// What is said on the share about this leader; none without the lock.
    pub leads: Option<Leads>,
    /// The format that files on the share are written in.
    pub format: u32,
    /// One service alone, by name or ARN, and step by step.
    pub only: Option<String>,
    /// How far it is.
    pub progress: watch::Sender<Option<RoundProgress>>,
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
    /// Whether something is under way or queued, so that the next round should come soon.
    pub is_busy: bool,
    /// What is said on the share about this leader by now.
    pub leads: Option<Leads>,
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
    /// The instance is on its way out.
    #[error("this instance drains: another one leads")]
    Draining,
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

impl Round {
    /// One that only looks, remembers nothing and knows nothing from before.
    pub fn new(cluster: String, rack: Rack) -> Self {
        Self {
            cluster,
            rack,
            host_paths: Vec::new(),
            first_use: Configured::default(),
            instance: String::new(),
            container_instance: None,
            record: None,
            leads: None,
            format: FORMAT,
            only: None,
            progress: watch::Sender::default(),
            memory: Memory::default(),
        }
    }

    /// Goes over all services once. Without a lock nothing is changed.
    pub async fn run<S: Answers, L: Answers>(self, ecs: &Ecs, share: &S, lock: Option<&L>) -> RoundResult {
        let mut round = self;
        if round.memory.format != round.format {
            round.memory.readings.clear();
            round.memory.ensured.clear();
            round.memory.format = round.format;
        }
        let mut running = Running {
            round,
            ecs,
            share,
            lock,
            instances: None,
            documents: HashMap::new(),
            services: Vec::new(),
            steps: Vec::new(),
            registered: 0,
            updated: 0,
            is_busy: false,
        };
        let mut error = running.all().await.err();
        // What the next leader must know, however this round ended; a lock that was lost is another's, and so is the record.
        if !error.as_ref().is_some_and(RoundError::is_lost_lock)
            && let Err(unwritten) = running.remember_at_the_end().await
        {
            error.get_or_insert(unwritten);
        }
        let aws_reached = match &error {
            None => Some(true),
            Some(RoundError::Aws(error)) => Some(error.reached()),
            Some(_) => None,
        };
        let Running { round, mut services, steps, registered, updated, is_busy, .. } = running;
        services.sort_by(|a, b| a.service.cmp(&b.service));
        round.progress.send_replace(None);
        RoundResult {
            services,
            is_busy: is_busy || registered > 0 || updated > 0,
            error,
            registered,
            updated,
            aws_reached,
            leads: round.leads,
            steps,
            memory: round.memory,
        }
    }
}

/// What the share doesn't have yet.
#[derive(Debug, Clone, Copy, Default)]
struct Unwritten {
    histories: bool,
    leads: bool,
    /// When something was written last.
    at: Option<Instant>,
}

struct Running<'a, S, L> {
    round: Round,
    ecs: &'a Ecs,
    /// For everything on the share but the lock, whose worker must not hang in anything else.
    share: &'a S,
    lock: Option<&'a L>,
    /// Asked for only if somebody needs it, and not believed for long.
    instances: Option<(Instant, Instances)>,
    /// Of revisions that were just read, by revision and whether it is for a daemon: that decides what it becomes.
    documents: HashMap<(String, bool), Documents>,
    services: Vec<ServiceReport>,
    steps: Vec<String>,
    registered: u64,
    updated: u64,
    is_busy: bool,
}

/// What a service came to without a change.
enum Looked {
    Settled(Verdict),
    NeedsChange,
}

impl<S: Answers, L: Answers> Running<'_, S, L> {
    async fn all(&mut self) -> Result<(), RoundError> {
        if let Some(lock) = self.lock {
            // A quiet leader must learn as well that another one leads by now.
            self.confirm(lock).await?;
            self.not_draining().await?;
        }
        self.recall().await?;
        let begun = Instant::now();
        let mut services: Vec<Service> = match &self.round.only {
            Some(name) => self.ecs.service(&self.round.cluster, name).await?.into_iter().collect(),
            None => self.ecs.services(&self.round.cluster).await?,
        };
        services.sort_by_key(|service| Reverse(service.primary().map(|primary| primary.created)));
        let mut progress = RoundProgress { services: services.len(), ..RoundProgress::default() };
        self.tell(progress);
        let listed = Instant::now();
        let mut queue = Vec::new();
        let mut rest = &services[..];
        while !rest.is_empty()
            && (queue.is_empty() || listed.elapsed() < READING_LASTS || self.lock.is_none())
        {
            let (some, after) = rest.split_at(rest.len().min(AT_A_TIME));
            rest = after;
            self.directories(some).await?;
            for service in some {
                match self.look(service).await? {
                    Looked::Settled(verdict) => self.told(service, verdict).await?,
                    Looked::NeedsChange => queue.push(service),
                }
                progress.looked_at += 1;
                progress.queued = queue.len();
                self.tell(progress);
            }
        }
        for service in rest {
            self.known(service, rest.len()).await?;
        }
        // What could not be changed in the round before must not keep the rest from its turn.
        let memory = &self.round.memory;
        queue.sort_by_key(|service| memory.fruitless.get(&service.arn) == Some(&about(service)));
        self.change_all(&queue, begun, &mut progress).await?;
        if self.lock.is_some() {
            self.forget_what_is_gone(&services);
        }
        Ok(())
    }

    /// Works off the queue, for a while.
    async fn change_all(
        &mut self,
        queue: &[&Service],
        described: Instant,
        progress: &mut RoundProgress,
    ) -> Result<(), RoundError> {
        let begun = Instant::now();
        for (at, service) in queue.iter().enumerate() {
            if self.lock.is_some() && begun.elapsed() > CHANGING_LASTS {
                let reason = format!("{} services that were deployed later are patched first", at);
                self.told(service, Verdict::because(Outcome::Waiting, QUEUED, reason)).await?;
                continue;
            }
            let fresh;
            let service = if self.lock.is_none() || described.elapsed() < FRESH {
                *service
            } else {
                let Some(now) = self.ecs.service(&self.round.cluster, &service.arn).await? else { continue };
                if about(&now) != about(service) {
                    // Its volumes may be others: the next round looks at it from the beginning.
                    self.told(service, superseded()).await?;
                    continue;
                }
                fresh = now;
                &fresh
            };
            let verdict = match self.changed(service).await {
                Ok(verdict) => verdict,
                Err(error) => {
                    let verdict = error.of_one_service().ok_or(error)?;
                    self.refused_by_aws(service, verdict)
                }
            };
            self.forget_documents(service);
            if verdict.outcome == Outcome::Updated {
                self.round.memory.fruitless.remove(&service.arn);
            } else {
                self.round.memory.fruitless.insert(service.arn.clone(), about(service));
            }
            self.told(service, verdict).await?;
            self.remember_soon().await?;
            progress.changed += 1;
            progress.queued = queue.len() - at - 1;
            self.tell(*progress);
        }
        Ok(())
    }

    fn tell(&self, progress: RoundProgress) {
        self.round.progress.send_replace(Some(progress));
    }

    /// One that this round has no time to read: what is known of it already, or that it waits.
    async fn known(&mut self, service: &Service, others: usize) -> Result<(), RoundError> {
        let reading = service.primary().and_then(|primary| {
            self.round.memory.readings.get(&(primary.task_definition.clone(), service.is_daemon))
        });
        if reading.is_some()
            && let Looked::Settled(verdict) = self.look(service).await?
        {
            return self.told(service, verdict).await;
        }
        let reason =
            format!("it is one of {others} services that are looked at after those that wait to be patched");
        self.told(service, Verdict::because(Outcome::Waiting, QUEUED, reason)).await
    }

    /// A service's line in the report.
    async fn told(&mut self, service: &Service, verdict: Verdict) -> Result<(), RoundError> {
        let tasks_without_volumes = self.tasks_without_volumes(service, &verdict).await?;
        self.say(service, &verdict, tasks_without_volumes);
        self.is_busy |=
            matches!(verdict.code, Some("moved" | "superseded" | QUEUED | "deployment-in-progress"));
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

    /// What a service is, as far as that can be told without a change.
    async fn look(&mut self, service: &Service) -> Result<Looked, RoundError> {
        match self.looked(service).await {
            Ok(looked) => Ok(looked),
            Err(error) => {
                let verdict = error.of_one_service().ok_or(error)?;
                Ok(Looked::Settled(self.refused_by_aws(service, verdict)))
            }
        }
    }

    async fn looked(&mut self, service: &Service) -> Result<Looked, RoundError> {
        let Some(primary) = service.primary() else {
            return Ok(Looked::Settled(rollout::no_deployment()));
        };
        self.step(|| format!("service {} ({})", service.name, service.arn));
        for deployment in &service.deployments {
            self.step(|| {
                format!(
                    "deployment {}{}: {} {}, {} of {} tasks run, {} failed",
                    deployment.id,
                    if deployment.is_primary { " (PRIMARY)" } else { "" },
                    deployment.task_definition,
                    deployment.rollout.name(),
                    deployment.running,
                    deployment.desired,
                    deployment.failed
                )
            });
        }
        if let Some(verdict) = self.still_refused(service) {
            return Ok(Looked::Settled(verdict.clone()));
        }
        let reading = self.reading(&primary.task_definition, service.is_daemon).await?;
        self.look_at(service, &reading);
        let refused = &self.round.memory.refused_paths;
        if let Some(why) = reading.volumes().iter().find_map(|volume| refused.get(&volume.relative)) {
            return Ok(Looked::Settled(Verdict::refused("directories", why.clone())));
        }
        loop {
            let history = self.history(service);
            match rollout::next(self.facts(service, &reading, &history, None)) {
                Next::Stay(verdict) => return Ok(Looked::Settled(verdict)),
                Next::LearnFailure(moved) => self.learn_failure(service, moved).await?,
                Next::LearnInstances => self.learn_instances().await?,
                Next::LearnLatest(_) | Next::Register(_) | Next::Move(..) | Next::GiveBack(_) => {
                    return Ok(Looked::NeedsChange);
                }
            }
        }
    }

    /// Takes a service to its patched revision, or as far as it comes now.
    async fn changed(&mut self, service: &Service) -> Result<Verdict, RoundError> {
        let Some(primary) = service.primary() else { return Ok(rollout::no_deployment()) };
        let reading = self.reading(&primary.task_definition, service.is_daemon).await?;
        let mut latest = None;
        loop {
            let history = self.history(service);
            match rollout::next(self.facts(service, &reading, &history, latest.as_ref())) {
                Next::Stay(verdict) => return Ok(verdict),
                Next::LearnFailure(moved) => self.learn_failure(service, moved).await?,
                Next::LearnInstances => self.learn_instances().await?,
                Next::LearnLatest(unpatched) => {
                    let learnt = self.latest(service, unpatched, &history).await?;
                    self.step(|| learnt.to_string());
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
                Next::GiveBack(to) => {
                    let Some(lock) = self.lock else {
                        let reason =
                            format!("the service would be moved back to {to}, which a patch overtook");
                        return Ok(Verdict::because(Outcome::Waiting, "would-move", reason));
                    };
                    return self.given_back(lock, service, to).await;
                }
            }
        }
    }

    fn facts<'f>(
        &self,
        service: &'f Service,
        reading: &'f Reading,
        history: &'f History,
        latest: Option<&'f Latest>,
    ) -> Facts<'f> {
        Facts { service, reading, history, now: now(), instances: self.instances(), latest }
    }

    /// Adds a step to what `explain-service` tells.
    fn step(&mut self, text: impl FnOnce() -> String) {
        if self.round.only.is_some() {
            self.steps.push(text());
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
                for volume in &unpatched.volumes {
                    self.step(|| format!("volume /volumes/{}", volume.relative));
                }
                self.change_history(service, |history| {
                    history.saw_unpatched(service, &unpatched.fingerprint, at);
                });
            }
        }
    }

    /// What AWS refused of what the service still is, a while ago.
    fn still_refused(&self, service: &Service) -> Option<&Verdict> {
        let refused = self.round.memory.refused.get(&service.arn)?;
        (refused.about == about(service) && Instant::now() < refused.until).then_some(&refused.verdict)
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
}

/// Somebody deployed it in the meantime.
fn superseded() -> Verdict {
    let reason = "it was deployed anew, or removed, meanwhile: this patch is dropped";
    Verdict::because(Outcome::Waiting, "superseded", reason)
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
