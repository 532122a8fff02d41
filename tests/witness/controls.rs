//! The lab's own paths, by HTTP: what a test sets there, its next call meets.

use super::{environment, listener};
use lab::{ecs, http};
use serde_json::{Value, json};
use std::time::Instant;

struct Ecs {
    url: String,
    _servers: tokio::runtime::Runtime,
}

impl Ecs {
    fn start() -> Self {
        let listener = listener();
        listener.set_nonblocking(true).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let servers =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let config = ecs::Config::checked(ecs::Model::of_environment(environment()).unwrap());
        servers.spawn(async move { ecs::serve(tokio::net::TcpListener::from_std(listener)?, config).await });
        Self { url, _servers: servers }
    }

    fn control(&self, method: &str, path: &str, body: &Value) -> http::Answer {
        let body = if method == "GET" { String::new() } else { body.to_string() };
        let headers = [("content-type", "application/json")];
        http::send(method, &format!("{}/lab/{path}", self.url), &headers, body.as_bytes()).unwrap()
    }

    fn set(&self, path: &str, body: &Value) {
        let answer = self.control("POST", path, body);
        assert_eq!(answer.status, 204, "{path} {body}: {}", answer.body);
    }

    /// Status, error and body.
    fn call(&self, operation: &str, request: &Value) -> (u16, String, String) {
        let target = format!("AmazonEC2ContainerServiceV20141113.{operation}");
        let headers = [
            ("x-amz-target", target.as_str()),
            (
                "authorization",
                "AWS4-HMAC-SHA256 Credential=KEY1/20260101/us-east-1/ecs/aws4_request, Signature=none",
            ),
        ];
        let answer = http::send("POST", &self.url, &headers, request.to_string().as_bytes()).unwrap();
        (answer.status, answer.json()["__type"].as_str().unwrap_or_default().to_owned(), answer.body)
    }
}

#[test]
fn faults_are_set_met_recorded_and_ended() {
    let ecs = Ecs::start();
    ecs.set("faults", &json!({ "operation": "ListServices", "count": 1, "fault": "throttle" }));
    ecs.set("faults", &json!({ "operation": "ListServices", "count": 1, "fault": "timeout", "seconds": 0.3, "applied": true }));
    ecs.set("faults", &json!({ "operation": "ListServices", "fault": "server-error" }));
    let list = || ecs.call("ListServices", &json!({}));
    assert_eq!((list().0, list().0), (400, 200));
    let start = Instant::now();
    assert_eq!(list().1, "ServerException");
    assert!(start.elapsed().as_millis() < 250, "the late answer was the one before");
    ecs.control("DELETE", "faults", &Value::Null);
    assert_eq!(list().0, 200);
    let calls = ecs.control("GET", "calls?operation=ListServices", &Value::Null).json();
    let faults: Vec<&Value> = calls.as_array().unwrap().iter().map(|call| &call["fault"]).collect();
    assert_eq!(faults, [&json!("throttle"), &json!("timeout"), &json!("server-error"), &Value::Null]);
    assert_eq!(ecs.control("POST", "faults", &json!({ "operation": "A", "fault": "oops" })).status, 422);
}

#[test]
fn a_policy_is_set_for_one_key_and_taken_back() {
    let ecs = Ecs::start();
    let allow = json!([{ "action": "ecs:Describe*" }]);
    ecs.set("policy", &json!({ "access_key": "KEY1", "allow": allow }));
    let (status, error, body) = ecs.call("ListServices", &json!({}));
    assert_eq!((status, error.as_str()), (400, "AccessDeniedException"));
    assert!(body.contains("because no identity-based policy allows the ecs:ListServices action"), "{body}");
    assert_eq!(ecs.call("DescribeClusters", &json!({})).0, 200);
    ecs.set("policy", &json!({ "access_key": "KEY2", "allow": [] }));
    ecs.control("DELETE", "policy?access_key=KEY1", &Value::Null);
    assert_eq!(ecs.call("ListServices", &json!({})).0, 200);
}

#[test]
fn members_are_added_and_taken_back_and_buckets_are_told() {
    let ecs = Ecs::start();
    let document = json!({
        "family": "f", "futureTopLevel": { "deep": [1] },
        "containerDefinitions": [{ "name": "a", "image": "i", "memory": 4 }],
    });
    assert_eq!(ecs.call("RegisterTaskDefinition", &document).1, "SerializationException");
    ecs.set("model", &json!({ "operation": "RegisterTaskDefinition", "add": ["futureTopLevel"] }));
    let (status, _, body) = ecs.call("RegisterTaskDefinition", &document);
    assert_eq!(status, 200);
    assert!(body.contains("futureTopLevel"), "{body}");
    ecs.control("DELETE", "model", &Value::Null);
    assert_eq!(ecs.call("RegisterTaskDefinition", &document).0, 400);
    for _ in 0..25 {
        ecs.call("RegisterTaskDefinition", &document);
    }
    let buckets = ecs.control("GET", "buckets", &Value::Null).json();
    let modify =
        buckets.as_array().unwrap().iter().find(|b| b["bucket"] == "task definition modify").unwrap();
    assert!(modify["refused"].as_u64().unwrap() >= 3, "{modify}");
    assert!(modify["lowest"].as_f64().unwrap() < 1.0, "{modify}");
    ecs.set("pace", &json!({ "least_rollout": 5, "unplaced_counts_every": null }));
    assert_eq!(ecs.control("POST", "pace", &json!({ "least_rollout": -1 })).status, 400);
    assert_eq!(ecs.control("POST", "pace", &json!({ "speed": 1 })).status, 400);
}
