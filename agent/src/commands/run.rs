//! `volumes-agent run`: the daemon.

use crate::{
    commands::configuration::ConfigurationArgs,
    config::{Config, Sources},
    diagnostics::{Exit, Failure, in_one_line},
    health,
    mount::VOLUMES_ROOT,
    mountinfo,
    only_one::{self, OnlyOne, OnlyOneError},
    reconcile::Agent,
    report::timestamp,
    systemd,
};
use clap::Args;
use std::{
    io::IsTerminal,
    time::{Duration, SystemTime},
};
use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{SignalKind, signal},
    sync::watch,
};
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;

/// The daemon's work is waiting: two threads are enough, and the second keeps the endpoint answering beside the loop.
const THREADS: usize = 2;
/// What SIGTERM gives the loop to end by itself.
const STOP_WITHIN: Duration = Duration::from_millis(300);

/// Flags of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Look at everything, say what would be done, and change nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Where the configuration is.
    #[command(flatten)]
    pub configuration: ConfigurationArgs,
}

/// Runs until SIGTERM or SIGINT. The share stays mounted.
///
/// # Errors
/// Another agent runs on this instance, or the endpoint's address is taken; everything else is a state that the daemon reports while it runs.
pub fn run(args: RunArgs) -> Result<Exit, Failure> {
    if args.dry_run {
        return crate::commands::dry_run::run(&args.configuration);
    }
    start_log();
    let runtime: Runtime = Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_all()
        .build()
        .map_err(|error| Failure::refused(format!("the runtime can't be started: {error}")))?;
    let outcome = runtime.block_on(serve(args));
    // Not a drop: that would wait for whatever still runs.
    runtime.shutdown_background();
    outcome
}

/// To stderr, which is systemd's journal; it adds the time. `RUST_LOG` filters, as usual.
fn start_log() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let under_systemd = std::env::var_os("JOURNAL_STREAM").is_some();
    let log =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    if under_systemd {
        log.with_ansi(false).without_time().init();
    } else {
        log.with_ansi(std::io::stderr().is_terminal()).init();
    }
}

/// Before anything else: a second agent must neither mount nor tell ECS anything. With a wrong configuration the lock is where the
/// default has it. A disk that can't be written keeps no agent from running.
fn only_one(args: &RunArgs) -> Result<Option<OnlyOne>, Failure> {
    let ConfigurationArgs { file, flags } = &args.configuration;
    let config =
        Sources::read(file, flags.clone()).and_then(|sources| Config::parse(&sources)).unwrap_or_default();
    match only_one::take(&config.state_dir, &timestamp(SystemTime::now())) {
        Ok(only_one) => Ok(Some(only_one)),
        Err(taken @ OnlyOneError::Taken(..)) => Err(Failure::refused(taken.to_string()).help(
            "see what it does by `volumes-agent status`, and end it by `systemctl stop volumes-agent`; or, if both are wanted for a test, \
             give this one a `state_dir` of its own (flag --state-dir)",
        )),
        Err(error @ OnlyOneError::Unknown(..)) => {
            warn!(error = %in_one_line(&error), "whether another agent runs can't be told");
            Ok(None)
        }
    }
}

async fn serve(args: RunArgs) -> Result<Exit, Failure> {
    let failed = |what: &str| {
        let what = what.to_owned();
        move |error: std::io::Error| Failure::refused(format!("{what}: {error}"))
    };
    let _only_one = only_one(&args)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed("SIGTERM can't be waited for"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed("SIGINT can't be waited for"))?;
    let mounts = mountinfo::watch(VOLUMES_ROOT).map_err(failed("/proc/self/mountinfo can't be watched"))?;
    let ConfigurationArgs { file, flags } = args.configuration;
    let (agent, reports) = Agent::new(file, flags, mounts);
    let listen = agent.config().listen;
    let listener = health::listen(listen).await.map_err(|error| {
        Failure::refused(format!("the endpoint can't listen on {listen}: {error}")).help(format!(
            "see who does by `ss -ltnp sport = :{}`, or choose another address by `listen` (flag --listen)",
            listen.port()
        ))
    })?;
    info!(%listen, version = env!("CARGO_PKG_VERSION"), "volumes-agent is up");
    let endpoint = tokio::spawn(health::serve(listener, reports.clone()));
    systemd::ready(&reports.borrow().status_line());
    let (stop, stopping) = watch::channel(false);
    let looping = tokio::spawn(agent.run(stopping));
    let abort = looping.abort_handle();
    tokio::select! {
        _ = terminate.recv() => info!("SIGTERM: the agent ends, the share stays mounted"),
        _ = interrupt.recv() => info!("SIGINT: the agent ends, the share stays mounted"),
        ended = endpoint => {
            let why = match ended {
                Ok(Ok(())) => "it ended".to_owned(),
                Ok(Err(error)) => error.to_string(),
                Err(error) => error.to_string(),
            };
            return Err(Failure::refused(format!("the endpoint failed: {why}")));
        }
        ended = looping => {
            // Unless it says why, the loop ends only when it is told to: a defect, and systemd's restart is the way out.
            let why = match ended {
                Ok(Err(useless)) => return Err(Failure::refused(useless.to_string())),
                Ok(Ok(())) => "it ended".to_owned(),
                Err(error) => error.to_string(),
            };
            return Err(Failure::refused(format!("the loop failed: {why}")));
        }
    }
    systemd::stopping();
    stop.send_replace(true);
    // Its receiver goes with the loop; one that doesn't end in time is ended.
    drop(tokio::time::timeout(STOP_WITHIN, stop.closed()).await);
    abort.abort();
    Ok(Exit::Done)
}
