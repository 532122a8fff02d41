//! Env files: `.env`, `--env-file`, `env_file` of an `include`.
//!
//! `NAME=value` or `NAME: value` a line, with `export` or without; `#` comments, after a value with a space before; single quotes
//! literal, double quotes with escapes and variables, without quotes variables; later lines use earlier ones; a name alone is
//! taken from the environment, which wins everywhere. Source: compose-go, `dotenv/parser.go`; measured.

use super::interpolation::{self, From, Outcome, Scope, Variables};
use crate::yaml::Place;
use std::{collections::BTreeSet, sync::Arc};

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct EnvFileError {
    /// Where.
    pub place: Place,
    /// What.
    pub reason: String,
    /// What to do.
    pub help: String,
}

/// What a file sets.
#[derive(Debug, Default)]
pub struct EnvFile {
    /// Its variables, and those of the files before.
    pub set: Variables,
    /// Variables that it uses and nobody sets.
    pub unset: BTreeSet<String>,
}

impl EnvFile {
    /// Reads one more file.
    ///
    /// # Errors
    /// The first line that can't be read.
    pub fn read(&mut self, file: &Arc<str>, text: &str, environment: &Variables) -> Result<(), EnvFileError> {
        let text = text.trim_start_matches('\u{feff}');
        let mut reader = Reader { file, text, at: 0, line: (0, 1), env_file: self, environment };
        while reader.statement()? {}
        Ok(())
    }
}

struct Reader<'a> {
    file: &'a Arc<str>,
    text: &'a str,
    at: usize,
    /// A byte position, and the line that it lies in.
    line: (usize, usize),
    env_file: &'a mut EnvFile,
    environment: &'a Variables,
}

/// White space, but no end of a line.
fn is_space(c: char) -> bool {
    matches!(c, '\t' | '\u{b}' | '\u{c}' | '\r' | ' ' | '\u{85}' | '\u{a0}')
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn skip(&mut self, what: impl Fn(char) -> bool) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches(what).len();
    }

    fn place(&mut self, at: usize, length: usize) -> Place {
        let (from, line) = if at >= self.line.0 { self.line } else { (0, 1) };
        let line = line + self.text[from..at].bytes().filter(|byte| *byte == b'\n').count();
        self.line = (at, line);
        let start = self.text[..at].rfind('\n').map_or(0, |newline| newline + 1);
        let column = self.text[start..at].chars().count() + 1;
        Place { file: self.file.clone(), line, column, length: length.max(1) }
    }

    fn wrong(&mut self, at: usize, reason: String, help: &str) -> EnvFileError {
        EnvFileError { place: self.place(at, 1), reason, help: help.to_owned() }
    }

    /// One statement; whether there was one.
    fn statement(&mut self) -> Result<bool, EnvFileError> {
        self.skip(char::is_whitespace);
        while self.rest().starts_with('#') {
            self.skip(|c| c != '\n');
            self.skip(char::is_whitespace);
        }
        if self.rest().is_empty() {
            return Ok(false);
        }
        if let Some(after) = self.rest().strip_prefix("export")
            && after.starts_with(char::is_whitespace)
        {
            self.at += "export".len();
            self.skip(is_space);
            if self.rest().is_empty() {
                return Err(self.wrong(self.at, "`export` without a name".to_owned(), "write `NAME=value`"));
            }
        }
        let start = self.at;
        let rest = self.rest();
        let end = rest.char_indices().find(|(_, c)| match c {
            '=' | ':' | '\n' => true,
            '_' | '.' | '-' | '[' | ']' => false,
            c => !is_space(*c) && !c.is_alphabetic() && !c.is_numeric(),
        });
        let (name, stop) = match end {
            None => ("", None),
            Some((at, stop @ ('=' | ':' | '\n'))) => {
                self.at += at + 1;
                (rest[..at].trim_end(), Some(stop))
            }
            Some((at, wrong)) => {
                let reason = format!("`{wrong}` can't be in a variable's name");
                return Err(self.wrong(start + at, reason, "write `NAME=value`, or `# ...` for a comment"));
            }
        };
        if name.contains(' ') {
            let reason = format!("`{name}` has a space in it, and a variable's name can't");
            return Err(self.wrong(start, reason, "write `NAME=value`"));
        }
        self.skip(is_space);
        if stop == Some('\n') {
            if let Some(variable) = self.environment.get(name) {
                let value = variable.value.clone();
                self.env_file.set.set(name, &value, variable.from.clone());
            }
            return Ok(true);
        }
        let value_at = self.at;
        let value = self.value()?;
        let value = match value {
            Raw::Literal(text) => text,
            Raw::WithVariables(text) => self.interpolated(&text, value_at)?,
        };
        if !name.is_empty() {
            let place = self.place(start, name.chars().count());
            self.env_file.set.set(name, &value, From::EnvFile(place));
        }
        Ok(true)
    }

    fn value(&mut self) -> Result<Raw, EnvFileError> {
        let rest = self.rest();
        let Some(quote) = rest.chars().next().filter(|c| matches!(c, '"' | '\'')) else {
            let line = rest.split('\n').next().unwrap_or_default();
            self.at += (line.len() + 1).min(rest.len());
            let value = line.split(" #").next().unwrap_or_default();
            return Ok(Raw::WithVariables(value.trim_end().to_owned()));
        };
        let mut value = String::new();
        let mut escaped = false;
        for (at, c) in rest.char_indices().skip(1) {
            match c {
                '\\' if !escaped => escaped = true,
                _ if c == quote && !escaped => {
                    self.at += at + 1;
                    return Ok(match quote {
                        '"' => Raw::WithVariables(unescaped(&value)),
                        _ => Raw::Literal(value),
                    });
                }
                _ => {
                    if escaped && c != quote {
                        value.push('\\');
                    }
                    escaped = false;
                    value.push(c);
                }
            }
        }
        let reason = format!("the quote `{quote}` is never closed");
        Err(self.wrong(self.at, reason, "close it, or escape it inside of other quotes"))
    }

    fn interpolated(&mut self, text: &str, at: usize) -> Result<String, EnvFileError> {
        let scope = Scope { first: self.environment, then: Some(&self.env_file.set) };
        match interpolation::substitute(text, scope) {
            Ok(done) => {
                let unset = done.used.iter().filter(|used| used.outcome == Outcome::Unset);
                self.env_file.unset.extend(unset.map(|used| used.name.clone()));
                Ok(done.text)
            }
            Err(error) => {
                Err(EnvFileError { place: self.place(at, 1), reason: error.to_string(), help: error.help() })
            }
        }
    }
}

enum Raw {
    Literal(String),
    WithVariables(String),
}

/// Escapes of double quotes; `\$` is a dollar sign that begins no variable.
fn unescaped(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let mut length = 1;
        match rest.chars().next() {
            Some('a') => out.push('\u{7}'),
            Some('b') => out.push('\u{8}'),
            Some('f') => out.push('\u{c}'),
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('t') => out.push('\t'),
            Some('v') => out.push('\u{b}'),
            Some('"') => out.push('"'),
            Some('\\') => out.push('\\'),
            Some('$') => out.push_str("$$"),
            Some('0') => {
                let digits: String = rest[1..].chars().take(3).take_while(char::is_ascii_digit).collect();
                length += digits.len();
                match u8::from_str_radix(&digits, 8) {
                    Ok(byte) if digits.len() == 3 => out.push(char::from(byte)),
                    _ => {
                        out.push('\\');
                        out.push_str(&digits);
                    }
                }
            }
            _ => {
                out.push('\\');
                length = 0;
            }
        }
        rest = &rest[length..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn read(text: &str) -> Result<EnvFile, EnvFileError> {
        let environment =
            BTreeMap::from([("HOST", "h"), ("WINS", "outside")].map(|(k, v)| (k.to_owned(), v.to_owned())));
        let mut env_file = EnvFile::default();
        env_file.read(&Arc::from(".env"), text, &Variables::of_environment(&environment))?;
        Ok(env_file)
    }

    #[test]
    fn values_in_every_writing() {
        for (line, value) in [
            ("X=a", "a"),
            ("export X=a", "a"),
            ("X: a", "a"),
            ("X = a ", "a"),
            ("X=a # comment", "a"),
            ("X=a#b", "a#b"),
            ("X=", ""),
            ("X='a $HOST \\n'", "a $HOST \\n"),
            ("X='it\\'s'", "it's"),
            ("X=\"a $HOST\"", "a h"),
            ("X=\"a\\nb\"", "a\nb"),
            ("X=\"\\$HOST\"", "$HOST"),
            ("X=\"say \\\"a\\\"\"", "say \"a\""),
            ("X=\"\\0101\\q\"", "A\\q"),
            ("X=$$HOST", "$HOST"),
            ("X=${NO:-$HOST}", "h"),
            ("X=\"two\nlines\"", "two\nlines"),
            ("Y=1\nX=$Y$Y", "11"),
            ("X=1\nX=2", "2"),
            ("WINS=inside\nX=$WINS", "outside"),
            ("X=\"a\" # comment", "a"),
            ("\u{feff}X=a\r\n", "a"),
            ("# X=b\n\n  X=a", "a"),
        ] {
            assert_eq!(read(line).unwrap().set.value("X"), Some(value), "{line:?}");
        }
    }

    #[test]
    fn a_name_alone_is_taken_from_the_environment() {
        let read = read("HOST\nNOWHERE\nX=1\n").unwrap().set;
        assert_eq!(
            (read.value("HOST"), read.value("NOWHERE"), read.value("X")),
            (Some("h"), None, Some("1"))
        );
    }

    #[test]
    fn a_variable_knows_its_line() {
        let read = read("# one\n\nA=1\n  BB=$NO\n").unwrap();
        let Some(From::EnvFile(place)) = read.set.get("BB").map(|variable| variable.from.clone()) else {
            panic!()
        };
        assert_eq!((place.line, place.column, place.length), (4, 3, 2));
        assert_eq!(read.unset, BTreeSet::from(["NO".to_owned()]));
    }

    #[test]
    fn what_cannot_be_read_says_where() {
        for (text, line, words) in [
            ("A=1\nB='x\n", 2, "never closed"),
            ("A=1\n<<<<<<<\n", 2, "`<` can't be"),
            ("A B=1\n", 1, "has a space in it"),
            ("A=1\nB=${C:?no}\n", 2, "is required: no"),
            ("A=${\n", 1, "not how a variable is written"),
            ("export ", 1, "without a name"),
        ] {
            let error = read(text).unwrap_err();
            assert_eq!(error.place.line, line, "{text:?}");
            assert!(error.reason.contains(words), "{text:?}: {}", error.reason);
        }
    }
}
