//! The command line: subcommands and flags. No work is done here.

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
pub enum Command {}
