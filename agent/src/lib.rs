//! volumes-agent: `volumes:` of a compose file, persisted on a share, on Amazon ECS clusters of EC2 instances.
//!
//! The modules are in two groups. The core is pure: values in, values or errors out, no I/O, no clock.
//!
//! | module | decides |
//! |---|---|
//! | [`names`] | what a rack, an app, a service and a named volume may be called |
//!
//! The edges touch one outside thing each; [`commands`] puts both together, one file a subcommand.

pub mod cli;
pub mod commands;
pub mod diagnostics;
pub mod names;
