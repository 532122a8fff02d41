//! The one printer of errors: what happened, its causes, and what to do next.

use std::{error::Error, fmt};

/// How a command ended; the numbers are the contract with scripts (`docs/reference.md`, "Exit codes").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done; `plan`: no refusal; `status`: ready; `doctor`: every check passes.
    Done = 0,
    /// Refused or failed, and nothing was changed; `status`: not ready; `doctor`: warnings only.
    Refused = 1,
    /// `plan --detailed-exitcode`: changes are pending; `doctor`: a check failed.
    Pending = 2,
    /// `status`: no daemon answers; `ls`: neither the share nor ECS does.
    NoDaemon = 3,
    /// `apply`: a deployment failed, was rolled back or replaced; what was registered is named.
    DeploymentFailed = 4,
    /// `apply`: a deployment was not stable in time; it goes on by itself.
    NotStable = 5,
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
    /// The diagnostic's code, where it has one.
    pub code: Option<&'static str>,
    /// One sentence that says what to do next.
    pub help: Option<String>,
}

impl Failure {
    /// A refusal: nothing was changed.
    pub fn refused(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { exit: Exit::Refused, error: error.into(), code: None, help: None }
    }

    /// Wrong usage of the command line.
    pub fn usage(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { exit: Exit::Usage, error: error.into(), code: None, help: None }
    }

    /// A wrong configuration.
    pub fn config(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { exit: Exit::Config, error: error.into(), code: None, help: None }
    }

    /// The same failure with a code.
    #[must_use]
    pub fn code(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
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
        match self.code {
            Some(code) => write!(f, "error[{code}]: {}", self.error)?,
            None => write!(f, "error: {}", self.error)?,
        }
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

/// An error with its causes, in one line, each said once.
pub fn in_one_line(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let words = cause.to_string();
        if !text.ends_with(&words) {
            text = format!("{text}: {words}");
        }
        next = cause.source();
    }
    text
}
