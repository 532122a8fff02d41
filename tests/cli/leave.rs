//! `leave` from the built binary against the lab's ECS on loopback, whole: what it tells, what it does, and its exit codes. That it pauses
//! the leader is seen on the booted cluster (`tests/promises/leaving.rs`).

use crate::{cluster::Cluster, run_with, settings};
use serde_json::{Value, json};

/// Services as they are on a cluster that used the agent for a while: patched by the daemon, by a pipeline, and what is nobody's to undo.
fn used() -> Cluster {
    let cluster = Cluster::start();
    let patched = |name: &str, change: &dyn Fn(&mut Value, &str)| {
        let source = cluster.register(name, |_| {});
        let mut patched = cluster.patched(name, &source);
        for container in patched["containerDefinitions"].as_array_mut().unwrap() {
            change(container, &source);
        }
        let answer = cluster.ask("RegisterTaskDefinition", &patched);
        cluster.create(name, answer["taskDefinition"]["taskDefinitionArn"].as_str().unwrap());
    };
    patched("by-the-daemon", &|container, source| {
        if let Some(label) = container["dockerLabels"].get_mut("convox.volumes.source") {
            *label = json!(source);
        }
    });
    patched("by-a-pipeline", &|container, _| container["image"] = json!("wordpress:5"));
    patched("hands-off", &|container, _| container["dockerLabels"]["convox.volumes.agent"] = json!("off"));
    cluster.create("unpatched", &cluster.register("unpatched", |_| {}));
    cluster
}

impl Cluster {
    fn patched(&self, app: &str, source: &str) -> Value {
        let described =
            self.ask("DescribeTaskDefinition", &json!({ "taskDefinition": source, "include": ["TAGS"] }));
        let (stdout, stderr, code) =
            run_with(&[], &format!("patch --rack production --app {app}"), &described.to_string());
        assert_eq!(code, 0, "{stderr}");
        serde_json::from_str(&stdout).unwrap()
    }

    fn leave(&self, arguments: &str) -> String {
        let arguments = format!("leave {arguments} --cluster default --rack production --region us-east-1");
        let (stdout, stderr, code) = self.run(&arguments);
        // How many tasks were seen at which look differs between two runs.
        let notes = stderr.lines().filter(|line| line.starts_with("note: ") || line.contains(": moved to "));
        let notes: String = notes.map(|line| format!("{line}\n")).collect();
        format!("$ volumes-agent {arguments}\n--- stdout\n{stdout}--- stderr\n{notes}--- exit code {code}\n")
    }

    fn all_runs(&self) -> Vec<Value> {
        ["by-the-daemon", "by-a-pipeline", "hands-off", "unpatched"]
            .map(|service| {
                let request = json!({ "cluster": "default", "services": [service] });
                self.ask("DescribeServices", &request)["services"][0]["taskDefinition"].clone()
            })
            .to_vec()
    }
}

#[test]
fn it_tells_first_and_then_does() {
    let cluster = used();
    let before = cluster.all_runs();
    settings().bind(|| {
        insta::assert_snapshot!("leave-told", cluster.leave(""));
        insta::assert_snapshot!("leave-json", cluster.leave("--format json"));
        assert_eq!(cluster.all_runs(), before, "telling changes nothing");
        insta::assert_snapshot!("leave-done", cluster.leave("--yes --without-share"));
        insta::assert_snapshot!("leave-again", cluster.leave("--yes --without-share"));
    });
    let after = cluster.all_runs();
    assert_eq!(after[0], json!(before[0].as_str().unwrap().replace(":2", ":1")), "its own source");
    assert_eq!(after[2..], before[2..], "what is nobody's to undo");
    let left =
        cluster.ask("DescribeTaskDefinition", &json!({ "taskDefinition": after[1] }))["taskDefinition"]
            .clone();
    assert!(!left.to_string().contains("convox-volumes-"), "{left}");
    assert_eq!(left["containerDefinitions"][0]["image"], "wordpress:5", "the code that it ran");
}

#[test]
fn what_is_in_the_way_stops_all_before_anything_is_changed() {
    let cluster = used();
    let held = cluster.register("held", |document| {
        document["placementConstraints"] =
            json!([{ "type": "memberOf", "expression": "attribute:convox.volumes.hold exists" }]);
    });
    let answer = cluster.ask("RegisterTaskDefinition", &cluster.patched("held", &held));
    cluster.create("held", answer["taskDefinition"]["taskDefinitionArn"].as_str().unwrap());
    let before = cluster.all_runs();
    settings().bind(|| insta::assert_snapshot!("leave-refused", cluster.leave("--yes --without-share")));
    assert_eq!(cluster.all_runs(), before);
    let (stdout, _, code) = cluster.run(
        "leave --yes --without-share --except held --cluster default --rack production --region us-east-1",
    );
    assert_eq!(code, 0, "{stdout}");
    assert_ne!(cluster.all_runs(), before);
}

#[test]
fn patching_must_be_paused_first() {
    let cluster = used();
    let before = cluster.all_runs();
    let (_, stderr, code) = cluster.run("leave --yes --cluster default --rack production --region us-east-1");
    assert_eq!(code, 1);
    assert!(stderr.contains("patching can't be paused") && stderr.contains("--without-share"), "{stderr}");
    assert_eq!(cluster.all_runs(), before);
}
