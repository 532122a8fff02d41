//! The seeding container of a patched task definition: gives each new volume what the image has at its target, then ends.
//!
//! Its arguments are orders, a JSON object a volume; what it has to say goes to stderr, and so to the app's log. It ends with 0 when the app
//! may start, with 1 when it must not, with 64 when it was started by a person.

use std::{error::Error, fmt, io::Write, process::ExitCode, time::Instant};
use volumes_agent_seed::{
    order::{self, Order},
    seeding::{self, Outcome, SeedingError, Site},
    share::{AGENT_DIRECTORY, Directory},
};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.is_empty() || arguments.iter().any(|argument| argument.starts_with('-')) {
        say(format_args!(
            "volumes-agent-seed {} fills new volumes before an app starts; volumes-agent puts it into task definitions, and nobody else \
             starts it",
            env!("CARGO_PKG_VERSION")
        ));
        return ExitCode::from(64);
    }
    let done = arguments.iter().all(|argument| match one(argument) {
        Ok(()) => true,
        Err(error) => {
            say(format_args!("error: {}", in_one_line(error.as_ref())));
            false
        }
    });
    if done { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

fn one(argument: &str) -> Result<(), Box<dyn Error>> {
    let begun = Instant::now();
    let order: Order =
        serde_json::from_str(argument).map_err(|error| format!("`{argument}` is no order: {error}"))?;
    let records = format!("{AGENT_DIRECTORY}/{}", order::RECORDS);
    let site = Site {
        records: Directory::mounted(&order::share_mount(&records), &records)?,
        image: String::new(),
        by: format!("a seeding container at {}", rustix::system::uname().nodename().to_string_lossy()),
    };
    let (folder, _) = order::folder(&order.path).ok_or_else(|| SeedingError::NoPath(order.path.clone()))?;
    let folder = Directory::mounted(&order::share_mount(folder), folder)?;
    let target = &order.target;
    let tell = |step: fmt::Arguments<'_>| say(format_args!("volume {target}: {step}"));
    let outcome = seeding::seed(&site, &folder, &order, &tell)?;
    let seconds = begun.elapsed().as_secs_f64();
    match outcome {
        Outcome::Before(_) => {}
        Outcome::Filled(copied) => {
            tell(format_args!(
                "filled from the image: {} entries, {} bytes, {seconds:.1} s",
                copied.entries, copied.bytes
            ));
            if copied.chown_denied {
                tell(format_args!(
                    "warning: the share lets nobody change owners; all of it belongs to whom the share says (an access point's user?)"
                ));
            }
            for left_out in copied.left_out {
                tell(format_args!("left out: {left_out}"));
            }
        }
        Outcome::Dressed => tell(format_args!("has the owner and the mode that the image has there")),
        Outcome::Left(why) => tell(format_args!("left as it is: {}", why.words())),
        Outcome::Nothing => tell(format_args!("empty: the image has no directory there")),
    }
    Ok(())
}

fn in_one_line(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}

fn say(line: fmt::Arguments<'_>) {
    // Nobody to tell is no reason to keep the app from starting.
    let _ = writeln!(std::io::stderr().lock(), "volumes-agent: {line}");
}
