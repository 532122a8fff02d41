//! What stands before the operations, in this order: faults of a test, token buckets, the service model, the caller's policy.
//!
//! Pure: says what is to be answered and how late; [`super::server`] does it.

use super::{
    ApiError, Check, Config,
    buckets::Buckets,
    faults::{Faults, Kind, drop_field},
    policy::{self, Policies},
    state::{Call, State, UNSIGNED},
};
use serde_json::Value;
use std::time::Duration;

/// When an answer is sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum When {
    Now,
    After(Duration),
    Never,
}

/// What a call is answered.
#[derive(Debug)]
pub(super) struct Reply {
    /// HTTP.
    pub(super) status: u16,
    pub(super) body: String,
    pub(super) error: Option<&'static str>,
    /// The fault that came between, if one did.
    pub(super) fault: Option<&'static str>,
    pub(super) when: When,
}

impl Reply {
    pub(super) fn refused(error: &ApiError) -> Self {
        Self {
            status: error.status(),
            body: error.body().to_string(),
            error: Some(error.code()),
            fault: None,
            when: When::Now,
        }
    }
}

/// The lab's ECS with all that stands before it.
#[derive(Debug)]
pub(super) struct Front {
    pub(super) state: State,
    pub(super) faults: Faults,
    pub(super) buckets: Buckets,
    pub(super) policies: Policies,
    pub(super) check: Check,
    throttles: bool,
}

impl Front {
    pub(super) fn new(config: Config, seed: u64, now: Duration) -> Self {
        Self {
            faults: Faults::default(),
            buckets: Buckets::new(now),
            policies: config.policies.clone(),
            check: config.check.clone(),
            throttles: config.throttles,
            state: State::new(config, seed),
        }
    }

    /// Answers one call; what it makes the scheduler do comes with the next [`State::step`].
    pub(super) fn answer(&mut self, operation: &str, request: &Value, call: &Call) -> Reply {
        let fault = self.faults.take(operation, &call.access_key, call.now);
        let applied = fault.as_ref().is_none_or(Kind::is_applied);
        let result = match &fault {
            Some(Kind::Throttle) => Err(ApiError::Throttling),
            _ if !applied => Ok(Value::Null),
            Some(Kind::DropField { path }) => self.admitted(operation, request, call, Some(path)),
            _ => self.admitted(operation, request, call, None),
        };
        let result = match &fault {
            Some(Kind::ServerError { .. }) => Err(ApiError::Server),
            _ => result,
        };
        let (status, mut body) = match &result {
            Ok(answer) => (200, answer.to_string()),
            Err(error) => (error.status(), error.body().to_string()),
        };
        let mut when = When::Now;
        match &fault {
            Some(Kind::Garbled { .. }) => {
                let half = body.chars().count() / 2;
                body = if applied { body.chars().take(half).collect() } else { "{\"".to_owned() };
            }
            Some(Kind::Timeout { seconds, .. }) => {
                when = seconds.map_or(When::Never, |s| When::After(Duration::from_secs_f64(s.max(0.0))));
                if !applied {
                    let fault = fault.as_ref().map(Kind::name);
                    return Reply { fault, when, ..Reply::refused(&ApiError::Server) };
                }
            }
            _ => {}
        }
        Reply {
            status,
            body,
            error: result.err().map(|error| error.code()),
            fault: fault.as_ref().map(Kind::name),
            when,
        }
    }

    fn admitted(
        &mut self,
        operation: &str,
        request: &Value,
        call: &Call,
        dropped: Option<&str>,
    ) -> Result<Value, ApiError> {
        let counts = self.throttles && call.access_key != UNSIGNED;
        if counts && !self.buckets.take(operation, call.now) {
            return Err(ApiError::Throttling);
        }
        if let Check::Model(model) = &self.check {
            model.check(operation, request)?;
        }
        policy::check(&self.policies, &self.state, operation, request, call)?;
        match dropped {
            Some(path) => {
                let mut request = request.clone();
                drop_field(&mut request, path);
                self.state.handle(operation, &request, call)
            }
            None => self.state.handle(operation, request, call),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{faults::Fault, model, testing::document};
    use super::*;
    use serde_json::json;

    const NOW: Duration = Duration::from_secs(1_000);

    fn front(change: impl FnOnce(&mut Config)) -> Front {
        let mut config = Config::unchecked();
        change(&mut config);
        Front::new(config, 1, NOW)
    }

    fn ask(front: &mut Front, operation: &str, request: &Value) -> Reply {
        front.answer(operation, request, &Call { now: NOW, access_key: "K".to_owned() })
    }

    fn register(front: &mut Front) -> Reply {
        ask(front, "RegisterTaskDefinition", &document())
    }

    fn revisions(front: &Front) -> usize {
        front.state.dump(NOW)["taskDefinitions"].as_array().unwrap().len()
    }

    #[test]
    fn each_fault_answers_as_it_says_and_changes_only_what_it_says() {
        let fault =
            |kind: &str, applied: bool| json!({ "operation": "*", "fault": kind, "applied": applied });
        for (fault, status, error, when, revisions_after) in [
            (
                json!({ "operation": "*", "fault": "throttle" }),
                400,
                Some("ThrottlingException"),
                When::Now,
                0,
            ),
            (fault("server-error", false), 500, Some("ServerException"), When::Now, 0),
            (fault("server-error", true), 500, Some("ServerException"), When::Now, 1),
            (fault("garbled", false), 200, None, When::Now, 0),
            (fault("garbled", true), 200, None, When::Now, 1),
            (fault("timeout", false), 500, Some("ServerException"), When::Never, 0),
            (fault("timeout", true), 200, None, When::Never, 1),
            (
                json!({ "operation": "*", "fault": "timeout", "seconds": 9, "applied": true }),
                200,
                None,
                When::After(Duration::from_secs(9)),
                1,
            ),
        ] {
            let mut front = front(|_| {});
            front.faults.add(serde_json::from_value::<Fault>(fault.clone()).unwrap(), NOW);
            let reply = register(&mut front);
            assert_eq!((reply.status, reply.error, reply.when), (status, error, when), "{fault}");
            assert_eq!(reply.fault, fault["fault"].as_str(), "{fault}");
            assert_eq!(revisions(&front), revisions_after, "{fault}");
            let is_json = serde_json::from_str::<Value>(&reply.body).is_ok();
            assert_eq!(is_json, fault["fault"] != "garbled", "{fault}: {}", reply.body);
        }
    }

    #[test]
    fn a_dropped_field_is_accepted_and_not_kept() {
        let mut front = front(|_| {});
        let fault = json!({
            "operation": "RegisterTaskDefinition", "fault": "drop-field", "path": "containerDefinitions.0.hostname", "count": 1,
        });
        front.faults.add(serde_json::from_value(fault).unwrap(), NOW);
        let mut document = document();
        document["containerDefinitions"][0]["hostname"] = json!("h");
        for expected in [Value::Null, json!("h")] {
            let reply = ask(&mut front, "RegisterTaskDefinition", &document);
            assert_eq!(reply.status, 200);
            let answer: Value = serde_json::from_str(&reply.body).unwrap();
            assert_eq!(answer["taskDefinition"]["containerDefinitions"][0]["hostname"], expected);
        }
    }

    #[test]
    fn a_burst_of_registrations_is_throttled_as_documented_unless_it_is_off() {
        for (throttles, passed) in [(true, 20), (false, 30)] {
            let mut front = front(|config| config.throttles = throttles);
            let replies: Vec<Reply> = (0..30).map(|_| register(&mut front)).collect();
            assert_eq!(replies.iter().filter(|reply| reply.status == 200).count(), passed);
            if throttles {
                let refused: Value = serde_json::from_str(&replies[29].body).unwrap();
                assert_eq!(refused, json!({ "__type": "ThrottlingException", "message": "Rate exceeded" }));
                assert_eq!(replies[29].status, 400);
            }
            let unsigned = Call { now: NOW, access_key: UNSIGNED.to_owned() };
            assert_eq!(front.answer("RegisterTaskDefinition", &document(), &unsigned).status, 200);
        }
    }

    #[test]
    fn the_model_and_the_policy_are_asked_before_anything_is_done() {
        let mut front = front(|config| {
            config.check = Check::Model(Box::new(model::tests::small()));
            config.policies.insert("K".to_owned(), vec![]);
        });
        assert_eq!(
            register(&mut front).error,
            Some("SerializationException"),
            "the small model has no image"
        );
        let reply = ask(&mut front, "RegisterTaskDefinition", &json!({ "family": "f" }));
        assert_eq!(reply.error, Some("AccessDeniedException"));
        assert_eq!(revisions(&front), 0);
    }
}
