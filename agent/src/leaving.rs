//! What a task definition becomes without this agent: the source, as its author registered it. Pure.

use crate::{
    labels::{AGENT, RACK, SOURCE},
    names::Rack,
    patch::{self, PatchError},
};
use serde_json::Value;

/// A task definition that has something of ours.
#[derive(Debug, Clone, PartialEq)]
pub struct Leaving {
    /// Ready to register, as it is.
    pub before: Value,
    /// Ready to register, without anything of ours.
    pub after: Value,
    /// Its family.
    pub family: String,
    /// The revision that it was made from, where it says so.
    pub source: Option<String>,
}

/// Why one that has something of ours keeps it.
#[derive(Debug, thiserror::Error)]
pub enum StaysError {
    /// It can't be undone.
    #[error(transparent)]
    Patch(#[from] PatchError),
    /// Without volumes nothing takes the hold off.
    #[error(
        "without volumes it has its source's constraint `attribute:convox.volumes.hold exists` again, which is never true: none of its tasks could be placed"
    )]
    Held,
    /// Its author says: hands off.
    #[error("its label `convox.volumes.agent` is `off`")]
    Off,
    /// It is another rack's.
    #[error("it is rack `{0}`'s by its label `convox.rack`")]
    OtherRack(String),
}

impl StaysError {
    /// The code, stable for ever.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Patch(error) => error.code(),
            Self::Held => "held",
            Self::Off => "agent-off",
            Self::OtherRack(_) => "other-rack",
        }
    }

    /// What to do next; nothing, where it is right that it stays.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Patch(error) => Some(error.help()),
            Self::Held => Some("deploy the task definition without that constraint".to_owned()),
            Self::Off | Self::OtherRack(_) => None,
        }
    }
}

/// Of DescribeTaskDefinition's answer. `None`: nothing of ours is in it.
///
/// # Errors
/// [`StaysError`]
pub fn leaving(answer: Value, rack: &Rack) -> Result<Option<Leaving>, StaysError> {
    let family = answer.pointer("/taskDefinition/family").and_then(Value::as_str).unwrap_or_default();
    let family = family.to_owned();
    let before = patch::registerable(answer)?;
    let after = patch::unpatch(&before)?;
    if patch::equivalent(&before, &after) {
        return Ok(None);
    }
    let label = |name| patch::first_label(&before, name);
    if label(AGENT).as_deref() == Some("off") {
        return Err(StaysError::Off);
    }
    if let Some(other) = label(RACK).filter(|other| other != rack.as_str()) {
        return Err(StaysError::OtherRack(other));
    }
    if patch::is_held(&after) {
        return Err(StaysError::Held);
    }
    let source = label(SOURCE).filter(|source| source.starts_with("arn:"));
    Ok(Some(Leaving { before, after, family, source }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::patch::{Outcome, PatchSettings, patch};
    use serde_json::json;

    fn source() -> Value {
        json!({
            "family": "f",
            "containerDefinitions": [{
                "name": "web", "image": "i",
                "dockerLabels": { "convox.app": "a", "convox.volumes": "[\"/data\"]" },
            }],
        })
    }

    fn patched(document: &Value, source: &str) -> Value {
        let settings = PatchSettings {
            rack: &"r".parse().unwrap(),
            gate: true,
            source: source.to_owned(),
            host_paths: &[],
            fills: true,
        };
        match patch(document, &settings).unwrap() {
            Outcome::Patched(patched) => patched.document,
            other => panic!("{other:?}"),
        }
    }

    fn of(document: &Value) -> Result<Option<Leaving>, StaysError> {
        leaving(json!({ "taskDefinition": document, "tags": [] }), &"r".parse().unwrap())
    }

    #[test]
    fn it_becomes_what_its_author_registered() {
        let left = of(&patched(&source(), "arn:f:41")).unwrap().unwrap();
        assert_eq!((left.after, left.source.as_deref()), (source(), Some("arn:f:41")));
        assert_eq!(left.family, "f");
        // A pipeline's document was never registered without its volumes.
        assert_eq!(of(&patched(&source(), "pipeline")).unwrap().unwrap().source, None);
        assert_eq!(of(&source()).unwrap(), None, "labels alone are its author's");
    }

    #[test]
    fn what_is_not_ours_to_undo_stays() {
        let labelled = |label: &str, value: &str| {
            let mut document = patched(&source(), "arn:f:41");
            document["containerDefinitions"][0]["dockerLabels"][label] = json!(value);
            of(&document).unwrap_err()
        };
        assert!(matches!(labelled("convox.volumes.agent", "off"), StaysError::Off));
        assert!(matches!(labelled("convox.rack", "other"), StaysError::OtherRack(other) if other == "other"));
        assert!(
            of(&{
                let mut document = patched(&source(), "arn:f:41");
                document["containerDefinitions"][0]["dockerLabels"]["convox.rack"] = json!("r");
                document
            })
            .is_ok()
        );
        let mut held = source();
        held["placementConstraints"] =
            json!([{ "type": "memberOf", "expression": "attribute:convox.volumes.hold exists" }]);
        let error = of(&patched(&held, "arn:f:41")).unwrap_err();
        assert!(matches!(error, StaysError::Held) && error.help().is_some());
    }
}
