//! What the loop tells: the reason of a state in a sentence, and the report of a pass.

use super::Agent;
use crate::{
    config::Config,
    draining::Drained,
    mount::VOLUMES_ROOT,
    mount_state::{MountState, Seen},
    plan::Action,
    report::{Gate, Health, MountReport, ProbeReport, Report, Role, timestamp},
    systemd,
};
use std::sync::Arc;

impl Agent {
    /// Why the state is what it is, for a person.
    pub(super) fn reason(&self, seen: Seen) -> String {
        let Some(config) = &self.config else {
            let problem = self.config_problem.as_deref().unwrap_or("not read yet");
            return format!("wrong configuration: {problem}");
        };
        let target = self.observed.target.as_ref();
        let source = target
            .map_or_else(|| "the share".to_owned(), |target| format!("{}:{}", target.address, target.export));
        let failure = self.problems.get(Action::Mount.name());
        let attempt = match failure {
            Some(failure) => format!("attempt {}: {failure}", self.attempt),
            None => format!("attempt {}", self.attempt),
        };
        match self.observed.state {
            MountState::Ready => format!("{source} is mounted and answers"),
            MountState::Stalled => {
                let silent = self.observed.silent_for.unwrap_or(self.observed.mounted_for).as_secs();
                format!(
                    "{source} has not answered for {silent} s (stall_deadline is {}): look at the NFS server and the network; the mount stays, and what containers write waits for it",
                    humantime::format_duration(config.stall_deadline)
                )
            }
            MountState::Foreign => {
                let why =
                    self.observed.mounted.as_ref().and_then(|mounted| self.observed.why_foreign(mounted));
                let why = why.unwrap_or_else(|| format!("{VOLUMES_ROOT} has something else mounted on it"));
                format!("{why}. It is left alone")
            }
            MountState::Lost if self.observed.mounted.is_some() => {
                format!(
                    "{source} is mounted again and has not answered yet; containers started before keep the mount that went"
                )
            }
            MountState::Lost => format!("{source} was unmounted by someone; mounting it again: {attempt}"),
            MountState::Mounting if seen == Seen::Unjudged && target.is_none() => {
                format!("found an NFS mount at {VOLUMES_ROOT}; {}", self.missing(config))
            }
            MountState::Mounting if seen == Seen::Unjudged => {
                format!("{source} is mounted; waiting for its first answer")
            }
            MountState::Mounting => format!("mounting {source}: {attempt}"),
            MountState::Absent if target.is_some() => match failure {
                Some(_) => format!("{source} is not mounted: {attempt}"),
                None => format!("{source} will be mounted next"),
            },
            MountState::Absent => self.missing(config),
        }
    }

    /// The first thing that is missing on the way to a mount.
    fn missing(&self, config: &Config) -> String {
        let failed = |action: Action| self.problems.get(action.name()).cloned();
        if self.observed.instance.is_none() {
            let why = failed(Action::LearnInstance).unwrap_or_else(|| "asked for just now".to_owned());
            return format!("waiting for instance metadata: {why}");
        }
        match self.observed.share(config, &self.file_name()) {
            Err(missing) => format!("waiting for configuration: {missing}"),
            Ok(_) => match failed(Action::FindTarget) {
                Some(why) => format!("no mount target: {why}"),
                None => "asking EFS for the mount target".to_owned(),
            },
        }
    }

    /// Publishes what is known.
    pub(super) fn report(&mut self, seen: Seen) {
        let config = self.config();
        let file = self.file_name();
        let observed = &self.observed;
        let instance = observed.instance.as_ref();
        let rack = observed.rack(&config, &file);
        let mut problems: Vec<String> = self.problems.values().cloned().collect();
        problems.extend(self.looks.problems());
        problems.extend(self.draining_report().as_ref().map(Drained::problem));
        if instance.is_some()
            && let Err(missing) = &rack
        {
            problems.insert(0, missing.clone());
        }
        let mut patching = self.patching.clone();
        if !config.patch {
            patching.role = Role::Off;
        }
        let health = Health {
            state: observed.state,
            reason: self.reason(seen),
            since: timestamp(self.state_since),
            attempt: self.attempt,
            mount: observed.target.as_ref().map(|target| MountReport {
                source: format!("{}:{}", target.address, target.export),
                address: target.address.to_string(),
                zone: target.zone.clone(),
                own_zone: target.zone.as_ref().and_then(|zone| Some(*zone == instance?.zone)),
                file_system: target.file_system.clone(),
                path: VOLUMES_ROOT.to_owned(),
                options: observed.mounted.as_ref().map(|mounted| mounted.options.clone()),
            }),
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
            aws: self.aws.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let report = Report {
            health,
            instance: instance.map(|instance| instance.id.clone()),
            zone: instance.map(|instance| instance.zone.clone()),
            cluster: observed.cluster(&config),
            container_instance: observed.registration.as_ref().map(|r| r.container_instance.clone()),
            rack: rack.ok().map(|rack| rack.to_string()),
            configuration_file: file,
            configuration_problem: self.config_problem.clone(),
            problems,
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
}
