//! One service's way to its patched revision: from what is known to the next thing to learn or to do. Pure, and asked again after each
//! step, so that every change is decided by facts that are as fresh as they can be. Rules: docs/reference.md, "Which services are
//! updated, and when".

use crate::{
    history::{Cause, History, Moved},
    reading::{Reading, Unpatched, Verdict},
    report::{Outcome, timestamp},
    service::{Deployment, Instances, Rollout, Service},
};
use std::time::{Duration, UNIX_EPOCH};

/// What is known of one service.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// As ECS describes it.
    pub service: &'a Service,
    /// Its PRIMARY deployment's revision.
    pub reading: &'a Reading,
    /// What was before.
    pub history: &'a History,
    /// Since the Unix epoch.
    pub now: Duration,
    /// The cluster's instances, once asked for.
    pub instances: Option<Instances>,
    /// The family's latest active revision, once asked for.
    pub latest: Option<&'a Latest>,
}

/// What the family's latest active revision is to a source revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Latest {
    /// The source itself, or one that strips to the same document: a patched copy may follow it.
    SameCode,
    /// A revision that is the patched one already, the latest or one that the service was moved to before.
    Patched(String),
    /// Somebody's other code.
    OtherCode(String),
    /// The family has no active revision.
    Nothing,
}

impl std::fmt::Display for Latest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::SameCode => write!(
                f,
                "the family's latest active revision is the same code: a patched copy may follow it"
            ),
            Self::Patched(arn) => write!(f, "{arn} is its patched copy already"),
            Self::OtherCode(arn) => write!(f, "the family's latest active revision, {arn}, is other code"),
            Self::Nothing => write!(f, "the family has no active revision"),
        }
    }
}

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next<'a> {
    /// Ask why the tasks of this revision's deployment stopped.
    LearnFailure(&'a Moved),
    /// Ask how many instances are ready.
    LearnInstances,
    /// Ask for the family's latest revision.
    LearnLatest(&'a Unpatched),
    /// Register the patched document, and ask again.
    Register(&'a Unpatched),
    /// Move the service to this revision.
    Move(&'a Unpatched, String),
    /// Move the service back to this revision: somebody deployed it, and our move overtook that.
    GiveBack(String),
    /// Nothing, and why.
    Stay(Verdict),
}

/// Decides.
pub fn next<'a>(facts: Facts<'a>) -> Next<'a> {
    let Facts { service, history, .. } = facts;
    if let Some(moved) = history.unnoted_failure(service) {
        return Next::LearnFailure(moved);
    }
    let Some(primary) = service.primary() else {
        return Next::Stay(no_deployment());
    };
    let unpatched = match facts.reading {
        Reading::NothingDeclared => return Next::Stay(Verdict::plain(Outcome::NothingDeclared)),
        Reading::LeftAlone(verdict) | Reading::Refused(verdict) => return Next::Stay(verdict.clone()),
        Reading::Patched { .. } => {
            let moved = history.moved.as_ref().filter(|moved| moved.patched == primary.task_definition);
            let moved = moved.filter(|_| service.not_rolling.is_none());
            return match moved.and_then(|moved| service.overtaken(&moved.from_deployment)) {
                Some(overtaken) => Next::GiveBack(overtaken.task_definition.clone()),
                None => Next::Stay(patched(primary, history)),
            };
        }
        Reading::Unpatched(unpatched) => unpatched,
    };
    if let Some(verdict) = never(service, primary, history) {
        return Next::Stay(verdict);
    }
    if let Some(verdict) = not_now(service, primary, facts) {
        return Next::Stay(verdict);
    }
    if unpatched.needs_share {
        let Some(instances) = facts.instances else { return Next::LearnInstances };
        if let Some(verdict) = too_few(instances, service.needs_ready()) {
            return Next::Stay(verdict);
        }
    }
    let Some(latest) = facts.latest else { return Next::LearnLatest(unpatched) };
    match latest {
        Latest::Patched(arn) => Next::Move(unpatched, arn.clone()),
        Latest::SameCode if unpatched.is_active => Next::Register(unpatched),
        Latest::OtherCode(arn) if unpatched.is_active => Next::Stay(Verdict::because(
            Outcome::Waiting,
            "deploy-under-way",
            format!(
                "the family's latest revision, {arn}, is other code than the service runs: a patched copy of old code would become the latest. A deploy seems to be under way; deploy {arn}, or deregister it"
            ),
        )),
        Latest::SameCode | Latest::OtherCode(_) | Latest::Nothing => Next::Stay(Verdict::refused(
            "inactive-source",
            "its revision was deregistered (INACTIVE), and a patched copy would bring it back as the family's latest: deploy an active revision",
        )),
    }
}

/// Too few instances have the share.
fn too_few(instances: Instances, needs: u32) -> Option<Verdict> {
    let Instances { ready, not_ready } = instances;
    let reason = format!(
        "{ready} instances of the cluster are ready and {not_ready} are not; it needs {needs}, and no fewer ready than not. See `volumes-agent status` on those that are not"
    );
    (!instances.are_enough(needs)).then(|| Verdict::because(Outcome::Waiting, "too-few-ready", reason))
}

/// An EXTERNAL service whose pipeline has made no task set yet.
pub fn no_deployment() -> Verdict {
    let reason = "it has no deployment, no task set and no task definition yet";
    Verdict::because(Outcome::LeftAlone, "no-deployment", reason)
}

fn patched(primary: &Deployment, history: &History) -> Verdict {
    let outcome = Outcome::Patched;
    match primary.rollout {
        Rollout::Failed => {
            let said = history.failed.as_ref().map(|failed| failed.said.as_str()).unwrap_or_default();
            let reason = format!(
                "the deployment {} of it failed, and ECS has no rollback to do: {said}. Deploy again",
                primary.id
            );
            Verdict::because(outcome, "deployment-failed", reason)
        }
        Rollout::InProgress => Verdict::because(
            outcome,
            "deployment-in-progress",
            format!(
                "its deployment {} is in progress: {} of {} tasks run, {} failed",
                primary.id, primary.running, primary.desired, primary.failed
            ),
        ),
        Rollout::Completed | Rollout::Unknown => Verdict::plain(outcome),
    }
}

/// What no waiting mends.
fn never(service: &Service, primary: &Deployment, history: &History) -> Option<Verdict> {
    if let Some(place) = &service.not_on_instances {
        let reason = format!("its tasks run on {place}, which can't bind a path of an instance: use EC2");
        return Some(Verdict::refused("no-instances", reason));
    }
    if let Some(why) = &service.not_rolling {
        let reason =
            format!("{why}, which this agent does not update: run `volumes-agent patch` in the pipeline");
        return Some(Verdict::refused("not-rolling", reason));
    }
    if let Some(dropped) = history.dropped.as_ref().filter(|d| d.source == primary.task_definition) {
        return Some(Verdict::refused("dropped-field", dropped.reason.clone()));
    }
    let failed = history.failed.as_ref().filter(|failed| failed.source == primary.task_definition)?;
    let (Cause::App, false) = (failed.cause, service.is_rolling_back()) else { return None };
    Some(Verdict::refused(
        "deployment-failed",
        format!(
            "its patched revision {} failed at {} ({}), so this one is left alone until another is deployed",
            failed.patched,
            told(failed.at),
            failed.said
        ),
    ))
}

/// What passes.
fn not_now(service: &Service, primary: &Deployment, facts: Facts<'_>) -> Option<Verdict> {
    let waits = |code, reason: String| Some(Verdict::because(Outcome::Waiting, code, reason));
    if service.is_rolling_back() {
        let reason = format!(
            "ECS is rolling back to {} (deployment {}); a new deployment now would stall it",
            primary.task_definition, primary.id
        );
        return waits("rollback-under-way", reason);
    }
    if let Some(failed) = facts.history.failed.as_ref().filter(|f| f.source == primary.task_definition)
        && facts.now < failed.again_at()
    {
        let reason = format!(
            "the share made the deployment of {} fail ({}); it is tried again at {}",
            failed.patched,
            failed.said,
            told(failed.again_at())
        );
        return waits("share-failed-it", reason);
    }
    if let Some((who, until)) = facts.history.yields_until()
        && facts.now < until
    {
        let reason = format!(
            "something puts the unpatched revision {} back each time it is patched, last by deployment {} at {}. This agent yields until {}, or until other code is deployed. See docs/deploy-tools.md",
            who.revision,
            who.deployment,
            told(who.at),
            told(until)
        );
        return Some(Verdict::refused("put-back", reason));
    }
    None
}

fn told(since_epoch: Duration) -> String {
    timestamp(UNIX_EPOCH + since_epoch)
}

#[cfg(test)]
#[path = "rollout_tests.rs"]
mod tests;
