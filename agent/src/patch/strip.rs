//! Taking off everything of ours, by name, and giving back what was there before.

use super::{GATE_EXPRESSION, HOLD_EXPRESSION, PREFIX, PatchError, compare, is_expression};
use crate::{
    labelling::Written,
    labels::{FINGERPRINT, GATE, SOURCE, UNDO},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// What giving back needs to know; the label `convox.volumes.undo`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Undo {
    /// What wasn't there: `volumes`, `placementConstraints`, `containerDefinitions/<name>/mountPoints`, `.../linuxParameters`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub absent: Vec<String>,
    /// Where the author's hold was among the constraints.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<usize>,
    /// Labels that patching wrote for the author, by container.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, Vec<String>>,
    /// Paths of memory that patching gave, by container: nothing else tells it from the author's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tmpfs: BTreeMap<String, Vec<String>>,
}

impl Undo {
    /// From a document's labels. `None`: there is no such label.
    fn of(document: &Value) -> Option<Result<Self, serde_json::Error>> {
        super::first_label(document, UNDO).map(|text| serde_json::from_str(&text))
    }

    /// The start of a new one: labels that an earlier patch wrote for the author stay through stripping, so they stay known as
    /// written. The gate's label is decided anew.
    pub(super) fn written_before(document: &Value) -> Self {
        let mut labels = Self::of(document).and_then(Result::ok).unwrap_or_default().labels;
        for written in labels.values_mut() {
            written.retain(|label| label != GATE);
        }
        labels.retain(|_, written| !written.is_empty());
        Self { labels, ..Self::default() }
    }
}

/// Labels that an earlier patch wrote for the author, by container; not the gate's, which is decided anew.
pub fn written_labels(document: &Value) -> Written {
    Undo::written_before(document).labels
}

/// The document without anything of ours; the labels that carry declarations stay. What an unreadable undo label can't tell is
/// left as it is: patching doesn't need it.
#[must_use]
pub fn strip(document: &Value) -> Value {
    let undo = Undo::of(document).and_then(Result::ok).unwrap_or_default();
    stripped(document, &undo)
}

/// The inverse of patching: the source, as its author registered it.
///
/// # Errors
/// [`PatchError::Undo`]
pub fn unpatch(document: &Value) -> Result<Value, PatchError> {
    let undo = Undo::of(document).transpose().map_err(PatchError::Undo)?.unwrap_or_default();
    let mut source = stripped(document, &undo);
    for (container, labels) in &undo.labels {
        let Some(container) = super::container_mut(&mut source, container) else { continue };
        remove_labels(container, labels.iter().map(String::as_str));
        // Labels that were made by patching alone were absent before: ECS makes no difference between that and none.
        if container.get("dockerLabels").and_then(Value::as_object).is_some_and(Map::is_empty) {
            container.shift_remove("dockerLabels");
        }
    }
    Ok(source)
}

fn stripped(document: &Value, undo: &Undo) -> Value {
    let mut document = document.clone();
    let Some(root) = document.as_object_mut() else { return document };
    let is_ours = |value: &Value, key: &str| {
        value.get(key).and_then(Value::as_str).is_some_and(|name| name.starts_with(PREFIX))
    };
    retain(root, "volumes", |volume| !is_ours(volume, "name"));
    retain(root, "containerDefinitions", |container| !is_ours(container, "name"));
    // The first of ours gives its place to the hold; a gate that stands there twice is ours twice.
    retain(root, "placementConstraints", |constraint| !is_expression(constraint, GATE_EXPRESSION));
    if let (Some(at), Some(Value::Array(constraints))) = (undo.hold, root.get_mut("placementConstraints")) {
        let hold = json!({ "type": "memberOf", "expression": HOLD_EXPRESSION });
        constraints.insert(at.min(constraints.len()), hold);
    }
    for key in ["volumes", "placementConstraints"] {
        remove_if_absent(root, key, key, undo);
    }
    if let Some(Value::Array(containers)) = root.get_mut("containerDefinitions") {
        for container in containers.iter_mut().filter_map(Value::as_object_mut) {
            let name = container.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
            retain(container, "mountPoints", |point| !is_ours(point, "sourceVolume"));
            retain(container, "dependsOn", |dependency| !is_ours(dependency, "containerName"));
            for key in ["mountPoints", "dependsOn"] {
                remove_if_absent(container, key, &format!("containerDefinitions/{name}/{key}"), undo);
            }
            take_memory(container, &name, undo);
            remove_labels(container, [SOURCE, UNDO, FINGERPRINT].into_iter());
            if undo.labels.get(&name).is_some_and(|written| written.iter().any(|label| label == GATE)) {
                remove_labels(container, std::iter::once(GATE));
            }
        }
    }
    document
}

/// Takes off the memory that the undo label lists, and what then is empty and wasn't there before.
fn take_memory(container: &mut Map<String, Value>, name: &str, undo: &Undo) {
    let Some(ours) = undo.tmpfs.get(name) else { return };
    let Some(Value::Object(linux)) = container.get_mut("linuxParameters") else { return };
    retain(linux, "tmpfs", |memory| !ours.iter().any(|target| super::is_at(memory, target)));
    let path = format!("containerDefinitions/{name}/linuxParameters");
    remove_if_absent(linux, "tmpfs", &format!("{path}/tmpfs"), undo);
    let is_empty = compare::normal(&Value::Object(linux.clone())) == json!({});
    if is_empty && undo.absent.contains(&path) {
        container.shift_remove("linuxParameters");
    }
}

fn retain(object: &mut Map<String, Value>, key: &str, keep: impl Fn(&Value) -> bool) {
    if let Some(Value::Array(list)) = object.get_mut(key) {
        list.retain(keep);
    }
}

fn remove_if_absent(object: &mut Map<String, Value>, key: &str, path: &str, undo: &Undo) {
    let is_empty = object.get(key).and_then(Value::as_array).is_some_and(Vec::is_empty);
    if is_empty && undo.absent.iter().any(|absent| absent == path) {
        object.shift_remove(key);
    }
}

fn remove_labels<'a>(container: &mut Map<String, Value>, names: impl Iterator<Item = &'a str>) {
    if let Some(Value::Object(labels)) = container.get_mut("dockerLabels") {
        for name in names {
            labels.shift_remove(name);
        }
    }
}
