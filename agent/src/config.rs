//! Configuration: the file, the environment and the flags become one checked [`Config`]; each value knows where it came from.
//!
//! A flag wins over the environment, the environment over the file. All problems are found at once. Keys and defaults:
//! `docs/configuration.md`.

use crate::{
    names::{NameError, Rack},
    spelling, target,
};
use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};
use toml::de::{DeTable, DeValue};

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
pub const KEYS: [(&str, &str, &str); 16] = [
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
        "direct|external",
        "Who mounts the share: the agent, or fstab or efs-utils (then `file_system` is needed) [default: direct]",
    ),
    ("mount_flags", "FLAGS", "Mount flags: nosuid, nodev, noexec, noatime [default: nosuid,nodev]"),
    ("host_paths", "PATHS", "Paths of the instance that services may bind as they are, separated by commas"),
    ("patch", "on|off", "Whether this agent may patch task definitions: on or off [default: on]"),
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
}

/// One thing wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The file is there and can't be read.
    #[error("{}: can't be read: {cause}", .file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// The operating system's words.
        cause: String,
    },
    /// The file is not TOML.
    #[error("{}:{line}: not TOML: {cause}", .file.display())]
    Syntax {
        /// The file.
        file: PathBuf,
        /// Line, from 1.
        line: usize,
        /// The parser's words.
        cause: String,
    },
    /// A key that doesn't exist.
    #[error("{origin}: unknown key `{key}`{}", .nearest.map(|n| format!(", did you mean `{n}`?")).unwrap_or_default())]
    UnknownKey {
        /// Where it stands.
        origin: Origin,
        /// The key as written.
        key: String,
        /// The known key nearest to it.
        nearest: Option<&'static str>,
    },
    /// A value that the key doesn't take.
    #[error("{origin}: `{key}` can't be `{value}`: {allowed}")]
    Value {
        /// Where it stands.
        origin: Origin,
        /// The key.
        key: &'static str,
        /// The value as written.
        value: String,
        /// What is allowed instead.
        allowed: String,
    },
    /// Two keys that exclude each other.
    #[error(
        "{second_origin}: `{second}` and `{first}` ({first_origin}) both choose the file system: keep one"
    )]
    Conflict {
        /// The key that was kept.
        first: &'static str,
        /// Where it stands.
        first_origin: Origin,
        /// The key that excludes it.
        second: &'static str,
        /// Where it stands.
        second_origin: Origin,
    },
}

/// All that is wrong with a configuration, in the order found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl std::error::Error for ConfigErrors {}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, error) in self.0.iter().enumerate() {
            write!(f, "{}{error}", if at == 0 { "" } else { "\n       " })?;
        }
        Ok(())
    }
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
        Ok(Self { file: file.to_owned(), text, environment, flags })
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
        if let Some(text) = &sources.text {
            from_file(&sources.file, text, &mut values, &mut errors);
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
        let config = check(values, &mut errors);
        if errors.is_empty() { Ok(config) } else { Err(ConfigErrors(errors)) }
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

fn from_file(
    file: &Path,
    text: &str,
    values: &mut BTreeMap<&'static str, (String, Origin)>,
    errors: &mut Vec<ConfigError>,
) {
    let line_of = |offset: usize| text.get(..offset).map_or(1, |before| before.matches('\n').count() + 1);
    let table = match DeTable::parse(text) {
        Ok(table) => table,
        Err(error) => {
            let line = line_of(error.span().map_or(0, |span| span.start));
            let cause = error.message().to_owned();
            errors.push(ConfigError::Syntax { file: file.to_owned(), line, cause });
            return;
        }
    };
    for (key, value) in table.get_ref() {
        let origin = Origin::File(file.to_owned(), line_of(key.span().start));
        let name = key.get_ref().as_ref();
        let Some(known) = known(name) else {
            errors.push(ConfigError::UnknownKey { origin, key: name.to_owned(), nearest: nearest(name) });
            continue;
        };
        match scalar(value.get_ref()) {
            Some(text) => drop(values.insert(known, (text, origin))),
            None => errors.push(ConfigError::Value {
                origin,
                key: known,
                value: text.get(value.span()).unwrap_or_default().to_owned(),
                allowed: "write it as a string, a number or a list of strings".to_owned(),
            }),
        }
    }
}

/// A string, a number, or a list of strings joined by commas (no value of ours has a comma in it).
fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => Some(number.as_str().to_owned()),
        DeValue::Array(items) => {
            let items: Option<Vec<String>> = items
                .iter()
                .map(|item| match item.get_ref() {
                    DeValue::String(text) if !text.contains(',') => Some(text.to_string()),
                    _ => None,
                })
                .collect();
            Some(items?.join(","))
        }
        _ => None,
    }
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
        probe_interval: DEFAULT_PROBE_INTERVAL,
        stall_deadline: DEFAULT_STALL_DEADLINE,
        gate_good_probes: DEFAULT_GATE_GOOD_PROBES,
        drain_after: None,
        state_dir: PathBuf::from(DEFAULT_STATE_DIR),
        origins: BTreeMap::new(),
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
            _ => return Err("`direct` or `external`".to_owned()),
        };
        Ok(())
    });
    value("mount_flags", &mut |text| mount_flags(text).map(|flags| config.mount_flags = flags));
    value("host_paths", &mut |text| host_paths(text).map(|paths| config.host_paths = paths));
    value("patch", &mut |text| {
        match text {
            "on" => config.patch = true,
            "off" => config.patch = false,
            _ => return Err("`on` or `off`".to_owned()),
        }
        Ok(())
    });
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
    if config.mount == MountMode::External && !matches!(config.share, Some(ShareChoice::FileSystem(_))) {
        let origin = values.get("mount").map_or(Origin::Default, |(_, origin)| origin.clone());
        errors.push(ConfigError::Value {
            origin,
            key: "mount",
            value: "external".to_owned(),
            allowed: "it needs `file_system`, the id that the share's marker must name".to_owned(),
        });
    }
    config.origins = values;
    config
}

fn not_empty(text: &str) -> Result<String, String> {
    if text.trim().is_empty() { Err("it can't be empty".to_owned()) } else { Ok(text.to_owned()) }
}

fn file_system(text: &str) -> Result<ShareChoice, String> {
    let id = text.strip_prefix("fs-").unwrap_or_default();
    if (8..=40).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_hexdigit()) {
        Ok(ShareChoice::FileSystem(text.to_owned()))
    } else {
        Err("an EFS file system's id, as in fs-0123456789abcdef0".to_owned())
    }
}

fn tag(text: &str) -> Result<ShareChoice, String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => {
            Ok(ShareChoice::Tag { key: key.to_owned(), value: value.to_owned() })
        }
        _ => Err("a tag as key=value, as in convox.rack=production".to_owned()),
    }
}

/// `address:/export`; an IPv6 address in brackets. The export goes into mount(2)'s source, so nothing odd gets in.
fn nfs_server(text: &str) -> Result<ShareChoice, String> {
    let allowed = || "address:/export with an IP address, as in 10.0.0.5:/ or [fd00::5]:/export".to_owned();
    let (address, export) = text.split_once(":/").ok_or_else(allowed)?;
    let address = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
    let address = address.parse().map_err(|_| allowed())?;
    if export.chars().any(|c| c == ',' || c.is_control() || c.is_whitespace()) {
        return Err("an export without commas, blanks or control characters".to_owned());
    }
    Ok(ShareChoice::NfsServer { address, export: format!("/{export}") })
}

fn mount_flags(text: &str) -> Result<Vec<MountFlag>, String> {
    text.split(',')
        .map(str::trim)
        .filter(|flag| !flag.is_empty())
        .map(|flag| match flag {
            "nosuid" => Ok(MountFlag::Nosuid),
            "nodev" => Ok(MountFlag::Nodev),
            "noexec" => Ok(MountFlag::Noexec),
            "noatime" => Ok(MountFlag::Noatime),
            _ => Err("nosuid, nodev, noexec and noatime, separated by commas, or nothing".to_owned()),
        })
        .collect()
}

fn host_paths(text: &str) -> Result<Vec<String>, String> {
    let paths: Vec<String> =
        text.split(',').map(str::trim).filter(|p| !p.is_empty()).map(str::to_owned).collect();
    if paths.iter().all(|path| path.starts_with('/')) {
        Ok(paths)
    } else {
        Err("absolute paths, separated by commas".to_owned())
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(time) if time >= Duration::from_millis(100) && time <= Duration::from_secs(3600) => Ok(time),
        _ => Err("a time from 100ms to 1h, as in 5s".to_owned()),
    }
}

/// Shorter ones would move tasks for what a hard mount waits out.
fn drain_after(text: &str) -> Result<Option<Duration>, String> {
    let (least, most) = (Duration::from_secs(10), Duration::from_secs(24 * 3600));
    match humantime::parse_duration(text) {
        _ if text == "off" => Ok(None),
        Ok(time) if (least..=most).contains(&time) => Ok(Some(time)),
        _ => Err("`off`, or a time from 10s to 24h, as in 10m".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> Sources {
        Sources { file: "/etc/config.toml".into(), text: Some(text.to_owned()), ..Sources::default() }
    }

    fn errors(text: &str) -> Vec<String> {
        Config::parse(&file(text)).unwrap_err().0.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_empty_configuration_is_right() {
        assert_eq!(Config::parse(&file("")), Ok(Config::default()));
        assert_eq!(Config::default().listen.to_string(), DEFAULT_LISTEN);
    }

    #[test]
    fn a_flag_wins_over_the_environment_and_that_over_the_file() {
        let mut sources = file("rack = \"a\"\n");
        assert_eq!(Config::parse(&sources).unwrap().rack.unwrap().as_str(), "a");
        sources.environment = vec![("VOLUMES_AGENT_RACK".to_owned(), "b".to_owned())];
        assert_eq!(Config::parse(&sources).unwrap().rack.unwrap().as_str(), "b");
        sources.flags = vec![("rack", "c".to_owned())];
        let config = Config::parse(&sources).unwrap();
        assert_eq!(config.rack.as_ref().unwrap().as_str(), "c");
        assert_eq!(config.origin("rack"), Origin::Flag("--rack".to_owned()));
    }

    #[test]
    fn every_problem_is_named_at_once_with_its_place() {
        assert_eq!(
            errors("# a comment\nracks = \"x\"\nlisten = \"nowhere\"\nprobe_interval = \"5\"\n"),
            [
                "/etc/config.toml:2: unknown key `racks`, did you mean `rack`?",
                "/etc/config.toml:3: `listen` can't be `nowhere`: an address and a port, as in 127.0.0.1:12049",
                "/etc/config.toml:4: `probe_interval` can't be `5`: a time from 100ms to 1h, as in 5s",
            ]
        );
        assert_eq!(
            errors("file_system = \"fs-01234567\"\nnfs_server = \"10.0.0.1:/\""),
            [
                "/etc/config.toml:2: `nfs_server` and `file_system` (/etc/config.toml:1) both choose the file system: keep one"
            ]
        );
        assert!(errors("rack = ")[0].starts_with("/etc/config.toml:1: not TOML: "));
    }

    #[test]
    fn an_external_mount_needs_the_file_system_that_it_must_be() {
        let allowed = "it needs `file_system`, the id that the share's marker must name";
        for text in ["mount = \"external\"", "nfs_server = \"10.0.0.1:/\"\nmount = \"external\""] {
            let errors = errors(text);
            assert!(errors.len() == 1 && errors[0].ends_with(allowed), "{errors:?}");
        }
        let config = Config::parse(&file("mount = \"external\"\nfile_system = \"fs-01234567\"")).unwrap();
        assert_eq!(config.mount, MountMode::External);
        assert_eq!(config.share.unwrap().to_string(), "file_system=fs-01234567");
    }

    #[test]
    fn an_unknown_variable_is_an_error() {
        let sources = Sources {
            environment: vec![("VOLUMES_AGENT_RACKET".to_owned(), "b".to_owned())],
            ..Sources::default()
        };
        assert!(Config::parse(&sources).is_err());
    }

    #[test]
    fn no_comma_reaches_the_mount() {
        for bad in ["10.0.0.1:/a,b", "10.0.0.1", "host:/a", "10.0.0.1:/a b", "10.0.0.1,x:/"] {
            assert!(nfs_server(bad).is_err(), "{bad}");
        }
        for (good, export) in [("10.0.0.1:/", "/"), ("[fd00::5]:/a/b", "/a/b")] {
            assert!(matches!(nfs_server(good), Ok(ShareChoice::NfsServer { export: e, .. }) if e == export));
        }
    }

    #[test]
    fn draining_is_off_unless_a_time_is_given() {
        assert_eq!(Config::default().drain_after, None);
        assert_eq!(drain_after("off"), Ok(None));
        assert_eq!(drain_after("10m"), Ok(Some(Duration::from_secs(600))));
        assert!(drain_after("5s").is_err() && drain_after("").is_err() && drain_after("on").is_err());
    }

    #[test]
    fn lists_are_lists_or_text() {
        let config =
            Config::parse(&file("host_paths = [\"/proc\", \"/sys\"]\nmount_flags = \"noexec\"\n")).unwrap();
        assert_eq!(config.host_paths, ["/proc", "/sys"]);
        assert_eq!(config.mount_flags, [MountFlag::Noexec]);
    }
}
