//! What patching changes of a task definition, as people read changes: a unified diff.

use super::compare::normal;
use serde_json::Value;
use similar::TextDiff;

/// Lines of JSON around a change, which tell where it is.
const CONTEXT_LINES: usize = 3;

/// The unified diff of two documents, ECS's defaults, the order of what has none, and our own notes aside: empty, where the two are the
/// same.
pub fn unified(before: &Value, after: &Value, name_before: &str, name_after: &str) -> String {
    let (before, after) = (format!("{:#}\n", normal(before)), format!("{:#}\n", normal(after)));
    TextDiff::from_lines(&before, &after)
        .unified_diff()
        .context_radius(CONTEXT_LINES)
        .header(name_before, name_after)
        .to_string()
}

/// The same with the colours that `git diff` has.
pub fn coloured(diff: &str) -> String {
    let line = |line: &str| {
        let colour = match line.as_bytes() {
            [b'-', b'-', b'-', ..] | [b'+', b'+', b'+', ..] => "1",
            [b'@', b'@', ..] => "36",
            [b'-', ..] => "31",
            [b'+', ..] => "32",
            _ => return format!("{line}\n"),
        };
        format!("\u{1b}[{colour}m{line}\u{1b}[0m\n")
    };
    diff.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_differs_is_shown_and_coloured() {
        let (before, after) = (json!({ "b": [], "a": 1 }), json!({ "b": ["x"], "a": 1, "essential": true }));
        let diff = unified(&before, &after, "web:41", "patched");
        assert_eq!(
            diff,
            "--- web:41\n+++ patched\n@@ -1,3 +1,6 @@\n {\n-  \"a\": 1\n+  \"a\": 1,\n+  \"b\": [\n+    \"x\"\n+  ]\n }\n"
        );
        let coloured = coloured(&diff);
        assert!(coloured.starts_with("\u{1b}[1m--- web:41\u{1b}[0m\n\u{1b}[1m+++ patched"));
        assert!(coloured.contains("\u{1b}[31m-  \"a\": 1\u{1b}[0m\n\u{1b}[32m+  \"a\": 1,"));
        assert_eq!(unified(&before, &before, "a", "b"), "");
    }
}
