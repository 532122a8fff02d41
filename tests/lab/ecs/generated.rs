//! A RegisterTaskDefinition document with every member of the service model, made from the model.
//!
//! Made, not written by hand, so that a member that a new botocore brings is in it by itself. What the model can't say (which members
//! exclude each other, which names must agree) is in two small tables, each line with its reason.

use super::model::Model;
use serde_json::{Map, Value, json};

/// The container that carries every member.
const CONTAINER: &str = "generated";
/// Another one, for members that name a container.
const OTHER: &str = "other";

/// Lists whose items can't have all members at once: one item a group, each with all members that are in no group.
const ALTERNATIVES: [(&str, &[&[&str]]); 2] = [
    (
        // A volume has one kind (service model, `Volume`).
        "volumes[]",
        &[
            &["host"],
            &["dockerVolumeConfiguration"],
            &["efsVolumeConfiguration"],
            &["s3filesVolumeConfiguration"],
            &["fsxWindowsFileServerVolumeConfiguration"],
            &["configuredAtLaunch"],
        ],
    ),
    (
        // A mapping is one port or a range (service model, `PortMapping.containerPortRange`).
        "containerDefinitions[].portMappings[]",
        &[&["containerPort", "hostPort"], &["containerPortRange"]],
    ),
];

/// What a member is instead of any value of its type, and why.
fn given(path: &str) -> Option<Value> {
    Some(match path {
        "family" => json!("generated"),
        // Mount points, dependencies, links and the proxy name things of the same document.
        "containerDefinitions[].name" => json!(CONTAINER),
        "containerDefinitions[].mountPoints[].sourceVolume" => json!("volume-0"),
        "containerDefinitions[].dependsOn[].containerName"
        | "containerDefinitions[].volumesFrom[].sourceContainer"
        | "containerDefinitions[].links[]"
        | "proxyConfiguration.containerName" => json!(OTHER),
        // The hard limit is not below the soft one.
        "containerDefinitions[].memory" => json!(64),
        "containerDefinitions[].memoryReservation" => json!(32),
        // ECS's minimum of each (service model): 5, 2, 2 seconds.
        "containerDefinitions[].healthCheck.interval" => json!(30),
        "containerDefinitions[].healthCheck.timeout" => json!(5),
        "containerDefinitions[].startTimeout" => json!(120),
        "containerDefinitions[].restartPolicy.restartAttemptPeriod" => json!(60),
        "containerDefinitions[].healthCheck.command[]" => json!("CMD"),
        // The modes of networking that fault injection allows are awsvpc and host, and in host mode both ports are the same.
        "networkMode" => json!("host"),
        "containerDefinitions[].portMappings[].containerPort"
        | "containerDefinitions[].portMappings[].hostPort" => json!(8080),
        "containerDefinitions[].portMappings[].containerPortRange" => json!("9000-9001"),
        "containerDefinitions[].extraHosts[].ipAddress" | "containerDefinitions[].dnsServers[]" => {
            json!("10.0.0.2")
        }
        // Paths in a container are absolute, and so are those on the instance.
        "containerDefinitions[].mountPoints[].containerPath" => json!("/generated/mount"),
        "containerDefinitions[].linuxParameters.tmpfs[].containerPath" => json!("/generated/tmpfs"),
        "containerDefinitions[].linuxParameters.devices[].hostPath" => json!("/dev/fuse"),
        "containerDefinitions[].linuxParameters.devices[].containerPath" => json!("/dev/fuse"),
        "containerDefinitions[].linuxParameters.tmpfs[].mountOptions[]" => json!("noexec"),
        "volumes[].host.sourcePath" => json!("/mnt/generated"),
        // Autoprovision is invalid with the scope task (ECS agent, dockervolume.go).
        "volumes[].dockerVolumeConfiguration.scope" => json!("shared"),
        "volumes[].efsVolumeConfiguration.fileSystemId" => json!("fs-0123456789abcdef0"),
        "volumes[].efsVolumeConfiguration.rootDirectory"
        | "volumes[].s3filesVolumeConfiguration.rootDirectory" => {
            json!("/")
        }
        // An expression that every instance of the lab meets.
        "placementConstraints[].expression" => json!("attribute:ecs.instance-type exists"),
        "requiresCompatibilities[]" => json!("EC2"),
        "runtimePlatform.operatingSystemFamily" => json!("LINUX"),
        // Of the whole task, as text; the container's fit in.
        "cpu" => json!("256"),
        "memory" => json!("512"),
        "taskRoleArn" | "executionRoleArn" => json!("arn:aws:iam::123456789012:role/generated"),
        "tags[].key" => json!("generated"),
        _ => return None,
    })
}

/// The document: at every depth every member that `RegisterTaskDefinition`'s request has in the model. The lab's ECS accepts it, with
/// EC2 among its compatibilities. It isn't meant to be run: it asks for what no one instance has (GPUs and Managed Instances' trusted
/// execution).
pub fn generated_document(model: &Model) -> Value {
    let shape = model.input("RegisterTaskDefinition").unwrap_or_default();
    let mut document = any(model, shape, "");
    if let Some(Value::Array(containers)) = document.get_mut("containerDefinitions") {
        containers.push(json!({ "name": OTHER, "image": "other:1", "memory": 16, "essential": false }));
    }
    if let Some(Value::Array(volumes)) = document.get_mut("volumes") {
        for (n, volume) in volumes.iter_mut().enumerate() {
            volume["name"] = format!("volume-{n}").into();
        }
    }
    document
}

fn any(model: &Model, name: &str, path: &str) -> Value {
    if let Some(value) = given(path) {
        return value;
    }
    let shape = model.shape(name);
    let of = |key: &str| shape[key]["shape"].as_str().unwrap_or_default();
    match shape["type"].as_str().unwrap_or_default() {
        "structure" => structure(model, shape, path, &|_| true),
        "list" => {
            let path = format!("{path}[]");
            let item = of("member");
            let Some((_, groups)) = ALTERNATIVES.iter().find(|(of, _)| *of == path) else {
                return json!([any(model, item, &path)]);
            };
            let one = |group: &&[&str]| {
                let in_a_group = |key: &str| groups.iter().any(|group| group.contains(&key));
                structure(model, model.shape(item), &path, &|key| group.contains(&key) || !in_a_group(key))
            };
            groups.iter().map(one).collect()
        }
        "map" => json!({ "generated": any(model, of("value"), &format!("{path}.*")) }),
        "boolean" => json!(true),
        "integer" | "long" => json!(shape["min"].as_i64().unwrap_or(1).max(1)),
        "double" | "float" => json!(1.5),
        "timestamp" => json!(1_700_000_000),
        _ => shape["enum"][0].as_str().map_or_else(|| json!("generated"), |first| json!(first)),
    }
}

fn structure(model: &Model, shape: &Value, path: &str, wanted: &dyn Fn(&str) -> bool) -> Value {
    let mut made = Map::new();
    for (key, member) in shape["members"].as_object().into_iter().flatten().filter(|(key, _)| wanted(key)) {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        made.insert(key.clone(), any(model, member["shape"].as_str().unwrap_or_default(), &path));
    }
    made.into()
}

/// The path of every member of a request, at every depth: `containerDefinitions[].name`. What [`generated_document`] must have.
pub fn members(model: &Model, operation: &str) -> Vec<String> {
    let mut found = Vec::new();
    walk(model, model.input(operation).unwrap_or_default(), "", &mut found);
    found
}

fn walk(model: &Model, name: &str, path: &str, found: &mut Vec<String>) {
    let shape = model.shape(name);
    let of = |key: &str| shape[key]["shape"].as_str().unwrap_or_default();
    match shape["type"].as_str().unwrap_or_default() {
        "structure" => {
            for (key, member) in shape["members"].as_object().into_iter().flatten() {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                found.push(path.clone());
                walk(model, member["shape"].as_str().unwrap_or_default(), &path, found);
            }
        }
        "list" => walk(model, of("member"), &format!("{path}[]"), found),
        _ => {}
    }
}

/// Whether some value in `document` is at `path`, as [`members`] writes it.
pub fn has(document: &Value, path: &str) -> bool {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let (key, is_list) = first.strip_suffix("[]").map_or((first, false), |key| (key, true));
    match (document.get(key), rest) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some(value), Some(rest)) if is_list => {
            value.as_array().is_some_and(|all| all.iter().any(|one| has(one, rest)))
        }
        (Some(value), Some(rest)) => has(value, rest),
    }
}
