//! What must hold once everything is merged: for services that are active, as in Docker Compose.

use super::{Compose, Service};
use crate::{path, problem::Problem, spelling, yaml::Place};
use std::collections::HashMap;

/// Everything that is wrong between the parts of a project.
pub fn check(compose: &Compose, is_legacy: bool) -> Vec<Problem> {
    let mut problems = Vec::new();
    for service in compose.active() {
        if !is_legacy {
            problems.extend(undefined_volumes(compose, service));
        }
        problems.extend(targets(service));
        problems.extend(volumes_from(compose, service));
    }
    problems
}

fn undefined_volumes(compose: &Compose, service: &Service) -> Vec<Problem> {
    let undefined = service.entries.iter().filter_map(|entry| {
        let name = entry.declaration.named()?;
        if compose.volumes.iter().any(|volume| volume.key == name) {
            return None;
        }
        let reason = format!("the volume `{name}` is not declared");
        let declared = compose.volumes.iter().map(|volume| volume.key.as_str());
        let meant = spelling::did_you_mean(name, declared).map(|meant| format!("{meant} Else ")).unwrap_or_default();
        let help = format!(
            "{meant}declare it: a top-level `volumes:` with the key `{name}:`; or write `./{name}` for a folder"
        );
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

fn volumes_from(compose: &Compose, service: &Service) -> Vec<Problem> {
    let mut problems = Vec::new();
    for text in &service.volumes_from {
        let Some(name) = other_service(&text.value) else { continue };
        let found = compose.services.iter().find(|other| other.name == name);
        let problem = match found {
            Some(other) if other.is_active && !leads_to(compose, other, &service.name) => continue,
            Some(other) if other.is_active => {
                let reason = format!("`{}` and `{name}` take their volumes from each other", service.name);
                Problem::error("volumes-from-cycle", reason, "remove one of the two")
            }
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
    problems
}

/// The service that an entry of `volumes_from` names; a container is none.
pub fn other_service(entry: &str) -> Option<&str> {
    let name = entry.split(':').next().unwrap_or_default();
    (!entry.starts_with("container:")).then_some(name)
}

fn leads_to(compose: &Compose, from: &Service, to: &str) -> bool {
    let mut seen: Vec<&str> = Vec::new();
    let mut open = vec![from];
    while let Some(service) = open.pop() {
        if service.name == to {
            return true;
        }
        if seen.contains(&service.name.as_str()) {
            continue;
        }
        seen.push(&service.name);
        let names = service.volumes_from.iter().filter_map(|text| other_service(&text.value));
        open.extend(names.filter_map(|name| compose.services.iter().find(|other| other.name == name)));
    }
    false
}
