//! The loop: observe, plan, apply, report.
//!
//! Facts come from the mountinfo thread, from jobs that ended, and from the clock. Each pass judges the share's state, plans the
//! actions, starts those that are due as jobs, and publishes one report. Nothing in a pass waits: not for the share, not for AWS.

mod draining;
mod leading;
mod learn;
mod looks;
mod reach;
mod tell;

use crate::{
    config::{Config, MountMode, Sources, settling::Settling},
    gate::{self, Spread},
    heartbeats::{Fleet, Heartbeat},
    jobs::{Clients, Done, Jobs},
    leader::{Leads, LockRequest},
    memory::{self, Boot},
    mount::MountRequest,
    mount_state::{MountState, Seen},
    mountinfo::MountEntry,
    observed::Observed,
    patch_round::{Memory, Round},
    plan::{Action, plan},
    report::{Counters, Patching, Report, RoundProgress, Transition, timestamp},
    schedule::{Pace, Schedule, jittered},
    share_worker::Worker,
    systemd,
    target_search::Search,
    trouble::Trouble,
};
use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
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
/// After the share went or fell silent, EFS is asked whether its address changed: soon, and not by all instances at once.
const ASK_EFS_WITHIN: Duration = Duration::from_secs(10);
/// Content under the mount point; not an action's.
const UNDER_THE_MOUNT_POINT: &str = "under_the_mount_point";
/// Problems that are no action's: they end by themselves.
const OTHER_PROBLEMS: [&str; 2] = [LISTEN, UNDER_THE_MOUNT_POINT];
/// The problem of an address that takes effect at a restart; not an action's.
const LISTEN: &str = "listen";
/// How many transitions `/status` tells.
const TRANSITIONS_TOLD: usize = 20;

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
        Action::LearnInstance | Action::LearnTask => seconds(1, 30, 0),
        Action::LearnRegistration => seconds(1, 5, 60),
        Action::SetGuard => seconds(5, 60, 60),
        Action::FindTarget => seconds(1, 60, 60),
        Action::Mount => seconds(1, 30, 1),
        Action::LetGo => seconds(5, 60, 5),
        Action::KeepReadAhead => seconds(10, 600, 60),
        Action::Identify => seconds(1, 10, 5),
        Action::Probe => seconds(1, 5, 5),
        Action::SetGate { .. } => seconds(1, 30, 0),
        Action::SetDraining { .. } => seconds(5, 300, 60),
        Action::Beat => seconds(30, 120, 120),
        Action::Lead => seconds(5, 60, 10),
        Action::StepDown => seconds(0, 0, 0),
        // After a success the rounds have a pace of their own.
        Action::Patch => seconds(5, 60, 0),
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
    settling: Settling,
    config: Option<Config>,
    config_problem: Option<String>,
    config_looked_at: Instant,
    observed: Observed,
    mounted_since: Instant,
    /// When the first probe of the present mount began.
    probed_since: Option<Instant>,
    last_answer: Option<(Instant, SystemTime, Duration)>,
    state_since: SystemTime,
    attempt: u32,
    aws: reach::Reach,
    gate_failed: bool,
    gate_spread: Spread,
    lock: Option<Arc<Mutex<Worker>>>,
    memory: Memory,
    patching: Patching,
    /// What is said on the share about this leader.
    leads: Option<Leads>,
    /// Rounds in a row in which nothing happened.
    quiet_rounds: u32,
    /// The configuration changed while a round is under way: what that one brings back is forgotten.
    round_is_outdated: bool,
    progress: watch::Sender<Option<RoundProgress>>,
    /// The agents that use the share, once this leader has looked.
    fleet: Option<Fleet>,
    counters: Counters,
    problems: BTreeMap<&'static str, Trouble>,
    transitions: VecDeque<Transition>,
    looks: looks::Looks,
    /// Why this agent itself unmounts the share, while it does.
    let_go: Option<String>,
    /// The address that the endpoint listens on: that of the first right configuration, or the default.
    bound: Option<SocketAddr>,
    draining: draining::Draining,
    boot: Boot,
    schedule: Schedule,
    clients: Clients,
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
            settling: Settling::default(),
            config: None,
            config_problem: None,
            config_looked_at: Instant::now(),
            observed: Observed::default(),
            mounted_since: Instant::now(),
            probed_since: None,
            last_answer: None,
            state_since: now,
            attempt: 0,
            aws: reach::Reach::default(),
            gate_failed: false,
            gate_spread: Spread::default(),
            lock: None,
            memory: Memory::default(),
            patching: Patching::default(),
            leads: None,
            quiet_rounds: 0,
            round_is_outdated: false,
            progress: watch::Sender::default(),
            fleet: None,
            counters: Counters::default(),
            problems: BTreeMap::new(),
            transitions: VecDeque::new(),
            looks: looks::Looks::default(),
            let_go: None,
            bound: None,
            draining: draining::Draining::default(),
            boot: Boot::default(),
            schedule: Schedule::default(),
            clients: Clients::default(),
            jobs,
            done,
            mounts,
            reports,
            started: now,
        };
        agent.read_configuration();
        agent.bound = Some(agent.config().listen);
        agent.boot = Boot::recall(&agent.config().state_dir);
        agent.observed.gate_opened = agent.boot.gate_opened;
        agent.observe_mount();
        agent.report(Seen::Nothing);
        (agent, receiver)
    }

    /// The configuration in force; the defaults while there is no right one.
    pub fn config(&self) -> Config {
        self.config.clone().unwrap_or_default()
    }

    /// Runs until `stop`.
    ///
    /// # Errors
    /// Why this agent can be of no use any more, so that it ends by itself.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) -> Result<(), Trouble> {
        self.jobs.warm_up();
        loop {
            let now = Instant::now();
            if now.duration_since(self.config_looked_at) >= CONFIGURATION_PACE {
                self.read_configuration();
            }
            self.observe_mount();
            // Before it is told as a state of an instance's share.
            if let Some(why) = self.config.as_ref().and_then(|config| self.observed.useless(config)) {
                return Err(why);
            }
            let seen = self.judge();
            self.apply(now);
            self.report(seen);
            systemd::alive();
            let pause = self.schedule.next_due(now).map_or(TICK, |due| due.duration_since(now).min(TICK));
            tokio::select! { // every arm is cancel-safe
                Some(done) = self.done.recv() => self.learn(done),
                Ok(()) = self.mounts.changed() => {} // observed above: state decides, not events
                () = tokio::time::sleep(pause) => {}
                Ok(()) = stop.changed() => return Ok(()),
            }
            while let Ok(done) = self.done.try_recv() {
                self.learn(done);
            }
        }
    }

    fn file_name(&self) -> String {
        self.file.display().to_string()
    }

    /// Takes the file again when it changed, and has settled. A wrong one leaves the last right one in force.
    fn read_configuration(&mut self) {
        self.config_looked_at = Instant::now();
        let parsed = match Sources::read(&self.file, self.flags.clone()) {
            Ok(sources) if self.settling.takes(&sources) => Config::parse(&sources),
            Ok(_) => return,
            Err(error) => {
                self.settling.lose();
                Err(error)
            }
        };
        match parsed {
            Ok(config) => {
                let before = self.config.replace(config.clone());
                if let Some(before) = before.filter(|before| !before.says_the_same_as(&config)) {
                    info!(file = %self.file.display(), "configuration changed");
                    self.forget_what_changed(&before, &config);
                }
                let bound = *self.bound.get_or_insert(config.listen);
                if config.listen == bound {
                    self.problems.remove(LISTEN);
                } else {
                    let text =
                        format!("`listen` changed: the agent listens on {bound} until it is restarted");
                    self.problems.insert(LISTEN, text.into());
                }
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

    /// What a changed key decided is found anew, and nothing else: a healthy share stays ready through an edit that has nothing to do
    /// with it.
    fn forget_what_changed(&mut self, before: &Config, now: &Config) {
        let file = self.file_name();
        let is_another_share = before.mount != now.mount
            || before.region != now.region
            || self.observed.share(before, &file) != self.observed.share(now, &file);
        if is_another_share {
            self.observed.target = None;
            self.observed.identity = None;
            // A service that isn't called any more is not out of reach.
            self.aws = reach::Reach::default();
            // What they were asked for is not asked for any more.
            self.schedule.cancel(Action::FindTarget.name());
            self.schedule.cancel(Action::Identify.name());
        }
        if before.region != now.region {
            self.clients = Clients::default();
        }
        self.memory = Memory::default();
        // A round that is under way read revisions by what was configured before.
        self.round_is_outdated = self.schedule.is_in_flight(Action::Patch.name());
        for action in [Action::FindTarget, Action::Mount, Action::Identify, Action::Lead, Action::Patch] {
            self.schedule.hurry(action.name());
        }
    }

    /// Takes the kernel's word for what is mounted; a new mount is a new thing to be judged.
    fn observe_mount(&mut self) {
        let mounted = self.mounts.borrow_and_update().clone();
        let what = |entry: &MountEntry| (entry.id, entry.device.clone(), entry.source.clone());
        if mounted.as_ref().map(what) != self.observed.mounted.as_ref().map(what) {
            // What hung on the mount before tells nothing about this one.
            self.schedule.cancel(Action::Probe.name());
            self.schedule.cancel(Action::Identify.name());
            self.observed.identity = None;
            self.observed.good_probes = 0;
            self.last_answer = None;
            self.mounted_since = Instant::now();
            self.probed_since = None;
            self.looks.forget_the_mount();
            self.observed.held = None;
            // Containers that start with it come a moment later; at most half a minute later they are seen anyhow.
            self.schedule.postpone(Action::LookAtContainers.name(), AFTER_A_CHANGE, Instant::now());
            self.schedule.hurry(Action::Mount.name());
        }
        self.observed.mounted = mounted;
        self.observed.mounted_for = self.mounted_since.elapsed();
        self.observed.probed_for = self.probed_since.map(|since| since.elapsed());
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
            self.came_into(from, to, seen);
        }
        seen
    }

    /// Books a transition: counted, told, logged; what depends on the state begins anew.
    fn came_into(&mut self, from: MountState, to: MountState, seen: Seen) {
        let now = SystemTime::now();
        self.state_since = now;
        *self.counters.transitions.entry(to.name().to_owned()).or_default() += 1;
        if to.is_ready() {
            self.let_go = None;
            self.schedule.postpone(Action::LookAtContainers.name(), AFTER_A_CHANGE, Instant::now());
            self.attempt = 0;
            self.problems.remove(Action::Mount.name());
        } else {
            self.observed.good_probes = 0;
            // A close never waits for the back-off of an open that failed.
            self.schedule.hurry(Action::SetGate { open: false }.name());
        }
        if matches!(to, MountState::Stalled | MountState::Lost) && self.observed.target.is_some() {
            self.schedule.postpone(Action::FindTarget.name(), jittered(ASK_EFS_WITHIN), Instant::now());
        }
        let trouble = self.reason(seen);
        let (code, reason) = (trouble.code.clone(), trouble.sentence());
        // Attempt after attempt is one story: what came of the last is in the reason.
        let is_another_attempt = self.attempt > 1
            && [from, to].iter().all(|state| matches!(state, MountState::Absent | MountState::Mounting));
        if is_another_attempt {
            return;
        }
        if to.is_alarm() {
            error!(%from, %to, %reason, code, "mount state changed");
        } else {
            info!(%from, %to, %reason, "mount state changed");
        }
        if self.transitions.len() == TRANSITIONS_TOLD {
            self.transitions.pop_front();
        }
        self.transitions.push_back(Transition { at: timestamp(now), from, to, reason: trouble.text, code });
    }

    /// Starts what is planned and due.
    fn apply(&mut self, now: Instant) {
        // Without a right configuration nothing is mounted and nobody is patched; who we are, the guard and a stale gate don't wait.
        let (config, is_configured) = match &self.config {
            Some(config) => (config.clone(), true),
            None => (Config::default(), false),
        };
        let actions = plan(&config, &self.file_name(), &self.observed);
        // What is no more to be done can't fail any more.
        let is_asked_for = |name: &str| actions.iter().any(|action| action.name() == name);
        let schedule = &self.schedule;
        self.problems.retain(|name, _| {
            OTHER_PROBLEMS.contains(name) || is_asked_for(name) || schedule.is_in_flight(name)
        });
        if !is_asked_for(Action::SetGate { open: false }.name()) {
            self.gate_spread.forget();
        }
        for action in actions {
            let needs_no_configuration = matches!(
                action,
                Action::LearnInstance | Action::LearnRegistration | Action::SetGuard | Action::SetGate { .. }
            );
            if (is_configured || needs_no_configuration)
                && self.schedule.is_due(action.name(), now)
                && self.has_its_turn(action, now)
            {
                self.start(action, &config);
            }
        }
    }

    /// Whether it is this agent's turn among those of a fleet that want the same of AWS.
    fn has_its_turn(&mut self, action: Action, now: Instant) -> bool {
        let Action::SetGate { open } = action else { return true };
        // Once the share was ready the ECS agent is held back no more, and an earlier boot's word may bring tasks.
        let was_ready = self.counters.transitions.contains_key(MountState::Ready.name());
        let (opened, agents) = (self.boot.gate_opened || was_ready, self.observed.agents);
        self.gate_spread.may_tell(open, now, || gate::pause(open, opened, agents, fastrand::f64()))
    }

    /// Whether another child asks the server for a sign of life already: on a server that is silent one hangs, not two.
    fn is_asking_already(&self, action: Action) -> bool {
        match action {
            Action::Identify => self.schedule.is_in_flight(Action::Probe.name()),
            Action::Probe => self.schedule.is_in_flight(Action::Identify.name()),
            _ => false,
        }
    }

    fn start(&mut self, action: Action, config: &Config) {
        if self.is_asking_already(action) {
            return;
        }
        let file = self.file_name();
        let observed = &self.observed;
        let region = observed.region(config).unwrap_or_default();
        let job = match action {
            Action::LearnInstance => self.jobs.learn_instance(),
            Action::LearnTask => self.jobs.learn_task(),
            Action::LearnRegistration => self.jobs.learn_registration(),
            Action::SetGuard => self.jobs.set_guard(),
            Action::FindTarget => {
                let (Ok(share), Some(instance)) = (observed.share(config, &file), observed.instance.clone())
                else {
                    return;
                };
                let remembered = || memory::target(&config.state_dir, &instance.id, &share);
                let known = observed.target.clone().or_else(remembered);
                self.jobs.find_target(self.clients.clone(), Search { share, region, instance, known })
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
            Action::LetGo => {
                let (Some(mounted), Some(target)) = (&observed.mounted, &observed.target) else { return };
                let why = format!("{} was let go of for {}", mounted.source, target.source());
                warn!(%why, "nobody holds the share, and it belongs mounted from another address: unmounting");
                let job = self.jobs.let_go(mounted.device.clone(), target.address, observed.state.is_ready());
                self.let_go = Some(why);
                job
            }
            Action::KeepReadAhead => {
                let Some(mounted) = &observed.mounted else { return };
                self.jobs.keep_read_ahead(mounted.device.clone())
            }
            Action::Identify => {
                let (Some(mounted), Some(file_system)) = (&observed.mounted, observed.file_system(config))
                else {
                    return;
                };
                // Who mounted it themselves say themselves what it is.
                let may_mark = config.mount == MountMode::Direct;
                // It asks the server as a probe does.
                self.probed_since.get_or_insert_with(Instant::now);
                self.jobs.identify(mounted.id, file_system.to_owned(), may_mark)
            }
            Action::Probe => {
                let Some(mounted) = &observed.mounted else { return };
                self.probed_since.get_or_insert_with(Instant::now);
                self.jobs.probe(mounted.id)
            }
            Action::SetGate { open } => {
                let Some(registration) = observed.registration.clone() else { return };
                if region.is_empty() {
                    return;
                }
                // Until ECS answers it is not known what it has: an answer that is lost must not leave it with the wrong word.
                self.observed.gate_told = None;
                if open && !self.boot.gate_opened {
                    // Noted before ECS knows: from then on tasks may hold the mount.
                    self.boot.gate_opened = true;
                    self.observed.gate_opened = true;
                    if let Err(error) = self.boot.save(&config.state_dir) {
                        warn!(%error, "it could not be noted that the gate opened since this boot");
                    }
                }
                self.jobs.set_gate(self.clients.clone(), region, registration, open)
            }
            Action::Beat => {
                let Some(instance) = &observed.instance else { return };
                self.jobs.beat(Heartbeat::of(instance.id.clone()), observed.leads)
            }
            Action::Lead => {
                let (Some(name), Some(instance)) = (observed.lock_name(config), &observed.instance) else {
                    return;
                };
                let instance = instance.id.clone();
                self.jobs.lead(LockRequest { name, instance, now: timestamp(SystemTime::now()) })
            }
            Action::StepDown => {
                let why = match observed.state.is_ready() {
                    true => "this instance is registered elsewhere by now, or patching is off",
                    false => "the share is not ready",
                };
                return self.step_down(why);
            }
            Action::Patch => {
                // Who else is there decides the format, and whether all instances can fill volumes.
                let (Ok(rack), Some(cluster), Some(instance), Some(lock), Some(fleet)) = (
                    observed.rack(config, &file),
                    observed.cluster(config),
                    &observed.instance,
                    &self.lock,
                    &self.fleet,
                ) else {
                    return;
                };
                let round = Round {
                    cluster,
                    rack,
                    host_paths: config.host_paths.clone(),
                    first_use: config.first_use.clone(),
                    instance: instance.id.clone(),
                    container_instance: observed
                        .registration
                        .as_ref()
                        .map(|registration| registration.container_instance.clone()),
                    record: observed.lock_name(config),
                    leads: self.leads.clone(),
                    format: fleet.format(),
                    only: None,
                    progress: self.progress.clone(),
                    memory: std::mem::take(&mut self.memory),
                };
                self.jobs.patch(self.clients.clone(), region, round, lock.clone())
            }
            Action::ReadStatistics => {
                let Some(mounted) = &observed.mounted else { return };
                self.jobs.read_statistics(mounted.id, mounted.device.clone())
            }
            Action::SetDraining { draining } => {
                let Some(request) = self.drain_request() else { return };
                self.jobs.set_draining(self.clients.clone(), region, request, draining)
            }
            Action::CheckVolumes => self.jobs.check_volumes(self.looks.volumes.after.clone()),
            Action::LookAtContainers => self.jobs.look_at_containers(
                observed.mounted.as_ref().map(|mounted| (mounted.id, mounted.device.clone())),
                observed.present(config),
                observed.state.is_ready(),
                config.mount_flags.clone(),
            ),
        };
        self.schedule.begin(action.name(), job);
    }
}
