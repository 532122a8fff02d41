//! The one printer of errors: what happened, its causes, and what to do next.

use std::{error::Error, fmt};

/// How a command ended; the numbers are the contract with scripts (`docs/reference.md`, "Exit codes").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done; `plan`: no refusal; `status`: ready.
    Done = 0,
    /// Refused or failed, and nothing was changed; `status`: not ready.
    Refused = 1,
    /// `status`: no daemon answers.
    NoDaemon = 3,
    /// Wrong usage of the command line.
    Usage = 64,
    /// Wrong configuration (EX_CONFIG of sysexits.h).
    Config = 78,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command stopped: the error with its causes, advice, and the exit code.
///
/// Its text form is what a person reads: `error: …`, a line `caused by: …` for each cause, a line `help: …`.
#[derive(Debug)]
pub struct Failure {
    /// The exit code that tells scripts the kind.
    pub exit: Exit,
    /// What happened and where; its [`Error::source`] chain is printed below it, each cause once.
    pub error: Box<dyn Error + Send + Sync>,
    /// One sentence that says what to do next.
    pub help: Option<String>,
}

impl Failure {
    /// A refusal: nothing was changed.
    pub fn refused(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { exit: Exit::Refused, error: error.into(), help: None }
    }

    /// A wrong configuration.
    pub fn config(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { exit: Exit::Config, error: error.into(), help: None }
    }

    /// What happened, with its causes, in one line.
    pub fn reason(&self) -> String {
        let mut text = self.error.to_string();
        let mut cause = self.error.source();
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        text
    }

    /// The same failure with advice.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.error)?;
        let mut cause = self.error.source();
        while let Some(error) = cause {
            write!(f, "\n  caused by: {error}")?;
            cause = error.source();
        }
        if let Some(help) = &self.help {
            write!(f, "\n  help: {help}")?;
        }
        Ok(())
    }
}
