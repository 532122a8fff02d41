//! volumes-agent: `volumes:` of a compose file, persisted on a share, on Amazon ECS clusters of EC2 instances.
//!
//! The modules are in three groups. The core is pure: values in, values or errors out, no I/O, no clock.
//!
//! | module | decides |
//! |---|---|
//! | [`names`] | what a rack, an app, a service and a named volume may be called |
//! | [`yaml`], [`compose`], [`declaration`], [`path`] | what compose files declare, and where it stands |
//! | [`labels`], [`labelling`] | how a task definition carries declarations |
//! | [`layout`], [`deploy`] | where each volume lives, or why it can't; what is better known before |
//! | [`first_use`] | whose a new volume is, and with which content it begins |
//! | [`start`] | what Docker Compose is told on a laptop, so that volumes live where they belong |
//! | [`patch`] | what a task definition with its volumes looks like, and whether two are the same |
//! | [`apply`] | what a compose file makes of an ECS service's task definition, and how its deployment goes |
//! | [`service`], [`reading`], [`history`], [`rollout`] | what a service and its revision are to the agent, and what comes next |
//! | [`config`] | what the configuration means |
//! | [`target`], [`foreign`] | from which address the share is mounted, and why something else is not the share |
//! | [`mount_state`], [`observed`], [`plan`] | what the share is to the instance, and what to do next |
//! | [`doctor`] | what everything that can be looked at comes to, check by check |
//! | [`containers`] | who writes elsewhere than to the share |
//! | [`listing`] | which volumes there are, who uses them, and which nobody does |
//! | [`draining`] | when ECS is told to move tasks away |
//! | [`problem`], [`trouble`], [`sources`], [`codes`], [`silence`], [`report`], [`metrics`], [`diagnostics`] | what people and programs read |
//!
//! The edges touch one outside thing each.
//!
//! | module | touches |
//! |---|---|
//! | [`mountinfo`], [`mountstats`], [`mount`], [`read_ahead`], [`guard`] | the kernel: what is mounted and what it counts, mount(2), the immutable flag |
//! | [`namespaces`] | the mount tables of containers |
//! | [`share_worker`] | child processes, for all calls on the share |
//! | [`share`], [`identity`], [`directories`], [`missing_volumes`], [`inventory`], [`drift`], [`giving_away`], [`leader`], [`histories`], [`heartbeats`], [`round_trip`] | the share, from inside such a child |
//! | [`aws`], [`ecs`], [`family`], [`efs`], [`imds`], [`pace`] | AWS, and how often |
//! | [`target_search`], [`dns`], [`port`] | where the share can be mounted from, with AWS and without |
//! | [`ecs_agent`], [`loopback`] | the ECS agent and the daemon on this instance |
//! | [`memory`], [`only_one`] | the instance's own disk |
//! | [`images`] | the Docker engine of this machine, for what it knows of images |
//! | [`health`], [`callers`], [`systemd`] | operators |
//! | [`examination`] | all of these once, for the doctor |
//!
//! The loop and the commands put them together: [`reconcile`] observes, plans, starts [`jobs`] when [`schedule`] says so, and
//! reports; [`patch_round`] is the leader's job; [`commands`] has a file a subcommand of [`cli`].

pub mod apply;
pub mod aws;
pub mod callers;
pub mod cli;
pub mod codes;
pub mod commands;
pub mod compose;
pub mod config;
pub mod containers;
pub mod declaration;
pub mod deploy;
pub mod diagnostics;
pub mod directories;
pub mod dns;
pub mod doctor;
pub mod draining;
pub mod drift;
pub mod ecs;
pub mod ecs_agent;
pub mod ecs_task;
pub mod efs;
pub mod examination;
pub mod family;
pub mod first_use;
pub mod foreign;
pub mod gate;
pub mod giving_away;
pub mod guard;
pub mod health;
pub mod heartbeats;
pub mod histories;
pub mod history;
pub mod identity;
pub mod images;
pub mod imds;
pub mod inventory;
pub mod jobs;
pub mod labelling;
pub mod labels;
pub mod layout;
pub mod leader;
pub mod leaving;
pub mod listing;
pub mod loopback;
pub mod memory;
pub mod metrics;
pub mod missing_volumes;
pub mod mount;
pub mod mount_state;
pub mod mountinfo;
pub mod mountstats;
pub mod names;
pub mod namespaces;
pub mod observed;
pub mod only_one;
pub mod pace;
pub mod patch;
pub mod patch_round;
pub mod path;
pub mod plan;
pub mod port;
pub mod problem;
pub mod read_ahead;
pub mod reading;
pub mod reconcile;
pub mod report;
pub mod rollout;
pub mod round_trip;
pub mod schedule;
pub mod service;
pub mod share_worker;
pub mod silence;
pub mod sources;
pub mod spelling;
pub mod start;
pub mod systemd;
pub mod target;
pub mod target_search;
pub mod trouble;
pub mod yaml;

pub use volumes_agent_seed::{chown, order, ownership, record, share};
