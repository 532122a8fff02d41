//! `volumes-agent status`: the daemon's `/status`, on the command line.

use crate::{
    commands::{Format, configuration::ConfigurationArgs},
    config::Config,
    diagnostics::{Exit, Failure},
    loopback,
    report::Report,
};
use clap::Args;
use std::{io::Write, time::Duration};

const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Flags of `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// How to print it.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// Where the daemon listens.
    #[command(flatten)]
    pub configuration: ConfigurationArgs,
}

/// Prints it; `Done` if the share is ready, `Refused` if not.
///
/// # Errors
/// No daemon answers (3), or the configuration is wrong (78): then the page is printed all the same, if a daemon answers at the default
/// address.
pub fn run(args: &StatusArgs) -> Result<Exit, Failure> {
    // A wrong file is one more reason to look: the daemon runs on by the last right one, or by the defaults.
    let (listen, wrong) = match args.configuration.config() {
        Ok(config) => (config.listen, None),
        Err(wrong) => (Config::default().listen, Some(wrong)),
    };
    let url = format!("http://{listen}/status");
    let no_daemon = |error: String| Failure {
        code: None,
        exit: Exit::NoDaemon,
        error: error.into(),
        help: Some("is it running? `systemctl status volumes-agent`".to_owned()),
    };
    let answer = match crate::commands::block_on(loopback::get(&url, ANSWER_WITHIN))? {
        Ok(answer) => answer,
        Err(error) => return Err(wrong.unwrap_or_else(|| no_daemon(error.to_string()))),
    };
    let report: Report = serde_json::from_slice(&answer.body)
        .map_err(|error| no_daemon(format!("GET {url}: not the agent's answer: {error}")))?;
    let page = match args.format {
        Format::Text => report.text(),
        Format::Json => format!("{}\n", String::from_utf8_lossy(&answer.body)),
    };
    std::io::stdout()
        .write_all(page.as_bytes())
        .map_err(|error| Failure::refused(format!("stdout: {error}")))?;
    if let Some(wrong) = wrong {
        return Err(wrong);
    }
    Ok(if report.health.state.is_ready() { Exit::Done } else { Exit::Refused })
}
