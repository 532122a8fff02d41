//! One layer over another: several documents, several files, `extends`.
//!
//! Mappings merge key by key, lists are appended, scalars replaced; `volumes` are then one a target, the later as a whole in the
//! place of the earlier. Source: compose-go, `override/merge.go`, `override/uncity.go`; measured.

use super::{
    layer::{Extends, Key, Layer, Mount, ServiceLayer, Text, VolumeLayer},
    top_level_volume,
};
use crate::{
    problem::Problem,
    yaml::{Node, Value},
};
use std::collections::{HashMap, HashSet};

/// Keys of a service that merge in ways of their own, which never fail. What they come to is not this reader's business.
const OWN_WAYS: [&str; 20] = [
    "annotations",
    "build",
    "command",
    "depends_on",
    "dns",
    "dns_opt",
    "dns_search",
    "entrypoint",
    "env_file",
    "environment",
    "extra_hosts",
    "healthcheck.test",
    "deploy.labels",
    "label_file",
    "labels",
    "logging",
    "models",
    "networks",
    "sysctls",
    "ulimits",
];

/// Lays one layer over another. What can't be merged ends in `problems`.
pub fn layer(base: &mut Layer, over: Layer, problems: &mut Vec<Problem>) {
    for path in &over.resets {
        reset(base, path);
    }
    base.name = over.name.or(base.name.take());
    base.is_legacy |= over.is_legacy;
    base.says_nothing &= over.says_nothing;
    by_name(&mut base.services, over.services, |_, base, over| service(base, over));
    match (&base.volumes_key, over.volumes_key) {
        (Key::Absent, Key::Null(place)) => {
            let reason = "the top-level `volumes` has nothing in it";
            let help = "write the volumes' names below it, or remove it";
            problems.push(Problem::error("not-a-mapping", reason, help).at(&place));
        }
        (_, Key::Is(())) => base.volumes_key = Key::Is(()),
        (_, Key::Absent | Key::Null(_)) => {}
    }
    by_name(&mut base.volumes, over.volumes, |name, base, over| volume(base, over, name, problems));
    for (name, volume) in &mut base.volumes {
        problems.extend(top_level_volume::take_external_name(name, volume));
    }
    for (name, service) in &mut base.services {
        if service.is_null {
            let reason = format!("service `{name}` has nothing in it");
            let problem = Problem::error("not-a-mapping", reason, "write keys with values, or remove it");
            problems.push(problem.at(&service.place));
        }
        if let Key::Is(mounts) = &mut service.volumes {
            keep_last_by(mounts, |mount| mount.key.clone());
        }
        service.make_canonical();
        for text in service.volumes_from.value().into_iter().flat_map(|texts| twice(texts)) {
            let reason = format!("`{}` is in `volumes_from` twice", text.value);
            let problem = Problem::error("duplicate-entry", reason, "keep one of them").at(&text.place);
            problems.push(problem.came_by(text.origin.as_ref()).service(name));
        }
        let nothing = [
            ("volumes", null(&service.volumes)),
            ("tmpfs", null(&service.tmpfs)),
            ("volumes_from", null(&service.volumes_from)),
            ("profiles", null(&service.profiles)),
        ];
        for (key, place) in nothing.into_iter().filter_map(|(key, place)| Some((key, place?))) {
            let help = format!("write a list, or remove `{key}`");
            problems.push(
                Problem::error("not-a-list", format!("`{key}` has nothing in it"), help)
                    .at(place)
                    .service(name),
            );
        }
    }
    by_name(&mut base.others, over.others, |key, base, over| node(base, over, key, problems));
}

/// Lays named things over those of the same name; new ones come last.
pub fn by_name<T>(
    base: &mut Vec<(String, T)>,
    over: Vec<(String, T)>,
    mut both: impl FnMut(&str, &mut T, T),
) {
    let places: HashMap<String, usize> =
        base.iter().enumerate().map(|(at, (name, _))| (name.clone(), at)).collect();
    for (name, over) in over {
        match places.get(&name) {
            Some(at) => both(&name, &mut base[*at].1, over),
            None => base.push((name, over)),
        }
    }
}

/// Texts that were there before.
fn twice(texts: &[Text]) -> impl Iterator<Item = &Text> {
    let mut seen = HashSet::new();
    texts.iter().filter(move |text| !seen.insert(text.value.as_str()))
}

fn null<T>(key: &Key<T>) -> Option<&crate::yaml::Place> {
    match key {
        Key::Null(place) => Some(place),
        Key::Absent | Key::Is(_) => None,
    }
}

/// Lays a service over the one that it overrides or extends.
pub fn service(base: &mut ServiceLayer, over: ServiceLayer) {
    if over.is_null {
        return;
    }
    if base.is_null {
        *base = over;
        return;
    }
    extends(base, over.extends);
    base.volumes.overlay(over.volumes, append);
    base.tmpfs.overlay(over.tmpfs, append_texts);
    base.profiles.overlay(over.profiles, append_texts);
    base.volumes_from.overlay(over.volumes_from, |base, over| base.extend(over));
    base.user.overlay(over.user, |base, over| *base = over);
    base.problems.extend(over.problems);
    let problems = &mut base.problems;
    base.extension.overlay(over.extension, |base, over| node(base, over, "x-volumes", problems));
    for (key, over) in over.others {
        match base.others.iter_mut().find(|(found, _)| *found == key) {
            Some((_, _)) if OWN_WAYS.contains(&key.as_str()) => {
                base.others.retain(|(found, _)| *found != key);
                base.others.push((key, over));
            }
            Some((_, found)) => node(found, over, &key, &mut base.problems),
            None => base.others.push((key, over)),
        }
    }
}

/// What an earlier document extends is extended still, where a later one doesn't say otherwise: an extended file's services are
/// merged before they are followed.
fn extends(base: &mut ServiceLayer, over: Option<Extends>) {
    match (base.extends.as_mut(), over) {
        (_, None) => {}
        (None, over) => base.extends = over,
        (Some(base), Some(over)) if over.is_mapping => {
            base.service = over.service;
            base.file = over.file.or(base.file.take());
            base.place = over.place;
        }
        (Some(earlier), Some(over)) => {
            let reason = "`extends` is a name here, and was followed as a mapping before";
            let help = "write `extends: {service: NAME}`, or keep one of the two";
            let problem = Problem::error("cannot-override", reason, help).at(&over.place);
            let problem = problem.see(&earlier.place, "this is overridden");
            base.problems.push(problem);
        }
    }
}

fn append(base: &mut Vec<Mount>, over: Vec<Mount>) {
    base.extend(over);
    keep_last_by(base, |mount| mount.key.clone());
}

/// Texts are one a key, which ends at `=`.
fn append_texts(base: &mut Vec<Text>, over: Vec<Text>) {
    base.extend(over);
    keep_last_by(base, |text| text.value.split('=').next().unwrap_or_default().to_owned());
}

/// Keeps one item a key: the last one, in the place of the first one.
pub fn keep_last_by<T>(items: &mut Vec<T>, key: impl Fn(&T) -> String) {
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut kept: Vec<T> = Vec::with_capacity(items.len());
    for item in items.drain(..) {
        match places.get(&key(&item)) {
            Some(at) => kept[*at] = item,
            None => {
                places.insert(key(&item), kept.len());
                kept.push(item);
            }
        }
    }
    *items = kept;
}

fn volume(base: &mut VolumeLayer, over: VolumeLayer, name: &str, problems: &mut Vec<Problem>) {
    if over.is_null {
        return;
    }
    if base.is_null {
        *base = over;
        return;
    }
    // Labels are appended as `key=value`, and the same one twice is too much for Docker Compose.
    let is_in_both = |(key, value): &(&String, &String)| {
        base.labels.as_ref().is_some_and(|labels| labels.get(*key) == Some(value))
    };
    if let Some((key, value)) = over.labels.iter().flatten().find(is_in_both) {
        let reason = format!("the label `{key}={value}` of the top-level volume `{name}` is in both files");
        let problem = Problem::error("volume", reason, "remove it from one of them").at(&over.place.0);
        problems.push(problem.see(&base.place.0, "the volume in the other one"));
    }
    base.name = over.name.or(base.name.take());
    base.external = over.external.or(base.external);
    base.external_name = over.external_name.or(base.external_name.take());
    base.driver = over.driver.or(base.driver.take());
    for (base, over) in [(&mut base.driver_opts, over.driver_opts), (&mut base.labels, over.labels)] {
        if let Some(over) = over {
            base.get_or_insert_default().extend(over);
        }
    }
}

/// Any other node. Lists and mappings merge with their own kind only.
fn node(base: &mut Node, over: Node, path: &str, problems: &mut Vec<Problem>) {
    if over.is_null() {
        return;
    }
    match (&mut base.value, over.value) {
        (Value::Mapping(pairs), Value::Mapping(others)) => {
            for (key, over) in others {
                let name = key.as_text().unwrap_or_default().to_owned();
                match pairs.iter_mut().find(|(found, _)| found.as_text() == Some(&name)) {
                    Some((_, base)) if OWN_WAYS.contains(&format!("{path}.{name}").as_str()) => *base = over,
                    Some((_, base)) => node(base, over, &format!("{path}.{name}"), problems),
                    None => pairs.push((key, over)),
                }
            }
        }
        (Value::List(items), Value::List(others)) => items.extend(others),
        (Value::Scalar { .. }, value) => {
            base.value = value;
            base.place = over.place;
            base.origin = over.origin;
        }
        (Value::Mapping(_) | Value::List(_), value) => {
            let over = Node { place: over.place, tag: None, origin: over.origin, value, hides: None };
            let reason = format!("`{path}` is {} here and {} in what it overrides", over.kind(), base.kind());
            let help = "write both alike, or add `!override` before the later one".to_owned();
            let problem = Problem::error("cannot-override", reason, help).at(&over.place);
            problems.push(problem.see(&base.place, "this is overridden"));
        }
    }
}

/// Takes away what a later layer resets, before it is laid over.
pub fn reset(layer: &mut Layer, path: &[String]) {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    match path.as_slice() {
        ["services"] => layer.services.clear(),
        ["services", name] => layer.services.retain(|(found, _)| found != name),
        ["services", name, key @ ..] => {
            for (_, service) in layer.services.iter_mut().filter(|(found, _)| found == name) {
                reset_service(service, key);
            }
        }
        ["volumes"] => {
            layer.volumes.clear();
            layer.volumes_key = Key::Absent;
        }
        ["volumes", name] => layer.volumes.retain(|(found, _)| found != name),
        ["volumes", name, key @ ..] => {
            for (_, volume) in layer.volumes.iter_mut().filter(|(found, _)| found == name) {
                reset_volume(volume, key);
            }
        }
        ["name"] => layer.name = None,
        [key] => layer.others.retain(|(found, _)| found != key),
        [key, rest @ ..] => {
            for (_, found) in layer.others.iter_mut().filter(|(found, _)| found == key) {
                reset_node(found, rest);
            }
        }
        [] => {}
    }
}

/// The same for a service, by the path below it.
pub fn reset_service(service: &mut ServiceLayer, path: &[&str]) {
    match path {
        ["extends"] => service.extends = None,
        ["volumes"] => service.volumes = Key::Absent,
        ["tmpfs"] => service.tmpfs = Key::Absent,
        ["volumes_from"] => service.volumes_from = Key::Absent,
        ["profiles"] => service.profiles = Key::Absent,
        ["user"] => service.user = Key::Absent,
        ["x-volumes"] => service.extension = Key::Absent,
        [key] => service.others.retain(|(found, _)| found != key),
        [key, rest @ ..] => {
            for (_, found) in service.others.iter_mut().filter(|(found, _)| found == key) {
                reset_node(found, rest);
            }
        }
        [] => {}
    }
}

fn reset_volume(volume: &mut VolumeLayer, path: &[&str]) {
    match path {
        ["name"] => volume.name = None,
        ["external"] => volume.external = None,
        ["driver"] => volume.driver = None,
        ["driver_opts"] => volume.driver_opts = None,
        ["labels"] => volume.labels = None,
        ["driver_opts", key] => drop(volume.driver_opts.as_mut().map(|opts| opts.remove(*key))),
        ["labels", key] => drop(volume.labels.as_mut().map(|labels| labels.remove(*key))),
        _ => {}
    }
}

/// Items of lists can't be reset: Docker Compose leaves them alone.
fn reset_node(node: &mut Node, path: &[&str]) {
    let (Value::Mapping(pairs), [key, rest @ ..]) = (&mut node.value, path) else { return };
    if rest.is_empty() {
        pairs.retain(|(found, _)| found.as_text() != Some(key));
    } else {
        for (_, value) in pairs.iter_mut().filter(|(found, _)| found.as_text() == Some(key)) {
            reset_node(value, rest);
        }
    }
}
