//! What is not a rolling REPLICA service: daemons, other controllers and capacities, RunTask.

use super::super::testing::Lab;
use serde_json::{Value, json};

fn gated(document: &mut Value) {
    document["placementConstraints"] =
        json!([{ "type": "memberOf", "expression": "attribute:convox.volumes == ready" }]);
}

fn daemon(lab: &mut Lab, definition: &str) {
    let request =
        json!({ "serviceName": "web", "taskDefinition": definition, "schedulingStrategy": "DAEMON" });
    lab.call("CreateService", request).unwrap();
}

#[test]
fn a_daemon_runs_once_on_each_instance_that_matches_and_stops_where_it_no_longer_does() {
    let mut lab = Lab::new(3);
    lab.gate(0, "ready");
    lab.gate(1, "ready");
    lab.gate(2, "not-ready");
    let definition = lab.define(gated);
    daemon(&mut lab, &definition);
    lab.second(&[0, 1, 2]);
    assert_eq!(lab.tasks(), [(0, "1"), (1, "1")]);
    assert_eq!(lab.service()["desiredCount"], 2);
    assert_eq!(lab.rollouts(), ["PRIMARY COMPLETED 1"]);
    lab.gate(2, "ready");
    lab.gate(0, "not-ready");
    lab.second(&[0, 1, 2]);
    assert_eq!(lab.tasks(), [(1, "1"), (2, "1")], "attribute gone, task gone: ECS does that to daemons");
}

#[test]
fn a_daemons_old_task_stops_before_the_new_one_starts() {
    let mut lab = Lab::new(2);
    let first = lab.define(|_| {});
    daemon(&mut lab, &first);
    lab.second(&[0, 1]);
    let second = lab.define(|_| {});
    lab.call("UpdateService", json!({ "service": "web", "taskDefinition": second })).unwrap();
    assert_eq!(lab.tasks(), [(0, "1"), (1, "1")], "maximumPercent is 100");
    for _ in 0..3 {
        lab.second(&[0, 1]);
    }
    assert_eq!(lab.tasks(), [(0, "2"), (1, "2")]);
    assert_eq!(lab.rollouts(), ["PRIMARY COMPLETED 2"]);
}

#[test]
fn a_daemon_takes_no_count_and_leaves_a_draining_instance_last() {
    let mut lab = Lab::new(2);
    let definition = lab.define(|_| {});
    let request = json!({
        "serviceName": "web", "taskDefinition": definition, "schedulingStrategy": "DAEMON", "desiredCount": 1,
    });
    let refused = lab.call("CreateService", request).unwrap_err().to_string();
    assert!(refused.contains("does not support a desired count"), "{refused}");
    daemon(&mut lab, &definition);
    let app = json!({ "serviceName": "app", "taskDefinition": definition, "desiredCount": 2 });
    lab.call("CreateService", app).unwrap();
    lab.second(&[0, 1]);
    let request = json!({ "containerInstances": [lab.instances[0]], "status": "DRAINING" });
    lab.call("UpdateContainerInstancesState", request).unwrap();
    let daemons = |lab: &Lab| {
        let live = lab.state.tasks.iter().filter(|t| t.service.as_deref() == Some("web") && t.wanted);
        live.count()
    };
    assert_eq!(daemons(&lab), 2, "the app's task is still there");
    for _ in 0..4 {
        lab.second(&[0, 1]);
    }
    assert_eq!(daemons(&lab), 1);
}

#[test]
fn other_controllers_have_task_sets_and_refuse_a_revision() {
    for (controller, way) in [
        ("CODE_DEPLOY", "Use AWS CodeDeploy to trigger a new deployment."),
        ("EXTERNAL", "Create a new task set."),
    ] {
        let mut lab = Lab::new(1);
        let definition = lab.define(|_| {});
        let mut request = json!({ "serviceName": "web", "desiredCount": 1, "deploymentController": { "type": controller } });
        if controller == "CODE_DEPLOY" {
            request["taskDefinition"] = definition.clone().into();
        }
        lab.call("CreateService", request).unwrap();
        if controller == "EXTERNAL" {
            let set = json!({ "service": "web", "cluster": "default", "taskDefinition": definition });
            assert_eq!(lab.call("CreateTaskSet", set).unwrap()["taskSet"]["taskDefinition"], definition);
            assert!(lab.told()[0].contains("the lab's ECS places no tasks of task set"), "{:?}", lab.told());
        }
        let service = lab.service();
        assert_eq!(service["deployments"], json!([]), "{controller}");
        assert_eq!(service["taskSets"][0]["taskDefinition"], definition, "{controller}");
        let refused =
            lab.call("UpdateService", json!({ "service": "web", "taskDefinition": definition })).unwrap_err();
        assert_eq!(refused.code(), "InvalidParameterException");
        let expected = format!(
            "Unable to update task definition on services with a {controller} deployment controller. {way}"
        );
        assert_eq!(refused.to_string(), expected);
        assert!(lab.call("UpdateService", json!({ "service": "web", "forceNewDeployment": true })).is_err());
        lab.call("UpdateService", json!({ "service": "web", "desiredCount": 2 })).unwrap();
    }
}

#[test]
fn capacity_that_the_lab_has_not_is_shown_and_an_event_says_that_nothing_is_placed() {
    let providers = json!([{ "capacityProvider": "cp", "weight": 1 }]);
    for (settings, launch, told) in [
        (json!({ "launchType": "FARGATE" }), json!("FARGATE"), "launch type FARGATE"),
        (json!({ "capacityProviderStrategy": providers }), Value::Null, "capacity providers"),
    ] {
        let mut lab = Lab::new(1);
        let definition = lab.define(|_| {});
        lab.create(&definition, 1, settings);
        lab.second(&[0]);
        assert_eq!(lab.tasks(), []);
        let service = lab.service();
        assert_eq!(service["launchType"], launch);
        if launch.is_null() {
            assert_eq!(service["capacityProviderStrategy"], providers);
        }
        let events = lab.told();
        assert_eq!(events.len(), 1);
        assert!(events[0].contains(told), "{events:?}");
    }
}

#[test]
fn strategies_but_rolling_are_shown_without_a_rollout_state() {
    for strategy in ["BLUE_GREEN", "LINEAR", "CANARY", "ROLLING"] {
        let mut lab = Lab::new(1);
        let definition = lab.define(|_| {});
        lab.create(&definition, 1, json!({ "deploymentConfiguration": { "strategy": strategy } }));
        let service = lab.service();
        assert_eq!(service["deploymentConfiguration"]["strategy"], strategy);
        assert_eq!(
            service["deployments"][0].get("rolloutState").is_some(),
            strategy == "ROLLING",
            "{strategy}"
        );
    }
}

#[test]
fn run_task_takes_the_latest_active_revision_and_places_by_constraints() {
    let mut lab = Lab::new(2);
    lab.define(|_| {});
    lab.define(gated);
    let run = json!({ "taskDefinition": "web", "count": 2, "startedBy": "schedule" });
    let nowhere = lab.call("RunTask", run.clone()).unwrap();
    assert_eq!(nowhere["tasks"], json!([]));
    assert_eq!(nowhere["failures"].as_array().unwrap().len(), 2);
    assert_eq!(nowhere["failures"][0]["reason"], "MemberOf placement constraint unsatisfied.");
    assert_eq!(lab.tasks(), [], "nothing is queued");
    lab.gate(1, "ready");
    let placed = lab.call("RunTask", run).unwrap();
    assert_eq!(placed["failures"], json!([]));
    assert_eq!(placed["tasks"][0]["group"], "family:web");
    assert_eq!(placed["tasks"][0]["startedBy"], "schedule");
    assert_eq!(lab.tasks(), [(1, "2"), (1, "2")]);
    lab.second(&[0, 1]);
    let task = placed["tasks"][0]["taskArn"].clone();
    lab.call("StopTask", json!({ "task": task, "reason": "enough" })).unwrap();
    lab.second(&[0, 1]);
    assert_eq!(lab.tasks(), [(1, "2")], "and it is not replaced");
    lab.call("RunTask", json!({ "taskDefinition": "web:1" })).unwrap();
    assert!(lab.tasks().iter().any(|(_, revision)| *revision == "1"), "a pinned revision is that one");
}

#[test]
fn tasks_without_a_service_stay_on_a_draining_instance() {
    let mut lab = Lab::new(1);
    lab.define(|_| {});
    lab.call("RunTask", json!({ "taskDefinition": "web" })).unwrap();
    lab.second(&[0]);
    let request = json!({ "containerInstances": [lab.instances[0]], "status": "DRAINING" });
    lab.call("UpdateContainerInstancesState", request).unwrap();
    lab.second(&[0]);
    assert_eq!(lab.tasks(), [(0, "1")]);
    let refused = lab.call("RunTask", json!({ "taskDefinition": "web" })).unwrap_err();
    assert_eq!(refused.to_string(), "No Container Instances were found in your cluster.");
}
