//! A problem as a person reads it: what and whose, the line with carets, where else to look, why it matters, what to write instead.
//! In the look of rustc, by the crate that rustc itself uses.

use super::{Label, Problem, Severity};
use crate::sources::Sources;
use annotate_snippets::{AnnotationKind, Group, Level, Origin, Patch, Renderer, Snippet};
use std::ops::Range;

/// Longer lines are cut around what is meant, so that a log stays readable.
const WIDTH: usize = 140;

/// The problem's page, ending with a line break.
pub fn page(problem: &Problem, sources: &Sources, is_coloured: bool) -> String {
    let renderer = if is_coloured { Renderer::styled() } else { Renderer::plain() };
    let mut report = vec![what_and_where(problem, sources)];
    report.push(what_to_do(problem, sources));
    format!("{}\n", renderer.term_width(WIDTH).render(&report))
}

fn level(severity: Severity) -> Level<'static> {
    match severity {
        Severity::Error => Level::ERROR,
        Severity::Refused => Level::ERROR.with_name("refused"),
        Severity::Warning => Level::WARNING,
    }
}

fn what_and_where<'a>(problem: &'a Problem, sources: &'a Sources) -> Group<'a> {
    // The declaration itself is to be seen below.
    let whose = if problem.place.is_some() { problem.whose_without_declaration() } else { problem.whose() };
    let title = format!("{whose}{}", problem.reason);
    let mut group = Group::with_title(level(problem.severity).primary_title(title).id(problem.code));
    if let Some(place) = &problem.place {
        group = located(group, place, AnnotationKind::Primary, sources);
    }
    for label in &problem.related {
        group = located(group, label, AnnotationKind::Context, sources);
    }
    if let Some(others) = problem.of_others() {
        group = group.element(Level::NOTE.message(others));
    }
    if let Some(resolved) = &problem.resolved {
        group = group.element(Level::NOTE.message(format!("with its variables replaced it is `{resolved}`")));
    }
    if let Some(why) = &problem.why {
        group = group.element(Level::NOTE.with_name("why").message(why.as_str()));
    }
    group
}

/// The line of a label with what is meant marked; its place alone where the line isn't at hand.
fn located<'a>(group: Group<'a>, label: &'a Label, kind: AnnotationKind, sources: &'a Sources) -> Group<'a> {
    let Some(line) = sources.line(&label.file, label.line) else {
        return group.element(Origin::path(label.file.as_str()).line(label.line).char_column(label.column));
    };
    let annotation =
        kind.span(span(line, label)).label((!label.text.is_empty()).then_some(label.text.as_str()));
    group.element(
        Snippet::source(line).line_start(label.line).path(label.file.as_str()).annotation(annotation),
    )
}

fn what_to_do<'a>(problem: &'a Problem, sources: &'a Sources) -> Group<'a> {
    let help = Level::HELP.secondary_title(problem.help.as_str());
    let fixed = problem.fix.as_ref().zip(problem.place.as_ref()).and_then(|(fix, place)| {
        let line = sources.line(&place.file, place.line)?;
        let patch = Patch::new(span(line, place), fix.as_str());
        Some(Snippet::source(line).line_start(place.line).path(place.file.as_str()).patch(patch))
    });
    match fixed {
        Some(snippet) => help.element(snippet),
        None => Group::with_title(help),
    }
}

/// The bytes of a line that a label's characters are; never outside of it.
fn span(line: &str, label: &Label) -> Range<usize> {
    let at = |characters: usize| line.char_indices().nth(characters).map_or(line.len(), |(byte, _)| byte);
    let start = label.column.saturating_sub(1);
    at(start)..at(start + label.length)
}
