//! Docker labels of a task definition's containers, and the declarations in them.
//!
//! Deploy tools write docker labels easily; environment variables could be overridden by the app, and are not trusted. What
//! others wrote is untrusted input: it is bounded by ECS (64 KiB a task definition) and by serde_json's depth limit.

use crate::{
    compose::service,
    declaration::{Declaration, complaint::DeclarationError},
    names::{App, NameError, Rack, ServiceName},
    yaml,
};
use serde_json::{Map, Value};
use std::sync::Arc;

/// The app. Required with [`VOLUMES`]; no default.
pub const APP: &str = "convox.app";
/// The service. Default: the container's name.
pub const SERVICE: &str = "convox.service";
/// The rack. Default: the agent's.
pub const RACK: &str = "convox.rack";
/// The declarations: a JSON array of short-syntax strings and long-syntax objects.
pub const VOLUMES: &str = "convox.volumes";
/// `off`: hands off this task definition.
pub const AGENT: &str = "convox.volumes.agent";
/// `off`: no placement constraint.
pub const GATE: &str = "convox.volumes.gate";
/// Ours: the revision that a patched one came from, or `pipeline`.
pub const SOURCE: &str = "convox.volumes.source";
/// Ours: what `unpatch` needs.
pub const UNDO: &str = "convox.volumes.undo";
/// Ours: a hash for people and logs; computed anew, never believed.
pub const FINGERPRINT: &str = "convox.volumes.fingerprint";

/// What one container declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerDeclarations {
    /// The container's name.
    pub container: String,
    /// The app.
    pub app: App,
    /// The service.
    pub service: ServiceName,
    /// The rack, where the label names one.
    pub rack: Option<Rack>,
    /// The entries.
    pub declarations: Vec<Declaration>,
    /// Whether the agent is told to keep its hands off.
    pub agent_off: bool,
    /// Whether there is to be no placement constraint.
    pub gate_off: bool,
}

/// Why labels can't be read.
#[derive(Debug, thiserror::Error)]
pub enum LabelError {
    /// Not a JSON array.
    #[error("label `{VOLUMES}` of container `{container}` is not a JSON array of volumes")]
    Malformed {
        /// The container.
        container: String,
        /// The parser's words.
        source: serde_json::Error,
    },
    /// An entry that is neither a string nor an object that says what it mounts.
    #[error("label `{VOLUMES}` of container `{container}`: entry {index}, `{entry}`: {reason}")]
    LongSyntax {
        /// The container.
        container: String,
        /// Counted from 1.
        index: usize,
        /// The entry.
        entry: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An entry that can't be taken apart.
    #[error("label `{VOLUMES}` of container `{container}`: entry {index}")]
    Declaration {
        /// The container.
        container: String,
        /// Counted from 1.
        index: usize,
        /// What is wrong with it.
        source: DeclarationError,
    },
    /// No app.
    #[error("container `{container}` has the label `{VOLUMES}` but not `{APP}`")]
    NoApp {
        /// The container.
        container: String,
    },
    /// A name that is none.
    #[error("label `{label}` of container `{container}`")]
    Name {
        /// The container.
        container: String,
        /// The label.
        label: &'static str,
        /// What is wrong with it.
        source: NameError,
    },
    /// A value that isn't known.
    #[error("label `{label}` of container `{container}` is `{value}`; only `off` is known")]
    Switch {
        /// The container.
        container: String,
        /// The label.
        label: &'static str,
        /// The value.
        value: String,
    },
}

impl LabelError {
    /// What to do next.
    pub fn help(&self) -> String {
        match self {
            Self::Malformed { .. } | Self::LongSyntax { .. } => {
                "write it as in `[\"/data\", \"/logs:/var/log\"]`".to_owned()
            }
            Self::Declaration { source, .. } => source.help(),
            Self::NoApp { .. } => format!("add the label `{APP}` with the app's name"),
            Self::Name { .. } => "use a name that fits into a path".to_owned(),
            Self::Switch { label, .. } => format!("write `off`, or remove `{label}`"),
        }
    }
}

/// Reads the declarations of every container that has some.
///
/// # Errors
/// The first label that can't be read.
pub fn read(task_definition: &Value) -> Result<Vec<ContainerDeclarations>, LabelError> {
    let containers = task_definition.get("containerDefinitions").and_then(Value::as_array);
    let declaring = containers.into_iter().flatten().filter_map(|container| {
        let labels = container.get("dockerLabels")?.as_object()?;
        let volumes = labels.get(VOLUMES)?.as_str()?;
        let name = container.get("name").and_then(Value::as_str).unwrap_or_default();
        Some(container_declarations(name, labels, volumes))
    });
    declaring.collect()
}

fn container_declarations(
    container: &str,
    labels: &Map<String, Value>,
    volumes: &str,
) -> Result<ContainerDeclarations, LabelError> {
    let label = |label: &str| labels.get(label).and_then(Value::as_str);
    let own = || container.to_owned();
    let named = |label| move |source| LabelError::Name { container: own(), label, source };
    let is_off = |name: &'static str| match label(name) {
        None => Ok(false),
        Some("off") => Ok(true),
        Some(value) => Err(LabelError::Switch { container: own(), label: name, value: value.to_owned() }),
    };
    let entries: Vec<Value> =
        serde_json::from_str(volumes).map_err(|source| LabelError::Malformed { container: own(), source })?;
    let mut declarations = Vec::new();
    for (index, entry) in (1..).zip(&entries) {
        let declaration = match entry {
            Value::String(text) => {
                text.parse().map_err(|source| LabelError::Declaration { container: own(), index, source })?
            }
            entry => long_syntax(entry).map_err(|reason| LabelError::LongSyntax {
                container: own(),
                index,
                entry: entry.to_string(),
                reason,
            })?,
        };
        declarations.push(declaration);
    }
    Ok(ContainerDeclarations {
        container: own(),
        app: label(APP).ok_or_else(|| LabelError::NoApp { container: own() })?.parse().map_err(named(APP))?,
        service: label(SERVICE).unwrap_or(container).parse().map_err(named(SERVICE))?,
        rack: label(RACK).map(str::parse).transpose().map_err(named(RACK))?,
        declarations,
        agent_off: is_off(AGENT)?,
        gate_off: is_off(GATE)?,
    })
}

/// An object, read as it would be in a compose file.
fn long_syntax(entry: &Value) -> Result<Declaration, String> {
    if !entry.is_object() {
        return Err("only strings and objects are understood".to_owned());
    }
    let text = entry.to_string();
    let yaml = yaml::read(&Arc::from(VOLUMES), &text);
    let [node] = yaml.documents.as_slice() else {
        return Err(yaml.errors.first().map(ToString::to_string).unwrap_or_default());
    };
    let mut declaration = service::declaration_of_label(node)
        .map_err(|problems| problems.first().map(|problem| problem.reason.clone()).unwrap_or_default())?;
    declaration.text = text;
    Ok(declaration)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn with(labels: Value) -> Value {
        json!({ "containerDefinitions": [{ "name": "web", "dockerLabels": labels }, { "name": "side" }] })
    }

    #[test]
    fn declarations_are_read_with_their_app_and_the_container_as_service() {
        let read =
            read(&with(json!({ APP: "blog", VOLUMES: "[\"/data\", \"db:/var/db:ro\"]", GATE: "off" })));
        let [web] = <[_; 1]>::try_from(read.unwrap()).unwrap();
        assert_eq!((web.app.as_str(), web.service.as_str(), web.rack), ("blog", "web", None));
        assert_eq!(web.declarations.len(), 2);
        assert!(web.gate_off && !web.agent_off);
    }

    #[test]
    fn no_label_is_no_declaration() {
        assert_eq!(read(&with(json!({ APP: "blog" }))).unwrap(), []);
        assert_eq!(read(&json!({})).unwrap(), []);
    }

    #[test]
    fn what_cannot_be_read_is_named_with_its_container() {
        for (labels, message) in [
            (json!({ VOLUMES: "[]" }), "container `web` has the label `convox.volumes` but not `convox.app`"),
            (
                json!({ APP: "a", VOLUMES: "1" }),
                "label `convox.volumes` of container `web` is not a JSON array of volumes: invalid type: integer `1`, expected a sequence at line 1 column 1",
            ),
            (
                json!({ APP: "a", VOLUMES: "[\"/a\", {}]" }),
                "label `convox.volumes` of container `web`: entry 2, `{}`: the entry has no `type`",
            ),
            (
                json!({ APP: "a", VOLUMES: "[\"/a:/b:RO\"]" }),
                "label `convox.volumes` of container `web`: entry 1: `RO` in `/a:/b:RO` is not an option of a volume",
            ),
            (
                json!({ APP: "a/b", VOLUMES: "[]" }),
                "label `convox.app` of container `web`: app `a/b` has `/` in it; letters, digits, `_` and `-` are allowed, and a letter or digit comes first",
            ),
            (
                json!({ APP: "a", VOLUMES: "[]", AGENT: "no" }),
                "label `convox.volumes.agent` of container `web` is `no`; only `off` is known",
            ),
        ] {
            let error = read(&with(labels)).unwrap_err();
            assert_eq!(crate::diagnostics::in_one_line(&error), message);
        }
    }
}
