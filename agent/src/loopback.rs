//! HTTP on this machine: the ECS agent's introspection, the daemon's own endpoint, the clock of instance metadata. No TLS, no
//! redirects.

use crate::diagnostics::in_one_line;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use std::time::Duration;

/// More than any answer that is waited for.
const LARGEST_ANSWER_BYTES: usize = 8 * 1024 * 1024;

/// What was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
    /// The server's clock: the header `Date`.
    pub date: Option<String>,
}

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
pub enum LoopbackError {
    /// Nobody listens, or the connection broke.
    #[error("{request}: {cause}")]
    Failed {
        /// What was asked for: the method and the address.
        request: String,
        /// What went wrong.
        cause: String,
    },
    /// No answer in time.
    #[error("{request}: no answer within {}", humantime::format_duration(*.after))]
    TimedOut {
        /// What was asked for: the method and the address.
        request: String,
        /// The deadline.
        after: Duration,
    },
}

/// One GET, as JSON.
///
/// # Errors
/// [`LoopbackError`]; a status that isn't 200 is an answer.
pub async fn get(url: &str, deadline: Duration) -> Result<Answer, LoopbackError> {
    send(url, axum::http::Request::get(url).header("accept", "application/json"), deadline).await
}

/// One request to `url` without a body.
///
/// # Errors
/// [`LoopbackError`]
pub async fn send(
    url: &str,
    request: axum::http::request::Builder,
    deadline: Duration,
) -> Result<Answer, LoopbackError> {
    let what = format!("{} {url}", request.method_ref().unwrap_or(&axum::http::Method::GET));
    let failed = |cause: String| LoopbackError::Failed { request: what.clone(), cause };
    let asked = async {
        let request =
            request.body(Empty::<axum::body::Bytes>::new()).map_err(|error| failed(error.to_string()))?;
        let client =
            Client::builder(TokioExecutor::new()).build::<_, Empty<axum::body::Bytes>>(HttpConnector::new());
        let response = client.request(request).await.map_err(|error| {
            failed(std::error::Error::source(&error).map_or_else(|| error.to_string(), in_one_line))
        })?;
        let status = response.status().as_u16();
        let date = response.headers().get("date").and_then(|date| date.to_str().ok()).map(str::to_owned);
        let body = Limited::new(response.into_body(), LARGEST_ANSWER_BYTES);
        let body = body.collect().await.map_err(|error| failed(error.to_string()))?;
        Ok(Answer { status, body: body.to_bytes().to_vec(), date })
    };
    tokio::time::timeout(deadline, asked)
        .await
        .map_err(|_| LoopbackError::TimedOut { request: what.clone(), after: deadline })?
}
