//! The checks as a page for a person at night, and as JSON.

use crate::doctor::{Check, Verdict};
use serde::Serialize;
use std::io::IsTerminal;
use unicode_width::UnicodeWidthStr;

/// Narrower than that, wrapped text is no easier to read.
const NARROWEST: usize = 30;

/// How many columns the terminal has; logs and pipes have no end of a line.
pub(super) fn width() -> Option<usize> {
    if !std::io::stdout().is_terminal() {
        return None;
    }
    terminal_size::terminal_size().map(|(width, _)| usize::from(width.0)).filter(|width| *width > 0)
}

/// A line a check, what to do next below those that don't pass, and what it all comes to.
pub(super) fn text(checks: &[Check], width: Option<usize>) -> String {
    let longest = checks.iter().map(|check| check.name.width()).max().unwrap_or_default();
    let indent = WORD + 2 + longest + 2;
    let room = width.map(|width| width.saturating_sub(indent).max(NARROWEST));
    let mut page = String::new();
    for check in checks {
        let head = format!("{:<WORD$}  {:<longest$}  ", word(check.result), check.name);
        push(&mut page, &head, &in_one_paragraph(&check.detail), room, indent);
        if let Some(help) = &check.help {
            push(&mut page, &" ".repeat(indent), &format!("help: {}", in_one_paragraph(help)), room, indent);
        }
    }
    page += &format!("\n{}\n", summary(checks));
    page
}

/// The longest of the words.
const WORD: usize = "unknown".len();

/// What is wrong stands out.
fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Fail => "FAIL",
        other => other.name(),
    }
}

/// Errors of several lines are one here.
fn in_one_paragraph(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Lines that fit, each below the first one's text.
fn push(page: &mut String, head: &str, text: &str, room: Option<usize>, indent: usize) {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if room.is_none_or(|room| line.width() + 1 + word.width() <= room) => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    *page += head;
    *page += &lines.join(&format!("\n{}", " ".repeat(indent)));
    *page += "\n";
}

fn summary(checks: &[Check]) -> String {
    let of = |verdict| {
        checks.iter().filter(|check| check.result == verdict).map(|check| check.name).collect::<Vec<_>>()
    };
    let mut parts = vec![format!("{} of {} checks pass", of(Verdict::Pass).len(), checks.len())];
    for verdict in [Verdict::Fail, Verdict::Warn, Verdict::Unknown] {
        let names = of(verdict);
        if !names.is_empty() {
            parts.push(format!("{}: {}", word(verdict), names.join(", ")));
        }
    }
    parts.join("; ")
}

#[derive(Serialize)]
struct Document<'a> {
    version: &'a str,
    result: Verdict,
    checks: &'a [Check],
}

/// The same for programs.
///
/// # Errors
/// None that is known.
pub(super) fn json(checks: &[Check], version: &str) -> serde_json::Result<String> {
    let document = Document { version, result: crate::doctor::worst(checks), checks };
    Ok(format!("{}\n", serde_json::to_string_pretty(&document)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::tests::well;
    use crate::doctor::{self, Silence};
    use std::time::Duration;

    fn checks() -> Vec<Check> {
        let mut found = well();
        if let Some(share) = &mut found.share {
            share.answers = Err(Silence::TimedOut(Duration::from_secs(5)));
        }
        found.read_ahead_kib = Ok(128);
        doctor::examine(&found)
    }

    /// A whole output that lies beside this file, to be read as people get it.
    fn expected(name: &str) -> String {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/commands/doctor/");
        std::fs::read_to_string(format!("{folder}{name}")).unwrap()
    }

    #[test]
    fn the_page_reads_well() {
        assert_eq!(text(&checks(), None), expected("page.txt"));
    }

    #[test]
    fn the_page_fits_its_terminal() {
        for width in [80, 100] {
            for line in text(&checks(), Some(width)).lines().filter(|line| !line.contains(" checks pass; ")) {
                assert!(line.width() <= width, "{width}: {line}");
            }
        }
    }

    #[test]
    fn programs_get_the_same() {
        let some: Vec<Check> = checks()
            .into_iter()
            .filter(|check| ["mount", "read-ahead", "round-trip", "locks"].contains(&check.name))
            .collect();
        assert_eq!(json(&some, "1.2.3").unwrap(), expected("page.json"));
        let all = checks();
        assert!(all.iter().all(|check| check.help.is_none() == (check.result == Verdict::Pass)));
    }
}
