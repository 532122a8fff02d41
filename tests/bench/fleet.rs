//! The leader's rounds over a large cluster, beside a plain client of the same SDK: 5,000 services of 10 apps in the lab's ECS, which
//! throttles nobody here. Nothing waits for ECS's token buckets on either side, so that what is left is work.
//!
//! `make bench` runs it. `SERVICES` says how many services (default: 5,000). The share is a stand-in that answers at once; what the
//! directories take on a real one is the other benchmark's.

#![allow(clippy::print_stdout, clippy::unwrap_used)] // what can't be had ends the benchmark

use lab::{
    ecs::{self, Config},
    http,
};
use nix::sys::resource::{UsageWho, getrusage};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tokio::net::TcpListener;
use volumes_agent::{
    aws,
    directories::Ensured,
    ecs::Ecs,
    patch_round::{Memory, Round},
    share_worker::{Answers, Request, WorkerError},
};

const APPS: usize = 10;
const QUIET_ROUNDS: usize = 3;
/// The ECS agent's.
const POLL: Duration = Duration::from_secs(2);

/// What one stretch of work took.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Took {
    wall: f64,
    cpu: f64,
}

/// What a client tells when it has done a stretch.
#[derive(Debug, Serialize, Deserialize)]
struct Told {
    took: Took,
    /// The most memory that was ever resident, in MiB.
    peak: f64,
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|word| !word.starts_with("--"));
    match arguments.next().as_deref() {
        Some("ecs") => serve(),
        Some("agent") => client(agent),
        Some("plain") => client(plain),
        _ => compare(),
    }
}

fn services() -> usize {
    std::env::var("SERVICES").ok().and_then(|text| text.parse().ok()).unwrap_or(5_000)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap()
}

/// The lab's ECS, in a process of its own: its work is nobody's here.
fn serve() {
    runtime().block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{}", listener.local_addr().unwrap().port());
        ecs::serve(listener, Config { throttles: false, ..Config::unchecked() }).await.unwrap();
    });
}

struct Cluster {
    process: Child,
    url: String,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn me() -> Command {
    Command::new(std::env::current_exe().unwrap())
}

impl Cluster {
    /// A cluster of one ready instance and all the services, unpatched, with nothing running.
    fn start() -> Self {
        let mut process = me().arg("ecs").stdout(Stdio::piped()).spawn().unwrap();
        let mut port = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut port).unwrap();
        let cluster = Self { process, url: format!("http://127.0.0.1:{}", port.trim()) };
        let document = json!({ "instanceId": "i-1", "availabilityZone": "us-east-1a" }).to_string();
        let registered = cluster.ask(
            "RegisterContainerInstance",
            &json!({
                "instanceIdentityDocument": document,
                "attributes": [{ "name": "com.amazonaws.ecs.capability.docker-remote-api.1.18" }],
            }),
        );
        let arn = registered["containerInstance"]["containerInstanceArn"].clone();
        cluster.ask(
            "PutAttributes",
            &json!({ "attributes": [{ "name": "convox.volumes", "value": "ready", "targetId": arn }] }),
        );
        // Its ECS agent, which polls: an instance that is silent is not ready, and nothing is patched then.
        let id = arn.as_str().and_then(|arn| arn.rsplit('/').next()).unwrap();
        let poll = format!("{}/lab/agent/{id}/tasks", cluster.url);
        std::thread::spawn(move || {
            while http::get(&poll).is_ok() {
                std::thread::park_timeout(POLL)
            }
        });
        for number in 0..services() {
            let revision = cluster.register(number, 1);
            let name = format!("service-{number}");
            let request = json!({ "serviceName": name, "taskDefinition": revision, "desiredCount": 0 });
            cluster.ask("CreateService", &request);
        }
        cluster.calls();
        cluster
    }

    fn ask(&self, operation: &str, request: &Value) -> Value {
        let target = format!("AmazonEC2ContainerServiceV20141113.{operation}");
        let headers = [("x-amz-target", target.as_str())];
        let answer = http::succeed("POST", &self.url, &headers, request.to_string().as_bytes()).unwrap();
        serde_json::from_str(&answer.body).unwrap()
    }

    /// A task definition as they are: two containers, of which one declares two volumes.
    fn register(&self, number: usize, version: usize) -> String {
        let app = format!("app-{}", number % APPS);
        let environment: Vec<Value> =
            (0..12).map(|n| json!({ "name": format!("SETTING_{n}"), "value": "some value" })).collect();
        let labels = json!({
            "convox.app": app, "convox.service": format!("service-{number}"), "convox.volumes": "[\"/data\", \"/cache\"]",
        });
        let document = json!({
            "family": format!("service-{number}"),
            "containerDefinitions": [
                { "name": "web", "image": format!("web:{version}"), "memory": 64, "environment": environment, "dockerLabels": labels },
                { "name": "log", "image": "log:1", "memory": 32, "environment": environment },
            ],
        });
        let answer = self.ask("RegisterTaskDefinition", &document);
        answer["taskDefinition"]["taskDefinitionArn"].as_str().unwrap().to_owned()
    }

    /// How many calls there were since this was asked last, by operation.
    fn calls(&self) -> BTreeMap<String, usize> {
        let calls = http::succeed("GET", &format!("{}/lab/calls", self.url), &[], b"").unwrap().body;
        http::succeed("DELETE", &format!("{}/lab/calls", self.url), &[], b"").unwrap();
        #[derive(Deserialize)]
        struct Recorded {
            operation: String,
        }
        let mut counted = BTreeMap::new();
        for call in serde_json::from_str::<Vec<Recorded>>(&calls).unwrap() {
            *counted.entry(call.operation).or_default() += 1;
        }
        counted
    }
}

/// A client process that does one stretch for each line it is given.
struct Client {
    process: Child,
    told: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Client {
    fn start(role: &str, cluster: &Cluster) -> Self {
        let mut process = me()
            .arg(role)
            .env("AWS_ENDPOINT_URL", &cluster.url)
            .env("AWS_ACCESS_KEY_ID", "AKIABENCH")
            .env("AWS_SECRET_ACCESS_KEY", "secret")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let told = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { process, told }
    }

    fn stretch(&mut self) -> Told {
        writeln!(self.process.stdin.as_mut().unwrap()).unwrap();
        serde_json::from_str(&self.told.next().unwrap().unwrap()).unwrap()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn compare() {
    let count = services();
    println!("{count} services of {APPS} apps; ECS throttles nobody");
    let stretches = ["first pass", "quiet round", "one deploy"];
    let mut all = Vec::new();
    for role in ["agent", "plain"] {
        let cluster = Cluster::start();
        let mut client = Client::start(role, &cluster);
        for stretch in stretches {
            if stretch == "one deploy" {
                let revision = cluster.register(0, 2);
                cluster.ask("UpdateService", &json!({ "service": "service-0", "taskDefinition": revision }));
                cluster.calls();
            }
            let rounds = if stretch == "quiet round" { QUIET_ROUNDS } else { 1 };
            let tolds: Vec<Told> = (0..rounds).map(|_| client.stretch()).collect();
            let calls = cluster.calls();
            let moved = calls.get("UpdateService").copied().unwrap_or_default();
            let expected = match stretch {
                "first pass" => count,
                "one deploy" => 1,
                _ => 0,
            };
            assert_eq!(moved, expected, "services that were moved in the {stretch}");
            let calls: usize = calls.values().sum::<usize>() / rounds;
            let least = tolds.iter().map(|told| told.took.cpu).fold(f64::INFINITY, f64::min);
            let told = tolds.iter().min_by(|a, b| a.took.wall.total_cmp(&b.took.wall)).unwrap();
            println!(
                "{role:>6}: {stretch:<12} {:8.2} s, {least:7.2} s of CPU, {calls:6} calls, peak {:.1} MiB",
                told.took.wall, told.peak
            );
            all.push((told.took.wall, least, calls));
        }
    }
    for (at, stretch) in stretches.iter().enumerate() {
        let ((wall, cpu, calls), (plain_wall, plain_cpu, plain_calls)) = (all[at], all[at + stretches.len()]);
        println!(
            "agent / plain: {stretch:<12} {:.2} of the time, {:.2} of the CPU time, {:.2} of the calls",
            wall / plain_wall,
            cpu / plain_cpu,
            calls as f64 / plain_calls as f64
        );
    }
}

/// Does a stretch for each line of stdin, and tells what it took.
fn client<F: Future<Output = State>>(work: impl Fn(State) -> F) {
    let runtime = runtime();
    let mut state = State::default();
    for line in std::io::stdin().lock().lines() {
        line.unwrap();
        let (begun, cpu) = (Instant::now(), cpu());
        state = runtime.block_on(work(state));
        let took = Took { wall: begun.elapsed().as_secs_f64(), cpu: self::cpu() - cpu };
        println!("{}", serde_json::to_string(&Told { took, peak: peak() }).unwrap());
    }
}

fn cpu() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
    let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    seconds(usage.user_time()) + seconds(usage.system_time())
}

/// In MiB (`VmHWM`, proc_pid_status(5)).
fn peak() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}

/// What a client keeps from stretch to stretch.
#[derive(Default)]
struct State {
    clients: Option<(Ecs, aws_sdk_ecs::Client)>,
    memory: Memory,
    share: Share,
}

impl State {
    async fn clients(&mut self) -> (Ecs, aws_sdk_ecs::Client) {
        if self.clients.is_none() {
            let sdk = aws::connect("us-east-1").await;
            self.clients = Some((Ecs::unpaced(&sdk), aws_sdk_ecs::Client::new(&sdk)));
        }
        self.clients.clone().unwrap()
    }
}

/// Rounds of the agent until nothing is left to do.
async fn agent(mut state: State) -> State {
    let (ecs, _) = state.clients().await;
    loop {
        let round = Round {
            instance: "i-1".to_owned(),
            record: Some("record".to_owned()),
            memory: std::mem::take(&mut state.memory),
            ..Round::new("default".to_owned(), "production".parse().unwrap())
        };
        let result = round.run(&ecs, &state.share, Some(&state.share)).await;
        assert!(result.error.is_none(), "{:?}", result.error);
        state.memory = result.memory;
        let is_waiting = result.services.iter().any(|service| service.code.as_deref() == Some("queued"));
        if !is_waiting {
            return state;
        }
    }
}

/// What a script would do: list, describe each revision, register what lacks the volume, update.
async fn plain(mut state: State) -> State {
    let (_, ecs) = state.clients().await;
    let mut pages = ecs.list_services().max_results(100).into_paginator().items().send();
    let mut arns = Vec::new();
    while let Some(arn) = pages.next().await {
        arns.push(arn.unwrap());
    }
    for arns in arns.chunks(10) {
        let described = ecs.describe_services().set_services(Some(arns.to_vec())).send().await.unwrap();
        for service in described.services() {
            let revision = service.task_definition().unwrap();
            let answer = ecs.describe_task_definition().task_definition(revision).send().await.unwrap();
            let definition = answer.task_definition().unwrap();
            if !definition.volumes().is_empty() {
                continue;
            }
            let volume = aws_sdk_ecs::types::Volume::builder().name("volume").build();
            let registered = ecs
                .register_task_definition()
                .family(definition.family().unwrap())
                .set_container_definitions(definition.container_definitions.clone())
                .volumes(volume)
                .send()
                .await
                .unwrap();
            let arn = registered.task_definition().and_then(|one| one.task_definition_arn()).unwrap();
            ecs.update_service()
                .service(service.service_arn().unwrap())
                .task_definition(arn)
                .send()
                .await
                .unwrap();
        }
    }
    state
}

/// A share that answers at once.
#[derive(Default)]
struct Share;

impl Answers for Share {
    async fn ask_within<A: DeserializeOwned + Send>(
        &self,
        request: &Request,
        _: Duration,
    ) -> Result<A, WorkerError> {
        let answer = match request {
            Request::Paused => "false".to_owned(),
            Request::Ensure(_) => serde_json::json!(Ensured::default()).to_string(),
            Request::ReadHistories { .. } => "[{\"format\":1,\"services\":{}},null]".to_owned(),
            Request::WriteHistories { .. } => {
                // Made as the agent makes it for its child, which then has it: it is not kept here.
                std::hint::black_box(serde_json::to_string(request).unwrap());
                "null".to_owned()
            }
            _ => "null".to_owned(),
        };
        Ok(serde_json::from_str(&answer).unwrap())
    }
}
