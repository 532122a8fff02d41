//! The lab: an ECS cluster of EC2 instances with EFS, on one machine, for the demo and the end-to-end tests.
//!
//! | module | what |
//! |---|---|
//! | [`cluster`] | the whole of it, and what steps and tests ask of it |
//! | [`enclosure`] | the namespaces around it: nothing of a lab is left when it ends |
//! | [`guest`], [`image`] | the instances: real Linux, systemd, Docker, NFS client, the agent under its units |
//! | [`share`] | EFS's data: a real NFSv4.1 server |
//! | [`moto`] | EFS's and EC2's API |
//! | [`ecs`] | ECS, a fake that keeps raw JSON and places tasks |
//! | [`ecs_agent`] | the ECS agent, a stand-in that runs in the guests |
//! | [`metadata`] | instance metadata (IMDSv2), a fake |
//! | [`engine`] | a Docker Engine of this machine, for the laptop; not part of a cluster |
//! | [`network`] | the wires, and cutting them |
//! | [`story`], [`faults`], [`app`], [`jenkins`], [`writer`] | what the demo tells, and the tests assert, step by step |
//! | [`wait`], [`selection`], [`progress`], [`error`], [`host`], [`http`], [`place`] | the tools of all of these |

pub mod app;
pub mod cluster;
pub mod ecs;
pub mod ecs_agent;
pub mod enclosure;
pub mod engine;
pub mod error;
pub mod faults;
pub mod guest;
pub mod host;
pub mod http;
pub mod iam;
pub mod image;
pub mod jenkins;
pub mod metadata;
pub mod moto;
pub mod network;
pub mod place;
mod processor;
pub mod progress;
pub mod selection;
pub mod share;
pub mod story;
pub mod tunnel;
pub mod wait;
pub mod writer;

pub use cluster::Lab;
pub use error::{Error, expect};
