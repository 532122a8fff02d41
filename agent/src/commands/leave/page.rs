//! What `leave` prints: a line a service.

use super::look::{Found, Step};
use crate::{
    commands::{
        Format,
        columns::{aligned, with_reasons},
        files::print,
        moving::follow::End,
    },
    diagnostics::{Exit, Failure},
    service::short_name,
};
use serde::Serialize;
use serde_json::json;

/// What became, or would become, of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Outcome {
    /// A revision without volumes would be registered, and the service moved to it.
    WouldRegister,
    /// It would be moved to a revision that is there.
    WouldMove,
    /// It keeps what it has, and is to.
    LeftAlone,
    /// It keeps what it has, and something is in the way.
    Refused,
    /// It was moved, and its deployment goes on.
    Moved,
    /// Its tasks run without volumes.
    Stable,
    /// Its deployment failed.
    Failed,
    /// Its deployment goes on.
    TimedOut,
    /// It is as it was, since another one was not stable.
    NotReached,
}

impl Outcome {
    fn words(self) -> &'static str {
        match self {
            Self::WouldRegister => {
                "a revision without volumes would be registered, and the service moved to it"
            }
            Self::WouldMove => "would be moved to it",
            Self::LeftAlone => "left alone",
            Self::Refused => "refused",
            Self::Moved => "moved",
            Self::Stable => "stable without volumes",
            Self::Failed => "failed",
            Self::TimedOut => "not stable in time: it goes on by itself",
            Self::NotReached => "not reached: as it was",
        }
    }
}

/// A service's line.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Line {
    ecs_service: String,
    pub(super) outcome: Outcome,
    /// What it ran before.
    source: String,
    /// What it is to run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) task_definition: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl Line {
    /// Before anything is done.
    pub(super) fn before(found: &Found) -> Self {
        let (outcome, task_definition, why) = match &found.step {
            Step::Register(_) => (Outcome::WouldRegister, None, None),
            Step::MoveTo(revision) => (Outcome::WouldMove, Some(revision.clone()), None),
            Step::Stays(why) if why.is_wanted => (Outcome::LeftAlone, None, Some(why)),
            Step::Stays(why) => (Outcome::Refused, None, Some(why)),
        };
        Self {
            ecs_service: found.service.name.clone(),
            outcome,
            source: found.service.runs().0.to_owned(),
            task_definition,
            code: why.map(|why| why.code),
            reason: why.map(|why| why.reason.clone()),
        }
    }

    /// For tests of what goes by the outcome alone.
    #[cfg(test)]
    pub(super) fn example(outcome: Outcome) -> Self {
        let (ecs_service, source) = ("web".to_owned(), "arn:f:42".to_owned());
        Self { ecs_service, outcome, source, task_definition: None, code: None, reason: None }
    }

    pub(super) fn moved_to(&mut self, revision: String) {
        self.outcome = Outcome::Moved;
        self.task_definition = Some(revision);
    }

    pub(super) fn refused(&mut self, code: &'static str, reason: String) {
        self.outcome = Outcome::Refused;
        self.code = Some(code);
        self.reason = Some(reason);
    }

    /// How its deployment ended.
    pub(super) fn ended(&mut self, end: End) {
        let (outcome, reason) = match end {
            End::Stable { .. } => (Outcome::Stable, None),
            End::Failed { reason } => (Outcome::Failed, Some(reason)),
            End::TimedOut { reason } => (Outcome::TimedOut, Some(reason)),
        };
        (self.outcome, self.reason) = (outcome, reason);
    }
}

pub(super) fn print_lines(lines: &[Line], format: Format) -> Result<Exit, Failure> {
    match format {
        Format::Json => print(&format!("{:#}\n", json!({ "services": lines }))),
        Format::Text => print(&table(lines)),
    }
}

/// A line a service, and below it why, where there is a reason.
fn table(lines: &[Line]) -> String {
    if lines.is_empty() {
        return "no service of the cluster has volumes of this agent\n".to_owned();
    }
    let short = |revision: &str| short_name(revision).to_owned();
    let rows: Vec<[String; 4]> = lines
        .iter()
        .map(|line| {
            let to = line.task_definition.as_deref().map_or_else(|| "-".to_owned(), short);
            [line.ecs_service.clone(), short(&line.source), to, line.outcome.words().to_owned()]
        })
        .collect();
    let reasons = lines.iter().map(|line| (line.code, line.reason.as_deref()));
    with_reasons(aligned(["ECS SERVICE", "RUNS", "BECOMES", "RESULT"], &rows), reasons)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_a_line_a_service_and_why() {
        let mut moved = Line::example(Outcome::NotReached);
        moved.moved_to("arn:aws:ecs:r:1:task-definition/f:41".to_owned());
        moved.ended(End::Stable { after: std::time::Duration::from_secs(1) });
        let mut refused = Line::example(Outcome::NotReached);
        refused.refused("pass-role", "not allowed".to_owned());
        assert_eq!(
            table(&[moved, refused]),
            "ECS SERVICE  RUNS      BECOMES  RESULT\n\
             web          arn:f:42  f:41     stable without volumes\n\
             web          arn:f:42  -        refused\n\
             \x20 [pass-role] not allowed\n"
        );
        assert!(table(&[]).starts_with("no service"));
    }
}
