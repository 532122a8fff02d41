//! `volumes-agent check-config`: the configuration in force, each value with where it came from.

use crate::{
    commands::{Format, configuration::ConfigurationArgs},
    config::{Config, KEYS, Origin},
    diagnostics::{Exit, Failure},
};
use clap::Args;
use std::io::Write;

/// Flags of `check-config`.
#[derive(Debug, Args)]
pub struct CheckConfigArgs {
    /// How to print it.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// What to check.
    #[command(flatten)]
    pub configuration: ConfigurationArgs,
}

/// Prints the keys that are set, and the defaults of the others.
///
/// # Errors
/// All that is wrong, at once (78).
pub fn run(args: &CheckConfigArgs) -> Result<Exit, Failure> {
    let config = args.configuration.config()?;
    let page = match args.format {
        Format::Text => text(&config),
        Format::Json => json(&config),
    };
    std::io::stdout()
        .write_all(page.as_bytes())
        .map_err(|error| Failure::refused(format!("stdout: {error}")))?;
    Ok(Exit::Done)
}

/// The default's text, where there is one that doesn't depend on the instance.
fn default_of(key: &str) -> Option<&'static str> {
    match key {
        "listen" => Some("127.0.0.1:12049"),
        "mount_flags" => Some("nosuid,nodev"),
        "host_paths" => Some(""),
        "patch" | "seed" => Some("on"),
        "probe_interval" => Some("5s"),
        "stall_deadline" => Some("15s"),
        "gate_good_probes" => Some("3"),
        "drain_after" => Some("off"),
        "state_dir" => Some("/var/lib/volumes-agent"),
        _ => None,
    }
}

fn values(config: &Config) -> impl Iterator<Item = (&'static str, Option<String>, Origin)> {
    KEYS.iter().map(|(key, _, _)| match config.origins.get(key) {
        Some((value, origin)) => (*key, Some(value.clone()), origin.clone()),
        None => (*key, default_of(key).map(str::to_owned), Origin::Default),
    })
}

/// What is said of single apps, by the keys' full names.
fn of_apps(config: &Config) -> impl Iterator<Item = (String, &String, &Origin)> {
    config
        .app_origins
        .iter()
        .map(|((app, key), (value, origin))| (format!("apps.{app}.{key}"), value, origin))
}

fn text(config: &Config) -> String {
    let keys = values(config).map(|(key, value, origin)| match value {
        Some(value) => format!("{key:<17} {value:<24} {origin}\n"),
        None => format!("{key:<17} {:<24} found out by the daemon\n", "-"),
    });
    keys.chain(of_apps(config).map(|(key, value, origin)| format!("{key:<17} {value:<24} {origin}\n")))
        .collect()
}

fn json(config: &Config) -> String {
    let mut keys: serde_json::Map<String, serde_json::Value> = values(config)
        .map(|(key, value, origin)| {
            (key.to_owned(), serde_json::json!({ "value": value, "origin": origin.to_string() }))
        })
        .collect();
    keys.extend(of_apps(config).map(|(key, value, origin)| {
        (key, serde_json::json!({ "value": value, "origin": origin.to_string() }))
    }));
    format!("{:#}\n", serde_json::Value::Object(keys))
}
