//! What Docker Compose's YAML parser takes and ours doesn't, made so that ours does, and the other way round.
//!
//! A tab after the colon of a key; text within `{` or `[` that stands further left than the line that opened them. Only files at
//! which our parser stops for that reason are touched, in places where no text's content changes.

use super::reader::Shifts;
use saphyr_parser::{Parser, ScanError};

/// Most lines of a file that are moved.
const MOST_LINES: usize = 100;
/// How far a line is moved: further than anything is nested.
const FAR: usize = 128;

/// The text as our parser takes it, and how far its lines were moved.
///
/// # Errors
/// Where our parser stops all the same.
pub(super) fn repaired(text: &str, error: &ScanError) -> Result<(String, Shifts), (ScanError, Shifts)> {
    let mut text = text.to_owned();
    let mut shifts = Shifts::new();
    let mut error = error.clone();
    loop {
        let line = error.marker().line();
        let can_go_on = shifts.len() < MOST_LINES && !shifts.contains_key(&line);
        match error.info() {
            info if info.contains("':' must be followed") && text.contains(":\t") => {
                text = without_tabs(&text)
            }
            info if info.contains("invalid indentation in flow") && can_go_on => {
                shifts.insert(line, FAR);
                text = moved(&text, line);
            }
            _ => return Err((error, shifts)),
        }
        match first_error(&text) {
            None => return Ok((text, shifts)),
            Some(next) => error = next,
        }
    }
}

fn first_error(text: &str) -> Option<ScanError> {
    Parser::new_from_str(text).find_map(Result::err)
}

/// Spaces for the tabs after colons: as many, so that every place stays.
fn without_tabs(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut after_colon = false;
    for character in text.chars() {
        after_colon = character == ':' || (after_colon && character == '\t');
        out.push(if after_colon && character == '\t' { ' ' } else { character });
    }
    out
}

fn moved(text: &str, line: usize) -> String {
    let lines: Vec<String> = text
        .split('\n')
        .zip(1..)
        .map(|(text, number)| if number == line { format!("{:FAR$}{text}", "") } else { text.to_owned() })
        .collect();
    lines.join("\n")
}

/// Directives before the first document: `%YAML 1.1` and `%TAG`, and no others.
///
/// # Errors
/// The line, and what is wrong with it.
pub(super) fn directives(text: &str) -> Result<(), (usize, String)> {
    for (line, number) in text.split('\n').zip(1..) {
        let line = line.trim_end();
        match line.split(' ').next().unwrap_or_default() {
            "%YAML" if line.split_whitespace().nth(1) != Some("1.1") => {
                return Err((
                    number,
                    format!("`{line}`: Docker Compose reads YAML 1.1 and takes no other version"),
                ));
            }
            "%YAML" | "%TAG" | "" => {}
            word if word.starts_with('%') => {
                return Err((number, format!("`{word}` is not a directive of YAML")));
            }
            word if word.starts_with('#') => {}
            _ => return Ok(()),
        }
    }
    Ok(())
}
