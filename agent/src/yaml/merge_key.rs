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
            own.extend(
                pairs.into_iter().filter(|(key, _)| key.as_text().is_some_and(|key| !taken.contains(key))),
            );
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
