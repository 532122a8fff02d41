//! Something wrong, or noteworthy, in a file that was read: data for every printer.

pub mod annotation;
pub mod snippet;

use crate::yaml::{Origin, Place, Step};
use serde::Serialize;
use std::sync::Arc;

/// So many problems of one place are compared for being the same.
const CLOSE: usize = 16;

/// How much it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Docker Compose refuses it as well.
    Error,
    /// It can't be had on deploy, or Docker Compose loses data there without a word.
    Refused,
    /// It is done otherwise than the words say, or without effect.
    Warning,
}

impl Severity {
    /// As it is printed.
    pub fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Refused => "refused",
            Self::Warning => "warning",
        }
    }
}

/// A place in a file, and what is to be said there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Label {
    /// The file, as given.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1, in characters.
    pub column: usize,
    /// How many characters are meant, on this line.
    pub length: usize,
    /// What is to be said; nothing, where the reason says it.
    #[serde(rename = "label", skip_serializing_if = "String::is_empty")]
    pub text: String,
}

impl Label {
    /// At a place.
    pub fn at(place: &Place, text: impl Into<String>) -> Self {
        Self {
            file: place.file.to_string(),
            line: place.line,
            column: place.column,
            length: place.length,
            text: text.into(),
        }
    }
}

/// A problem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The diagnostic's code, stable for ever.
    pub code: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// The service, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Other services of which the same is to be said; JSON has a line for each instead.
    #[serde(skip)]
    pub also: Vec<String>,
    /// Which entry of the list, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entry: Option<usize>,
    /// The entry, as written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub declaration: Option<String>,
    /// The entry with its variables replaced, where that changed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolved: Option<String>,
    /// Where it is; none, if it is about the command line or a file that isn't there.
    #[serde(flatten)]
    pub place: Option<Label>,
    /// Where else to look: what a variable was set to, where an anchor or a service is used.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub related: Vec<Label>,
    /// What is wrong, in the user's words.
    pub reason: String,
    /// Why it matters for data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What to do, in a sentence.
    pub help: String,
    /// What to write in place of the label's text, ready to paste.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

impl Problem {
    /// One without a place.
    pub fn of(
        severity: Severity,
        code: &'static str,
        reason: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self {
            code,
            severity,
            service: None,
            also: Vec::new(),
            entry: None,
            declaration: None,
            resolved: None,
            place: None,
            related: Vec::new(),
            reason: reason.into(),
            why: None,
            help: help.into(),
            fix: None,
        }
    }

    /// What Docker Compose refuses as well.
    pub fn error(code: &'static str, reason: impl Into<String>, help: impl Into<String>) -> Self {
        Self::of(Severity::Error, code, reason, help)
    }

    /// What is refused on deploy.
    pub fn refused(code: &'static str, reason: impl Into<String>, help: impl Into<String>) -> Self {
        Self::of(Severity::Refused, code, reason, help)
    }

    /// What is only said.
    pub fn warning(code: &'static str, reason: impl Into<String>, help: impl Into<String>) -> Self {
        Self::of(Severity::Warning, code, reason, help)
    }

    /// Where it is.
    #[must_use]
    pub fn at(mut self, place: &Place) -> Self {
        self.place = Some(Label::at(place, ""));
        self
    }

    /// Where else to look.
    #[must_use]
    pub fn see(mut self, place: &Place, text: impl Into<String>) -> Self {
        self.related.push(Label::at(place, text));
        self
    }

    /// How the text came to stand for what it stands for.
    #[must_use]
    pub fn came_by(mut self, origin: Option<&Arc<Origin>>) -> Self {
        for step in Origin::chain(origin) {
            let text = match &step.step {
                Step::Alias(name) => format!("used here, by `*{name}`"),
                Step::Extends(service) => format!("inherited here, from `{service}`"),
                Step::Include => "included here".to_owned(),
            };
            self.related.push(Label::at(&step.at, text));
        }
        self
    }

    /// Whose it is.
    #[must_use]
    pub fn service(mut self, service: &str) -> Self {
        self.service = Some(service.to_owned());
        self
    }

    /// Why it matters.
    #[must_use]
    pub fn why(mut self, why: impl Into<String>) -> Self {
        self.why = Some(why.into());
        self
    }

    /// What to write instead.
    #[must_use]
    pub fn fix(mut self, fix: Option<String>) -> Self {
        self.fix = fix;
        self
    }

    /// The same with another weight.
    #[must_use]
    pub fn as_severity(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }

    /// By file and line, those without a place first.
    pub fn sort_key(&self) -> (Option<(String, usize, usize)>, Severity, &'static str) {
        let place = self.place.as_ref().map(|label| (label.file.clone(), label.line, label.column));
        (place, self.severity, self.code)
    }

    /// Problems that an anchor or a base brings to several services, each told once, with the services that have it.
    pub fn by_service(problems: Vec<Self>) -> Vec<Self> {
        let mut told: Vec<Self> = Vec::new();
        for problem in problems {
            let same = |first: &&mut Self| {
                let is_here = problem.place.is_some() && first.place == problem.place;
                is_here
                    && (first.code, first.severity, &first.reason)
                        == (problem.code, problem.severity, &problem.reason)
            };
            // They are sorted by place: the same ones are not far apart.
            match (told.iter_mut().rev().take(CLOSE).find(same), &problem.service) {
                (Some(first), Some(service)) => first.also.push(service.clone()),
                _ => told.push(problem),
            }
        }
        told
    }

    /// The other services as a sentence; nothing, where there are none.
    pub fn of_others(&self) -> Option<String> {
        let names: Vec<String> = self.also.iter().map(|name| format!("`{name}`")).collect();
        let (last, others) = names.split_last()?;
        Some(match others {
            [] => format!("the same in service {last}"),
            others => format!("the same in the services {} and {last}", others.join(", ")),
        })
    }

    /// Whose it is, as the beginning of a sentence: the service, the entry and what it declares.
    pub fn whose(&self) -> String {
        let declaration = self.declaration.as_ref().filter(|text| !text.is_empty());
        self.named(declaration.map(|text| format!("`{text}`")))
    }

    /// The same for those who see the declaration.
    pub fn whose_without_declaration(&self) -> String {
        self.named(None)
    }

    fn named(&self, declaration: Option<String>) -> String {
        let service = self.service.as_ref().map(|service| format!("service `{service}`"));
        let entry = self.entry.map(|entry| format!("entry {entry}"));
        let parts: Vec<String> = [service, entry, declaration].into_iter().flatten().collect();
        if parts.is_empty() { String::new() } else { format!("{}: ", parts.join(", ")) }
    }
}
