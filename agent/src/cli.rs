//! The command line: subcommands and flags. No work is done here.

use crate::commands::{
    adopt_share::AdoptShareArgs, apply::ApplyArgs, check_config::CheckConfigArgs, chown::ChownArgs,
    config::ConfigArgs, doctor::DoctorArgs, explain::ExplainArgs, explain_service::ExplainServiceArgs,
    leave::LeaveArgs, ls::LsArgs, messages::MessageFormat, patch::PatchArgs, plan::PlanArgs, run::RunArgs,
    start::StartArgs, status::StatusArgs, wait::WaitArgs,
};
use clap::{Parser, Subcommand};

/// Persists the `volumes:` of compose services on a shared file system, on Amazon ECS clusters of EC2 instances.
#[derive(Debug, Parser)]
#[command(name = "volumes-agent", version, about, propagate_version = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands. Each has its arguments beside its work, in [`crate::commands`].
#[derive(Debug, Subcommand)]
pub enum Command {
    /// The volumes of a compose file, as Docker Compose reads them.
    Config(ConfigArgs),
    /// Where each volume of a compose file will live, on the cluster or on a laptop; a refusal (1).
    Plan(PlanArgs),
    /// Run a compose file on a laptop, its volumes in ~/.convox/volumes; refused (1).
    Start(StartArgs),
    /// Make a task definition mount its volumes: from stdin to stdout, for pipelines; refused (1).
    Patch(PatchArgs),
    /// Undo `patch`: from stdin to stdout, the source as its author registered it.
    Unpatch,
    /// Take a compose file's volumes to a cluster's services, and wait until they run; refused (1), failed (4), not in time (5).
    Apply(ApplyArgs),
    /// The daemon: keeps the share mounted at /volumes, and patches the cluster's task definitions.
    Run(RunArgs),
    /// Make the bare /volumes immutable, so that nothing is written there without the share.
    Guard,
    /// Wait until the share is ready (0), or for a while (1): for the start of ecs.service.
    Wait(WaitArgs),
    /// What the daemon on this instance knows: ready (0), not ready (1), no daemon (3).
    Status(StatusArgs),
    /// The volumes: where they are, who uses them, what nobody uses; something is not known (1), nothing is (3).
    Ls(LsArgs),
    /// Everything a person would check on this instance: all well (0), warnings (1), a check failed (2).
    Doctor(DoctorArgs),
    /// Give a volume's directory, and all that is in it, to somebody; there is no such volume, or it failed (1).
    Chown(ChownArgs),
    /// Say that the share at /volumes is the right one: a restored copy, or one that fstab mounted; refused (1).
    AdoptShare(AdoptShareArgs),
    /// Take the volumes of all services off again, at a pace, to do without this agent; refused (1), failed (4), not in time (5).
    Leave(LeaveArgs),
    /// The long story of a diagnostic code, such as `relative-source`.
    Explain(ExplainArgs),
    /// Why an ECS service is or is not patched, step by step, from ECS itself: nothing left to do (0), something (1).
    ExplainService(ExplainServiceArgs),
    /// Check the configuration and print it with where each value came from; wrong (78).
    CheckConfig(CheckConfigArgs),
    /// At shutdown, after all containers: write what is not on the share yet, or give it up if the server is dead.
    #[command(hide = true)]
    Release,
    /// Calls on the share, for the daemon.
    #[command(hide = true, name = "share-worker")]
    ShareWorker {
        /// The daemon's process id.
        parent: u32,
    },
}

impl Command {
    /// How the command says what is wrong.
    pub fn message_format(&self) -> MessageFormat {
        match self {
            Self::Config(args) => args.message_format(),
            Self::Plan(args) => args.message_format(),
            Self::Apply(args) => args.message_format(),
            Self::Start(args) => args.compose.messages.beside(None),
            Self::Patch(args) => args.messages.beside(None),
            _ => MessageFormat::Text,
        }
    }
}
