//! What a round tells the log.

use super::Running;
use crate::{reading::Verdict, report::Outcome, service::Service, share_worker::Answers};
use tracing::{error, info, warn};

impl<S: Answers, L: Answers> Running<'_, S, L> {
    /// One line when something begins and one when it ends; `/status` says it all the time.
    pub(super) fn say(&mut self, service: &Service, verdict: &Verdict, tasks_without_volumes: u32) {
        let now = (verdict.outcome, verdict.code, tasks_without_volumes > 0);
        let before = self.round.memory.said.insert(service.arn.clone(), now);
        if self.lock.is_none() {
            return;
        }
        let (name, reason) = (&service.name, verdict.reason.as_deref().unwrap_or_default());
        let cluster = &self.round.cluster;
        let task_definition = service.primary().map_or("", |primary| primary.task_definition.as_str());
        match (before.is_some_and(|(_, _, without)| without), now.2) {
            (false, true) => {
                error!(service = %name, %cluster, %task_definition, tasks = tasks_without_volumes, outcome = verdict.outcome.name(), %reason, "tasks run without their volumes: what they write there is lost with them");
            }
            (true, false) => info!(service = %name, %cluster, "no task runs without its volumes any more"),
            _ => {}
        }
        let is_said = |outcome| matches!(outcome, Outcome::Refused | Outcome::Waiting | Outcome::LeftAlone);
        let was =
            before.filter(|(outcome, _, _)| is_said(*outcome)).map(|(outcome, code, _)| (outcome, code));
        let is = is_said(verdict.outcome).then_some((verdict.outcome, verdict.code));
        if was == is {
            return;
        }
        if let Some((outcome, code)) = was {
            info!(service = %name, %cluster, was = outcome.name(), code = code.unwrap_or_default(), now = verdict.outcome.name(), "over");
        }
        match is {
            Some((Outcome::Refused, code)) => {
                warn!(service = %name, %cluster, %task_definition, code = code.unwrap_or_default(), %reason, "refused");
            }
            Some((outcome, code)) => {
                info!(service = %name, %cluster, %task_definition, code = code.unwrap_or_default(), %reason, "{}", outcome.name());
            }
            None => {}
        }
    }
}
