//! Names, checked once when they are parsed and trusted ever after.
//!
//! Rack and app: `[a-zA-Z0-9][a-zA-Z0-9_-]*`, at most 120 bytes (what ECS clusters and Compose projects are called). Services
//! and named volumes: `[a-zA-Z0-9._-]+` as the compose specification has it, without a leading dot, at most 255 bytes: both
//! become one component of a path on the share, where `@` and a leading `.` are the agent's own.

use std::fmt;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing was given.
    #[error("the {kind}'s name is empty")]
    Empty {
        /// What the name is for: `rack`, `app`, `service`, `volume`.
        kind: &'static str,
    },
    /// Longer than a component of a path may be.
    #[error("{kind} `{name}` is {length} bytes long, at most {max} fit")]
    TooLong {
        /// What the name is for.
        kind: &'static str,
        /// The text as given.
        name: String,
        /// Its length in bytes.
        length: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// A character that the name's grammar doesn't have.
    #[error("{kind} `{name}` has `{character}` in it; {allowed}")]
    Character {
        /// What the name is for.
        kind: &'static str,
        /// The text as given.
        name: String,
        /// The first character that is not allowed where it stands.
        character: char,
        /// What is allowed, as the end of a sentence.
        allowed: &'static str,
    },
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $max:literal, $first:expr, $rest:expr, $allowed:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String")]
        pub struct $name(String);

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                check(text, $kind, $max, $first, $rest, $allowed).map(|()| Self(text.to_owned()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// The name of a cluster of instances in paths on the share.
    Rack, "rack", 120, |c| c.is_ascii_alphanumeric(), is_word, "letters, digits, `_` and `-` are allowed, and a letter or digit comes first"
);
name!(
    /// What a compose file deploys.
    App, "app", 120, |c| c.is_ascii_alphanumeric(), is_word, "letters, digits, `_` and `-` are allowed, and a letter or digit comes first"
);
name!(
    /// One entry under a compose file's `services:`.
    ServiceName, "service", 255, is_word, |c| is_word(c) || c == '.', "letters, digits, `.`, `_` and `-` are allowed, and no dot comes first"
);
name!(
    /// A key of a compose file's top-level `volumes:`.
    VolumeName, "volume", 255, is_word, |c| is_word(c) || c == '.', "letters, digits, `.`, `_` and `-` are allowed, and no dot comes first"
);

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '-'
}

fn check(
    text: &str,
    kind: &'static str,
    max: usize,
    first: impl Fn(char) -> bool,
    rest: impl Fn(char) -> bool,
    allowed: &'static str,
) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty { kind });
    }
    let wrong = text.chars().enumerate().find(|&(at, c)| if at == 0 { !first(c) } else { !rest(c) });
    if let Some((_, character)) = wrong {
        return Err(NameError::Character { kind, name: text.to_owned(), character, allowed });
    }
    if text.len() > max {
        return Err(NameError::TooLong { kind, name: text.to_owned(), length: text.len(), max });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_allowed() {
        for name in ["a", "A-b_9", "0", &"x".repeat(120)] {
            assert_eq!(name.parse::<Rack>().map(|rack| rack.to_string()), Ok(name.to_owned()));
        }
        for name in ["web", "_web", "-", "a.b", &"x".repeat(255)] {
            assert!(name.parse::<ServiceName>().is_ok(), "{name}");
        }
    }

    #[test]
    fn names_that_are_not() {
        for name in ["", "-a", "_a", "a.b", "a/b", "..", "ä", "@volumes", &"x".repeat(121)] {
            assert!(name.parse::<App>().is_err(), "{name}");
        }
        for name in ["", ".", "..", ".web", "a/b", "@volumes", "a b", "a\n", &"x".repeat(256)] {
            assert!(name.parse::<ServiceName>().is_err(), "{name}");
            assert!(name.parse::<VolumeName>().is_err(), "{name}");
        }
    }
}
