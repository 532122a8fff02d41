//! The flags that set configuration keys: one for each key, made from the table of keys.

use crate::{
    config::{Config, ConfigErrors, DEFAULT_FILE, KEYS, Sources},
    diagnostics::Failure,
};
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};
use std::path::PathBuf;

/// Where the configuration is, and what the command line sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigurationArgs {
    /// The file.
    pub file: PathBuf,
    /// Keys set by flags.
    pub flags: Vec<(&'static str, String)>,
}

impl ConfigurationArgs {
    /// Reads and checks it.
    ///
    /// # Errors
    /// All that is wrong, as a failure with exit code 78.
    pub fn config(&self) -> Result<Config, Failure> {
        let parsed: Result<Config, ConfigErrors> =
            Sources::read(&self.file, self.flags.clone()).and_then(|sources| Config::parse(&sources));
        parsed.map_err(|errors| {
            Failure::config(errors)
                .help("the keys and their values are listed by `volumes-agent check-config --help`")
        })
    }
}

impl Args for ConfigurationArgs {
    fn augment_args(command: Command) -> Command {
        let file = Arg::new("config")
            .long("config")
            .value_name("FILE")
            .default_value(DEFAULT_FILE)
            .help("The configuration file; one that doesn't exist is an empty one");
        KEYS.iter().fold(command.arg(file), |command, (key, example, help)| {
            command.arg(
                Arg::new(*key).long(key.replace('_', "-")).value_name(*example).help(*help).help_heading(
                    "Configuration keys (also VOLUMES_AGENT_<KEY> and `key = \"value\"` in the file)",
                ),
            )
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for ConfigurationArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let text = |name: &str| matches.get_one::<String>(name).cloned();
        Ok(Self {
            file: text("config").unwrap_or_else(|| DEFAULT_FILE.to_owned()).into(),
            flags: KEYS.iter().filter_map(|(key, _, _)| Some((*key, text(key)?))).collect(),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
