//! What a task can ask about itself, and the credentials of its role.
//!
//! Developer guide, "Amazon ECS task metadata endpoint version 4" and "Amazon ECS task IAM role". The real agent listens on port 51679 of
//! loopback; rules of the instance's firewall lead there from `169.254.170.2`, which containers are told. Here every container has its
//! instance's network, so that it is told the agent's own address, and credentials by `AWS_CONTAINER_CREDENTIALS_FULL_URI`.

use super::{introspection::Introspection, task::Task};
use crate::metadata;
use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::get,
};
use serde_json::{Value, json};
use std::io;
use tokio::net::TcpListener;

/// Where the real agent listens too.
pub const ADDRESS: &str = "127.0.0.1:51679";

/// Where a container asks.
pub fn address(task: &Task, container: &str) -> String {
    format!("http://{ADDRESS}/v4/{}-{container}", task.id())
}

/// Where a task's credentials are.
pub fn credentials(task: &Task) -> String {
    format!("http://{ADDRESS}/v2/credentials/{}", task.id())
}

/// Serves until the future is dropped.
///
/// # Errors
/// What accepting connections fails with.
pub async fn serve(listener: TcpListener, tasks: Introspection) -> io::Result<()> {
    let router = Router::new()
        .route("/v4/{id}/task", get(task))
        .route("/v2/credentials/{id}", get(of_its_role))
        .with_state(tasks);
    axum::serve(listener, router).await
}

async fn task(State(tasks): State<Introspection>, Path(id): Path<String>) -> (StatusCode, Json<Value>) {
    let id = id.split('-').next().unwrap_or_default();
    found(tasks.task(id).map(|task| {
        json!({
            "Cluster": tasks.cluster(),
            "TaskARN": task.arn,
            "Family": task.family(),
            "Revision": task.revision().to_string(),
            "DesiredStatus": if task.wanted { "RUNNING" } else { "STOPPED" },
            "KnownStatus": if task.running { "RUNNING" } else { "PENDING" },
            "AvailabilityZone": tasks.zone(),
            "LaunchType": "EC2",
            "Containers": [],
        })
    }))
}

/// As an instance's: fake, and another key for each role, so that a call can be traced to it.
async fn of_its_role(
    State(tasks): State<Introspection>,
    Path(id): Path<String>,
) -> (StatusCode, Json<Value>) {
    found(tasks.task(&id).and_then(|task| {
        Some(json!({
            "RoleArn": task.definition["taskRoleArn"],
            "AccessKeyId": metadata::access_key(task.role()?),
            "SecretAccessKey": "lab-secret-of-nothing",
            "Token": "lab-session-of-nothing",
            "Expiration": "2099-01-01T00:00:00Z",
        }))
    }))
}

fn found(answer: Option<Value>) -> (StatusCode, Json<Value>) {
    answer.map_or((StatusCode::NOT_FOUND, Json(json!({}))), |answer| (StatusCode::OK, Json(answer)))
}
