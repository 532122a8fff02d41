//! Rollouts over time: the circuit breaker, rollbacks and what stalls.

use super::super::{Config, testing::Lab};
use serde_json::{Value, json};
use std::time::Duration;

fn breaker(rollback: bool) -> Value {
    json!({ "deploymentConfiguration": { "deploymentCircuitBreaker": { "enable": true, "rollback": rollback } } })
}

fn update(lab: &mut Lab, definition: &str) {
    lab.call("UpdateService", json!({ "service": "web", "taskDefinition": definition })).unwrap();
}

/// A service whose first revision runs and whose second was just deployed and can't start.
fn broken(settings: Value) -> (Lab, [String; 2]) {
    let mut lab = Lab::new(2);
    let (good, bad) = (lab.define(|_| {}), lab.define(|_| {}));
    lab.create(&good, 2, settings);
    lab.second_with_broken(&[]);
    update(&mut lab, &bad);
    (lab, [good, bad])
}

fn until(lab: &mut Lab, broken: &[&str], met: impl Fn(&mut Lab) -> bool) {
    for _ in 0..60 {
        if met(lab) {
            return;
        }
        lab.second_with_broken(broken);
    }
    panic!("not within a minute: {:?} {:?}", lab.rollouts(), lab.told());
}

#[test]
fn a_failed_deployment_is_rolled_back_to_the_completed_one_under_its_own_id() {
    let (mut lab, [_, bad]) = broken(breaker(true));
    let before = lab.service();
    let target = before["deployments"][1]["id"].as_str().unwrap().to_owned();
    let failed = before["deployments"][0]["id"].as_str().unwrap().to_owned();
    until(&mut lab, &[&bad], |lab| lab.rollouts()[0] != "PRIMARY IN_PROGRESS 2");
    let service = lab.service();
    assert_eq!(service["deployments"][0]["id"], target.as_str());
    let reason = format!("ECS deployment circuit breaker: rolling back to deploymentId {target}.");
    assert_eq!(service["deployments"][0]["rolloutStateReason"], reason);
    let told = lab.told();
    let position = |text: String| told.iter().position(|event| *event == text).expect(&text);
    let rolled = position(format!("(service web) rolling back to deployment {target}."));
    let why = format!("(service web) (deployment {failed}) deployment failed: tasks failed to start.");
    assert!(rolled < position(why), "the newest first: {told:?}");
    until(&mut lab, &[&bad], |lab| lab.rollouts() == ["PRIMARY COMPLETED 1"]);
    assert_eq!(lab.tasks(), [(0, "1"), (1, "1")]);
}

#[test]
fn the_failed_deployment_is_active_and_failed_until_it_is_drained() {
    // Of four tasks three fail; the fourth is with an agent that takes its time.
    let mut lab = Lab::new(2);
    let (good, bad) = (lab.define(|_| {}), lab.define(|_| {}));
    lab.create(&good, 4, breaker(true));
    lab.second_with_broken(&[]);
    update(&mut lab, &bad);
    let failing: Vec<_> = lab
        .state
        .tasks
        .iter()
        .filter(|t| t.definition == bad)
        .map(|t| (t.instance.clone(), t.arn.clone()))
        .collect();
    for (instance, task) in &failing[..3] {
        let at = lab.instances.iter().position(|i| i == instance).unwrap();
        lab.report(at, task, json!({ "status": "STOPPED", "reason": "no" }));
    }
    assert_eq!(lab.rollouts(), ["PRIMARY IN_PROGRESS 1", "ACTIVE FAILED 2"]);
    assert!(
        lab.service()["deployments"][1]["rolloutStateReason"]
            == "ECS deployment circuit breaker: tasks failed to start."
    );
    lab.second_with_broken(&[]);
    assert_eq!(lab.rollouts(), ["PRIMARY COMPLETED 1"]);
}

#[test]
fn less_failures_than_the_threshold_fail_nothing() {
    let mut settings = breaker(true);
    settings["deploymentConfiguration"]["deploymentCircuitBreaker"]["thresholdConfiguration"] =
        json!({ "type": "COUNT", "value": 30 });
    let (mut lab, [_, bad]) = broken(settings);
    for _ in 0..20 {
        lab.second_with_broken(&[&bad]);
    }
    assert_eq!(lab.rollouts()[0], "PRIMARY IN_PROGRESS 2");
    assert!(lab.service()["deployments"][0]["failedTasks"].as_u64().unwrap() >= 3);
    lab.second_with_broken(&[]);
    until(&mut lab, &[], |lab| lab.rollouts() == ["PRIMARY COMPLETED 2"]);
    assert_eq!(lab.service()["deployments"][0]["failedTasks"], 0, "a task that runs sets it back");
}

#[test]
fn without_a_breaker_a_deployment_is_tried_for_ever() {
    let (mut lab, [_, bad]) = broken(json!({}));
    for _ in 0..120 {
        lab.second_with_broken(&[&bad]);
    }
    assert_eq!(lab.rollouts(), ["PRIMARY IN_PROGRESS 2", "ACTIVE COMPLETED 1"]);
    assert_eq!(lab.tasks()[..2], [(0, "1"), (1, "1")], "the old ones stay up");
    assert!(
        lab.told().iter().any(|event| event.contains("is unable to consistently start tasks successfully"))
    );
}

#[test]
fn without_rollback_the_failed_deployment_stays_primary_and_starts_nothing() {
    let (mut lab, [_, bad]) = broken(breaker(false));
    until(&mut lab, &[&bad], |lab| lab.rollouts()[0] == "PRIMARY FAILED 2");
    let started = lab.state.tasks.len();
    for _ in 0..60 {
        lab.second_with_broken(&[]);
    }
    assert_eq!(lab.rollouts(), ["PRIMARY FAILED 2", "ACTIVE COMPLETED 1"]);
    assert_eq!(lab.state.tasks.len(), started);
    assert_eq!(lab.tasks(), [(0, "1"), (1, "1")]);
}

#[test]
fn a_deployment_that_fails_during_a_rollback_has_no_target_and_stalls() {
    let (mut lab, [_, bad]) = broken(breaker(true));
    until(&mut lab, &[&bad], |lab| lab.rollouts()[0] == "PRIMARY IN_PROGRESS 1");
    let third = lab.define(|_| {});
    update(&mut lab, &third);
    until(&mut lab, &[&bad, &third], |lab| lab.rollouts()[0] == "PRIMARY FAILED 3");
    let started = lab.state.tasks.len();
    for _ in 0..60 {
        lab.second_with_broken(&[&bad]);
    }
    assert_eq!(lab.rollouts()[0], "PRIMARY FAILED 3");
    assert_eq!(lab.state.tasks.len(), started, "no tasks, no rollback");
}

#[test]
fn the_first_deployment_of_a_service_has_nothing_to_go_back_to() {
    let mut lab = Lab::new(1);
    let bad = lab.define(|_| {});
    lab.create(&bad, 1, breaker(true));
    until(&mut lab, &[&bad], |lab| lab.rollouts() == ["PRIMARY FAILED 1"]);
}

#[test]
fn a_completed_deployment_that_left_the_list_is_still_the_target() {
    let mut settings = breaker(true);
    settings["deploymentConfiguration"]["minimumHealthyPercent"] = json!(0);
    settings["deploymentConfiguration"]["maximumPercent"] = json!(100);
    let (mut lab, [_, bad]) = broken(settings);
    until(&mut lab, &[&bad], |lab| lab.rollouts().len() == 1);
    assert_eq!(lab.rollouts(), ["PRIMARY IN_PROGRESS 2"]);
    until(&mut lab, &[&bad], |lab| lab.rollouts() == ["PRIMARY COMPLETED 1"]);
}

#[test]
fn finding_no_place_fails_a_deployment_after_a_while() {
    for (every, expected) in [(Some(20), "PRIMARY COMPLETED 1"), (None, "PRIMARY IN_PROGRESS 2")] {
        let config = Config { unplaced_counts_every: every.map(Duration::from_secs), ..Config::unchecked() };
        let mut lab = Lab::with(1, config);
        let good = lab.define(|_| {});
        lab.create(&good, 1, breaker(true));
        lab.second_with_broken(&[]);
        let gated = lab.define(|d| {
            d["placementConstraints"] = json!([{ "type": "memberOf", "expression": "attribute:x exists" }]);
        });
        update(&mut lab, &gated);
        for second in 0..70 {
            lab.second_with_broken(&[]);
            assert!(second > 55 || lab.rollouts()[0] == "PRIMARY IN_PROGRESS 2", "after {second} s");
        }
        assert_eq!(lab.rollouts()[0], expected, "{every:?}");
    }
}

#[test]
fn a_sixth_active_deployment_is_refused() {
    let mut lab = Lab::new(1);
    let first = lab.define(|_| {});
    lab.create(&first, 8, json!({}));
    lab.second(&[0]);
    for _ in 0..4 {
        // Nobody starts or stops anything, so that every deployment keeps its tasks.
        let next = lab.define(|_| {});
        update(&mut lab, &next);
        let task = lab.state.tasks.last().unwrap().arn.clone();
        lab.report(0, &task, json!({ "status": "RUNNING" }));
    }
    assert_eq!(lab.rollouts().len(), 5);
    let next = lab.define(|_| {});
    let refused = lab.call("UpdateService", json!({ "service": "web", "taskDefinition": next })).unwrap_err();
    assert_eq!(refused.code(), "InvalidParameterException");
    assert_eq!(refused.to_string(), "5 active deployments exist, unable to create new deployment");
    lab.call("UpdateService", json!({ "service": "web", "desiredCount": 3 })).unwrap();
}

#[test]
fn a_task_of_the_old_revision_that_dies_during_a_rollout_is_replaced_by_its_own() {
    let (mut lab, [good, bad]) = broken(json!({}));
    lab.second_with_broken(&[&bad]);
    let victim = lab.state.tasks.iter().find(|t| t.definition == good).unwrap();
    let (task, instance) = (victim.arn.clone(), victim.instance.clone());
    let at = lab.instances.iter().position(|i| *i == instance).unwrap();
    lab.report(at, &task, json!({ "status": "STOPPED", "reason": "gone" }));
    let of_good = lab.tasks().iter().filter(|(_, revision)| *revision == "1").count();
    assert_eq!(of_good, 2, "{:?}", lab.tasks());
}

#[test]
fn an_instance_that_drains_gives_its_tasks_to_others_and_takes_none() {
    let mut lab = Lab::new(2);
    let definition = lab.define(|_| {});
    lab.create(&definition, 2, json!({}));
    lab.second(&[0, 1]);
    let state =
        |status: &str, lab: &Lab| json!({ "containerInstances": [lab.instances[0]], "status": status });
    let request = state("DRAINING", &lab);
    lab.call("UpdateContainerInstancesState", request).unwrap();
    assert_eq!(
        lab.tasks(),
        [(0, "1"), (1, "1"), (1, "1")],
        "the new one first: minimumHealthyPercent is 100"
    );
    lab.second(&[0, 1]);
    lab.second(&[0, 1]);
    assert_eq!(lab.tasks(), [(1, "1"), (1, "1")]);
    assert_eq!(lab.rollouts(), ["PRIMARY COMPLETED 1"], "draining is no deployment");
    let listed = lab.call("ListContainerInstances", json!({ "status": "DRAINING" })).unwrap();
    assert_eq!(listed["containerInstanceArns"], json!([lab.instances[0]]));
    let request = state("ACTIVE", &lab);
    lab.call("UpdateContainerInstancesState", request).unwrap();
    lab.call("UpdateService", json!({ "service": "web", "desiredCount": 3 })).unwrap();
    assert_eq!(lab.tasks(), [(0, "1"), (1, "1"), (1, "1")]);
}
