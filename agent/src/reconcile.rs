//! The loop: observe, plan, apply, report.
//!
//! Facts come from the mountinfo thread, from jobs that ended, and from the clock. Each pass judges the share's state, plans the
//! actions, starts those that are due as jobs, and publishes one report. Nothing in a pass waits: not for the share, not for AWS.

mod draining;
mod looks;
mod tell;

use crate::{
    config::{Config, Sources},
    ecs_agent::Registration,
    jobs::{Done, Jobs, Sdk},
    leader::{LockAnswer, LockRequest},
    memory,
    mount::{MountRequest, VOLUMES_ROOT},
    mount_state::Seen,
    mountinfo::MountEntry,
    observed::Observed,
    patch_round::{Memory, Round, RoundResult},
    plan::{Action, plan},
    report::{AwsReport, Counters, Patching, Report, Role, timestamp},
    schedule::{Pace, Schedule, jittered},
    share_worker::Worker,
    systemd,
};
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};
use tokio::sync::{Mutex, mpsc, watch};
use tracing::{error, info, warn};

/// The longest pause between two passes: silence of the share is a matter of time, not of an event.
const TICK: Duration = Duration::from_millis(500);
/// Between two looks at the configuration file.
const CONFIGURATION_PACE: Duration = Duration::from_secs(2);
/// Between two probes until the gate is open: an instance that just booted should not wait longer than it must.
const FIRST_PROBES_INTERVAL: Duration = Duration::from_secs(1);
/// After AWS said that this role may not patch.
const DENIED_PAUSE: Duration = Duration::from_secs(3600);

/// From a change of the mount to a look at what containers have of it.
const AFTER_A_CHANGE: Duration = Duration::from_secs(1);

/// How each action is repeated.
fn pace(action: Action) -> Pace {
    let seconds = |first, most, after_success| Pace {
        first: Duration::from_secs(first),
        most: Duration::from_secs(most),
        after_success: Duration::from_secs(after_success),
    };
    match action {
        Action::LearnInstance => seconds(1, 30, 0),
        Action::LearnRegistration => seconds(1, 5, 60),
        Action::SetGuard => seconds(5, 60, 0),
        Action::FindTarget => seconds(1, 60, 60),
        Action::Mount => seconds(1, 30, 1),
        Action::Identify => seconds(1, 10, 5),
        Action::Probe => seconds(1, 5, 5),
        Action::SetGate { .. } => seconds(1, 30, 0),
        Action::SetDraining { .. } => seconds(5, 300, 60),
        Action::Lead => seconds(5, 60, 10),
        Action::StepDown => seconds(0, 0, 0),
        Action::Patch => seconds(15, 120, 10),
        Action::ReadStatistics => seconds(10, 60, 10),
        Action::LookAtContainers => seconds(10, 60, 30),
        // Postponed by what the look took.
        Action::CheckVolumes => seconds(60, 60, 60),
    }
}

/// The running agent.
pub struct Agent {
    file: PathBuf,
    flags: Vec<(&'static str, String)>,
    sources: Option<Sources>,
    config: Option<Config>,
    config_problem: Option<String>,
    config_looked_at: Instant,
    observed: Observed,
    mounted_since: Instant,
    last_answer: Option<(Instant, SystemTime, Duration)>,
    state_since: SystemTime,
    attempt: u32,
    aws: AwsReport,
    gate_failed: bool,
    lock: Option<Arc<Mutex<Worker>>>,
    memory: Memory,
    patching: Patching,
    counters: Counters,
    problems: BTreeMap<&'static str, String>,
    looks: looks::Looks,
    draining: draining::Draining,
    schedule: Schedule,
    sdk: Sdk,
    jobs: Jobs,
    done: mpsc::UnboundedReceiver<Done>,
    mounts: watch::Receiver<Option<MountEntry>>,
    reports: watch::Sender<Arc<Report>>,
    started: SystemTime,
}

impl Agent {
    /// An agent that knows nothing yet. `configuration` is what the first look at it found.
    pub fn new(
        file: PathBuf,
        flags: Vec<(&'static str, String)>,
        mounts: watch::Receiver<Option<MountEntry>>,
    ) -> (Self, watch::Receiver<Arc<Report>>) {
        let (jobs, done) = Jobs::new();
        let (reports, receiver) = watch::channel(Arc::new(Report::default()));
        let now = SystemTime::now();
        let mut agent = Self {
            file,
            flags,
            sources: None,
            config: None,
            config_problem: None,
            config_looked_at: Instant::now(),
            observed: Observed::default(),
            mounted_since: Instant::now(),
            last_answer: None,
            state_since: now,
            attempt: 0,
            aws: AwsReport::default(),
            gate_failed: false,
            lock: None,
            memory: Memory::default(),
            patching: Patching::default(),
            counters: Counters::default(),
            problems: BTreeMap::new(),
            looks: looks::Looks::default(),
            draining: draining::Draining::default(),
            schedule: Schedule::default(),
            sdk: Sdk::default(),
            jobs,
            done,
            mounts,
            reports,
            started: now,
        };
        agent.read_configuration();
        agent.observe_mount();
        agent.report(Seen::Nothing);
        (agent, receiver)
    }

    /// The configuration in force; the defaults while there is no right one.
    pub fn config(&self) -> Config {
        self.config.clone().unwrap_or_default()
    }

    /// Runs until `stop`.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        loop {
            let now = Instant::now();
            if now.duration_since(self.config_looked_at) >= CONFIGURATION_PACE {
                self.read_configuration();
            }
            self.observe_mount();
            let seen = self.judge();
            self.apply(now);
            self.report(seen);
            systemd::alive();
            let pause = self.schedule.next_due(now).map_or(TICK, |due| due.duration_since(now).min(TICK));
            tokio::select! { // every arm is cancel-safe
                Some(done) = self.done.recv() => self.learn(done),
                Ok(()) = self.mounts.changed() => {} // observed above: state decides, not events
                () = tokio::time::sleep(pause) => {}
                Ok(()) = stop.changed() => return,
            }
            while let Ok(done) = self.done.try_recv() {
                self.learn(done);
            }
        }
    }

    fn file_name(&self) -> String {
        self.file.display().to_string()
    }

    /// Reads the file again when it changed. A wrong one leaves the last right one in force.
    fn read_configuration(&mut self) {
        self.config_looked_at = Instant::now();
        let parsed = match Sources::read(&self.file, self.flags.clone()) {
            Ok(sources) if self.sources.as_ref() == Some(&sources) => return,
            Ok(sources) => {
                let parsed = Config::parse(&sources);
                self.sources = Some(sources);
                parsed
            }
            Err(error) => Err(error),
        };
        match parsed {
            Ok(config) => {
                if let Some(before) = self.config.as_ref().filter(|before| **before != config) {
                    info!(file = %self.file.display(), "configuration changed");
                    if before.listen != config.listen {
                        self.problems.insert(
                            "listen",
                            "`listen` changed: it takes effect when the agent is restarted".to_owned(),
                        );
                    }
                    self.forget_what_configuration_decides();
                }
                self.config = Some(config);
                self.config_problem = None;
            }
            Err(errors) => {
                let problem = errors.to_string();
                if self.config_problem.as_ref() != Some(&problem) {
                    error!(%problem, "wrong configuration");
                }
                self.config_problem = Some(problem);
            }
        }
    }

    fn forget_what_configuration_decides(&mut self) {
        self.observed.target = None;
        self.observed.identity = None;
        self.memory = Memory::default();
        self.sdk = Sdk::default();
        for action in [Action::FindTarget, Action::Mount, Action::Identify, Action::Lead, Action::Patch] {
            self.schedule.hurry(action.name());
        }
    }

    /// Takes the kernel's word for what is mounted; a new mount is a new thing to be judged.
    fn observe_mount(&mut self) {
        let mounted = self.mounts.borrow_and_update().clone();
        if mounted.as_ref().map(|entry| entry.id) != self.observed.mounted.as_ref().map(|entry| entry.id) {
            // What hung on the mount before tells nothing about this one.
            self.schedule.cancel(Action::Probe.name());
            self.schedule.cancel(Action::Identify.name());
            self.observed.identity = None;
            self.observed.good_probes = 0;
            self.last_answer = None;
            self.mounted_since = Instant::now();
            self.looks.forget_the_mount();
            self.observed.held = None;
            // Containers that start with it come a moment later; at most half a minute later they are seen anyhow.
            self.schedule.postpone(Action::LookAtContainers.name(), AFTER_A_CHANGE, Instant::now());
            self.schedule.hurry(Action::Mount.name());
        }
        self.observed.mounted = mounted;
        self.observed.mounted_for = self.mounted_since.elapsed();
        self.observed.silent_for = self.last_answer.map(|(at, _, _)| at.elapsed());
        self.observe_draining();
        self.observed.mount_in_flight = self.schedule.is_in_flight(Action::Mount.name());
    }

    /// One step of the state machine.
    fn judge(&mut self) -> Seen {
        let Some(config) = &self.config else { return Seen::Nothing };
        let seen = self.observed.seen(config);
        let (from, to) = (self.observed.state, self.observed.state.next(seen));
        if from != to {
            self.observed.state = to;
            self.state_since = SystemTime::now();
            *self.counters.transitions.entry(to.name().to_owned()).or_default() += 1;
            if to.is_ready() {
                self.schedule.postpone(Action::LookAtContainers.name(), AFTER_A_CHANGE, Instant::now());
                self.attempt = 0;
                self.problems.remove(Action::Mount.name());
            }
            if !to.is_ready() {
                self.observed.good_probes = 0;
            }
            let reason = self.reason(seen);
            if to.is_alarm() {
                error!(%from, %to, %reason, "mount state changed");
            } else {
                info!(%from, %to, %reason, "mount state changed");
            }
        }
        seen
    }

    /// Starts what is planned and due.
    fn apply(&mut self, now: Instant) {
        // Without a right configuration nothing is mounted and nobody is patched; who we are, the guard and a stale gate don't wait.
        let (config, is_configured) = match &self.config {
            Some(config) => (config.clone(), true),
            None => (Config::default(), false),
        };
        for action in plan(&config, &self.file_name(), &self.observed) {
            let needs_no_configuration = matches!(
                action,
                Action::LearnInstance | Action::LearnRegistration | Action::SetGuard | Action::SetGate { .. }
            );
            if (is_configured || needs_no_configuration) && self.schedule.is_due(action.name(), now) {
                self.start(action, &config);
            }
        }
    }

    fn start(&mut self, action: Action, config: &Config) {
        let file = self.file_name();
        let observed = &self.observed;
        let region = observed.region(config).unwrap_or_default();
        let job = match action {
            Action::LearnInstance => self.jobs.learn_instance(),
            Action::LearnRegistration => self.jobs.learn_registration(),
            Action::SetGuard => self.jobs.set_guard(),
            Action::FindTarget => {
                let (Ok(share), Some(instance)) = (observed.share(config, &file), &observed.instance) else {
                    return;
                };
                self.jobs.find_target(self.sdk.clone(), region, share, instance.zone.clone())
            }
            Action::Mount => {
                let (Some(target), Some(instance)) = (&observed.target, &observed.instance) else { return };
                self.attempt += 1;
                self.jobs.mount(MountRequest {
                    address: target.address,
                    export: target.export.clone(),
                    flags: config.mount_flags.clone(),
                    client_identifier: instance.id.clone(),
                })
            }
            Action::Identify => {
                let (Some(mounted), Some(target)) = (&observed.mounted, &observed.target) else { return };
                self.jobs.identify(mounted.id, target.file_system.clone())
            }
            Action::Probe => {
                let Some(mounted) = &observed.mounted else { return };
                self.jobs.probe(mounted.id)
            }
            Action::SetGate { open } => {
                let Some(registration) = &observed.registration else { return };
                if region.is_empty() {
                    return;
                }
                self.jobs.set_gate(self.sdk.clone(), region, registration.clone(), open)
            }
            Action::Lead => {
                let (Some(name), Some(instance)) = (observed.lock_name(config), &observed.instance) else {
                    return;
                };
                let now = timestamp(SystemTime::now());
                self.jobs.lead(LockRequest { name, instance: instance.id.clone(), now })
            }
            Action::StepDown => return self.step_down("the share is not ready"),
            Action::Patch => {
                let (Ok(rack), Some(cluster), Some(instance), Some(lock)) =
                    (observed.rack(config, &file), observed.cluster(config), &observed.instance, &self.lock)
                else {
                    return;
                };
                let round = Round {
                    cluster,
                    rack,
                    host_paths: config.host_paths.clone(),
                    instance: instance.id.clone(),
                    record: observed.lock_name(config),
                    only: None,
                    memory: std::mem::take(&mut self.memory),
                };
                self.jobs.patch(self.sdk.clone(), region, round, lock.clone())
            }
            Action::ReadStatistics => {
                let Some(mounted) = &observed.mounted else { return };
                self.jobs.read_statistics(mounted.id, mounted.device.clone())
            }
            Action::SetDraining { draining } => {
                let Some(request) = self.drain_request() else { return };
                self.jobs.set_draining(self.sdk.clone(), region, request, draining)
            }
            Action::CheckVolumes => self.jobs.check_volumes(self.looks.volumes.after.clone()),
            Action::LookAtContainers => self.jobs.look_at_containers(
                observed.mounted.as_ref().map(|mounted| (mounted.id, mounted.device.clone())),
                observed.present(config),
                observed.state.is_ready(),
            ),
        };
        self.schedule.begin(action.name(), job);
    }

    /// Takes in what a job found.
    fn learn(&mut self, done: Done) {
        match done {
            Done::Instance(result) => {
                if let Some(instance) = self.ended(Action::LearnInstance, result) {
                    if self.observed.registration.is_none() {
                        self.observed.registration =
                            memory::registration(&self.config().state_dir, &instance.id);
                    }
                    self.observed.instance = Some(instance);
                }
            }
            Done::Registration(configured, result) => {
                self.observed.ecs_config_cluster = configured;
                if let Some(registration) = self.ended(Action::LearnRegistration, result) {
                    self.registered(registration);
                }
            }
            Done::Guard(result) => {
                if let Some(guarded) = self.ended(Action::SetGuard, result) {
                    for path in guarded.found_inside {
                        warn!(path = %format!("{VOLUMES_ROOT}/{path}"), "a directory lay below the mount point from before: it is hidden by the share, and was made immutable as well");
                    }
                    self.observed.guard = Some(guarded.guard);
                }
            }
            Done::Target(result) => {
                let result = match result {
                    Err(crate::efs::EfsError::Aws(error)) => {
                        self.heard(Err(error)).map_err(crate::efs::EfsError::Aws)
                    }
                    // A plain server is found without asking AWS.
                    Ok(target) if target.zone.is_none() => Ok(target),
                    other => {
                        drop(self.heard(Ok(())));
                        other
                    }
                };
                let result = result.map_err(|error| format!("{error}. {}", capital(&error.help())));
                if let Some(target) = self.ended(Action::FindTarget, result) {
                    if self.observed.target.as_ref() != Some(&target) {
                        info!(file_system = %target.file_system, address = %target.address, zone = ?target.zone, "mount target found");
                        self.schedule.hurry(Action::Mount.name());
                    }
                    self.observed.target = Some(target);
                }
            }
            Done::Mounted(result) => {
                let result = result.map_err(|error| error.to_string());
                if let Some(mounted) = self.ended(Action::Mount, result) {
                    for warning in mounted.warnings {
                        warn!(%warning, "mounted, but not as well as it could be");
                    }
                }
            }
            Done::Identified(mount, result) => {
                if self.is_mounted(mount) {
                    self.observed.identity =
                        self.ended(Action::Identify, result.map_err(|error| error.to_string()));
                }
            }
            Done::Probed(mount, result) => {
                if self.is_mounted(mount) {
                    self.probed(result.map_err(|error| error.to_string()));
                }
            }
            Done::Gate(open, container_instance, result) => {
                let result = self.heard(result);
                self.gate_failed = result.is_err();
                let help = format!("allow ecs:PutAttributes on {container_instance}");
                let result = result.map_err(|e| {
                    if e.is_denied() { format!("{e}. {}", capital(&help)) } else { e.to_string() }
                });
                if self.ended(Action::SetGate { open }, result).is_some() {
                    info!(gate = if open { "open" } else { "closed" }, %container_instance, "ECS was told");
                    let current = self.observed.registration.as_ref();
                    if current
                        .is_some_and(|registration| registration.container_instance == container_instance)
                    {
                        self.observed.gate_told = Some(open);
                    }
                }
            }
            Done::Lead(result) => self.led(*result),
            Done::Round(result) => self.patched(*result),
            Done::Draining(draining, result) => self.drained(draining, result),
            Done::Looked(looked) => self.looked(looked),
        }
    }

    fn is_mounted(&self, mount: u32) -> bool {
        self.observed.mounted.as_ref().is_some_and(|entry| entry.id == mount)
    }

    /// Books an outcome: the schedule, the counters, the list of problems; a problem is logged when it is new.
    fn ended<T>(&mut self, action: Action, result: Result<T, String>) -> Option<T> {
        let (name, now) = (action.name(), Instant::now());
        match result {
            Ok(value) => {
                self.schedule.succeeded(name, pace(action), now);
                *self.counters.succeeded.entry(name.to_owned()).or_default() += 1;
                if self.problems.remove(name).is_some() {
                    info!(action = name, "works again");
                }
                Some(value)
            }
            Err(problem) => {
                self.schedule.failed(name, pace(action), now);
                *self.counters.failed.entry(name.to_owned()).or_default() += 1;
                if self.problems.get(name) != Some(&problem) {
                    warn!(action = name, %problem, "failed; it is tried again");
                }
                self.problems.insert(name, problem);
                None
            }
        }
    }

    /// Notes whether AWS answered at all.
    fn heard<T>(&mut self, result: Result<T, crate::aws::AwsError>) -> Result<T, crate::aws::AwsError> {
        let reachable = result.as_ref().err().is_none_or(crate::aws::AwsError::reached);
        if self.aws.reachable != Some(reachable) {
            self.aws = AwsReport { reachable: Some(reachable), since: Some(timestamp(SystemTime::now())) };
        }
        result
    }

    fn registered(&mut self, registration: Registration) {
        let is_new = self.observed.registration.as_ref() != Some(&registration);
        if is_new || !self.observed.registration_is_fresh {
            info!(cluster = %registration.cluster, container_instance = %registration.container_instance, "registered with ECS");
            if let Some(instance) = &self.observed.instance
                && let Err(error) =
                    memory::save_registration(&self.config().state_dir, &instance.id, &registration)
            {
                warn!(%error, "the registration could not be remembered: a stale `ready` would last a while after the next boot");
            }
        }
        if is_new {
            self.observed.gate_told = None;
        }
        self.observed.registration = Some(registration);
        // Until the instance is known the registration is not remembered, so it is taken as new once more.
        self.observed.registration_is_fresh = self.observed.instance.is_some();
        if !self.observed.registration_is_fresh {
            self.schedule.postpone(Action::LearnRegistration.name(), Duration::from_secs(1), Instant::now());
        }
    }

    fn probed(&mut self, result: Result<Duration, String>) {
        let config = self.config();
        match self.ended(Action::Probe, result) {
            Some(rtt) => {
                self.last_answer = Some((Instant::now(), SystemTime::now(), rtt));
                self.observed.good_probes = self.observed.good_probes.saturating_add(1);
                let opening = self.observed.good_probes < config.gate_good_probes;
                let pause = if opening {
                    config.probe_interval.min(FIRST_PROBES_INTERVAL)
                } else {
                    config.probe_interval
                };
                self.schedule.postpone(Action::Probe.name(), jittered(pause), Instant::now());
            }
            None => self.observed.good_probes = 0,
        }
    }

    fn led(&mut self, result: Result<(LockAnswer, Worker), crate::share_worker::WorkerError>) {
        let Some((answer, worker)) = self.ended(Action::Lead, result.map_err(|error| error.to_string()))
        else {
            self.patching.role = Role::Waiting;
            self.patching.reason = self.problems.get(Action::Lead.name()).cloned();
            return;
        };
        let role = self.patching.role;
        match answer {
            // The share may have gone while the lock was being taken: the next pass steps down then.
            LockAnswer::Held => {
                info!("this instance leads: it patches the cluster's services");
                self.lock = Some(Arc::new(Mutex::new(worker)));
                self.observed.leads = true;
                self.memory = Memory::default();
                self.schedule.hurry(Action::Patch.name());
                self.patching = Patching {
                    role: Role::Leader,
                    leader: self.observed.instance.as_ref().map(|instance| instance.id.clone()),
                    leader_since: Some(timestamp(SystemTime::now())),
                    ..Patching::default()
                };
            }
            LockAnswer::Busy { leads } => {
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
    fn step_down(&mut self, why: &str) {
        warn!(why, "stepping down as leader");
        self.schedule.cancel(Action::Patch.name());
        self.forget_volumes();
        self.lock = None;
        self.observed.leads = false;
        self.patching = Patching { role: Role::Waiting, reason: Some(why.to_owned()), ..Patching::default() };
    }

    fn patched(&mut self, result: RoundResult) {
        self.memory = result.memory;
        self.counters.registered += result.registered;
        self.counters.updated += result.updated;
        self.patching.last_round = Some(timestamp(SystemTime::now()));
        self.patching.services = result.services;
        let denied = result.error.as_ref().is_some_and(crate::patch_round::RoundError::is_denied);
        let lost = result.error.as_ref().is_some_and(crate::patch_round::RoundError::is_lost_lock);
        let paused = matches!(result.error, Some(crate::patch_round::RoundError::Paused));
        if let Some(aws) = result.aws_reached {
            let at = Some(timestamp(SystemTime::now()));
            if self.aws.reachable != Some(aws) {
                self.aws = AwsReport { reachable: Some(aws), since: at };
            }
        }
        let outcome = match result.error {
            None => Ok(()),
            Some(error) => Err(error.to_string()),
        };
        self.patching.last_error = outcome.as_ref().err().cloned();
        let ok = self.ended(Action::Patch, outcome).is_some();
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

fn capital(sentence: &str) -> String {
    let mut chars = sentence.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}
