//! `lab`: the demo, and ending a demo that was kept.

use clap::{Parser, Subcommand};
use lab::{
    Error, Lab, app, cluster,
    enclosure::{self, Entered, Inside},
    progress::Progress,
    story::STORY,
};
use std::{io::Write, process::ExitCode};

/// A cluster of two instances with a share, on this machine.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Boots the cluster and tells the story of a compose file on it, each step as it was seen.
    Demo {
        /// Leaves the cluster running.
        #[arg(long)]
        keep: bool,
    },
    /// Boots the cluster, nothing deployed, and leaves it running.
    Up,
    /// Ends a cluster that was left running.
    Down,
    /// Makes what every lab needs (the guests' disk, moto) without starting one.
    Prepare,
}

const NAME: &str = "demo";

fn main() -> ExitCode {
    match run(&Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            // A closed stderr leaves nobody to tell.
            drop(writeln!(std::io::stderr(), "error: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command) -> Result<ExitCode, Error> {
    let progress = Progress::new();
    let (keep, told) = match command {
        Command::Down => {
            let ended = enclosure::end(NAME, &progress)?;
            progress.say(if ended { "the cluster is gone" } else { "no cluster was running" });
            return Ok(ExitCode::SUCCESS);
        }
        Command::Prepare => return cluster::prepare(&progress).map(|_| ExitCode::SUCCESS),
        Command::Demo { keep } => (*keep, &STORY[..]),
        Command::Up => (true, &[][..]),
    };
    match enclosure::enter(NAME, keep, &progress, || cluster::prepare(&progress).map(drop))? {
        Entered::Done(code) => Ok(code),
        Entered::Inside(inside) => inside_of(inside, keep, told, &progress),
    }
}

fn inside_of(
    inside: Inside,
    keep: bool,
    story: &[lab::story::Step],
    progress: &Progress,
) -> Result<ExitCode, Error> {
    let lab = match Lab::start(&inside, progress) {
        Ok(lab) => lab,
        Err(error) => {
            progress.plain(&format!(
                "\nThe cluster did not start.\n  {error}\n  logs:     {}",
                inside.folder.join("logs").display()
            ));
            return inside.leave(1, false);
        }
    };
    let failed = tell(&lab, story, progress)?;
    if keep {
        look_around(&lab, progress);
    } else if !failed {
        progress.say("the cluster ends; `make demo KEEP=1` leaves it running");
    }
    inside.leave(u8::from(failed), keep)
}

/// Tells the story up to the first step that isn't seen.
fn tell(lab: &Lab, story: &[lab::story::Step], progress: &Progress) -> Result<bool, Error> {
    if !story.is_empty() {
        progress.plain(&format!("\n{}", app::file("docker-compose.yml")?));
    }
    for (number, step) in story.iter().enumerate() {
        progress.say(&format!("{:2}. {}", number + 1, step.title));
        match (step.tell)(lab) {
            Ok(seen) => progress.detail(&seen),
            Err(error) => {
                let evidence = lab.evidence(&format!("step-{}", number + 1))?;
                progress.plain(&format!(
                    "\nStep {} was not seen: {}\n  {error}\n  logs:     {} and {}",
                    number + 1,
                    step.title,
                    evidence.display(),
                    lab.folder.join("logs").display()
                ));
                return Ok(true);
            }
        }
    }
    if !story.is_empty() {
        progress.say(&format!("all {} steps were seen", story.len()));
    }
    Ok(false)
}

fn look_around(lab: &Lab, progress: &Progress) {
    let inside = format!("ip netns exec {}", enclosure::network_namespace(&lab.name));
    let config = lab.folder.join("ssh_config");
    let ssh = format!("{inside} ssh -F {}", config.display());
    progress.plain(&format!(
        "
The cluster is left running; `make demo-down` ends it. Look around:

  a shell on an instance     {ssh} instance-1
  what the agent says        {ssh} instance-1 curl -s localhost:12049/status
  its health and metrics     {ssh} instance-1 'curl -si localhost:12049/healthz; curl -s localhost:12049/metrics'
  its journal                {ssh} instance-1 journalctl -u volumes-agent
  the app on each instance   {inside} curl -s http://10.77.0.11/  and  http://10.77.16.12/
  all that ECS knows         {inside} curl -s http://10.77.0.1:5001/lab/state
  every call made to ECS     {inside} curl -s http://10.77.0.1:5001/lab/calls
"
    ));
}
