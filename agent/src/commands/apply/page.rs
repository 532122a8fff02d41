//! What `apply` prints: a line a service, and the diffs of a dry run.

use super::look::{Found, Step};
use crate::{
    commands::{
        Format,
        columns::{aligned, with_reasons},
        files::print,
        messages::{MessageFormat, failed},
        moving::follow::End,
    },
    diagnostics::{Exit, Failure},
    mount::VOLUMES_ROOT,
    patch::{self, diff},
    service::short_name,
};
use serde::Serialize;
use serde_json::{Value, json};

/// What became, or would become, of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Neither the file nor its task definition declares volumes.
    NothingDeclared,
    /// It had its volumes before.
    InPlace,
    /// It was moved, and its deployment goes on.
    Moved,
    /// It has them now.
    Stable,
    /// A revision would be registered.
    WouldRegister,
    /// It would be moved to a revision that is there.
    WouldMove,
    /// Another one was refused: this one is as it was.
    NotChanged,
    /// It is as it was.
    Refused,
    /// Its deployment failed.
    Failed,
    /// Its deployment goes on.
    TimedOut,
}

/// A service's line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Of the file.
    pub services: Vec<String>,
    /// Of the cluster.
    pub ecs_service: String,
    /// What became, or would become, of it.
    pub outcome: Outcome,
    /// What it ran before.
    pub source: String,
    /// What it is to run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_definition: Option<String>,
    /// What was registered and isn't used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registered: Option<String>,
    /// Its directories.
    pub volumes: Vec<String>,
    /// Why it is no better, by a code that is stable for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
    /// The same in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// For people alone.
    #[serde(skip)]
    remark: String,
    /// Whether it mounted all of its volumes before.
    #[serde(skip)]
    had_all: bool,
    /// Whether anything is declared.
    #[serde(skip)]
    is_declared: bool,
}

impl Line {
    /// Whether something would be done.
    pub fn is_pending(&self) -> bool {
        matches!(self.outcome, Outcome::WouldRegister | Outcome::WouldMove)
    }

    pub(super) fn of(found: &Found, outcome: Outcome) -> Self {
        let volumes: Vec<String> =
            found.wanted.volumes.iter().map(|volume| format!("{VOLUMES_ROOT}/{volume}")).collect();
        let mounted = patch::our_sources(&found.wanted.before);
        Self {
            services: found.assignment.services.clone(),
            ecs_service: found.assignment.ecs_service.clone(),
            outcome,
            source: found.runs().0.to_owned(),
            task_definition: None,
            registered: None,
            had_all: volumes.iter().all(|volume| mounted.contains(volume)),
            is_declared: found.wanted.is_declared,
            volumes,
            code: None,
            reason: None,
            remark: String::new(),
        }
    }

    /// For tests of what goes by the outcome alone.
    #[cfg(test)]
    pub(super) fn example(outcome: Outcome) -> Self {
        Self {
            services: Vec::new(),
            ecs_service: "web".to_owned(),
            outcome,
            source: String::new(),
            task_definition: None,
            registered: None,
            volumes: Vec::new(),
            code: None,
            reason: None,
            remark: String::new(),
            had_all: true,
            is_declared: true,
        }
    }

    #[must_use]
    pub(super) fn because(mut self, code: &'static str, reason: String) -> Self {
        self.code = Some(code);
        self.reason = Some(reason);
        self
    }

    /// How its deployment ended.
    pub(super) fn ended(&mut self, end: End) {
        let was_moved = self.outcome == Outcome::Moved;
        match end {
            End::Stable { after } => {
                self.outcome = if was_moved { Outcome::Stable } else { Outcome::InPlace };
                self.remark = if was_moved { format!(" after {} s", after.as_secs()) } else { String::new() };
            }
            End::Failed { reason } => {
                self.outcome = Outcome::Failed;
                self.code = Some("deployment-failed");
                let without = if was_moved && !self.had_all {
                    ". The revision before did not mount all of these volumes: what its tasks write there is lost with them"
                } else {
                    ""
                };
                self.reason = Some(format!("{reason}{without}"));
            }
            End::TimedOut { reason } => {
                self.outcome = Outcome::TimedOut;
                self.code = Some("deployment-in-progress");
                self.reason = Some(format!("not stable in time, and goes on by itself: {reason}"));
            }
        }
    }

    /// With its task definition before and after, and what differs.
    pub(super) fn with_documents(&self, found: &Found) -> Value {
        let mut line = json!(self);
        line["before"] = found.wanted.before.clone();
        line["after"] = found.wanted.after.clone();
        line["diff"] = json!(diff(found, false));
        line
    }

    fn result(&self) -> String {
        let volumes = match self.volumes.len() {
            0 if self.is_declared => "memory alone".to_owned(),
            0 => "no volumes any more".to_owned(),
            1 => "1 volume".to_owned(),
            count => format!("{count} volumes"),
        };
        let text = match self.outcome {
            Outcome::NothingDeclared => "declares no volumes".to_owned(),
            Outcome::InPlace => format!("in place: {volumes}"),
            Outcome::Moved => format!("moved: {volumes}"),
            Outcome::Stable => format!("stable{}: {volumes}", self.remark),
            Outcome::WouldRegister => format!("would be registered and moved to: {volumes}"),
            Outcome::WouldMove => format!("would be moved to what is registered: {volumes}"),
            Outcome::NotChanged => "not changed".to_owned(),
            Outcome::Refused => "refused".to_owned(),
            Outcome::Failed => "FAILED".to_owned(),
            Outcome::TimedOut => "not stable in time".to_owned(),
        };
        match &self.registered {
            Some(revision) => format!("{text}; {} was registered, and isn't used", short_name(revision)),
            None => text,
        }
    }
}

pub(super) fn would(step: &Step) -> Outcome {
    match step {
        Step::InPlace => Outcome::InPlace,
        Step::NothingDeclared => Outcome::NothingDeclared,
        Step::Register => Outcome::WouldRegister,
        Step::MoveTo(_) => Outcome::WouldMove,
    }
}

/// What differs, under the names of the revisions.
pub(super) fn diff(found: &Found, is_coloured: bool) -> String {
    let after = match &found.step {
        Step::MoveTo(revision) => short_name(revision).to_owned(),
        Step::Register => format!("{} with its volumes", found.assignment.ecs_service),
        Step::InPlace | Step::NothingDeclared => return String::new(),
    };
    let before = short_name(found.runs().0);
    let text = diff::unified(&found.wanted.before, &found.wanted.after, before, &after);
    if is_coloured { diff::coloured(&text) } else { text }
}

pub(super) fn print_lines(lines: &[Line], format: Format) -> Result<Exit, Failure> {
    match format {
        Format::Json => print_json(&lines.iter().map(|line| json!(line)).collect::<Vec<_>>()),
        Format::Text => print(&table(lines)),
    }
}

pub(super) fn print_json(lines: &[Value]) -> Result<Exit, Failure> {
    print(&format!("{:#}\n", json!({ "services": lines })))
}

/// What failed, as GitHub annotates it: the table is only in its log.
pub(super) fn annotate(lines: &[Line], format: MessageFormat) {
    if format != MessageFormat::Github {
        return;
    }
    for line in lines {
        if let Some(reason) = &line.reason {
            let failure = Failure::refused(format!("ECS service `{}`: {reason}", line.ecs_service));
            failed(format, &Failure { code: line.code, ..failure });
        }
    }
}

/// A line a service, and below it why, where there is a reason.
pub fn table(lines: &[Line]) -> String {
    let rows: Vec<[String; 4]> = lines
        .iter()
        .map(|line| {
            let revision = line.task_definition.as_deref().unwrap_or(&line.source);
            [
                line.services.join(", "),
                line.ecs_service.clone(),
                short_name(revision).to_owned(),
                line.result(),
            ]
        })
        .collect();
    let reasons = lines.iter().map(|line| (line.code, line.reason.as_deref()));
    with_reasons(aligned(["SERVICE", "ECS SERVICE", "TASK DEFINITION", "RESULT"], &rows), reasons)
}
