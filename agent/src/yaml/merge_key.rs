//! Merge keys: `<<` brings a mapping's pairs into another one, which wins where both have a key.

use super::{Node, Value, YamlError, scalar::Kind};
use std::collections::HashSet;

/// Whether a key is a merge key, and not a quoted `<<`.
pub fn is_one(key: &Node) -> bool {
    matches!(&key.value, Value::Scalar { kind: Kind::Merge, .. })
}

/// Adds what `<<` brings: one mapping, or the mappings of a list, of which earlier ones win. What is tagged `!reset` doesn't count
/// as there.
pub fn follow(own: &mut Vec<(Node, Node)>, value: Node, errors: &mut Vec<YamlError>) {
    match value.value {
        Value::Mapping(pairs) => {
            let is_there = |(_, value): &&(Node, Node)| value.tag.as_deref() != Some("!reset");
            let taken: HashSet<String> =
                own.iter().filter(is_there).filter_map(|(key, _)| key.as_text().map(str::to_owned)).collect();
            for (key, value) in pairs {
                match key.as_text() {
                    Some("volumes") if taken.contains("volumes") => hide(own, value),
                    Some(text) if !taken.contains(text) => own.push((key, value)),
                    _ => {}
                }
            }
        }
        Value::List(items) => {
            for item in items {
                match &item.value {
                    Value::Mapping(_) => follow(own, item, errors),
                    _ => errors.push(YamlError::MergeKey { kind: item.kind(), place: item.place }),
                }
            }
        }
        Value::Scalar { .. } => errors.push(YamlError::MergeKey { kind: value.kind(), place: value.place }),
    }
}

/// Keeps what a mapping's own `volumes` hides of those that it merges: people take the two for added up. What is tagged `!override` was
/// meant so.
fn hide(own: &mut [(Node, Node)], value: Node) {
    let found = own.iter_mut().find(|(key, _)| key.as_text() == Some("volumes"));
    if let Some((_, own)) = found.filter(|(_, own)| own.tag.is_none() && own.hides.is_none()) {
        own.hides = Some(Box::new(value));
    }
}
