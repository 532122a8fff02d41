//! The ECS task that this agent runs in, where it only patches (`mount = "none"`): its task metadata endpoint.
//!
//! Amazon ECS developer guide, "Amazon ECS task metadata endpoint version 4": each container finds its own address in
//! `ECS_CONTAINER_METADATA_URI_V4`; `/task` below it tells the task.

use crate::{
    imds::Instance,
    loopback::{self, LoopbackError},
    trouble::Trouble,
};
use serde::Deserialize;
use std::time::Duration;

/// How a task's name begins where an instance has its id.
pub const NAME_PREFIX: &str = "task-";
/// Where the endpoint is, as the ECS agent tells each container.
pub const ADDRESS: &str = "ECS_CONTAINER_METADATA_URI_V4";
/// It is the instance's own ECS agent that answers.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Who and where this task is; none of it changes while it runs.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Task {
    /// Its ARN.
    #[serde(rename = "TaskARN")]
    pub arn: String,
    /// The cluster's name or ARN.
    pub cluster: String,
    /// The availability zone's name, as `us-east-1a`.
    #[serde(default)]
    pub availability_zone: String,
}

/// Why the task isn't known.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// This is no ECS task.
    #[error("this is no ECS task: {ADDRESS} is not set")]
    NoTask,
    /// The ECS agent gave no answer.
    #[error("the task metadata endpoint doesn't answer: {0}")]
    Unreachable(#[from] LoopbackError),
    /// It answered something else than a task.
    #[error("the task metadata endpoint answers {status} without a task: {cause}")]
    Garbled {
        /// The HTTP status.
        status: u16,
        /// What is wrong with it.
        cause: String,
    },
}

impl From<TaskError> for Trouble {
    fn from(error: TaskError) -> Self {
        Self::coded("no-task", crate::diagnostics::in_one_line(&error))
            .help("look at the ECS agent of the task's instance; it is asked again by itself")
    }
}

/// Whether this process runs in a container of an ECS task.
pub fn is_this_one() -> bool {
    std::env::var_os(ADDRESS).is_some()
}

/// Asks the endpoint.
///
/// # Errors
/// [`TaskError`]
pub async fn task() -> Result<Task, TaskError> {
    let address = std::env::var(ADDRESS).map_err(|_| TaskError::NoTask)?;
    let answer = loopback::get(&format!("{address}/task"), TIMEOUT).await?;
    read(&answer.body).map_err(|cause| TaskError::Garbled { status: answer.status, cause })
}

fn read(body: &[u8]) -> Result<Task, String> {
    let task: Task = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    match task.region() {
        Some(_) => Ok(task),
        None => Err(format!("`{}` is no ARN of a task", task.arn)),
    }
}

impl Task {
    /// `arn:aws:ecs:us-east-1:123456789012:task/production/0123` is of `us-east-1`.
    fn region(&self) -> Option<&str> {
        self.arn.split(':').nth(3).filter(|region| !region.is_empty())
    }

    /// What stands for the instance where an agent says who it is: on the share, in logs and in the lock's file.
    pub fn as_instance(&self) -> Instance {
        let id = self.arn.rsplit('/').next().unwrap_or(&self.arn);
        Instance {
            id: format!("{NAME_PREFIX}{id}"),
            zone: self.availability_zone.clone(),
            region: self.region().unwrap_or_default().to_owned(),
            subnet: None,
            rack: None,
            wrong_tag: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_says_who_it_is() {
        let body = br#"{"Cluster":"production","TaskARN":"arn:aws:ecs:eu-west-1:123456789012:task/production/0123abcd","Family":"p","AvailabilityZone":"eu-west-1b","Containers":[]}"#;
        let task = read(body).unwrap();
        let instance = task.as_instance();
        assert_eq!((instance.id.as_str(), instance.region.as_str()), ("task-0123abcd", "eu-west-1"));
        assert_eq!((task.cluster.as_str(), instance.zone.as_str()), ("production", "eu-west-1b"));
        for wrong in [&b"404 page not found"[..], br#"{"Cluster":"c","TaskARN":"no-arn"}"#, b"{}"] {
            assert!(read(wrong).is_err(), "{}", String::from_utf8_lossy(wrong));
        }
    }
}
