//! `ls` from the built binary against the lab's ECS on loopback: where there is no share it tells what services use. What it says of the
//! machine that it runs on is left out; the share's side is tested beside the code, and on the booted cluster.

use crate::{cluster::Cluster, run, run_with, settings};
use serde_json::{Value, json};

const FLAGS: &str = "--cluster default --rack production --region us-east-1";

/// Services whose revision a pipeline patched, declares, mounts by its author's hand, is refused, is left alone, and has nothing.
fn cluster() -> Cluster {
    let cluster = Cluster::start();
    // Whatever the test takes: no deployment ends meanwhile.
    cluster.control("pace", &json!({ "least_rollout": 3600 }));
    let labels = |volumes: &str| json!({ "convox.app": "shop", "convox.volumes": volumes });
    let declares = |service: &str, volumes: &str| {
        let revision = cluster.register(service, |document| {
            document["containerDefinitions"][0]["dockerLabels"] = labels(volumes)
        });
        cluster.create(service, &revision);
    };
    declares("unpatched", r#"["/var/www/html", "/conf:/etc/shop:ro", "assets:/assets"]"#);
    declares("relative", r#"["./src:/app"]"#);
    let off = cluster.register("off", |document| {
        document["containerDefinitions"][0]["dockerLabels"]["convox.volumes.agent"] = json!("off");
    });
    cluster.create("off", &off);
    let patched = cluster.register("patched", |document| {
        document["containerDefinitions"][0]["dockerLabels"] = labels(r#"["assets:/assets"]"#);
        let (text, _, _) = run("patch --rack production --app shop", &document.to_string());
        *document = serde_json::from_str(&text).unwrap();
    });
    cluster.create("patched", &patched);
    let plain = cluster.register("plain", |document| {
        document["containerDefinitions"][0].as_object_mut().unwrap().remove("dockerLabels");
    });
    cluster.create("plain", &plain);
    let by_hand = cluster.register("by-hand", |document| {
        let container = document["containerDefinitions"][0].as_object_mut().unwrap();
        container.remove("dockerLabels");
        container
            .insert("mountPoints".to_owned(), json!([{ "sourceVolume": "old", "containerPath": "/old" }]));
        document["volumes"] =
            json!([{ "name": "old", "host": { "sourcePath": "/volumes/production-old/web/data" } }]);
    });
    cluster.create("by-hand", &by_hand);
    cluster
}

/// Times of deployments replaced: they are as long as each other.
fn without_times(text: &str) -> String {
    let is_time = |word: &str| word.len() == 20 && word.starts_with("20") && word.ends_with('Z');
    let line = |line: &str| {
        line.split(' ').map(|word| if is_time(word) { "<time>" } else { word }).collect::<Vec<_>>().join(" ")
    };
    text.lines().map(|one| format!("{}\n", line(one))).collect()
}

#[test]
fn what_services_use_is_listed_without_a_share() {
    let cluster = cluster();
    let page = |columns: &str, arguments: &str| {
        let environment: Vec<(&str, &str)> =
            cluster.environment().into_iter().chain([("COLUMNS", columns)]).collect();
        let arguments = format!("ls{arguments} {FLAGS}");
        let (stdout, stderr, code) = run_with(&environment, &arguments, "");
        assert!(stderr.contains("not known: the share: nothing is mounted at /volumes here\n"), "{stderr}");
        assert!(!stderr.contains("not known: what services use"), "{stderr}");
        let summary = stderr.lines().last().unwrap_or_default();
        format!(
            "$ volumes-agent {arguments}\n{}--- stderr ends\n{summary}\n--- exit code {code}\n",
            without_times(&stdout)
        )
    };
    settings().bind(|| {
        insta::assert_snapshot!("ls", page("0", ""));
        insta::assert_snapshot!("ls-narrow", page("80", ""));
        insta::assert_snapshot!("ls-orphans", page("80", " --orphans"));
    });
}

#[test]
fn a_listing_is_json_as_well() {
    let cluster = cluster();
    let (stdout, stderr, code) = cluster.run(&format!("ls --format json {FLAGS}"));
    assert_eq!((stderr.as_str(), code), ("", 1));
    let mut listing: Value = serde_json::from_str(&stdout).unwrap();
    let missing: Vec<String> = serde_json::from_value(listing["missing"].take()).unwrap();
    assert!(missing.contains(&"the share: nothing is mounted at /volumes here".to_owned()), "{missing:?}");
    for used in listing["volumes"]
        .as_array_mut()
        .unwrap()
        .iter_mut()
        .flat_map(|v| v["used_by"].as_array_mut().unwrap())
    {
        assert!(used["since"].take().as_str().unwrap().ends_with('Z'));
    }
    for service in listing["services"].as_array_mut().unwrap() {
        assert!(service["since"].take().as_str().unwrap().ends_with('Z'));
    }
    settings().bind(|| insta::assert_snapshot!("ls-json", serde_json::to_string_pretty(&listing).unwrap()));
}

#[test]
fn neither_a_share_nor_ecs_is_3() {
    for (environment, arguments, words) in [
        (
            vec![
                ("AWS_ENDPOINT_URL", "http://127.0.0.1:1"),
                ("AWS_ACCESS_KEY_ID", "lab"),
                ("AWS_SECRET_ACCESS_KEY", "lab"),
            ],
            format!("ls {FLAGS}"),
            "AWS is out of reach",
        ),
        (
            vec![],
            "ls --rack production --region us-east-1".to_owned(),
            "the cluster is not known: give --cluster",
        ),
    ] {
        let (stdout, stderr, code) = run_with(&environment, &arguments, "");
        assert_eq!((stdout.as_str(), code), ("", 3), "{stderr}");
        let whole = [
            "neither the share nor the cluster's services can be listed",
            "nothing is mounted at /volumes here",
            words,
            "help: ",
        ];
        assert!(whole.iter().all(|words| stderr.contains(words)), "{stderr}");
    }
}
