//! What goes wrong in a lab: a command, a file, a request, or something that was expected and not seen.

use std::{io, path::PathBuf, time::Duration};

/// Why a lab, a step of the demo or a test stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A command of the host ended with another status than 0, or did not end in time.
    #[error("`{command}` {how}{}", indented(.output))]
    Command {
        /// The command line.
        command: String,
        /// How it ended.
        how: String,
        /// The last lines of what it wrote.
        output: String,
    },
    /// A file or folder of the lab.
    #[error("can't {act} {}", .path.display())]
    File {
        /// What was tried: `read`, `write`, ...
        act: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A request to one of the lab's servers.
    #[error("{request}: {answer}")]
    Request {
        /// Method and address, or the operation.
        request: String,
        /// What came instead of an answer.
        answer: String,
    },
    /// Something that must be there isn't.
    #[error("{what} is missing: {help}")]
    Missing {
        /// What.
        what: String,
        /// Where it comes from.
        help: String,
    },
    /// The heart of every step and test: what was expected was not seen.
    #[error("expected: {expected}\n  seen:     {seen}{}", after(*.waited))]
    NotSeen {
        /// In a person's words.
        expected: String,
        /// The last thing that was seen instead.
        seen: String,
        /// How long it was waited for; zero if it was looked at once.
        waited: Duration,
    },
}

fn indented(output: &str) -> String {
    let last: Vec<&str> = output.trim_end().lines().collect();
    let last = &last[last.len().saturating_sub(15)..];
    last.iter().map(|line| format!("\n    {line}")).collect()
}

fn after(waited: Duration) -> String {
    if waited.is_zero() { String::new() } else { format!("\n  waited:   {:.1} s", waited.as_secs_f64()) }
}

/// Fails with [`Error::NotSeen`] unless `true` was seen.
///
/// # Errors
/// When `holds` is false.
pub fn expect(holds: bool, expected: impl Into<String>, seen: impl Into<String>) -> Result<(), Error> {
    if holds {
        return Ok(());
    }
    Err(Error::NotSeen { expected: expected.into(), seen: seen.into(), waited: Duration::ZERO })
}
