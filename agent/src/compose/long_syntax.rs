//! An entry of `volumes:` in long syntax. Source: compose-spec.json; measured.

use super::block::Block;
use crate::{
    declaration::{Declaration, Kind, Options, Source},
    problem::Problem,
    yaml::{Node, Place, Value},
};

/// Words for `bind.recursive`.
const RECURSIVE: [&str; 4] = ["enabled", "disabled", "writable", "readonly"];

/// Reads a mapping.
pub fn read(node: &Node, problems: &mut Vec<Problem>) -> Option<Declaration> {
    let pairs = node.as_mapping()?;
    let mut block = Block { what: "the entry", code: "long-syntax", problems };
    let Some(kind_node) = node.get("type") else {
        let (reason, help, fix) = without_type(pairs);
        let place = fix.as_ref().map_or_else(|| node.place.clone(), |_| whole(pairs, &node.place));
        let mut problem = Problem::error("long-syntax", reason, help).at(&place).fix(fix);
        problem = problem.came_by(node.origin.as_ref());
        block.problems.push(problem);
        return None;
    };
    let word = block.string("type", kind_node)?;
    let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.word() == word) else {
        let words: Vec<&str> = Kind::ALL.iter().map(|kind| kind.word()).collect();
        block.wrong(
            kind_node,
            format!("`{word}` is not a type of volume"),
            &format!("write one of {}", words.join(", ")),
        );
        return None;
    };
    let mut declaration = Declaration {
        text: flow(node, Form::Written),
        kind,
        source: None,
        target: String::new(),
        read_only: false,
        options: Options::default(),
    };
    let before = block.problems.len();
    let mut has_target = false;
    for (key, value) in pairs {
        let options = &mut declaration.options;
        match key.as_text().unwrap_or_default() {
            "type" => {}
            "source" => {
                declaration.source = block.string("source", value).and_then(|source| as_source(kind, source))
            }
            "target" => {
                has_target = true;
                declaration.target = block.string("target", value).unwrap_or_default();
            }
            "read_only" => declaration.read_only = block.boolean("read_only", value).unwrap_or_default(),
            "consistency" => options.consistency = block.string("consistency", value),
            "bind" => block.mapping("bind", value, |block, path, key, value| {
                match key.as_text().unwrap_or_default() {
                    "propagation" => options.propagation = block.string(path, value),
                    "selinux" => options.selinux = block.one_of(path, value, &["z", "Z"]),
                    "recursive" => options.recursive = block.one_of(path, value, &RECURSIVE),
                    "create_host_path" => options.create_host_path = block.boolean(path, value),
                    _ => block.unknown(path, key),
                }
            }),
            "volume" => block.mapping("volume", value, |block, path, key, value| {
                match key.as_text().unwrap_or_default() {
                    "nocopy" => options.nocopy = block.boolean(path, value).unwrap_or_default(),
                    "subpath" => options.subpath = block.string(path, value),
                    "labels" => options.labels = block.labels(path, value),
                    _ => block.unknown(path, key),
                }
            }),
            "tmpfs" => block.mapping("tmpfs", value, |block, path, key, value| {
                match key.as_text().unwrap_or_default() {
                    "size" => options.tmpfs_size = block.size(path, value),
                    "mode" => options.tmpfs_mode = block.mode(path, value),
                    _ => block.unknown(path, key),
                }
            }),
            "image" => block.mapping("image", value, |block, path, key, value| {
                match key.as_text().unwrap_or_default() {
                    "subpath" => options.image_subpath = block.string(path, value),
                    _ => block.unknown(path, key),
                }
            }),
            "x-volumes" => options.extension = Some(value.as_json()),
            other => block.unknown(other, key),
        }
    }
    if !has_target {
        block.wrong(node, "the entry has no `target`".to_owned(), "add `target:`, the path in the container");
    }
    if kind == Kind::Bind && declaration.source.is_none() && node.get("source").is_none() {
        let help = "add `source:`, or write `type: volume` for a volume of its own";
        block.wrong(node, "a bind has no `source`".to_owned(), help);
    }
    (block.problems.len() == before).then_some(declaration)
}

/// An empty source is none, but for a bind: that is the project's folder.
fn as_source(kind: Kind, source: String) -> Option<Source> {
    match kind {
        Kind::Bind => Some(Source::of_bind(&source)),
        _ if source.is_empty() => None,
        Kind::Volume => Some(Source::Named(source)),
        Kind::Tmpfs | Kind::NamedPipe | Kind::Cluster | Kind::Image => Some(Source::Other(source)),
    }
}

/// From the first key to the end of its value, where that is on the same line.
fn whole(pairs: &[(Node, Node)], start: &Place) -> Place {
    let mut place = start.clone();
    if let Some((_, value)) = pairs.first().filter(|(_, value)| value.place.line == start.line) {
        place.length = (value.place.column + value.place.length).saturating_sub(start.column);
    }
    place
}

/// A mapping that wasn't meant as one: `- /a: /b`.
fn without_type(pairs: &[(Node, Node)]) -> (String, &'static str, Option<String>) {
    if let [(key, value)] = pairs
        && let (Some(key), Some(value)) = (key.as_text(), value.as_scalar())
        && !["source", "target"].contains(&key)
    {
        let reason = format!("`{key}: {value}` is a mapping to YAML, because of the space after the colon");
        return (reason, "remove the space", Some(format!("{key}:{value}")));
    }
    ("the entry has no `type`".to_owned(), "add `type: volume` or `type: bind`", None)
}

/// How a node is written in one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As it stands in the file.
    Written,
    /// With its variables replaced.
    Resolved,
}

/// A node in one line.
pub fn flow(node: &Node, form: Form) -> String {
    let text = |node: &Node| match &node.value {
        Value::Scalar { written: Some(written), .. } if form == Form::Written => written.text.clone(),
        Value::Scalar { text, .. } => text.clone(),
        Value::List(_) | Value::Mapping(_) => String::new(),
    };
    match &node.value {
        Value::Scalar { .. } => text(node),
        Value::List(items) => {
            let items: Vec<String> = items.iter().map(|item| flow(item, form)).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Mapping(pairs) => {
            let pairs: Vec<String> =
                pairs.iter().map(|(key, value)| format!("{}: {}", text(key), flow(value, form))).collect();
            format!("{{{}}}", pairs.join(", "))
        }
    }
}
