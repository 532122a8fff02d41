//! What both patchers share: ECS, the share, the lock, and what is still on its way.

use lab::ecs::{
    Config,
    state::{Call, State},
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeSet, hash_map::DefaultHasher},
    hash::Hash,
    time::Duration,
};
use volumes_agent::{
    directories::Ensured,
    reading::{Reader, Reading},
};

/// Time nearly stands still: no deployment ends, and none fails.
const START: Duration = Duration::from_secs(1_000_000);
const FAMILY: &str = "blog";

/// A request whose sender has given up on it.
#[derive(Debug, Clone, Hash)]
pub(crate) struct Late {
    operation: String,
    request: String,
}

#[derive(Debug)]
pub(crate) struct World {
    ecs: State,
    /// The record of histories on the share, as JSON.
    record: String,
    /// That of the move which is about to be asked for.
    moving: String,
    directories: BTreeSet<String>,
    /// Who may hold the lock. One that held it before, and took it again since, holds another one.
    pub(crate) holder: Option<usize>,
    /// How often it was given to somebody.
    pub(crate) term: u32,
    pub(crate) late: Vec<Late>,
    /// Counts what changed ECS: a quiet patcher needs no further round until then.
    pub(crate) changes: u32,
    /// The author's last revision.
    newest: String,
    /// How often requests to register were answered by silence although they were, or will be, served.
    pub(crate) unanswered: usize,
}

impl World {
    pub(crate) fn new() -> Self {
        let mut world = Self {
            ecs: State::new(Config { throttles: false, ..Config::unchecked() }, 1),
            record: "{\"format\":1,\"services\":{}}".to_owned(),
            moving: "null".to_owned(),
            directories: BTreeSet::new(),
            holder: None,
            term: 0,
            late: Vec::new(),
            changes: 0,
            newest: String::new(),
            unanswered: 0,
        };
        let document = json!({ "instanceId": "i-1", "availabilityZone": "us-east-1a" }).to_string();
        let registered = world.must(
            "RegisterContainerInstance",
            json!({
                "instanceIdentityDocument": document,
                "attributes": [{ "name": "com.amazonaws.ecs.capability.docker-remote-api.1.18" }],
            }),
        );
        let arn = registered["containerInstance"]["containerInstanceArn"].clone();
        world.must(
            "PutAttributes",
            json!({ "attributes": [{ "name": "convox.volumes", "value": "ready", "targetId": arn }] }),
        );
        let revision = world.register("1");
        world.must(
            "CreateService",
            json!({ "serviceName": "web", "taskDefinition": revision, "desiredCount": 1 }),
        );
        world
    }

    /// No two changes are made at the same moment.
    fn now(&self) -> Duration {
        START + Duration::from_millis(self.changes.into())
    }

    fn must(&mut self, operation: &str, request: Value) -> Value {
        let (status, body) = self.serve(operation, &request);
        assert_eq!(status, 200, "{operation}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    fn register(&mut self, tag: &str) -> String {
        let labels = json!({ "convox.app": "blog", "convox.volumes": "[\"/data\"]" });
        let container =
            json!({ "name": "web", "image": format!("web:{tag}"), "memory": 64, "dockerLabels": labels });
        let answer = self
            .must("RegisterTaskDefinition", json!({ "family": FAMILY, "containerDefinitions": [container] }));
        self.newest = answer["taskDefinition"]["taskDefinitionArn"].as_str().unwrap().to_owned();
        self.newest.clone()
    }

    /// What a pipeline does: a revision, and the service moved to it.
    pub(crate) fn author_registers(&mut self) {
        self.register("2");
    }

    pub(crate) fn author_updates(&mut self) {
        let newest = self.newest.clone();
        self.must("UpdateService", json!({ "service": "web", "taskDefinition": newest }));
    }

    /// Serves a request to ECS: the HTTP status and the body.
    pub(crate) fn serve(&mut self, operation: &str, request: &Value) -> (u16, String) {
        if is_change(operation) {
            self.changes += 1;
        }
        let call = Call { now: self.now(), access_key: "AKIATEST".to_owned() };
        let served = self.ecs.handle(operation, request, &call);
        self.ecs.step(call.now);
        match served {
            Ok(answer) => (200, answer.to_string()),
            Err(error) => (error.status(), error.body().to_string()),
        }
    }

    pub(crate) fn is_late(&mut self, operation: &str, request: &Value) {
        self.late.push(Late { operation: operation.to_owned(), request: request.to_string() });
    }

    pub(crate) fn arrives(&mut self, at: usize) -> String {
        let Late { operation, request } = self.late.remove(at);
        let request = serde_json::from_str(&request).unwrap();
        self.serve(&operation, &request);
        operation
    }

    /// Serves a request to the share. `None`: the lock is another's.
    pub(crate) fn share(&mut self, holds: bool, request: &Value) -> Option<String> {
        if request == "paused" {
            return Some("false".to_owned());
        }
        if request == "confirm_lock" {
            return holds.then(|| "null".to_owned());
        }
        let (kind, content) = request.as_object().and_then(|request| request.iter().next()).unwrap();
        match kind.as_str() {
            "read_histories" => Some(format!("[{},{}]", self.record, self.moving)),
            "write_moving" => {
                self.moving = content["moving"].to_string();
                Some("null".to_owned())
            }
            "write_histories" => {
                self.record = content["histories"].to_string();
                Some("null".to_owned())
            }
            "ensure" => {
                let paths = content["volumes"].as_array().unwrap().iter();
                self.directories.extend(paths.map(|one| one["path"].as_str().unwrap().to_owned()));
                Some(serde_json::to_string(&Ensured::default()).unwrap())
            }
            other => panic!("the share is asked for {other}"),
        }
    }

    /// Everything that decides what can happen from here.
    pub(crate) fn hash(&self, hasher: &mut DefaultHasher) {
        let mut record: Value = serde_json::from_str(&self.record).unwrap();
        without_times(&mut record);
        (self.ecs.dump(self.now()).to_string(), record.to_string(), &self.directories).hash(hasher);
        (&self.moving, self.holder, &self.late, self.unanswered).hash(hasher);
    }

    /// What must hold once nothing is under way any more.
    pub(crate) fn judge(&mut self) -> Result<(), String> {
        let services = self.must("DescribeServices", json!({ "services": ["web"] }));
        let deployments = services["services"][0]["deployments"].as_array().unwrap().clone();
        let primary = deployments.iter().find(|one| one["status"] == "PRIMARY").unwrap();
        let runs = primary["taskDefinition"].as_str().unwrap().to_owned();
        let (image, reading) = self.read(&runs);
        let (newest, _) = self.read(&self.newest.clone());
        if !matches!(reading, Reading::Patched { .. }) {
            return Err(format!("the service ends on {runs}, which does not mount its volumes"));
        }
        if image != newest {
            return Err(format!("the service ends on {runs} with {image}, the author deployed {newest}"));
        }
        let (latest, _) = self.read(FAMILY);
        if latest != newest {
            return Err(format!("the family's latest revision is {latest}, the author's is {newest}"));
        }
        let all = self.ecs.dump(self.now())["taskDefinitions"].as_array().unwrap().clone();
        let mut patched = Vec::new();
        for one in &all {
            let arn = one["taskDefinitionArn"].as_str().unwrap();
            if let (image, Reading::Patched { .. }) = self.read(arn) {
                patched.push(image);
            }
        }
        let distinct: BTreeSet<&String> = patched.iter().collect();
        let extra = patched.len() - distinct.len();
        // A registration whose answer never came may be there twice; nothing else may.
        if extra > self.unanswered {
            return Err(format!("{extra} revisions too many were registered: {patched:?}"));
        }
        let directory = BTreeSet::from(["production-blog/web/data".to_owned()]);
        (self.directories == directory).then_some(()).ok_or(format!("directories {:?}", self.directories))
    }

    fn read(&mut self, name: &str) -> (String, Reading) {
        let answer =
            self.must("DescribeTaskDefinition", json!({ "taskDefinition": name, "include": ["TAGS"] }));
        let image = answer["taskDefinition"]["containerDefinitions"][0]["image"].as_str().unwrap().to_owned();
        let arn = answer["taskDefinition"]["taskDefinitionArn"].as_str().unwrap().to_owned();
        let rack = "production".parse().unwrap();
        (image, Reader { rack: &rack, host_paths: &[], is_daemon: false, fills: true }.read(&arn, answer).0)
    }
}

/// Whether an operation changes ECS.
pub(crate) fn is_change(operation: &str) -> bool {
    matches!(operation, "RegisterTaskDefinition" | "UpdateService" | "CreateService" | "PutAttributes")
}

/// Whether the answer depends on nothing that another step changes, so that no order of it needs to be tried: the services and
/// instances are the same all the time, and revisions never change.
pub(crate) fn is_independent(operation: &str, request: &Value) -> bool {
    match operation {
        "ListServices" | "ListContainerInstances" | "DescribeContainerInstances" => true,
        "DescribeTaskDefinition" => {
            request["taskDefinition"].as_str().is_some_and(|name| name.starts_with("arn:"))
        }
        _ => false,
    }
}

fn without_times(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.shift_remove("at");
            members.values_mut().for_each(without_times);
        }
        Value::Array(items) => items.iter_mut().for_each(without_times),
        _ => {}
    }
}
