use super::*;
use crate::{
    history::{Failed, PutBack},
    reading::Reader,
};
use serde_json::{Value, json};

const NOW: Duration = Duration::from_secs(1_000_000);

fn answer(status: &str) -> Value {
    json!({ "taskDefinition": {
        "family": "blog", "taskDefinitionArn": "blog:41", "status": status,
        "containerDefinitions": [{ "name": "web", "image": "i", "dockerLabels": { "convox.app": "blog", "convox.volumes": "[\"/data\"]" } }],
    }})
}

fn read(status: &str) -> Reading {
    let rack = "r".parse().unwrap();
    Reader { rack: &rack, host_paths: &[], is_daemon: false, fills: true }.read("blog:41", answer(status)).0
}

fn service() -> Service {
    let primary = Deployment {
        id: "d1".to_owned(),
        is_primary: true,
        task_definition: "blog:41".to_owned(),
        rollout: Rollout::InProgress,
        ..Deployment::default()
    };
    Service { name: "web".to_owned(), desired: 2, deployments: vec![primary], ..Service::default() }
}

fn moved() -> Moved {
    Moved {
        source: "blog:41".to_owned(),
        patched: "blog:42".to_owned(),
        fingerprint: "v1:x".to_owned(),
        from_deployment: "d1".to_owned(),
        has_failed: true,
    }
}

fn failed(cause: Cause, at: Duration) -> History {
    let failed = Failed {
        source: "blog:41".to_owned(),
        patched: "blog:42".to_owned(),
        cause,
        said: "because".to_owned(),
        at,
        times: 1,
    };
    History { moved: Some(moved()), failed: Some(failed), ..History::default() }
}

/// What is decided, in a word.
fn decided(
    service: &Service,
    reading: &Reading,
    history: &History,
    instances: (u32, u32),
    latest: &Latest,
) -> String {
    let instances = Some(Instances { ready: instances.0, not_ready: instances.1 });
    match next(Facts { service, reading, history, now: NOW, instances, latest: Some(latest) }) {
        Next::LearnFailure(moved) => format!("learn why {} failed", moved.patched),
        Next::LearnInstances => "learn instances".to_owned(),
        Next::LearnLatest(_) => "learn latest".to_owned(),
        Next::Register(_) => "register".to_owned(),
        Next::Move(_, to) => format!("move to {to}"),
        Next::GiveBack(to) => format!("give back {to}"),
        Next::Stay(verdict) => verdict.code.unwrap_or(verdict.outcome.name()).to_owned(),
    }
}

#[test]
fn memory_alone_waits_for_no_instance() {
    let memory = "[{\"type\":\"tmpfs\",\"target\":\"/run\",\"tmpfs\":{\"size\":\"1m\"}}]";
    let mut answer = answer("ACTIVE");
    answer["taskDefinition"]["containerDefinitions"][0]["dockerLabels"]["convox.volumes"] = json!(memory);
    let rack = "r".parse().unwrap();
    let reader = Reader { rack: &rack, host_paths: &[], is_daemon: false, fills: true };
    let (reading, documents) = reader.read("blog:41", answer);
    let (service, history) = (service(), History::default());
    assert_eq!(decided(&service, &reading, &history, (0, 0), &Latest::SameCode), "register");
    // And what was patched so is seen as patched.
    let answer = json!({ "taskDefinition": documents.unwrap().patched });
    let (patched, _) = reader.read("blog:42", answer);
    assert!(matches!(patched, Reading::Patched { .. }), "{patched:?}");
}

#[test]
fn a_service_goes_step_by_step_and_learns_only_what_it_needs() {
    let (service, reading, history) = (service(), read("ACTIVE"), History::default());
    let mut facts = Facts {
        service: &service,
        reading: &reading,
        history: &history,
        now: NOW,
        instances: None,
        latest: None,
    };
    assert_eq!(next(facts), Next::LearnInstances);
    facts.instances = Some(Instances { ready: 1, not_ready: 0 });
    assert!(matches!(next(facts), Next::LearnLatest(_)));
    facts.latest = Some(&Latest::SameCode);
    assert!(matches!(next(facts), Next::Register(_)), "an unpatched PRIMARY in progress is patched at once");
}

#[test]
fn never_old_code_as_the_latest() {
    let (service, history) = (service(), History::default());
    for (status, latest, expected) in [
        ("ACTIVE", Latest::SameCode, "register"),
        ("ACTIVE", Latest::Patched("blog:42".to_owned()), "move to blog:42"),
        ("ACTIVE", Latest::OtherCode("blog:43".to_owned()), "deploy-under-way"),
        ("INACTIVE", Latest::SameCode, "inactive-source"),
        ("INACTIVE", Latest::OtherCode("blog:40".to_owned()), "inactive-source"),
        ("INACTIVE", Latest::Nothing, "inactive-source"),
        ("INACTIVE", Latest::Patched("blog:42".to_owned()), "move to blog:42"),
    ] {
        assert_eq!(
            decided(&service, &read(status), &history, (1, 0), &latest),
            expected,
            "{status} {latest:?}"
        );
    }
}

#[test]
fn no_service_is_moved_while_too_few_instances_are_ready() {
    let (reading, history) = (read("ACTIVE"), History::default());
    let spread = Service { one_task_an_instance: true, minimum_healthy_percent: 100, ..service() };
    for (service, instances, expected) in [
        (service(), (0, 0), "too-few-ready"),
        (service(), (1, 2), "too-few-ready"),
        (service(), (1, 1), "register"),
        (spread.clone(), (1, 0), "too-few-ready"),
        (spread, (2, 0), "register"),
    ] {
        assert_eq!(decided(&service, &reading, &history, instances, &Latest::SameCode), expected);
    }
}

#[test]
fn what_the_app_broke_is_left_alone_and_what_the_share_broke_is_tried_again() {
    let mut done = service();
    done.deployments[0].rollout = Rollout::Completed;
    let reading = read("ACTIVE");
    let is = |history: &History| decided(&done, &reading, history, (2, 0), &Latest::SameCode);
    assert_eq!(is(&failed(Cause::App, NOW)), "deployment-failed");
    assert_eq!(is(&failed(Cause::App, Duration::ZERO)), "deployment-failed", "for ever");
    assert_eq!(is(&failed(Cause::Share, NOW)), "share-failed-it");
    assert_eq!(is(&failed(Cause::Share, NOW - Duration::from_secs(30))), "register");
    let mut anew = done.clone();
    anew.deployments[0].task_definition = "blog:43".to_owned();
    assert_eq!(decided(&anew, &reading, &failed(Cause::App, NOW), (2, 0), &Latest::SameCode), "register");
}

#[test]
fn never_patched_during_the_rollback_itself() {
    let mut rolling_back = service();
    rolling_back.deployments.push(Deployment {
        id: "d2".to_owned(),
        task_definition: "blog:42".to_owned(),
        rollout: Rollout::Failed,
        ..Deployment::default()
    });
    let reading = read("ACTIVE");
    let is = |history: &History| decided(&rolling_back, &reading, history, (2, 0), &Latest::SameCode);
    assert_eq!(is(&History::default()), "rollback-under-way");
    assert_eq!(is(&failed(Cause::Share, Duration::ZERO)), "rollback-under-way");
    let unseen = History { moved: Some(Moved { has_failed: false, ..moved() }), ..History::default() };
    assert_eq!(is(&unseen), "learn why blog:42 failed");
}

#[test]
fn who_keeps_putting_the_unpatched_revision_back_is_yielded_to_and_named() {
    let put_back = |n: u64| PutBack {
        deployment: format!("t{n}"),
        revision: "blog:41".to_owned(),
        at: NOW - Duration::from_secs(10 - n),
    };
    let fought = |rounds: u64| History {
        moved: Some(moved()),
        put_back: (0..rounds).map(put_back).collect(),
        ..History::default()
    };
    let mut service = service();
    service.deployments[0].id = "t2".to_owned();
    let reading = read("ACTIVE");
    assert_eq!(decided(&service, &reading, &fought(2), (2, 0), &Latest::SameCode), "register");
    let history = fought(3);
    let facts = Facts {
        service: &service,
        reading: &reading,
        history: &history,
        now: NOW,
        instances: None,
        latest: None,
    };
    let Next::Stay(verdict) = next(facts) else { panic!("it goes on") };
    let reason = verdict.reason.unwrap();
    assert!(reason.contains("blog:41") && reason.contains("t2"), "{reason}");
}

#[test]
fn what_ecs_would_not_roll_is_reported() {
    let (reading, history) = (read("ACTIVE"), History::default());
    let not_rolling = Service { not_rolling: Some("its controller is X".to_owned()), ..service() };
    let fargate = Service { not_on_instances: Some("FARGATE".to_owned()), ..service() };
    assert_eq!(decided(&not_rolling, &reading, &history, (1, 0), &Latest::SameCode), "not-rolling");
    assert_eq!(decided(&fargate, &reading, &history, (1, 0), &Latest::SameCode), "no-instances");
}

#[test]
fn what_a_pipeline_patched_with_host_paths_is_reported_and_left() {
    let rack = "r".parse().unwrap();
    let mut source = answer("ACTIVE");
    source["taskDefinition"]["containerDefinitions"][0]["dockerLabels"]["convox.volumes"] =
        json!("[\"/data\", \"/var/run/docker.sock:/var/run/docker.sock\"]");
    let allowed = ["/var/run/docker.sock".to_owned()];
    let by_pipeline = Reader { rack: &rack, host_paths: &allowed, is_daemon: false, fills: true };
    let (_, documents) = by_pipeline.read("blog:41", source);
    let answer = json!({ "taskDefinition": documents.unwrap().patched });
    let (Reading::Patched { .. }, _) = by_pipeline.read("blog:42", answer.clone()) else {
        panic!("not patched")
    };
    let daemon = Reader { rack: &rack, host_paths: &[], is_daemon: false, fills: true };
    let (Reading::LeftAlone(verdict), _) = daemon.read("blog:42", answer) else { panic!("not left alone") };
    assert_eq!(verdict.code, Some("host-path-of-pipeline"));
}
