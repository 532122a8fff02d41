//! What would be done to each service that has something of ours: asked of ECS, nothing is changed.

use super::Looked;
use crate::{
    apply::wanted::WantedError,
    commands::moving::Cluster,
    family::{self, Versions},
    leaving::leaving,
    names::Rack,
    rollout::Latest,
    service::{Event, Service, short_name},
};
use serde_json::Value;

/// A service, and what is to be done.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) service: Service,
    /// What ECS told of it so far.
    pub(super) events: Vec<Event>,
    pub(super) step: Step,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    /// Register the document, and move the service to it.
    Register(Value),
    /// Move the service to this revision.
    MoveTo(String),
    /// Nothing.
    Stays(Why),
}

/// Why a service keeps what it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Why {
    pub(super) code: &'static str,
    /// With what to do.
    pub(super) reason: String,
    /// Whether it is right so.
    pub(super) is_wanted: bool,
}

impl Step {
    pub(super) fn is_pending(&self) -> bool {
        !matches!(self, Self::Stays(_))
    }

    fn refused(code: &'static str, reason: String) -> Self {
        Self::Stays(Why { code, reason, is_wanted: false })
    }
}

impl Found {
    pub(super) fn is_refused(&self) -> bool {
        matches!(&self.step, Step::Stays(why) if !why.is_wanted)
    }
}

/// Looks at every service of the cluster. Those that have nothing of ours are left out.
pub(super) async fn at_all(cluster: Cluster<'_>, rack: &Rack, except: &[String]) -> Looked<Vec<Found>> {
    let mut all = Vec::new();
    for service in cluster.ecs.services(cluster.name).await? {
        let Some(mut step) = step(cluster, rack, &service).await? else { continue };
        if except.iter().any(|name| short_name(name) == service.name) {
            let reason = "named by --except".to_owned();
            step = Step::Stays(Why { code: "excepted", reason, is_wanted: true });
        }
        let events = match step.is_pending() {
            true => cluster.ecs.service_with_events(cluster.name, &service.arn).await?,
            false => None,
        };
        let events = events.map(|(_, events)| events).unwrap_or_default();
        all.push(Found { service, events, step });
    }
    all.sort_by(|a, b| a.service.name.cmp(&b.service.name));
    Ok(all)
}

/// What is to be done with one. `None`: it has nothing of ours.
pub(super) async fn step(cluster: Cluster<'_>, rack: &Rack, service: &Service) -> Looked<Option<Step>> {
    let (revision, _) = service.runs();
    if revision.is_empty() {
        return Ok(None);
    }
    let left = match leaving(cluster.ecs.task_definition(revision).await?, rack) {
        Ok(Some(left)) => left,
        Ok(None) => return Ok(None),
        Err(error) => return Ok(Some(Step::Stays(why(&error)))),
    };
    if let Some(not_rolling) = &service.not_rolling {
        let reason = format!(
            "{not_rolling}, which this agent does not update: run `volumes-agent unpatch` in the pipeline"
        );
        return Ok(Some(Step::refused("not-rolling", reason)));
    }
    if service.is_rolling_back() {
        let reason = "ECS is rolling back: run this again when that is over".to_owned();
        return Ok(Some(Step::refused("rollback-under-way", reason)));
    }
    let versions = Versions { source: &left.before, patched: &left.after };
    let source = left.source.as_deref();
    let same = family::same_source;
    Ok(Some(match family::latest(cluster.ecs, revision, &left.family, versions, source, same).await? {
        Latest::Patched(unpatched) => Step::MoveTo(unpatched),
        Latest::SameCode | Latest::Nothing => Step::Register(left.after),
        Latest::OtherCode(other) => Step::refused(
            "deploy-under-way",
            format!(
                "the family's latest revision, {}, is other code than the service runs: deploy that one, or deregister it",
                short_name(&other)
            ),
        ),
    }))
}

fn why(error: &WantedError) -> Why {
    let reason = error.in_one_line();
    match error.is_about_ours() {
        true => Why { code: error.code(), reason: format!("{reason}: {}", error.help()), is_wanted: false },
        false => Why { code: error.code(), reason, is_wanted: true },
    }
}
