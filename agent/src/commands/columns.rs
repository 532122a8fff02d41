//! Rows as aligned lines, each column as wide as it looks, and how many columns a reader has.

use std::io::IsTerminal;
use unicode_width::UnicodeWidthStr;

/// A line for the heads and one a row; the last column is not padded.
pub fn aligned<const N: usize>(heads: [&str; N], rows: &[[String; N]]) -> Vec<String> {
    let heads = heads.map(str::to_owned);
    let width =
        |column: usize| rows.iter().chain([&heads]).map(|row| row[column].width()).max().unwrap_or_default();
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths).map(|(text, width)| {
            let padding = " ".repeat(width.saturating_sub(text.width()));
            format!("{text}{padding}")
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    std::iter::once(&heads).chain(rows).map(line).collect()
}

/// A page of such lines; below each row why, with its code, where there is a reason.
pub fn with_reasons<'a>(
    lines: Vec<String>,
    reasons: impl Iterator<Item = (Option<&'a str>, Option<&'a str>)>,
) -> String {
    let mut lines = lines.into_iter();
    let mut page = lines.next().unwrap_or_default() + "\n";
    for (line, (code, reason)) in lines.zip(reasons) {
        page += &format!("{line}\n");
        if let Some(reason) = reason {
            let code = code.map(|code| format!("[{code}] ")).unwrap_or_default();
            page += &format!("  {code}{reason}\n");
        }
    }
    page
}

/// How many columns there are: those of the terminal, else `COLUMNS`. None where neither says it: logs and pipes have no end of a
/// line, and a line a volume is what they are searched for.
pub fn width() -> Option<usize> {
    let of_terminal = || terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
    let of_variable = || std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let found =
        if std::io::stdout().is_terminal() { of_terminal().or_else(of_variable) } else { of_variable() };
    found.filter(|width| *width > 0)
}

/// Whether all lines fit where there are so many columns.
pub fn fit(lines: &[String], width: Option<usize>) -> bool {
    width.is_none_or(|width| lines.iter().all(|line| line.width() <= width))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_look() {
        let row = |service: &str, target: &str| [service, target, "/s"].map(str::to_owned);
        let rows = [row("web", "/\u{6570}\u{636e}"), row("web", "/data")];
        let [heads, wide, narrow] = <[String; 3]>::try_from(aligned(["A", "B", "C"], &rows)).unwrap();
        assert_eq!(heads, "A    B      C");
        assert_eq!(wide.width(), narrow.width(), "{wide}\n{narrow}");
        assert!(wide.chars().count() < narrow.chars().count());
    }
}
