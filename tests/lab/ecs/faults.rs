//! Faults that a test puts between its caller and ECS.

use serde::Deserialize;
use serde_json::{Map, Value};
use std::time::Duration;

/// What `POST /lab/faults` takes: one fault for calls of one operation (or `*`), for so many calls or so long, else until DELETE.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "Map<String, Value>")]
pub struct Fault {
    /// For which calls.
    pub scope: Scope,
    /// What happens, in the same object: `{"operation": ..., "fault": ...}`.
    pub kind: Kind,
}

/// Which calls a fault is for.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Scope {
    /// The operation's name, or `*`.
    pub operation: String,
    /// For so many calls.
    pub count: Option<u64>,
    /// For so many seconds from now.
    pub for_seconds: Option<f64>,
    /// Only for calls with this access key.
    pub access_key: Option<String>,
}

impl TryFrom<Map<String, Value>> for Fault {
    type Error = serde_json::Error;

    fn try_from(mut object: Map<String, Value>) -> Result<Self, Self::Error> {
        let mut scope = Map::new();
        for key in ["operation", "count", "for_seconds", "access_key"] {
            scope.extend(object.shift_remove(key).map(|value| (key.to_owned(), value)));
        }
        // What is left is the kind's, which knows each of its fields.
        Ok(Self {
            scope: serde_json::from_value(scope.into())?,
            kind: serde_json::from_value(object.into())?,
        })
    }
}

/// What happens to a call. `applied`: whether ECS does what was asked before the answer is lost.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "fault", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Kind {
    /// 400 `ThrottlingException` "Rate exceeded".
    Throttle,
    /// 500 `ServerException`.
    ServerError {
        /// See [`Kind`].
        #[serde(default)]
        applied: bool,
    },
    /// The answer comes late, or never.
    Timeout {
        /// After so many seconds; never without it.
        #[serde(default)]
        seconds: Option<f64>,
        /// See [`Kind`].
        #[serde(default)]
        applied: bool,
    },
    /// 200 with half an answer.
    Garbled {
        /// See [`Kind`].
        #[serde(default)]
        applied: bool,
    },
    /// The field at `path` of the request is silently not kept: `containerDefinitions.0.futureField`, with `*` for every item.
    DropField {
        /// Keys and positions, with dots between.
        path: String,
    },
}

impl Kind {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Throttle => "throttle",
            Self::ServerError { .. } => "server-error",
            Self::Timeout { .. } => "timeout",
            Self::Garbled { .. } => "garbled",
            Self::DropField { .. } => "drop-field",
        }
    }

    /// Whether ECS does what was asked.
    pub(super) fn is_applied(&self) -> bool {
        match self {
            Self::Throttle => false,
            Self::ServerError { applied } | Self::Garbled { applied } | Self::Timeout { applied, .. } => {
                *applied
            }
            Self::DropField { .. } => true,
        }
    }
}

/// The faults that are set, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<(Fault, Option<Duration>)>);

impl Faults {
    pub(super) fn add(&mut self, fault: Fault, now: Duration) {
        let until = fault.scope.for_seconds.map(|seconds| now + Duration::from_secs_f64(seconds.max(0.0)));
        self.0.push((fault, until));
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// The first that is set for the call; it is used up by that.
    pub(super) fn take(&mut self, operation: &str, access_key: &str, now: Duration) -> Option<Kind> {
        self.0.retain(|(fault, until)| fault.scope.count != Some(0) && until.is_none_or(|until| now < until));
        let (fault, _) = self.0.iter_mut().find(|(fault, _)| {
            (fault.scope.operation == "*" || fault.scope.operation == operation)
                && fault.scope.access_key.as_ref().is_none_or(|key| key == access_key)
        })?;
        fault.scope.count = fault.scope.count.map(|count| count - 1);
        Some(fault.kind.clone())
    }
}

/// Takes what `path` names out of a request.
pub(super) fn drop_field(request: &mut Value, path: &str) {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let Some(rest) = rest else {
        match request {
            Value::Object(fields) => drop(fields.shift_remove(first)),
            Value::Array(items) if first == "*" => items.clear(),
            Value::Array(items) => {
                if let Some(at) = first.parse().ok().filter(|at| *at < items.len()) {
                    items.remove(at);
                }
            }
            _ => {}
        }
        return;
    };
    match request {
        Value::Object(fields) => {
            if let Some(next) = fields.get_mut(first) {
                drop_field(next, rest);
            }
        }
        Value::Array(items) if first == "*" => items.iter_mut().for_each(|item| drop_field(item, rest)),
        Value::Array(items) => {
            if let Some(next) = first.parse::<usize>().ok().and_then(|at| items.get_mut(at)) {
                drop_field(next, rest);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fault(value: Value) -> Fault {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_fault_ends_after_its_calls_or_its_time_and_is_for_its_operation_and_caller() {
        let at = Duration::from_secs;
        let mut faults = Faults::default();
        faults.add(fault(json!({ "operation": "A", "count": 2, "fault": "throttle" })), at(0));
        faults.add(fault(json!({ "operation": "*", "for_seconds": 5, "fault": "garbled" })), at(0));
        faults.add(fault(json!({ "operation": "B", "access_key": "K", "fault": "server-error" })), at(0));
        let mut name = |operation, key, now| faults.take(operation, key, at(now)).map(|kind| kind.name());
        assert_eq!(name("A", "X", 1), Some("throttle"));
        assert_eq!(name("A", "X", 1), Some("throttle"));
        assert_eq!(name("A", "X", 1), Some("garbled"));
        assert_eq!(name("A", "X", 5), None);
        assert_eq!(name("B", "X", 6), None);
        assert_eq!(name("B", "K", 1_000), Some("server-error"));
        faults.clear();
        assert_eq!(faults.take("B", "K", at(1)), None);
    }

    #[test]
    fn what_is_no_fault_is_refused() {
        for wrong in [
            json!({ "operation": "A", "fault": "thottle" }),
            json!({ "operation": "A" }),
            json!({ "fault": "throttle" }),
            json!({ "operation": "A", "fault": "timeout", "secnds": 1 }),
            json!({ "operation": "A", "fault": "drop-field" }),
        ] {
            assert!(serde_json::from_value::<Fault>(wrong.clone()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_dropped_field_is_gone_and_nothing_else() {
        for (path, expected) in [
            ("a", json!({ "c": [{ "x": 1, "y": 2 }, { "x": 3 }] })),
            ("c.0.x", json!({ "a": 1, "c": [{ "y": 2 }, { "x": 3 }] })),
            ("c.*.x", json!({ "a": 1, "c": [{ "y": 2 }, {}] })),
            ("c.0", json!({ "a": 1, "c": [{ "x": 3 }] })),
            ("nothing.0.x", json!({ "a": 1, "c": [{ "x": 1, "y": 2 }, { "x": 3 }] })),
        ] {
            let mut request = json!({ "a": 1, "c": [{ "x": 1, "y": 2 }, { "x": 3 }] });
            drop_field(&mut request, path);
            assert_eq!(request, expected, "{path}");
        }
    }
}
