//! The diagnostic codes: each with its story, and those that only warn.

/// All stories: the pages that are published are what is printed. What compose files and task definitions are told, and what is
/// told of the share.
const PAGES: [&str; 2] = [include_str!("../../docs/codes.md"), include_str!("../../docs/share-codes.md")];

/// Codes of warnings, which can be silenced. All others refuse something.
pub const WARNINGS: [&str; 13] = [
    "build-output",
    "hidden-by-own",
    "ignored-option",
    "inactive-service",
    "machine-file",
    "non-root-image",
    "several-database-tasks",
    "several-files",
    "socket",
    "tmpfs-rounded",
    "uncovered-image-volume",
    "volume-renamed",
    "x-volumes",
];

/// A code's section without its heading.
pub fn section(code: &str) -> Option<&'static str> {
    let heading = format!("\n## {code}\n");
    let rest = PAGES.iter().find_map(|page| page.split_once(&heading))?.1;
    Some(rest.split("\n## ").next().unwrap_or(rest).trim())
}

/// Each code with the first line of its story.
pub fn all() -> impl Iterator<Item = (&'static str, &'static str)> {
    let sections = PAGES.iter().flat_map(|page| page.split("\n## ").skip(1));
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
        assert!(all().count() > 60);
        for (code, first) in all() {
            let text = section(code).unwrap();
            assert!(text.starts_with(first) && !first.is_empty(), "{code}");
            assert!(!text.contains("\n## "), "{code}");
        }
        assert_eq!(section("no-such-code"), None);
    }

    #[test]
    fn every_warning_is_a_code_that_says_so() {
        for code in WARNINGS {
            let text = section(code).unwrap_or_else(|| panic!("{code} has no section"));
            assert!(text.to_lowercase().contains("warning"), "{code}");
        }
    }
}
