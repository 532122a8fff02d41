//! Local runs: what Docker Compose is told beside the files, so that each volume lives in its folder below `~/.convox/volumes`.
//!
//! Single-path and named volumes become volumes of Docker's `local` driver that bind their folder (`type: none, o: bind`): so Docker
//! itself fills a folder that is empty with what the image has there, owner and mode included, which it never does for a plain bind.
//! Everything else is in the files already, and not said again.
//!
//! A volume's name in Docker has a hash of its folder's path: one name never means two folders, and a volume that Docker made before
//! for itself is never taken for ours. Docker Compose lays an entry of a later file over the one with the same target.

use crate::{
    compose::{Compose, selection::FOLDERS_NAME},
    declaration::Options,
    deploy::{Decision, Planned},
    layout::Kind,
    names::{App, NameError},
    path,
};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// Where an app's name may stand: the project's own file, as Convox has it.
pub const APP_FILE: &str = ".convox/app";
/// Longest readable part of a volume's name in Docker, in bytes.
const LONGEST_NAME: usize = 100;

/// Why an app has no name.
#[derive(Debug, thiserror::Error)]
#[error("{from} can't be an app's")]
pub struct NoApp {
    from: String,
    source: NameError,
}

/// The app, and where its name is from: `given`, else the project's `.convox/app`, else the project's name where one was given, else
/// its folder's, dots as hyphens. Source: Convox, `convox start`; `example.app` is `example-app`.
///
/// # Errors
/// The name that comes first can't be an app's; no other one is tried.
pub fn app(
    given: Option<&str>,
    file: Option<&str>,
    compose: &Compose,
) -> Result<(App, Option<String>), NoApp> {
    let is_named = compose.project_from != FOLDERS_NAME;
    let (name, from) = match (given, file.map(str::trim)) {
        (Some(name), _) => (name.to_owned(), None),
        (None, Some(name)) => (name.to_owned(), Some(APP_FILE)),
        (None, None) if is_named => (compose.project.clone(), Some(compose.project_from)),
        (None, None) => (path::file_name(&compose.folder).replace('.', "-"), Some(FOLDERS_NAME)),
    };
    match name.parse() {
        Ok(app) => Ok((app, from.map(str::to_owned))),
        Err(source) => {
            let from = match from {
                Some(FOLDERS_NAME) => format!("the name of the folder {}", compose.folder),
                Some(from) => format!("the name from {from}"),
                None => "the name from --app".to_owned(),
            };
            Err(NoApp { from, source })
        }
    }
}

/// A folder that must be there before Docker Compose runs, or that Docker makes inside of one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Folder {
    /// Relative to `~/.convox/volumes`.
    pub relative: String,
    /// The folder of another volume that it lies in: then Docker makes it. Made beforehand it would keep the outer one from being empty,
    /// and so from getting what the image has there.
    pub inside: Option<String>,
}

/// An entry as YAML: keys and values of its lines; a short one has no key.
type Entry = Vec<(&'static str, String)>;

/// A volume of ours in Docker.
#[derive(Debug, Clone, PartialEq, Eq)]
struct DockerVolume {
    name: String,
    device: String,
    labels: BTreeMap<String, String>,
}

/// What becomes of a project on a laptop.
#[derive(Debug, Default)]
pub struct Local {
    /// Folders, sorted.
    pub folders: BTreeSet<Folder>,
    /// What lives where, in the files' order: of which services, at which path in the container, in which folder.
    pub places: Vec<(String, String, String)>,
    /// Entries that are said anew, by service in the files' order.
    services: Vec<(String, Vec<Entry>)>,
    /// Top-level volumes by key.
    volumes: BTreeMap<String, DockerVolume>,
}

/// What becomes of what was decided for a laptop.
pub fn local(decision: &Decision) -> Local {
    let mut local = Local::default();
    for planned in &decision.volumes {
        let volume = &planned.volume;
        let Some(relative) = &volume.relative else { continue };
        let service = planned.service.as_str();
        match volume.kind {
            // By `volumes_from`: Docker Compose takes the other service's by itself.
            Kind::Service if relative.split('/').nth(1) != Some(service) => continue,
            Kind::Service => local.own(planned, relative),
            Kind::Named => {
                let key = planned.declaration.named().unwrap_or_default().to_owned();
                local.volumes.entry(key).or_insert_with(|| docker_volume(planned, relative));
                local.folders.insert(Folder { relative: relative.clone(), inside: None });
            }
            Kind::Host | Kind::Tmpfs | Kind::Docker => continue,
        }
        local.places.push((service.to_owned(), volume.target.clone(), volume.source.clone()));
    }
    local
}

impl Local {
    /// Whether Docker Compose needn't be told anything.
    pub fn is_empty(&self) -> bool {
        self.volumes.is_empty()
    }

    /// A single-path entry.
    fn own(&mut self, planned: &Planned, relative: &str) {
        let volume = &planned.volume;
        let Options { nocopy, extension, .. } = &planned.declaration.options;
        let is_unseeded =
            extension.as_ref().and_then(|said| said.get("seed")) == Some(&serde_json::Value::Bool(false));
        let (kind, source, inside) = match &volume.folded_into {
            Some(outer) => {
                // The same place in both: what the target has more, the folder has more.
                let rest = volume.target.strip_prefix(outer.as_str()).unwrap_or_default();
                let outer = relative.strip_suffix(rest).unwrap_or(relative);
                ("bind", volume.source.clone(), Some(outer.to_owned()))
            }
            None => {
                let docker = docker_volume(planned, relative);
                let name = docker.name.clone();
                self.volumes.entry(name.clone()).or_insert(docker);
                ("volume", name, None)
            }
        };
        let is_unseeded = inside.is_none() && (*nocopy || is_unseeded);
        // As it is written: Docker Compose 1.x, which doesn't clean paths, finds the entry to replace by it.
        let target = &planned.declaration.target;
        let entry = entry(kind, &source, target, volume.read_only, is_unseeded);
        self.folders.insert(Folder { relative: relative.to_owned(), inside });
        let service = planned.service.as_str();
        match self.services.iter_mut().find(|(name, _)| name == service) {
            Some((_, entries)) => entries.push(entry),
            None => self.services.push((service.to_owned(), vec![entry])),
        }
    }

    /// The override. Without a `version`: the Go program says that it is obsolete, and 1.27 to 1.29 take all of 2.x and 3.x for one.
    pub fn document(&self, app: &App, folder: &str) -> String {
        let mut page = format!(
            "{}\n# Made by `volumes-agent start`, and made anew by it each time. Give it as the last -f to other\n# commands of Docker Compose that make containers, such as `run`.\n",
            header(app, folder)
        );
        if !self.services.is_empty() {
            page.push_str("services:\n");
        }
        for (service, entries) in &self.services {
            page.push_str(&format!("  {}:\n    volumes:\n", key(service)));
            for entry in entries {
                for (index, (name, value)) in entry.iter().enumerate() {
                    let bullet = if index == 0 { "- " } else { "  " };
                    let name = if name.is_empty() { String::new() } else { format!("{name}: ") };
                    page.push_str(&format!("      {bullet}{name}{value}\n"));
                }
            }
        }
        if !self.volumes.is_empty() {
            page.push_str("volumes:\n");
        }
        for (of, volume) in &self.volumes {
            let DockerVolume { name, device, labels } = volume;
            page.push_str(&format!(
                "  {}:\n    name: {}\n    driver: local\n    driver_opts:\n      type: none\n      o: bind\n      device: {}\n",
                key(of),
                scalar(name),
                scalar(device)
            ));
            if !labels.is_empty() {
                page.push_str("    labels:\n");
            }
            for (label, value) in labels {
                page.push_str(&format!("      {}: {}\n", key(label), scalar(value)));
            }
        }
        page
    }
}

fn header(app: &App, folder: &str) -> String {
    let folder: String = folder.chars().filter(|c| !c.is_control()).collect();
    format!("# The volumes of app {app} in {folder}")
}

/// The folder that an override of the app was made for; none, if it is another app's, or not ours.
pub fn folder_of<'a>(document: &'a str, app: &App) -> Option<&'a str> {
    document.lines().next()?.strip_prefix(&header(app, ""))
}

/// The override's file name: one a project of an app.
pub fn file_name(app: &App, compose: &Compose) -> String {
    format!("{app}-{}.yaml", hash(&[&compose.folder, &compose.project]))
}

/// The name among those in a folder that is this one but for upper and lower case, where this one isn't there itself.
pub fn spelt_otherwise(name: &str, there: impl IntoIterator<Item = String>) -> Option<String> {
    let mut other = None;
    for found in there {
        if found == name {
            return None;
        }
        if found.to_lowercase() == name.to_lowercase() {
            other = Some(found);
        }
    }
    other
}

/// A volume of Docker's that binds a folder. Its name tells whose it is, and is no other folder's.
fn docker_volume(planned: &Planned, relative: &str) -> DockerVolume {
    let device = planned.volume.source.clone();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    let readable = relative.replace("/@", "/");
    let readable: String =
        readable.chars().map(|c| if is_plain(c) { c } else { '-' }).take(LONGEST_NAME).collect();
    let labels = match planned.volume.kind {
        // Those of a named volume stand in the file.
        Kind::Service => planned.declaration.options.labels.clone(),
        _ => BTreeMap::new(),
    };
    DockerVolume { name: format!("convox-{readable}-{}", hash(&[&device])), device, labels }
}

/// Eight digits: to tell names apart that are alike, not against anyone's will.
fn hash(parts: &[&str]) -> String {
    let mut sha = Sha256::new();
    for part in parts {
        sha.update(part.as_bytes());
        sha.update([0]);
    }
    sha.finalize().iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

/// An entry, in short where it can be, since that is what people write.
fn entry(kind: &str, source: &str, target: &str, read_only: bool, nocopy: bool) -> Entry {
    if !source.contains(':') && !target.contains(':') {
        let options = match (read_only, nocopy) {
            (true, true) => ":ro,nocopy",
            (true, false) => ":ro",
            (false, true) => ":nocopy",
            (false, false) => "",
        };
        return vec![("", scalar(&format!("{source}:{target}{options}")))];
    }
    let mut lines = vec![("type", scalar(kind)), ("source", scalar(source)), ("target", scalar(target))];
    if read_only {
        lines.push(("read_only", "true".to_owned()));
    }
    if nocopy {
        lines.push(("volume", "{nocopy: true}".to_owned()));
    }
    if kind == "bind" {
        lines.push(("bind", "{create_host_path: true}".to_owned()));
    }
    lines
}

/// A key: never a number, a word or anything else than the text. Docker Compose doesn't replace variables in keys.
fn key(text: &str) -> String {
    if is_plain(text) { text.to_owned() } else { in_quotes(text) }
}

/// A value, with what Docker Compose would take for a variable escaped.
fn scalar(text: &str) -> String {
    if is_plain(text) { text.to_owned() } else { quoted(text) }
}

fn quoted(text: &str) -> String {
    in_quotes(&text.replace('$', "$$"))
}

/// Whether YAML takes a text for itself without quotes.
fn is_plain(text: &str) -> bool {
    let words = ["true", "false", "yes", "no", "on", "off", "y", "n", "null"];
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && !text.ends_with(':')
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '.' | '-' | ':' | ',' | '@'))
        && !words.contains(&text.to_ascii_lowercase().as_str())
}

/// In double quotes. Source: YAML 1.2, 5.1 "Character Set": what is not printable is escaped.
fn in_quotes(text: &str) -> String {
    let mut page = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => page.extend(['\\', c]),
            '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => {
                page.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c if c.is_control() => page.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => page.push(c),
        }
    }
    page.push('"');
    page
}

#[cfg(test)]
#[path = "start_tests.rs"]
mod tests;
