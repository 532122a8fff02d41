//! What is wrong with an entry: what Docker Compose refuses, and what it takes without a word although data is lost.

use super::{Declaration, Kind, Source};

/// Words that mean something to Docker Desktop alone.
pub const CACHES: [&str; 3] = ["cached", "delegated", "consistent"];
/// Words of the short form that people write in mistaken spelling or for other engines, and what they mean.
const SPELLINGS: [(&str, &str); 6] =
    [("RO", "ro"), ("Ro", "ro"), ("readonly", "ro"), ("read-only", "ro"), ("read_only", "ro"), ("RW", "rw")];

/// Why an entry can't be taken apart.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeclarationError {
    /// Nothing, or nothing between two colons.
    #[error("`{0}` has an empty part")]
    Empty(String),
    /// More than three parts.
    #[error("`{text}` has {parts} parts; source, target and options are three")]
    TooManyParts {
        /// The entry.
        text: String,
        /// How many.
        parts: usize,
    },
    /// Docker Compose would take it, and lose something.
    #[error(transparent)]
    Complaint(Box<Complaint>),
}

/// What is lost.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Complaint {
    /// The target doesn't begin with a slash.
    #[error("the container's path `{target}` in `{text}` is not absolute")]
    RelativeTarget {
        /// The entry.
        text: String,
        /// The path.
        target: String,
    },
    /// `/x:ro`.
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
    /// A word that is no option.
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
    /// `v:/y`.
    #[error(
        "Docker Compose takes `{letter}:` in `{text}` for a drive of Windows, and `{text}` for one path in the container"
    )]
    DriveLetter {
        /// The entry.
        text: String,
        /// The letter.
        letter: String,
        /// What comes after it.
        rest: String,
    },
}

/// Everything about an entry.
pub(super) fn about(declaration: &Declaration) -> Vec<Complaint> {
    let text = || declaration.text.clone();
    let target = &declaration.target;
    let mut complaints = Vec::new();
    let source = declaration.source.as_ref().map(Source::written);
    if [Some(target.as_str()), source].into_iter().flatten().any(|part| part.chars().any(char::is_control)) {
        complaints.push(Complaint::Control(text()));
    }
    if !target.starts_with('/') && declaration.kind != Kind::NamedPipe {
        let drive =
            target.split_once(':').filter(|(letter, rest)| letter.len() == 1 && rest.starts_with('/'));
        complaints.push(match (source, drive) {
            (None, Some((letter, rest))) => {
                Complaint::DriveLetter { text: text(), letter: letter.to_owned(), rest: rest.to_owned() }
            }
            (Some(source), _) if ["ro", "rw"].contains(&&*target.to_lowercase()) => {
                Complaint::OptionWithoutSource {
                    text: text(),
                    source_path: source.to_owned(),
                    option: target.to_lowercase(),
                }
            }
            _ => Complaint::RelativeTarget { text: text(), target: target.clone() },
        });
    }
    for option in declaration.options.dropped.iter().filter(|word| !CACHES.contains(&word.as_str())) {
        complaints.push(Complaint::UnknownOption { text: text(), option: option.clone() });
    }
    complaints
}

impl DeclarationError {
    /// The diagnostic's code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Empty(_) => "empty-part",
            Self::TooManyParts { .. } => "too-many-parts",
            Self::Complaint(complaint) => complaint.code(),
        }
    }

    /// What to do.
    pub fn help(&self) -> String {
        match self {
            Self::Empty(_) | Self::TooManyParts { .. } => {
                "write `/container/path`, `source:/container/path` or `source:/container/path:ro`".to_owned()
            }
            Self::Complaint(complaint) => complaint.help(),
        }
    }
}

impl Complaint {
    /// The diagnostic's code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::RelativeTarget { .. } => "relative-target",
            Self::OptionWithoutSource { .. } => "option-without-source",
            Self::UnknownOption { .. } => "unknown-option",
            Self::Control(_) => "control-character",
            Self::DriveLetter { .. } => "drive-letter",
        }
    }

    /// Why it matters for data.
    pub fn why(&self) -> &'static str {
        match self {
            Self::RelativeTarget { .. } => "no container can be started with such a mount",
            Self::OptionWithoutSource { .. } => {
                "the container gets a writable folder called by the option, and its own path is not kept"
            }
            Self::UnknownOption { .. } => {
                "Docker Compose ignores it without a word: what was meant to be read-only is writable"
            }
            Self::Control(_) => "the folder's name would not be what people see and type",
            Self::DriveLetter { .. } => {
                "the container gets a fresh volume at a path that nobody meant, and the named one stays unused"
            }
        }
    }

    /// What to do.
    pub fn help(&self) -> String {
        match self {
            Self::Control(_) => "write the path without it".to_owned(),
            Self::UnknownOption { option, .. } => match self.fix() {
                Some(fix) => format!("write `{fix}`"),
                None => format!("write `ro` or `rw` in place of `{option}`, or leave it out"),
            },
            Self::DriveLetter { letter, .. } => format!(
                "give the volume `{letter}` a longer name, or use the long form: `type: volume` with `source: {letter}`"
            ),
            Self::RelativeTarget { .. } => match self.fix() {
                Some(fix) => format!("write `{fix}`"),
                None => "write the path in the container with a slash before it, as in `/data`".to_owned(),
            },
            Self::OptionWithoutSource { option, .. } => match self.fix() {
                Some(fix) => format!("write `{fix}`"),
                None => {
                    format!("write the path in the container between the two, as in `source:/data:{option}`")
                }
            },
        }
    }

    /// The entry as it should be, where that can be told.
    pub fn fix(&self) -> Option<String> {
        match self {
            Self::RelativeTarget { text, target } => {
                let cleaned = crate::path::clean(&format!("/{target}"));
                if cleaned == "/" || cleaned.contains(':') {
                    return None;
                }
                text.strip_suffix(target.as_str())
                    .map(|before| format!("{before}{cleaned}"))
                    .or(Some(cleaned))
            }
            Self::OptionWithoutSource { source_path, option, .. } => {
                source_path.starts_with('/').then(|| format!("{source_path}:{source_path}:{option}"))
            }
            Self::UnknownOption { text, option } => {
                let (before, options) = text.rsplit_once(':')?;
                let meant = SPELLINGS.iter().find(|(written, _)| written == option).map(|(_, meant)| *meant);
                let kept: Vec<&str> = options
                    .split(',')
                    .filter_map(|word| if word == option { meant } else { Some(word) })
                    .collect();
                (meant.is_some() || option.is_empty()).then(|| format!("{before}:{}", kept.join(",")))
            }
            Self::Control(_) | Self::DriveLetter { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_lose_data_is_an_error_in_a_label() {
        for (text, code, fix) in [
            ("data", "relative-target", Some("/data")),
            ("/a:b", "relative-target", Some("/a:/b")),
            ("/x:ro", "option-without-source", Some("/x:/x:ro")),
            ("/x:RO", "option-without-source", Some("/x:/x:ro")),
            ("/a:/b:RO", "unknown-option", Some("/a:/b:ro")),
            ("/a:/b:z,readonly", "unknown-option", Some("/a:/b:z,ro")),
            ("/a:/b:ro,", "unknown-option", Some("/a:/b:ro")),
            ("/a:/b:U", "unknown-option", None),
            ("/a\n:/b", "control-character", None),
            ("v:/y", "drive-letter", None),
            ("a:", "relative-target", None),
        ] {
            let Err(DeclarationError::Complaint(complaint)) = text.parse::<Declaration>() else {
                panic!("{text:?}")
            };
            assert_eq!((complaint.code(), complaint.fix().as_deref()), (code, fix), "{text:?}");
        }
    }

    #[test]
    fn what_is_well_is_taken() {
        for text in ["/data", "/a:/b", "/a:/b:z,cached", "db:/b:nocopy,ro", "./a:/b", "/a:/b:rshared"] {
            assert!(text.parse::<Declaration>().is_ok(), "{text}");
        }
    }
}
