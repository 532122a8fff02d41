//! `volumes-agent explain`: the long story of a diagnostic code.

use crate::{
    commands::files::print,
    diagnostics::{Exit, Failure},
    spelling,
};
use clap::Args;

/// All stories: the page that is published is the one that is printed.
const PAGE: &str = include_str!("../../../docs/codes.md");

/// Flags of `explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// The code, as in `error[unset-variable]`; all of them are listed without one.
    #[arg(value_name = "CODE")]
    pub code: Option<String>,
}

/// Prints it.
///
/// # Errors
/// There is no such code.
pub fn run(args: &ExplainArgs) -> Result<Exit, Failure> {
    let Some(code) = &args.code else {
        return print(&codes().map(|(code, first)| format!("{code:<24} {first}\n")).collect::<String>());
    };
    // As it stands in a message, it can be pasted: `error[unset-variable]:`.
    let code = code.rsplit('[').next().unwrap_or(code).trim_end_matches([':', ']']);
    match section(code) {
        Some(text) => print(&format!("{code}\n\n{text}\n")),
        None => {
            let meant = spelling::did_you_mean(code, codes().map(|(known, _)| known)).unwrap_or_default();
            Err(Failure::refused(format!("there is no code `{code}`"))
                .help(format!("{meant} `volumes-agent explain` lists them all").trim_start().to_owned()))
        }
    }
}

/// A code's section without its heading.
fn section(code: &str) -> Option<&'static str> {
    let start = PAGE.find(&format!("\n## {code}\n"))? + code.len() + "\n## \n".len();
    let rest = &PAGE[start..];
    Some(rest.split("\n## ").next().unwrap_or(rest).trim())
}

/// Each code with the first line of its story.
fn codes() -> impl Iterator<Item = (&'static str, &'static str)> {
    let sections = PAGE.split("\n## ").skip(1);
    sections.filter_map(|section| {
        let (code, text) = section.split_once('\n')?;
        Some((code.trim(), text.trim().lines().next().unwrap_or_default()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_section_is_found_by_its_code() {
        assert!(codes().count() > 60);
        for (code, first) in codes() {
            let text = section(code).unwrap();
            assert!(text.starts_with(first) && !first.is_empty(), "{code}");
            assert!(!text.contains("\n## "), "{code}");
        }
        assert_eq!(section("no-such-code"), None);
    }
}
