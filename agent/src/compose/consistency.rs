//! What must hold once everything is merged: for services that are active, as in Docker Compose.

use super::{Compose, Service, layer::Text};
use crate::{path, problem::Problem, spelling, yaml::Place};
use std::collections::{BTreeSet, HashMap, HashSet};

/// Everything that is wrong between the parts of a project.
pub fn check(compose: &Compose, is_legacy: bool) -> Vec<Problem> {
    let mut problems = Vec::new();
    let declared: BTreeSet<&str> = compose.volumes.iter().map(|volume| volume.key.as_str()).collect();
    for service in compose.active() {
        if !is_legacy {
            problems.extend(undefined_volumes(&declared, service));
        }
        problems.extend(targets(service));
    }
    problems.extend(volumes_from(compose));
    problems
}

fn undefined_volumes(declared: &BTreeSet<&str>, service: &Service) -> Vec<Problem> {
    let undefined = service.entries.iter().filter_map(|entry| {
        let name = entry.declaration.named().filter(|name| !declared.contains(name))?;
        let reason = format!("the volume `{name}` is not declared");
        let declare = format!(
            "declare it: a top-level `volumes:` with the key `{name}:`; or write `./{name}` for a folder"
        );
        let help = match spelling::did_you_mean(name, declared.iter().copied()) {
            Some(meant) => format!("{meant} Else {declare}"),
            None => declare,
        };
        let why = "a volume that isn't declared has no name to find its data by";
        Some(entry.problem(Problem::error("undefined-volume", reason, help).why(why)).service(&service.name))
    });
    undefined.collect()
}

/// A path in the container is there once: `tmpfs` and `volumes` share it, and so do two forms of one target.
fn targets(service: &Service) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut taken: HashMap<String, (&Place, String)> = HashMap::new();
    for text in &service.tmpfs {
        let target = text.value.split(':').next().unwrap_or_default();
        if let Some((place, by)) = taken.get(target) {
            let reason = format!("the container's path `{target}` is taken by `{by}`");
            let problem = Problem::error("duplicate-target", reason, "keep one of the two").at(&text.place);
            problems.push(problem.see(place, "the first one").service(&service.name));
        }
        taken.insert(target.to_owned(), (&text.place, text.value.clone()));
    }
    for entry in &service.entries {
        let target = path::clean(&entry.declaration.target);
        if let Some((place, by)) = taken.get(&target) {
            let reason = format!("the container's path `{target}` is taken by `{by}`");
            let problem = entry.problem(Problem::error("duplicate-target", reason, "keep one of the two"));
            problems.push(problem.see(place, "the first one").service(&service.name));
        }
        taken.insert(target, (&entry.place, entry.declaration.text.clone()));
    }
    problems
}

fn volumes_from(compose: &Compose) -> Vec<Problem> {
    let services: HashMap<&str, &Service> =
        compose.services.iter().map(|service| (service.name.as_str(), service)).collect();
    let mut problems = Vec::new();
    for service in compose.active() {
        for text in &service.volumes_from {
            let Some(name) = other_service(&text.value) else { continue };
            let problem = match services.get(name) {
                Some(other) if other.is_active => continue,
                Some(_) => {
                    let reason = format!("the service `{name}` is not active: none of its profiles is");
                    Problem::error("undefined-service", reason, "activate its profile by --profile")
                }
                None => {
                    let reason = format!("there is no service `{name}` to take volumes from");
                    Problem::error("undefined-service", reason, "check the service's name")
                }
            };
            problems.push(problem.at(&text.place).came_by(text.origin.as_ref()).service(&service.name));
        }
    }
    problems.extend(cycle(compose, &services));
    problems
}

/// Services that take their volumes from each other in a circle: the first one found.
fn cycle(compose: &Compose, services: &HashMap<&str, &Service>) -> Option<Problem> {
    let mut done: HashSet<&str> = HashSet::new();
    for start in compose.active() {
        // The way from the start to where we are, each with what it has left to follow.
        let mut way: Vec<(&Service, std::slice::Iter<'_, Text>)> = vec![(start, start.volumes_from.iter())];
        let mut on_way: HashSet<&str> = HashSet::from([start.name.as_str()]);
        while let Some((service, left)) = way.last_mut() {
            let service = *service;
            let Some(text) = left.next() else {
                done.insert(&service.name);
                on_way.remove(service.name.as_str());
                way.pop();
                continue;
            };
            let Some(other) = other_service(&text.value).and_then(|name| services.get(name)) else {
                continue;
            };
            if on_way.contains(other.name.as_str()) {
                let names = way.iter().map(|(service, _)| service.name.as_str());
                let circle: Vec<&str> = names.skip_while(|name| *name != other.name).collect();
                let reason = format!(
                    "services take their volumes from each other: {} -> {}",
                    circle.join(" -> "),
                    other.name
                );
                let problem =
                    Problem::error("volumes-from-cycle", reason, "remove one of the `volumes_from`");
                return Some(problem.at(&text.place).came_by(text.origin.as_ref()).service(&service.name));
            }
            if !done.contains(other.name.as_str()) {
                on_way.insert(&other.name);
                way.push((other, other.volumes_from.iter()));
            }
        }
    }
    None
}

/// The service that an entry of `volumes_from` names; a container is none.
pub fn other_service(entry: &str) -> Option<&str> {
    let name = entry.split(':').next().unwrap_or_default();
    (!entry.starts_with("container:")).then_some(name)
}
