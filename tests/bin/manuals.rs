//! `manuals FOLDER`: the man pages and the shells' completions of volumes-agent, from its command line itself, for `make package`.

use clap::CommandFactory;
use clap_complete::Shell;
use lab::host;
use std::{
    error::Error,
    path::{Path, PathBuf},
    process::ExitCode,
};
use volumes_agent::cli::Cli;

const NAME: &str = "volumes-agent";

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1).map(PathBuf::from) else {
        say("usage: manuals FOLDER");
        return ExitCode::FAILURE;
    };
    match write(&folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {}: {error}", folder.display()));
            ExitCode::FAILURE
        }
    }
}

#[allow(clippy::print_stderr)] // a tool of the build
fn say(text: &str) {
    eprintln!("{text}");
}

fn write(folder: &Path) -> Result<(), Box<dyn Error>> {
    let (man, completions) = (folder.join("man"), folder.join("completions"));
    for folder in [&man, &completions] {
        host::directory(folder)?;
    }
    // One page a command, hidden ones left out.
    clap_mangen::generate_to(Cli::command(), &man)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut Cli::command(), NAME, &completions)?;
    }
    Ok(())
}
