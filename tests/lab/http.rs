//! Requests to the lab's own servers: plain HTTP, answers of any status, never without a deadline.

use crate::error::Error;
use serde_json::Value;
use std::time::Duration;

/// How long any of the lab's servers may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// One answer.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body, whatever it is.
    pub body: String,
}

impl Answer {
    /// The body as JSON; [`Value::Null`] if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

/// The lab's own ECS tells all calls that it ever got at once.
const LARGEST_ANSWER_BYTES: u64 = 1 << 30;

/// Sends a request; an answer of any status is an answer.
///
/// # Errors
/// [`Error::Request`] when no answer came.
pub fn send(method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Answer, Error> {
    let failed = |answer: String| Error::Request { request: format!("{method} {url}"), answer };
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(PATIENCE))
        .build()
        .into();
    let mut request = ureq::http::Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(body).map_err(|error| failed(error.to_string()))?;
    let mut answer = agent.run(request).map_err(|error| failed(error.to_string()))?;
    let body = answer.body_mut().with_config().limit(LARGEST_ANSWER_BYTES).read_to_string();
    let body = body.map_err(|error| failed(error.to_string()))?;
    Ok(Answer { status: answer.status().as_u16(), body })
}

/// Gets an address.
///
/// # Errors
/// As [`send`].
pub fn get(url: &str) -> Result<Answer, Error> {
    send("GET", url, &[], &[])
}

/// Sends and insists on a status of success.
///
/// # Errors
/// [`Error::Request`] with the answer's status and body.
pub fn succeed(method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Answer, Error> {
    let answer = send(method, url, headers, body)?;
    if (200..300).contains(&answer.status) {
        return Ok(answer);
    }
    Err(Error::Request {
        request: format!("{method} {url}"),
        answer: format!("{} {}", answer.status, answer.body),
    })
}
