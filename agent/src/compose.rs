//! Compose files: from what was asked for to the model that Docker Compose itself makes of the files, as far as volumes go.
//!
//! Lenient about everything that has nothing to do with volumes; about volumes nothing is guessed and nothing dropped. What Docker
//! Compose accepts although data is lost is accepted as well, and kept with the entry as a reason not to deploy it.
//!
//! [`selection`] says which files; [`loader`] reads each document ([`document`], [`service`], [`top_level_volume`]), follows
//! [`extends`] and [`include`], and lays it over those before ([`merge`]); [`consistency`] checks what it comes to.

pub mod block;
pub mod consistency;
pub mod document;
pub mod env_file;
pub mod extends;
pub mod files;
pub mod include;
pub mod interpolation;
pub mod layer;
pub mod loader;
pub mod long_syntax;
pub mod merge;
pub mod selection;
pub mod service;
pub mod slip;
pub mod top_level_volume;

use crate::{
    declaration::Declaration,
    problem::{Problem, Severity},
    sources::Sources,
    yaml::{Origin, Place},
};
use files::Files;
use layer::{Key, Layer, ServiceLayer, Text};
use loader::{Loader, Scope};
use selection::{Request, Selection};
use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    rc::Rc,
    sync::Arc,
};

/// Most entries of all services, and most that services inherit or take from each other. Real projects have some tens.
pub const MOST_ENTRIES: usize = 10_000;

/// A project, as far as volumes go.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Compose {
    /// The files' names, as given.
    pub files: Vec<String>,
    /// The project's folder, absolute.
    pub folder: String,
    /// The project's name.
    pub project: String,
    /// Where the name is from, for people.
    pub project_from: &'static str,
    /// Services, inactive ones included, in the files' order.
    pub services: Vec<Service>,
    /// Top-level volumes in the files' order.
    pub volumes: Vec<TopLevelVolume>,
    /// Variables that are used and not set.
    pub unset_variables: BTreeSet<String>,
    /// Whether every profile is active.
    pub all_profiles: bool,
    /// Whether it is of Docker Compose's first format, without `services:`.
    pub is_legacy: bool,
}

/// A service.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Where that stands.
    pub place: Place,
    /// Whether it is active with the profiles that were asked for.
    pub is_active: bool,
    /// Whether it would be without a flag.
    pub is_active_by_default: bool,
    /// `profiles`
    pub profiles: Vec<String>,
    /// `user`
    pub user: Option<String>,
    /// `image`
    pub image: Option<String>,
    /// How many containers of it there are to be: `deploy.replicas` or `scale`, where one of them says it.
    pub replicas: Option<Replicas>,
    /// Its entries in order.
    pub entries: Vec<Entry>,
    /// `tmpfs`
    pub tmpfs: Vec<Text>,
    /// `volumes_from`
    pub volumes_from: Vec<Text>,
    /// `x-volumes`, as it is.
    pub extension: Option<serde_json::Value>,
    /// What was found while it was read, and stops nothing.
    pub warnings: Vec<Problem>,
}

/// How many containers of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replicas {
    /// How many.
    pub count: u64,
    /// Where that is said.
    pub place: Place,
}

/// One entry of a service's `volumes:`.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// What it declares.
    pub declaration: Declaration,
    /// Where it stands.
    pub place: Place,
    /// How it came there.
    pub origin: Option<Arc<Origin>>,
    /// Which entry of its list, from 1.
    pub index: usize,
    /// Whether it stands there in the short form.
    pub is_short: bool,
    /// The entry with its variables replaced, where that changed it.
    pub resolved: Option<String>,
    /// Variables of it that an env file sets, and where.
    pub set_by: Vec<(String, Place)>,
    /// Why it is refused on deploy, whatever the target: Docker Compose would lose data.
    pub refusals: Vec<Problem>,
}

/// A top-level volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopLevelVolume {
    /// Its key.
    pub key: String,
    /// Where the key stands.
    pub place: Place,
    /// `name`
    pub name: Option<String>,
    /// Its name in Docker.
    pub full_name: String,
    /// `external`
    pub is_external: bool,
    /// `driver`
    pub driver: Option<String>,
    /// `driver_opts`
    pub driver_opts: BTreeMap<String, String>,
    /// `labels`
    pub labels: BTreeMap<String, String>,
}

impl Compose {
    /// Services that are active.
    pub fn active(&self) -> impl Iterator<Item = &Service> {
        self.services.iter().filter(|service| service.is_active)
    }

    /// A top-level volume.
    pub fn volume(&self, key: &str) -> Option<&TopLevelVolume> {
        self.volumes.iter().find(|volume| volume.key == key)
    }
}

impl Entry {
    /// A problem of this entry.
    pub fn problem(&self, problem: Problem) -> Problem {
        let mut problem = problem.at(&self.place).came_by(self.origin.as_ref());
        problem.entry = Some(self.index);
        problem.declaration = Some(self.declaration.text.clone());
        problem.resolved.clone_from(&self.resolved);
        for (name, place) in &self.set_by {
            problem = problem.see(place, format!("`{name}` is set here"));
        }
        problem
    }
}

/// What came of reading.
#[derive(Debug)]
pub struct Reading {
    /// The project; nothing, if Docker Compose would refuse it.
    pub compose: Option<Compose>,
    /// Errors and warnings, by file and line.
    pub problems: Vec<Problem>,
    /// The texts that were read.
    pub sources: Sources,
}

/// Reads what was asked for.
pub fn read(request: &Request, files: &dyn Files) -> Reading {
    let home = request.environment.get("HOME").filter(|home| !home.is_empty()).cloned();
    let mut loader = Loader::new(files, &request.here, home);
    let mut compose = None;
    if let Some(selection) = selection::select(request, &mut loader) {
        let scope =
            Scope { folder: selection.folder.clone(), variables: Rc::new(selection.variables.clone()) };
        let layer = loader.load(&scope, &selection.files, &[]);
        compose = Some(finish(layer, selection, &mut loader));
    }
    let (sources, mut problems, unset) = loader.into_parts();
    problems.sort_by_cached_key(Problem::sort_key);
    drop_follow_ons(&mut problems);
    let mut seen = HashSet::new();
    problems.retain(|problem| {
        seen.insert((
            problem.place.clone().map(|p| (p.file, p.line, p.column)),
            problem.code,
            problem.reason.clone(),
        ))
    });
    let is_refused = problems.iter().any(|problem| problem.severity == Severity::Error);
    if let Some(compose) = &mut compose {
        compose.unset_variables = unset;
    }
    Reading { compose: compose.filter(|_| !is_refused), problems, sources }
}

/// A text whose variables can't be replaced is taken for what it is, `${...}` and all: what else is wrong with it tells nothing.
fn drop_follow_ons(problems: &mut Vec<Problem>) {
    let of_variables: Vec<_> = problems
        .iter()
        .filter(|problem| ["interpolation", "required-variable"].contains(&problem.code))
        .filter_map(|problem| problem.place.clone())
        .collect();
    problems.retain(|problem| {
        problem.code != "undefined-volume"
            || !problem.place.as_ref().is_some_and(|place| of_variables.contains(place))
    });
}

/// What the layers come to.
fn finish(layer: Layer, selection: Selection, loader: &mut Loader<'_>) -> Compose {
    let Layer { services, volumes, others, is_legacy, says_nothing, .. } = layer;
    if services.is_empty() && !loader.is_incomplete && loader.problems.is_empty() {
        loader.problems.extend(without_services(&others, says_nothing));
    }
    let is_active = |profiles: &[String], wanted: &[String]| {
        profiles.is_empty() || wanted.iter().any(|wanted| wanted == "*" || profiles.contains(wanted))
    };
    let mut compose = Compose {
        files: selection.files.iter().map(|file| file.name.to_string()).collect(),
        all_profiles: selection.profiles.iter().any(|profile| profile == "*"),
        is_legacy,
        ..Compose::default()
    };
    for (name, service) in services {
        let ServiceLayer {
            place,
            volumes,
            tmpfs,
            volumes_from,
            profiles,
            user,
            extension,
            problems,
            others,
            ..
        } = service;
        let (warnings, problems) =
            problems.into_iter().partition(|problem| problem.severity == Severity::Warning);
        let problems: Vec<Problem> = problems;
        loader.problems.extend(problems);
        let other = |key: &str| others.iter().find(|(found, _)| found == key).map(|(_, node)| node);
        let profiles: Vec<String> = list(profiles).into_iter().map(|profile| profile.value).collect();
        compose.services.push(Service {
            is_active: is_active(&profiles, &selection.profiles),
            is_active_by_default: is_active(&profiles, &selection.default_profiles),
            name,
            place,
            profiles,
            user: user.value().map(|user| user.value.clone()),
            image: other("image").and_then(crate::yaml::Node::as_text).map(str::to_owned),
            replicas: other("deploy")
                .and_then(|deploy| deploy.get("replicas"))
                .or_else(|| other("scale"))
                .and_then(replicas),
            entries: list(volumes).into_iter().map(|mount| mount.entry).collect(),
            tmpfs: list(tmpfs),
            volumes_from: list(volumes_from),
            extension: extension.value().map(crate::yaml::Node::as_json),
            warnings,
        });
    }
    for (key, volume) in volumes {
        compose.volumes.push(TopLevelVolume {
            full_name: top_level_volume::full_name(&key, &volume, &selection.project),
            place: volume.place.0,
            name: volume.name,
            is_external: volume.external == Some(true),
            driver: volume.driver.filter(|driver| !driver.is_empty()),
            driver_opts: volume.driver_opts.unwrap_or_default(),
            labels: volume.labels.unwrap_or_default(),
            key,
        });
    }
    compose.folder = selection.folder;
    compose.project = selection.project;
    compose.project_from = selection.project_from;
    // What is missing may be what couldn't be read.
    if !loader.is_incomplete {
        loader.problems.extend(consistency::check(&compose, is_legacy));
    }
    compose
}

/// A number, also as the text that a variable came to; anything else is not this reader's business.
fn replicas(node: &crate::yaml::Node) -> Option<Replicas> {
    let count = node.as_scalar()?.parse().ok()?;
    Some(Replicas { count, place: node.place.clone() })
}

fn list<T>(key: Key<Vec<T>>) -> Vec<T> {
    match key {
        Key::Is(list) => list,
        Key::Absent | Key::Null(_) => Vec::new(),
    }
}

/// A file without services: of another kind, or one whose services stand where nobody looks.
fn without_services(others: &[(String, crate::yaml::Node)], says_nothing: bool) -> Option<Problem> {
    let known = ["networks", "secrets", "configs", "models", "version"];
    let unknown = others.iter().find(|(key, _)| !key.starts_with("x-") && !known.contains(&key.as_str()));
    match unknown {
        Some((key, value)) => {
            let reason = format!("there is no `services`, and `{key}` is not a key of a compose file");
            Some(Problem::error("no-services", reason, "put the services under `services:`").at(&value.place))
        }
        None if says_nothing => {
            Some(Problem::error("empty-file", "there is nothing in the compose file", "add `services:`"))
        }
        None => None,
    }
}

#[cfg(test)]
#[path = "compose/tests.rs"]
mod tests;
