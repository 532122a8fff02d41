//! A problem as GitHub annotates a change with it: one workflow command a problem, at its file and line.
//!
//! Source: GitHub Actions, "Workflow commands": `::error file={name},line={line},col={col},endColumn={end},title={title}::{message}`;
//! `%`, CR and LF are escaped in messages, in properties also `:` and `,`.

use super::{Problem, Severity};

/// The command, ending with a line break.
pub fn command(problem: &Problem) -> String {
    let kind = match problem.severity {
        Severity::Error | Severity::Refused => "error",
        Severity::Warning => "warning",
    };
    let mut properties = Vec::new();
    if let Some(place) = &problem.place {
        properties.push(format!("file={}", property(&place.file)));
        properties.push(format!("line={}", place.line));
        properties.push(format!("col={}", place.column));
        properties.push(format!("endColumn={}", place.column + place.length));
    }
    properties.push(format!("title={}", property(&format!("{}[{}]", problem.severity.word(), problem.code))));
    let mut message = format!("{}{}", problem.whose(), problem.reason);
    for label in &problem.related {
        message.push_str(&format!("\n{}:{}:{}: {}", label.file, label.line, label.column, label.text));
    }
    if let Some(others) = problem.of_others() {
        message.push_str(&format!("\n{others}"));
    }
    if let Some(why) = &problem.why {
        message.push_str(&format!("\nwhy: {why}"));
    }
    message.push_str(&format!("\nhelp: {}", problem.help));
    if let Some(fix) = &problem.fix {
        message.push_str(&format!(": {fix}"));
    }
    format!("::{kind} {}::{}\n", properties.join(","), data(&message))
}

/// A command without a place.
pub fn line(kind: &str, text: &str) -> String {
    format!("::{kind}::{}\n", data(text))
}

fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_problem_ends_its_command_early() {
        let mut problem = Problem::warning("socket", "50%\nof: it, all", "do");
        problem.fix = Some("x".to_owned());
        assert_eq!(command(&problem), "::warning title=warning[socket]::50%25%0Aof: it, all%0Ahelp: do: x\n");
        problem.place = Some(crate::problem::Label {
            file: "a,b:c.yml".to_owned(),
            line: 3,
            column: 5,
            length: 2,
            text: String::new(),
        });
        assert!(
            command(&problem).starts_with("::warning file=a%2Cb%3Ac.yml,line=3,col=5,endColumn=7,title=")
        );
    }
}
