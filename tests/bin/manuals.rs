//! `manuals FOLDER`: the man pages and the shells' completions of volumes-agent, from its command line itself, for `make package`.

use clap::CommandFactory;
use clap_complete::Shell;
use std::{
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
};
use volumes_agent::cli::Cli;

const NAME: &str = "volumes-agent";

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln_line("usage: manuals FOLDER");
        return ExitCode::FAILURE;
    };
    match write(&folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln_line(&format!("error: {}: {error}", folder.display()));
            ExitCode::FAILURE
        }
    }
}

#[allow(clippy::print_stderr)] // a tool of the build
fn eprintln_line(text: &str) {
    eprintln!("{text}");
}

fn write(folder: &Path) -> io::Result<()> {
    let (man, completions) = (folder.join("man"), folder.join("completions"));
    for folder in [&man, &completions] {
        fs::create_dir_all(folder)?;
    }
    // One page a command, hidden ones left out.
    clap_mangen::generate_to(Cli::command(), &man)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut Cli::command(), NAME, &completions)?;
    }
    Ok(())
}
