//! The subcommands: each reads its input, asks the core, prints the answer. One file a command.

use crate::{
    cli::Command,
    diagnostics::{Exit, Failure},
};

/// Runs one subcommand to its end.
///
/// # Errors
/// What stopped it, ready for the printer, with the exit code that the contract gives it.
pub fn run(command: Command) -> Result<Exit, Failure> {
    match command {}
}
