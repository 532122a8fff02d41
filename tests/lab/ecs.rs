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
//! | `scheduler` | which tasks are started and stopped next |
//! | `circuit_breaker` | when a deployment is given up, and what ECS goes back to |
//! | [`placement`] | the cluster query language |
//! | [`server`] | HTTP, the record of calls, the lab's own paths |
//!
//! What it doesn't know it refuses by name; it never answers as if it had done it. Left out: CPU and memory as placement limits
//! (ports and attributes are), RunTask, DAEMON services, load balancers.

mod circuit_breaker;
mod definitions;
mod error;
mod input;
mod instances;
pub mod placement;
mod scheduler;
pub mod server;
mod services;
pub mod state;
mod task_definition;
mod tasks;

pub use error::ApiError;
pub use server::serve;

/// What one lab's ECS is.
#[derive(Debug, Clone)]
pub struct Config {
    /// The account number in ARNs.
    pub account: String,
    /// The Region in ARNs.
    pub region: String,
    /// Names of the clusters that exist from the start; there is no CreateCluster.
    pub clusters: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            account: "123456789012".to_owned(),
            region: "us-east-1".to_owned(),
            clusters: vec!["default".to_owned()],
        }
    }
}
