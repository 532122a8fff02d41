//! The lab's own paths that change how its ECS behaves. Documented with [`super::server`].

use super::{
    Check, Fault,
    buckets::Buckets,
    policy::Allow,
    server::{Context, Shared, now},
};
use axum::{
    Json, Router,
    extract::{Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Deserialize;
use serde_json::Value;
use std::{collections::HashMap, time::Duration};

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/lab/faults", post(add_fault).delete(clear_faults))
        .route("/lab/buckets", get(buckets).delete(fill_buckets))
        .route("/lab/model", post(add_members).delete(forget_members))
        .route("/lab/policy", post(set_policy).delete(drop_policy))
        .route("/lab/pace", post(set_pace))
}

async fn add_fault(State(lab): Context, Json(fault): Json<Fault>) -> StatusCode {
    lab.lock().front.faults.add(fault, now());
    StatusCode::NO_CONTENT
}

async fn clear_faults(State(lab): Context) -> StatusCode {
    lab.lock().front.faults.clear();
    StatusCode::NO_CONTENT
}

async fn buckets(State(lab): Context) -> Json<Value> {
    Json(lab.lock().front.buckets.answer())
}

async fn fill_buckets(State(lab): Context) -> StatusCode {
    lab.lock().front.buckets = Buckets::new(now());
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Members {
    operation: String,
    add: Vec<String>,
}

async fn add_members(State(lab): Context, Json(members): Json<Members>) -> Response {
    let mut lab = lab.lock();
    let Check::Model(model) = &mut lab.front.check else {
        return (StatusCode::BAD_REQUEST, "this lab's ECS checks no model: every member is known")
            .into_response();
    };
    for path in &members.add {
        model.add(&members.operation, path);
    }
    StatusCode::NO_CONTENT.into_response()
}

async fn forget_members(State(lab): Context) -> StatusCode {
    if let Check::Model(model) = &mut lab.lock().front.check {
        model.forget_added();
    }
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Policy {
    access_key: String,
    allow: Vec<Allow>,
}

async fn set_policy(State(lab): Context, Json(policy): Json<Policy>) -> StatusCode {
    lab.lock().front.policies.insert(policy.access_key, policy.allow);
    StatusCode::NO_CONTENT
}

async fn drop_policy(State(lab): Context, Query(query): Query<HashMap<String, String>>) -> StatusCode {
    let mut lab = lab.lock();
    match query.get("access_key") {
        Some(key) => drop(lab.front.policies.remove(key)),
        None => lab.front.policies.clear(),
    }
    StatusCode::NO_CONTENT
}

async fn set_pace(State(lab): Context, Json(pace): Json<HashMap<String, Option<f64>>>) -> Response {
    let mut lab = lab.lock();
    let config = lab.front.state.config_mut();
    let mut new = config.clone();
    for (key, seconds) in &pace {
        let time = seconds.map(Duration::try_from_secs_f64).transpose();
        match (key.as_str(), time) {
            ("longest_pause", Ok(Some(time))) => new.longest_pause = time,
            ("least_rollout", Ok(Some(time))) => new.least_rollout = time,
            ("unplaced_counts_every", Ok(time)) => new.unplaced_counts_every = time,
            _ => return (StatusCode::BAD_REQUEST, format!("{key}: {seconds:?} is no pace")).into_response(),
        }
    }
    *config = new;
    StatusCode::NO_CONTENT.into_response()
}
