//! A compose file's volumes: services with their entries, each with its place; and the top-level `volumes:`.
//!
//! Lenient about everything that has nothing to do with volumes. About volumes nothing is guessed and nothing dropped: what isn't
//! understood yet (long syntax, interpolation, anchors, `extends`, `include`) is an error that says so.
//! Source: Compose specification, `services`, `volumes` short syntax.

use crate::{
    declaration::{Declaration, Source},
    diagnostics::Problem,
    names::{ServiceName, VolumeName},
    yaml::{self, Node, Place, Value},
};

/// Largest file that is read, in bytes.
pub const LARGEST_BYTES: usize = 1024 * 1024;

/// A compose file, as far as volumes go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Compose {
    /// The file's name, as given.
    pub file: String,
    /// `name:`
    pub name: Option<String>,
    /// Services in the file's order.
    pub services: Vec<Service>,
    /// Top-level volumes in the file's order.
    pub volumes: Vec<TopLevelVolume>,
}

/// A service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: ServiceName,
    /// Its entries in order.
    pub entries: Vec<Entry>,
}

/// One entry of a service's `volumes:`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it declares.
    pub declaration: Declaration,
    /// Where it stands.
    pub place: Place,
}

/// A top-level volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopLevelVolume {
    /// Its key.
    pub key: VolumeName,
    /// Where the key stands.
    pub place: Place,
    /// `name:`
    pub name: Option<String>,
    /// `external: true`
    pub is_external: bool,
    /// A driver other than `local`, or `driver_opts`.
    pub special_driver: Option<String>,
}

/// Keys of a service that bring volumes from elsewhere.
const NOT_YET: [(&str, &str); 3] = [
    ("extends", "copy what the other service has into this one"),
    ("volumes_from", "list the other service's volumes here"),
    ("tmpfs", "remove it"),
];
/// What people write for `volumes`.
const SLIPS: [&str; 4] = ["volume", "Volumes", "vol", "volume_mounts"];

/// Reads one file.
///
/// # Errors
/// Every problem of the file, in its order.
pub fn read(file: &str, text: &str) -> Result<Compose, Vec<Problem>> {
    let mut reader = Reader {
        file,
        compose: Compose { file: file.to_owned(), ..Compose::default() },
        problems: Vec::new(),
    };
    reader.file(text);
    reader.problems.sort_by_key(|problem| (problem.line, problem.column));
    if reader.problems.is_empty() { Ok(reader.compose) } else { Err(reader.problems) }
}

struct Reader<'a> {
    file: &'a str,
    compose: Compose,
    problems: Vec<Problem>,
}

/// Whose problem it is.
#[derive(Clone, Copy, Default)]
struct Whose<'a> {
    service: Option<&'a str>,
    declaration: Option<&'a str>,
}

impl<'a> Reader<'a> {
    fn problem(&mut self, code: &'static str, place: Place, whose: Whose<'_>, reason: String, help: &str) {
        self.problems.push(Problem {
            code,
            service: whose.service.map(str::to_owned),
            declaration: whose.declaration.map(str::to_owned),
            file: self.file.to_owned(),
            line: place.line,
            column: place.column,
            reason,
            help: help.to_owned(),
        });
    }

    fn file(&mut self, text: &str) {
        let start = Place { line: 1, column: 1 };
        let none = Whose::default();
        if text.len() > LARGEST_BYTES {
            let reason = format!("the file has {} bytes; at most {LARGEST_BYTES} are read", text.len());
            return self.problem("too-large", start, none, reason, "is it a compose file?");
        }
        let documents = match yaml::read(text.trim_start_matches('\u{feff}')) {
            Ok(documents) => documents,
            Err(error) => {
                return self.problem("yaml", error.place(), none, error.to_string(), "correct the YAML");
            }
        };
        match documents.as_slice() {
            [root] => self.root(root),
            [] => self.problem("empty-file", start, none, "the file is empty".to_owned(), "add `services:`"),
            [_, second, ..] => {
                let reason = "a second document; only one is read so far".to_owned();
                self.problem(
                    "several-documents",
                    second.place,
                    none,
                    reason,
                    "put everything into one document",
                );
            }
        }
    }

    fn root(&mut self, root: &Node) {
        let none = Whose::default();
        let Some(pairs) = self.mapping(root, "the file", none) else { return };
        let Some(services) = value_of(pairs, "services") else {
            let reason = "there is no `services:`".to_owned();
            return self.problem(
                "no-services",
                root.place,
                none,
                reason,
                "put the services under `services:`",
            );
        };
        if let Some(include) = value_of(pairs, "include") {
            let reason = "`include` isn't read yet, and it may bring volumes".to_owned();
            self.problem("include", include.place, none, reason, "copy the included services into this file");
        }
        if let Some(name) = value_of(pairs, "name") {
            match name.as_text() {
                Some(text) if !text.contains('$') => self.compose.name = Some(text.to_owned()),
                _ => self.problem(
                    "project-name",
                    name.place,
                    none,
                    "`name` is not a plain string".to_owned(),
                    "write the project's name",
                ),
            }
        }
        if let Some(volumes) = value_of(pairs, "volumes").filter(|volumes| !volumes.is_null()) {
            self.top_level_volumes(volumes);
        }
        if let Some(services) = self.mapping(services, "`services`", none) {
            for (key, service) in services {
                self.service(key, service);
            }
        }
        self.check_named();
    }

    fn top_level_volumes(&mut self, volumes: &Node) {
        let none = Whose::default();
        let Some(pairs) = self.mapping(volumes, "the top-level `volumes`", none) else { return };
        for (key, volume) in pairs {
            let Some(name) = self.name::<VolumeName>(key) else { continue };
            let mut read = TopLevelVolume {
                key: name,
                place: key.place,
                name: None,
                is_external: false,
                special_driver: None,
            };
            if !volume.is_null() {
                let what = format!("the top-level volume `{}`", read.key);
                let Some(pairs) = self.mapping(volume, &what, none) else { continue };
                read.name = value_of(pairs, "name").and_then(Node::as_text).map(str::to_owned);
                read.is_external = value_of(pairs, "external").is_some_and(|external| {
                    external.is_true() || matches!(external.value, Value::Mapping(_))
                });
                let driver =
                    value_of(pairs, "driver").and_then(Node::as_text).filter(|driver| *driver != "local");
                read.special_driver = match (driver, value_of(pairs, "driver_opts")) {
                    (Some(driver), _) => Some(format!("driver `{driver}`")),
                    (None, Some(options)) if !options.is_null() => Some("`driver_opts`".to_owned()),
                    _ => None,
                };
            }
            self.compose.volumes.push(read);
        }
    }

    fn service(&mut self, key: &Node, service: &Node) {
        let Some(name) = self.name::<ServiceName>(key) else { return };
        let text = name.to_string();
        let whose = Whose { service: Some(&text), ..Whose::default() };
        let mut read = Service { name, entries: Vec::new() };
        if !service.is_null() {
            let Some(pairs) = self.mapping(service, &format!("service `{text}`"), whose) else { return };
            for (key, help) in NOT_YET {
                if let Some(value) = value_of(pairs, key).filter(|value| !value.is_null()) {
                    let reason = format!("`{key}` isn't read yet");
                    self.problem("not-yet", value.place, whose, reason, help);
                }
            }
            for (key, _) in pairs {
                if key.as_text().is_some_and(|key| SLIPS.contains(&key)) {
                    let reason = format!("`{}` is not a key of a service", key.as_text().unwrap_or_default());
                    self.problem("slip", key.place, whose, reason, "write `volumes`");
                }
            }
            if let Some(volumes) = value_of(pairs, "volumes") {
                self.entries(volumes, &mut read, whose);
            }
        }
        self.compose.services.push(read);
    }

    fn entries(&mut self, volumes: &Node, service: &mut Service, whose: Whose<'_>) {
        let Value::List(items) = &volumes.value else {
            let reason = format!("`volumes` is {}, not a list", volumes.kind());
            return self.problem("not-a-list", volumes.place, whose, reason, "write a list: `- /data`");
        };
        self.untagged(volumes, "`volumes`", whose);
        for (index, item) in (1..).zip(items) {
            self.untagged(item, "an entry of `volumes`", whose);
            let Some(text) = item.as_text() else {
                let (code, reason, help) = match &item.value {
                    Value::Mapping(_) => (
                        "long-syntax",
                        format!("entry {index} is a mapping (long syntax), which isn't read yet"),
                        "write it in short syntax: `source:target` or `source:target:ro`",
                    ),
                    Value::Alias => (
                        "alias",
                        format!("entry {index} is an alias, which isn't followed yet"),
                        "write the entry itself",
                    ),
                    _ => (
                        "not-a-string",
                        format!("entry {index} is {}, not a string", item.kind()),
                        "write a path in quotes",
                    ),
                };
                self.problem(code, item.place, whose, reason, help);
                continue;
            };
            let whose = Whose { declaration: Some(text), ..whose };
            let text = text.replace("$$", "\u{0}");
            if text.contains('$') {
                let reason = format!("entry {index} has a variable in it, and variables aren't replaced yet");
                self.problem(
                    "interpolation",
                    item.place,
                    whose,
                    reason,
                    "write its value, or `$$` for a dollar sign",
                );
                continue;
            }
            match text.replace('\u{0}', "$").parse::<Declaration>() {
                Ok(declaration) => service.entries.push(Entry { declaration, place: item.place }),
                Err(error) => {
                    let help = error.help();
                    self.problem(error.code(), item.place, whose, format!("entry {index}: {error}"), &help);
                }
            }
        }
    }

    /// Compose refuses a volume that the top level doesn't declare.
    fn check_named(&mut self) {
        let mut undefined = Vec::new();
        for service in &self.compose.services {
            for entry in &service.entries {
                if let Some(Source::Named(name)) = &entry.declaration.source
                    && !self.compose.volumes.iter().any(|volume| volume.key.as_str() == name)
                {
                    undefined.push((service.name.to_string(), entry.clone(), name.clone()));
                }
            }
        }
        for (service, entry, name) in undefined {
            let whose = Whose { service: Some(&service), declaration: Some(&entry.declaration.text) };
            let reason = format!("volume `{name}` is not declared");
            let help = format!(
                "declare it: a top-level `volumes:` with the key `{name}:`; or write `./{name}` for a folder"
            );
            self.problem("undefined-volume", entry.place, whose, reason, &help);
        }
    }

    /// The pairs of a mapping in which nothing hides volumes: no tag, no merge key, no key twice.
    fn mapping<'n>(&mut self, node: &'n Node, what: &str, whose: Whose<'_>) -> Option<&'n [(Node, Node)]> {
        self.untagged(node, what, whose);
        let Value::Mapping(pairs) = &node.value else {
            let (reason, help) = match node.value {
                Value::Alias => (format!("{what} is an alias, which isn't followed yet"), "write it out"),
                _ => (format!("{what} is {}, not a mapping", node.kind()), "write keys with values"),
            };
            self.problem("not-a-mapping", node.place, whose, reason, help);
            return None;
        };
        for (index, (key, _)) in pairs.iter().enumerate() {
            let Some(text) = key.as_text() else { continue };
            if text == "<<" {
                let reason =
                    format!("{what} has a merge key (`<<`), which isn't followed yet and may bring volumes");
                self.problem("merge-key", key.place, whose, reason, "write the merged keys out");
            } else if pairs.iter().take(index).any(|(before, _)| before.as_text() == Some(text)) {
                let reason = format!("{what} has the key `{text}` twice");
                self.problem("duplicate-key", key.place, whose, reason, "keep one of them");
            }
        }
        Some(pairs)
    }

    fn untagged(&mut self, node: &Node, what: &str, whose: Whose<'_>) {
        if node.is_tagged {
            let reason = format!("{what} has a tag (`!...`), which isn't understood yet");
            self.problem("tag", node.place, whose, reason, "remove the tag");
        }
    }

    fn name<N>(&mut self, key: &Node) -> Option<N>
    where
        N: std::str::FromStr<Err = crate::names::NameError>,
    {
        let text = match &key.value {
            Value::Scalar { text, .. } => text.as_str(),
            _ => "",
        };
        match text.parse() {
            Ok(name) => Some(name),
            Err(error) => {
                self.problem("name", key.place, Whose::default(), error.to_string(), "rename it");
                None
            }
        }
    }
}

fn value_of<'n>(pairs: &'n [(Node, Node)], key: &str) -> Option<&'n Node> {
    pairs.iter().find(|(found, _)| found.as_text() == Some(key)).map(|(_, value)| value)
}

/// The project's name as Compose derives it from a folder's: lower case, only `[a-z0-9_-]`, no leading `_` or `-`.
pub fn project_name(folder: &str) -> String {
    let kept: String = folder
        .to_lowercase()
        .chars()
        .filter(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-'))
        .collect();
    kept.trim_start_matches(['_', '-']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(text: &str) -> Vec<(&'static str, usize, usize)> {
        read("f.yml", text).unwrap_err().iter().map(|p| (p.code, p.line, p.column)).collect()
    }

    fn service(volumes: &str) -> String {
        format!("services:\n  web:\n    image: x\n    volumes:{volumes}\n")
    }

    #[test]
    fn the_wordpress_file_is_read() {
        let text = "services:\n  web:\n    image: wordpress:4.5.2-apache\n    ports:\n      - 80:80\n    volumes:\n      - /var/www/html\n";
        let compose = read("docker-compose.yml", text).unwrap();
        let entry = &compose.services[0].entries[0];
        assert_eq!(
            (entry.declaration.text.as_str(), entry.place),
            ("/var/www/html", Place { line: 7, column: 9 })
        );
    }

    #[test]
    fn what_has_nothing_to_do_with_volumes_is_not_its_business() {
        let text = "version: 2\nx-a: &a {b: 1}\nservices:\n  web:\n    build: *a\n    environment: {A: '${B}'}\n    dockerfile: 3\n  db:\n";
        assert_eq!(read("f", text).unwrap().services.len(), 2);
    }

    #[test]
    fn nothing_about_volumes_is_dropped() {
        for (volumes, expected) in [
            (" /data", ("not-a-list", 4, 14)),
            ("", ("not-a-list", 4, 13)),
            (" [1]", ("not-a-string", 4, 15)),
            (" [~]", ("not-a-string", 4, 15)),
            ("\n      - type: bind", ("long-syntax", 5, 9)),
            ("\n      - /a: /b", ("long-syntax", 5, 9)),
            ("\n      - $A/x:/y", ("interpolation", 5, 9)),
            ("\n      - /a:/b:RO", ("unknown-option", 5, 9)),
            ("\n      - db:/b", ("undefined-volume", 5, 9)),
            (" !reset []", ("tag", 4, 21)),
            (" *a", ("not-a-list", 4, 14)),
        ] {
            let text = format!("x: &a []\n{}", service(volumes));
            let expected = (expected.0, expected.1 + 1, expected.2);
            let found = codes(&text);
            assert_eq!((found[0].0, found[0].1), (expected.0, expected.1), "{volumes:?}: {found:?}");
        }
        assert_eq!(
            read("f", &service("\n      - /a$$b")).unwrap().services[0].entries[0].declaration.target,
            "/a$b"
        );
        assert!(read("f", &service(" []")).is_ok());
    }

    #[test]
    fn what_could_bring_volumes_from_elsewhere_is_an_error() {
        for (text, code) in [
            ("", "empty-file"),
            ("web:\n  image: x\n", "no-services"),
            ("services: {}\n---\nservices: {}\n", "several-documents"),
            ("include: [a.yml]\nservices: {}\n", "include"),
            ("services: []\n", "not-a-mapping"),
            ("x: &x {volumes: [/a]}\nservices: {web: {<<: *x}}\n", "merge-key"),
            ("x: &x {volumes: [/a]}\nservices: {web: *x}\n", "not-a-mapping"),
            ("services: {web: {extends: {service: a}}}\n", "not-yet"),
            ("services: {web: {volumes_from: [a]}}\n", "not-yet"),
            ("services: {web: {tmpfs: /a}}\n", "not-yet"),
            ("services: {web: {volume: [/a]}}\n", "slip"),
            ("services: {web: {volumes: [/a], volumes: [/b]}}\n", "duplicate-key"),
            ("services: {web: {}, web: {}}\n", "duplicate-key"),
            ("services: {..: {}}\n", "name"),
            ("services: {web: [\n", "yaml"),
        ] {
            assert_eq!(codes(text)[0].0, code, "{text}");
        }
    }

    #[test]
    fn all_problems_come_at_once_in_the_files_order() {
        let text = "services:\n  b: {volumes: [1]}\n  a: {volumes: ['x:y', '/a:/b:U']}\n";
        let lines: Vec<_> = codes(text).into_iter().map(|(code, line, _)| (code, line)).collect();
        assert_eq!(lines, [("not-a-string", 2), ("relative-target", 3), ("unknown-option", 3)]);
    }

    #[test]
    fn the_project_is_named_as_compose_names_it() {
        for (folder, name) in [("My-App.1", "my-app1"), ("_-x", "x"), ("example.app", "exampleapp")] {
            assert_eq!(project_name(folder), name);
        }
    }
}
