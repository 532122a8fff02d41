use super::*;
use crate::labels::{APP, VOLUMES};
use proptest::prelude::*;

fn wordpress() -> Value {
    json!({
        "family": "example-app-web",
        "containerDefinitions": [{
            "name": "web",
            "image": "wordpress:4.5.2-apache",
            "memory": 256,
            "aFieldOfTomorrow": { "deep": [1, { "x": null }] },
            "portMappings": [{ "containerPort": 80, "hostPort": 80 }],
            "dockerLabels": { APP: "example-app", VOLUMES: "[\"/var/www/html\"]" },
        }],
        "anotherFieldOfTomorrow": "kept",
        "tags": [{ "key": "team", "value": "blog" }],
    })
}

fn settings(rack: &Rack) -> PatchSettings<'_> {
    PatchSettings { rack, gate: true, source: "arn:1".to_owned(), host_paths: &[], fills: true }
}

fn patched_with(document: &Value, change: impl Fn(&mut PatchSettings<'_>)) -> Patched {
    let rack = "production".parse().unwrap();
    let mut settings = settings(&rack);
    change(&mut settings);
    match patch(document, &settings).unwrap() {
        Outcome::Patched(patched) => *patched,
        other => panic!("not patched: {other:?}"),
    }
}

fn patched(document: &Value) -> Patched {
    patched_with(document, |_| {})
}

fn error(document: &Value) -> String {
    let rack = "production".parse().unwrap();
    patch(document, &settings(&rack)).unwrap_err().to_string()
}

#[test]
fn the_wordpress_file_is_bind_mounted_from_the_share() {
    let result = patched(&wordpress());
    let document = &result.document;
    let volume = &document["volumes"][0];
    assert_eq!(volume["host"]["sourcePath"], "/volumes/production-example-app/web/var/www/html");
    assert_eq!(
        document["containerDefinitions"][0]["mountPoints"],
        json!([{ "sourceVolume": volume["name"], "containerPath": "/var/www/html", "readOnly": false }])
    );
    assert_eq!(our_sources(document), ["/volumes/production-example-app/web/var/www/html"]);
    assert_eq!(container_names(document), ["web"]);
    assert_eq!(
        document["placementConstraints"],
        json!([{ "type": "memberOf", "expression": "attribute:convox.volumes == ready" }])
    );
    assert_eq!(document["containerDefinitions"][0]["dockerLabels"][SOURCE], "arn:1");
    assert_eq!(result.volumes[0].relative, "production-example-app/web/var/www/html");
}

#[test]
fn nothing_else_changes() {
    let mut document = patched(&wordpress()).document;
    let root = document.as_object_mut().unwrap();
    root.remove("volumes");
    root.remove("placementConstraints");
    root["containerDefinitions"].as_array_mut().unwrap().truncate(1);
    let container = root["containerDefinitions"][0].as_object_mut().unwrap();
    container.remove("mountPoints");
    container.remove("dependsOn");
    for label in [SOURCE, UNDO, FINGERPRINT] {
        assert!(container["dockerLabels"].as_object_mut().unwrap().remove(label).is_some());
    }
    assert_eq!(document, wordpress());
}

#[test]
fn only_output_only_fields_and_reserved_tags_are_left_out() {
    let mut definition = wordpress();
    definition.as_object_mut().unwrap().remove("tags");
    let mut answered = definition.clone();
    for field in OUTPUT_ONLY {
        answered[field] = json!("x");
    }
    let tags = json!([{ "key": "AWS:x", "value": "" }, { "key": "team", "value": "blog" }]);
    let document = registerable(json!({ "taskDefinition": answered, "tags": tags })).unwrap();
    assert_eq!(document, wordpress());
    let untagged = registerable(json!({ "taskDefinition": answered, "tags": [] })).unwrap();
    assert_eq!(untagged, definition, "no empty list of tags is sent");
    assert!(registerable(json!([])).is_err());
    assert!(registerable(json!({ "family": "x" })).is_err());
}

#[test]
fn a_hold_becomes_the_gate_and_comes_back() {
    let mut document = wordpress();
    document["placementConstraints"] = json!([
        { "type": "memberOf", "expression": "attribute:a == b" },
        { "type": "memberOf", "expression": HOLD_EXPRESSION },
        { "type": "memberOf", "expression": "attribute:c == d" },
    ]);
    let gated = patched(&document).document;
    assert_eq!(gated["placementConstraints"][1]["expression"], GATE_EXPRESSION);
    assert_eq!(unpatch(&gated).unwrap(), document);
    let ungated = patched_with(&document, |settings| settings.gate = false).document;
    assert_eq!(ungated["placementConstraints"].as_array().unwrap().len(), 2);
    assert_eq!(ungated["containerDefinitions"][0]["dockerLabels"][GATE], "off");
    assert_eq!(unpatch(&ungated).unwrap(), document);
}

#[test]
fn what_a_deploy_tool_makes_of_a_patched_revision_patches_as_its_source_would() {
    let mut copied = patched(&wordpress()).document;
    copied["containerDefinitions"][0]["image"] = json!("wordpress:5");
    copied["containerDefinitions"].as_array_mut().unwrap().push(json!({ "name": "convox-volumes-seed" }));
    let mut source = wordpress();
    source["containerDefinitions"][0]["image"] = json!("wordpress:5");
    let (copied, source) = (patched(&copied), patched(&source));
    assert_eq!(copied.document, source.document);
    assert_eq!(copied.fingerprint, source.fingerprint);
}

#[test]
fn ten_containers_and_nearly_64_kib_are_patched() {
    let mut document = wordpress();
    let side = |n: usize| json!({ "name": format!("side{n}"), "image": "i" });
    document["containerDefinitions"].as_array_mut().unwrap().extend((0..8).map(side));
    let added = patched(&document).document.to_string().len() - document.to_string().len();
    document["family"] = json!("f".repeat(200));
    let room = LARGEST_BYTES - document.to_string().len() - added;
    let fill = |bytes: usize| {
        let mut full = document.clone();
        full["aFieldOfTomorrow"] = json!("");
        let overhead = full.to_string().len() - document.to_string().len();
        full["aFieldOfTomorrow"] = json!("x".repeat(bytes - overhead));
        full
    };
    assert_eq!(patched(&fill(room)).document.to_string().len(), LARGEST_BYTES);
    assert!(error(&fill(room + 1)).starts_with("with its volumes it has 65537 bytes"));
}

/// What a tool does to the running revision.
type Copier = fn(&mut Value);

/// How public deploy tools build a revision on the running one, beside the new image.
const TOOLS: [(&str, Copier); 4] = [
    // `ecs deploy` (fabfuel): a list of what is left out, which the output-only fields are; all else is copied.
    ("fabfuel/ecs-deploy", |_| {}),
    // A list of what is kept (its script, lines 391 to 411); what is not on it is lost, by the source's deploy as by this one.
    ("silinternational/ecs-deploy", |document| {
        let kept = [
            "family",
            "volumes",
            "containerDefinitions",
            "placementConstraints",
            "networkMode",
            "taskRoleArn",
            "executionRoleArn",
            "runtimePlatform",
            "proxyConfiguration",
            "ephemeralStorage",
        ];
        document.as_object_mut().unwrap().retain(|key, _| kept.contains(&key.as_str()));
    }),
    // amazon-ecs-deploy-task-definition leaves out what is null or empty, at every depth.
    ("aws-actions/amazon-ecs-deploy-task-definition", |document| without_empty(document)),
    // `aws ecs describe-task-definition` with jq, in an order of its own.
    ("aws-cli and jq", |document| {
        let root = document.as_object().unwrap();
        let mut keys: Vec<&String> = root.keys().collect();
        keys.sort();
        *document = keys.into_iter().map(|key| (key.clone(), root[key].clone())).collect();
    }),
];

fn without_empty(value: &mut Value) {
    let is_empty = |value: &Value| match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(object) => object.is_empty(),
        _ => false,
    };
    match value {
        Value::Object(object) => {
            object.values_mut().for_each(without_empty);
            object.retain(|_, value| !is_empty(value));
        }
        Value::Array(list) => {
            list.iter_mut().for_each(without_empty);
            list.retain(|value| !is_empty(value));
        }
        _ => {}
    }
}

#[test]
fn a_document_that_is_not_ours_to_patch_is_left_alone() {
    let rack = "staging".parse().unwrap();
    let mut document = wordpress();
    document["containerDefinitions"][0]["dockerLabels"]["convox.rack"] = json!("production");
    assert!(
        matches!(patch(&document, &settings(&rack)), Ok(Outcome::OtherRack { rack }) if rack.as_str() == "production")
    );
    document["containerDefinitions"][0]["dockerLabels"]["convox.volumes.agent"] = json!("off");
    assert!(matches!(patch(&document, &settings(&rack)), Ok(Outcome::Off)));
    document["containerDefinitions"][0].as_object_mut().unwrap().remove("dockerLabels");
    assert!(matches!(patch(&document, &settings(&rack)), Ok(Outcome::NothingDeclared)));
}

#[test]
fn refusals_say_what_and_where() {
    let changed = |change: fn(&mut Value)| {
        let mut document = wordpress();
        change(&mut document);
        error(&document)
    };
    for (change, message) in [
        (
            (|d| d["requiresCompatibilities"] = json!(["FARGATE"])) as fn(&mut Value),
            "its requiresCompatibilities has FARGATE, which can't bind a path of an instance",
        ),
        (
            |d| {
                d["containerDefinitions"][0]["mountPoints"] =
                    json!([{ "sourceVolume": "own", "containerPath": "/var/www/html/" }]);
            },
            "container `web` already mounts `/var/www/html` from its own volume `own`",
        ),
        (
            |d| d["containerDefinitions"][0]["dockerLabels"][VOLUMES] = json!("[\"./src:/app\"]"),
            "container `web`: `./src:/app`: `./src` is relative to the compose file, and an instance has no project folder [relative-source]",
        ),
        (
            |d| {
                d["containerDefinitions"][0]["environment"] =
                    json!([{ "name": "X", "value": "x".repeat(65_536) }])
            },
            "with its volumes it has 67750 bytes; ECS takes 65536 at most",
        ),
        (
            |d| {
                let side = |n: usize| json!({ "name": format!("side{n}") });
                d["containerDefinitions"].as_array_mut().unwrap().extend((0..10).map(side));
            },
            "it has 11 containers; ECS takes 10 at most",
        ),
        (
            |d| {
                d["placementConstraints"] =
                    json!(vec![json!({ "type": "memberOf", "expression": "attribute:a == b" }); 10])
            },
            "with the gate it has 11 placement constraints; ECS takes 10 at most",
        ),
    ] {
        let seen = changed(change);
        if message.contains("bytes") {
            assert!(
                seen.starts_with("with its volumes it has 67")
                    && seen.ends_with(" bytes; ECS takes 65536 at most"),
                "{seen}"
            );
        } else {
            assert_eq!(seen, message);
        }
    }
}

#[test]
fn what_ecs_writes_back_is_no_difference() {
    let sent = patched(&wordpress()).document;
    let mut answered = sent.clone();
    answered["revision"] = json!(2);
    answered["status"] = json!("ACTIVE");
    answered["requiresAttributes"] = json!([{ "name": "x" }]);
    let tags = answered.as_object_mut().unwrap().remove("tags").unwrap();
    let container = &mut answered["containerDefinitions"][0];
    for (key, default) in [
        ("cpu", json!(0)),
        ("essential", json!(true)),
        ("volumesFrom", json!([])),
        ("systemControls", json!([])),
    ] {
        container[key] = default;
    }
    container["portMappings"][0]["protocol"] = json!("tcp");
    let answer = json!({ "taskDefinition": answered, "tags": tags });
    assert_eq!(dropped_fields(&sent, &answer), [""; 0]);
    assert!(equivalent(&sent, &registerable(answer).unwrap()));
}

#[test]
fn a_field_that_ecs_drops_or_changes_is_named() {
    let sent = patched(&wordpress()).document;
    let dropped = |change: fn(&mut Value)| {
        let mut answered = sent.clone();
        change(&mut answered);
        let tags = answered.as_object_mut().unwrap().remove("tags").unwrap_or(json!([]));
        dropped_fields(&sent, &json!({ "taskDefinition": answered, "tags": tags }))
    };
    assert_eq!(
        dropped(|d| drop(d["containerDefinitions"][0].as_object_mut().unwrap().remove("aFieldOfTomorrow"))),
        ["containerDefinitions[0].aFieldOfTomorrow"]
    );
    assert_eq!(dropped(|d| d["anotherFieldOfTomorrow"] = json!("changed")), ["anotherFieldOfTomorrow"]);
    assert_eq!(dropped(|d| drop(d.as_object_mut().unwrap().remove("tags"))), ["tags"]);
}

#[test]
fn entries_of_one_name_each_have_their_counterpart() {
    let ports = |ports: Value| json!({ "containerDefinitions": [{ "name": "web", "portMappings": ports }] });
    let one = json!({ "name": "http", "containerPort": 80 });
    let other = json!({ "name": "http", "containerPortRange": "90-91" });
    let dropped = |answered: Value| {
        dropped_fields(&ports(json!([one, other])), &json!({ "taskDefinition": ports(answered) }))
    };
    assert_eq!(dropped(json!([other, one])), Vec::<String>::new());
    assert_eq!(
        dropped(json!([one, { "name": "http" }])),
        ["containerDefinitions[0].portMappings[1].containerPortRange"]
    );
    assert_eq!(dropped(json!([one])), ["containerDefinitions[0].portMappings[1]"]);
}

fn with_memory(declared: &str) -> Value {
    let mut document = wordpress();
    document["containerDefinitions"][0]["dockerLabels"][VOLUMES] = json!(declared);
    document
}

const MEMORY: &str = "{\"type\":\"tmpfs\",\"target\":\"/run\",\"tmpfs\":{\"size\":\"65537k\",\"mode\":1023}}";

#[test]
fn memory_goes_to_linux_parameters_and_waits_for_no_share() {
    let source = with_memory(&format!("[{MEMORY}]"));
    let result = patched(&source);
    let container = &result.document["containerDefinitions"][0];
    let expected =
        json!({ "tmpfs": [{ "containerPath": "/run", "size": 65, "mountOptions": ["mode=1777"] }] });
    assert_eq!(container["linuxParameters"], expected);
    assert_eq!(container.get("mountPoints"), None);
    assert_eq!(result.document.get("volumes"), None);
    assert_eq!(result.document.get("placementConstraints"), None, "no gate");
    assert_eq!((result.volumes.len(), result.warnings[0].1.code), (0, "tmpfs-rounded"));
    assert_eq!(unpatch(&result.document).unwrap(), source);
    let both = patched(&with_memory(&format!("[{MEMORY}, \"/data\"]"))).document;
    assert_eq!(both["placementConstraints"][0]["expression"], GATE_EXPRESSION);
    let mut held = source;
    held["placementConstraints"] = json!([{ "type": "memberOf", "expression": HOLD_EXPRESSION }]);
    let document = patched(&held).document;
    assert_eq!(document["placementConstraints"], json!([]), "a hold would never end");
    assert_eq!(unpatch(&document).unwrap(), held);
}

#[test]
fn memory_that_a_deploy_tool_edited_is_as_declared_again() {
    let source = with_memory(&format!("[{MEMORY}]"));
    let mut copied = patched(&source).document;
    let linux = &mut copied["containerDefinitions"][0]["linuxParameters"];
    linux["tmpfs"][0]["size"] = json!(128);
    linux["tmpfs"].as_array_mut().unwrap().push(json!({ "containerPath": "/theirs", "size": 1 }));
    linux["capabilities"] = json!({});
    let again = patched(&copied).document;
    let tmpfs = again["containerDefinitions"][0]["linuxParameters"]["tmpfs"].as_array().unwrap();
    assert_eq!(tmpfs.iter().map(|memory| &memory["size"]).collect::<Vec<_>>(), [1, 65]);
    let mut turned = again.clone();
    turned["containerDefinitions"][0]["linuxParameters"]["tmpfs"].as_array_mut().unwrap().reverse();
    assert!(equivalent(&turned, &again), "the order of memory means nothing");
    let left = &unpatch(&again).unwrap()["containerDefinitions"][0]["linuxParameters"];
    assert_eq!(left["tmpfs"], json!([{ "containerPath": "/theirs", "size": 1 }]));
    // A tool that keeps the memory and writes labels of its own: what is there is what is asked for.
    let mut relabelled = patched(&source).document;
    relabelled["containerDefinitions"][0]["dockerLabels"] =
        source["containerDefinitions"][0]["dockerLabels"].clone();
    let document = patched(&relabelled).document;
    assert_eq!(document["containerDefinitions"][0]["linuxParameters"]["tmpfs"].as_array().unwrap().len(), 1);
}

#[test]
fn memory_and_volumes_of_the_author_are_not_covered() {
    let refused = |declared: &str, change: fn(&mut Value)| {
        let mut document = with_memory(declared);
        change(&mut document["containerDefinitions"][0]);
        error(&document)
    };
    let theirs: fn(&mut Value) = |container| {
        container["linuxParameters"] = json!({ "tmpfs": [{ "containerPath": "/run/", "size": 8 }] });
    };
    let message = "container `web` already has memory at `/run`, by its own linuxParameters.tmpfs";
    assert_eq!(refused(&format!("[{MEMORY}]"), theirs), message);
    assert_eq!(refused("[\"/run\"]", theirs), message);
    let mounted: fn(&mut Value) = |container| {
        container["mountPoints"] = json!([{ "sourceVolume": "own", "containerPath": "/run" }]);
    };
    assert_eq!(
        refused(&format!("[{MEMORY}]"), mounted),
        "container `web` already mounts `/run` from its own volume `own`"
    );
}

/// Documents with and without everything that patching touches.
fn document() -> impl Strategy<Value = Value> {
    let volumes = prop_oneof![
        Just("[\"/data\"]"),
        Just("[\"/data\", \"/data/sub\", \"/x:/y:ro\", \"db:/var/db\"]"),
        Just(
            "[\"/data\", {\"type\":\"tmpfs\",\"target\":\"/run\",\"tmpfs\":{\"size\":\"64m\",\"mode\":1023}}]"
        ),
        Just(
            "[{\"type\":\"tmpfs\",\"target\":\"/tmp\",\"read_only\":true,\"tmpfs\":{\"size\":1}}, {\"type\":\"tmpfs\",\"target\":\"/run\",\"tmpfs\":{\"size\":\"1g\"}}]"
        ),
        Just("[]"),
    ];
    let list = || prop_oneof![Just(None), Just(Some(json!([]))), Just(Some(json!(["theirs"])))];
    let constraints = prop_oneof![
        Just(None),
        Just(Some(json!([]))),
        Just(Some(json!([{ "type": "memberOf", "expression": "attribute:a == b" }]))),
        Just(Some(
            json!([{ "type": "memberOf", "expression": HOLD_EXPRESSION }, { "type": "memberOf", "expression": "attribute:a == b" }])
        )),
    ];
    let linux = prop_oneof![
        Just(None),
        Just(Some(json!({ "initProcessEnabled": true }))),
        Just(Some(json!({ "initProcessEnabled": true, "tmpfs": [] }))),
        Just(Some(json!({ "tmpfs": [{ "containerPath": "/theirs", "size": 8 }] }))),
        // What the declaration asks for as well: it is theirs, and stays.
        Just(Some(
            json!({ "tmpfs": [{ "containerPath": "/run", "size": 64, "mountOptions": ["mode=1777"] }] })
        )),
    ];
    let parts = (volumes, list(), list(), constraints, any::<bool>(), linux);
    parts.prop_map(|(declared, volumes, points, constraints, two, linux)| {
        let mut document = wordpress();
        if let Some(linux) = linux.filter(|linux| !declared.contains("1g") || !linux.to_string().contains("/run")) {
            document["containerDefinitions"][0]["linuxParameters"] = linux;
        }
        document["containerDefinitions"][0]["dockerLabels"][VOLUMES] = json!(declared);
        let author = |list: Value, entry: Value| if list == json!([]) { list } else { json!([entry]) };
        if let Some(volumes) = volumes {
            document["volumes"] = author(volumes, json!({ "name": "own", "host": {} }));
        }
        if let Some(points) = points {
            let own = json!({ "sourceVolume": "own", "containerPath": "/own" });
            document["containerDefinitions"][0]["mountPoints"] = author(points, own);
        }
        if let Some(constraints) = constraints {
            document["placementConstraints"] = constraints;
        }
        if two {
            let second = json!({ "name": "admin", "dependsOn": [], "dockerLabels": { APP: "example-app", VOLUMES: "[\"/admin\"]" } });
            document["containerDefinitions"].as_array_mut().unwrap().push(second);
        }
        document
    })
}

proptest! {
    #[test]
    fn patching_twice_is_patching_once(document in document(), gate: bool) {
        let once = patched_with(&document, |settings| settings.gate = gate);
        let twice = patched_with(&once.document, |settings| {
            settings.gate = gate;
            settings.source = "arn:2".to_owned();
        });
        prop_assert_eq!(&twice.document, &once.document);
        prop_assert_eq!(twice.fingerprint, once.fingerprint);
    }

    #[test]
    fn patch_then_unpatch_is_the_source(document in document(), gate: bool) {
        let once = patched_with(&document, |settings| settings.gate = gate);
        prop_assert_eq!(unpatch(&once.document).unwrap(), document);
    }

    #[test]
    fn what_deploy_tools_copy_patches_to_the_same_as_its_source(document in document(), tool in 0..TOOLS.len(), gate: bool) {
        let (name, copy) = TOOLS[tool];
        let deployed = |mut document: Value| {
            document["containerDefinitions"][0]["image"] = json!("wordpress:5");
            copy(&mut document);
            patched_with(&document, |settings| settings.gate = gate)
        };
        let running = patched_with(&document, |settings| settings.gate = gate).document;
        let (from_ours, from_source) = (deployed(running), deployed(document));
        prop_assert!(equivalent(&from_ours.document, &from_source.document), "{name}: {} and {}", from_ours.document, from_source.document);
        prop_assert_eq!(from_ours.fingerprint, from_source.fingerprint, "{}", name);
    }

    #[test]
    fn the_order_of_containers_and_keys_changes_nothing(document in document()) {
        let mut turned = document.clone();
        turned["containerDefinitions"].as_array_mut().unwrap().reverse();
        let root = turned.as_object().unwrap();
        let turned = Value::Object(root.iter().rev().map(|(key, value)| (key.clone(), value.clone())).collect());
        let (a, b) = (patched(&document), patched(&turned));
        prop_assert_eq!(a.fingerprint, b.fingerprint);
        prop_assert!(equivalent(&a.document, &b.document));
    }
}

/// A task of one app's two containers with one image, and another app's with another.
fn of_two_apps() -> Value {
    let labels = |app: &str, volumes: &str| json!({ "convox.app": app, "convox.volumes": volumes });
    json!({
        "family": "two", "memory": "512",
        "containerDefinitions": [
            { "name": "web", "image": "jenkins", "dockerLabels": labels("ci", "[\"/home\", \"shared:/shared\"]"),
              "repositoryCredentials": { "credentialsParameter": "arn:secret" },
              "secrets": [{ "name": "A", "valueFrom": "arn" }], "environment": [{ "name": "B", "value": "b" }],
              "logConfiguration": { "logDriver": "awslogs", "options": { "awslogs-group": "g" } } },
            { "name": "agent", "image": "jenkins", "repositoryCredentials": { "credentialsParameter": "arn:secret" },
              "dockerLabels": labels("ci", "[\"shared:/else\", \"/h:/work\"]") },
            { "name": "reader", "image": "nginx", "dockerLabels": labels("ci", "[\"shared:/srv:ro\"]") },
            { "name": "db", "image": "mysql", "dockerLabels": labels("shop", "[\"/var/lib/mysql\"]"),
              "logConfiguration": { "logDriver": "awsfirelens" } },
        ],
    })
}

#[test]
fn each_image_that_has_new_volumes_to_fill_has_one_container_for_it() {
    let result = patched(&of_two_apps());
    let ours: Vec<&Value> = containers(&result.document).filter(|container| is_ours(container)).collect();
    assert_eq!(ours.len(), 2);
    let name = |path: &str| volume_name(path);
    assert_eq!(
        *ours[0],
        json!({
            "name": "convox-volumes-seed-agent",
            "image": "jenkins",
            "repositoryCredentials": { "credentialsParameter": "arn:secret" },
            "cpu": 0,
            "essential": false,
            "entryPoint": ["/.volumes-agent/bin/volumes-agent-seed"],
            "command": [
                "{\"path\":\"production-ci/@volumes/shared\",\"target\":\"/else\"}",
                "{\"path\":\"production-ci/web/home\",\"target\":\"/home\"}",
            ],
            "user": "0:0",
            "readonlyRootFilesystem": true,
            "linuxParameters": { "capabilities": { "add": ["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID"], "drop": ["ALL"] } },
            "mountPoints": [
                { "sourceVolume": name("/usr/lib/volumes-agent/seed/v2"), "containerPath": "/.volumes-agent/bin", "readOnly": true },
                { "sourceVolume": name("/volumes/.volumes-agent/volumes"), "containerPath": "/.volumes-agent/share/.volumes-agent/volumes", "readOnly": false },
                { "sourceVolume": name("/volumes/production-ci/@volumes"), "containerPath": "/.volumes-agent/share/production-ci/@volumes", "readOnly": false },
                { "sourceVolume": name("/volumes/production-ci/web"), "containerPath": "/.volumes-agent/share/production-ci/web", "readOnly": false },
            ],
            "startTimeout": 3600,
            "stopTimeout": 2,
        })
    );
    assert!(ours[1].get("logConfiguration").is_none(), "FireLens works only beside its own container");
    let waits = |name: &str| {
        let container = containers(&result.document).find(|container| container["name"] == name).unwrap();
        container["dependsOn"][0]["containerName"].as_str().map(str::to_owned)
    };
    let seeding = |name: &str| Some(format!("convox-volumes-seed-{name}"));
    assert_eq!(
        [waits("web"), waits("agent"), waits("reader"), waits("db")],
        [seeding("agent"), seeding("agent"), None, seeding("db")]
    );
    assert_eq!(unpatch(&result.document).unwrap(), of_two_apps());
    let held: Vec<(&str, bool)> =
        result.volumes.iter().map(|volume| (volume.relative.as_str(), volume.is_held)).collect();
    assert_eq!(
        held,
        [
            ("production-ci/@volumes/shared", false),
            ("production-ci/agent/h", true),
            ("production-ci/web/home", false),
            ("production-shop/db/var/lib/mysql", false),
        ]
    );
}

#[test]
fn the_log_and_a_reservation_are_the_apps_where_they_work_alone() {
    let mut document = wordpress();
    document["containerDefinitions"][0]["logConfiguration"] = json!({ "logDriver": "awslogs" });
    let seeding =
        |document: &Value| containers(&patched(document).document).find(|c| is_ours(c)).cloned().unwrap();
    let ours = seeding(&document);
    assert_eq!(
        (&ours["logConfiguration"], &ours["memoryReservation"]),
        (&json!({ "logDriver": "awslogs" }), &json!(16))
    );
    document["containerDefinitions"][0]["logConfiguration"]["secretOptions"] =
        json!([{ "name": "token", "valueFrom": "arn" }]);
    assert!(seeding(&document).get("logConfiguration").is_none(), "never a secret of the app's");
    document["containerDefinitions"][0]["name"] = json!("n".repeat(250));
    let long = seeding(&document)["name"].as_str().unwrap().to_owned();
    assert!(long.len() < 64 && long.starts_with("convox-volumes-seed-"), "{long}");
}

#[test]
fn what_the_declarations_say_of_owner_and_mode_reaches_the_container_that_fills() {
    let document = with_memory(
        "[{\"type\":\"volume\",\"target\":\"/data\",\"x-volumes\":{\"owner\":\"1000:0\",\"mode\":\"0770\"}}]",
    );
    let result = patched(&document);
    let ours = containers(&result.document).find(|container| is_ours(container)).unwrap();
    let order = "{\"path\":\"production-example-app/web/data\",\"target\":\"/data\",\"owner\":\"1000:0\",\"mode\":\"0770\"}";
    assert_eq!(ours["command"], json!([order]));
    assert_eq!(result.volumes[0].owner, "1000:0".parse().ok());
}

#[test]
fn nothing_is_added_where_nothing_is_to_be_filled() {
    for declared in [
        "[\"/h:/c\"]",
        "[\"db:/c:ro\"]",
        "[\"db:/c:nocopy\"]",
        "[{\"type\":\"volume\",\"target\":\"/c\",\"x-volumes\":{\"seed\":false}}]",
    ] {
        let result = patched(&with_memory(declared));
        assert_eq!(containers(&result.document).count(), 1, "{declared}");
        assert!(result.document["containerDefinitions"][0].get("dependsOn").is_none(), "{declared}");
    }
}

#[test]
fn an_eleventh_container_is_refused_with_the_way_out() {
    let mut document = wordpress();
    let side = |n: usize| json!({ "name": format!("side{n}"), "image": "i" });
    document["containerDefinitions"].as_array_mut().unwrap().extend((0..9).map(side));
    let rack = "production".parse().unwrap();
    let error = patch(&document, &settings(&rack)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "with 1 more for filling its new volumes it has 11 containers; ECS takes 10 at most"
    );
    assert!(error.help().contains("`seed: false`"));
}

/// An upgrade of the agent alone deploys nothing: what agents before this one registered stays as it is.
#[test]
fn what_an_older_format_made_of_it_is_right() {
    let rack: Rack = "production".parse().unwrap();
    let Outcome::Patched(before) =
        patch_as(Format::V1, &wordpress(), &settings(&rack), Written::new()).unwrap()
    else {
        panic!("not patched")
    };
    assert!(containers(&before.document).all(|container| !is_ours(container)));
    let after = patched(&before.document);
    assert_eq!(after.document, before.document);
    assert!(after.volumes[0].is_held, "its tasks have the directory, and wait for nothing");
    let unfilled = |document: &Value| patched_with(document, |settings| settings.fills = false).document;
    assert_eq!(unfilled(&wordpress()), before.document, "while an instance has no helper");
    let filled = patched(&wordpress()).document;
    assert_eq!(unfilled(&filled), filled, "what is right in a newer format stays");
    // A new volume is a new deployment anyway.
    let mut more = before.document.clone();
    more["containerDefinitions"][0]["dockerLabels"][VOLUMES] = json!("[\"/var/www/html\",\"/more\"]");
    assert_eq!(containers(&patched(&more).document).filter(|container| is_ours(container)).count(), 1);
}
