//! `[source:]target[:options]`, taken apart as Docker Compose does it.
//!
//! From left to right; `:` ends a part, except after a single letter that begins one (a drive of Windows) and within `${...}`.
//! One or two characters are a target whatever they are. Nothing is trimmed. Source: compose-go, `format/volume.go`; measured.

use super::{Declaration, Kind, Options, Source, complaint::DeclarationError};

/// Words for `bind.propagation`.
const PROPAGATIONS: [&str; 6] = ["rprivate", "private", "rshared", "shared", "rslave", "slave"];

/// Takes an entry apart.
///
/// # Errors
/// What Docker Compose refuses: an empty part, or more than three.
pub fn parse(text: &str) -> Result<Declaration, DeclarationError> {
    let mut declaration = Declaration {
        text: text.to_owned(),
        kind: Kind::Volume,
        source: None,
        target: text.to_owned(),
        read_only: false,
        options: Options::default(),
    };
    if text.is_empty() {
        return Err(DeclarationError::Empty(String::new()));
    }
    if text.len() <= 2 {
        return Ok(declaration);
    }
    let parts = split(text);
    if parts.iter().take(3).any(|part| part.is_empty()) {
        return Err(DeclarationError::Empty(text.to_owned()));
    }
    match parts.as_slice() {
        [target] => declaration.target.clone_from(target),
        [source, target] => declaration.takes(source, target),
        [source, target, options] => {
            declaration.takes(source, target);
            for option in options.split(',') {
                declaration.option(option);
            }
        }
        _ => return Err(DeclarationError::TooManyParts { text: text.to_owned(), parts: parts.len() }),
    }
    Ok(declaration)
}

fn split(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut depth = 0_usize;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let opens = character == '$' && characters.peek() == Some(&'{');
        let closes = character == '}' && depth > 0;
        depth = if opens { depth + 1 } else { depth - usize::from(closes) };
        let Some(part) = parts.last_mut() else { break };
        if character == ':' && depth == 0 && !closes && !is_drive(part) {
            parts.push(String::new());
        } else {
            part.push(character);
        }
    }
    parts
}

fn is_drive(part: &str) -> bool {
    let mut characters = part.chars();
    characters.next().is_some_and(char::is_alphabetic) && characters.next().is_none()
}

/// Whether a source is a path, and not a volume's name.
fn is_path(source: &str) -> bool {
    let mut characters = source.chars();
    match characters.next() {
        Some('.' | '/' | '~') => true,
        Some('\\') => source.starts_with("\\\\"),
        Some(first) => first.is_alphabetic() && characters.next() == Some(':'),
        None => false,
    }
}

impl Declaration {
    fn takes(&mut self, source: &str, target: &str) {
        target.clone_into(&mut self.target);
        if is_path(source) {
            self.kind = Kind::Bind;
            self.source = Some(Source::of_bind(source));
        } else {
            self.source = Some(Source::Named(source.to_owned()));
        }
    }

    /// The last word of a kind wins.
    fn option(&mut self, word: &str) {
        match word {
            "ro" => self.read_only = true,
            "rw" => self.read_only = false,
            "nocopy" => self.options.nocopy = true,
            "z" | "Z" => self.options.selinux = Some(word.to_owned()),
            _ if PROPAGATIONS.contains(&word) => self.options.propagation = Some(word.to_owned()),
            _ => self.options.dropped.push(word.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Kind, source and target of an entry.
    fn parts(text: &str) -> (Kind, Option<String>, String) {
        let read = parse(text).unwrap();
        (read.kind, read.source.map(|source| source.written().to_owned()), read.target)
    }

    #[test]
    fn entries_are_taken_apart_as_docker_compose_does_it() {
        use Kind::{Bind, Volume};
        for (text, kind, source, target) in [
            ("/data", Volume, None, "/data"),
            ("data", Volume, None, "data"),
            ("/a:/b", Bind, Some("/a"), "/b"),
            ("./a:/b", Bind, Some("./a"), "/b"),
            (".:/b", Bind, Some("."), "/b"),
            ("~/a:/b", Bind, Some("~/a"), "/b"),
            ("db:/b", Volume, Some("db"), "/b"),
            ("a/b:/c", Volume, Some("a/b"), "/c"),
            (" /a:/b", Volume, Some(" /a"), "/b"),
            ("/a: /b", Bind, Some("/a"), " /b"),
            ("/x:ro", Bind, Some("/x"), "ro"),
            ("a", Volume, None, "a"),
            ("::", Volume, None, "::"),
            (":", Volume, None, ":"),
            ("v:/y", Volume, None, "v:/y"),
            ("v:/y:/z", Bind, Some("v:/y"), "/z"),
            ("/a:b:/c", Bind, Some("/a"), "b:/c"),
            ("C:\\a:/b:ro", Bind, Some("C:\\a"), "/b"),
            ("\\\\host\\share:/b", Bind, Some("\\\\host\\share"), "/b"),
            ("\\a:/b", Volume, Some("\\a"), "/b"),
            ("${A:-/x}:/y", Volume, Some("${A:-/x}"), "/y"),
            ("\u{e4}\u{754c}:/y", Volume, Some("\u{e4}\u{754c}"), "/y"),
        ] {
            assert_eq!(parts(text), (kind, source.map(str::to_owned), target.to_owned()), "{text:?}");
        }
    }

    #[test]
    fn options_of_the_short_form() {
        let read = |text: &str| parse(text).unwrap();
        assert!(read("/a:/b:rw,ro").read_only);
        assert!(!read("/a:/b:ro,rw").read_only);
        assert_eq!(read("/a:/b:z,Z").options.selinux.as_deref(), Some("Z"));
        assert_eq!(read("db:/b:rslave").options.propagation.as_deref(), Some("rslave"));
        assert!(read("/a:/b:nocopy").options.nocopy);
        assert_eq!(read("/a:/b:RO,,cached").options.dropped, ["RO", "", "cached"]);
    }

    #[test]
    fn what_docker_compose_refuses() {
        for (text, code) in [
            ("", "empty-part"),
            (":/b", "empty-part"),
            ("/a:", "empty-part"),
            ("/a:/b:", "empty-part"),
            (":::", "empty-part"),
            ("/a:/b:ro:x", "too-many-parts"),
        ] {
            assert_eq!(parse(text).unwrap_err().code(), code, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn parts_joined_again_are_the_entry(text in "[a-c:/.$~{}]{3,12}") {
            prop_assert_eq!(split(&text).join(":"), text);
        }
    }
}
