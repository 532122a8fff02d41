//! The endpoint for operators: `/healthz`, `/metrics`, `/status`. It reads the last report and nothing else, so it answers
//! whatever the share and other callers do. Loopback by default; serves no secrets, takes no commands.

use crate::{callers, metrics, report::Report};
use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use std::{io, net::SocketAddr, sync::Arc};
use tokio::{net::TcpListener, sync::watch};

/// OpenMetrics' text format, which Prometheus asks for.
const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Reports = watch::Receiver<Arc<Report>>;

/// Takes the address; the endpoint answers from [`serve`] on.
///
/// # Errors
/// The address is taken, or isn't this machine's.
pub async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Answers until the process ends.
///
/// # Errors
/// The listener failed.
pub async fn serve(listener: TcpListener, reports: Reports) -> io::Result<()> {
    let router = Router::new()
        .route("/healthz", get(healthz))
        .route("/metrics", get(metrics_page))
        .route("/status", get(status))
        .fallback(|| async { (StatusCode::NOT_FOUND, "there is /healthz, /metrics and /status\n") })
        .with_state(reports);
    callers::serve(listener, router).await
}

async fn healthz(State(reports): State<Reports>) -> Response {
    let report = reports.borrow().clone();
    let ready = report.health.state.is_ready();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(&report.health)).into_response()
}

async fn metrics_page(State(reports): State<Reports>) -> Response {
    let report = reports.borrow().clone();
    match metrics::encode(report) {
        Ok(page) => ([(header::CONTENT_TYPE, METRICS_TYPE)], page).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// A page for a person, or JSON for whoever asks for it.
async fn status(State(reports): State<Reports>, headers: HeaderMap) -> Response {
    let report = reports.borrow().clone();
    let wants_json = headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("application/json"));
    if wants_json { Json(&*report).into_response() } else { report.text().into_response() }
}
