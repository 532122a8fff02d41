//! The subcommands: each reads its input, asks the core, prints the answer. One file a command.

pub mod adopt_share;
pub mod apply;
pub mod check_config;
pub mod chown;
pub mod columns;
pub mod config;
pub mod configuration;
pub mod declared;
pub mod doctor;
pub mod dry_run;
pub mod explain;
pub mod explain_service;
pub mod files;
pub mod guard;
pub mod leave;
pub mod look;
pub mod ls;
pub mod messages;
pub mod moving;
pub mod patch;
pub mod plan;
pub mod release;
pub mod run;
pub mod start;
pub mod status;
pub mod wait;

use crate::{
    cli::Command,
    diagnostics::{Exit, Failure},
    share_worker,
};

/// How data is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Runs one subcommand to its end.
///
/// # Errors
/// What stopped it, ready for the printer, with the exit code that the contract gives it.
pub fn run(command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Config(args) => config::run(&args),
        Command::Plan(args) => plan::run(&args),
        Command::Start(args) => start::run(&args),
        Command::Patch(args) => patch::run(&args),
        Command::Unpatch => patch::run_unpatch(),
        Command::Apply(args) => apply::run(&args),
        Command::Run(args) => run::run(args),
        Command::Guard => guard::run(),
        Command::Wait(args) => wait::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Ls(args) => ls::run(&args),
        Command::Leave(args) => leave::run(&args),
        Command::Chown(args) => chown::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::ExplainService(args) => explain_service::run(&args),
        Command::AdoptShare(args) => adopt_share::run(&args),
        Command::CheckConfig(args) => check_config::run(&args),
        Command::Release => release::run(),
        Command::ShareWorker { parent } => share_worker::serve(parent)
            .map(|()| Exit::Done)
            .map_err(|error| Failure::refused(format!("the agent is gone: {error}"))),
    }
}

/// Runs the few asynchronous steps of a command.
fn block_on<T>(steps: impl Future<Output = T>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map(|runtime| runtime.block_on(steps))
        .map_err(|error| Failure::refused(format!("the runtime can't be started: {error}")))
}

/// The home directory, for `~` and for volumes on a laptop.
fn home() -> Result<String, Failure> {
    std::env::var("HOME").ok().filter(|home| home.starts_with('/')).ok_or_else(|| {
        Failure::refused("the home directory is not known: HOME is not set to an absolute path")
            .help("set HOME")
    })
}
