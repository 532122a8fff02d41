//! From the parser's events to the tree.

use super::{
    DEEPEST, MOST_NODES, Node, Place, Step, Value, Yaml, YamlError, merge_key, repair, scalar::Kind,
};
use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, Tag};
use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

/// Reads a file.
pub fn read(file: &Arc<str>, text: &str) -> Yaml {
    let mut yaml = Yaml::default();
    let events = match repair::directives(text) {
        Ok(()) => events(text),
        Err((line, message)) => {
            let place = Place { file: file.clone(), line, column: 1, length: 1 };
            yaml.errors.push(YamlError::Syntax { place, message });
            return yaml;
        }
    };
    match events {
        Ok(events) => build(file, text, text, events, &Shifts::new(), &mut yaml),
        Err(Stop::Syntax(error)) => match repair::repaired(text, &error) {
            Ok((repaired, shifts)) => match self::events(&repaired) {
                Ok(events) => build(file, text, &repaired, events, &shifts, &mut yaml),
                Err(stop) => yaml.errors.push(stop.error(file, text, &shifts)),
            },
            Err((error, shifts)) => yaml.errors.push(Stop::Syntax(error).error(file, text, &shifts)),
        },
        Err(stop) => yaml.errors.push(stop.error(file, text, &Shifts::new())),
    }
    yaml
}

/// How far to the right lines were moved, by line.
pub(super) type Shifts = HashMap<usize, usize>;

fn build(
    file: &Arc<str>,
    text: &str,
    parsed: &str,
    events: Vec<(Event<'_>, Span)>,
    shifts: &Shifts,
    yaml: &mut Yaml,
) {
    let mut builder = Builder {
        file,
        lines: text.split('\n').collect(),
        shifts,
        names: alias_names(parsed, &events),
        anchors: anchors(&events),
        events,
        open: Vec::new(),
        nodes: 0,
        errors: Vec::new(),
    };
    let mut at = 0;
    while let Some((event, _)) = builder.events.get(at) {
        let begins = matches!(event, Event::DocumentStart(_));
        at += 1;
        if !begins {
            continue;
        }
        match builder.node(&mut at, 0) {
            Ok(document) => yaml.documents.push(document),
            Err(error) => {
                builder.errors.push(error);
                break;
            }
        }
    }
    yaml.errors.append(&mut builder.errors);
}

/// Why reading stopped.
enum Stop {
    Syntax(ScanError),
    TooDeep(Span),
    TooMany(Span),
}

impl Stop {
    fn error(self, file: &Arc<str>, text: &str, shifts: &Shifts) -> YamlError {
        match self {
            Self::Syntax(error) if error.info().contains("recursion limit") => {
                let place = place(file, Span::empty(*error.marker()), 1, shifts);
                YamlError::TooDeep { place }
            }
            Self::Syntax(error) => syntax(file, text, &error, shifts),
            Self::TooDeep(span) => YamlError::TooDeep { place: place(file, span, 1, shifts) },
            Self::TooMany(span) => YamlError::TooMany { place: place(file, span, 1, shifts) },
        }
    }
}

/// All events of a file; it ends at the first that has no sense, or where there are too many.
fn events(text: &str) -> Result<Vec<(Event<'_>, Span)>, Stop> {
    let mut parser = Parser::new_from_str(text);
    let mut events = Vec::new();
    let mut depth = 0_usize;
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(Stop::Syntax)?;
        match event {
            Event::SequenceStart(..) | Event::MappingStart(..) => depth += 1,
            Event::SequenceEnd | Event::MappingEnd => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEEPEST {
            return Err(Stop::TooDeep(span));
        }
        // Each list and mapping has an event for its end as well.
        if events.len() > 2 * MOST_NODES {
            return Err(Stop::TooMany(span));
        }
        events.push((event, span));
    }
    Ok(events)
}

fn anchors(events: &[(Event<'_>, Span)]) -> HashMap<usize, usize> {
    let anchored = events.iter().enumerate().filter_map(|(at, (event, _))| match event {
        Event::Scalar(_, _, anchor, _) | Event::SequenceStart(anchor, _) | Event::MappingStart(anchor, _) => {
            (*anchor > 0).then_some((*anchor, at))
        }
        _ => None,
    });
    anchored.collect()
}

/// The parser numbers anchors; their names are in the text only. One pass over it, for lines may be long.
fn alias_names(text: &str, events: &[(Event<'_>, Span)]) -> HashMap<usize, String> {
    let mut names = HashMap::new();
    let mut characters = text.char_indices();
    let mut passed = 0;
    for (at, (event, span)) in events.iter().enumerate() {
        let start = span.start.index();
        if !matches!(event, Event::Alias(_)) || start < passed {
            continue;
        }
        let Some((byte, _)) = characters.nth(start - passed) else { continue };
        passed = start + 1;
        let name =
            text[byte..].trim_start_matches('*').split(|c: char| c.is_whitespace() || ",]}:".contains(c));
        names.insert(at, name.take(1).collect());
    }
    names
}

fn place(file: &Arc<str>, span: Span, length: usize, shifts: &Shifts) -> Place {
    let line = span.start.line().max(1);
    let column = span.start.col().saturating_sub(shifts.get(&line).copied().unwrap_or_default()) + 1;
    Place { file: file.clone(), line, column, length: length.max(1) }
}

/// The parser's words, with those made plain that people meet most.
fn syntax(file: &Arc<str>, text: &str, error: &ScanError, shifts: &Shifts) -> YamlError {
    let place = place(file, Span::empty(*error.marker()), 1, shifts);
    let line = text.split('\n').nth(place.line - 1).unwrap_or_default();
    let message = match error.info() {
        _ if line.trim_start_matches(' ').starts_with('\t') => {
            "the line is indented by a tab; YAML takes spaces only".to_owned()
        }
        info => info.to_owned(),
    };
    YamlError::Syntax { place, message }
}

struct Builder<'a> {
    file: &'a Arc<str>,
    lines: Vec<&'a str>,
    shifts: &'a Shifts,
    events: Vec<(Event<'a>, Span)>,
    /// What each alias is called, by its place in the events.
    names: HashMap<usize, String>,
    /// Where in the events each anchor's node begins.
    anchors: HashMap<usize, usize>,
    /// Anchors whose node is being built.
    open: Vec<usize>,
    nodes: usize,
    errors: Vec<YamlError>,
}

impl Builder<'_> {
    fn node(&mut self, at: &mut usize, depth: usize) -> Result<Node, YamlError> {
        let Some((event, span)) = self.events.get(*at).cloned() else {
            let place = Place::start_of(self.file);
            return Err(YamlError::Syntax { place, message: "it ends too soon".to_owned() });
        };
        *at += 1;
        let here = place(self.file, span, self.length(span), self.shifts);
        self.nodes += 1;
        if self.nodes > MOST_NODES {
            return Err(YamlError::TooMany { place: here });
        }
        if depth > DEEPEST {
            return Err(YamlError::TooDeep { place: here });
        }
        match event {
            Event::Scalar(text, style, _, tag) => {
                Ok(self.scalar(text.into_owned(), style, tag.as_deref(), here))
            }
            Event::SequenceStart(anchor, tag) => {
                self.open.push(anchor);
                let mut items = Vec::new();
                while !matches!(self.events.get(*at), Some((Event::SequenceEnd, _)) | None) {
                    let item = self.node(at, depth + 1)?;
                    self.check_dash(&item);
                    items.push(item);
                }
                *at += 1;
                self.open.pop();
                Ok(Node {
                    place: here,
                    tag: application_tag(tag.as_deref()),
                    origin: None,
                    value: Value::List(items),
                    hides: None,
                })
            }
            Event::MappingStart(anchor, tag) => {
                self.open.push(anchor);
                let mut pairs = Vec::new();
                while !matches!(self.events.get(*at), Some((Event::MappingEnd, _)) | None) {
                    let key = self.node(at, depth + 1)?;
                    pairs.push((key, self.node(at, depth + 1)?));
                }
                *at += 1;
                self.open.pop();
                self.mapping(here, tag.as_deref(), pairs)
            }
            Event::Alias(anchor) => {
                let name = self.names.get(&(*at - 1)).cloned().unwrap_or_default();
                let Some(mut start) =
                    self.anchors.get(&anchor).copied().filter(|_| !self.open.contains(&anchor))
                else {
                    return Err(YamlError::Cycle { place: here, name });
                };
                let mut node = self.node(&mut start, depth)?;
                node.came_by(&Step::Alias(name), &here);
                Ok(node)
            }
            _ => Err(YamlError::Syntax { place: here, message: "a value is missing".to_owned() }),
        }
    }

    fn scalar(&mut self, text: String, style: ScalarStyle, tag: Option<&Tag>, place: Place) -> Node {
        let core = tag.filter(|tag| tag.is_yaml_core_schema()).map(|tag| tag.suffix.as_str());
        let kind = match core {
            None if style == ScalarStyle::Plain => Kind::of(&text),
            None | Some("str" | "binary") => Kind::String,
            Some(tag) => Kind::tagged(&text, tag).unwrap_or_else(|| {
                let (text, tag) = (text.clone(), format!("`!!{tag}`"));
                self.errors.push(YamlError::Tag { place: place.clone(), text, tag });
                Kind::String
            }),
        };
        Node {
            place,
            tag: application_tag(tag),
            origin: None,
            value: Value::Scalar { text, kind, written: None },
            hides: None,
        }
    }

    /// Every key a string and there once; `<<` followed.
    fn mapping(
        &mut self,
        here: Place,
        tag: Option<&Tag>,
        pairs: Vec<(Node, Node)>,
    ) -> Result<Node, YamlError> {
        let mut place = here;
        if let Some((key, _)) = pairs.first()
            && key.place.line == place.line
            && key.place.column == place.column
        {
            place.length = key.place.length;
        }
        let mut seen: HashMap<String, Place> = HashMap::new();
        let mut own = Vec::with_capacity(pairs.len());
        let mut merged = Vec::new();
        for (key, value) in pairs {
            let text = match &key.value {
                Value::Scalar { text, .. } => text.clone(),
                _ => String::new(),
            };
            if merge_key::is_one(&key) {
                merged.push((key.place.clone(), value));
            } else if key.as_text().is_none() {
                let kind = key.kind();
                self.errors.push(YamlError::KeyKind { place: key.place, key: text, kind });
                continue;
            } else {
                own.push((key.clone(), value));
            }
            match seen.entry(text) {
                Entry::Vacant(vacant) => drop(vacant.insert(key.place)),
                Entry::Occupied(first) => {
                    let (key_text, first) = (first.key().clone(), first.get().clone());
                    self.errors.push(YamlError::DuplicateKey { place: key.place, key: key_text, first });
                }
            }
        }
        for (_, value) in merged {
            merge_key::follow(&mut own, value, &mut self.errors);
        }
        let tag = application_tag(tag);
        Ok(Node { place, tag, origin: None, value: Value::Mapping(own), hides: None })
    }

    /// Docker Compose's YAML wants a space after the dash of a list.
    fn check_dash(&mut self, item: &Node) {
        if item.origin.is_some() {
            return;
        }
        // Further right than anything is nested no dash of a block begins.
        if item.place.column > 4 * DEEPEST {
            return;
        }
        let line = self.lines.get(item.place.line - 1).copied().unwrap_or_default();
        let before: String = line.chars().take(item.place.column - 1).collect();
        let gap = before.trim_end_matches([' ', '\t']);
        if gap.ends_with('-') && before[gap.len()..].contains('\t') {
            let message = "a tab follows the dash; YAML takes a space there".to_owned();
            self.errors.push(YamlError::Syntax { place: item.place.clone(), message });
        }
    }

    /// Characters of a span on its first line.
    fn length(&self, span: Span) -> usize {
        if span.start.line() == span.end.line() {
            return span.end.col().saturating_sub(span.start.col());
        }
        let line = self.lines.get(span.start.line().saturating_sub(1)).copied().unwrap_or_default();
        line.trim_end().chars().count().saturating_sub(span.start.col())
    }
}

/// `!reset` and its like; not the tags of YAML itself.
fn application_tag(tag: Option<&Tag>) -> Option<String> {
    tag.filter(|tag| !tag.is_yaml_core_schema()).map(|tag| format!("{}{}", tag.handle, tag.suffix))
}
