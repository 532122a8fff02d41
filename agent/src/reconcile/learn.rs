//! Taking in what jobs found: each outcome becomes a fact, a problem, or the end of one.

use super::{Agent, FIRST_PROBES_INTERVAL, pace, reach::Service};
use crate::{
    aws::AwsError,
    config::ShareChoice,
    ecs_agent::Registration,
    efs::EfsError,
    guard::{Guard, Guarded},
    imds::Instance,
    jobs::Done,
    memory,
    mount::MountError,
    plan::Action,
    read_ahead,
    schedule::jittered,
    share_worker::WorkerError,
    target_search::{Found, SearchError},
    trouble::Trouble,
};
use std::time::{Duration, Instant, SystemTime};
use tracing::{error, info, warn};

/// Between two looks at the guard while there is content under the mount point.
const CONTENT_PACE: Duration = Duration::from_secs(600);
/// Between two questions to EFS while all is well: mount targets change by hand, seldom, and hundreds of agents ask.
const TARGET_PACE: Duration = Duration::from_secs(30 * 60);
/// The same while nothing is mounted.
const TARGET_PACE_UNSURE: Duration = Duration::from_secs(60);
/// The same while something is mounted and EFS failed, or the share is silent.
const TARGET_PACE_SELDOM: Duration = Duration::from_secs(600);

/// A marker that can't be read, or not be written, on a share that answers.
fn unreadable(error: WorkerError) -> Trouble {
    match error {
        WorkerError::Failed(trouble) if trouble.code.is_none() => {
            Trouble::coded("marker-unreadable", trouble.text).help(
                "see that the share is writable for root of this instance; the daemon looks again by itself",
            )
        }
        error => error.into(),
    }
}

impl Agent {
    /// Takes in what a job found.
    pub(super) fn learn(&mut self, done: Done) {
        match done {
            Done::Instance(result) => {
                let instance = self.ended(Action::LearnInstance, result);
                self.learnt_instance(instance);
            }
            Done::Task(result) => {
                if let Some(task) = self.ended(Action::LearnTask, result) {
                    info!(task = %task.arn, cluster = %task.cluster, "this is an ECS task");
                    self.observed.instance = Some(task.as_instance());
                    self.observed.task = Some(task);
                }
            }
            Done::Registration(configured, result) => {
                self.observed.ecs_config_cluster = configured;
                if let Some(registration) = self.ended(Action::LearnRegistration, result) {
                    self.registered(registration);
                }
            }
            Done::Guard(result) => match self.ended(Action::SetGuard, result) {
                Some(guarded) => self.guarded(guarded),
                // Not known to be set; a mount sets it again just before.
                None => self.observed.guard = Some(Guard::Unset),
            },
            Done::Target(share, result) => self.searched(&share, result),
            Done::Mounted(result) => {
                if let Some(mounted) = self.ended(Action::Mount, result) {
                    self.schedule.hurry(Action::SetGuard.name());
                    for warning in mounted.warnings {
                        warn!(%warning, "mounted, but not as well as it could be");
                    }
                }
            }
            Done::LetGo(result) => {
                if self.ended(Action::LetGo, result).is_none() {
                    self.let_go = None;
                }
            }
            Done::ReadAhead(result) => {
                if let Some(Some(before)) = self.ended(Action::KeepReadAhead, result.map_err(Trouble::from)) {
                    let now = read_ahead::READ_AHEAD_KB;
                    warn!(before, now, "something had set the share's read-ahead to another size; set again");
                }
            }
            Done::Identified(mount, result) => {
                if !self.is_mounted(mount) {
                    return;
                }
                match self.ended(Action::Identify, result.map_err(unreadable)) {
                    Some((identity, took)) => {
                        self.observed.identity = Some(identity);
                        self.answered(took);
                    }
                    // A look that failed takes nothing away of what is known; whether the share answers at all is asked at once.
                    None => self.schedule.postpone(Action::Probe.name(), Duration::ZERO, Instant::now()),
                }
            }
            Done::Probed(mount, result) => {
                if self.is_mounted(mount) {
                    self.probed(result.map_err(Trouble::from));
                }
            }
            Done::Gate(open, container_instance, result) => {
                let result = self.aws.heard(Service::Ecs, result);
                self.gate_failed = result.is_err();
                let result = result.map_err(|error| match error {
                    AwsError::Denied { .. } => Trouble::coded("gate-denied", error.to_string())
                        .help(format!("allow ecs:PutAttributes on {container_instance}")),
                    error => Trouble::from(error.to_string()),
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
            Done::Lead(result) => self.led(result),
            Done::Beat(result) => self.beaten(result),
            Done::Round(result) => self.patched(*result),
            Done::Draining(draining, result) => self.drained(draining, result),
            Done::Looked(looked) => self.looked(looked),
        }
    }

    /// Metadata's answer; without one, what an earlier run since this boot noted: a restart of the agent must not need metadata.
    fn learnt_instance(&mut self, told: Option<Instance>) {
        let state_dir = self.config().state_dir;
        self.observed.instance_is_fresh = told.is_some();
        if let Some(instance) = &told
            && self.boot.instance.as_ref() != Some(instance)
        {
            self.boot.instance = Some(instance.clone());
            if let Err(error) = self.boot.save(&state_dir) {
                warn!(%error, "the instance could not be noted: a restart of the agent needs instance metadata");
            }
        }
        let Some(instance) = told.or_else(|| self.boot.instance.clone()) else { return };
        if self.observed.registration.is_none() {
            self.observed.registration = memory::registration(&state_dir, &instance.id);
        }
        let remembered = || memory::agents(&state_dir, &instance.id);
        self.observed.agents = self.observed.agents.or_else(remembered);
        self.observed.instance = Some(instance);
    }

    fn guarded(&mut self, guarded: Guarded) {
        const PROBLEM: &str = super::UNDER_THE_MOUNT_POINT;
        self.observed.guard = Some(guarded.guard);
        if guarded.found_inside.is_empty() {
            self.problems.remove(PROBLEM);
            return;
        }
        // Flagged once; whoever moves it away takes the flags off first, and must have time to.
        self.schedule.postpone(Action::SetGuard.name(), jittered(CONTENT_PACE), Instant::now());
        // What a mount over it would hide: the same words, whether the mount is refused for it or was there before the agent.
        let trouble = Trouble::from(MountError::NotEmpty(guarded.found_inside));
        if self.problems.get(PROBLEM) != Some(&trouble) {
            error!(code = trouble.code, problem = trouble.sentence(), "content under the mount point");
        }
        self.problems.insert(PROBLEM, trouble);
    }

    /// Takes in where the share can be mounted from.
    fn searched(&mut self, share: &ShareChoice, result: Result<Found, SearchError>) {
        let aws = match &result {
            Ok(found) => found.instead_of.clone(),
            Err(error) => error.aws().cloned(),
        };
        if !matches!(share, ShareChoice::NfsServer { .. }) {
            drop(self.aws.heard(Service::Efs, aws.map_or(Ok(()), Err)));
        }
        if self.observed.share(&self.config(), &self.file_name()).as_ref() != Ok(share) {
            // The configuration names another one by now.
            self.schedule.cancel(Action::FindTarget.name());
            return;
        }
        let now = Instant::now();
        let name = Action::FindTarget.name();
        let (target, stand_in) = match result {
            Err(error) => {
                self.ended::<()>(Action::FindTarget, Err(error.into()));
                if self.observed.state.is_ready() {
                    self.schedule.postpone(name, jittered(TARGET_PACE_SELDOM), now);
                }
                return;
            }
            Ok(Found { target, instead_of }) => (target, instead_of),
        };
        match stand_in {
            None => drop(self.ended(Action::FindTarget, Ok(()))),
            Some(why) => {
                let (source, how) = (target.source(), target.known_from.words());
                let Trouble { code, text, help } = EfsError::Aws(why).into();
                let text = format!("{text}; meanwhile the mount target is {source}, {how}");
                self.ended::<()>(Action::FindTarget, Err(Trouble { code, text, help }));
            }
        }
        let ready = self.observed.state.is_ready();
        let is_mounted = self.observed.mounted.is_some();
        let pause = match target.known_from.is_first_hand() {
            true if ready => TARGET_PACE,
            // A fleet whose file system is down asks at the same time, and what is mounted and held keeps its address anyhow.
            _ if ready || is_mounted => TARGET_PACE_SELDOM,
            _ => TARGET_PACE_UNSURE,
        };
        self.schedule.postpone(name, jittered(pause), now);
        // What is better known from earlier in this run is worth more than a stand-in, as long as there is a mount to go with it.
        let known = self.observed.target.as_ref();
        if known.is_some_and(|known| known.known_from < target.known_from) && is_mounted {
            return;
        }
        if known != Some(&target) {
            let (file_system, address, zone) = (&target.file_system, &target.address, &target.zone);
            info!(%file_system, %address, ?zone, how = target.known_from.words(), "mount target found");
            let instance = self.observed.instance.as_ref();
            if instance.is_some_and(|at| target.is_in(Some(&at.zone)) == Some(false)) {
                warn!(
                    ?zone,
                    "no mount target in this instance's own zone: traffic to another one costs, and the share falls with it"
                );
            }
            self.schedule.hurry(Action::Mount.name());
            if let Some(instance) = instance
                && target.known_from.is_first_hand()
                && let Err(error) =
                    memory::save_target(&self.config().state_dir, &instance.id, share, &target)
            {
                warn!(%error, "the mount target could not be remembered: a boot without EFS's API would find none");
            }
        }
        self.observed.target = Some(target);
    }

    pub(super) fn is_mounted(&self, mount: u32) -> bool {
        self.observed.mounted.as_ref().is_some_and(|entry| entry.id == mount)
    }

    /// Books an outcome: the schedule, the counters, the list of problems; a problem is logged when it is new.
    pub(super) fn ended<T>(&mut self, action: Action, result: Result<T, Trouble>) -> Option<T> {
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
                    warn!(
                        action = name,
                        code = problem.code,
                        problem = problem.sentence(),
                        "failed; it is tried again"
                    );
                }
                self.problems.insert(name, problem);
                None
            }
        }
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

    fn probed(&mut self, result: Result<Duration, Trouble>) {
        match self.ended(Action::Probe, result) {
            Some(rtt) => self.answered(rtt),
            None => self.observed.good_probes = 0,
        }
    }

    /// The share gave a sign of life.
    fn answered(&mut self, rtt: Duration) {
        let config = self.config();
        self.last_answer = Some((Instant::now(), SystemTime::now(), rtt));
        self.observed.good_probes = self.observed.good_probes.saturating_add(1);
        let opening = self.observed.good_probes < config.gate_good_probes;
        let pause =
            if opening { config.probe_interval.min(FIRST_PROBES_INTERVAL) } else { config.probe_interval };
        self.schedule.postpone(Action::Probe.name(), jittered(pause), Instant::now());
    }
}
