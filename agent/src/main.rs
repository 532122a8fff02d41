//! The binary: reads the command line, runs the command, turns its outcome into an exit code.

use clap::Parser;
use std::process::ExitCode;
use volumes_agent::{cli::Cli, commands, diagnostics::Exit};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are answers; everything else clap says is wrong usage. A closed stdout or stderr leaves nobody to tell.
            drop(error.print());
            return if error.use_stderr() { Exit::Usage.into() } else { Exit::Done.into() };
        }
    };
    let format = cli.command.message_format();
    match commands::run(cli.command) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            commands::messages::failed(format, &failure);
            failure.exit.into()
        }
    }
}
