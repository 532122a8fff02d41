//! One document of a compose file: from YAML to a layer.

use super::{
    interpolation::{self, Outcome, Variables},
    layer::{Include, Key, Layer, Text},
    service, slip, top_level_volume,
};
use crate::{
    problem::Problem,
    yaml::{Node, Value, Written},
};
use std::{collections::BTreeSet, sync::Arc};

/// What names of services and volumes are made of.
pub const NAME: &str = "letters, digits, `.`, `_` and `-`";

/// Where relative paths of a document lead.
#[derive(Debug, Clone)]
pub struct Folders {
    /// The folder that they belong to, absolute.
    pub folder: String,
    /// The home directory, where it is known.
    pub home: Option<String>,
}

/// Whether a text can be the name of a service or a volume.
pub fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
}

/// Takes out what is tagged `!reset`, and notes the paths of that and of what is tagged `!override`.
pub fn take_resets(node: &mut Node, path: &mut Vec<String>, resets: &mut Vec<Vec<String>>) {
    let is_reset = |node: &Node| node.tag.as_deref() == Some("!reset");
    match &mut node.value {
        Value::Scalar { .. } => {}
        Value::List(items) => {
            items.retain(|item| !is_reset(item));
            // Docker Compose notes what is below a list as well, and never finds it there.
            items.iter_mut().for_each(|item| take_resets(item, &mut Vec::new(), &mut Vec::new()));
        }
        Value::Mapping(pairs) => {
            pairs.retain_mut(|(key, value)| {
                path.push(key.as_text().unwrap_or_default().to_owned());
                if is_reset(value) || value.tag.as_deref() == Some("!override") {
                    resets.push(path.clone());
                }
                let stays = !is_reset(value);
                // What is overridden as a whole has nothing to reset in it.
                if stays && value.tag.as_deref() != Some("!override") {
                    take_resets(value, path, resets);
                }
                path.pop();
                stays
            });
        }
    }
}

/// Replaces the variables in all values.
pub fn interpolate(
    node: &mut Node,
    variables: &Variables,
    service: Option<&str>,
    unset: &mut BTreeSet<String>,
    problems: &mut Vec<Problem>,
) {
    match &mut node.value {
        Value::Scalar { text, kind: crate::yaml::scalar::Kind::String, written } if text.contains('$') => {
            match interpolation::substitute(text, variables) {
                Ok(done) => {
                    let names = done.used.iter().filter(|used| used.outcome == Outcome::Unset);
                    unset.extend(names.map(|used| used.name.clone()));
                    *written = Some(Arc::new(Written { text: std::mem::take(text), used: done.used }));
                    *text = done.text;
                }
                Err(error) => {
                    let problem = Problem::error(error.code(), error.to_string(), error.help())
                        .at(&node.place)
                        .came_by(node.origin.as_ref());
                    problems.push(match service {
                        Some(service) => problem.service(service),
                        None => problem,
                    });
                }
            }
        }
        Value::Scalar { .. } => {}
        Value::List(items) => {
            for item in items {
                interpolate(item, variables, service, unset, problems);
            }
        }
        Value::Mapping(pairs) => {
            for (_, value) in pairs {
                interpolate(value, variables, service, unset, problems);
            }
        }
    }
}

/// The same for a document, which knows whose problem it is.
pub fn interpolate_all(
    root: &mut Node,
    variables: &Variables,
    unset: &mut BTreeSet<String>,
    problems: &mut Vec<Problem>,
) {
    let Value::Mapping(pairs) = &mut root.value else { return };
    for (key, value) in pairs {
        match (key.as_text(), &mut value.value) {
            (Some("services"), Value::Mapping(services)) => {
                for (name, service) in services {
                    interpolate(service, variables, name.as_text(), unset, problems);
                }
            }
            _ => interpolate(value, variables, None, unset, problems),
        }
    }
}

/// Reads a document whose resets are taken out and whose variables are replaced.
pub fn read(root: &Node, folders: &Folders, problems: &mut Vec<Problem>) -> Layer {
    let mut layer = Layer::default();
    let Some(pairs) = root.as_mapping() else {
        let reason = format!("the document is {}, not a mapping", root.kind());
        problems.push(
            Problem::error("not-a-mapping", reason, "write keys with values: `services:`").at(&root.place),
        );
        return layer;
    };
    layer.says_nothing = pairs.iter().all(|(key, _)| key.as_text() == Some("version"));
    if is_legacy(pairs) {
        layer.is_legacy = true;
        for (key, value) in pairs.iter().filter(|(key, _)| key.as_text() != Some("version")) {
            services(&mut layer, std::slice::from_ref(&(key.clone(), value.clone())), folders, problems);
        }
        return layer;
    }
    for (key, value) in pairs {
        match key.as_text().unwrap_or_default() {
            "services" => match value.as_mapping() {
                Some(pairs) => services(&mut layer, pairs, folders, problems),
                None => problems.push(not_a_mapping("`services`", value)),
            },
            "volumes" => match value.as_mapping() {
                Some(pairs) => {
                    layer.volumes_key = Key::Is(());
                    layer.volumes = top_level_volume::read_all(pairs, problems);
                }
                None if value.is_null() => layer.volumes_key = Key::Null(value.place.clone()),
                None => problems.push(not_a_mapping("the top-level `volumes`", value)),
            },
            "name" => match Text::of(value) {
                Some(name) => layer.name = Some(name),
                None => {
                    let reason = format!("`name` is {}, not a string", value.kind());
                    let help = "write the project's name in quotes";
                    problems.push(Problem::error("project-name", reason, help).at(&value.place));
                }
            },
            "include" => includes(&mut layer, value, problems),
            other => {
                problems.extend(slip::at_top_level(other, key));
                layer.others.push((other.to_owned(), value.clone()));
            }
        }
    }
    layer
}

fn services(layer: &mut Layer, pairs: &[(Node, Node)], folders: &Folders, problems: &mut Vec<Problem>) {
    for (key, value) in pairs {
        let name = key.as_text().unwrap_or_default();
        if !is_name(name) {
            problems.push(wrong_name("service", name, key));
            continue;
        }
        layer.services.push((name.to_owned(), service::read(name, key, value, folders)));
    }
}

/// A name that Docker Compose refuses.
pub fn wrong_name(what: &str, name: &str, key: &Node) -> Problem {
    let reason = match name {
        "" => format!("a {what} can't be without a name"),
        name if name.contains('$') => {
            format!("variables aren't replaced in names, and `{name}` is no name of a {what}")
        }
        name => format!("`{name}` can't be a {what}'s name"),
    };
    Problem::error("name", reason, format!("use {NAME}")).at(&key.place)
}

/// What must be a mapping.
pub fn not_a_mapping(what: &str, value: &Node) -> Problem {
    let reason = format!("{what} is {}, not a mapping", value.kind());
    Problem::error("not-a-mapping", reason, "write keys with values")
        .at(&value.place)
        .came_by(value.origin.as_ref())
}

/// Docker Compose's first format: no `services`, and every key a service.
fn is_legacy(pairs: &[(Node, Node)]) -> bool {
    let mut services = 0;
    for (key, value) in pairs {
        let is_service = value.get("image").is_some() || value.get("build").is_some();
        match key.as_text() {
            Some("version") if value.as_scalar() == Some("1") => {}
            Some("services") => return false,
            _ if is_service => services += 1,
            _ => return false,
        }
    }
    services > 0
}

fn includes(layer: &mut Layer, value: &Node, problems: &mut Vec<Problem>) {
    let items = match &value.value {
        Value::List(items) => items,
        _ if value.is_null() => return,
        _ => {
            let reason = format!("`include` is {}, not a list", value.kind());
            problems.push(Problem::error("include", reason, "write a list: `- other.yml`").at(&value.place));
            return;
        }
    };
    for item in items {
        let mut wrong = |node: &Node, what: &str| {
            let reason = format!("{what} of an `include` is {}", node.kind());
            problems.push(Problem::error("include", reason, "write a path").at(&node.place));
        };
        let mut include =
            Include { paths: Vec::new(), folder: None, env_files: Vec::new(), place: item.place.clone() };
        match &item.value {
            // Docker Compose takes nothing for a file as no file.
            Value::Scalar { .. } if item.is_null() => {}
            Value::Scalar { .. } => match Text::of(item) {
                Some(path) => include.paths.push(path),
                None => wrong(item, "an entry"),
            },
            Value::List(_) => wrong(item, "an entry"),
            Value::Mapping(pairs) => {
                for (key, value) in pairs.iter().filter(|(_, value)| !value.is_null()) {
                    match key.as_text() {
                        Some("path") => include.paths = texts(value, |node| wrong(node, "`path`")),
                        Some("env_file") => {
                            include.env_files = texts(value, |node| wrong(node, "`env_file`"))
                        }
                        Some("project_directory") => match Text::of(value) {
                            Some(folder) => include.folder = Some(folder),
                            None => wrong(value, "`project_directory`"),
                        },
                        _ => {}
                    }
                }
            }
        }
        layer.includes.push(include);
    }
}

/// One string, or a list of them.
pub fn texts(value: &Node, mut wrong: impl FnMut(&Node)) -> Vec<Text> {
    match &value.value {
        Value::List(items) => {
            let read = items.iter().filter_map(|item| {
                let text = Text::of(item);
                if text.is_none() {
                    wrong(item);
                }
                text
            });
            read.collect()
        }
        _ => match Text::of(value) {
            Some(text) => vec![text],
            None => {
                wrong(value);
                Vec::new()
            }
        },
    }
}
