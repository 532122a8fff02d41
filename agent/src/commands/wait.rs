//! `volumes-agent wait`: holds the ECS agent back until the share is there, or for a while.

use crate::{
    commands::configuration::ConfigurationArgs,
    config::Config,
    diagnostics::{Exit, Failure},
    loopback,
    mount_state::MountState,
    report::{Gate, Health},
};
use clap::Args;
use std::{
    io::Write,
    time::{Duration, Instant},
};

/// Between two looks at the endpoint.
const PAUSE: Duration = Duration::from_millis(200);
/// What a stale `ready` in ECS may hold the start back beyond the time given.
const STALE_GATE_CAP: Duration = Duration::from_secs(10);
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// Flags of `wait`.
#[derive(Debug, Args)]
pub struct WaitArgs {
    /// The longest to wait for the share, in seconds; up to 10 more for a stale attribute of an earlier boot to be dealt with.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub timeout: u64,
    /// Where the daemon listens.
    #[command(flatten)]
    pub configuration: ConfigurationArgs,
}

/// Returns `Done` once the share is ready; `Refused` when time is up and ECS knows that it isn't.
///
/// # Errors
/// The runtime can't be started.
pub fn run(args: &WaitArgs) -> Result<Exit, Failure> {
    // With a wrong configuration the daemon stays up at the default address, and an instance must not start tasks too soon for it.
    let listen = args.configuration.config().map_or_else(
        |failure| {
            drop(writeln!(std::io::stderr(), "{failure}"));
            Config::default().listen
        },
        |config| config.listen,
    );
    let url = format!("http://{listen}/healthz");
    let begun = Instant::now();
    let timeout = Duration::from_secs(args.timeout);
    let look = async {
        loop {
            let answer = loopback::get(&url, ANSWER_WITHIN).await;
            let health = answer.map_err(|error| error.to_string()).and_then(|answer| {
                serde_json::from_slice::<Health>(&answer.body).map_err(|error| format!("GET {url}: {error}"))
            });
            let (gate, reason) = match health {
                Ok(Health { state: MountState::Ready, .. }) => return None,
                Ok(health) => (health.gate, format!("{}: {}", health.state, health.reason)),
                Err(error) => (Gate::Unknown, error),
            };
            let cap = if gate == Gate::Closed { timeout } else { timeout + STALE_GATE_CAP };
            if begun.elapsed() >= cap {
                return Some(reason);
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    let waited = crate::commands::block_on(look)?;
    match waited {
        None => Ok(Exit::Done),
        Some(reason) => {
            drop(writeln!(
                std::io::stderr(),
                "the share is not ready after {} s: {reason}",
                begun.elapsed().as_secs()
            ));
            Ok(Exit::Refused)
        }
    }
}
