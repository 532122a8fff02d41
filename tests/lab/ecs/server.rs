//! The HTTP edge: AWS JSON 1.1 on `POST /`, and the lab's own paths below `/lab/`.
//!
//! | path | what |
//! |---|---|
//! | `GET /lab/calls` (`?operation=NAME`) | every API call since the start or the last DELETE, oldest first |
//! | `DELETE /lab/calls` | forgets them |
//! | `GET /lab/state` | all clusters, instances, services, tasks and revisions |
//! | `GET /lab/agent/{container-instance id}/tasks` | what that instance's agent is to run, with whole registered revisions |
//! | `POST /lab/agent/{container-instance id}/tasks/{task id}/state` | what became of a task |
//! | `POST /lab/faults` | sets a fault, after those that are set: [`super::Fault`] |
//! | `DELETE /lab/faults` | ends all faults |
//! | `GET /lab/buckets` | each token bucket: its size, the lowest level so far, calls taken and refused |
//! | `DELETE /lab/buckets` | fills them and forgets |
//! | `POST /lab/model` | `{"operation": "RegisterTaskDefinition", "add": ["containerDefinitions[].futureField"]}`: members that count as known |
//! | `DELETE /lab/model` | takes back what was added |
//! | `POST /lab/policy` | `{"access_key": KEY, "allow": [{"action": "ecs:Describe*", "resource": "*"}]}`: all that the key may do from now on |
//! | `DELETE /lab/policy` (`?access_key=KEY`) | that key, or every key, may do everything again |
//! | `POST /lab/pace` | `{"longest_pause", "unplaced_counts_every", "least_rollout"}` in seconds, each optional: see [`Config`]; null for the second: never |
//!
//! Those of `/lab/agent` stand in for the agent's websocket (ACS) and for SubmitTaskStateChange. What isn't understood is 422 or 400,
//! and nothing is changed.

use super::{
    ApiError, Config, controls,
    front::{Front, Reply, When},
    state::{Call, UNSIGNED},
};
use axum::{
    Json, Router,
    body::Bytes,
    extract::{ConnectInfo, Path, Query},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::net::TcpListener;

/// How often the scheduler looks without being asked: for pauses that end and agents that fall silent.
const TICK: Duration = Duration::from_millis(250);

/// One API call, as `/lab/calls` tells it.
#[derive(Debug, Clone, serde::Serialize)]
struct Recorded {
    /// Seconds since the epoch.
    at: f64,
    operation: String,
    /// The caller's address, without its port.
    source: String,
    /// Of the signature, which nobody checks.
    access_key: String,
    user_agent: String,
    request: Value,
    /// Of the HTTP answer.
    status: u16,
    /// The error's name, where it is one.
    error: Option<&'static str>,
    /// The fault that was put between, where one was; the answer may never have been sent.
    fault: Option<&'static str>,
}

pub(super) struct Lab {
    pub(super) front: Front,
    calls: Vec<Recorded>,
}

#[derive(Clone)]
pub(super) struct Shared(Arc<Mutex<Lab>>);

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, Lab> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Serves the lab's ECS until the future is dropped.
///
/// # Errors
/// What accepting connections fails with.
pub async fn serve(listener: TcpListener, config: Config) -> io::Result<()> {
    let seed = u64::try_from(now().as_nanos() & u128::from(u64::MAX)).unwrap_or_default();
    let shared =
        Shared(Arc::new(Mutex::new(Lab { front: Front::new(config, seed, now()), calls: Vec::new() })));
    let scheduler = {
        let shared = shared.clone();
        async move {
            let mut ticks = tokio::time::interval(TICK);
            loop {
                ticks.tick().await;
                shared.lock().front.state.step(now());
            }
        }
    };
    let router = Router::new()
        .route("/", post(api))
        .route("/lab/calls", get(calls).delete(forget_calls))
        .route("/lab/state", get(state))
        .route("/lab/agent/{instance}/tasks", get(agent_tasks))
        .route("/lab/agent/{instance}/tasks/{task}/state", post(agent_report))
        .merge(controls::routes())
        .with_state(shared);
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    tokio::select! {
        result = axum::serve(listener, service) => result,
        () = scheduler => Ok(()),
    }
}

pub(super) type Context = axum::extract::State<Shared>;

async fn api(
    axum::extract::State(lab): Context,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let target = header("x-amz-target");
    let operation = target.strip_prefix("AmazonEC2ContainerServiceV20141113.").unwrap_or(target).to_owned();
    let access_key = access_key(header("authorization")).unwrap_or(UNSIGNED).to_owned();
    let call = Call { now: now(), access_key: access_key.clone() };
    let parsed = serde_json::from_slice::<Value>(&body);
    let (reply, when) = {
        let mut lab = lab.lock();
        let (request, reply) = match parsed {
            Ok(request) => {
                let reply = lab.front.answer(&operation, &request, &call);
                (request, reply)
            }
            Err(error) => {
                let error = ApiError::Serialization(error.to_string());
                (Value::String(String::from_utf8_lossy(&body).into_owned()), Reply::refused(&error))
            }
        };
        lab.calls.push(Recorded {
            at: call.now.as_secs_f64(),
            operation,
            source: from.ip().to_canonical().to_string(),
            access_key,
            user_agent: header("user-agent").to_owned(),
            request,
            status: reply.status,
            error: reply.error,
            fault: reply.fault,
        });
        lab.front.state.step(call.now);
        let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let answer = [(header::CONTENT_TYPE, "application/x-amz-json-1.1")];
        ((status, answer, reply.body).into_response(), reply.when)
    };
    match when {
        When::Now => {}
        When::After(pause) => tokio::time::sleep(pause).await,
        When::Never => std::future::pending().await, // until the caller hangs up
    }
    reply
}

/// The key in `AWS4-HMAC-SHA256 Credential=KEY/20261124/...`.
fn access_key(authorization: &str) -> Option<&str> {
    authorization.split_once("Credential=")?.1.split('/').next()
}

async fn calls(
    axum::extract::State(lab): Context,
    Query(query): Query<HashMap<String, String>>,
) -> Json<Vec<Recorded>> {
    let operation = query.get("operation");
    let lab = lab.lock();
    Json(
        lab.calls
            .iter()
            .filter(|call| operation.is_none_or(|name| *name == call.operation))
            .cloned()
            .collect(),
    )
}

async fn forget_calls(axum::extract::State(lab): Context) -> StatusCode {
    lab.lock().calls.clear();
    StatusCode::NO_CONTENT
}

async fn state(axum::extract::State(lab): Context) -> Json<Value> {
    Json(lab.lock().front.state.dump(now()))
}

fn answer(result: Result<Value, ApiError>) -> Response {
    match result {
        Ok(answer) => Json(answer).into_response(),
        Err(error @ ApiError::TargetNotFound(_)) => {
            (StatusCode::NOT_FOUND, Json(error.body())).into_response()
        }
        Err(error) => (StatusCode::BAD_REQUEST, Json(error.body())).into_response(),
    }
}

async fn agent_tasks(axum::extract::State(lab): Context, Path(instance): Path<String>) -> Response {
    let mut lab = lab.lock();
    let at = now();
    let tasks = lab.front.state.agent_tasks(&instance, at);
    lab.front.state.step(at);
    answer(tasks)
}

async fn agent_report(
    axum::extract::State(lab): Context,
    Path((instance, task)): Path<(String, String)>,
    Json(report): Json<Value>,
) -> Response {
    let mut lab = lab.lock();
    let at = now();
    let done = lab.front.state.agent_report(&instance, &task, &report, at).map(|()| json!({}));
    lab.front.state.step(at);
    answer(done)
}
