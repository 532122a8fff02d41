//! What `explain-service` and `run --dry-run` say of services, whole, from the built binary against the lab's ECS on loopback. What they
//! say of the machine that they run on (no instance, no share) is left out: it differs between machines.

use crate::{run_with, settings, task_definition};
use lab::{ecs, http};
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

struct Cluster {
    url: String,
    _server: tokio::runtime::Runtime,
}

impl Cluster {
    fn start() -> Self {
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let server =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        server.spawn(async move {
            ecs::serve(tokio::net::TcpListener::from_std(listener)?, ecs::Config::unchecked()).await
        });
        let cluster = Self { url, _server: server };
        // One that is registered and ready, without an agent: its connection counts for a while.
        let identity = json!({ "instanceId": "i-00000000000000001", "accountId": "123456789012", "region": "us-east-1" });
        let registered = cluster.ask(
            "RegisterContainerInstance",
            &json!({ "cluster": "default", "instanceIdentityDocument": identity.to_string() }),
        );
        let arn = &registered["containerInstance"]["containerInstanceArn"];
        let ready = json!({ "name": "convox.volumes", "value": "ready", "targetId": arn });
        cluster.ask("PutAttributes", &json!({ "cluster": "default", "attributes": [ready] }));
        cluster
    }

    fn ask(&self, operation: &str, request: &Value) -> Value {
        let target = format!("AmazonEC2ContainerServiceV20141113.{operation}");
        let headers = [("x-amz-target", target.as_str()), ("content-type", "application/x-amz-json-1.1")];
        http::succeed("POST", &self.url, &headers, request.to_string().as_bytes()).unwrap().json()
    }

    /// A source of a family, its app called as the family. Gives the revision's ARN.
    fn register(&self, family: &str, change: impl FnOnce(&mut Value)) -> String {
        let mut document: Value = serde_json::from_str(&task_definition()).unwrap();
        document["family"] = json!(family);
        document["containerDefinitions"][0]["dockerLabels"] =
            json!({ "convox.app": family, "convox.volumes": "[\"/var/www/html\"]" });
        change(&mut document);
        let answer = self.ask("RegisterTaskDefinition", &document);
        answer["taskDefinition"]["taskDefinitionArn"].as_str().unwrap().to_owned()
    }

    fn create(&self, service: &str, revision: &str) {
        let request = json!({ "cluster": "default", "serviceName": service, "taskDefinition": revision, "desiredCount": 0 });
        self.ask("CreateService", &request);
    }

    /// The command's stdout and exit code, ids of deployments replaced.
    fn page(&self, arguments: &str) -> String {
        let arguments = format!("{arguments} --cluster default --rack production --region us-east-1");
        let environment = [
            ("AWS_ENDPOINT_URL", self.url.as_str()),
            ("AWS_ACCESS_KEY_ID", "lab"),
            ("AWS_SECRET_ACCESS_KEY", "lab"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ];
        let (stdout, _, code) = run_with(&environment, &arguments, "");
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

#[test]
fn a_service_is_explained_step_by_step() {
    let cluster = Cluster::start();
    let old = cluster.register("old-code", |_| {});
    cluster
        .register("old-code", |document| document["containerDefinitions"][0]["image"] = json!("wordpress:5"));
    cluster.create("old-code", &old);
    cluster.create("web", &cluster.register("web", |_| {}));
    let relative = cluster.register("relative", |document| {
        document["containerDefinitions"][0]["dockerLabels"]["convox.volumes"] = json!("[\"./src:/app\"]");
    });
    cluster.create("relative", &relative);
    let plain = cluster.register("plain", |document| {
        document["containerDefinitions"][0].as_object_mut().unwrap().remove("dockerLabels");
    });
    cluster.create("plain", &plain);
    settings().bind(|| {
        for service in ["web", "old-code", "relative", "plain"] {
            let page = cluster.page(&format!("explain-service {service}"));
            insta::assert_snapshot!(format!("explain-service-{service}"), page);
        }
        insta::assert_snapshot!(
            "explain-service-json",
            cluster.page("explain-service old-code --format json").split("\"missing\"").next().unwrap()
        );
        insta::assert_snapshot!("dry-run", cluster.page("run --dry-run"));
    });
}
