//! What `volumes-agent doctor` makes of what was found: a list of checks, each with a verdict, what was seen and what to do next.
//!
//! Pure: [`crate::examination`] looks, this judges. A verdict is `fail` where files are not safe, not reachable or not placed
//! where they should be; `warn` where they are and something should be better; `unknown` where nobody can tell, with the reason.
//! The checks stand in the order in which a person would ask, so that the first one that fails is the one to mend.

pub mod aws;
pub mod image;
pub mod kernel;
pub mod mount;
pub mod network;
pub mod share;
pub mod units;

use crate::{
    aws::AwsError, config::Config, drift::Drift, ecs::rights::Right, ecs_agent::Registration, efs::EfsError,
    guard::Bare, imds::Instance, mountinfo::MountEntry, mountstats::Lease, observed::Observed,
    report::Report, round_trip::RoundTrip, target::MountTarget,
};
use serde::Serialize;
use std::{net::IpAddr, time::Duration};

/// What a check comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Pass,
    /// It can't be told.
    Unknown,
    /// It works, and should be better.
    Warn,
    /// It doesn't work, or files are not safe.
    Fail,
}

impl Verdict {
    /// All of them, the best first.
    pub const ALL: [Self; 4] = [Self::Pass, Self::Unknown, Self::Warn, Self::Fail];

    /// The word in text and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Unknown => "unknown",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One check.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Check {
    /// Its name, stable for ever.
    pub name: &'static str,
    /// What it comes to.
    pub result: Verdict,
    /// What was seen.
    pub detail: String,
    /// What to do next; `None` where there is nothing to do.
    pub help: Option<String>,
    /// What was measured, by name with its unit.
    #[serde(flatten)]
    pub numbers: serde_json::Map<String, serde_json::Value>,
}

impl Check {
    fn new(name: &'static str, result: Verdict, detail: impl Into<String>, help: Option<String>) -> Self {
        Self { name, result, detail: detail.into(), help, numbers: serde_json::Map::new() }
    }

    fn pass(name: &'static str, detail: impl Into<String>) -> Self {
        Self::new(name, Verdict::Pass, detail, None)
    }

    fn unknown(name: &'static str, detail: impl Into<String>, help: impl Into<String>) -> Self {
        Self::new(name, Verdict::Unknown, detail, Some(help.into()))
    }

    fn warn(name: &'static str, detail: impl Into<String>, help: impl Into<String>) -> Self {
        Self::new(name, Verdict::Warn, detail, Some(help.into()))
    }

    fn fail(name: &'static str, detail: impl Into<String>, help: impl Into<String>) -> Self {
        Self::new(name, Verdict::Fail, detail, Some(help.into()))
    }

    /// Another check must pass first.
    fn after(name: &'static str, other: &str, why: impl Into<String>) -> Self {
        Self::unknown(name, why, format!("see `{other}` first"))
    }

    /// What can't be looked at: without root that is no wonder.
    fn unseen(name: &'static str, found: &Findings, why: &str, help: &str) -> Self {
        if found.is_root {
            Self::unknown(name, why, help)
        } else if why.contains("needs root") {
            Self::unknown(name, why, "run it as root")
        } else {
            Self::unknown(name, format!("{why} (this needs root)"), "run it as root")
        }
    }

    fn number(mut self, name: &str, value: impl Into<serde_json::Value>) -> Self {
        self.numbers.insert(name.to_owned(), value.into());
        self
    }
}

/// What was found, before anyone says what it means. Where something could not be seen, the reason stands in its place.
#[derive(Debug)]
pub struct Findings {
    /// Whether the looking was done as root.
    pub is_root: bool,
    /// This binary's version.
    pub version: String,
    /// Whether the helper that fills new volumes can be run, or why not.
    pub helper: Result<(), String>,
    /// The configuration, or all that is wrong with it.
    pub configuration: Result<Config, String>,
    /// Where the configuration is.
    pub configuration_file: String,
    /// The daemon's environment file, if its variables are in force here as well; else why not.
    pub environment: Result<Option<String>, String>,
    /// What the kernel has for NFS.
    pub nfs_client: NfsClient,
    /// The bare mount point.
    pub bare: Result<Bare, String>,
    /// The NFS client's identifier; `None`: the kernel has no such file (yet).
    pub identifier: Result<Option<String>, String>,
    /// Whether the kernel hides lost locks (`nfs.recover_lost_locks`).
    pub recovers_lost_locks: bool,
    /// File handles of the whole system.
    pub file_handles: Result<FileHandles, String>,
    /// By how many seconds this machine's clock is ahead of metadata's.
    pub clock_ahead_seconds: Result<f64, String>,
    /// What is mounted at the volumes root, the topmost last.
    pub mounts: Result<Vec<MountEntry>, String>,
    /// Read-ahead of the topmost mount, in KiB.
    pub read_ahead_kib: Result<u64, String>,
    /// The lease of the topmost mount's server.
    pub lease: Result<Lease, String>,
    /// How many locks this machine's processes hold on the topmost mount, if that is known.
    pub locks_held: Option<u64>,
    /// Who and where this instance is.
    pub instance: Result<Instance, String>,
    /// What it is to ECS.
    pub registration: Result<Registration, String>,
    /// `ECS_CLUSTER` of the ECS agent's configuration.
    pub ecs_config_cluster: Option<String>,
    /// What should be mounted.
    pub target: Target,
    /// What the file system's name resolves to. `None`: it has no name, or isn't known.
    pub dns: Option<Dns>,
    /// Port 2049 of the server. `None`: no server is known.
    pub port: Option<Port>,
    /// What the share says. `None`: no NFS is mounted.
    pub share: Option<ShareAnswers>,
    /// What the daemon says.
    pub daemon: Result<Report, String>,
    /// What ECS lets this role read. `None`: it was not asked, since this agent may not patch, or no cluster or region is known.
    pub rights: Option<Vec<Right>>,
    /// The Docker engine.
    pub docker: Docker,
    /// The units that matter.
    pub units: Result<Vec<Unit>, String>,
    /// Whether the daemon's binary was replaced since it was started.
    pub daemon_is_replaced: bool,
}

/// What the kernel has for NFS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NfsClient {
    /// `nfs4` is in /proc/filesystems.
    Loaded,
    /// There is a module that isn't loaded yet.
    Loadable,
    /// There is none.
    Missing,
}

/// File handles of the whole system (/proc/sys/fs/file-nr).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileHandles {
    /// In use.
    pub used: u64,
    /// At most.
    pub most: u64,
}

/// What should be mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Found, from EFS or by the configuration.
    Found(MountTarget),
    /// Others mount it (`mount = "external"`), and choose.
    External,
    /// It can't be looked for, since something isn't known.
    NotAsked(String),
    /// EFS's answer, or that there was none.
    Failed {
        /// What it says.
        why: String,
        /// What to do next.
        help: String,
        /// Whether the role lacks the right to ask.
        denied: bool,
    },
}

impl Target {
    /// What was found.
    pub fn found(&self) -> Option<&MountTarget> {
        match self {
            Self::Found(target) => Some(target),
            Self::External | Self::NotAsked(_) | Self::Failed { .. } => None,
        }
    }
}

/// What a name resolves to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dns {
    /// The file system's name.
    pub name: String,
    /// Its address.
    pub address: Result<IpAddr, String>,
}

/// A server's port 2049.
#[derive(Debug, Clone, PartialEq)]
pub struct Port {
    /// The address and port.
    pub address: std::net::SocketAddr,
    /// What came of it.
    pub reached: Reached,
}

/// What came of connecting to an NFS server, and of an NFS call that does nothing.
#[derive(Debug, Clone, PartialEq)]
pub enum Reached {
    /// It answered.
    Answered {
        /// The time until the connection stood.
        connected: Duration,
        /// The time of the call.
        answered: Duration,
    },
    /// The connection stood, and the call was not answered.
    Silent {
        /// The time until the connection stood.
        connected: Duration,
        /// What came instead.
        why: String,
    },
    /// No connection.
    Refused(String),
    /// No answer to the connection in time.
    TimedOut(Duration),
}

/// What the share says.
#[derive(Debug, Clone, PartialEq)]
pub struct ShareAnswers {
    /// Whether it answered at all; why not.
    pub answers: Result<(), Silence>,
    /// What its marker names.
    pub marker: Result<Option<String>, String>,
    /// The round trip; `None`: there is no directory of the agent yet.
    pub round_trip: Result<Option<RoundTrip>, String>,
    /// Volumes that are not as they were asked for.
    pub drift: Result<Drift, String>,
}

/// Why the share said nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Silence {
    /// No answer in time.
    TimedOut(Duration),
    /// The call failed.
    Failed(String),
}

/// The Docker engine of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Docker {
    /// No engine runs.
    NotRunning,
    /// It can't be looked at.
    Unseen(String),
    /// It runs in the mount namespace of the whole machine: it sees what is mounted.
    SeesTheHost,
    /// It has a mount namespace of its own.
    Apart {
        /// The device (`major:minor`) that it has at the volumes root, if any.
        device: Option<String>,
        /// Whether the share's mount is passed on to other namespaces.
        is_shared: bool,
    },
}

/// A unit, as systemd has it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Unit {
    /// Its name.
    pub name: String,
    /// Whether there is such a unit.
    pub is_loaded: bool,
    /// `active`, `inactive`, `failed`, ...
    pub active: String,
    /// `enabled`, `disabled`, ...; empty for units that have no file.
    pub enabled: String,
    /// What it comes before.
    pub before: Vec<String>,
    /// What it comes after.
    pub after: Vec<String>,
    /// Its drop-ins.
    pub drop_ins: Vec<String>,
    /// Whether its files changed since systemd read them.
    pub needs_reload: bool,
    /// Whether it has a mount namespace of its own.
    pub is_apart: bool,
}

impl Findings {
    /// The topmost mount at the volumes root.
    pub fn mounted(&self) -> Option<&MountEntry> {
        self.mounts.as_ref().ok()?.last()
    }

    /// The configuration in force; the defaults where it is wrong.
    pub fn config(&self) -> Config {
        self.configuration.clone().unwrap_or_default()
    }

    /// The facts as the daemon's own rules take them.
    pub fn observed(&self) -> Observed {
        Observed {
            instance: self.instance.clone().ok(),
            registration: self.registration.clone().ok(),
            registration_is_fresh: self.registration.is_ok(),
            ecs_config_cluster: self.ecs_config_cluster.clone(),
            target: self.target.found().cloned(),
            mounted: self.mounted().cloned(),
            ..Observed::default()
        }
    }
}

/// All checks.
pub fn examine(found: &Findings) -> Vec<Check> {
    vec![
        units::configuration(found),
        units::daemon(found),
        units::version(found),
        units::helper(found),
        kernel::nfs_client(found),
        kernel::mount_point(found),
        kernel::guard(found),
        aws::metadata(found),
        aws::clock(found),
        network::target(found),
        network::dns(found),
        network::port(found),
        mount::mount(found),
        mount::options(found),
        mount::read_ahead(found),
        kernel::identifier(found),
        mount::lease(found),
        share::round_trip(found),
        share::identity(found),
        share::locks(found),
        share::ownership(found),
        kernel::file_handles(found),
        aws::ecs_agent(found),
        aws::gate(found),
        aws::permissions(found),
        units::docker(found),
        units::containers(found),
        units::order(found),
    ]
}

/// The worst verdict: what the whole run comes to.
pub fn worst(checks: &[Check]) -> Verdict {
    checks.iter().map(|check| check.result).max().unwrap_or(Verdict::Pass)
}

/// What AWS said, and whether it was a denial: for [`Target::Failed`].
pub fn is_denied(error: &EfsError) -> bool {
    matches!(error, EfsError::Aws(AwsError::Denied { .. }))
}

#[cfg(test)]
pub(crate) mod tests;
