//! The parser's words about a file that isn't YAML, in its author's.

/// What is wrong, and what to do; `line` is from 1.
pub fn of_syntax(message: &str, text: &str, line: usize) -> (String, String) {
    let this = text.split('\n').nth(line.saturating_sub(1)).unwrap_or_default();
    if message.contains("tab") {
        return (format!("this is not YAML: {message}"), "indent the line by spaces".to_owned());
    }
    if message.contains("unknown anchor") {
        let name = this
            .split('*')
            .nth(1)
            .map_or("", |rest| rest.split([' ', ',', ']', '}', '\r']).next().unwrap_or(rest));
        return (
            format!("`*{name}` names no anchor that stands above it"),
            format!("write `&{name}` before the value that is meant, further up; or correct the name"),
        );
    }
    if message.contains("quoted scalar") {
        return ("the quote that begins here is never closed".to_owned(), "close it on this line".to_owned());
    }
    let is_about_structure =
        ["expected key", "expected '-'", "mapping values are not allowed", "block collection"]
            .iter()
            .any(|words| message.contains(words));
    if is_about_structure && let Some(told) = indentation(text, line) {
        return told;
    }
    let help = "look at this line and the one above: a missing colon, quote or bracket, or an indentation that fits nothing";
    (format!("this is not YAML: {message}"), help.to_owned())
}

/// A line whose indentation is none of the levels that are open above it.
fn indentation(text: &str, line: usize) -> Option<(String, String)> {
    let lines: Vec<&str> = text.split('\n').take(line).collect();
    let depth = |line: &str| line.len() - line.trim_start_matches(' ').len();
    let (this, above) = lines.split_last()?;
    let mine = depth(this);
    let mut open: Vec<(usize, usize, &str)> = Vec::new();
    for (index, line) in above.iter().enumerate().rev() {
        let content = line.trim();
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        if open.last().is_none_or(|(before, _, _)| depth(line) < *before) {
            open.push((depth(line), index + 1, content));
        }
    }
    if open.iter().any(|(level, _, _)| *level == mine) || open.is_empty() {
        return None;
    }
    let spaces = |count: usize| if count == 1 { "1 space".to_owned() } else { format!("{count} spaces") };
    let mut fitting: Vec<&(usize, usize, &str)> = open.iter().collect();
    fitting.sort_by_key(|(level, _, _)| level.abs_diff(mine));
    fitting.truncate(2);
    fitting.sort();
    let told = fitting.iter().map(|(level, number, content)| {
        let start: String = content.chars().take(30).collect();
        format!("{} as `{start}` in line {number}", spaces(*level))
    });
    let help = format!("indent it by {}", told.collect::<Vec<_>>().join(", or by "));
    Some((format!("the line is indented by {}, which fits no line above it", spaces(mine)), help))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_indentation_that_fits_nothing_is_told_with_what_would_fit() {
        let text = "services:\n  web:\n    image: nginx\n   volumes:\n";
        let (reason, help) = of_syntax("did not find expected key", text, 4);
        assert_eq!(reason, "the line is indented by 3 spaces, which fits no line above it");
        assert_eq!(
            help,
            "indent it by 2 spaces as `web:` in line 2, or by 4 spaces as `image: nginx` in line 3"
        );
        let fits = "services:\n  web:\n  image nginx\n  x: y\n";
        assert!(of_syntax("did not find expected key", fits, 4).0.starts_with("this is not YAML"));
    }

    #[test]
    fn an_anchor_that_is_not_there_is_named() {
        let (reason, _) = of_syntax("while parsing node, found unknown anchor", "a: *nowhere\n", 1);
        assert_eq!(reason, "`*nowhere` names no anchor that stands above it");
    }
}
