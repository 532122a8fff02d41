//! A small instance whose Docker does at once what it is told: tasks are followed through their whole life.

use super::*;
use crate::ecs_agent::dependencies::{Health, tests::member};
use std::time::Duration;

const WEB: &str = r#"[{ "name": "web", "image": "web:1" }]"#;
/// As a patched revision has it: a seeding container before the app.
const SEEDED: &str = r#"[
    { "name": "app", "image": "app:1", "dependsOn": [{ "containerName": "seed", "condition": "SUCCESS" }] },
    { "name": "seed", "image": "seed:1", "essential": false, "startTimeout": 30 }
]"#;
/// `app` needs `db` and `cache`, which needs `db` too; `extra` nobody needs.
const DIAMOND: &str = r#"[
    { "name": "db", "image": "i" },
    { "name": "cache", "image": "i", "dependsOn": [{ "containerName": "db", "condition": "HEALTHY" }] },
    { "name": "app", "image": "i", "dependsOn": [
        { "containerName": "db", "condition": "START" }, { "containerName": "cache", "condition": "START" }] },
    { "name": "extra", "image": "i", "essential": false }
]"#;

struct Instance {
    task: Task,
    docker: Vec<Container>,
    failed: BTreeMap<String, String>,
    now: u64,
    /// What Docker refuses: the word for the move and the container's name.
    broken: Vec<&'static str>,
    /// What was done and told, in order.
    log: Vec<String>,
}

impl Instance {
    fn new(containers: &str) -> Self {
        let containers: Value = serde_json::from_str(containers).unwrap();
        let task = Task {
            arn: "arn:t".into(),
            wanted: true,
            running: false,
            told: vec![],
            definition: json!({ "family": "f", "revision": 1, "containerDefinitions": containers }),
        };
        Self { task, docker: vec![], failed: BTreeMap::new(), now: 100, broken: vec![], log: vec![] }
    }

    fn next(&self) -> Action {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(self.now);
        next(&self.task, &Seen { containers: &self.docker, failed: &self.failed, now })
    }

    /// Does what is next until nothing is. The stand-in is started again before each step: only ECS and Docker remember.
    fn run(&mut self) -> Vec<String> {
        loop {
            match self.next() {
                Action::Leave => return std::mem::take(&mut self.log),
                Action::Move(moves) => moves.iter().for_each(|one| self.make(one)),
                Action::Report(report) => self.tell(report),
                Action::End(report) => {
                    self.tell(report);
                    self.docker.clear();
                    return std::mem::take(&mut self.log);
                }
            }
        }
    }

    fn tell(&mut self, report: Report) {
        let one = |c: &Value| {
            let code = c["exitCode"].as_i64().map(|code| format!(" {code}")).unwrap_or_default();
            format!("{} {}{code}", c["name"].as_str().unwrap(), c["lastStatus"].as_str().unwrap())
        };
        let containers: Vec<String> = report.containers.iter().map(one).collect();
        self.log.push(format!("{}: {}", report.status, containers.join(", ")));
        self.task.running = report.status == "RUNNING";
        self.task.told = report.containers;
        self.failed.clear();
    }

    fn make(&mut self, one: &Move) {
        let (word, name) = match one {
            Move::Create(name) => ("create", name),
            Move::Start { name, .. } => ("start", name),
            Move::Stop { name, .. } => ("stop", name),
        };
        let made = format!("{word} {name}");
        if self.broken.contains(&made.as_str()) {
            self.failed.insert(name.clone(), format!("Cannot {made}"));
        } else {
            match one {
                Move::Create(_) => self.docker.push(container(name)),
                Move::Start { .. } => self.set(name, "running", None),
                Move::Stop { .. } => self.set(name, "exited", Some(0)),
            }
        }
        self.log.push(made);
    }

    fn set(&mut self, name: &str, state: &str, exit_code: Option<i64>) {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(self.now);
        let found = self.docker.iter_mut().find(|container| container.name == name).unwrap();
        state.clone_into(&mut found.state);
        found.exit_code = exit_code;
        found.started_at.get_or_insert(now);
    }

    fn reason(&self, name: &str) -> &str {
        let told = self.task.told.iter().find(|told| told["name"] == name).unwrap();
        told["reason"].as_str().unwrap_or_default()
    }
}

fn container(name: &str) -> Container {
    Container {
        id: member(name, Known::Created).id.unwrap(),
        docker_name: name.into(),
        task: "arn:t".into(),
        name: name.into(),
        image: "i".into(),
        state: "created".into(),
        exit_code: None,
        health: Health::Unknown,
        started_at: None,
    }
}

#[test]
fn a_container_is_created_started_and_told() {
    let mut instance = Instance::new(WEB);
    assert_eq!(instance.run(), ["create web", "start web", "RUNNING: web RUNNING"]);
    assert_eq!(instance.next(), Action::Leave, "so after a restart of the agent");
    instance.set("web", "exited", Some(3));
    assert_eq!(instance.run(), ["STOPPED: web STOPPED 3"]);
}

#[test]
fn the_app_is_created_only_after_the_seeding_container_has_succeeded() {
    let mut instance = Instance::new(SEEDED);
    let told = "PENDING: app PENDING, seed RUNNING";
    assert_eq!(instance.run(), ["create seed", "start seed", told]);
    instance.now += 30;
    assert_eq!(instance.next(), Action::Leave, "startTimeout has not passed");
    instance.set("seed", "exited", Some(0));
    let told = "RUNNING: app RUNNING, seed STOPPED 0";
    assert_eq!(instance.run(), ["create app", "start app", told], "it ended without the task");
    assert_eq!(instance.next(), Action::Leave);
    instance.docker.retain(|container| container.name != "seed");
    assert_eq!(instance.next(), Action::Leave, "someone pruned what had ended");
}

#[test]
fn without_its_seeding_container_the_app_never_is() {
    type Happens = fn(&mut Instance);
    let cases: [(&str, Happens, &str, &str); 4] = [
        (
            "it fails",
            |instance| instance.set("seed", "exited", Some(1)),
            "STOPPED: app STOPPED 143, seed STOPPED 1",
            "[seed(seed:1) (STOPPED->RUNNING) - Exit: 1] for target [app(app:1) (MANIFEST_PULLED->RUNNING)] as dependency did \
             not exit successfully.",
        ),
        (
            "it takes too long",
            |instance| instance.now += 31,
            "STOPPED: app STOPPED 143, seed STOPPED 0",
            "[seed(seed:1) (RUNNING->RUNNING)] for target [app(app:1) (MANIFEST_PULLED->RUNNING)] has timed out.",
        ),
        (
            "someone removes it",
            |instance| instance.docker.clear(),
            "STOPPED: app STOPPED 143, seed STOPPED",
            "[seed(seed:1) (STOPPED->RUNNING)] for target [app(app:1) (MANIFEST_PULLED->RUNNING)] as dependency did not exit \
             successfully.",
        ),
        (
            "ECS no longer wants the task",
            |instance| instance.task.wanted = false,
            "STOPPED: app STOPPED, seed STOPPED 0",
            "",
        ),
    ];
    for (what, happens, last, why) in cases {
        let mut instance = Instance::new(SEEDED);
        instance.run();
        happens(&mut instance);
        let log = instance.run();
        assert!(!log.iter().any(|line| line == "create app"), "{what}: {log:?}");
        assert_eq!(log.last().unwrap(), last, "{what}");
        assert!(instance.reason("app").ends_with(why), "{what}: {}", instance.reason("app"));
    }
}

#[test]
fn what_fails_to_begin_ends_the_task_only_if_it_is_essential() {
    let never = "because dependency will never start";
    for (containers, broken, last, name, why) in [
        (WEB, "create web", "STOPPED: web STOPPED", "web", "Cannot create web"),
        (WEB, "start web", "STOPPED: web STOPPED", "web", "Cannot start web"),
        (SEEDED, "create seed", "STOPPED: app STOPPED 143, seed STOPPED", "app", never),
        (SEEDED, "start seed", "STOPPED: app STOPPED 143, seed STOPPED", "app", never),
        (SEEDED, "create seed", "STOPPED: app STOPPED 143, seed STOPPED", "seed", "Cannot create seed"),
    ] {
        let mut instance = Instance::new(containers);
        instance.broken = vec![broken];
        let log = instance.run();
        assert_eq!(log.last().unwrap(), last, "{broken}: {log:?}");
        assert!(instance.reason(name).ends_with(why), "{broken}: {}", instance.reason(name));
    }
    let mut instance = Instance::new(
        r#"[{ "name": "web", "image": "i" }, { "name": "extra", "image": "i", "essential": false }]"#,
    );
    instance.broken = vec!["start extra"];
    assert_eq!(instance.run().last().unwrap(), "RUNNING: web RUNNING, extra STOPPED");
    assert_eq!(instance.next(), Action::Leave);
}

#[test]
fn containers_go_on_side_by_side_and_stop_in_reverse() {
    let mut instance = Instance::new(DIAMOND);
    let Action::Move(first) = instance.next() else { panic!("it begins") };
    assert_eq!(first, [Move::Create("db".into()), Move::Create("extra".into())]);
    instance.run();
    let db = instance.docker.iter_mut().find(|container| container.name == "db").unwrap();
    db.health = Health::Healthy;
    assert_eq!(
        instance.run(),
        [
            "create cache",
            "start cache",
            "create app",
            "start app",
            "RUNNING: db RUNNING, cache RUNNING, app RUNNING, extra RUNNING"
        ]
    );
    instance.set("extra", "exited", Some(7));
    assert_eq!(
        instance.run(),
        ["RUNNING: db RUNNING, cache RUNNING, app RUNNING, extra STOPPED 7"],
        "it is not essential"
    );
    instance.set("cache", "exited", Some(5));
    assert_eq!(
        instance.run(),
        ["stop app", "stop db", "STOPPED: db STOPPED 0, cache STOPPED 5, app STOPPED 0, extra STOPPED 7"]
    );
}

#[test]
fn what_cannot_be_stopped_counts_as_stopped() {
    let mut instance = Instance::new(DIAMOND);
    instance.docker = ["db", "cache", "app", "extra"].map(container).to_vec();
    instance.docker.iter_mut().for_each(|container| container.state = "running".into());
    instance.task.running = true;
    instance.task.wanted = false;
    instance.broken = vec!["stop app"];
    assert_eq!(
        instance.run(),
        [
            "stop app",
            "stop extra",
            "stop cache",
            "stop db",
            "STOPPED: db STOPPED 0, cache STOPPED 0, app STOPPED, extra STOPPED 0"
        ]
    );
}

#[test]
fn what_is_done_follows_from_what_is_wanted_and_what_is_there() {
    type Happens = fn(&mut Instance);
    let cases: [(&str, Happens, &[&str]); 5] = [
        (
            "an agent that died before it could tell",
            |instance| {
                instance.docker = vec![container("web")];
                instance.set("web", "running", None);
            },
            &["RUNNING: web RUNNING"],
        ),
        (
            "an agent that died half-way goes on",
            |instance| instance.docker = vec![container("web")],
            &["start web", "RUNNING: web RUNNING"],
        ),
        (
            "it ended before that was seen: it ran all the same",
            |instance| {
                instance.docker = vec![container("web")];
                instance.set("web", "exited", Some(1));
            },
            &["RUNNING: web STOPPED 1", "STOPPED: web STOPPED 1"],
        ),
        ("to be stopped before it began", |instance| instance.task.wanted = false, &["STOPPED: web STOPPED"]),
        ("someone removed it", |instance| instance.task.running = true, &["STOPPED: web STOPPED"]),
    ];
    for (why, happens, expected) in cases {
        let mut instance = Instance::new(WEB);
        happens(&mut instance);
        assert_eq!(instance.run(), expected, "{why}");
    }
    let mut instance = Instance::new(WEB);
    instance.run();
    instance.docker.clear();
    instance.run();
    assert_eq!(instance.reason("web"), "ContainerVanishedError: No container matching saved ID found");
}

/// Nothing is begun that can't be finished.
#[test]
fn a_task_with_something_unknown_in_it_is_refused_as_a_whole() {
    for containers in [
        r#"[{ "name": "web", "image": "i" }, { "name": "other", "image": "i", "links": ["web"] }]"#,
        r#"[{ "name": "web", "image": "i", "dependsOn": [{ "containerName": "web", "condition": "links" }] }]"#,
        "[]",
    ] {
        let instance = Instance::new(containers);
        let Action::End(report) = instance.next() else { panic!("{containers} was begun") };
        let reason = report.reason.unwrap_or_default();
        assert!(reason.starts_with("CannotCreateContainerError"), "{reason}");
        assert_eq!(report.status, "STOPPED");
    }
}
