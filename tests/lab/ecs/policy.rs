//! Who may do what: identity-based IAM policies by access key, as far as the agent's rights need them. Allow statements only.
//!
//! Which resource an action is checked on: service authorization reference, "Actions, resources, and condition keys for Amazon ECS".

use super::{
    ApiError,
    input::Input,
    state::{Call, State},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// One thing that is allowed. Both patterns may have `*` and `?`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Allow {
    /// Such as `ecs:Describe*`, `iam:PassRole`.
    pub action: String,
    /// An ARN; any without it.
    #[serde(default = "any")]
    pub resource: String,
}

fn any() -> String {
    "*".to_owned()
}

/// What each access key is allowed. One that isn't in it may do everything.
pub type Policies = BTreeMap<String, Vec<Allow>>;

/// Whether `pattern` is all of `text`, with `*` for any run of characters and `?` for any one.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => (0..=text.len()).any(|skip| matches(rest, &text[skip..])),
        (Some((p, rest)), Some((t, after))) if *p == b'?' || p == t => matches(rest, after),
        _ => false,
    }
}

fn allows(allow: &Allow, action: &str, resource: &str) -> bool {
    let lower = |text: &str| text.to_ascii_lowercase();
    matches(lower(&allow.action).as_bytes(), lower(action).as_bytes())
        && matches(allow.resource.as_bytes(), resource.as_bytes())
}

/// Refuses a call that the caller's policy doesn't allow, in IAM's words.
///
/// # Errors
/// [`ApiError::AccessDenied`].
pub(super) fn check(
    policies: &Policies,
    state: &State,
    operation: &str,
    request: &Value,
    call: &Call,
) -> Result<(), ApiError> {
    let Some(allowed) = policies.get(&call.access_key) else { return Ok(()) };
    for (action, resource) in needed(state, operation, Input::new(request)?)? {
        if !allowed.iter().any(|allow| allows(allow, &action, &resource)) {
            return Err(ApiError::AccessDenied(format!(
                "User: {} is not authorized to perform: {action} on resource: {resource} because no identity-based policy allows the {action} action",
                state.caller(call)
            )));
        }
    }
    Ok(())
}

/// Actions and resources that a call needs.
fn needed(state: &State, operation: &str, request: Input) -> Result<Vec<(String, String)>, ApiError> {
    let cluster = request.text("cluster")?.unwrap_or("default");
    let cluster = cluster.rsplit('/').next().unwrap_or(cluster);
    let full = |kind: &str, name: &str| {
        if name.starts_with("arn:") {
            name.to_owned()
        } else {
            state.arn(&format!("{kind}/{cluster}/{name}"))
        }
    };
    let action = format!("ecs:{operation}");
    let on = |resources: Vec<String>| resources.into_iter().map(|r| (action.clone(), r)).collect::<Vec<_>>();
    let named =
        |kind: &str, key: &str| Ok(on(request.text(key)?.map(|name| full(kind, name)).into_iter().collect()));
    let listed = |kind: &str, key: &str| {
        Ok(on(request.texts(key)?.into_iter().map(|name| full(kind, name)).collect()))
    };
    match operation {
        "CreateService" => named("service", "serviceName"),
        "UpdateService" | "DeleteService" | "CreateTaskSet" => named("service", "service"),
        "DescribeServices" => listed("service", "services"),
        "StopTask" => named("task", "task"),
        "DescribeTasks" => listed("task", "tasks"),
        "DescribeContainerInstances" | "UpdateContainerInstancesState" => {
            listed("container-instance", "containerInstances")
        }
        "PutAttributes" | "DeleteAttributes" => {
            let targets =
                request.objects("attributes")?.into_iter().map(|attribute| attribute.required("targetId"));
            Ok(on(targets.map(|id| id.map(|id| full("container-instance", id))).collect::<Result<_, _>>()?))
        }
        "ListAttributes" | "ListContainerInstances" | "RegisterContainerInstance" => {
            Ok(on(vec![state.arn(&format!("cluster/{cluster}"))]))
        }
        "RegisterTaskDefinition" => {
            let arn =
                state.arn(&format!("task-definition/{}:*", request.text("family")?.unwrap_or_default()));
            let mut needed = on(vec![arn.clone()]);
            if !request.list("tags")?.is_empty() {
                needed.push(("ecs:TagResource".to_owned(), arn));
            }
            needed.extend(passed(state, request)?);
            Ok(needed)
        }
        "RunTask" => {
            let Some(definition) = request.text("taskDefinition")?.and_then(|name| state.definition(name))
            else {
                return Ok(on(vec!["*".to_owned()]));
            };
            let mut needed = on(vec![definition.arn.clone()]);
            let document = Value::Object(definition.document.clone());
            needed.extend(passed(state, Input::new(&document)?)?);
            Ok(needed)
        }
        _ => Ok(on(vec!["*".to_owned()])),
    }
}

/// The roles of a task definition, which its registrar passes on.
fn passed(state: &State, document: Input) -> Result<Vec<(String, String)>, ApiError> {
    let mut roles = Vec::new();
    for key in ["taskRoleArn", "executionRoleArn"] {
        if let Some(role) = document.text(key)? {
            let arn = if role.starts_with("arn:") { role.to_owned() } else { state.role_arn(role) };
            roles.push(("iam:PassRole".to_owned(), arn));
        }
    }
    Ok(roles)
}

#[cfg(test)]
mod tests {
    use super::super::testing::Lab;
    use super::*;
    use serde_json::json;

    #[test]
    fn patterns_match_as_iam_has_them() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("ecs:Describe*", "ecs:DescribeServices", true),
            ("ecs:Describe*", "ecs:ListServices", false),
            ("arn:*:service/*/web", "arn:aws:ecs:r:1:service/default/web", true),
            ("arn:*:service/*/web", "arn:aws:ecs:r:1:service/default/web2", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }

    fn ask(allow: Value, operation: &str, request: Value) -> Result<(), ApiError> {
        let mut lab = Lab::new(0);
        lab.define(|d| d["taskRoleArn"] = json!("app"));
        let policies = Policies::from([("K".to_owned(), serde_json::from_value(allow).unwrap())]);
        let call = Call { now: lab.now, access_key: "K".to_owned() };
        check(&policies, &lab.state, operation, &request, &call)
    }

    #[test]
    fn what_no_policy_allows_is_denied_in_iams_words() {
        let service = json!({ "service": "web", "taskDefinition": "web" });
        let allow = json!([{ "action": "ecs:Describe*" }]);
        let denied = ask(allow, "UpdateService", service.clone()).unwrap_err();
        assert_eq!(denied.code(), "AccessDeniedException");
        assert_eq!(
            denied.to_string(),
            "User: arn:aws:sts::123456789012:assumed-role/lab/K is not authorized to perform: ecs:UpdateService on resource: arn:aws:ecs:us-east-1:123456789012:service/default/web because no identity-based policy allows the ecs:UpdateService action"
        );
        let allow =
            json!([{ "action": "ecs:UpdateService", "resource": "arn:aws:ecs:*:*:service/default/w*" }]);
        assert_eq!(ask(allow.clone(), "UpdateService", service), Ok(()));
        assert!(ask(allow, "UpdateService", json!({ "service": "x" })).is_err());
        assert!(ask(json!([]), "ListServices", json!({})).is_err(), "an empty list allows nothing");
    }

    #[test]
    fn whoever_registers_or_runs_passes_the_roles_on() {
        let document = json!({
            "family": "f", "taskRoleArn": "arn:aws:iam::123456789012:role/app", "executionRoleArn": "exec",
        });
        let pass = |role: &str| json!({ "action": "iam:PassRole", "resource": format!("arn:aws:iam::123456789012:role/{role}") });
        let register = json!({ "action": "ecs:RegisterTaskDefinition" });
        for (allow, expected) in [
            (
                json!([register, pass("app")]),
                Err("iam:PassRole on resource: arn:aws:iam::123456789012:role/exec"),
            ),
            (json!([register]), Err("iam:PassRole on resource: arn:aws:iam::123456789012:role/app")),
            (json!([pass("*")]), Err("ecs:RegisterTaskDefinition")),
            (json!([register, pass("*")]), Ok(())),
        ] {
            match (ask(allow.clone(), "RegisterTaskDefinition", document.clone()), expected) {
                (Ok(()), Ok(())) => {}
                (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
                (other, _) => panic!("{allow}: {other:?}"),
            }
        }
        let run = json!({ "taskDefinition": "web" });
        assert!(ask(json!([{ "action": "ecs:RunTask" }]), "RunTask", run.clone()).is_err());
        let resolved =
            json!([{ "action": "ecs:RunTask", "resource": "*:task-definition/web:1" }, pass("app")]);
        assert_eq!(ask(resolved, "RunTask", run), Ok(()), "authorised on the resolved revision");
    }

    #[test]
    fn tags_at_registration_need_their_own_action() {
        let document = json!({ "family": "f", "tags": [{ "key": "k", "value": "v" }] });
        let error =
            ask(json!([{ "action": "ecs:Register*" }]), "RegisterTaskDefinition", document).unwrap_err();
        assert!(error.to_string().contains("ecs:TagResource"), "{error}");
    }

    #[test]
    fn a_caller_without_a_policy_may_do_everything() {
        let lab = Lab::new(0);
        let call = Call { now: lab.now, access_key: "OTHER".to_owned() };
        let policies = Policies::from([("K".to_owned(), vec![])]);
        assert_eq!(check(&policies, &lab.state, "UpdateService", &json!({ "service": "w" }), &call), Ok(()));
    }
}
