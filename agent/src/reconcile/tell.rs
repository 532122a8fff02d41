//! What the loop tells: the reason of a state in a sentence, and the report of a pass.

use super::Agent;
use crate::{
    config::{Config, MountMode},
    guard::Guard,
    mount::{self, VOLUMES_ROOT},
    mount_state::{MountState, Seen},
    mountinfo::MountEntry,
    plan::Action,
    report::{Gate, Health, MountReport, ProbeReport, Report, Role, timestamp},
    systemd,
    target::{MountTarget, Standing},
    trouble::Trouble,
};
use std::{collections::BTreeSet, sync::Arc};

impl Agent {
    /// Why the state is what it is, for a person.
    pub(super) fn reason(&self, seen: Seen) -> Trouble {
        let Some(config) = &self.config else {
            let problem = self.config_problem.as_deref().unwrap_or("not read yet");
            return Trouble::coded("wrong-configuration", format!("wrong configuration: {problem}"));
        };
        let source = self.source();
        match self.observed.state {
            MountState::Ready => format!("{source} is mounted and answers").into(),
            MountState::Stalled => self.why_stalled(config, &source),
            MountState::Foreign => match self.observed.foreign(config) {
                Some(foreign) => foreign.into(),
                None => format!("{VOLUMES_ROOT} has something else mounted on it. It is left alone").into(),
            },
            MountState::Lost if self.observed.mounted.is_some() => {
                let text = format!(
                    "{source} is mounted again and not known to answer yet; containers started before keep the mount that went"
                );
                match self.judging_failed() {
                    Some(why) => why.during(&text),
                    None => Trouble::coded("share-lost", text),
                }
            }
            MountState::Lost if config.mount == MountMode::External => Trouble::coded(
                "share-lost",
                "the share was unmounted by someone; `mount = \"external\"`, so whoever mounted it must mount it again",
            )
            .help(format!("`mount {VOLUMES_ROOT}`")),
            MountState::Lost if self.let_go.is_some() => {
                self.attempts(None, self.let_go.as_deref().unwrap_or_default())
            }
            MountState::Lost => self.attempts(
                Some("share-lost"),
                &format!("{source} was unmounted by someone; mounting it again"),
            ),
            MountState::Mounting if seen == Seen::Unjudged && self.observed.file_system(config).is_none() => {
                self.missing(config).during(&format!("found an NFS mount at {VOLUMES_ROOT}"))
            }
            MountState::Mounting if seen == Seen::Unjudged => self.unjudged(&source),
            MountState::Mounting => self.attempts(None, &format!("mounting {source}")),
            MountState::Absent if config.mount == MountMode::External => Trouble::coded(
                "not-mounted-externally",
                format!("nothing is mounted at {VOLUMES_ROOT}; `mount = \"external\"`, so fstab or efs-utils must mount it"),
            )
            .help(format!("`mount {VOLUMES_ROOT}`")),
            MountState::Absent if self.observed.target.is_some() => {
                let failed = |action: Action| self.problems.get(action.name());
                match (failed(Action::Mount), failed(Action::SetGuard)) {
                    (Some(_), _) => self.attempts(None, &format!("{source} is not mounted")),
                    (None, Some(guard)) => guard.clone().during(&format!("{source} is not mounted")),
                    (None, None) => format!("{source} will be mounted next").into(),
                }
            }
            MountState::Absent => self.missing(config),
        }
    }

    /// Mounted, and not known to be the right one yet.
    fn unjudged(&self, source: &str) -> Trouble {
        match self.judging_failed() {
            Some(why) => why.during(&format!("{source} is mounted")),
            None => format!("{source} is mounted; waiting for its first answer").into(),
        }
    }

    /// Why a mount can't be judged, where something failed.
    fn judging_failed(&self) -> Option<Trouble> {
        let failed = |action: Action| self.problems.get(action.name()).cloned();
        failed(Action::Identify).or_else(|| failed(Action::Probe))
    }

    /// What is mounted, or will be.
    fn source(&self) -> String {
        let mounted = self.observed.mounted.as_ref().map(|mounted| mounted.source.clone());
        let target = || self.observed.target.as_ref().map(MountTarget::source);
        mounted.or_else(target).unwrap_or_else(|| "the share".to_owned())
    }

    /// `what`, with how often it was tried and what came of it last; that is the better code.
    fn attempts(&self, code: Option<&str>, what: &str) -> Trouble {
        let attempt = self.attempt;
        match self.problems.get(Action::Mount.name()) {
            Some(failure) => {
                let failed = format!("{what}: attempt {attempt}, after one that failed");
                let during = failure.clone().during(&failed);
                Trouble { code: during.code.or_else(|| code.map(str::to_owned)), ..during }
            }
            None => Trouble {
                code: code.map(str::to_owned),
                ..Trouble::from(format!("{what}: attempt {attempt}"))
            },
        }
    }

    fn why_stalled(&self, config: &Config, source: &str) -> Trouble {
        if self.observed.silent_for.is_some_and(|silent| silent <= config.stall_deadline) {
            return self.unjudged(source);
        }
        let silent = self.observed.silent_for.or(self.observed.probed_for).unwrap_or_default().as_secs();
        let deadline = humantime::format_duration(config.stall_deadline);
        let what = format!("{source} has not answered for {silent} s (stall_deadline is {deadline})");
        if let (Some(why), Some(Standing::Chosen | Standing::Another) | None) =
            (self.problems.get(Action::Probe.name()), self.observed.standing())
        {
            return why.clone().during(&what);
        }
        match (&self.observed.target, self.observed.standing()) {
            (Some(target), Some(Standing::Former)) => Trouble::coded(
                "address-changed",
                format!(
                    "{what}: the mount target has another address now, {}, where a mount can't follow; containers that use it wait",
                    target.address
                ),
            )
            .help("replace this instance, or reboot it"),
            _ => Trouble::coded(
                "share-stalled",
                format!("{what}; the mount stays, and what containers write waits for it"),
            )
            .help("look at the NFS server and the network"),
        }
    }

    /// The first thing that is missing on the way to a mount.
    fn missing(&self, config: &Config) -> Trouble {
        let failed = |action: Action| self.problems.get(action.name()).cloned();
        if self.observed.instance.is_none() {
            return match failed(Action::LearnInstance) {
                Some(why) => why.during("waiting for instance metadata"),
                None => "asking instance metadata who this is".to_owned().into(),
            };
        }
        match self.observed.share(config, &self.file_name()) {
            Err(missing) => {
                Trouble::coded("no-configuration", format!("waiting for configuration: {missing}"))
            }
            Ok(_) => match failed(Action::FindTarget) {
                Some(why) => why.during("no mount target"),
                None => "asking EFS for the mount target".to_owned().into(),
            },
        }
    }

    /// What an operator should know although the share may be ready: a mount that is right, and not as it should be.
    fn concerns(&self) -> Vec<Trouble> {
        let observed = &self.observed;
        let mut concerns = Vec::new();
        if observed.guard == Some(Guard::Unsupported) {
            concerns.push(Trouble::coded(
                "guard-unsupported",
                format!("the root file system has no immutable flag, so {VOLUMES_ROOT} is not guarded: without the share, containers would write to this instance's disk"),
            )
            .help("use ext4, xfs or btrfs for the root file system"));
        }
        if let (Some(mounted), Some(config)) = (&observed.mounted, &self.config)
            && observed.state.is_ready()
            // What a container has of it is its instance's business.
            && config.mount != MountMode::None
        {
            let lacking = mount::unwanted_options(&mounted.options, &config.mount_flags);
            if !lacking.is_empty() {
                concerns.push(
                    Trouble::coded(
                        "mount-options",
                        format!(
                            "the share is mounted with other options than it should be: {}",
                            lacking.join(", ")
                        ),
                    )
                    .help("correct them where it is mounted; they change with the next mount"),
                );
            }
        }
        let (Some(target), Some(instance)) = (&observed.target, &observed.instance) else {
            return concerns;
        };
        let zone = &instance.zone;
        match observed.standing() {
            Some(Standing::Another) if target.is_in(Some(zone)) == Some(true) => concerns.push(Trouble::coded(
                "another-zone",
                format!(
                    "the share is mounted from {}, while this instance's own zone {zone} has {}: traffic to another zone costs",
                    self.source(),
                    target.address
                ),
            )
            .help("it changes with the next boot")),
            Some(Standing::Former) if observed.state.is_ready() => concerns.push(Trouble::coded(
                "address-changed",
                format!(
                    "the share is mounted from {}, which is no more among the addresses of {}; it answers still",
                    self.source(),
                    target.file_system
                ),
            )
            .help(format!("replace this instance, or reboot it: then {} is mounted", target.address))),
            _ if target.is_in(Some(zone)) == Some(false) => concerns.push(Trouble::coded(
                "another-zone",
                format!(
                    "the file system has no mount target in this instance's zone {zone}, so that of {} is used: traffic to another zone costs, and the share falls with it",
                    target.zone.as_deref().unwrap_or("another zone")
                ),
            )
            .help(format!("create a mount target in {zone}"))),
            _ => {}
        }
        concerns
    }

    /// Publishes what is known.
    pub(super) fn report(&mut self, seen: Seen) {
        let config = self.config();
        let file = self.file_name();
        let observed = &self.observed;
        let instance = observed.instance.as_ref();
        let rack = observed.rack(&config, &file);
        let reason = self.reason(seen);
        let mut troubles: Vec<Trouble> = self.problems.values().cloned().collect();
        troubles.extend(self.concerns());
        troubles.extend(self.looks.problems());
        troubles.extend(
            self.draining_report()
                .as_ref()
                .map(|drained| Trouble::coded("instance-drained", drained.problem())),
        );
        if instance.is_some()
            && let Err(missing) = &rack
        {
            troubles.insert(0, Trouble::coded("no-configuration", missing.clone()));
        }
        let codes: BTreeSet<String> =
            troubles.iter().chain([&reason]).filter_map(|trouble| trouble.code.clone()).collect();
        let mut patching = self.patching.clone();
        patching.round = *self.progress.borrow();
        if !config.patch {
            patching.role = Role::Off;
        }
        let health = Health {
            state: observed.state,
            reason: reason.sentence(),
            code: reason.code,
            since: timestamp(self.state_since),
            attempt: self.attempt,
            mount: self.mount_report(&config),
            probe: ProbeReport {
                last_ok: self.last_answer.map(|(_, at, _)| timestamp(at)),
                rtt_ms: self.last_answer.map(|(_, _, rtt)| rtt.as_secs_f64() * 1000.0),
            },
            guard: observed.guard.unwrap_or_default(),
            gate: match observed.gate_told {
                _ if self.gate_failed => Gate::Unknown,
                Some(true) => Gate::Open,
                Some(false) => Gate::Closed,
                None => Gate::Unknown,
            },
            aws: self.aws.report(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let report = Report {
            health,
            instance: instance.map(|instance| instance.id.clone()),
            zone: instance.map(|instance| instance.zone.clone()),
            cluster: observed.cluster(&config),
            container_instance: observed.registration.as_ref().map(|r| r.container_instance.clone()),
            only_patches: config.mount == MountMode::None,
            task: observed.task.as_ref().map(|task| task.arn.clone()),
            rack: rack.ok().map(|rack| rack.to_string()),
            configuration_file: file,
            configuration_problem: self.config_problem.clone(),
            problems: troubles.iter().map(ToString::to_string).collect(),
            codes: codes.into_iter().collect(),
            transitions: self.transitions.iter().cloned().collect(),
            patching,
            nfs: self.looks.statistics.clone(),
            draining: self.draining_report(),
            volumes: self.looks.volumes_report(),
            containers_elsewhere: self.looks.elsewhere.clone(),
            counters: self.counters.clone(),
            started: timestamp(self.started),
        };
        let before = self.reports.borrow().status_line();
        let line = report.status_line();
        if line != before {
            systemd::status(&line);
        }
        self.reports.send_replace(Arc::new(report));
    }

    /// What is mounted, else what should be.
    fn mount_report(&self, config: &Config) -> Option<MountReport> {
        let observed = &self.observed;
        let (target, mounted) = (observed.target.as_ref(), observed.mounted.as_ref());
        let address = mounted.and_then(MountEntry::server).or_else(|| target.map(|target| target.address))?;
        // The zone is the target's: of another address of the file system it isn't known.
        let zone = target.filter(|target| target.address == address).and_then(|target| target.zone.clone());
        Some(MountReport {
            source: self.source(),
            address: address.to_string(),
            own_zone: zone.as_ref().and_then(|zone| Some(*zone == observed.instance.as_ref()?.zone)),
            zone,
            file_system: observed.file_system(config)?.to_owned(),
            path: VOLUMES_ROOT.to_owned(),
            options: mounted.map(|mounted| mounted.options.clone()),
        })
    }
}
