//! The lab's stand-in for the Amazon ECS agent: `ecs.service` in the guests. What it imitates: [`lab::ecs_agent`].

use clap::Parser;
use lab::ecs_agent::{
    introspection::{self, Introspection},
    registration::{AgentError, Http, Registered, Settings, register},
    rounds::{Rounds, say, told},
    task_metadata,
};
use std::{net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

/// A fake of the Amazon ECS agent, for the lab's instances.
///
/// Registers this instance with the lab's ECS, once; answers on the introspection port after that; runs the tasks that are
/// placed here with Docker, from their registered revisions alone. No real ECS will ever talk to it.
///
/// As the real one: the same ARN after a restart or a reboot, and no custom attributes sent then; binds without a propagation
/// flag, so that Docker makes a missing source; `dependsOn` decides what is created, started and stopped when; containers go on
/// when the agent is stopped. Unlike the real one: polls instead of a websocket, pulls no images, gives each container the
/// instance's network, sets no limits.
#[derive(Debug, Parser)]
#[command(name = "lab-ecs-agent", version)]
struct Cli {
    /// The cluster, by name or ARN.
    #[arg(long, env = "ECS_CLUSTER", default_value = "default")]
    cluster: String,
    /// Base URL of the lab's ECS.
    #[arg(long, env = "ECS_BACKEND_HOST", value_name = "URL")]
    backend: String,
    /// Base URL of instance metadata.
    #[arg(
        long,
        env = "AWS_EC2_METADATA_SERVICE_ENDPOINT",
        value_name = "URL",
        default_value = "http://169.254.169.254"
    )]
    metadata: String,
    /// Custom attributes as a JSON object; sent with the first registration only.
    #[arg(long, env = "ECS_INSTANCE_ATTRIBUTES", value_name = "JSON")]
    attributes: Option<String>,
    /// Where the ARN is kept; without it the instance comes back as another one.
    #[arg(long, env = "ECS_DATADIR", value_name = "FOLDER", default_value = "/var/lib/ecs/data")]
    data_folder: PathBuf,
    /// Where introspection listens.
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:51678")]
    introspection: SocketAddr,
}

/// The exit code that `ecs.service` doesn't start the agent again for, as the real one's.
const TERMINAL: u8 = 5;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let base = |url: &str| url.trim_end_matches('/').to_owned();
    let settings = Settings {
        cluster: cli.cluster,
        backend: base(&cli.backend),
        metadata: base(&cli.metadata),
        data_folder: cli.data_folder,
        attributes: cli.attributes,
    };
    let http = Http::default();
    let mut trouble = String::new();
    let Registered { arn: instance, zone } = loop {
        match register(&http, &settings) {
            Ok(registered) => break registered,
            Err(error @ (AgentError::OtherCluster { .. } | AgentError::Attributes(_))) => {
                say(&told(&error));
                return ExitCode::from(TERMINAL);
            }
            Err(error) => {
                let now = told(&error);
                if now != trouble {
                    say(&now);
                    trouble = now;
                }
            }
        }
        std::thread::sleep(Duration::from_secs(1));
    };
    say(&format!("registered with {} as {instance}", settings.cluster));
    let introspection = Introspection::new(settings.cluster.clone(), instance.clone(), zone);
    let rounds = Rounds {
        http,
        backend: settings.backend,
        cluster: settings.cluster,
        instance,
        introspection: introspection.clone(),
    };
    match serve(cli.introspection, introspection, rounds) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("introspection on {} or task metadata: {error}", cli.introspection));
            ExitCode::FAILURE
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn serve(address: SocketAddr, introspection: Introspection, rounds: Rounds) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::bind(address).await?;
    let for_tasks = tokio::net::TcpListener::bind(task_metadata::ADDRESS).await?;
    std::thread::spawn(move || rounds.run());
    tokio::try_join!(
        introspection::serve(listener, introspection.clone()),
        task_metadata::serve(for_tasks, introspection)
    )?;
    Ok(())
}
