//! A small cluster for tests of the state: time is passed in, agents do what they are told.

use super::{
    ApiError, Config,
    state::{Call, State},
    tasks::Status,
};
use serde_json::{Value, json};
use std::time::Duration;

/// The least that can be registered.
pub(super) fn document() -> Value {
    json!({ "family": "web", "containerDefinitions": [{ "name": "web", "image": "web:1", "memory": 64 }] })
}

/// A cluster whose agents do at once what they are told.
pub(super) struct Lab {
    pub(super) state: State,
    pub(super) now: Duration,
    pub(super) instances: Vec<String>,
}

impl Lab {
    pub(super) fn new(instances: usize) -> Self {
        Self::with(instances, Config::unchecked())
    }

    pub(super) fn with(instances: usize, config: Config) -> Self {
        let mut lab =
            Self { state: State::new(config, 1), now: Duration::from_secs(1_000), instances: vec![] };
        for n in 0..instances {
            let arn = lab.register(&format!("i-{n}"), &format!("us-east-1{}", ["a", "b"][n % 2]), None);
            lab.instances.push(arn);
        }
        lab
    }

    pub(super) fn call(&mut self, operation: &str, request: Value) -> Result<Value, ApiError> {
        let call = Call { now: self.now, access_key: "AKIATEST".to_owned() };
        let answer = self.state.handle(operation, &request, &call);
        self.state.step(self.now);
        answer
    }

    pub(super) fn register(&mut self, id: &str, zone: &str, again: Option<&str>) -> String {
        let document = json!({ "instanceId": id, "availabilityZone": zone }).to_string();
        let attributes = json!([{ "name": super::task_definition::DOCKER_CAPABILITY }]);
        let request = json!({
            "instanceIdentityDocument": document, "attributes": attributes, "containerInstanceArn": again,
        });
        let answer = self.call("RegisterContainerInstance", request).unwrap();
        answer["containerInstance"]["containerInstanceArn"].as_str().unwrap().to_owned()
    }

    pub(super) fn gate(&mut self, instance: usize, value: &str) {
        let attribute =
            json!({ "name": "convox.volumes", "value": value, "targetId": self.instances[instance] });
        self.call("PutAttributes", json!({ "attributes": [attribute] })).unwrap();
    }

    pub(super) fn define(&mut self, change: impl FnOnce(&mut Value)) -> String {
        let mut document = document();
        change(&mut document);
        let answer = self.call("RegisterTaskDefinition", document).unwrap();
        answer["taskDefinition"]["taskDefinitionArn"].as_str().unwrap().to_owned()
    }

    pub(super) fn create(&mut self, definition: &str, desired: usize, more: Value) {
        let mut request =
            json!({ "serviceName": "web", "taskDefinition": definition, "desiredCount": desired });
        for (key, value) in more.as_object().unwrap() {
            request[key] = value.clone();
        }
        self.call("CreateService", request).unwrap();
    }

    /// A second passes: each agent of `connected` polls, starts what it is to start, stops what it is to stop.
    pub(super) fn second(&mut self, connected: &[usize]) {
        self.now += Duration::from_secs(1);
        for &at in connected {
            let instance = self.instances[at].clone();
            let tasks = self.state.agent_tasks(&instance, self.now).unwrap();
            for task in tasks["tasks"].as_array().unwrap() {
                let status = task["desiredStatus"].clone();
                self.report(at, task["taskArn"].as_str().unwrap(), json!({ "status": status }));
            }
        }
        self.state.step(self.now);
    }

    pub(super) fn report(&mut self, instance: usize, task: &str, report: Value) {
        let instance = self.instances[instance].clone();
        self.state.agent_report(&instance, task, &report, self.now).unwrap();
        self.state.step(self.now);
    }

    pub(super) fn service(&mut self) -> Value {
        self.call("DescribeServices", json!({ "services": ["web"] })).unwrap()["services"][0].clone()
    }

    /// Position of the instance of each task that hasn't stopped, and its revision.
    pub(super) fn tasks(&self) -> Vec<(usize, &str)> {
        let live = self.state.tasks.iter().filter(|t| t.last != Status::Stopped);
        let place = |arn: &String| self.instances.iter().position(|i| i == arn).unwrap();
        let mut tasks: Vec<_> =
            live.map(|t| (place(&t.instance), t.definition.rsplit(':').next().unwrap())).collect();
        tasks.sort_unstable();
        tasks
    }

    /// The events, newest first.
    pub(super) fn told(&mut self) -> Vec<String> {
        let events = self.service()["events"].as_array().unwrap().clone();
        events.iter().map(|event| event["message"].as_str().unwrap().to_owned()).collect()
    }

    /// Status, rolloutState and revision of each deployment.
    pub(super) fn rollouts(&mut self) -> Vec<String> {
        let service = self.service();
        let text = |d: &Value, key: &str| d[key].as_str().unwrap_or("-").to_owned();
        let one = |d: &Value| {
            let revision = text(d, "taskDefinition").rsplit(':').next().unwrap().to_owned();
            format!("{} {} {revision}", text(d, "status"), text(d, "rolloutState"))
        };
        service["deployments"].as_array().unwrap().iter().map(one).collect()
    }

    /// A second in which tasks of `broken` revisions stop before they run; others do what they are told.
    pub(super) fn second_with_broken(&mut self, broken: &[&str]) {
        self.now += Duration::from_secs(1);
        let live: Vec<(String, String, String, bool)> = self
            .state
            .tasks
            .iter()
            .filter(|t| t.last != Status::Stopped)
            .map(|t| (t.instance.clone(), t.arn.clone(), t.definition.clone(), t.wanted))
            .collect();
        for (instance, task, definition, wanted) in live {
            let broken = broken.contains(&definition.as_str());
            let status = if wanted && !broken { "RUNNING" } else { "STOPPED" };
            self.state.agent_report(&instance, &task, &json!({ "status": status }), self.now).unwrap();
        }
        for instance in self.instances.clone() {
            self.state.agent_tasks(&instance, self.now).unwrap();
        }
        self.state.step(self.now);
    }
}
