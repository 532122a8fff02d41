//! What a command says beside its data, on stderr: problems with their lines, all at once and in the files' order; notes; and why it
//! stopped.

use crate::{
    commands::Format,
    diagnostics::{Exit, Failure, in_one_line},
    problem::{Problem, Severity, annotation, snippet},
    silence,
    sources::Sources,
};
use clap::{Args, ValueEnum};
use serde_json::json;
use std::io::{IsTerminal, Write};

/// How messages are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum MessageFormat {
    /// For people.
    #[default]
    Text,
    /// A JSON object a line.
    Json,
    /// Workflow commands, with which GitHub annotates a change.
    Github,
}

/// The flag that says how.
#[derive(Debug, Clone, Default, Args)]
pub struct MessageArgs {
    /// How problems are told, on stderr [default: json where --format json is given, else text].
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub message_format: Option<MessageFormat>,
    /// A code of warnings to say nothing about, such as `socket`; the file's own way is `x-volumes`.
    #[arg(long, value_name = "CODE")]
    pub silence: Vec<String>,
}

impl MessageArgs {
    /// What the flag says, else as the data is printed where that was said.
    pub fn beside(&self, data: Option<Format>) -> MessageFormat {
        self.message_format.unwrap_or(match data {
            Some(Format::Json) => MessageFormat::Json,
            Some(Format::Text) | None => MessageFormat::Text,
        })
    }
}

/// All that one run of a command has to say.
#[derive(Debug)]
pub struct Messages {
    format: MessageFormat,
    sources: Sources,
    problems: Vec<Problem>,
    /// Codes to say nothing about.
    silence: Vec<String>,
    /// Warnings that were silenced, and not yet counted to anyone.
    silenced: usize,
}

impl Messages {
    /// Nothing to say yet but what is wrong with the flags.
    pub fn new(format: MessageFormat, args: &MessageArgs) -> Self {
        let problems = args.silence.iter().filter_map(|code| silence::why_not(code)).collect();
        let silence: Vec<String> =
            args.silence.iter().filter(|code| silence::why_not(code).is_none()).cloned().collect();
        Self { format, sources: Sources::default(), problems, silence, silenced: 0 }
    }

    /// Texts that problems are about.
    pub fn show_lines_of(&mut self, sources: Sources) {
        self.sources = sources;
    }

    /// Something to say at the end, unless it is silenced.
    pub fn add(&mut self, problems: impl IntoIterator<Item = Problem>) {
        for problem in problems {
            if problem.severity == Severity::Warning && self.silence.iter().any(|code| code == problem.code) {
                self.silenced += 1;
            } else {
                self.problems.push(problem);
            }
        }
    }

    /// So many warnings were silenced before they came here.
    pub fn add_silenced(&mut self, count: usize) {
        self.silenced += count;
    }

    /// How many were silenced so far, for who counts them otherwise.
    pub fn silenced(&self) -> usize {
        self.silenced
    }

    /// What was to be said so far, for who says it otherwise.
    pub fn take(&mut self) -> Vec<Problem> {
        std::mem::take(&mut self.problems)
    }

    /// Says everything so far; `outcome`, in a few words, where something came of it that a person would want to know.
    pub fn tell(&mut self, outcome: &str) {
        let mut problems = self.take();
        problems.sort_by_cached_key(Problem::sort_key);
        if self.format != MessageFormat::Json {
            problems = Problem::by_service(problems);
        }
        let mut text = String::new();
        let is_coloured = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        for problem in &problems {
            match self.format {
                MessageFormat::Text => {
                    text.push_str(&snippet::page(problem, &self.sources, is_coloured));
                    text.push('\n');
                }
                MessageFormat::Json => {
                    // A problem is plain data: what can't be written as JSON isn't in it.
                    let line = serde_json::to_string(problem).unwrap_or_default();
                    text.push_str(&format!("{line}\n"));
                }
                MessageFormat::Github => text.push_str(&annotation::command(problem)),
            }
        }
        // What stops people comes before what is only said.
        let silenced = std::mem::take(&mut self.silenced);
        if self.format == MessageFormat::Text {
            text.push_str(&summary(&problems, silenced, outcome));
        }
        to_stderr(&text);
    }

    /// [`Messages::tell`], where nothing more is done: the exit code of that.
    pub fn refused(mut self, outcome: &str) -> Exit {
        self.tell(outcome);
        Exit::Refused
    }

    /// One line that is no problem.
    pub fn note(&self, text: &str) {
        note(self.format, text);
    }
}

/// One line that is no problem.
pub fn note(format: MessageFormat, text: &str) {
    match format {
        MessageFormat::Text => to_stderr(&format!("note: {text}\n")),
        MessageFormat::Json => to_stderr(&format!("{}\n", json!({ "severity": "note", "reason": text }))),
        MessageFormat::Github => to_stderr(&annotation::line("notice", text)),
    }
}

/// One line about a service, while work goes on; GitHub shows it in the log, and annotates nothing.
pub fn progress(format: MessageFormat, service: &str, text: &str) {
    match format {
        MessageFormat::Text | MessageFormat::Github => to_stderr(&format!("{service}: {text}\n")),
        MessageFormat::Json => {
            let line = json!({ "severity": "note", "service": service, "reason": text });
            to_stderr(&format!("{line}\n"));
        }
    }
}

/// Why a command stopped.
pub fn failed(format: MessageFormat, failure: &Failure) {
    match format {
        MessageFormat::Text => to_stderr(&format!("{failure}\n")),
        MessageFormat::Json => {
            let mut line = json!({ "severity": "error", "reason": in_one_line(&*failure.error) });
            if let Some(code) = failure.code {
                line["code"] = json!(code);
            }
            if let Some(help) = &failure.help {
                line["help"] = json!(help);
            }
            to_stderr(&format!("{line}\n"));
        }
        MessageFormat::Github => to_stderr(&annotation::line("error", &failure.to_string())),
    }
}

/// What there was, in one line; nothing, if there was nothing.
fn summary(problems: &[Problem], silenced: usize, outcome: &str) -> String {
    let counted = [
        (Severity::Error, "error", "errors"),
        (Severity::Refused, "refused", "refused"),
        (Severity::Warning, "warning", "warnings"),
    ];
    let mut counts: Vec<String> = counted
        .into_iter()
        .filter_map(|(severity, one, many)| {
            let count = problems.iter().filter(|problem| problem.severity == severity).count();
            (count > 0).then(|| format!("{count} {}", if count == 1 { one } else { many }))
        })
        .collect();
    counts.extend((silenced > 0).then(|| format!("{silenced} silenced")));
    if counts.is_empty() {
        return String::new();
    }
    let outcome =
        if outcome.is_empty() || problems.is_empty() { String::new() } else { format!(": {outcome}") };
    // What stops people comes before what is only said.
    let gravest = problems.iter().min_by_key(|problem| problem.severity);
    let more = gravest
        .map(|gravest| format!("; `volumes-agent explain {}` tells more", gravest.code))
        .unwrap_or_default();
    format!("{}{outcome}{more}\n", counts.join(", "))
}

/// A closed stderr leaves nobody to tell; the exit code still does.
fn to_stderr(text: &str) {
    drop(std::io::stderr().lock().write_all(text.as_bytes()));
}
