//! YAML as a tree whose every node knows its line and column. Aliases stay aliases: nothing is expanded, so no file can blow up.

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span};

/// Deepest nesting that is read.
const DEEPEST: usize = 64;

/// A place in a file, both counted from 1, the column in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Where it begins.
    pub place: Place,
    /// Whether it has a tag, such as `!reset`.
    pub is_tagged: bool,
    /// What it is.
    pub value: Value,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Text; plain text may mean a number, a boolean or null.
    Scalar {
        /// The text.
        text: String,
        /// Whether it was written without quotes.
        is_plain: bool,
    },
    /// A list.
    List(Vec<Node>),
    /// Keys with values, in order, duplicates included.
    Mapping(Vec<(Node, Node)>),
    /// `*name`.
    Alias,
}

/// Why there is no tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum YamlError {
    /// Not YAML.
    #[error("not YAML: {message}")]
    Syntax {
        /// Where.
        place: Place,
        /// The parser's words.
        message: String,
    },
    /// Nested too deep.
    #[error("nested deeper than {DEEPEST} levels")]
    TooDeep {
        /// Where.
        place: Place,
    },
}

impl YamlError {
    /// Where it is wrong.
    pub fn place(&self) -> Place {
        match self {
            Self::Syntax { place, .. } | Self::TooDeep { place } => *place,
        }
    }
}

impl Node {
    /// The text of a scalar that YAML takes for a string.
    pub fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, is_plain } if !is_plain || !is_not_a_string(text) => Some(text),
            _ => None,
        }
    }

    /// Whether it is YAML's null.
    pub fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, is_plain: true } if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// Whether it is YAML's true.
    pub fn is_true(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, .. } if matches!(text.as_str(), "true" | "True" | "TRUE"))
    }

    /// What it is, for a message.
    pub fn kind(&self) -> &'static str {
        match &self.value {
            Value::Scalar { .. } if self.is_null() => "null",
            Value::Scalar { .. } if self.as_text().is_some() => "a string",
            Value::Scalar { .. } => "a number or a boolean",
            Value::List(_) => "a list",
            Value::Mapping(_) => "a mapping",
            Value::Alias => "an alias",
        }
    }
}

/// Null, booleans and numbers of YAML's core schema, written plain.
fn is_not_a_string(text: &str) -> bool {
    matches!(
        text,
        "" | "~" | "null" | "Null" | "NULL" | "true" | "True" | "TRUE" | "false" | "False" | "FALSE"
    ) || (text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.'))
        && text.parse::<f64>().is_ok())
}

/// Reads all documents of a text.
///
/// # Errors
/// [`YamlError`]
pub fn read(text: &str) -> Result<Vec<Node>, YamlError> {
    let mut events = Parser::new_from_str(text);
    let mut documents = Vec::new();
    while let Some(event) = events.next_event() {
        if let (Event::DocumentStart(_), _) = event.map_err(|error| syntax(&error))? {
            let (event, span) = next(&mut events)?;
            documents.push(node(&mut events, event, span, 0)?);
        }
    }
    Ok(documents)
}

type Events<'a> = Parser<'a, saphyr_parser::StrInput<'a>>;

fn place(span: Span) -> Place {
    Place { line: span.start.line(), column: span.start.col() + 1 }
}

fn syntax(error: &ScanError) -> YamlError {
    let place = Place { line: error.marker().line(), column: error.marker().col() + 1 };
    YamlError::Syntax { place, message: error.info().to_owned() }
}

fn next<'a>(events: &mut Events<'a>) -> Result<(Event<'a>, Span), YamlError> {
    match events.next_event() {
        Some(event) => event.map_err(|error| syntax(&error)),
        None => Err(YamlError::Syntax { place: Place::default(), message: "it ends too soon".to_owned() }),
    }
}

fn node<'a>(events: &mut Events<'a>, event: Event<'a>, span: Span, depth: usize) -> Result<Node, YamlError> {
    let place = place(span);
    if depth > DEEPEST {
        return Err(YamlError::TooDeep { place });
    }
    let (value, is_tagged) = match event {
        Event::Scalar(text, style, _, tag) => {
            let is_plain = style == ScalarStyle::Plain;
            (Value::Scalar { text: text.into_owned(), is_plain }, tag.is_some())
        }
        Event::SequenceStart(_, tag) => {
            let mut items = Vec::new();
            loop {
                match next(events)? {
                    (Event::SequenceEnd, _) => break,
                    (event, span) => items.push(node(events, event, span, depth + 1)?),
                }
            }
            (Value::List(items), tag.is_some())
        }
        Event::MappingStart(_, tag) => {
            let mut pairs = Vec::new();
            loop {
                match next(events)? {
                    (Event::MappingEnd, _) => break,
                    (event, span) => {
                        let key = node(events, event, span, depth + 1)?;
                        let (event, span) = next(events)?;
                        pairs.push((key, node(events, event, span, depth + 1)?));
                    }
                }
            }
            (Value::Mapping(pairs), tag.is_some())
        }
        Event::Alias(_) => (Value::Alias, false),
        _ => return Err(YamlError::Syntax { place, message: "a value is missing".to_owned() }),
    };
    Ok(Node { place, is_tagged, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_lines_and_columns_in_characters() {
        let documents = read("a:\n  - \"\u{e4}\": x\n").unwrap();
        let Value::Mapping(root) = &documents[0].value else { panic!() };
        let Value::List(items) = &root[0].1.value else { panic!() };
        let Value::Mapping(pairs) = &items[0].value else { panic!() };
        assert_eq!(pairs[0].1.place, Place { line: 2, column: 10 });
    }

    #[test]
    fn plain_text_may_be_something_else_than_a_string() {
        let documents = read("[a, 1, -1.5, true, ~, '1', /a, null, .]").unwrap();
        let Value::List(items) = &documents[0].value else { panic!() };
        let texts: Vec<_> = items.iter().map(Node::as_text).collect();
        let expected = [Some("a"), None, None, None, None, Some("1"), Some("/a"), None, Some(".")];
        assert_eq!(texts, expected);
    }

    #[test]
    fn what_cannot_be_read_says_where() {
        assert_eq!(read("a: [\n").unwrap_err().place().line, 2);
        let deep = "[".repeat(100);
        assert!(matches!(read(&deep), Err(YamlError::TooDeep { .. })));
    }
}
