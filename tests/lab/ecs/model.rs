//! The service model that botocore ships (`ecs/2014-11-13/service-2.json.gz`): what a request may have, and is refused for.
//!
//! AWS's own clients refuse members that the model hasn't; so does the lab's ECS, by name, lest a slip go unseen. Members that a test
//! adds count as known: that is how an ECS newer than everybody's SDK is played.

use super::ApiError;
use crate::{error::Error, host};
use flate2::read::GzDecoder;
use serde_json::{Map, Value};
use std::{
    collections::BTreeSet,
    fmt,
    fs::{self, File},
    io::Read,
    path::Path,
};

/// The model, and what was added to it.
#[derive(Clone)]
pub struct Model {
    document: Value,
    /// `Operation` and path of the member, `containerDefinitions[].futureField`.
    added: BTreeSet<(String, String)>,
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model").field("added", &self.added).finish_non_exhaustive()
    }
}

impl Model {
    /// The model in a Python environment that has botocore, as moto's has.
    ///
    /// # Errors
    /// [`Error::Missing`] when there is none, [`Error::File`] when it can't be read.
    pub fn of_environment(environment: &Path) -> Result<Self, Error> {
        let missing = || Error::Missing {
            what: format!("botocore's ecs/2014-11-13/service-2.json.gz below {}", environment.display()),
            help: "moto brings it; remove the environment, so that it is made anew".to_owned(),
        };
        let lib = environment.join("lib");
        let pythons = fs::read_dir(&lib).map_err(host::failed("read", &lib))?;
        let inside = "site-packages/botocore/data/ecs/2014-11-13/service-2.json.gz";
        let path = pythons
            .flatten()
            .map(|python| python.path().join(inside))
            .find(|path| path.exists())
            .ok_or_else(missing)?;
        let mut text = String::new();
        let file = File::open(&path).map_err(host::failed("read", &path))?;
        GzDecoder::new(file).read_to_string(&mut text).map_err(host::failed("read", &path))?;
        let document = serde_json::from_str(&text)
            .map_err(|error| host::failed("read", &path)(std::io::Error::from(error)))?;
        Ok(Self::new(document))
    }

    /// A model by its document.
    pub fn new(document: Value) -> Self {
        Self { document, added: BTreeSet::new() }
    }

    /// Makes a member known, and whatever is below it: `path` is `futureTopLevel` or `containerDefinitions[].futureField`.
    pub fn add(&mut self, operation: &str, path: &str) {
        self.added.insert((operation.to_owned(), path.to_owned()));
    }

    /// Takes back all that was added.
    pub fn forget_added(&mut self) {
        self.added.clear();
    }

    /// The shape of that name; null when there is none.
    pub(super) fn shape(&self, name: &str) -> &Value {
        &self.document["shapes"][name]
    }

    /// The name of the shape of an operation's request.
    pub(super) fn input(&self, operation: &str) -> Option<&str> {
        self.document["operations"][operation]["input"]["shape"].as_str()
    }

    /// The same for an answer of the lab's own, so that it tells nothing that ECS doesn't.
    ///
    /// # Errors
    /// As [`Model::check`].
    pub fn check_answer(&self, operation: &str, answer: &Value) -> Result<(), ApiError> {
        let shape = self.document["operations"][operation]["output"]["shape"]
            .as_str()
            .ok_or_else(|| ApiError::UnknownOperation(operation.to_owned()))?;
        Check { model: self, operation }.value(shape, answer, "", "")
    }

    /// Refuses what the model doesn't allow: unknown members, wrong types, values that are no member of an enum, missing required
    /// members, lengths and numbers out of bounds. Null counts as absent.
    ///
    /// # Errors
    /// [`ApiError::Serialization`] for members and types, [`ApiError::InvalidParameter`] for values.
    pub fn check(&self, operation: &str, request: &Value) -> Result<(), ApiError> {
        let shape = self.input(operation).ok_or_else(|| ApiError::UnknownOperation(operation.to_owned()))?;
        Check { model: self, operation }.value(shape, request, "", "")
    }
}

struct Check<'a> {
    model: &'a Model,
    operation: &'a str,
}

/// A value that isn't allowed, in the words of AWS's services.
fn constraint(value: &Value, at: &str, rule: &str) -> ApiError {
    ApiError::InvalidParameter(format!(
        "1 validation error detected: Value {value} at '{at}' failed to satisfy constraint: {rule}"
    ))
}

impl Check<'_> {
    /// `at` has the positions (`containerDefinitions[0].name`), for people; `path` hasn't (`containerDefinitions[].name`).
    fn value(&self, shape: &str, value: &Value, at: &str, path: &str) -> Result<(), ApiError> {
        let shape = self.model.shape(shape);
        let kind = shape["type"].as_str().unwrap_or_default();
        let wrong = || {
            let here = if at.is_empty() { "the request" } else { at };
            Err(ApiError::Serialization(format!("{here}: {value} can not be converted to {kind}")))
        };
        match (kind, value) {
            ("structure", Value::Object(fields)) => self.structure(shape, fields, at, path),
            ("list", Value::Array(items)) => {
                self.bounds(shape, items.len() as f64, "length", value, at)?;
                let item = shape["member"]["shape"].as_str().unwrap_or_default();
                items.iter().enumerate().try_for_each(|(n, one)| {
                    self.value(item, one, &format!("{at}[{n}]"), &format!("{path}[]"))
                })
            }
            ("map", Value::Object(fields)) => {
                let of = |what: &str| shape[what]["shape"].as_str().unwrap_or_default().to_owned();
                fields.iter().try_for_each(|(key, one)| {
                    self.value(&of("key"), &Value::from(key.as_str()), at, path)?;
                    self.value(&of("value"), one, &format!("{at}.{key}"), &format!("{path}.*"))
                })
            }
            ("string", Value::String(text)) => {
                if let Some(known) = shape["enum"].as_array()
                    && !known.contains(value)
                {
                    let known: Vec<&str> = known.iter().filter_map(Value::as_str).collect();
                    let rule = format!("Member must satisfy enum value set: [{}]", known.join(", "));
                    return Err(constraint(value, at, &rule));
                }
                self.bounds(shape, text.chars().count() as f64, "length", value, at)
            }
            ("integer" | "long", Value::Number(number)) => match number.as_i64() {
                Some(whole) => self.bounds(shape, whole as f64, "value", value, at),
                None => wrong(),
            },
            ("double" | "float", Value::Number(number)) => {
                self.bounds(shape, number.as_f64().unwrap_or_default(), "value", value, at)
            }
            ("boolean", Value::Bool(_)) | ("timestamp", Value::Number(_)) | ("blob", Value::String(_)) => {
                Ok(())
            }
            _ => wrong(),
        }
    }

    fn structure(
        &self,
        shape: &Value,
        fields: &Map<String, Value>,
        at: &str,
        path: &str,
    ) -> Result<(), ApiError> {
        let join =
            |base: &str, key: &str| if base.is_empty() { key.to_owned() } else { format!("{base}.{key}") };
        for key in shape["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if fields.get(key).is_none_or(Value::is_null) {
                return Err(constraint(&Value::Null, &join(at, key), "Member must not be null"));
            }
        }
        for (key, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
            let path = join(path, key);
            match shape["members"][key]["shape"].as_str() {
                Some(member) => self.value(member, value, &join(at, key), &path)?,
                None if self.model.added.contains(&(self.operation.to_owned(), path.clone())) => {}
                None => {
                    let known: Vec<&String> =
                        shape["members"].as_object().into_iter().flat_map(Map::keys).collect();
                    return Err(ApiError::Serialization(format!(
                        "Unknown parameter in {}: \"{}\", must be one of: {known:?}. Neither the service model nor the lab has it.",
                        self.operation,
                        join(at, key),
                    )));
                }
            }
        }
        Ok(())
    }

    fn bounds(&self, shape: &Value, size: f64, what: &str, value: &Value, at: &str) -> Result<(), ApiError> {
        for (bound, out) in [
            ("min", shape["min"].as_f64().is_some_and(|min| size < min)),
            ("max", shape["max"].as_f64().is_some_and(|max| size > max)),
        ] {
            if out {
                let relation = if bound == "min" { "greater" } else { "less" };
                let rule = format!("Member must have {what} {relation} than or equal to {}", shape[bound]);
                return Err(constraint(value, at, &rule));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use serde_json::json;

    /// A model small enough to be read.
    pub(in super::super) fn small() -> Model {
        let member = |shape: &str| json!({ "shape": shape });
        Model::new(json!({
            "operations": { "RegisterTaskDefinition": { "input": { "shape": "Register" } } },
            "shapes": {
                "Register": {
                    "type": "structure", "required": ["family"],
                    "members": {
                        "family": member("String"), "containerDefinitions": member("Containers"),
                        "mode": member("Mode"), "tags": member("Tags"),
                    },
                },
                "Containers": { "type": "list", "member": member("Container") },
                "Container": {
                    "type": "structure",
                    "members": {
                        "name": member("String"), "cpu": member("Integer"), "percent": member("Percent"),
                        "labels": member("Map"), "essential": member("Boolean"),
                    },
                },
                "Map": { "type": "map", "key": member("String"), "value": member("String") },
                "Tags": { "type": "list", "member": member("Key"), "max": 2 },
                "Key": { "type": "string", "min": 1, "max": 3 },
                "Mode": { "type": "string", "enum": ["bridge", "host"] },
                "Percent": { "type": "integer", "min": 1, "max": 100 },
                "String": { "type": "string" }, "Integer": { "type": "integer" }, "Boolean": { "type": "boolean" },
            },
        }))
    }

    #[test]
    fn what_the_model_does_not_allow_is_refused_by_name() {
        let container =
            |field: Value| json!({ "family": "f", "containerDefinitions": [{ "name": "a" }, field] });
        let with = |key: &str, value: Value| {
            let mut request = json!({ "family": "f" });
            request[key] = value;
            request
        };
        for (request, code, part) in [
            (
                json!({}),
                "InvalidParameterException",
                "at 'family' failed to satisfy constraint: Member must not be null",
            ),
            (json!({ "family": null }), "InvalidParameterException", "at 'family'"),
            (json!("x"), "SerializationException", "the request"),
            (with("famly", json!(1)), "SerializationException", "\"famly\""),
            (
                container(json!({ "newer": true })),
                "SerializationException",
                "\"containerDefinitions[1].newer\"",
            ),
            (container(json!({ "cpu": "1" })), "SerializationException", "containerDefinitions[1].cpu"),
            (container(json!({ "cpu": 1.5 })), "SerializationException", "containerDefinitions[1].cpu"),
            (container(json!({ "essential": "true" })), "SerializationException", "essential"),
            (container(json!({ "labels": { "k": 1 } })), "SerializationException", "labels.k"),
            (container(json!({ "labels": [] })), "SerializationException", "labels"),
            (container(json!({ "percent": 0 })), "InvalidParameterException", "greater than or equal to 1"),
            (container(json!({ "percent": 101 })), "InvalidParameterException", "less than or equal to 100"),
            (with("mode", json!("x")), "InvalidParameterException", "enum value set: [bridge, host]"),
            (with("tags", json!(["a", "b", "c"])), "InvalidParameterException", "less than or equal to 2"),
            (with("tags", json!([""])), "InvalidParameterException", "tags[0]"),
        ] {
            let refused = small().check("RegisterTaskDefinition", &request).expect_err(part);
            assert_eq!(refused.code(), code, "{request}: {refused}");
            assert!(refused.to_string().contains(part), "{part}: {refused}");
        }
        assert_eq!(
            small().check("Nothing", &json!({})),
            Err(ApiError::UnknownOperation("Nothing".to_owned()))
        );
    }

    #[test]
    fn what_the_model_allows_passes_and_null_counts_as_absent() {
        let request = json!({
            "family": "f", "mode": "host", "tags": ["a"],
            "containerDefinitions": [{ "name": "a", "cpu": null, "percent": 100, "labels": { "k": "v" }, "essential": true }],
        });
        assert_eq!(small().check("RegisterTaskDefinition", &request), Ok(()));
    }

    #[test]
    fn an_added_member_counts_as_known_with_all_below_it() {
        let request =
            json!({ "family": "f", "containerDefinitions": [{ "future": { "deep": [1] } }], "top": 1 });
        let mut model = small();
        let check =
            |model: &Model| model.check("RegisterTaskDefinition", &request).map_err(|e| e.to_string());
        assert!(check(&model).is_err());
        model.add("RegisterTaskDefinition", "containerDefinitions[].future");
        assert!(check(&model).unwrap_err().contains("\"top\""));
        model.add("RegisterTaskDefinition", "top");
        assert_eq!(check(&model), Ok(()));
        model.forget_added();
        assert!(check(&model).is_err());
    }
}
