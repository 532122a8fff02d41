//! What RegisterTaskDefinition refuses, and what ECS writes back into a document by itself.
//!
//! Rules from the service model (botocore `ecs/2014-11-13`) and the developer guide's quotas. Fields that nobody knows are kept
//! at every depth: that is what this fake is for.

use super::{ApiError, input::Input, placement::Expression};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// Largest registered document, in bytes (service quotas; not adjustable).
const MAX_BYTES: usize = 64 * 1024;
/// Most containers in one document (service quotas).
const MAX_CONTAINERS: usize = 10;
/// Most placement constraints in one document (service model).
const MAX_CONSTRAINTS: usize = 10;
/// Most tags on a resource (service model).
const MAX_TAGS: usize = 50;

/// What DescribeTaskDefinition adds. AWS's own clients refuse to send these; a client that sends raw JSON must take them off too.
const OUTPUT_ONLY: [&str; 9] = [
    "taskDefinitionArn",
    "revision",
    "status",
    "requiresAttributes",
    "compatibilities",
    "registeredAt",
    "registeredBy",
    "deregisteredAt",
    "deleteRequestedAt",
];

/// Every container instance that can run Docker containers has it; so a definition needs an instance with an agent.
pub(super) const DOCKER_CAPABILITY: &str = "com.amazonaws.ecs.capability.docker-remote-api.1.18";

fn client(message: impl Into<String>) -> ApiError {
    ApiError::Client(message.into())
}

/// Refuses what ECS refuses.
pub(super) fn validate(request: Input) -> Result<(), ApiError> {
    if let Some(key) = OUTPUT_ONLY.iter().find(|key| request.fields().contains_key(**key)) {
        return Err(client(format!("Unknown parameter in input: \"{key}\" is only ever in the answer.")));
    }
    let family = request.required("family")?;
    if family.len() > 255 || !family.chars().all(is_name) {
        return Err(client("Family contains invalid characters."));
    }
    let bytes = Value::Object(request.fields().clone()).to_string().len();
    if bytes > MAX_BYTES {
        return Err(client(format!("Actual length: '{bytes}'. Max allowed length is '{MAX_BYTES}' bytes.")));
    }
    for key in ["taskRoleArn", "executionRoleArn"] {
        if request.text(key)? == Some("") {
            return Err(client("Role is not valid"));
        }
    }
    tags(request)?;
    let volumes = volumes(request)?;
    containers(request, &volumes)?;
    constraints(request)
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-' || c == '_'
}

fn tags(request: Input) -> Result<(), ApiError> {
    let invalid = |text: String| Err(ApiError::InvalidParameter(text));
    let tags = request.objects("tags")?;
    if tags.len() > MAX_TAGS || (tags.is_empty() && request.get("tags").is_some()) {
        return invalid(format!("Tags can not be empty, and at most {MAX_TAGS} are allowed."));
    }
    for tag in tags {
        let key = tag.required("key")?;
        if key.to_ascii_lowercase().starts_with("aws:") {
            return invalid(format!("Tag key {key} begins with aws:, which is reserved."));
        }
    }
    Ok(())
}

fn volumes<'a>(request: Input<'a>) -> Result<BTreeSet<&'a str>, ApiError> {
    let mut names = BTreeSet::new();
    for volume in request.objects("volumes")? {
        let name = volume.required("name")?;
        if name.len() > 255 || !name.chars().all(is_name) {
            return Err(client(format!("Volume name '{name}' contains invalid characters.")));
        }
        if !names.insert(name) {
            return Err(client(format!("Duplicate volume name '{name}'.")));
        }
        if let Some(host) = volume.object("host")? {
            host.text("sourcePath")?;
        }
    }
    Ok(names)
}

fn containers(request: Input, volumes: &BTreeSet<&str>) -> Result<(), ApiError> {
    let containers = request.objects("containerDefinitions")?;
    if containers.is_empty() {
        return Err(client("Container list cannot be empty."));
    }
    if containers.len() > MAX_CONTAINERS {
        return Err(client(format!("Too many containers: a task definition has at most {MAX_CONTAINERS}.")));
    }
    let mut names = BTreeSet::new();
    for container in &containers {
        let name = container.required("name")?;
        if !names.insert(name) {
            return Err(client(format!("Duplicate container name '{name}'.")));
        }
        if container.text("image")?.is_none_or(str::is_empty) {
            return Err(client("Container.image should not be null or empty."));
        }
        if ["memory", "memoryReservation"].iter().all(|key| container.get(key).is_none())
            && request.get("memory").is_none()
        {
            return Err(client(format!(
                "Invalid setting for container '{name}'. At least one of 'memory' or 'memoryReservation' must be specified."
            )));
        }
        for mount in container.objects("mountPoints")? {
            let volume = mount.required("sourceVolume")?;
            if !volumes.contains(volume) {
                return Err(client(format!("Unknown volume '{volume}'.")));
            }
            mount.required("containerPath")?;
        }
    }
    if !containers.iter().any(|container| is_essential(*container)) {
        return Err(client("A task definition must have at least one essential container."));
    }
    dependencies(&containers)
}

fn is_essential(container: Input) -> bool {
    container.get("essential").and_then(Value::as_bool).unwrap_or(true)
}

fn dependencies(containers: &[Input]) -> Result<(), ApiError> {
    let find = |name: &str| containers.iter().find(|c| c.get("name").and_then(Value::as_str) == Some(name));
    for container in containers {
        let name = container.required("name")?;
        for dependency in container.objects("dependsOn")? {
            let on = dependency.required("containerName")?;
            let Some(target) = find(on) else {
                return Err(client(format!("Cannot depend on container '{on}', it does not exist.")));
            };
            match dependency.required("condition")? {
                "START" => {}
                "HEALTHY" if target.get("healthCheck").is_some() => {}
                "HEALTHY" => {
                    return Err(client(format!("Container '{on}' has no health check to depend on.")));
                }
                "SUCCESS" | "COMPLETE" if !is_essential(*target) => {}
                "SUCCESS" | "COMPLETE" => {
                    return Err(client(
                        "A dependency container with SUCCESS or COMPLETE condition cannot be an essential container.",
                    ));
                }
                other => return Err(client(format!("Invalid dependency condition '{other}'."))),
            }
        }
        if depends_on_itself(name, containers)? {
            return Err(client(format!("Container '{name}' depends on itself.")));
        }
    }
    Ok(())
}

/// Whether following `dependsOn` from `start` comes back to it.
fn depends_on_itself(start: &str, containers: &[Input]) -> Result<bool, ApiError> {
    let mut seen = BTreeSet::new();
    let mut next = vec![start];
    while let Some(name) = next.pop() {
        for container in containers {
            if container.text("name")? != Some(name) {
                continue;
            }
            for dependency in container.objects("dependsOn")? {
                let on = dependency.required("containerName")?;
                if on == start {
                    return Ok(true);
                }
                if seen.insert(on) {
                    next.push(on);
                }
            }
        }
    }
    Ok(false)
}

fn constraints(request: Input) -> Result<(), ApiError> {
    let constraints = request.objects("placementConstraints")?;
    if constraints.len() > MAX_CONSTRAINTS {
        return Err(client(format!(
            "Too many placement constraints: at most {MAX_CONSTRAINTS} are allowed."
        )));
    }
    for constraint in constraints {
        let kind = constraint.required("type")?;
        if kind != "memberOf" {
            return Err(ApiError::InvalidParameter(format!("Constraint type {kind} is not memberOf.")));
        }
        let text = constraint.required("expression")?;
        Expression::parse(text)
            .map_err(|error| ApiError::InvalidParameter(format!("Invalid expression '{text}': {error}.")))?;
    }
    Ok(())
}

/// What makes a document a registered revision.
pub(super) struct Revision {
    pub(super) arn: String,
    pub(super) number: u64,
    /// Seconds since the epoch, as AWS's JSON protocols write times.
    pub(super) registered_at: f64,
    pub(super) registered_by: String,
}

/// The document as DescribeTaskDefinition answers it: what was sent, `tags` aside, with ECS's defaults and the revision's own
/// fields. `request` must be valid.
pub(super) fn registered(request: Input, revision: &Revision) -> Map<String, Value> {
    let mut document = request.fields().clone();
    document.shift_remove("tags");
    let network_mode = document.get("networkMode").and_then(Value::as_str).unwrap_or("bridge").to_owned();
    if let Some(Value::Array(containers)) = document.get_mut("containerDefinitions") {
        containers
            .iter_mut()
            .filter_map(Value::as_object_mut)
            .for_each(|c| container_defaults(c, &network_mode));
    }
    for key in ["volumes", "placementConstraints"] {
        document.entry(key).or_insert_with(|| json!([]));
    }
    if let Some(Value::Array(volumes)) = document.get_mut("volumes") {
        for volume in volumes.iter_mut().filter_map(Value::as_object_mut) {
            volume.entry("configuredAtLaunch").or_insert(Value::Bool(false));
        }
    }
    let fargate = document
        .get("requiresCompatibilities")
        .and_then(Value::as_array)
        .is_some_and(|all| all.contains(&json!("FARGATE")));
    let compatibilities = if fargate { json!(["EC2", "FARGATE"]) } else { json!(["EXTERNAL", "EC2"]) };
    for (key, value) in [
        ("taskDefinitionArn", json!(revision.arn)),
        ("revision", json!(revision.number)),
        ("status", json!("ACTIVE")),
        ("requiresAttributes", json!([{ "name": DOCKER_CAPABILITY }])),
        ("compatibilities", compatibilities),
        ("registeredAt", json!(revision.registered_at)),
        ("registeredBy", json!(revision.registered_by)),
    ] {
        document.insert(key.to_owned(), value);
    }
    document
}

fn container_defaults(container: &mut Map<String, Value>, network_mode: &str) {
    container.entry("cpu").or_insert(json!(0));
    container.entry("essential").or_insert(json!(true));
    for key in ["portMappings", "environment", "mountPoints", "volumesFrom", "systemControls"] {
        container.entry(key).or_insert_with(|| json!([]));
    }
    if let Some(Value::Array(ports)) = container.get_mut("portMappings") {
        for port in ports.iter_mut().filter_map(Value::as_object_mut) {
            let same = port.get("containerPort").cloned().unwrap_or(json!(0));
            let host = if network_mode == "bridge" { json!(0) } else { same };
            port.entry("hostPort").or_insert(host);
            port.entry("protocol").or_insert(json!("tcp"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(change: impl FnOnce(&mut Value)) -> Value {
        let mut document = json!({
            "family": "example-web",
            "containerDefinitions": [
                { "name": "web", "image": "web:1", "memory": 64, "mountPoints": [{ "sourceVolume": "v", "containerPath": "/d" }] },
                { "name": "seed", "image": "web:1", "memory": 64, "essential": false },
            ],
            "volumes": [{ "name": "v", "host": { "sourcePath": "/volumes/a" } }],
        });
        change(&mut document);
        document
    }

    fn check(document: &Value) -> Result<(), String> {
        Input::new(document).and_then(validate).map_err(|error| error.to_string())
    }

    #[test]
    fn what_ecs_refuses_is_refused() {
        assert_eq!(check(&document(|_| {})), Ok(()));
        type Change = fn(&mut Value);
        let cases: [(&str, Change); 22] = [
            ("taskDefinitionArn", |d| d["taskDefinitionArn"] = json!("arn")),
            ("registeredAt", |d| d["registeredAt"] = json!(null)),
            ("family", |d| d["family"] = json!("")),
            ("Family", |d| d["family"] = json!("a/b")),
            ("65536", |d| d["containerDefinitions"][0]["dockerLabels"] = json!({ "x": "y".repeat(65536) })),
            ("Role", |d| d["taskRoleArn"] = json!("")),
            ("Tags", |d| d["tags"] = json!([])),
            ("aws:", |d| d["tags"] = json!([{ "key": "AWS:x", "value": "y" }])),
            ("Unknown volume 'v'", |d| d["volumes"] = json!([])),
            ("Duplicate volume", |d| d["volumes"] = json!([{ "name": "v" }, { "name": "v" }])),
            ("Container list", |d| d["containerDefinitions"] = json!([])),
            ("Too many containers", |d| {
                let one = |n| json!({ "name": format!("c{n}"), "image": "i", "memory": 4 });
                d["containerDefinitions"] = (0..11).map(one).collect();
            }),
            ("memory", |d| d["containerDefinitions"][0]["memory"] = json!(null)),
            ("Duplicate container", |d| d["containerDefinitions"][1]["name"] = json!("web")),
            ("does not exist", |d| {
                d["containerDefinitions"][0]["dependsOn"] =
                    json!([{ "containerName": "x", "condition": "START" }]);
            }),
            ("cannot be an essential", |d| {
                d["containerDefinitions"][1]["dependsOn"] =
                    json!([{ "containerName": "web", "condition": "SUCCESS" }]);
            }),
            ("no health check", |d| {
                d["containerDefinitions"][0]["dependsOn"] =
                    json!([{ "containerName": "seed", "condition": "HEALTHY" }]);
            }),
            ("Invalid dependency condition", |d| {
                d["containerDefinitions"][0]["dependsOn"] =
                    json!([{ "containerName": "seed", "condition": "DONE" }]);
            }),
            ("'web' depends on itself", |d| {
                d["containerDefinitions"][0]["dependsOn"] =
                    json!([{ "containerName": "web", "condition": "START" }]);
            }),
            ("depends on itself", |d| {
                d["containerDefinitions"][0]["dependsOn"] =
                    json!([{ "containerName": "seed", "condition": "START" }]);
                d["containerDefinitions"][1]["dependsOn"] =
                    json!([{ "containerName": "web", "condition": "START" }]);
            }),
            ("Too many placement", |d| {
                d["placementConstraints"] = (0..11)
                    .map(|_| json!({ "type": "memberOf", "expression": "attribute:a exists" }))
                    .collect();
            }),
            ("Invalid expression", |d| {
                d["placementConstraints"] = json!([{ "type": "memberOf", "expression": "attribute:a ==" }]);
            }),
        ];
        for (expected, change) in cases {
            let refusal = check(&document(change)).expect_err(expected);
            assert!(refusal.contains(expected), "{expected}: {refusal}");
        }
    }

    #[test]
    fn a_registered_document_is_what_was_sent_and_the_defaults_of_ecs() {
        let sent = json!({
            "family": "f",
            "newerThanAnySdk": { "deep": [1] },
            "tags": [{ "key": "k", "value": "v" }],
            "containerDefinitions": [
                { "name": "web", "image": "i", "memory": 64, "newer": true, "cpu": 7, "portMappings": [{ "containerPort": 80 }] },
            ],
            "volumes": [{ "name": "v", "host": { "sourcePath": "/x", "newer": 1 } }],
        });
        let revision =
            Revision { arn: "arn:f:1".into(), number: 1, registered_at: 1.5, registered_by: "me".into() };
        let kept = registered(Input::new(&sent).unwrap(), &revision);
        assert_eq!(
            Value::Object(kept),
            json!({
                "family": "f",
                "newerThanAnySdk": { "deep": [1] },
                "containerDefinitions": [{
                    "name": "web", "image": "i", "memory": 64, "newer": true, "cpu": 7, "essential": true,
                    "portMappings": [{ "containerPort": 80, "hostPort": 0, "protocol": "tcp" }],
                    "environment": [], "mountPoints": [], "volumesFrom": [], "systemControls": [],
                }],
                "volumes": [{ "name": "v", "host": { "sourcePath": "/x", "newer": 1 }, "configuredAtLaunch": false }],
                "placementConstraints": [],
                "taskDefinitionArn": "arn:f:1", "revision": 1, "status": "ACTIVE",
                "requiresAttributes": [{ "name": DOCKER_CAPABILITY }],
                "compatibilities": ["EXTERNAL", "EC2"],
                "registeredAt": 1.5, "registeredBy": "me",
            })
        );
    }
}
