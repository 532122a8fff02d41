//! The agent's introspection endpoint: `/v1/metadata` and `/v1/tasks`, without authentication, on all interfaces.

use super::task::{Container, Task};
use axum::{
    Json, Router,
    extract::{Query, State},
    http::StatusCode,
    routing::get,
};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::net::TcpListener;

/// What the endpoint tells; the rounds keep it up to date.
#[derive(Debug, Clone)]
pub struct Introspection {
    cluster: String,
    instance: String,
    zone: String,
    seen: Arc<Mutex<(Vec<Task>, Vec<Container>)>>,
}

impl Introspection {
    /// Without tasks yet; `instance` is the ARN of the container instance.
    pub fn new(cluster: String, instance: String, zone: String) -> Self {
        Self { cluster, instance, zone, seen: Arc::default() }
    }

    /// As the agent was configured.
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// The instance's availability zone.
    pub fn zone(&self) -> &str {
        &self.zone
    }

    /// A task of this instance, by the last part of its ARN.
    pub fn task(&self, id: &str) -> Option<Task> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.0.iter().find(|task| task.id() == id).cloned()
    }

    /// Takes over what one round saw.
    pub fn tell(&self, tasks: &[Task], containers: &[Container]) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = (tasks.to_vec(), containers.to_vec());
    }

    /// As `/v1/tasks` has them.
    fn tasks(&self) -> Vec<Value> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let (tasks, containers) = &*seen;
        let told = tasks.iter().map(|task| {
            let mine = containers.iter().filter(|container| container.task == task.arn);
            json!({
                "Arn": task.arn,
                "DesiredStatus": if task.wanted { "RUNNING" } else { "STOPPED" },
                "KnownStatus": if task.running { "RUNNING" } else { "PENDING" },
                "Family": task.family(),
                "Version": task.revision().to_string(),
                "Containers": mine.map(container).collect::<Vec<_>>(),
            })
        });
        told.collect()
    }
}

/// `ImageID` is empty: `docker ps` doesn't tell it.
fn container(container: &Container) -> Value {
    json!({
        "DockerId": container.id, "DockerName": container.docker_name, "Name": container.name,
        "Image": container.image, "ImageID": "",
    })
}

/// Serves until the future is dropped.
///
/// # Errors
/// What accepting connections fails with.
pub async fn serve(listener: TcpListener, introspection: Introspection) -> io::Result<()> {
    let commands =
        || async { Json(json!({ "AvailableCommands": ["/v1/metadata", "/v1/tasks", "/license"] })) };
    let router = Router::new()
        .route("/v1/metadata", get(metadata))
        .route("/v1/tasks", get(tasks))
        .fallback(commands) // as the real one: an unknown path is 200
        .with_state(introspection);
    axum::serve(listener, router).await
}

async fn metadata(State(it): State<Introspection>) -> Json<Value> {
    Json(json!({
        "Cluster": it.cluster,
        "ContainerInstanceArn": it.instance,
        "Version": "Amazon ECS Agent - v1.105.1 (the lab's stand-in)",
    }))
}

async fn tasks(
    State(it): State<Introspection>,
    Query(query): Query<HashMap<String, String>>,
) -> (StatusCode, Json<Value>) {
    let tasks = it.tasks();
    let has = |task: &Value, id: &String| {
        task["Containers"].as_array().into_iter().flatten().any(|container| container["DockerId"] == *id)
    };
    let found = match (query.get("taskarn"), query.get("dockerid")) {
        (None, None) => return (StatusCode::OK, Json(json!({ "Tasks": tasks }))),
        (Some(_), Some(_)) => return (StatusCode::BAD_REQUEST, Json(json!({}))),
        (Some(arn), None) => tasks.into_iter().find(|task| task["Arn"] == *arn),
        (None, Some(id)) => tasks.into_iter().find(|task| has(task, id)),
    };
    found.map_or((StatusCode::NOT_FOUND, Json(json!({}))), |task| (StatusCode::OK, Json(task)))
}
