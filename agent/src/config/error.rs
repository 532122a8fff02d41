//! What can be wrong with a configuration, each with its place.

use super::Origin;
use std::{fmt, path::PathBuf};

/// One thing wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The file is there and can't be read.
    #[error("{}: can't be read: {cause}", .file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// The operating system's words.
        cause: String,
    },
    /// The file is not TOML.
    #[error("{}:{line}: not TOML: {cause}", .file.display())]
    Syntax {
        /// The file.
        file: PathBuf,
        /// Line, from 1.
        line: usize,
        /// The parser's words.
        cause: String,
    },
    /// A key that doesn't exist.
    #[error("{origin}: unknown key `{key}`{}", .nearest.map(|n| format!(", did you mean `{n}`?")).unwrap_or_default())]
    UnknownKey {
        /// Where it stands.
        origin: Origin,
        /// The key as written.
        key: String,
        /// The known key nearest to it.
        nearest: Option<&'static str>,
    },
    /// A value that the key doesn't take.
    #[error("{origin}: `{key}` can't be `{value}`: {allowed}")]
    Value {
        /// Where it stands.
        origin: Origin,
        /// The key.
        key: &'static str,
        /// The value as written.
        value: String,
        /// What is allowed instead.
        allowed: String,
    },
    /// Two keys that exclude each other.
    #[error(
        "{second_origin}: `{second}` and `{first}` ({first_origin}) both choose the file system: keep one"
    )]
    Conflict {
        /// The key that was kept.
        first: &'static str,
        /// Where it stands.
        first_origin: Origin,
        /// The key that excludes it.
        second: &'static str,
        /// Where it stands.
        second_origin: Origin,
    },
}

/// All that is wrong with a configuration, in the order found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl std::error::Error for ConfigErrors {}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, error) in self.0.iter().enumerate() {
            write!(f, "{}{error}", if at == 0 { "" } else { "\n       " })?;
        }
        Ok(())
    }
}
