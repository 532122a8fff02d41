//! Configuration: the file, the environment and the flags become one checked [`Config`]; each value knows where it came from.
//!
//! A flag wins over the environment, the environment over the file. All problems are found at once. Keys and defaults:
//! `docs/configuration.md`.

mod error;
mod file;
pub mod settling;
mod value;

pub use error::{ConfigError, ConfigErrors};

use crate::{
    ecs_task,
    first_use::{Configured, OfApp},
    names::{App, NameError, Rack},
    spelling, target,
};
use file::from_file;
use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};
use value::{
    drain_after, duration, file_system, host_paths, mount_flags, nfs_server, not_empty, switch, tag,
};

/// Where the configuration is unless `--config` says otherwise.
pub const DEFAULT_FILE: &str = "/etc/volumes-agent/config.toml";
/// The health endpoint's address; 12049 is NFS's port 2049 with a one before it.
const DEFAULT_LISTEN: &str = "127.0.0.1:12049";
/// Time between two probes of the share.
const DEFAULT_PROBE_INTERVAL: Duration = Duration::from_secs(5);
/// Silence after which a mounted share counts as stalled.
const DEFAULT_STALL_DEADLINE: Duration = Duration::from_secs(15);
/// Answered probes in a row before tasks are let onto the instance.
const DEFAULT_GATE_GOOD_PROBES: u32 = 3;
/// What the agent remembers over a reboot lies here, keyed by instance id.
const DEFAULT_STATE_DIR: &str = "/var/lib/volumes-agent";

/// The keys, their values' forms, and what they are for: for `--help`, `check-config` and the documentation.
pub const KEYS: [(&str, &str, &str); 17] = [
    ("file_system", "ID", "The EFS file system, by its id"),
    ("file_system_tag", "KEY=VALUE", "The EFS file system, by a tag [default: convox.rack=<rack>]"),
    ("nfs_server", "ADDRESS:/EXPORT", "Any NFSv4.1 server instead of EFS, as address:/export"),
    (
        "rack",
        "NAME",
        "The rack's name in paths [default: the instance's tag convox.rack or Rack, else the cluster]",
    ),
    (
        "cluster",
        "NAME|ARN",
        "The ECS cluster, by name or ARN [default: what the ECS agent was configured with]",
    ),
    ("region", "REGION", "The AWS region [default: the instance's]"),
    (
        "listen",
        "ADDRESS:PORT",
        "Address and port of /healthz, /metrics and /status [default: 127.0.0.1:12049]",
    ),
    (
        "mount",
        "direct|external|none",
        "Who mounts the share: the agent, or fstab or efs-utils; none: this one is an ECS task that only patches. The latter two need `file_system` [default: direct]",
    ),
    ("mount_flags", "FLAGS", "Mount flags: nosuid, nodev, noexec, noatime [default: nosuid,nodev]"),
    ("host_paths", "PATHS", "Paths of the instance that services may bind as they are, separated by commas"),
    ("patch", "on|off", "Whether this agent may patch task definitions: on or off [default: on]"),
    (
        "seed",
        "on|off",
        "Whether new volumes begin with what the image has at their target, as Docker's do; in the file also for single apps, as [apps.<app>] seed, with owner and mode [default: on]",
    ),
    ("probe_interval", "TIME", "Time between two probes of the share [default: 5s]"),
    ("stall_deadline", "TIME", "Silence after which the share counts as stalled [default: 15s]"),
    (
        "gate_good_probes",
        "COUNT",
        "Answered probes in a row before tasks may be placed on the instance [default: 3]",
    ),
    (
        "drain_after",
        "TIME|off",
        "Set the instance to DRAINING in ECS when the share was not ready for so long: a time or off [default: off]",
    ),
    ("state_dir", "DIRECTORY", "What the agent remembers over a reboot [default: /var/lib/volumes-agent]"),
];

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// A line of the configuration file, counted from 1.
    File(PathBuf, usize),
    /// An environment variable.
    Environment(String),
    /// A flag of the command line.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(file, line) => write!(f, "{}:{line}", file.display()),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::Flag(flag) => write!(f, "flag {flag}"),
        }
    }
}

/// Which file system belongs at the volumes root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShareChoice {
    /// An EFS file system by id.
    FileSystem(String),
    /// The one EFS file system that has this tag.
    Tag {
        /// The tag's key.
        key: String,
        /// The tag's value.
        value: String,
    },
    /// Any NFSv4.1 server.
    NfsServer {
        /// The server's address.
        address: IpAddr,
        /// The exported path, absolute.
        export: String,
    },
}

/// The key and the value, as in the configuration; two choices are the same exactly if their texts are.
impl fmt::Display for ShareChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FileSystem(id) => write!(f, "file_system={id}"),
            Self::Tag { key, value } => write!(f, "file_system_tag={key}={value}"),
            Self::NfsServer { address, export } => {
                write!(f, "nfs_server={}", target::source(*address, export))
            }
        }
    }
}

/// Who mounts the share at the volumes root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MountMode {
    /// The agent.
    Direct,
    /// fstab, efs-utils, or whoever: the agent watches, guards and gates what is there, and never touches it.
    External,
    /// Nobody here: this agent is an ECS task that only patches, and its instance's share is bound into it.
    None,
}

impl MountMode {
    /// The value in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::External => "external",
            Self::None => "none",
        }
    }
}

/// A flag of mount(2) that the configuration may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MountFlag {
    /// Set-user-id bits are ignored on the share.
    Nosuid,
    /// Device nodes are not opened from the share.
    Nodev,
    /// Nothing is executed from the share.
    Noexec,
    /// Reading doesn't change access times.
    Noatime,
}

impl MountFlag {
    /// As the kernel shows it.
    pub fn option(self) -> &'static str {
        match self {
            Self::Nosuid => "nosuid",
            Self::Nodev => "nodev",
            Self::Noexec => "noexec",
            Self::Noatime => "noatime",
        }
    }
}

/// The checked configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The file system; absent: the one tagged `convox.rack=<rack>`.
    pub share: Option<ShareChoice>,
    /// The rack, if it was configured.
    pub rack: Option<Rack>,
    /// The cluster's name or ARN, if it was configured.
    pub cluster: Option<String>,
    /// The AWS region, if it was configured.
    pub region: Option<String>,
    /// Where the endpoint listens.
    pub listen: SocketAddr,
    /// Who mounts the share.
    pub mount: MountMode,
    /// Flags of the mount.
    pub mount_flags: Vec<MountFlag>,
    /// Paths of the instance that declarations may name verbatim.
    pub host_paths: Vec<String>,
    /// Whether this agent may try to lead.
    pub patch: bool,
    /// Owner, mode and content of new volumes.
    pub first_use: Configured,
    /// Time between two probes.
    pub probe_interval: Duration,
    /// Silence after which the share counts as stalled.
    pub stall_deadline: Duration,
    /// Answered probes in a row that open the gate.
    pub gate_good_probes: u32,
    /// How long the share has to be away until the instance is drained; absent: it never is.
    pub drain_after: Option<Duration>,
    /// Local directory for what is remembered over a reboot.
    pub state_dir: PathBuf,
    /// Each key that somebody set, its text, and where.
    pub origins: BTreeMap<&'static str, (String, Origin)>,
    /// Those of single apps, by app and key.
    pub app_origins: BTreeMap<(String, &'static str), (String, Origin)>,
}

/// What was written where, before it is understood.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Sources {
    /// The configuration file and its text; no text: there is no such file, which is fine.
    pub file: PathBuf,
    /// The file's text.
    pub text: Option<String>,
    /// Variables that begin with `VOLUMES_AGENT_`.
    pub environment: Vec<(String, String)>,
    /// Keys given as flags.
    pub flags: Vec<(&'static str, String)>,
    /// Whether this process runs in a container of an ECS task.
    pub is_ecs_task: bool,
}

impl Sources {
    /// Reads the file and the environment.
    ///
    /// # Errors
    /// [`ConfigError::Unreadable`]; a file that doesn't exist is no error.
    pub fn read(file: &Path, flags: Vec<(&'static str, String)>) -> Result<Self, ConfigErrors> {
        let text = match std::fs::read_to_string(file) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => {
                return Err(ConfigErrors(vec![ConfigError::Unreadable {
                    file: file.to_owned(),
                    cause: error.to_string(),
                }]));
            }
        };
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| {
                Some((name.into_string().ok()?, value.to_string_lossy().into_owned()))
            })
            .filter(|(name, _)| name.starts_with("VOLUMES_AGENT_"))
            .collect();
        let is_ecs_task = ecs_task::is_this_one();
        Ok(Self { file: file.to_owned(), text, environment, flags, is_ecs_task })
    }
}

impl Config {
    /// Checks and merges what was written; pure.
    ///
    /// # Errors
    /// All problems at once.
    pub fn parse(sources: &Sources) -> Result<Self, ConfigErrors> {
        let mut errors = Vec::new();
        let mut values: BTreeMap<&'static str, (String, Origin)> = BTreeMap::new();
        let mut of_apps = BTreeMap::new();
        if let Some(text) = &sources.text {
            from_file(&sources.file, text, &mut values, &mut of_apps, &mut errors);
        }
        for (name, value) in &sources.environment {
            let origin = Origin::Environment(name.clone());
            let key = name.trim_start_matches("VOLUMES_AGENT_").to_ascii_lowercase();
            match known(&key) {
                Some(known) => drop(values.insert(known, (value.clone(), origin))),
                None => errors.push(ConfigError::UnknownKey { origin, nearest: nearest(&key), key }),
            }
        }
        for (key, value) in &sources.flags {
            let flag = format!("--{}", key.replace('_', "-"));
            values.insert(key, (value.clone(), Origin::Flag(flag)));
        }
        let mut config = check(values, &mut errors);
        config.first_use.apps = apps(&of_apps, &mut errors);
        config.app_origins = of_apps;
        if config.mount == MountMode::None && !sources.is_ecs_task {
            // On an instance it would leave the gate to nobody.
            errors.push(ConfigError::Value {
                origin: config.origin("mount"),
                key: "mount",
                value: config.mount.name().to_owned(),
                allowed: format!(
                    "on an instance `direct` or `external`: `none` is for a patcher that runs as an ECS task, and this is none ({} is not set). To leave patching to others, set `patch` to `off`",
                    ecs_task::ADDRESS
                ),
            });
        }
        if errors.is_empty() { Ok(config) } else { Err(ConfigErrors(errors)) }
    }

    /// Whether both say the same, wherever it is written.
    pub fn says_the_same_as(&self, other: &Self) -> bool {
        let plain =
            |config: &Self| Self { origins: BTreeMap::new(), app_origins: BTreeMap::new(), ..config.clone() };
        plain(self) == plain(other)
    }

    /// Where a key's value came from.
    pub fn origin(&self, key: &str) -> Origin {
        self.origins.get(key).map_or(Origin::Default, |(_, origin)| origin.clone())
    }
}

impl Default for Config {
    /// The configuration of an empty file.
    fn default() -> Self {
        check(BTreeMap::new(), &mut Vec::new())
    }
}

fn known(key: &str) -> Option<&'static str> {
    KEYS.iter().map(|(known, _, _)| *known).find(|known| *known == key)
}

fn nearest(key: &str) -> Option<&'static str> {
    spelling::nearest(key, KEYS.iter().map(|(known, _, _)| *known))
}

/// What the file says of single apps.
fn apps(
    said: &BTreeMap<(String, &'static str), (String, Origin)>,
    errors: &mut Vec<ConfigError>,
) -> BTreeMap<App, OfApp> {
    let mut apps: BTreeMap<App, OfApp> = BTreeMap::new();
    for ((name, key), (text, origin)) in said {
        let mut wrong = |key: &'static str, value: &str, allowed: String| {
            errors.push(ConfigError::Value { origin: origin.clone(), key, value: value.to_owned(), allowed });
        };
        let app = match name.parse::<App>() {
            Ok(app) => apps.entry(app).or_default(),
            Err(error) => {
                wrong("apps", name, error.to_string());
                continue;
            }
        };
        let understood = match *key {
            "owner" => text.parse().map(|owner| app.owner = Some(owner)).map_err(|error| error.to_string()),
            "mode" => text.parse().map(|mode| app.mode = Some(mode)).map_err(|error| error.to_string()),
            _ => switch(text).map(|on| app.seed = Some(on)),
        };
        if let Err(allowed) = understood {
            wrong(key, text, allowed);
        }
    }
    apps
}

fn check(values: BTreeMap<&'static str, (String, Origin)>, errors: &mut Vec<ConfigError>) -> Config {
    let mut value = |key: &'static str, parse: &mut dyn FnMut(&str) -> Result<(), String>| {
        if let Some((text, origin)) = values.get(key)
            && let Err(allowed) = parse(text)
        {
            errors.push(ConfigError::Value { origin: origin.clone(), key, value: text.clone(), allowed });
        }
    };
    let mut shares: Vec<(&'static str, ShareChoice)> = Vec::new();
    value("file_system", &mut |text| file_system(text).map(|share| shares.push(("file_system", share))));
    value("file_system_tag", &mut |text| tag(text).map(|share| shares.push(("file_system_tag", share))));
    value("nfs_server", &mut |text| nfs_server(text).map(|share| shares.push(("nfs_server", share))));
    let mut config = Config {
        share: None,
        rack: None,
        cluster: None,
        region: None,
        listen: SocketAddr::from(([127, 0, 0, 1], 12049)),
        mount: MountMode::Direct,
        mount_flags: vec![MountFlag::Nosuid, MountFlag::Nodev],
        host_paths: Vec::new(),
        patch: true,
        first_use: Configured::default(),
        probe_interval: DEFAULT_PROBE_INTERVAL,
        stall_deadline: DEFAULT_STALL_DEADLINE,
        gate_good_probes: DEFAULT_GATE_GOOD_PROBES,
        drain_after: None,
        state_dir: PathBuf::from(DEFAULT_STATE_DIR),
        origins: BTreeMap::new(),
        app_origins: BTreeMap::new(),
    };
    value("rack", &mut |text| {
        text.parse().map(|rack| config.rack = Some(rack)).map_err(|error: NameError| error.to_string())
    });
    value("cluster", &mut |text| not_empty(text).map(|text| config.cluster = Some(text)));
    value("region", &mut |text| not_empty(text).map(|text| config.region = Some(text)));
    value("listen", &mut |text| {
        text.parse()
            .map(|listen| config.listen = listen)
            .map_err(|_| format!("an address and a port, as in {DEFAULT_LISTEN}"))
    });
    value("mount", &mut |text| {
        config.mount = match text {
            "direct" => MountMode::Direct,
            "external" => MountMode::External,
            "none" => MountMode::None,
            _ => return Err("`direct`, `external` or `none`".to_owned()),
        };
        Ok(())
    });
    value("mount_flags", &mut |text| mount_flags(text).map(|flags| config.mount_flags = flags));
    value("host_paths", &mut |text| host_paths(text).map(|paths| config.host_paths = paths));
    value("patch", &mut |text| switch(text).map(|on| config.patch = on));
    value("seed", &mut |text| switch(text).map(|on| config.first_use.is_off = !on));
    value("probe_interval", &mut |text| duration(text).map(|time| config.probe_interval = time));
    value("stall_deadline", &mut |text| duration(text).map(|time| config.stall_deadline = time));
    value("gate_good_probes", &mut |text| match text.parse() {
        Ok(count @ 1..=1000) => {
            config.gate_good_probes = count;
            Ok(())
        }
        _ => Err("a whole number from 1 to 1000".to_owned()),
    });
    value("drain_after", &mut |text| drain_after(text).map(|time| config.drain_after = time));
    value("state_dir", &mut |text| {
        if !text.starts_with('/') {
            return Err("an absolute path".to_owned());
        }
        config.state_dir = PathBuf::from(text);
        Ok(())
    });
    for pair in shares.windows(2) {
        let origin =
            |key| values.get(key).map_or(Origin::Default, |(_, origin): &(String, Origin)| origin.clone());
        errors.push(ConfigError::Conflict {
            first: pair[0].0,
            first_origin: origin(pair[0].0),
            second: pair[1].0,
            second_origin: origin(pair[1].0),
        });
    }
    config.share = shares.into_iter().next().map(|(_, share)| share);
    if config.stall_deadline < config.probe_interval * 2 {
        let set =
            |key: &'static str| values.get(key).map(|(text, origin)| (key, text.clone(), origin.clone()));
        let (key, value, origin) = set("stall_deadline")
            .or_else(|| set("probe_interval"))
            .unwrap_or_else(|| ("stall_deadline", String::new(), Origin::Default));
        let at_least = humantime::format_duration(config.probe_interval * 2);
        errors.push(ConfigError::Value {
            origin,
            key,
            value,
            allowed: format!(
                "`stall_deadline` must be twice `probe_interval` at least ({at_least}), or a share that answers would count as stalled"
            ),
        });
    }
    if config.mount != MountMode::Direct && !matches!(config.share, Some(ShareChoice::FileSystem(_))) {
        let origin = values.get("mount").map_or(Origin::Default, |(_, origin)| origin.clone());
        errors.push(ConfigError::Value {
            origin,
            key: "mount",
            value: config.mount.name().to_owned(),
            allowed: "it needs `file_system`, the id that the share's marker must name".to_owned(),
        });
    }
    config.origins = values;
    config
}

#[cfg(test)]
mod tests;
