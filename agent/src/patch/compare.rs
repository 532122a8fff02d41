//! Whether two task definitions are the same, ECS's habits aside: it writes defaults back, and keeps no order where order means
//! nothing.

use crate::labels::{FINGERPRINT, SOURCE, UNDO};
use serde_json::{Map, Value, json};

/// Lists whose order means nothing.
const UNORDERED: [&str; 15] = [
    "containerDefinitions",
    "volumes",
    "mountPoints",
    "placementConstraints",
    "environment",
    "environmentFiles",
    "secrets",
    "tags",
    "portMappings",
    "requiresCompatibilities",
    "ulimits",
    "dependsOn",
    "systemControls",
    "volumesFrom",
    "tmpfs",
];

/// Values that ECS writes back where nothing was given (botocore's model; terraform-provider-aws#46132).
fn is_default(key: &str, value: &Value) -> bool {
    match (key, value) {
        (_, Value::Null) => true,
        (_, Value::Array(list)) => list.is_empty(),
        ("cpu", value) => *value == json!(0),
        ("essential", value) => *value == json!(true),
        ("readOnly" | "configuredAtLaunch" | "enableFaultInjection", value) => *value == json!(false),
        ("hostPort", value) => *value == json!(0),
        ("protocol", value) => *value == json!("tcp"),
        ("host" | "linuxParameters" | "capabilities", Value::Object(object)) => object.is_empty(),
        _ => false,
    }
}

/// The document in a form that equal ones share: keys sorted, defaults and our notes left out, unordered lists sorted.
pub(super) fn normal(value: &Value) -> Value {
    match value {
        Value::Object(object) => {
            let mut keys: Vec<&String> = object.keys().collect();
            keys.sort();
            let mut normal_object = Map::new();
            for key in keys {
                let value = normal(&object[key]);
                let is_note = [SOURCE, UNDO, FINGERPRINT].contains(&key.as_str());
                if is_note || is_default(key, &value) {
                    continue;
                }
                normal_object.insert(key.clone(), sorted(key, value));
            }
            // In host and awsvpc mode ECS fills the host's port with the container's.
            if normal_object
                .get("hostPort")
                .is_some_and(|port| normal_object.get("containerPort") == Some(port))
            {
                normal_object.shift_remove("hostPort");
            }
            Value::Object(normal_object)
        }
        Value::Array(list) => Value::Array(list.iter().map(normal).collect()),
        other => other.clone(),
    }
}

fn sorted(key: &str, value: Value) -> Value {
    match value {
        Value::Array(mut list) if UNORDERED.contains(&key) => {
            list.sort_by_cached_key(ToString::to_string);
            Value::Array(list)
        }
        other => other,
    }
}

/// Whether both ask for the same, our notes (`source`, `undo`, `fingerprint`) aside.
pub fn equivalent(a: &Value, b: &Value) -> bool {
    normal(a) == normal(b)
}

/// Paths of what was sent and isn't in ECS's answer to RegisterTaskDefinition as it was sent; its defaults may be added.
pub fn dropped_fields(sent: &Value, answer: &Value) -> Vec<String> {
    let Ok(answered) = super::registerable(answer.clone()) else {
        return vec!["taskDefinition".to_owned()];
    };
    let mut dropped = Vec::new();
    compare(&normal(sent), &normal(&answered), "", &mut dropped);
    dropped
}

fn compare(sent: &Value, answered: &Value, path: &str, dropped: &mut Vec<String>) {
    match (sent, answered) {
        (Value::Object(sent), Value::Object(answered)) => {
            for (key, value) in sent {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                match answered.get(key) {
                    Some(answer) => compare(value, answer, &path, dropped),
                    None => dropped.push(path),
                }
            }
        }
        (Value::Array(sent), Value::Array(answered)) => compare_lists(sent, answered, path, dropped),
        (sent, answered) if sent == answered => {}
        _ => dropped.push(path.to_owned()),
    }
}

/// Each entry has one counterpart: one that has all of it, wherever that stands; else what is left of the same name, else of the same
/// place, to say what is missing.
fn compare_lists(sent: &[Value], answered: &[Value], path: &str, dropped: &mut Vec<String>) {
    let mut left: Vec<Option<&Value>> = answered.iter().map(Some).collect();
    let mut incomplete = Vec::new();
    for (index, value) in sent.iter().enumerate() {
        match left.iter_mut().find(|answer| answer.is_some_and(|answer| has_all_of(answer, value))) {
            Some(answer) => *answer = None,
            None => incomplete.push((index, value)),
        }
    }
    for (index, value) in incomplete {
        let path = format!("{path}[{index}]");
        let same_name =
            |answer: &Value| value.get("name").is_some_and(|name| answer.get("name") == Some(name));
        let named = left.iter().position(|answer| answer.is_some_and(same_name));
        let at = named.or_else(|| value.get("name").is_none().then_some(index));
        match at.and_then(|at| left.get_mut(at)).and_then(Option::take) {
            Some(answer) => compare(value, answer, &path, dropped),
            None => dropped.push(path),
        }
    }
}

fn has_all_of(answered: &Value, sent: &Value) -> bool {
    let mut dropped = Vec::new();
    compare(sent, answered, "", &mut dropped);
    dropped.is_empty()
}
