//! HTTP GET on this machine: the ECS agent's introspection and the daemon's own endpoint. No TLS, no redirects.

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
}

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
pub enum LoopbackError {
    /// Nobody listens, or the connection broke.
    #[error("GET {url}: {cause}")]
    Failed {
        /// What was asked for.
        url: String,
        /// What went wrong.
        cause: String,
    },
    /// No answer in time.
    #[error("GET {url}: no answer within {}", humantime::format_duration(*.after))]
    TimedOut {
        /// What was asked for.
        url: String,
        /// The deadline.
        after: Duration,
    },
}

/// One GET, as JSON.
///
/// # Errors
/// [`LoopbackError`]; a status that isn't 200 is an answer.
pub async fn get(url: &str, deadline: Duration) -> Result<Answer, LoopbackError> {
    let failed = |cause: String| LoopbackError::Failed { url: url.to_owned(), cause };
    let asked = async {
        let request = axum::http::Request::get(url)
            .header("accept", "application/json")
            .body(Empty::<axum::body::Bytes>::new())
            .map_err(|error| failed(error.to_string()))?;
        let client =
            Client::builder(TokioExecutor::new()).build::<_, Empty<axum::body::Bytes>>(HttpConnector::new());
        let response = client.request(request).await.map_err(|error| {
            let cause =
                std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            failed(cause)
        })?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), LARGEST_ANSWER_BYTES);
        let body = body.collect().await.map_err(|error| failed(error.to_string()))?;
        Ok(Answer { status, body: body.to_bytes().to_vec() })
    };
    tokio::time::timeout(deadline, asked)
        .await
        .map_err(|_| LoopbackError::TimedOut { url: url.to_owned(), after: deadline })?
}
