//! The seeding container: the app's own image, with an entry point of ours, that fills new volumes before the app's container is created.
//!
//! It has what that needs and nothing of the app's: no secrets, environment, ports, links, devices, health check, `volumesFrom`, ulimits
//! or dependencies. That it is there is a function of the declarations alone, so that a pipeline and the daemon agree.

use super::{Laid, PatchError, SEEDING, container_mut, hex, list, strip::Undo, volume_name};
use crate::{
    layout::Volume,
    mount::VOLUMES_ROOT,
    order::{self, Order},
    share::AGENT_DIRECTORY,
};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// Longest name of a container (API reference, `ContainerDefinition`).
const LONGEST_NAME: usize = 255;
/// A reservation for ECS's placement where each container has its own memory, in MiB; it is no limit.
const RESERVATION_MIB: u32 = 16;
/// Seconds that the app's containers wait for it: filling a volume from a large image takes minutes on a share.
const START_TIMEOUT_SECONDS: u32 = 3600;
/// Seconds between SIGTERM and SIGKILL: it can be ended at any point.
const STOP_TIMEOUT_SECONDS: u32 = 2;
/// What giving files away needs, and reading what is not root's (capabilities(7)).
const CAPABILITIES: [&str; 4] = ["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID"];
/// Log drivers that work only beside another container of the task.
const NOT_ALONE: [&str; 1] = ["awsfirelens"];

/// The volumes that a container begins with the image's content.
fn filled(volumes: &[Volume]) -> impl Iterator<Item = &Volume> {
    volumes.iter().filter(|volume| volume.first_use.content.is_of_the_image())
}

/// Adds a seeding container for each image that has volumes to fill. Gives how many those are.
pub(super) fn add(document: &mut Value, laid: &[Laid<'_>], undo: &mut Undo) -> Result<usize, PatchError> {
    let mut of_image: BTreeMap<String, Vec<&Laid<'_>>> = BTreeMap::new();
    for one in laid.iter().filter(|laid| filled(&laid.volumes).next().is_some()) {
        let Some(container) = container_mut(document, &one.declares.container) else { continue };
        // The same image may need other credentials in another registry.
        let image = json!([container.get("image"), container.get("repositoryCredentials")]).to_string();
        of_image.entry(image).or_default().push(one);
    }
    // In the order of the containers' names, which is that of `laid`.
    let mut groups: Vec<Vec<&Laid<'_>>> = of_image.into_values().collect();
    groups.sort_by(|a, b| a[0].declares.container.cmp(&b[0].declares.container));
    for group in &groups {
        one(document, group, undo)?;
    }
    Ok(groups.len())
}

fn one(document: &mut Value, group: &[&Laid<'_>], undo: &mut Undo) -> Result<(), PatchError> {
    let first = &group[0].declares.container;
    let name = name(first);
    let mut orders: BTreeMap<&str, Order> = BTreeMap::new();
    for (volume, relative) in
        group.iter().flat_map(|laid| filled(&laid.volumes)).filter_map(|v| Some((v, v.relative.as_deref()?)))
    {
        let order = orders.entry(relative).or_insert_with(|| Order {
            path: relative.to_owned(),
            target: volume.target.clone(),
            owner: None,
            mode: None,
        });
        order.owner = order.owner.or(volume.first_use.owner);
        order.mode = order.mode.or(volume.first_use.mode);
    }
    let folders: BTreeSet<&str> = orders.keys().filter_map(|path| Some(order::folder(path)?.0)).collect();
    let records = format!("{AGENT_DIRECTORY}/{}", order::RECORDS);
    let mut binds = vec![(order::HELPER_FOLDER.to_owned(), order::helper_mount(), true)];
    for path in std::iter::once(records.as_str()).chain(folders) {
        binds.push((format!("{VOLUMES_ROOT}/{path}"), order::share_mount(path), false));
    }
    let Some(root) = document.as_object_mut() else {
        return Err(PatchError::NotATaskDefinition("it is not a JSON object"));
    };
    let volumes = list(root, "volumes", "volumes", undo);
    let mut points = Vec::new();
    for (source, target, read_only) in binds {
        let name = volume_name(&source);
        if !volumes.iter().any(|known| known.get("name").and_then(Value::as_str) == Some(&name)) {
            volumes.push(json!({ "name": name, "host": { "sourcePath": source } }));
        }
        points.push(json!({ "sourceVolume": name, "containerPath": target, "readOnly": read_only }));
    }
    let has_own_memory = root.get("memory").is_none_or(Value::is_null);
    for laid in group {
        let container = &laid.declares.container;
        let Some(container_definition) = container_mut(document, container) else { continue };
        let path = format!("containerDefinitions/{container}/dependsOn");
        list(container_definition, "dependsOn", &path, undo)
            .push(json!({ "containerName": name, "condition": "SUCCESS" }));
    }
    let Some(app) = container_mut(document, first).cloned() else { return Ok(()) };
    let commands: Vec<String> = orders.values().map(|order| json!(order).to_string()).collect();
    let mut seeding = Map::new();
    let mut put = |key: &str, value: Value| drop(seeding.insert(key.to_owned(), value));
    put("name", json!(name));
    put("image", app.get("image").cloned().unwrap_or_default());
    if let Some(credentials) = app.get("repositoryCredentials").filter(|given| !given.is_null()) {
        put("repositoryCredentials", credentials.clone());
    }
    put("cpu", json!(0));
    if has_own_memory {
        put("memoryReservation", json!(RESERVATION_MIB));
    }
    put("essential", json!(false));
    put("entryPoint", json!([order::entry_point()]));
    put("command", json!(commands));
    put("user", json!("0:0"));
    put("readonlyRootFilesystem", json!(true));
    put("linuxParameters", json!({ "capabilities": { "add": CAPABILITIES, "drop": ["ALL"] } }));
    put("mountPoints", json!(points));
    put("startTimeout", json!(START_TIMEOUT_SECONDS));
    put("stopTimeout", json!(STOP_TIMEOUT_SECONDS));
    if let Some(log) = app.get("logConfiguration").filter(|log| works_alone(log)) {
        put("logConfiguration", log.clone());
    }
    if let Some(Value::Array(containers)) = document.get_mut("containerDefinitions") {
        containers.push(Value::Object(seeding));
    }
    Ok(())
}

/// By the container's name, or by a hash of it where it is too long.
fn name(container: &str) -> String {
    let name = format!("{SEEDING}{container}");
    if name.len() <= LONGEST_NAME {
        return name;
    }
    format!("{SEEDING}{}", hex(&Sha256::digest(container.as_bytes()), 8))
}

/// Whether a log driver needs no other container of the task, and none of the app's secrets.
fn works_alone(log: &Value) -> bool {
    let driver = log.get("logDriver").and_then(Value::as_str).unwrap_or_default();
    let secrets = log.get("secretOptions").and_then(Value::as_array);
    !driver.is_empty() && !NOT_ALONE.contains(&driver) && secrets.is_none_or(Vec::is_empty)
}
