//! A mapping whose values are checked as Docker Compose's schema checks them.

use crate::{
    problem::Problem,
    spelling,
    yaml::{Node, Value, scalar},
};
use std::collections::{BTreeMap, HashSet};

/// Keys of an entry and of a top-level volume by the mapping that they stand in: for those that are nearly spelt so.
const KNOWN: [(&str, &str); 20] = [
    ("", "type"),
    ("", "source"),
    ("", "target"),
    ("", "read_only"),
    ("", "consistency"),
    ("", "bind"),
    ("", "volume"),
    ("", "tmpfs"),
    ("", "driver"),
    ("", "driver_opts"),
    ("", "external"),
    ("", "name"),
    ("", "labels"),
    ("bind", "propagation"),
    ("bind", "create_host_path"),
    ("bind", "selinux"),
    ("volume", "nocopy"),
    ("volume", "subpath"),
    ("tmpfs", "size"),
    ("tmpfs", "mode"),
];

/// A number as Docker Compose prints it.
pub fn number(kind: scalar::Kind, text: &str) -> String {
    match kind {
        scalar::Kind::Int(number) => number.to_string(),
        scalar::Kind::Float(number) => {
            // Go switches to an exponent from 1e21 on, and below 1e-4.
            match number.abs() {
                size if size != 0.0 && !(1e-4..1e21).contains(&size) => {
                    let scientific = format!("{number:e}");
                    match scientific.split_once('e') {
                        Some((mantissa, exponent)) => {
                            let (sign, digits) = match exponent.strip_prefix('-') {
                                Some(digits) => ('-', digits),
                                None => ('+', exponent),
                            };
                            format!("{mantissa}e{sign}{digits:0>2}")
                        }
                        None => scientific,
                    }
                }
                _ => number.to_string(),
            }
        }
        _ => text.to_owned(),
    }
}

/// A mapping whose values are being checked.
pub struct Block<'a> {
    /// Whose it is, for messages.
    pub what: &'a str,
    /// The code of what is wrong in it.
    pub code: &'static str,
    /// Where problems go.
    pub problems: &'a mut Vec<Problem>,
}

impl Block<'_> {
    /// Something is wrong.
    pub fn wrong(&mut self, node: &Node, reason: String, help: &str) {
        let problem = Problem::error(self.code, reason, help).at(&node.place);
        self.problems.push(problem.came_by(node.origin.as_ref()));
    }

    /// A value is of the wrong kind.
    pub fn kind(&mut self, path: &str, node: &Node, wanted: &str) {
        let reason = format!("`{path}` of {} is {}, not {wanted}", self.what, node.kind());
        let help = match (wanted, node.as_scalar()) {
            ("a string", Some(text)) => format!("write it in quotes: `\"{text}\"`"),
            _ => format!("write {wanted}"),
        };
        self.wrong(node, reason, &help);
    }

    /// A key that Docker Compose doesn't know; those that begin with `x-` are the author's own.
    pub fn unknown(&mut self, path: &str, node: &Node) {
        if !path.rsplit('.').next().is_some_and(|key| key.starts_with("x-")) {
            let reason = format!("{} has no key `{path}`", self.what);
            let (group, key) = path.rsplit_once('.').map_or(("", path), |(group, key)| (group, key));
            let known = KNOWN.iter().filter(|(of, _)| *of == group).map(|(_, key)| *key);
            let help = spelling::did_you_mean(key, known);
            self.wrong(node, reason, &help.unwrap_or_else(|| "check its spelling, or remove it".to_owned()));
        }
    }

    /// A string.
    pub fn string(&mut self, path: &str, node: &Node) -> Option<String> {
        if node.as_text().is_none() {
            self.kind(path, node, "a string");
        }
        node.as_text().map(str::to_owned)
    }

    /// A boolean, or a string that means one.
    pub fn boolean(&mut self, path: &str, node: &Node) -> Option<bool> {
        if let Value::Scalar { kind: scalar::Kind::Bool(bool), .. } = node.value {
            return Some(bool);
        }
        let Some(text) = node.as_text() else {
            self.kind(path, node, "a boolean");
            return None;
        };
        let bool = match text.to_lowercase().as_str() {
            "true" | "y" | "yes" | "on" => Some(true),
            "false" | "n" | "no" | "off" => Some(false),
            _ => None,
        };
        if bool.is_none() {
            self.wrong(node, format!("`{path}` of {} is `{text}`", self.what), "write `true` or `false`");
        }
        bool
    }

    /// One of some words.
    pub fn one_of(&mut self, path: &str, node: &Node, words: &[&str]) -> Option<String> {
        let text = self.string(path, node)?;
        if !words.contains(&text.as_str()) {
            self.wrong(
                node,
                format!("`{path}` can't be `{text}`"),
                &format!("write one of {}", words.join(", ")),
            );
        }
        Some(text)
    }

    /// A mapping within the mapping: each of its keys with its path, and its value.
    pub fn mapping(&mut self, name: &str, node: &Node, mut each: impl FnMut(&mut Self, &str, &Node, &Node)) {
        let Some(pairs) = node.as_mapping() else {
            return self.kind(name, node, "a mapping");
        };
        for (key, value) in pairs {
            each(self, &format!("{name}.{}", key.as_text().unwrap_or_default()), key, value);
        }
    }

    /// Labels as a mapping, or as a list of `key=value`.
    pub fn labels(&mut self, path: &str, node: &Node) -> BTreeMap<String, String> {
        let mut labels = BTreeMap::new();
        match &node.value {
            Value::Mapping(pairs) => {
                for (key, value) in pairs {
                    let key = key.as_text().unwrap_or_default().to_owned();
                    match &value.value {
                        Value::Scalar { kind: scalar::Kind::Null, .. } => {
                            drop(labels.insert(key, String::new()))
                        }
                        Value::Scalar { text, kind, .. } => drop(labels.insert(key, number(*kind, text))),
                        _ => self.kind(&format!("{path}.{key}"), value, "a string"),
                    }
                }
            }
            Value::List(items) => {
                let mut seen = HashSet::new();
                for item in items {
                    match item.as_text() {
                        Some(text) if !seen.insert(text) => {
                            self.wrong(item, format!("`{text}` is in `{path}` twice"), "keep one of them");
                        }
                        Some(text) => {
                            let (key, value) = text.split_once('=').unwrap_or((text, ""));
                            labels.insert(key.to_owned(), value.to_owned());
                        }
                        None => self.kind(path, item, "a string"),
                    }
                }
            }
            Value::Scalar { .. } => self.kind(path, node, "a mapping"),
        }
        labels
    }

    /// Bytes, or a string with a unit.
    pub fn size(&mut self, path: &str, node: &Node) -> Option<i64> {
        let size = match &node.value {
            Value::Scalar { kind: scalar::Kind::Int(number), .. } => {
                i64::try_from(*number).ok().filter(|size| *size >= 0)
            }
            // Docker Compose takes a whole number written as another one, and forgets it.
            Value::Scalar { kind: scalar::Kind::Float(number), .. } => {
                (*number >= 0.0 && number.fract() == 0.0).then_some(0)
            }
            Value::Scalar { text, kind: scalar::Kind::String, .. } => bytes(text),
            _ => None,
        };
        if size.is_none() {
            let reason = format!("`{path}` is not a size");
            self.wrong(node, reason, "write bytes, or a number with a unit: `64m`");
        }
        size
    }

    /// Permissions, in octal. As in Docker Compose, a number that is too large loses its upper bits.
    pub fn mode(&mut self, path: &str, node: &Node) -> Option<u32> {
        let mode = match node.value {
            Value::Scalar { kind: scalar::Kind::Int(number), .. } if number >= 0 => {
                Some((number & i128::from(u32::MAX)) as u32)
            }
            Value::Scalar { kind: scalar::Kind::Float(number), .. } if number >= 0.0 => Some(number as u32),
            _ => None,
        };
        if mode.is_none() {
            self.wrong(
                node,
                format!("`{path}` is not a number"),
                "write it in octal, without quotes: `0o1777`",
            );
        }
        mode
    }
}

/// A size with a unit of memory: `10m`, `1.5 GiB`. Source: go-units, `RAMInBytes`.
pub fn bytes(text: &str) -> Option<i64> {
    let end = text.rfind(|c: char| c.is_ascii_digit() || c == '.')? + 1;
    let (number, unit) = text.split_at(end);
    let number: f64 =
        number.trim_start().replace('_', "").parse().ok().filter(|number: &f64| *number >= 0.0)?;
    let unit = unit.strip_prefix(' ').unwrap_or(unit).to_lowercase();
    let power = match unit.chars().next() {
        None | Some('b') => 0,
        Some('k') => 1,
        Some('m') => 2,
        Some('g') => 3,
        Some('t') => 4,
        Some('p') => 5,
        Some(_) => return None,
    };
    let rest: String = unit.chars().skip(1).collect();
    (matches!(rest.as_str(), "" | "b" | "ib") && (power > 0 || rest.is_empty()))
        .then(|| (number * 1024_f64.powi(power)) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_of_memory() {
        for (text, size) in [
            ("10", Some(10)),
            ("10b", Some(10)),
            ("1k", Some(1024)),
            ("1.5 MiB", Some(1_572_864)),
            ("2GB", Some(2 << 30)),
            ("", None),
            ("m", None),
            ("-5m", None),
            ("10x", None),
            ("10  m", None),
        ] {
            assert_eq!(bytes(text), size, "{text:?}");
        }
    }

    #[test]
    fn numbers_are_printed_as_docker_compose_prints_them() {
        for (text, printed) in
            [("0777", "511"), ("1.50", "1.5"), ("1e3", "1000"), ("1e30", "1e+30"), ("0.00001", "1e-05")]
        {
            assert_eq!(number(scalar::Kind::of(text), text), printed, "{text:?}");
        }
    }
}
