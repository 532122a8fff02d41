//! What a task definition becomes without this agent: the source, as its author registered it. Pure.

use crate::{
    apply::wanted::WantedError,
    labels::{AGENT, RACK, SOURCE},
    names::Rack,
    patch,
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

/// Of DescribeTaskDefinition's answer. `None`: nothing of ours is in it.
///
/// # Errors
/// Why one that has something of ours keeps it: as [`WantedError`] has it for a file that declares nothing any more.
pub fn leaving(answer: Value, rack: &Rack) -> Result<Option<Leaving>, WantedError> {
    let family = answer.pointer("/taskDefinition/family").and_then(Value::as_str).unwrap_or_default();
    let family = family.to_owned();
    let before = patch::registerable(answer)?;
    let after = patch::unpatch(&before)?;
    if patch::equivalent(&before, &after) {
        return Ok(None);
    }
    let label = |name| patch::first_label(&before, name);
    if label(AGENT).as_deref() == Some("off") {
        return Err(WantedError::Off);
    }
    // Patching refuses a name that is none.
    let named = label(RACK).and_then(|name| name.parse::<Rack>().ok());
    if let Some(other) = named.filter(|other| other != rack) {
        return Err(WantedError::OtherRack(other));
    }
    if patch::is_held(&after) {
        return Err(WantedError::Held);
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

    fn of(document: &Value) -> Result<Option<Leaving>, WantedError> {
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
        assert!(matches!(labelled("convox.volumes.agent", "off"), WantedError::Off));
        assert!(
            matches!(labelled("convox.rack", "other"), WantedError::OtherRack(other) if other.as_str() == "other")
        );
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
        assert!(matches!(error, WantedError::Held) && error.is_about_ours());
    }
}
