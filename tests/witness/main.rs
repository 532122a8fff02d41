//! Other witnesses of what ECS does than the lab's own: moto, and the service model that botocore ships.
//!
//! The same requests go to moto and to the lab's ECS. Compared is what moto does right: what each ECS makes up by itself (ids, times,
//! who called) and what only one of them tells is taken out. What moto does wrong, and is not asked about: unknown and new fields,
//! paging, validation, deployments, placement, a family's latest revision when that is INACTIVE.
#![allow(clippy::unwrap_used)] // a panic is how a test says no

mod controls;
mod model;

use lab::{Error, ecs, http, moto, progress::Progress};
use serde_json::{Map, Value, json};
use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

/// Both servers, on ports of their own on loopback.
struct Witnesses {
    moto: Child,
    urls: [String; 2],
    _servers: tokio::runtime::Runtime,
}

impl Drop for Witnesses {
    fn drop(&mut self) {
        drop(self.moto.kill());
        drop(self.moto.wait());
    }
}

/// moto's Python environment, made once.
fn environment() -> &'static Path {
    static ENVIRONMENT: OnceLock<PathBuf> = OnceLock::new();
    ENVIRONMENT.get_or_init(|| moto::prepare(moto::Services::Some, &Progress::new()).unwrap())
}

fn listener() -> TcpListener {
    TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap()
}

impl Witnesses {
    fn start() -> Self {
        let environment = environment();
        let port = listener().local_addr().unwrap().port();
        let moto = Command::new(environment.join("bin/moto_server"))
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let model = ecs::Model::of_environment(environment).unwrap();
        let listener = listener();
        listener.set_nonblocking(true).unwrap();
        let own = listener.local_addr().unwrap().port();
        let servers =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let config = ecs::Config { throttles: false, ..ecs::Config::checked(model) };
        servers.spawn(async move { ecs::serve(tokio::net::TcpListener::from_std(listener)?, config).await });
        let urls = [port, own].map(|port| format!("http://127.0.0.1:{port}/"));
        let witnesses = Self { moto, urls, _servers: servers };
        let start = Instant::now();
        while http::get(&witnesses.urls[0]).is_err() {
            assert!(start.elapsed() < Duration::from_secs(60), "moto does not listen");
            std::thread::sleep(Duration::from_millis(100));
        }
        assert!(witnesses.ask(0, "CreateCluster", &json!({ "clusterName": "default" })).is_ok());
        witnesses
    }

    /// The answer, or the error's name.
    fn ask(&self, witness: usize, operation: &str, request: &Value) -> Result<Value, String> {
        let target = format!("AmazonEC2ContainerServiceV20141113.{operation}");
        let headers = [
            ("x-amz-target", target.as_str()),
            ("content-type", "application/x-amz-json-1.1"),
            (
                "authorization",
                "AWS4-HMAC-SHA256 Credential=lab/20260101/us-east-1/ecs/aws4_request, SignedHeaders=host, Signature=none",
            ),
        ];
        let answer: Result<http::Answer, Error> =
            http::send("POST", &self.urls[witness], &headers, request.to_string().as_bytes());
        let answer = answer.unwrap();
        if answer.status == 200 {
            return Ok(answer.json());
        }
        let name = answer.json()["__type"].as_str().unwrap_or(&answer.body).to_owned();
        Err(name.rsplit('#').next().unwrap_or_default().to_owned())
    }

    /// Asks both and gives what they say, which must be the same by `seen`.
    fn agree(
        &self,
        operation: &str,
        request: &Value,
        seen: impl Fn(&Value) -> Value,
    ) -> Result<Value, String> {
        let [moto, own] = [0, 1].map(|witness| self.ask(witness, operation, request));
        let told = |answer: &Result<Value, String>| answer.as_ref().map(&seen).map_err(Clone::clone);
        assert_eq!(told(&moto), told(&own), "moto and the lab, {operation} {request}");
        own
    }
}

/// What both tell of a registered revision: what each makes up is left out, and so is what moto doesn't answer.
fn revision(answer: &Value) -> Value {
    const NOT_MOTOS: [&str; 4] = ["registeredAt", "registeredBy", "requiresAttributes", "deregisteredAt"];
    let mut answer = answer.clone();
    if let Some(definition) = answer["taskDefinition"].as_object_mut() {
        for key in NOT_MOTOS {
            definition.shift_remove(key);
        }
    }
    sorted(&defaults_apart(&answer))
}

/// Only one of the two writes these, and only where nothing was sent.
fn defaults_apart(answer: &Value) -> Value {
    let mut answer = answer.clone();
    let definition = &mut answer["taskDefinition"];
    for volume in definition["volumes"].as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut)
    {
        if volume.get("configuredAtLaunch") == Some(&json!(false)) {
            volume.shift_remove("configuredAtLaunch");
        }
    }
    if let Some(fields) = definition.as_object_mut() {
        fields.shift_remove("compatibilities"); // moto: by launch types; the lab: EC2 and EXTERNAL
        fields.shift_remove("networkMode"); // moto writes the default; AWS's own examples have none
    }
    for container in definition["containerDefinitions"].as_array_mut().into_iter().flatten() {
        if let Some(fields) = container.as_object_mut() {
            fields.retain(|_, value| *value != json!([]));
        }
    }
    answer
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut keys: Vec<&String> = fields.keys().collect();
            keys.sort();
            keys.into_iter().map(|key| (key.clone(), sorted(&fields[key]))).collect::<Map<_, _>>().into()
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

fn document(family: &str) -> Value {
    json!({
        "family": family,
        "containerDefinitions": [{
            "name": "web", "image": "web:1", "memory": 64, "cpu": 10, "essential": true,
            "portMappings": [{ "containerPort": 80, "hostPort": 8080, "protocol": "tcp" }],
            "environment": [{ "name": "A", "value": "b" }],
            "mountPoints": [{ "sourceVolume": "v", "containerPath": "/data", "readOnly": true }],
            "dependsOn": [{ "containerName": "side", "condition": "START" }],
            "restartPolicy": { "enabled": true, "restartAttemptPeriod": 60 },
            "versionConsistency": "disabled",
            "credentialSpecs": ["credentialspec:arn"],
            "dockerLabels": { "convox.app": "shop" },
        }, { "name": "side", "image": "side:1", "memory": 16, "essential": false }],
        "volumes": [
            { "name": "v", "host": { "sourcePath": "/mnt/v" } },
            { "name": "d", "dockerVolumeConfiguration": { "scope": "shared", "autoprovision": true, "driver": "local" } },
            { "name": "e", "efsVolumeConfiguration": { "fileSystemId": "fs-1", "rootDirectory": "/" } },
        ],
        "placementConstraints": [{ "type": "memberOf", "expression": "attribute:a exists" }],
        "tags": [{ "key": "k", "value": "v" }],
    })
}

#[test]
fn moto_and_the_lab_agree_on_task_definitions() {
    let both = Witnesses::start();
    for family in ["shop", "shop", "blog"] {
        both.agree("RegisterTaskDefinition", &document(family), |answer| {
            let mut answer = revision(answer);
            // AWS answers with the tags, moto doesn't.
            answer.as_object_mut().map(|fields| fields.shift_remove("tags"));
            answer
        })
        .unwrap();
    }
    let describe = |name: &str, include: Value| json!({ "taskDefinition": name, "include": include });
    for name in ["shop:1", "shop", "blog", "arn:aws:ecs:us-east-1:123456789012:task-definition/shop:2"] {
        both.agree("DescribeTaskDefinition", &describe(name, json!([])), revision).unwrap();
        let tagged =
            both.agree("DescribeTaskDefinition", &describe(name, json!(["TAGS"])), revision).unwrap();
        assert_eq!(tagged["tags"], json!([{ "key": "k", "value": "v" }]));
    }
    for missing in ["shop:9", "nothing"] {
        let refused = both.agree("DescribeTaskDefinition", &describe(missing, json!([])), Value::clone);
        assert_eq!(refused.unwrap_err(), "ClientException");
    }
    both.agree("ListTaskDefinitions", &json!({ "familyPrefix": "shop" }), Value::clone).unwrap();
    let gone =
        both.agree("DeregisterTaskDefinition", &json!({ "taskDefinition": "shop:1" }), revision).unwrap();
    assert_eq!(gone["taskDefinition"]["status"], "INACTIVE");
    both.agree("DescribeTaskDefinition", &describe("shop:1", json!([])), revision).unwrap();
    for wrong in ["name", "image", "memory"] {
        let mut document = document("broken");
        document["containerDefinitions"][0].as_object_mut().unwrap().shift_remove(wrong);
        let [moto, own] = [0, 1].map(|witness| both.ask(witness, "RegisterTaskDefinition", &document));
        assert!(moto.is_err() && own.is_err(), "without {wrong}: {moto:?} {own:?}");
    }
}

#[test]
fn moto_and_the_lab_agree_on_services_and_clusters() {
    let both = Witnesses::start();
    for witness in [0, 1] {
        both.ask(witness, "RegisterTaskDefinition", &document("shop")).unwrap();
    }
    let seen = |service: &Value| {
        let keys = [
            "serviceName",
            "serviceArn",
            "clusterArn",
            "status",
            "desiredCount",
            "taskDefinition",
            "launchType",
        ];
        keys.iter().map(|key| ((*key).to_owned(), service[*key].clone())).collect::<Map<_, _>>()
    };
    let all = |answer: &Value| {
        let services: Vec<Map<String, Value>> =
            answer["services"].as_array().into_iter().flatten().map(seen).collect();
        let failures: Vec<&Value> =
            answer["failures"].as_array().into_iter().flatten().map(|f| &f["reason"]).collect();
        json!({ "services": services, "failures": failures })
    };
    let create = json!({
        "serviceName": "web", "desiredCount": 2, "launchType": "EC2",
        "taskDefinition": "arn:aws:ecs:us-east-1:123456789012:task-definition/shop:1",
    });
    both.agree("CreateService", &create, |answer| seen(&answer["service"]).into()).unwrap();
    both.agree("DescribeServices", &json!({ "services": ["web", "none"] }), all).unwrap();
    both.agree("ListServices", &json!({}), Value::clone).unwrap();
    for cluster in ["default", "arn:aws:ecs:us-east-1:123456789012:cluster/default"] {
        both.agree("DescribeServices", &json!({ "cluster": cluster, "services": ["web"] }), all).unwrap();
    }
    let nowhere = json!({ "cluster": "nowhere", "services": ["web"] });
    assert_eq!(both.agree("DescribeServices", &nowhere, all).unwrap_err(), "ClusterNotFoundException");
    both.agree("UpdateService", &json!({ "service": "web", "desiredCount": 0 }), |answer| {
        seen(&answer["service"]).into()
    })
    .unwrap();
    let missing = json!({ "service": "none", "desiredCount": 1 });
    assert_eq!(both.agree("UpdateService", &missing, Value::clone).unwrap_err(), "ServiceNotFoundException");
    let failures = |answer: &Value| {
        json!(answer["failures"].as_array().into_iter().flatten().map(|f| &f["reason"]).collect::<Vec<_>>())
    };
    both.agree("DescribeClusters", &json!({ "clusters": ["nowhere"] }), failures).unwrap();
}
