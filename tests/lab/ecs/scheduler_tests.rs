//! The scheduler and the operations together: what a service's tasks do over time.

use super::super::{ApiError, testing::Lab};
use serde_json::{Value, json};

const GATE: &str = "attribute:convox.volumes == ready";

fn gated(document: &mut Value) {
    document["placementConstraints"] = json!([{ "type": "memberOf", "expression": GATE }]);
}

#[test]
fn tasks_are_spread_over_the_instances_and_the_deployment_completes_when_they_run() {
    let mut lab = Lab::new(2);
    let definition = lab.define(|_| {});
    lab.create(&definition, 2, json!({}));
    assert_eq!(lab.tasks(), [(0, "1"), (1, "1")]);
    let service = lab.service();
    assert_eq!((&service["pendingCount"], &service["runningCount"]), (&json!(2), &json!(0)));
    assert_eq!(service["deployments"][0]["rolloutState"], "IN_PROGRESS");
    lab.second(&[0, 1]);
    let service = lab.service();
    assert_eq!(service["runningCount"], 2);
    assert_eq!(service["deployments"][0]["rolloutState"], "COMPLETED");
    assert!(service["events"][0]["message"].as_str().unwrap().ends_with("has reached a steady state."));
}

#[test]
fn a_task_goes_only_where_the_attributes_meet_its_constraint() {
    let mut lab = Lab::new(2);
    lab.gate(0, "not-ready");
    lab.gate(1, "ready");
    let definition = lab.define(gated);
    lab.create(&definition, 2, json!({}));
    assert_eq!(lab.tasks(), [(1, "1"), (1, "1")]);
}

#[test]
fn a_task_that_no_instance_may_take_waits_with_an_event_told_once() {
    let mut lab = Lab::new(1);
    let definition = lab.define(gated);
    lab.create(&definition, 1, json!({}));
    lab.second(&[0]);
    lab.second(&[0]);
    let events = lab.service()["events"].clone();
    let told: Vec<&str> = events.as_array().unwrap().iter().map(|e| e["message"].as_str().unwrap()).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].contains("unable to place a task because no container instance met all of its requirements")
    );
    assert!(told[0].contains("MemberOf placement constraint unsatisfied"), "{told:?}");
    lab.gate(0, "ready");
    assert_eq!(lab.tasks(), [(0, "1")], "placed as soon as one may");
}

#[test]
fn a_gate_that_closes_leaves_running_tasks_alone() {
    let mut lab = Lab::new(1);
    lab.gate(0, "ready");
    let definition = lab.define(gated);
    lab.create(&definition, 1, json!({}));
    lab.second(&[0]);
    lab.gate(0, "not-ready");
    lab.second(&[0]);
    assert_eq!(lab.tasks(), [(0, "1")]);
}

#[test]
fn distinct_instance_keeps_tasks_of_a_service_apart() {
    let mut lab = Lab::new(2);
    let definition = lab.define(|_| {});
    lab.create(&definition, 3, json!({ "placementConstraints": [{ "type": "distinctInstance" }] }));
    assert_eq!(lab.tasks(), [(0, "1"), (1, "1")]);
    let event = lab.service()["events"][0]["message"].to_string();
    assert!(event.contains("DistinctInstance placement constraint unsatisfied"), "{event}");
}

#[test]
fn a_port_of_the_instance_is_held_until_its_task_has_stopped() {
    let mut lab = Lab::new(1);
    let port = |d: &mut Value| {
        d["containerDefinitions"][0]["portMappings"] = json!([{ "containerPort": 80, "hostPort": 80 }]);
    };
    let definition = lab.define(port);
    lab.create(&definition, 1, json!({}));
    lab.second(&[0]);
    let next = lab.define(port);
    lab.call("UpdateService", json!({ "service": "web", "taskDefinition": next })).unwrap();
    lab.second(&[0]);
    assert_eq!(lab.tasks(), [(0, "1")], "100/200 on a full instance: nothing can move");
    assert!(lab.service()["events"][0]["message"].to_string().contains("already using a port"));
    let percent = json!({ "minimumHealthyPercent": 0, "maximumPercent": 100 });
    lab.call("UpdateService", json!({ "service": "web", "deploymentConfiguration": percent })).unwrap();
    for _ in 0..3 {
        lab.second(&[0]);
    }
    assert_eq!(lab.tasks(), [(0, "2")]);
}

#[test]
fn an_update_starts_the_new_before_it_stops_the_old() {
    let mut lab = Lab::new(2);
    let first = lab.define(|_| {});
    lab.create(&first, 2, json!({}));
    lab.second(&[0, 1]);
    let second = lab.define(|_| {});
    lab.call("UpdateService", json!({ "service": "web", "taskDefinition": second })).unwrap();
    assert_eq!(lab.tasks(), [(0, "1"), (0, "2"), (1, "1"), (1, "2")]);
    let service = lab.service();
    let states: Vec<_> = service["deployments"]
        .as_array()
        .unwrap()
        .iter()
        .map(|d| {
            (
                d["status"].as_str().unwrap(),
                d["rolloutState"].as_str().unwrap(),
                d["taskDefinition"].as_str().unwrap(),
            )
        })
        .collect();
    let expected = [("PRIMARY", "IN_PROGRESS", second.as_str()), ("ACTIVE", "COMPLETED", first.as_str())];
    assert_eq!(states, expected);
    lab.second(&[0, 1]);
    lab.second(&[0, 1]);
    assert_eq!(lab.tasks(), [(0, "2"), (1, "2")]);
    let service = lab.service();
    assert_eq!(service["deployments"].as_array().unwrap().len(), 1, "the drained one is gone");
    assert_eq!(service["deployments"][0]["rolloutState"], "COMPLETED");
    assert_eq!(service["taskDefinition"], second);
}

#[test]
fn an_update_without_a_change_starts_no_deployment() {
    let mut lab = Lab::new(1);
    let first = lab.define(|_| {});
    lab.create(&first, 1, json!({}));
    lab.call("UpdateService", json!({ "service": "web", "taskDefinition": "web" })).unwrap();
    assert_eq!(lab.service()["deployments"].as_array().unwrap().len(), 1);
    lab.call("UpdateService", json!({ "service": "web", "forceNewDeployment": true })).unwrap();
    assert_eq!(lab.service()["deployments"].as_array().unwrap().len(), 2);
}

#[test]
fn an_unplaceable_revision_leaves_the_old_tasks_up() {
    let mut lab = Lab::new(1);
    let first = lab.define(|_| {});
    lab.create(&first, 1, json!({}));
    lab.second(&[0]);
    let second = lab.define(gated);
    lab.call("UpdateService", json!({ "service": "web", "taskDefinition": second })).unwrap();
    lab.second(&[0]);
    assert_eq!(lab.tasks(), [(0, "1")]);
}

#[test]
fn a_stopped_task_is_replaced_and_one_that_never_ran_makes_the_next_wait() {
    let mut lab = Lab::new(1);
    let definition = lab.define(|_| {});
    lab.create(&definition, 1, json!({}));
    lab.second(&[0]);
    let task = lab.state.tasks[0].arn.clone();
    lab.report(0, &task, json!({ "status": "STOPPED", "reason": "gone" }));
    assert_eq!(lab.state.tasks.len(), 2, "one that ran is replaced at once");
    let second = lab.state.tasks[1].arn.clone();
    lab.report(0, &second, json!({ "status": "STOPPED", "reason": "CannotStartContainerError: no" }));
    assert_eq!(lab.state.tasks.len(), 2, "one that didn't is not");
    lab.second(&[0]);
    assert_eq!(lab.state.tasks.len(), 3);
    let told = lab.call("DescribeTasks", json!({ "tasks": [second] })).unwrap();
    assert_eq!(told["tasks"][0]["stoppedReason"], "CannotStartContainerError: no");
    assert_eq!(told["tasks"][0]["lastStatus"], "STOPPED");
}

#[test]
fn containers_are_told_one_by_one_and_why_a_task_stopped_is_for_ecs_to_say() {
    let container = |name: &str, status: &str| json!({ "name": name, "lastStatus": status });
    let ended = |name: &str, code: i64| json!({ "name": name, "lastStatus": "STOPPED", "exitCode": code });
    for (ran, code, words) in [
        (false, "TaskFailedToStart", "Task failed to start"),
        (true, "EssentialContainerExited", "Essential container in task exited"),
    ] {
        let mut lab = Lab::new(1);
        let definition = lab.define(|_| {});
        lab.call("RunTask", json!({ "taskDefinition": definition })).unwrap();
        let task = lab.state.tasks[0].arn.clone();
        let pending = json!([container("app", "PENDING"), ended("seed", 0)]);
        let stopped = json!([ended("app", 143), ended("seed", 0)]);
        let mut report = |status: &str, containers: &Value| {
            lab.report(0, &task, json!({ "status": status, "containers": containers }));
            lab.call("DescribeTasks", json!({ "tasks": [task] })).unwrap()["tasks"][0].clone()
        };
        assert_eq!(report("PENDING", &pending)["containers"], pending, "the same status, and one has ended");
        if ran {
            report("RUNNING", &pending);
        }
        let told = report("STOPPED", &stopped);
        assert_eq!(told["containers"], stopped);
        assert_eq!((told["stopCode"].as_str(), told["stoppedReason"].as_str()), (Some(code), Some(words)));
        for late in ["RUNNING", "STOPPED"] {
            assert_eq!(report(late, &pending)["containers"], stopped, "a late report wakes nobody");
        }
    }
}

#[test]
fn a_silent_agent_gets_no_new_tasks_and_keeps_its_own() {
    let mut lab = Lab::new(2);
    let definition = lab.define(|_| {});
    lab.create(&definition, 2, json!({}));
    lab.second(&[0, 1]);
    for _ in 0..11 {
        lab.second(&[0]);
    }
    let request = json!({ "containerInstances": [lab.instances[1].clone()] });
    let instance = lab.call("DescribeContainerInstances", request).unwrap();
    assert_eq!(instance["containerInstances"][0]["agentConnected"], false);
    lab.call("UpdateService", json!({ "service": "web", "desiredCount": 4 })).unwrap();
    assert_eq!(lab.tasks(), [(0, "1"), (0, "1"), (0, "1"), (1, "1")]);
}

#[test]
fn a_deregistered_instances_tasks_are_started_elsewhere() {
    let mut lab = Lab::new(2);
    let definition = lab.define(|_| {});
    lab.create(&definition, 2, json!({}));
    lab.second(&[0, 1]);
    assert_eq!(lab.tasks(), [(0, "1"), (1, "1")]);
    let request = |force: bool| json!({ "containerInstance": lab.instances[1], "force": force });
    let (gently, by_force) = (request(false), request(true));
    assert!(lab.call("DeregisterContainerInstance", gently).is_err(), "tasks run there");
    let answer = lab.call("DeregisterContainerInstance", by_force).unwrap();
    assert_eq!(answer["containerInstance"]["status"], "INACTIVE");
    lab.second(&[0]);
    assert_eq!(lab.tasks(), [(0, "1"), (0, "1")]);
}

#[test]
fn attributes_outlast_a_registration_with_the_same_arn() {
    let mut lab = Lab::new(1);
    lab.gate(0, "ready");
    let arn = lab.instances[0].clone();
    assert_eq!(lab.register("i-0", "us-east-1a", Some(&arn)), arn);
    let listed = json!({ "targetType": "container-instance", "attributeName": "convox.volumes" });
    let listed = lab.call("ListAttributes", listed).unwrap();
    assert_eq!(
        listed,
        json!({ "attributes": [{ "name": "convox.volumes", "value": "ready", "targetId": arn }] })
    );
    let new = lab.register("i-0", "us-east-1a", None);
    assert_ne!(new, arn, "without its checkpoint it is a new one");
}

#[test]
fn a_target_is_an_arn_or_a_short_id_with_its_type() {
    let mut lab = Lab::new(1);
    let arn = lab.instances[0].clone();
    let id = arn.rsplit('/').next().unwrap().to_owned();
    let kind = "container-instance";
    for (target, kind, found) in
        [(&arn, None, true), (&arn, Some(kind), true), (&id, Some(kind), true), (&id, None, false)]
    {
        let attribute = json!({ "name": "a", "value": "b", "targetId": target, "targetType": kind });
        let answer = lab.call("PutAttributes", json!({ "attributes": [attribute] }));
        assert_eq!(answer.is_ok(), found, "{target} {kind:?}");
    }
    let put = |n: usize| json!({ "name": format!("n{n}"), "value": "v", "targetId": arn });
    let nine: Vec<Value> = (0..9).map(put).collect();
    lab.call("PutAttributes", json!({ "attributes": nine })).unwrap();
    let refused = lab.call("PutAttributes", json!({ "attributes": [put(9)] })).unwrap_err();
    assert_eq!(refused.code(), "AttributeLimitExceededException");
    let again = lab.call("PutAttributes", json!({ "attributes": [put(8)] }));
    assert!(again.is_ok(), "one that is there can be put again");
}

#[test]
fn a_deleted_service_stops_its_tasks_and_its_name_is_free_again() {
    let mut lab = Lab::new(1);
    let definition = lab.define(|_| {});
    lab.create(&definition, 1, json!({}));
    lab.second(&[0]);
    assert!(lab.call("DeleteService", json!({ "service": "web" })).is_err());
    lab.call("DeleteService", json!({ "service": "web", "force": true })).unwrap();
    assert_eq!(lab.service()["status"], "DRAINING");
    assert_eq!(lab.call("ListServices", json!({})).unwrap(), json!({ "serviceArns": [] }));
    lab.second(&[0]);
    assert_eq!(lab.service()["status"], "INACTIVE");
    lab.create(&definition, 1, json!({}));
    assert_eq!(lab.tasks(), [(0, "1")]);
}

#[test]
fn a_bare_family_is_its_latest_active_revision_and_tags_come_apart() {
    let mut lab = Lab::new(0);
    let first = lab.define(|d| d["tags"] = json!([{ "key": "k", "value": "v" }]));
    let second = lab.define(|_| {});
    let describe = |name: &str| json!({ "taskDefinition": name });
    assert_eq!(lab.call("DescribeTaskDefinition", describe("web")).unwrap()["taskDefinition"]["revision"], 2);
    lab.call("DeregisterTaskDefinition", describe("web:2")).unwrap();
    let latest = lab.call("DescribeTaskDefinition", describe("web")).unwrap();
    assert_eq!(latest["taskDefinition"]["taskDefinitionArn"], first);
    assert!(latest.get("tags").is_none() && latest["taskDefinition"].get("tags").is_none());
    let tagged = lab
        .call("DescribeTaskDefinition", json!({ "taskDefinition": "web:1", "include": ["TAGS"] }))
        .unwrap();
    assert_eq!(tagged["tags"], json!([{ "key": "k", "value": "v" }]));
    let inactive = lab.call("DescribeTaskDefinition", describe(&second)).unwrap();
    assert_eq!(inactive["taskDefinition"]["status"], "INACTIVE");
    let listed = lab.call("ListTaskDefinitions", json!({ "familyPrefix": "web", "sort": "DESC" })).unwrap();
    assert_eq!(listed, json!({ "taskDefinitionArns": [first] }));
}

#[test]
fn lists_are_paged_and_describe_takes_ten_services() {
    let mut lab = Lab::new(0);
    let definition = lab.define(|_| {});
    for n in 0..12 {
        lab.call("CreateService", json!({ "serviceName": format!("s{n}"), "taskDefinition": definition }))
            .unwrap();
    }
    let page = lab.call("ListServices", json!({})).unwrap();
    assert_eq!(page["serviceArns"].as_array().unwrap().len(), 10);
    let rest = lab.call("ListServices", json!({ "nextToken": page["nextToken"] })).unwrap();
    assert_eq!(rest["serviceArns"].as_array().unwrap().len(), 2);
    assert!(rest.get("nextToken").is_none());
    let eleven: Vec<String> = (0..11).map(|n| format!("s{n}")).collect();
    assert!(lab.call("DescribeServices", json!({ "services": eleven })).is_err());
    let answer = lab.call("DescribeServices", json!({ "services": ["s1", "none"] })).unwrap();
    assert_eq!(answer["failures"][0]["reason"], "MISSING");
    assert_eq!(lab.call("ListServices", json!({ "cluster": "x" })), Err(ApiError::ClusterNotFound));
}
