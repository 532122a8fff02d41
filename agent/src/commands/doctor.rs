//! `volumes-agent doctor`: every check that a person would make on this instance, with what to do next.

mod environment;
mod page;

use crate::{
    commands::{Format, configuration::ConfigurationArgs},
    diagnostics::{Exit, Failure},
    doctor::{self, Verdict},
    examination::{self, Given},
};
use clap::Args;
use std::io::Write;

/// As many branches as may keep a thread busy at once.
const THREADS: usize = 4;

/// Flags of `doctor`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Each check comes to `pass`, `warn`, `fail` or `unknown` (it can't be told, with the reason), and says what to do next where it isn't `pass`.
It takes 25 seconds at most, whatever the share, AWS and the daemon do, and needs none of them. It changes nothing: one file of its own is \
written to /volumes/.volumes-agent, read, and removed. As root it sees all, else what it can't see is `unknown`.
Exit code: 0 every check passes, 1 warnings or unknown ones, 2 a check failed, 78 the configuration is wrong (all checks are made all the \
same, and what depends on the configuration is `unknown`).")]
pub struct DoctorArgs {
    /// Check an image that is being built: what its instances will rest on, and that nothing of this one is left in it.
    #[arg(long)]
    pub image: bool,
    /// How to print it.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// What the daemon was configured with.
    #[command(flatten)]
    pub configuration: ConfigurationArgs,
}

/// Prints all checks; the exit code is that of the worst, or of a wrong configuration.
///
/// # Errors
/// The runtime can't be started, or stdout is closed.
pub fn run(args: &DoctorArgs) -> Result<Exit, Failure> {
    let environment = environment::taken();
    let file = args.configuration.file.display().to_string();
    let configuration = args.configuration.config().map_err(|failure| failure.error.to_string());
    let is_configured = configuration.is_ok();
    // What is asked must not wait for one another's work.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_all()
        .build()
        .map_err(|error| Failure::refused(format!("the runtime can't be started: {error}")))?;
    let given = Given { configuration, file, environment };
    let left = args.image.then(|| examination::left_behind(&given));
    let found = runtime.block_on(examination::look(given));
    // Not a drop: that would wait for a resolver that still tries.
    runtime.shutdown_background();
    let checks = match left {
        Some(left) => doctor::image::examine(&found, &left),
        None => doctor::examine(&found),
    };
    let page = match args.format {
        Format::Text => page::text(&checks, page::width()),
        Format::Json => page::json(&checks, &found.version).map_err(Failure::refused)?,
    };
    std::io::stdout()
        .write_all(page.as_bytes())
        .map_err(|error| Failure::refused(format!("stdout: {error}")))?;
    Ok(match doctor::worst(&checks) {
        _ if !is_configured => Exit::Config,
        Verdict::Pass => Exit::Done,
        Verdict::Warn | Verdict::Unknown => Exit::Refused,
        Verdict::Fail => Exit::Pending,
    })
}
