//! YAML as a tree whose every node knows where its text stands and how it came there. Aliases and merge keys are followed, within
//! a budget, so that no file can blow up.
//!
//! What plain text means is what Docker Compose takes it for ([`scalar`]).

pub mod advice;
pub mod merge_key;
mod reader;
mod repair;
pub mod scalar;

pub use reader::read;

use scalar::Kind;
use std::sync::Arc;

/// Deepest nesting that is read.
const DEEPEST: usize = 64;
/// Most nodes of a file, with its aliases followed (compose-go visits as many).
const MOST_NODES: usize = 100_000;

/// A place in a file: line and column from 1, the column in characters, and how many characters are meant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file's name, as given.
    pub file: Arc<str>,
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
    /// Characters on this line, at least one.
    pub length: usize,
}

impl Place {
    /// Where a file begins.
    pub fn start_of(file: &Arc<str>) -> Self {
        Self { file: file.clone(), line: 1, column: 1, length: 1 }
    }
}

/// How a text came to stand for something at another place: the last step first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The step.
    pub step: Step,
    /// Where it is asked for.
    pub at: Place,
    /// What came before.
    pub before: Option<Arc<Origin>>,
}

/// A way for a text to get somewhere else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// `*name`.
    Alias(String),
    /// `extends`, of this service.
    Extends(String),
    /// `include`.
    Include,
}

impl Origin {
    /// One more step.
    pub fn after(step: Step, at: Place, before: Option<Arc<Self>>) -> Arc<Self> {
        Arc::new(Self { step, at, before })
    }

    /// All steps, the last first.
    pub fn chain(origin: Option<&Arc<Self>>) -> impl Iterator<Item = &Self> {
        std::iter::successors(origin.map(|origin| &**origin), |origin| origin.before.as_deref())
    }
}

/// A node.
#[derive(Debug, Clone)]
pub struct Node {
    /// Where its text stands.
    pub place: Place,
    /// A tag of the application, such as `!reset`.
    pub tag: Option<String>,
    /// How its text came here from where it stands.
    pub origin: Option<Arc<Origin>>,
    /// What it is.
    pub value: Value,
    /// As the value of a key `volumes`: what a merge key would have brought there.
    pub hides: Option<Box<Node>>,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Text, and what it means.
    Scalar {
        /// The text.
        text: String,
        /// What it means.
        kind: Kind,
        /// The text before its variables were replaced, where that changed it.
        written: Option<Arc<Written>>,
    },
    /// A list.
    List(Vec<Node>),
    /// Keys with values, in order.
    Mapping(Vec<(Node, Node)>),
}

/// A text with variables in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// As it stands in the file.
    pub text: String,
    /// The variables that were looked up.
    pub used: Vec<crate::compose::interpolation::Use>,
}

/// Two nodes are equal if they mean the same, wherever they stand.
impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        match (&self.value, &other.value) {
            (Value::Scalar { text, kind, .. }, Value::Scalar { text: other, kind: other_kind, .. }) => {
                text == other && kind == other_kind
            }
            (Value::List(items), Value::List(others)) => items == others,
            (Value::Mapping(pairs), Value::Mapping(others)) => {
                pairs.len() == others.len()
                    && pairs.iter().all(|(key, value)| others.iter().any(|(k, v)| key == k && value == v))
            }
            _ => false,
        }
    }
}

/// Why a file, or a part of it, can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum YamlError {
    /// Not YAML.
    #[error("this is not YAML: {message}")]
    Syntax {
        /// Where.
        place: Place,
        /// The parser's words.
        message: String,
    },
    /// Nested too deep.
    #[error("this is nested deeper than {DEEPEST} levels")]
    TooDeep {
        /// Where.
        place: Place,
    },
    /// Too many nodes.
    #[error("with its aliases followed, the file has more than {MOST_NODES} values")]
    TooMany {
        /// Where the budget was spent.
        place: Place,
    },
    /// An anchor that is used inside itself.
    #[error("`*{name}` stands inside what it names")]
    Cycle {
        /// Where.
        place: Place,
        /// The anchor.
        name: String,
    },
    /// A key that is there already.
    #[error("the key `{key}` is there already")]
    DuplicateKey {
        /// Where.
        place: Place,
        /// The key.
        key: String,
        /// Where it was first.
        first: Place,
    },
    /// A key that is not a string.
    #[error("{}", match .key.is_empty() { true => "this key is not a string".to_owned(), false => format!("the key `{key}` is {kind}, not a string") })]
    KeyKind {
        /// Where.
        place: Place,
        /// The key.
        key: String,
        /// What it is.
        kind: &'static str,
    },
    /// `<<` with something else than mappings.
    #[error("`<<` takes a mapping or a list of mappings, and this is {kind}")]
    MergeKey {
        /// Where.
        place: Place,
        /// What it is.
        kind: &'static str,
    },
    /// A value that isn't what its tag says.
    #[error("`{text}` is not {tag}")]
    Tag {
        /// Where.
        place: Place,
        /// The text.
        text: String,
        /// The tag.
        tag: String,
    },
}

impl YamlError {
    /// Where it is wrong.
    pub fn place(&self) -> &Place {
        match self {
            Self::Syntax { place, .. }
            | Self::TooDeep { place }
            | Self::TooMany { place }
            | Self::Cycle { place, .. }
            | Self::DuplicateKey { place, .. }
            | Self::KeyKind { place, .. }
            | Self::MergeKey { place, .. }
            | Self::Tag { place, .. } => place,
        }
    }
}

impl Node {
    /// The text of a scalar that is a string.
    pub fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, kind: Kind::String, .. } => Some(text),
            _ => None,
        }
    }

    /// The text of any scalar but null.
    pub fn as_scalar(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, kind, .. } if *kind != Kind::Null => Some(text),
            _ => None,
        }
    }

    /// Whether it is YAML's null.
    pub fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { kind: Kind::Null, .. })
    }

    /// The pairs of a mapping.
    pub fn as_mapping(&self) -> Option<&[(Node, Node)]> {
        match &self.value {
            Value::Mapping(pairs) => Some(pairs),
            _ => None,
        }
    }

    /// A mapping's value of a key.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.as_mapping()?.iter().find(|(found, _)| found.as_text() == Some(key)).map(|(_, value)| value)
    }

    /// What it is, for a message.
    pub fn kind(&self) -> &'static str {
        match &self.value {
            Value::Scalar { kind, .. } => kind.words(),
            Value::List(_) => "a list",
            Value::Mapping(_) => "a mapping",
        }
    }

    /// As JSON, for what is passed on as it is.
    pub fn as_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Scalar { text, kind, .. } => kind.as_json(text),
            Value::List(items) => items.iter().map(Node::as_json).collect(),
            Value::Mapping(pairs) => pairs
                .iter()
                .filter_map(|(key, value)| Some((key.as_scalar()?.to_owned(), value.as_json())))
                .collect::<serde_json::Map<_, _>>()
                .into(),
        }
    }

    /// Adds a step to how this and everything in it came here.
    pub fn came_by(&mut self, step: &Step, at: &Place) {
        self.origin = Some(Origin::after(step.clone(), at.clone(), self.origin.take()));
        match &mut self.value {
            Value::Scalar { .. } => {}
            Value::List(items) => items.iter_mut().for_each(|item| item.came_by(step, at)),
            Value::Mapping(pairs) => pairs.iter_mut().for_each(|(key, value)| {
                key.came_by(step, at);
                value.came_by(step, at);
            }),
        }
    }
}

/// What a file says, and what is wrong with it.
#[derive(Debug, Default)]
pub struct Yaml {
    /// Its documents, as far as they could be read.
    pub documents: Vec<Node>,
    /// What is wrong.
    pub errors: Vec<YamlError>,
}

#[cfg(test)]
#[path = "yaml/tests.rs"]
mod tests;
