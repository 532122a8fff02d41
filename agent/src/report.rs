//! What operators see: one report a pass, read by the endpoint, the metrics and systemd. Also the text page of `/status`.

use crate::{
    containers::Elsewhere, draining::Drained, guard::Guard, leader::LastAction,
    missing_volumes::MissingVolume, mount_state::MountState, mountstats::Statistics,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt::Write, sync::Arc, time::SystemTime};

/// What ECS was told about this instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Gate {
    /// `ready`: tasks may be placed.
    Open,
    /// `not-ready`.
    Closed,
    /// Nothing was told in this run, or the last try failed.
    #[default]
    Unknown,
}

/// The body of `GET /healthz`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Health {
    /// The share's state.
    pub state: MountState,
    /// Why, in a sentence.
    pub reason: String,
    /// The reason's code, stable for ever, where it has one.
    #[serde(default)]
    pub code: Option<String>,
    /// Since when the state is this one, RFC 3339.
    pub since: String,
    /// Attempts to mount since the share was last ready.
    pub attempt: u32,
    /// What is, or should be, mounted.
    pub mount: Option<MountReport>,
    /// The last sign of life.
    pub probe: ProbeReport,
    /// The bare mount point's flag.
    pub guard: Guard,
    /// What ECS was told.
    pub gate: Gate,
    /// Whether AWS answers.
    pub aws: AwsReport,
    /// The agent's version.
    pub version: String,
}

/// The mount.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MountReport {
    /// `address:/export`
    pub source: String,
    /// The server's address.
    pub address: String,
    /// The zone of the mount target; a plain server has none.
    pub zone: Option<String>,
    /// Whether that is the instance's own zone.
    pub own_zone: Option<bool>,
    /// The file system's id.
    pub file_system: String,
    /// Where.
    pub path: String,
    /// The options that the kernel shows; none while it isn't mounted.
    pub options: Option<String>,
}

/// The last sign of life of the share.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ProbeReport {
    /// When it last answered, RFC 3339.
    pub last_ok: Option<String>,
    /// How long that took, in milliseconds, by way of the worker.
    pub rtt_ms: Option<f64>,
}

/// Whether AWS answers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AwsReport {
    /// Whether the last call to each of its services reached it; nothing before the first.
    pub reachable: Option<bool>,
    /// Since when, RFC 3339.
    pub since: Option<String>,
    /// Those that were not reached, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub silent: Vec<String>,
}

/// What this agent is to the cluster's patching.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// It holds the lock and patches.
    Leader,
    /// Another instance does.
    Follower,
    /// `patch = "off"`.
    Off,
    /// The instance's role lacks the rights; asked again in an hour.
    NotAllowed,
    /// Not decided yet: the share or the registration is missing.
    #[default]
    Waiting,
}

/// One service of the cluster, as the leader sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceReport {
    /// Its name.
    pub service: String,
    /// `patched`, `nothing-declared`, `updated`, `waiting`, `refused`, `left-alone`.
    pub outcome: Outcome,
    /// The revision it runs.
    pub task_definition: String,
    /// Why, where it isn't plain.
    pub reason: Option<String>,
    /// The reason's code, stable for ever.
    #[serde(default)]
    pub code: Option<String>,
    /// Tasks that run, declare volumes and do not have them: what they write there is lost with them.
    #[serde(default)]
    pub tasks_without_volumes: u32,
}

/// What became of a service in a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It runs the right revision.
    Patched,
    /// It declares no volumes.
    NothingDeclared,
    /// It was moved to a patched revision in this round.
    Updated,
    /// A deployment is under way, or something else must come first.
    Waiting,
    /// Its volumes can't be had; nothing was changed.
    Refused,
    /// Its author said hands off, or it is another rack's.
    LeftAlone,
}

impl Outcome {
    /// All of them, for metrics.
    pub const ALL: [Self; 6] =
        [Self::Patched, Self::NothingDeclared, Self::Updated, Self::Waiting, Self::Refused, Self::LeftAlone];

    /// The name in JSON and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Patched => "patched",
            Self::NothingDeclared => "nothing-declared",
            Self::Updated => "updated",
            Self::Waiting => "waiting",
            Self::Refused => "refused",
            Self::LeftAlone => "left-alone",
        }
    }
}

/// How far the leader's round is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RoundProgress {
    /// The cluster's services.
    pub services: usize,
    /// Of those, looked at so far.
    pub looked_at: usize,
    /// To be patched, and not yet.
    pub queued: usize,
    /// Gone through, of those that were to be patched.
    pub changed: usize,
}

/// The patching half.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Patching {
    /// This agent's part.
    pub role: Role,
    /// Why, where it isn't plain.
    pub reason: Option<String>,
    /// The leader's instance id.
    pub leader: Option<String>,
    /// Since when it leads, RFC 3339.
    pub leader_since: Option<String>,
    /// How many leaders the cluster has had, with this one.
    #[serde(default)]
    pub term: Option<u64>,
    /// The last change to ECS that any leader made, as the share says.
    #[serde(default)]
    pub last_action: Option<LastAction>,
    /// How far this agent's round is, while it goes over the cluster.
    #[serde(default)]
    pub round: Option<RoundProgress>,
    /// The agents that are alive, by version, as this leader sees them.
    #[serde(default)]
    pub fleet: BTreeMap<String, usize>,
    /// When the last round ended, RFC 3339.
    pub last_round: Option<String>,
    /// Why the last round ended early, if it did.
    pub last_error: Option<String>,
    /// The services, as of the last round of this agent.
    pub services: Arc<Vec<ServiceReport>>,
}

/// Things counted since the agent started.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counters {
    /// Times the share came into a state.
    pub transitions: BTreeMap<String, u64>,
    /// Actions that succeeded, by name.
    pub succeeded: BTreeMap<String, u64>,
    /// Actions that failed, by name.
    pub failed: BTreeMap<String, u64>,
    /// Task definitions registered.
    pub registered: u64,
    /// Services updated.
    pub updated: u64,
}

/// The share came from one state into another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transition {
    /// When, RFC 3339.
    pub at: String,
    /// The state before.
    pub from: MountState,
    /// The state after.
    pub to: MountState,
    /// Why, in a sentence.
    pub reason: String,
    /// The reason's code, where it has one.
    pub code: Option<String>,
}

/// The volumes' directories against their records.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct VolumesReport {
    /// Records on the share.
    pub records: u64,
    /// Volumes that are not what their record says.
    pub missing: Vec<MissingVolume>,
}

/// Everything, in one value: the body of `GET /status` as JSON.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Report {
    /// What `/healthz` says.
    pub health: Health,
    /// The instance's id.
    pub instance: Option<String>,
    /// Its zone.
    pub zone: Option<String>,
    /// The cluster.
    pub cluster: Option<String>,
    /// Its ARN in ECS.
    pub container_instance: Option<String>,
    /// Whether it is an ECS task that only patches (`mount = "none"`).
    #[serde(default)]
    pub only_patches: bool,
    /// The ARN of that task.
    #[serde(default)]
    pub task: Option<String>,
    /// The rack.
    pub rack: Option<String>,
    /// Where the configuration is.
    pub configuration_file: String,
    /// What is wrong with it, if anything; the last right one is in force.
    pub configuration_problem: Option<String>,
    /// What is missing or failing, each with what to do.
    pub problems: Vec<String>,
    /// The codes of all that is missing or failing, sorted.
    #[serde(default)]
    pub codes: Vec<String>,
    /// The share's last transitions, oldest first.
    #[serde(default)]
    pub transitions: Vec<Transition>,
    /// The patching half.
    pub patching: Patching,
    /// What the kernel counts of the present mount.
    #[serde(default)]
    pub nfs: Option<Statistics>,
    /// Since when, and why, this agent has the instance DRAINING in ECS.
    #[serde(default)]
    pub draining: Option<Drained>,
    /// The volumes' directories, as the leader found them.
    #[serde(default)]
    pub volumes: Option<VolumesReport>,
    /// Containers that write elsewhere than to the share.
    #[serde(default)]
    pub containers_elsewhere: Vec<Elsewhere>,
    /// Counters, for the metrics.
    pub counters: Counters,
    /// When the agent started, RFC 3339.
    pub started: String,
}

/// A point in time as operators read it, in UTC.
pub fn timestamp(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}

impl Report {
    /// The line of `systemctl status`.
    pub fn status_line(&self) -> String {
        let Health { state, reason, gate, .. } = &self.health;
        let gate = match gate {
            Gate::Open => "gate open",
            Gate::Closed => "gate closed",
            Gate::Unknown => "gate unknown",
        };
        format!("{state}: {reason} ({gate})")
    }

    /// The page that tells a person at night everything.
    pub fn text(&self) -> String {
        let mut page = String::new();
        match self.write(&mut page) {
            Ok(()) => page,
            Err(error) => format!("the page can't be written: {error}\n"),
        }
    }

    fn write(&self, page: &mut String) -> std::fmt::Result {
        let health = &self.health;
        let or = |text: &Option<String>| text.clone().unwrap_or_else(|| "not known yet".to_owned());
        writeln!(page, "share       {} since {}", health.state, health.since)?;
        writeln!(page, "            {}", health.reason)?;
        if let Some(code) = &health.code {
            writeln!(page, "            `volumes-agent explain {code}` tells more")?;
        }
        if let Some(mount) = &health.mount {
            let zone = match (&mount.zone, mount.own_zone) {
                (Some(zone), Some(true)) => format!(", in {zone}, this instance's zone"),
                (Some(zone), _) => {
                    format!(", in {zone}, ANOTHER zone: traffic costs, and it falls with that zone")
                }
                (None, _) => String::new(),
            };
            writeln!(page, "mount       {} of {} at {}{zone}", mount.source, mount.file_system, mount.path)?;
            if let Some(options) = &mount.options {
                writeln!(page, "            {options}")?;
            }
        }
        let probe = match (&health.probe.last_ok, health.probe.rtt_ms) {
            (Some(at), Some(rtt)) => format!("last answer {at}, in {rtt:.1} ms"),
            _ => "no answer yet".to_owned(),
        };
        writeln!(page, "probe       {probe}")?;
        // A patcher has neither: both are its instance's.
        if !self.only_patches {
            self.write_protections(page)?;
        }
        let aws = match (health.aws.reachable, &health.aws.since) {
            (Some(true), Some(since)) => format!("reachable since {since}"),
            (Some(false), Some(since)) => {
                format!("OUT OF REACH since {since}: {}", health.aws.silent.join(", "))
            }
            _ => "not called yet".to_owned(),
        };
        writeln!(page, "AWS         {aws}")?;
        match self.only_patches {
            true => writeln!(page, "task        {} in {}", or(&self.task), or(&self.zone))?,
            false => writeln!(page, "instance    {} in {}", or(&self.instance), or(&self.zone))?,
        }
        writeln!(page, "cluster     {} (rack {})", or(&self.cluster), or(&self.rack))?;
        self.write_patching(page)?;
        if let Some(problem) = &self.configuration_problem {
            writeln!(page, "\nWRONG CONFIGURATION, the last right one is in force:\n       {problem}")?;
        }
        if !self.problems.is_empty() {
            writeln!(page, "\nproblems")?;
            for problem in &self.problems {
                writeln!(page, "  - {problem}")?;
            }
        }
        if !self.transitions.is_empty() {
            writeln!(page, "\ntransitions of the share")?;
            for Transition { at, from, to, reason, .. } in &self.transitions {
                writeln!(page, "  {at}  {from} -> {to}: {reason}")?;
            }
        }
        writeln!(
            page,
            "\nvolumes-agent {}, started {}, configuration {}",
            health.version, self.started, self.configuration_file
        )
    }

    /// The guard and the gate.
    fn write_protections(&self, page: &mut String) -> std::fmt::Result {
        let health = &self.health;
        let guard = match health.guard {
            Guard::Set if health.state == MountState::Foreign => {
                "set, and hidden by what is mounted there: containers write to that"
            }
            Guard::Set => "set: without the share, writes to /volumes fail",
            Guard::Unset => "NOT SET: without the share, containers would write to this instance's disk",
            Guard::Unsupported => {
                "UNSUPPORTED by the root file system: without the share, containers would write to this instance's disk"
            }
        };
        writeln!(page, "guard       {guard}")?;
        let gate = match health.gate {
            Gate::Open => "open: ECS may place tasks with volumes here",
            Gate::Closed => "closed: ECS places no task with volumes here",
            Gate::Unknown => {
                "unknown: ECS was not told; until it is, it goes by what it was told last, and the guard holds alone"
            }
        };
        writeln!(page, "gate        {gate}")
    }

    fn write_patching(&self, page: &mut String) -> std::fmt::Result {
        let patching = &self.patching;
        let what = if self.only_patches { "task" } else { "instance" };
        let role = match patching.role {
            Role::Leader => format!("this {what} patches the cluster's services"),
            Role::Follower => match (&patching.leader, &patching.leader_since) {
                (Some(leader), Some(since)) => format!("follower; {leader} leads since {since}"),
                _ => "follower; another instance leads".to_owned(),
            },
            Role::Off => "off here (`patch = \"off\"`)".to_owned(),
            Role::NotAllowed => "not allowed here".to_owned(),
            Role::Waiting => "waiting for the share and the registration".to_owned(),
        };
        let reason = patching.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        writeln!(page, "patching    {role}{reason}")?;
        if let Some(term) = patching.term {
            writeln!(page, "            term {term}")?;
        }
        if let Some(LastAction { at, by, what }) = &patching.last_action {
            writeln!(page, "            last change to ECS {at} by {by}: {what}")?;
        }
        if let Some(RoundProgress { services, looked_at, queued, changed }) = patching.round {
            writeln!(
                page,
                "            this round: {looked_at} of {services} services looked at, {queued} to be patched, {changed} gone through"
            )?;
        }
        if !patching.fleet.is_empty() {
            let versions: Vec<_> =
                patching.fleet.iter().map(|(version, count)| format!("{count} of {version}")).collect();
            writeln!(page, "            agents alive: {}", versions.join(", "))?;
        }
        if let Some(at) = &patching.last_round {
            writeln!(page, "            last round {at}")?;
        }
        if let Some(error) = &patching.last_error {
            writeln!(page, "            LAST ROUND FAILED: {error}")?;
        }
        for service in patching.services.iter() {
            if service.tasks_without_volumes > 0 {
                writeln!(
                    page,
                    "  {:<20} RUNS WITHOUT ITS VOLUMES: what {} of its tasks write there is lost with them",
                    service.service, service.tasks_without_volumes
                )?;
            }
            let reason = service.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            writeln!(
                page,
                "  {:<20} {:<16} {}{reason}",
                service.service,
                service.outcome.name(),
                service.task_definition.rsplit('/').next().unwrap_or_default()
            )?;
        }
        Ok(())
    }
}
