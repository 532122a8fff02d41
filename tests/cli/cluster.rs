//! The lab's ECS on loopback, without instances that run tasks, and the binary beside it.

use crate::{run_with, task_definition};
use lab::{ecs, http};
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

pub(crate) struct Cluster {
    url: String,
    _server: tokio::runtime::Runtime,
}

impl Cluster {
    pub(crate) fn start() -> Self {
        Self::of(ecs::Config::unchecked())
    }

    pub(crate) fn of(config: ecs::Config) -> Self {
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let server =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        server.spawn(async move { ecs::serve(tokio::net::TcpListener::from_std(listener)?, config).await });
        let cluster = Self { url, _server: server };
        // One that is registered and ready, without an agent: its connection counts for a while.
        let identity = json!({ "instanceId": "i-00000000000000001", "accountId": "123456789012", "region": "us-east-1" });
        cluster.ask(
            "RegisterContainerInstance",
            &json!({ "cluster": "default", "instanceIdentityDocument": identity.to_string() }),
        );
        cluster.gate("ready");
        cluster
    }

    /// One of the lab's own paths: faults, for one.
    pub(crate) fn control(&self, path: &str, request: &Value) {
        let url = format!("{}lab/{path}", self.url);
        let headers = [("content-type", "application/json")];
        http::succeed("POST", &url, &headers, request.to_string().as_bytes()).unwrap();
    }

    /// Tells ECS whether the one instance has its share.
    pub(crate) fn gate(&self, value: &str) {
        let instances = self.ask("ListContainerInstances", &json!({ "cluster": "default" }));
        let ready = json!({ "name": "convox.volumes", "value": value, "targetId": instances["containerInstanceArns"][0] });
        self.ask("PutAttributes", &json!({ "cluster": "default", "attributes": [ready] }));
    }

    pub(crate) fn ask(&self, operation: &str, request: &Value) -> Value {
        let target = format!("AmazonEC2ContainerServiceV20141113.{operation}");
        let headers = [("x-amz-target", target.as_str()), ("content-type", "application/x-amz-json-1.1")];
        http::succeed("POST", &self.url, &headers, request.to_string().as_bytes()).unwrap().json()
    }

    /// A source of a family, its app called as the family. Gives the revision's ARN.
    pub(crate) fn register(&self, family: &str, change: impl FnOnce(&mut Value)) -> String {
        let mut document: Value = serde_json::from_str(&task_definition()).unwrap();
        document["family"] = json!(family);
        document["containerDefinitions"][0]["dockerLabels"] =
            json!({ "convox.app": family, "convox.volumes": "[\"/var/www/html\"]" });
        change(&mut document);
        let answer = self.ask("RegisterTaskDefinition", &document);
        answer["taskDefinition"]["taskDefinitionArn"].as_str().unwrap().to_owned()
    }

    pub(crate) fn create(&self, service: &str, revision: &str) {
        let request = json!({ "cluster": "default", "serviceName": service, "taskDefinition": revision, "desiredCount": 0 });
        self.ask("CreateService", &request);
    }

    /// What a command says and its exit code.
    pub(crate) fn run(&self, arguments: &str) -> (String, String, i32) {
        run_with(&self.environment(), arguments, "")
    }

    /// What makes AWS of it.
    pub(crate) fn environment(&self) -> [(&str, &str); 4] {
        [
            ("AWS_ENDPOINT_URL", self.url.as_str()),
            ("AWS_ACCESS_KEY_ID", "lab"),
            ("AWS_SECRET_ACCESS_KEY", "lab"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ]
    }

    /// The command's stdout and exit code, ids of deployments replaced.
    pub(crate) fn page(&self, arguments: &str) -> String {
        let arguments = format!("{arguments} --cluster default --rack production --region us-east-1");
        let (stdout, _, code) = self.run(&arguments);
        let lines = stdout.lines().filter(|line| !line.starts_with("not known: ")).map(|line| {
            match line.split_once("deployment ecs-svc/") {
                Some((before, after)) => {
                    let rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
                    format!("{before}deployment ecs-svc/<id>{rest}\n")
                }
                None => format!("{line}\n"),
            }
        });
        format!("$ volumes-agent {arguments}\n{}--- exit code {code}\n", lines.collect::<String>())
    }
}
