//! `apply` from the built binary against the lab's ECS on loopback, whole: what it says, what it registers, and its exit codes. That tasks
//! really run with their volumes is seen on the booted cluster (`tests/promises/apply.rs`).

use crate::{cluster::Cluster, settings};
use lab::ecs;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// One plain task definition and service for each service of shop.yml but `db`; `web` is called `shop-web`.
fn shop() -> Cluster {
    let cluster = Cluster::start();
    for (service, container) in [("shop-web", "web"), ("worker", "worker")] {
        let revision = cluster.register(service, |document| {
            document["containerDefinitions"][0]["name"] = json!(container);
            document["containerDefinitions"][0].as_object_mut().unwrap().remove("dockerLabels");
        });
        cluster.create(service, &revision);
    }
    cluster
}

impl Cluster {
    /// What `plan --detailed-exitcode` says of the shop.
    fn pending(&self, arguments: &str) -> String {
        let arguments = format!(
            "plan {SHOP} --detailed-exitcode --cluster default --rack production --region us-east-1{arguments}"
        );
        let (stdout, stderr, code) = self.run(&arguments);
        format!("$ volumes-agent {arguments}\n--- stdout\n{stdout}--- stderr\n{stderr}--- exit code {code}\n")
    }

    /// All that a run of `apply` says, what differs between two runs replaced.
    fn apply(&self, arguments: &str) -> String {
        let arguments = format!("apply {arguments} --cluster default --rack production --region us-east-1");
        let (stdout, stderr, code) = self.run(&arguments);
        let page = format!(
            "$ volumes-agent {arguments}\n--- stdout\n{stdout}--- stderr\n{stderr}--- exit code {code}\n"
        );
        let page = blank(&page, "ecs-svc/", "<id>");
        let page = blank(&page, "stable after ", "<n>");
        page.lines().filter_map(steady).map(|line| format!("{line}\n")).collect()
    }

    fn revisions(&self, family: &str) -> usize {
        let answer = self.ask("ListTaskDefinitions", &json!({ "familyPrefix": family }));
        answer["taskDefinitionArns"].as_array().unwrap().len()
    }

    /// The document that a service runs.
    fn runs(&self, service: &str) -> Value {
        let answer = self.ask("DescribeServices", &json!({ "cluster": "default", "services": [service] }));
        let revision = answer["services"][0]["taskDefinition"].clone();
        self.ask("DescribeTaskDefinition", &json!({ "taskDefinition": revision }))["taskDefinition"].clone()
    }
}

/// A line without what differs between two runs: how many tasks were seen at which look, and what ECS told meanwhile.
fn steady(line: &str) -> Option<String> {
    let is_progress = !line.starts_with(' ') && (line.contains(" old") || line.contains(": ECS: "));
    let counted = line.split_once(" old, ").map(|(before, _)| format!("{before} old, <n> failed"));
    (!is_progress).then(|| counted.unwrap_or_else(|| line.to_owned()))
}

/// Puts `word` in place of the digits after each `start`.
fn blank(text: &str, start: &str, word: &str) -> String {
    let mut parts = text.split(start);
    let mut blanked = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        blanked += &format!("{start}{word}{}", part.trim_start_matches(|c: char| c.is_ascii_digit()));
    }
    blanked
}

fn mounted(document: &Value) -> Vec<&str> {
    let points = document["containerDefinitions"][0]["mountPoints"].as_array();
    points.into_iter().flatten().filter_map(|point| point["containerPath"].as_str()).collect()
}

const SHOP: &str = "-f shop.yml --app shop --service web=shop-web";

#[test]
fn applied_twice_and_with_a_change() {
    let cluster = shop();
    settings().bind(|| {
        insta::assert_snapshot!("apply-dry-run", cluster.apply(&format!("{SHOP} --dry-run")));
        assert_eq!(
            [cluster.revisions("shop-web"), cluster.revisions("worker")],
            [1, 1],
            "a dry run changes nothing"
        );
        insta::assert_snapshot!("plan-pending", cluster.pending(""));
        insta::assert_snapshot!("plan-pending-json", cluster.pending(" --format json"));
        insta::assert_snapshot!("apply", cluster.apply(SHOP));
        insta::assert_snapshot!("plan-nothing-pending", cluster.pending(""));
        assert_eq!(mounted(&cluster.runs("shop-web")), ["/uploads", "/var/www/html"]);
        assert_eq!(mounted(&cluster.runs("worker")), ["/uploads"]);
        insta::assert_snapshot!("apply-again", cluster.apply(SHOP));
        insta::assert_snapshot!("apply-again-json", cluster.apply(&format!("{SHOP} --format json")));
        assert_eq!(
            [cluster.revisions("shop-web"), cluster.revisions("worker")],
            [2, 2],
            "applied twice is applied once"
        );
        // The file says other volumes now: the labels that were written are written anew, and one service has none any more.
        insta::assert_snapshot!(
            "apply-changed",
            cluster.apply("-f shop-changed.yml --app shop --service web=shop-web")
        );
        assert_eq!(mounted(&cluster.runs("shop-web")), ["/cache", "/var/www/html"]);
        let worker = cluster.runs("worker");
        assert_eq!(mounted(&worker), [""; 0]);
        assert!(worker["containerDefinitions"][0].get("dockerLabels").is_none(), "{worker:#}");
        assert!(worker.get("placementConstraints").is_none_or(|list| list == &json!([])), "{worker:#}");
    });
}

#[test]
fn what_can_t_be_applied_changes_nothing() {
    let cluster = shop();
    settings().bind(|| {
        insta::assert_snapshot!("apply-no-service", cluster.apply("-f shop.yml --app shop"));
        let (stdout, stderr, code) = cluster
            .run("plan -f shop.yml --app shop --detailed-exitcode --cluster default --region us-east-1");
        insta::assert_snapshot!(
            "plan-pending-no-service",
            format!("{stdout}--- stderr\n{stderr}--- exit code {code}\n")
        );
        insta::assert_snapshot!("apply-typo", cluster.apply(&format!("{SHOP} --service wroker=worker")));
        insta::assert_snapshot!(
            "apply-typo-of-a-container",
            cluster.apply(&format!("{SHOP} --container wbe=web"))
        );
        insta::assert_snapshot!("apply-refused", cluster.apply("-f everything.yml --app shop"));
        let no_container = cluster.apply(&format!("{SHOP} --service worker=shop-web"));
        insta::assert_snapshot!("apply-no-container", no_container);
        let (_, stderr, code) = cluster.run(&format!("apply {SHOP} --cluster nowhere --region us-east-1"));
        insta::assert_snapshot!("apply-no-cluster", format!("{stderr}--- exit code {code}\n"));
        let (_, stderr, code) = cluster.run(&format!("apply {SHOP} --cluster default"));
        insta::assert_snapshot!("apply-no-region", format!("{stderr}--- exit code {code}\n"));
    });
    assert_eq!([cluster.revisions("shop-web"), cluster.revisions("worker")], [1, 1]);
}

#[test]
fn what_its_author_or_another_deploy_says_otherwise_is_refused() {
    let cluster = Cluster::start();
    let labelled = |volumes: &str| json!({ "convox.app": "shop", "convox.volumes": volumes });
    for (service, labels) in [
        ("web", labelled("[\"/elsewhere\"]")),
        ("worker", json!({ "convox.app": "shop", "convox.volumes": "[]", "convox.volumes.agent": "off" })),
    ] {
        let revision = cluster.register(service, |document| {
            document["containerDefinitions"][0]["name"] = json!(service);
            document["containerDefinitions"][0]["dockerLabels"] = labels;
        });
        cluster.create(service, &revision);
    }
    settings().bind(|| {
        insta::assert_snapshot!("apply-labels", cluster.apply("-f shop.yml --app shop"));
        let other = cluster.register("blog", |document| {
            document["containerDefinitions"][0]["dockerLabels"] = json!({ "x": "y" });
        });
        cluster.create("blog", &other);
        cluster.register("blog", |document| document["containerDefinitions"][0]["image"] = json!("other"));
        insta::assert_snapshot!(
            "apply-other-code",
            cluster.apply("-f wordpress.yml --app blog --service web=blog")
        );
    });
    assert_eq!([cluster.revisions("web"), cluster.revisions("worker"), cluster.revisions("blog")], [1, 1, 2]);
}

/// Two services whose new tasks find no place, one of them with a circuit breaker.
#[test]
fn a_deployment_that_fails_and_one_that_takes_too_long_are_told_apart() {
    let cluster = Cluster::of(ecs::Config {
        unplaced_counts_every: Some(Duration::from_millis(300)),
        longest_pause: Duration::from_millis(300),
        ..ecs::Config::unchecked()
    });
    for (service, is_broken_off) in [("slow", false), ("failing", true)] {
        let revision = cluster.register(service, |document| {
            document["containerDefinitions"][0].as_object_mut().unwrap().remove("dockerLabels");
        });
        cluster.create(service, &revision);
        // The first deployment is done with no task; from now on one is wanted, where there is no instance for it.
        cluster.ask(
            "UpdateService",
            &json!({
                "cluster": "default", "service": service, "desiredCount": 1,
                "placementConstraints": [{ "type": "memberOf", "expression": "attribute:nowhere exists" }],
                "deploymentConfiguration": {
                    "deploymentCircuitBreaker": { "enable": is_broken_off, "rollback": is_broken_off },
                },
            }),
        );
    }
    settings().bind(|| {
        let app = "-f wordpress.yml --app blog --timeout 4s";
        insta::assert_snapshot!("apply-too-slow", cluster.apply(&format!("{app} --service web=slow")));
        let app = "-f wordpress.yml --app blog --timeout 30s";
        insta::assert_snapshot!("apply-failed", cluster.apply(&format!("{app} --service web=failing")));
    });
}

/// ECS does what was asked, and its answers are lost: one revision and one deployment all the same.
#[test]
fn lost_answers_end_in_one_change() {
    let cluster = shop();
    for (operation, fault) in [
        ("RegisterTaskDefinition", json!({ "fault": "garbled", "applied": true, "count": 1 })),
        ("UpdateService", json!({ "fault": "garbled", "applied": true, "count": 1 })),
        ("DescribeServices", json!({ "fault": "throttle", "count": 1 })),
    ] {
        let mut fault = fault;
        fault["operation"] = json!(operation);
        cluster.control("faults", &fault);
    }
    let page = cluster.apply(SHOP);
    assert!(page.ends_with("--- exit code 0\n"), "{page}");
    assert_eq!([cluster.revisions("shop-web"), cluster.revisions("worker")], [2, 2], "{page}");
    assert_eq!(mounted(&cluster.runs("shop-web")), ["/uploads", "/var/www/html"]);
}

#[test]
fn what_changes_or_is_lost_on_the_way_moves_no_service() {
    let cluster = shop();
    // What stands between the two is told by other tests.
    let of = |page: &str| {
        let (stdout, rest) = page.split_once("--- stderr").unwrap();
        format!("{stdout}--- {}", rest.rsplit_once("--- ").unwrap().1)
    };
    settings().bind(|| {
        cluster.gate("not-ready");
        insta::assert_snapshot!("apply-too-few-ready", cluster.apply(SHOP));
        cluster.gate("ready");
        let drops = json!({ "operation": "RegisterTaskDefinition", "fault": "drop-field", "count": 1, "path": "containerDefinitions.0.aFieldOfTomorrow" });
        cluster.control("faults", &drops);
        insta::assert_snapshot!("apply-dropped-field", of(&cluster.apply(SHOP)));
        cluster.ask("DeregisterTaskDefinition", &json!({ "taskDefinition": "shop-web:2" }));
        // Somebody deploys other code while the answer to the registration is under way.
        let late = json!({ "operation": "RegisterTaskDefinition", "fault": "timeout", "seconds": 3, "applied": true, "count": 1 });
        cluster.control("faults", &late);
        let superseded = std::thread::scope(|scope| {
            let applied = scope.spawn(|| cluster.apply("-f wordpress.yml --app shop --service web=shop-web"));
            let begun = Instant::now();
            while cluster.revisions("shop-web") < 2 && begun.elapsed() < Duration::from_secs(20) {
                std::thread::park_timeout(Duration::from_millis(50));
            }
            let other = cluster.register("other", |_| {});
            let update = json!({ "cluster": "default", "service": "shop-web", "taskDefinition": other });
            cluster.ask("UpdateService", &update);
            applied.join().unwrap()
        });
        insta::assert_snapshot!("apply-superseded", of(&superseded));
    });
    assert_eq!(cluster.runs("shop-web")["family"], "other", "what somebody deployed stays");
    assert_eq!(cluster.runs("worker")["revision"], 1);
}

/// A compose file doesn't tell how many tasks there are while a deployment is under way; the ECS service does.
#[test]
fn two_tasks_of_a_database_are_warned_of() {
    let cluster = Cluster::start();
    let revision = cluster.register("db", |document| {
        document["containerDefinitions"][0]["name"] = json!("db");
        document["containerDefinitions"][0].as_object_mut().unwrap().remove("dockerLabels");
    });
    cluster.create("db", &revision);
    cluster.ask("UpdateService", &json!({ "cluster": "default", "service": "db", "desiredCount": 1 }));
    let flags = "-f database.yml --cluster default --rack production --region us-east-1 --app shop";
    let (_, stderr, code) = cluster.run(&format!("apply {flags} --dry-run"));
    settings().bind(|| {
        insta::assert_snapshot!("apply-database", format!("{stderr}--- exit code {code}\n"));
    });
    let (_, again, code) = cluster.run(&format!("plan {flags} --detailed-exitcode"));
    assert_eq!((again, code), (stderr, 2));
    let (_, silenced, code) =
        cluster.run(&format!("apply {flags} --dry-run --silence several-database-tasks"));
    assert_eq!((silenced.trim(), code), ("1 silenced", 0));
}

/// With another app, rack or service a container would find an empty directory.
#[test]
fn other_names_than_before_are_refused() {
    let cluster = shop();
    assert!(cluster.apply(SHOP).ends_with("--- exit code 0\n"));
    let runs = cluster.runs("shop-web");
    settings().bind(|| {
        insta::assert_snapshot!(
            "apply-another-app",
            cluster.apply("-f shop.yml --app shpo --service web=shop-web")
        );
    });
    let flags = "-f shop.yml --app shop --service web=shop-web --cluster default --region us-east-1";
    let (_, stderr, code) = cluster.run(&format!("apply {flags} --rack prodution"));
    assert_eq!((code, stderr.matches("refused[label-disagrees]").count()), (1, 2), "{stderr}");
    let renamed = "-f wordpress-renamed.yml --app shop --service site=shop-web --container site=web";
    let page = cluster.apply(renamed);
    assert!(
        page.contains("has the label `convox.service` with `web`, but the compose file says `site`"),
        "{page}"
    );
    assert_eq!(cluster.runs("shop-web"), runs, "nothing was moved");
}

/// Without volumes nothing takes the hold off again.
#[test]
fn a_service_is_never_moved_to_what_can_t_be_placed() {
    let cluster = Cluster::start();
    let held = cluster.register("web", |document| {
        document["containerDefinitions"][0].as_object_mut().unwrap().remove("dockerLabels");
        let hold = json!({ "type": "memberOf", "expression": "attribute:convox.volumes.hold exists" });
        document["placementConstraints"] = json!([hold]);
    });
    cluster.create("web", &held);
    assert!(cluster.apply("-f wordpress.yml --app shop").ends_with("--- exit code 0\n"));
    let page = cluster.apply("-f shop-none.yml --app shop");
    settings().bind(|| insta::assert_snapshot!("apply-held", page));
    assert_eq!(mounted(&cluster.runs("web")), ["/var/www/html"]);
}

/// What needs nothing stops nobody: another app's task definition, one that says `off`, a name that no ECS service can have.
#[test]
fn services_without_volumes_are_nobody_s_hindrance() {
    let cluster = shop();
    let other = cluster.register("db", |document| {
        document["containerDefinitions"][0]["dockerLabels"]["convox.app"] = json!("another");
    });
    cluster.create("db", &other);
    let off = cluster.register("cache", |document| {
        document["containerDefinitions"][0]["dockerLabels"] = json!({ "convox.volumes.agent": "off" });
    });
    cluster.create("cache", &off);
    let page = cluster.apply("-f shop-more.yml --app shop --service web=shop-web");
    settings().bind(|| insta::assert_snapshot!("apply-needs-nothing", page));
}

/// Services were moved: that nobody can be told doesn't make it exit code 1, which says that nothing was changed.
#[test]
fn a_full_stdout_is_no_refusal() {
    let cluster = shop();
    let arguments = format!("apply {SHOP} --cluster default --rack production --region us-east-1");
    let output = std::process::Command::new(crate::binary())
        .args(arguments.split_whitespace())
        .current_dir(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("cli/files"))
        .env_clear()
        .env("HOME", "/home/ann")
        .envs(cluster.environment())
        .stdout(std::fs::File::options().write(true).open("/dev/full").unwrap())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("error: stdout: "), "{stderr}");
    assert_eq!(output.status.code(), Some(0), "{stderr}");
}

/// `patch` starts from the source as `apply` does.
#[test]
fn patch_of_a_patched_document_is_patch_of_its_source() {
    let source = crate::task_definition();
    let patch = |file: &str, input: &str| {
        let arguments = format!("patch --rack production --app shop --container web=web --compose {file}");
        let (stdout, stderr, code) = crate::run(&arguments, input);
        assert_eq!(code, 0, "{stderr}");
        stdout
    };
    let first = patch("shop.yml", &source);
    assert_eq!(patch("shop.yml", &first), first);
    assert_eq!(patch("shop-changed.yml", &first), patch("shop-changed.yml", &source));
    let (_, stderr, code) = crate::run("patch --rack production --app other --compose shop.yml", &first);
    assert!(code == 1 && stderr.contains("error[label-disagrees]"), "{stderr}");
}

/// A role that may not be passed: who may mend it reads how.
#[test]
fn what_aws_denies_is_told_with_what_to_do() {
    let cluster = Cluster::start();
    let revision = cluster.register("web", |document| {
        document["containerDefinitions"][0].as_object_mut().unwrap().remove("dockerLabels");
        document["taskRoleArn"] = json!("arn:aws:iam::123456789012:role/not-to-be-passed");
    });
    cluster.create("web", &revision);
    cluster.control("policy", &json!({ "access_key": "lab", "allow": [{ "action": "ecs:*" }] }));
    let page = cluster.apply("-f wordpress.yml --app shop");
    assert!(page.contains("[pass-role]") && page.contains("not-to-be-passed"), "{page}");
    assert!(page.contains("Allow iam:PassRole on that role to whoever runs this"), "{page}");
    assert!(page.ends_with("--- exit code 1\n"), "{page}");
    assert_eq!(cluster.revisions("web"), 1);
}
