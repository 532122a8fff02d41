//! Paths as text, as Docker Compose handles them: nothing is looked up.

/// Cleans a path: `//`, `.`, `..` and a trailing slash go; `..` never climbs above `/`, but may lead a relative path; nothing left
/// is `.`. Source: Go, `path.Clean`.
pub fn clean(path: &str) -> String {
    let is_absolute = path.starts_with('/');
    let mut kept: Vec<&str> = Vec::new();
    for component in path.split('/') {
        match component {
            "" | "." => {}
            ".." if kept.last().is_some_and(|last| *last != "..") => drop(kept.pop()),
            ".." if is_absolute => {}
            name => kept.push(name),
        }
    }
    match (is_absolute, kept.is_empty()) {
        (true, _) => format!("/{}", kept.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => kept.join("/"),
    }
}

/// `path` below `folder`, cleaned; an absolute one stays as it is.
pub fn within(folder: &str, path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { clean(&format!("{folder}/{path}")) }
}

/// The folder that a path lies in.
pub fn parent(path: &str) -> &str {
    match path.rfind('/') {
        Some(0) => "/",
        Some(at) => &path[..at],
        None => ".",
    }
}

/// The last component.
pub fn file_name(path: &str) -> &str {
    path.rsplit('/').find(|component| !component.is_empty()).unwrap_or_default()
}

/// A path that begins with `~`, in that folder: `~/x`, and as Docker Compose has it, `~bob/x` too.
pub fn of_home(home: &str, path: &str) -> String {
    clean(&format!("{home}/{}", path.trim_start_matches('~')))
}

/// Whether a path is absolute on Windows, and so left alone: `C:\x`, `c:/x`, `\\host\share`, `\\.\pipe\x`.
pub fn is_windows(path: &str) -> bool {
    let is_separator = |byte: &u8| matches!(byte, b'/' | b'\\');
    match path.as_bytes() {
        [_, b':', rest @ ..] => rest.first().is_some_and(is_separator),
        [first, second, ..] => is_separator(first) && is_separator(second),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_are_cleaned_as_text() {
        for (path, cleaned) in [
            ("/a//b/./c/", "/a/b/c"),
            ("/../a", "/a"),
            ("/", "/"),
            ("", "."),
            ("./x", "x"),
            ("a/..", "."),
            ("../a/../../b", "../../b"),
            (" /a", " /a"),
        ] {
            assert_eq!(clean(path), cleaned, "{path:?}");
        }
    }

    #[test]
    fn parts_of_paths() {
        assert_eq!((parent("/a/b"), parent("/a"), parent("a")), ("/a", "/", "."));
        assert_eq!((file_name("/a/b/"), file_name("/")), ("b", ""));
        assert_eq!((within("/a/b", "../c"), within("/a", "/c/..")), ("/a/c".to_owned(), "/c/..".to_owned()));
        assert_eq!((of_home("/h", "~bob/x"), of_home("/h", "~")), ("/h/bob/x".to_owned(), "/h".to_owned()));
        for (path, is) in
            [("c:/x", true), ("C:\\x", true), ("\\\\.\\pipe\\x", true), ("C:x", false), ("\\x", false)]
        {
            assert_eq!(is_windows(path), is, "{path}");
        }
    }

    proptest! {
        #[test]
        fn cleaning_a_clean_path_changes_nothing(path in "[/.a-c]{0,12}") {
            let once = clean(&path);
            prop_assert_eq!(clean(&once), once.clone());
            prop_assert!(!once.contains("//") && !once.is_empty());
        }
    }
}
