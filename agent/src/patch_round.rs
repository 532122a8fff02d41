//! One look of the leader at its cluster: every service whose task definition declares volumes ends on a revision that mounts
//! them. Level-triggered: a round that was cut off anywhere is finished by the next one. What is done is decided by [`rollout`]; here
//! it is asked for (`learn`), done (`change`) and told (`tell`).
//!
//! Without the lock a round looks only: `explain-service` and `run --dry-run` take the same way up to the first change.

mod change;
mod learn;
mod tell;

use crate::{
    aws::AwsError,
    ecs::Ecs,
    history::{Histories, History},
    names::Rack,
    reading::{Reading, Verdict},
    report::{Outcome, ServiceReport},
    rollout::{self, Facts, Latest, Next},
    service::{Instances, Service},
    share_worker::{Request, Spare, Worker, WorkerError},
};
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::sync::Mutex;

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

impl Round {
    /// Goes over all services once. Without a lock nothing is changed.
    pub async fn run(self, ecs: &Ecs, share: &Spare, lock: Option<&Mutex<Worker>>) -> RoundResult {
        let mut running = Running {
            round: self,
            ecs,
            share,
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
    /// For everything on the share but the lock, whose worker must not hang in anything else.
    share: &'a Spare,
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
                    self.share.ask_within(&request, SHARE_DEADLINE).await.map_err(RoundError::Share)?
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
            return Ok(rollout::no_deployment());
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
                    self.step(|| instances.to_string());
                    self.instances = Some(instances);
                }
                Next::LearnLatest(unpatched) => {
                    let learnt = self.latest(&primary.task_definition, unpatched, &history).await?;
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
        self.share.ask_within::<()>(&request, SHARE_DEADLINE).await.map_err(RoundError::Share)
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
