//! The Amazon ECS agent on this instance: its configuration file, and its introspection endpoint, which is up only after it
//! has registered the instance (amazon-ecs-agent, `agent/app/agent.go`).

use crate::loopback::{self, LoopbackError};
use serde::{Deserialize, Serialize};
use std::time::Duration;

const INTROSPECTION: &str = "http://127.0.0.1:51678/v1/metadata";
const TASKS: &str = "http://127.0.0.1:51678/v1/tasks";
const CONFIG_FILE: &str = "/etc/ecs/ecs.config";
const TIMEOUT: Duration = Duration::from_secs(2);

/// What the instance is to ECS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// The cluster as the agent has it: a name or an ARN.
    pub cluster: String,
    /// The container instance's ARN.
    pub container_instance: String,
}

/// Why the registration isn't known.
#[derive(Debug, thiserror::Error)]
pub enum RegistrationError {
    /// Introspection isn't up: the agent has not registered yet, or isn't there.
    #[error("the ECS agent has not registered this instance yet")]
    NotYet(#[source] LoopbackError),
    /// It is up and knows no instance.
    #[error("the ECS agent's introspection answers {status} without a container instance")]
    NoInstance {
        /// The HTTP status.
        status: u16,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Metadata {
    cluster: Option<String>,
    container_instance_arn: Option<String>,
}

/// Asks introspection.
///
/// # Errors
/// [`RegistrationError`]: wait and ask again.
pub async fn registration() -> Result<Registration, RegistrationError> {
    let answer = loopback::get(INTROSPECTION, TIMEOUT).await.map_err(RegistrationError::NotYet)?;
    // On an error the body is an empty metadata object (amazon-ecs-agent, handlers.go): the status counts.
    let metadata =
        (answer.status == 200).then(|| serde_json::from_slice::<Metadata>(&answer.body).ok()).flatten();
    match metadata {
        Some(Metadata { cluster: Some(cluster), container_instance_arn: Some(container_instance) })
            if !container_instance.is_empty() =>
        {
            Ok(Registration { cluster, container_instance })
        }
        _ => Err(RegistrationError::NoInstance { status: answer.status }),
    }
}

/// A task as introspection tells it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Task {
    /// Its ARN.
    pub arn: String,
    /// The task definition's family.
    #[serde(default)]
    pub family: String,
    /// Its containers.
    #[serde(default)]
    pub containers: Vec<Container>,
}

/// A container of a task.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Container {
    /// Docker's id.
    #[serde(default)]
    pub docker_id: String,
    /// The name in the task definition.
    #[serde(default)]
    pub name: String,
}

/// The tasks of this instance. None where introspection doesn't answer: a name is a help, not a condition.
pub async fn tasks() -> Vec<Task> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Tasks {
        #[serde(default)]
        tasks: Vec<Task>,
    }
    let answer = loopback::get(TASKS, TIMEOUT).await.ok();
    let tasks = answer.and_then(|answer| serde_json::from_slice::<Tasks>(&answer.body).ok());
    tasks.map(|answer| answer.tasks).unwrap_or_default()
}

/// `ECS_CLUSTER` of the ECS agent's configuration, which user data may write after boot: read it again.
pub fn configured_cluster() -> Option<String> {
    cluster_in(&std::fs::read_to_string(CONFIG_FILE).ok()?)
}

/// The file is an environment file of systemd: `KEY=value`, the last one wins.
fn cluster_in(text: &str) -> Option<String> {
    let value = text.lines().rev().find_map(|line| line.trim().strip_prefix("ECS_CLUSTER="))?.trim();
    let value = value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).unwrap_or(value);
    (!value.is_empty()).then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cluster_is_read_as_systemd_reads_it() {
        assert_eq!(cluster_in("ECS_CLUSTER=a\nX=y\nECS_CLUSTER=\"b\"\n"), Some("b".to_owned()));
        assert_eq!(cluster_in("# ECS_CLUSTER=a\n"), None);
        assert_eq!(cluster_in("ECS_CLUSTER=\n"), None);
    }
}
