//! One entry of a service's `volumes:` in short syntax, as the Compose specification has it: `target`, `source:target`,
//! `source:target:options`.

use serde::Serialize;

/// A `volumes:` entry, taken apart. Paths are as written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Declaration {
    /// The whole entry.
    pub text: String,
    /// What comes before the target; none for a single path.
    pub source: Option<Source>,
    /// The path in the container.
    pub target: String,
    /// Whether the container may only read.
    pub read_only: bool,
    /// Options that have no meaning on a share, such as `z`.
    pub ignored: Vec<String>,
}

/// The part before the target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Source {
    /// An absolute path.
    Absolute(String),
    /// A path that begins with `.` or `~`.
    Relative(String),
    /// A key of the top-level `volumes:`.
    Named(String),
}

/// Why an entry can't be taken apart.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeclarationError {
    /// Nothing, or nothing between two colons.
    #[error("`{0}` has an empty part")]
    Empty(String),
    /// More than three parts.
    #[error("`{text}` has {parts} parts; at most source, target and options are understood")]
    TooManyParts {
        /// The entry.
        text: String,
        /// How many.
        parts: usize,
    },
    /// The target doesn't begin with a slash.
    #[error("the container's path `{target}` in `{text}` is not absolute")]
    RelativeTarget {
        /// The entry.
        text: String,
        /// The path.
        target: String,
    },
    /// `/x:ro`: Compose takes `ro` for the container's path.
    #[error(
        "`{text}` reads as a volume `{source_path}` at `{option}`: options need a source and a target before them"
    )]
    OptionWithoutSource {
        /// The entry.
        text: String,
        /// The first part.
        source_path: String,
        /// The second part.
        option: String,
    },
    /// An option that isn't known: Compose ignores it, and a slip of `ro` would be writable.
    #[error("`{option}` in `{text}` is not an option of a volume")]
    UnknownOption {
        /// The entry.
        text: String,
        /// The option.
        option: String,
    },
    /// A control character.
    #[error("{0:?} has a control character in it")]
    Control(String),
}

impl DeclarationError {
    /// The diagnostic's code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Empty(_) => "empty-part",
            Self::TooManyParts { .. } => "too-many-parts",
            Self::RelativeTarget { .. } => "relative-target",
            Self::OptionWithoutSource { .. } => "option-without-source",
            Self::UnknownOption { .. } => "unknown-option",
            Self::Control(_) => "control-character",
        }
    }

    /// How to write it instead.
    pub fn help(&self) -> String {
        match self {
            Self::Empty(_) | Self::TooManyParts { .. } | Self::Control(_) => {
                "write `/container/path`, `source:/container/path` or `source:/container/path:ro`".to_owned()
            }
            Self::RelativeTarget { target, .. } => format!("write `/{}`", target.trim_start_matches("./")),
            Self::OptionWithoutSource { source_path, option, .. } => {
                format!("write `{source_path}:{source_path}:{option}`")
            }
            Self::UnknownOption { .. } => "write `ro` or `rw`, or leave it out".to_owned(),
        }
    }
}

/// Options that mean something only to another engine or another file system (SELinux labels, Docker Desktop's caches, the copy
/// at first use).
const IGNORED: [&str; 6] = ["z", "Z", "cached", "delegated", "consistent", "nocopy"];

impl std::str::FromStr for Declaration {
    type Err = DeclarationError;

    fn from_str(text: &str) -> Result<Self, DeclarationError> {
        let whole = || text.to_owned();
        if text.chars().any(char::is_control) {
            return Err(DeclarationError::Control(whole()));
        }
        let parts: Vec<&str> = text.split(':').collect();
        if parts.iter().any(|part| part.is_empty()) {
            return Err(DeclarationError::Empty(whole()));
        }
        let (source, target, options) = match parts.as_slice() {
            [target] => (None, *target, ""),
            [source, target] => (Some(*source), *target, ""),
            [source, target, options] => (Some(*source), *target, *options),
            parts => return Err(DeclarationError::TooManyParts { text: whole(), parts: parts.len() }),
        };
        if !target.starts_with('/') {
            return Err(match source {
                Some(source) if target == "ro" || target == "rw" => DeclarationError::OptionWithoutSource {
                    text: whole(),
                    source_path: source.to_owned(),
                    option: target.to_owned(),
                },
                _ => DeclarationError::RelativeTarget { text: whole(), target: target.to_owned() },
            });
        }
        let mut declaration = Self {
            text: whole(),
            source: source.map(Source::of),
            target: target.to_owned(),
            read_only: false,
            ignored: Vec::new(),
        };
        for option in options.split(',').filter(|_| !options.is_empty()) {
            match option {
                "ro" => declaration.read_only = true,
                "rw" => declaration.read_only = false,
                known if IGNORED.contains(&known) => declaration.ignored.push(option.to_owned()),
                _ => {
                    return Err(DeclarationError::UnknownOption { text: whole(), option: option.to_owned() });
                }
            }
        }
        Ok(declaration)
    }
}

impl Source {
    fn of(text: &str) -> Self {
        match text.as_bytes() {
            [b'/', ..] => Self::Absolute(text.to_owned()),
            [b'.' | b'~', ..] => Self::Relative(text.to_owned()),
            // Compose takes a source with a slash in it for a path, too.
            _ if text.contains('/') => Self::Relative(text.to_owned()),
            _ => Self::Named(text.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_two_and_three_parts() {
        let read = |text: &str| text.parse::<Declaration>().unwrap();
        assert_eq!((read("/data").source, read("/data").target), (None, "/data".to_owned()));
        assert_eq!(read("/a:/b").source, Some(Source::Absolute("/a".to_owned())));
        assert_eq!(read("db:/b").source, Some(Source::Named("db".to_owned())));
        for relative in ["./a:/b", "../a:/b", "~/a:/b", ".:/b", "a/b:/b"] {
            assert!(matches!(read(relative).source, Some(Source::Relative(_))), "{relative}");
        }
        assert!(read("/a:/b:ro").read_only);
        assert!(!read("/a:/b:rw,z").read_only);
        assert_eq!(read("/a:/b:z,cached").ignored, ["z", "cached"]);
    }

    #[test]
    fn what_would_lose_data_is_an_error() {
        for (text, code) in [
            ("", "empty-part"),
            (":/b", "empty-part"),
            ("/a:", "empty-part"),
            ("/a:/b:", "empty-part"),
            ("data", "relative-target"),
            ("/a:b", "relative-target"),
            ("/x:ro", "option-without-source"),
            ("/a:/b:RO", "unknown-option"),
            ("/a:/b:U", "unknown-option"),
            ("/a:/b:ro,", "unknown-option"),
            ("/a:/b:ro:x", "too-many-parts"),
            ("/a\n:/b", "control-character"),
        ] {
            assert_eq!(text.parse::<Declaration>().unwrap_err().code(), code, "{text:?}");
        }
    }
}
