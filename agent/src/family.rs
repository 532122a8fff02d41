//! A task definition's family, looked at before a patched revision is registered in it: what is its latest to the one that runs?

use crate::{aws::AwsError, ecs::Ecs, labels::SOURCE, patch, rollout::Latest};
use serde_json::Value;

/// A revision's document, and what it becomes.
#[derive(Debug, Clone, Copy)]
pub struct Versions<'a> {
    /// As its author wrote it.
    pub source: &'a Value,
    /// Patched.
    pub patched: &'a Value,
}

/// How many of a family's latest revisions are looked at, where the latest is other code.
const LOOKED_AT: usize = 5;

/// What the latest active revision of `family` tells about `revision`, which is to be patched: that it is the patched one already, the
/// same code, or somebody's newer code. `before`: a revision that the service was moved to before, which need not be the latest any
/// more. `is_same_code` is asked about two documents that differ from what is wanted.
///
/// Where the latest is other code, those before it are looked at as well: one of them may be the patched copy that was registered and not
/// used. And patched copies of older code count for nothing: one that was registered in the very moment in which an author registered newer
/// code must not keep that from being patched.
///
/// # Errors
/// [`AwsError`]
pub async fn latest(
    ecs: &Ecs,
    revision: &str,
    family: &str,
    versions: Versions<'_>,
    before: Option<&str>,
    is_same_code: impl Fn(&Value, &Value) -> bool,
) -> Result<Latest, AwsError> {
    if let Some(before) = before
        && let Some(found) = described(ecs, before).await?
        && found.is_active
        && found.is(versions.patched)
    {
        return Ok(Latest::Patched(found.arn));
    }
    let Some(latest) = described(ecs, family).await? else { return Ok(Latest::Nothing) };
    let is_same = |found: &Found| {
        found.arn == revision
            || found.document.as_ref().is_some_and(|document| is_same_code(document, versions.source))
    };
    if latest.is(versions.patched) {
        return Ok(Latest::Patched(latest.arn));
    }
    if is_same(&latest) {
        return Ok(Latest::SameCode);
    }
    let mut other_code =
        (!latest.is_copy_of_older_code(ecs, revision, &is_same_code).await?).then(|| latest.arn.clone());
    for arn in ecs.latest_revisions(family, LOOKED_AT).await? {
        if arn == latest.arn {
            continue;
        }
        let Some(found) = described(ecs, &arn).await? else { continue };
        if found.is(versions.patched) {
            return Ok(Latest::Patched(found.arn));
        }
        if other_code.is_some() {
            continue;
        }
        if is_same(&found) {
            return Ok(Latest::SameCode);
        }
        if !found.is_copy_of_older_code(ecs, revision, &is_same_code).await? {
            other_code = Some(found.arn);
        }
    }
    Ok(Latest::OtherCode(other_code.unwrap_or(latest.arn)))
}

/// A revision, as ECS describes it.
struct Found {
    arn: String,
    is_active: bool,
    /// None where it can't be read as a task definition.
    document: Option<Value>,
}

/// `None`: there is no such revision, or the family has no active one.
async fn described(ecs: &Ecs, name: &str) -> Result<Option<Found>, AwsError> {
    let answer = match ecs.task_definition(name).await {
        Ok(answer) => answer,
        Err(AwsError::Refused { code, .. }) if code == "ClientException" => return Ok(None),
        Err(error) => return Err(error),
    };
    let text = |path: &str| answer.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
    Ok(Some(Found {
        arn: text("/taskDefinition/taskDefinitionArn"),
        is_active: text("/taskDefinition/status") != "INACTIVE",
        document: patch::registerable(answer).ok(),
    }))
}

impl Found {
    fn is(&self, patched: &Value) -> bool {
        self.document.as_ref().is_some_and(|document| patch::equivalent(document, patched))
    }

    /// Whether it is nothing but a patched copy of a revision that is older than `revision`: by its label, which is compared, since whoever
    /// builds new code on a patched revision has the label in it.
    async fn is_copy_of_older_code(
        &self,
        ecs: &Ecs,
        revision: &str,
        is_same_code: impl Fn(&Value, &Value) -> bool,
    ) -> Result<bool, AwsError> {
        let Some(document) = &self.document else { return Ok(false) };
        let Some(source) = patch::first_label(document, SOURCE) else { return Ok(false) };
        let (Some(older), Some(newer)) = (number(&source, revision), number(revision, revision)) else {
            return Ok(false);
        };
        if older >= newer {
            return Ok(false);
        }
        let source = described(ecs, &source).await?.and_then(|found| found.document);
        Ok(source.is_some_and(|source| is_same_code(document, &source)))
    }
}

/// The number of a revision of the family that `of` is one of.
fn number(arn: &str, of: &str) -> Option<u64> {
    let (family, number) = arn.rsplit_once(':')?;
    (of.rsplit_once(':')?.0 == family).then(|| number.parse().ok())?
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
