//! What botocore's service model says about the lab's ECS, and about the document with every member.

use lab::ecs::{self, Model, generated};
use serde_json::{Value, json};

fn model() -> Model {
    Model::of_environment(super::environment()).unwrap()
}

fn front() -> (ecs::state::State, ecs::state::Call) {
    let state = ecs::state::State::new(ecs::Config::unchecked(), 1);
    let call = ecs::state::Call { now: std::time::Duration::from_secs(1_000), access_key: "K".to_owned() };
    (state, call)
}

#[test]
fn the_generated_document_has_every_member_of_the_model_and_is_accepted() {
    let model = model();
    let document = generated::generated_document(&model);
    let members = generated::members(&model, "RegisterTaskDefinition");
    assert!(members.len() > 150, "{}", members.len());
    for member in &members {
        assert!(generated::has(&document, member), "{member} is not in {document}");
    }
    model.check("RegisterTaskDefinition", &document).unwrap();
    let (mut state, call) = front();
    let answer = state.handle("RegisterTaskDefinition", &document, &call).unwrap();
    for (key, sent) in document
        .as_object()
        .unwrap()
        .iter()
        .filter(|(key, _)| !["tags", "containerDefinitions"].contains(&key.as_str()))
    {
        let kept = &answer["taskDefinition"][key];
        if key != "volumes" {
            assert_eq!(kept, sent, "{key}");
        }
    }
    let sent = document["containerDefinitions"][0].as_object().unwrap();
    for (key, value) in sent {
        let kept = &answer["taskDefinition"]["containerDefinitions"][0][key];
        if key != "portMappings" {
            assert_eq!(kept, value, "{key}");
        }
    }
    assert_eq!(answer["tags"], document["tags"]);
    assert!(answer["taskDefinition"]["compatibilities"].as_array().unwrap().contains(&json!("EC2")));
}

#[test]
fn the_real_model_refuses_output_only_keys_and_slips_and_lets_additions_pass() {
    let mut model = model();
    let base = json!({ "family": "f", "containerDefinitions": [{ "name": "a", "image": "i", "memory": 4 }] });
    let with = |path: &str, value: Value| {
        let mut document = base.clone();
        *document.pointer_mut("/containerDefinitions/0").unwrap() =
            json!({ "name": "a", "image": "i", "memory": 4 });
        match path.strip_prefix("c/") {
            Some(key) => document["containerDefinitions"][0][key] = value,
            None => document[path] = value,
        }
        document
    };
    assert_eq!(model.check("RegisterTaskDefinition", &base), Ok(()));
    for (path, value) in [
        ("taskDefinitionArn", json!("a")),
        ("revision", json!(1)),
        ("status", json!("ACTIVE")),
        ("requiresAttributes", json!([])),
        ("compatibilities", json!([])),
        ("registeredAt", json!(1)),
        ("registeredBy", json!("me")),
        ("deregisteredAt", json!(1)),
        ("deleteRequestedAt", json!(1)),
        ("c/futureField", json!(1)),
        ("c/memory", json!("64")),
        ("networkMode", json!("bridged")),
        ("c/environment", json!([{ "name": 1 }])),
        ("c/dependsOn", json!([{ "containerName": "b" }])),
    ] {
        assert!(model.check("RegisterTaskDefinition", &with(path, value)).is_err(), "{path}");
    }
    model.add("RegisterTaskDefinition", "containerDefinitions[].futureField");
    assert_eq!(model.check("RegisterTaskDefinition", &with("c/futureField", json!({ "x": 1 }))), Ok(()));
}

/// Every operation that the lab's ECS knows is in the model, and what the lab answers is what the model's output has.
#[test]
fn what_the_lab_answers_has_only_members_of_the_model() {
    let model = model();
    let (mut state, call) = front();
    let mut ask = |operation: &str, request: Value| {
        model.check(operation, &request).unwrap_or_else(|error| panic!("{operation}: {error}"));
        let answer =
            state.handle(operation, &request, &call).unwrap_or_else(|error| panic!("{operation}: {error}"));
        model.check_answer(operation, &answer).unwrap_or_else(|error| panic!("{operation}: {error}"));
        answer
    };
    let document =
        json!({ "family": "f", "containerDefinitions": [{ "name": "a", "image": "i", "memory": 4 }] });
    ask("RegisterTaskDefinition", document);
    ask("DescribeTaskDefinition", json!({ "taskDefinition": "f", "include": ["TAGS"] }));
    ask("ListTaskDefinitions", json!({}));
    let identity = json!({ "instanceId": "i-1", "availabilityZone": "us-east-1a" }).to_string();
    let capability = json!([{ "name": "com.amazonaws.ecs.capability.docker-remote-api.1.18" }]);
    let registered = ask(
        "RegisterContainerInstance",
        json!({ "instanceIdentityDocument": identity, "attributes": capability }),
    );
    let instance = registered["containerInstance"]["containerInstanceArn"].clone();
    ask("ListContainerInstances", json!({}));
    ask("DescribeContainerInstances", json!({ "containerInstances": [instance] }));
    ask("PutAttributes", json!({ "attributes": [{ "name": "n", "value": "v", "targetId": instance }] }));
    ask("ListAttributes", json!({ "targetType": "container-instance" }));
    ask("DeleteAttributes", json!({ "attributes": [{ "name": "n", "targetId": instance }] }));
    ask("UpdateContainerInstancesState", json!({ "containerInstances": [instance], "status": "DRAINING" }));
    ask("UpdateContainerInstancesState", json!({ "containerInstances": [instance], "status": "ACTIVE" }));
    ask("DescribeClusters", json!({}));
    for (name, more) in [
        ("rolling", json!({ "taskDefinition": "f", "desiredCount": 1 })),
        ("daemon", json!({ "taskDefinition": "f", "schedulingStrategy": "DAEMON" })),
        ("code-deploy", json!({ "taskDefinition": "f", "deploymentController": { "type": "CODE_DEPLOY" } })),
        ("external", json!({ "deploymentController": { "type": "EXTERNAL" } })),
        ("fargate", json!({ "taskDefinition": "f", "launchType": "FARGATE" })),
        ("canary", json!({ "taskDefinition": "f", "deploymentConfiguration": { "strategy": "CANARY" } })),
        (
            "providers",
            json!({ "taskDefinition": "f", "capacityProviderStrategy": [{ "capacityProvider": "cp", "weight": 1 }] }),
        ),
    ] {
        let mut request = json!({ "serviceName": name });
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        ask("CreateService", request);
        ask("DescribeServices", json!({ "services": [name], "include": ["TAGS"] }));
    }
    ask("CreateTaskSet", json!({ "cluster": "default", "service": "external", "taskDefinition": "f" }));
    ask("UpdateService", json!({ "service": "rolling", "desiredCount": 2 }));
    ask("ListServices", json!({}));
    let run = ask("RunTask", json!({ "taskDefinition": "f" }));
    let task = run["tasks"][0]["taskArn"].clone();
    ask("ListTasks", json!({}));
    ask("DescribeTasks", json!({ "tasks": [task] }));
    ask("StopTask", json!({ "task": task }));
    ask("DeleteService", json!({ "service": "rolling", "force": true }));
    ask("DeregisterTaskDefinition", json!({ "taskDefinition": "f:1" }));
}

/// The documents that the demo and the promises register.
#[test]
fn the_example_app_is_what_aws_clients_would_send() {
    let folder = lab::place::repository().join("tests/example-app");
    let text = std::fs::read_to_string(folder.join("task-definition.json")).unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(model().check("RegisterTaskDefinition", &document), Ok(()));
}
