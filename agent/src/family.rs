//! A task definition's family, looked at before a patched revision is registered in it: what is its latest to the one that runs?

use crate::{aws::AwsError, ecs::Ecs, patch, reading::Unpatched, rollout::Latest};
use serde_json::Value;

/// What the family's latest active revision tells about `revision`, which is to be patched: that it is the patched one already, the
/// same code, or somebody's newer code. `before`: a revision that the service was moved to before, which need not be the latest any
/// more. `is_same_code` is asked about two documents that differ from what is wanted.
///
/// # Errors
/// [`AwsError`]
pub async fn latest(
    ecs: &Ecs,
    revision: &str,
    unpatched: &Unpatched,
    before: Option<&str>,
    is_same_code: impl Fn(&Value, &Value) -> bool,
) -> Result<Latest, AwsError> {
    for name in before.into_iter().chain([unpatched.family.as_str()]) {
        let answer =
            match ecs.task_definition(name).await {
                Ok(answer) => answer,
                Err(AwsError::Refused { code, .. }) if code == "ClientException" => {
                    if name == unpatched.family { return Ok(Latest::Nothing) } else { continue }
                }
                Err(error) => return Err(error),
            };
        let text = |path: &str| answer.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (arn, status) = (text("/taskDefinition/taskDefinitionArn"), text("/taskDefinition/status"));
        if arn == revision {
            return Ok(Latest::SameCode);
        }
        let Ok(document) = patch::registerable(answer) else {
            return Ok(Latest::OtherCode(arn));
        };
        if status != "INACTIVE" && patch::equivalent(&document, &unpatched.patched.document) {
            return Ok(Latest::Patched(arn));
        }
        if name == unpatched.family {
            let is_same = is_same_code(&document, &unpatched.document);
            return Ok(if is_same { Latest::SameCode } else { Latest::OtherCode(arn) });
        }
    }
    Ok(Latest::Nothing)
}

/// The same once everything of ours is taken off.
pub fn same_stripped(a: &Value, b: &Value) -> bool {
    patch::equivalent(&patch::strip(a), &patch::strip(b))
}

/// The same as their authors registered them: what patching wrote into labels doesn't count either.
pub fn same_source(a: &Value, b: &Value) -> bool {
    match (patch::unpatch(a), patch::unpatch(b)) {
        (Ok(a), Ok(b)) => patch::equivalent(&a, &b),
        _ => same_stripped(a, b),
    }
}
