//! A small Amazon ECS of the lab's own: the API (AWS JSON 1.1) and a scheduler, kept in memory.
//!
//! It exists because moto's ECS reads a known set of fields and forgets the rest, has one deployment a service for ever and never
//! starts a task. Here a task definition is kept as the JSON that was sent, unknown fields included, and what a service asks for
//! is placed on the container instances as ECS places it.
//!
//! | module | knows |
//! |---|---|
//! | [`state`] | everything there is, and which operation does what to it; pure, time is passed in |
//! | `task_definition` | what RegisterTaskDefinition refuses and what it writes back by itself |
//! | `services`, `instances`, `tasks` | the operations on each |
//! | `deployments`, `circuit_breaker` | how far each rollout is, when one has failed and what it is rolled back to |
//! | `scheduler`, `daemon` | which tasks are started and stopped next |
//! | `placing` | where a task goes, or why nowhere |
//! | `task_sets`, `run_task` | what is not a rolling deployment |
//! | [`placement`] | the cluster query language |
//! | `front` | what a call passes first: `faults` of a test, token `buckets`, the service [`model`], the caller's `policy` |
//! | [`generated`] | a task definition with every member of the model, for tests |
//! | [`server`], `controls` | HTTP and the record of calls; the lab's own paths |
//!
//! What it doesn't know it refuses by name; it never answers as if it had done it. Left out: CPU and memory as placement limits
//! (ports and attributes are), load balancers, alarms. FARGATE and capacity providers are accepted and shown, and an event says that
//! their tasks are not placed; BLUE_GREEN, LINEAR and CANARY are carried out as rolling updates.

mod buckets;
mod circuit_breaker;
mod controls;
mod daemon;
mod definitions;
mod deployments;
mod error;
mod faults;
mod front;
pub mod generated;
mod input;
mod instances;
pub mod model;
pub mod placement;
mod placing;
mod policy;
mod run_task;
mod scheduler;
pub mod server;
mod service_answer;
mod services;
pub mod state;
mod task_definition;
mod task_sets;
mod tasks;
#[cfg(test)]
mod testing;

pub use error::ApiError;
pub use faults::{Fault, Kind, Scope};
pub use model::Model;
pub use policy::{Allow, Policies};
pub use server::serve;

use std::time::Duration;

/// What one lab's ECS is.
#[derive(Debug, Clone)]
pub struct Config {
    /// The account number in ARNs.
    pub account: String,
    /// The Region in ARNs.
    pub region: String,
    /// Names of the clusters that exist from the start; there is no CreateCluster.
    pub clusters: Vec<String>,
    /// The longest pause before a deployment whose tasks fail to start is tried again. ECS itself goes up to some minutes.
    pub longest_pause: Duration,
    /// How often finding no place for a deployment's task counts as a failed task (service model, `Deployment.failedTasks`: "the
    /// service scheduler can't launch the task"); `None`: never. ECS's own pace isn't published; containers-roadmap#1273 has it
    /// fail deployments for lack of room.
    pub unplaced_counts_every: Option<Duration>,
    /// A deployment is IN_PROGRESS for so long at least, a rollback too: ECS's steady state takes a while, and what happens in
    /// between must be possible.
    pub least_rollout: Duration,
    /// Whether requests are checked against the service model.
    pub check: Check,
    /// Whether calls are throttled, at the documented rates.
    pub throttles: bool,
    /// What each access key is allowed; one that isn't in it may do everything.
    pub policies: Policies,
}

/// Whether requests are checked against the service model.
#[derive(Debug, Clone)]
pub enum Check {
    /// They are.
    Model(Box<Model>),
    /// They are not: for tests of what lies behind, which are to run without botocore.
    Off,
}

impl Config {
    /// ECS as it is, as far as the lab goes.
    pub fn checked(model: Model) -> Self {
        Self { check: Check::Model(Box::new(model)), ..Self::unchecked() }
    }

    /// The same without the service model.
    pub fn unchecked() -> Self {
        Self {
            account: "123456789012".to_owned(),
            region: "us-east-1".to_owned(),
            clusters: vec!["default".to_owned()],
            longest_pause: Duration::from_secs(16),
            unplaced_counts_every: Some(Duration::from_secs(20)),
            least_rollout: Duration::from_secs(1),
            check: Check::Off,
            throttles: true,
            policies: Policies::new(),
        }
    }
}
