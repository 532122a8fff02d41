//! What AWS and the ECS agent say: the instance, the clock, the registration, the gate, rights.

use super::{Check, Findings, Target};
use crate::{ecs::rights::UNTOLD, mount_state::MountState, observed::cluster_name, report::Gate};

/// Clocks that differ by less are alike: `Date` has whole seconds, and an answer takes its time.
const CLOCK_PASS_SECONDS: f64 = 5.0;
/// AWS refuses what was signed with a clock that is further off ("Signature Version 4", request expiry).
const CLOCK_FAIL_SECONDS: f64 = 300.0;

/// Who and where this instance is.
pub fn metadata(found: &Findings) -> Check {
    const NAME: &str = "metadata";
    match &found.instance {
        Ok(instance) => Check::pass(NAME, format!("{} in {}", instance.id, instance.zone)),
        Err(why) => Check::fail(
            NAME,
            why.clone(),
            "on an EC2 instance: allow metadata (`aws ec2 modify-instance-metadata-options --http-endpoint enabled`), and look at routes and firewall rules to 169.254.169.254; elsewhere the agent has nothing to do",
        ),
    }
}

/// This machine's clock against that of the machine below.
pub fn clock(found: &Findings) -> Check {
    const NAME: &str = "clock";
    let ahead = match &found.clock_ahead_seconds {
        Ok(ahead) => *ahead,
        Err(why) => {
            return Check::unknown(
                NAME,
                format!("nothing to compare it with: {why}"),
                "see `metadata`, or `chronyc tracking`",
            );
        }
    };
    let off = ahead.abs();
    let direction = if ahead < 0.0 { "behind" } else { "ahead of" };
    let help = "see that chronyd or systemd-timesyncd runs (`chronyc tracking`, `timedatectl`); on EC2 its source is 169.254.169.123";
    let check = if off < CLOCK_PASS_SECONDS {
        Check::pass(NAME, "as instance metadata has it, to a few seconds")
    } else if off < CLOCK_FAIL_SECONDS {
        Check::warn(
            NAME,
            format!("{off:.0} s {direction} instance metadata: logs and leases are hard to read"),
            help,
        )
    } else {
        Check::fail(
            NAME,
            format!(
                "{off:.0} s {direction} instance metadata: AWS refuses calls signed with a clock that is 5 minutes off"
            ),
            help,
        )
    };
    check.number("ahead_seconds", ahead.round())
}

/// What the instance is to ECS.
pub fn ecs_agent(found: &Findings) -> Check {
    const NAME: &str = "ecs-agent";
    let registration = match &found.registration {
        Ok(registration) => registration,
        Err(why) => {
            return Check::fail(
                NAME,
                why.clone(),
                "`systemctl status ecs`; its log is /var/log/ecs/ecs-agent.log. Until it has registered this instance, no task is placed here",
            );
        }
    };
    let instance = registration.container_instance.rsplit('/').next().unwrap_or_default();
    let is = cluster_name(&registration.cluster);
    let config = found.config();
    let configured = config.cluster.as_deref().or(found.ecs_config_cluster.as_deref()).map(cluster_name);
    match configured {
        Some(configured) if configured != is => Check::warn(
            NAME,
            format!("registered in `{is}`, but configured for `{configured}`"),
            "see `cluster` in the agent's configuration and ECS_CLUSTER in /etc/ecs/ecs.config; an ECS agent keeps the cluster that it first registered in (/var/lib/ecs/data)",
        ),
        _ => Check::pass(NAME, format!("registered in `{is}` as {instance}")),
    }
}

/// What ECS was told about this instance.
pub fn gate(found: &Findings) -> Check {
    const NAME: &str = "gate";
    let report = match &found.daemon {
        Ok(report) => report,
        Err(_) => {
            return Check::after(NAME, "daemon", "the daemon does not answer: ECS has what it was told last");
        }
    };
    match (report.health.gate, report.health.state) {
        (Gate::Open, _) => Check::pass(NAME, "open: ECS may place tasks with volumes here"),
        (Gate::Closed, MountState::Ready) => Check::warn(
            NAME,
            "closed, and the share is ready: ECS places no task with volumes here",
            "it opens after a few answers of the share in a row; if it stays closed, see the problems in `volumes-agent status`",
        ),
        (Gate::Closed, _) => Check::fail(
            NAME,
            "closed: ECS places no task with volumes here",
            "it opens by itself when the share is ready; see `daemon`",
        ),
        (Gate::Unknown, _) => Check::warn(
            NAME,
            "ECS was not told yet whether tasks may be placed here",
            "see `ecs-agent`, and the problems in `volumes-agent status`: the role needs ecs:PutAttributes",
        ),
    }
}

/// What harmless calls tell of the role's rights.
pub fn permissions(found: &Findings) -> Check {
    const NAME: &str = "permissions";
    const MOUNT_RIGHTS: &str =
        "elasticfilesystem:DescribeFileSystems, elasticfilesystem:DescribeMountTargets";
    if let Target::Failed { why, help, denied: true } = &found.target {
        return Check::fail(NAME, why.clone(), help.clone());
    }
    let mut told = Vec::new();
    if found.target.found().is_some_and(|target| target.zone.is_some()) {
        told.push("EFS may be asked");
    }
    let was_told = matches!(&found.daemon, Ok(report) if report.health.gate != Gate::Unknown);
    if was_told {
        told.push("the gate may be set (ecs:PutAttributes: the daemon did)");
    }
    let cannot_be_told = || {
        let gate = if was_told { "" } else { "ecs:PutAttributes, " };
        format!("not told without changing something: {gate}{}", UNTOLD.join(", "))
    };
    if found.configuration.is_err() {
        return Check::after(NAME, "configuration", "AWS was not asked: the configuration is wrong");
    }
    let Some(rights) = &found.rights else {
        let patch = found.config().patch;
        return match (patch, told.as_slice()) {
            (false, [_, ..]) => Check::pass(
                NAME,
                format!("{}; this agent may not patch (`patch = \"off\"`)", told.join("; ")),
            ),
            _ => Check::unknown(
                NAME,
                "ECS was not asked: no cluster or no region is known",
                format!(
                    "see `metadata` and `ecs-agent`; mounting needs {MOUNT_RIGHTS}, the gate ecs:PutAttributes"
                ),
            ),
        };
    };
    let denied: Vec<&str> = rights
        .iter()
        .filter(|r| r.refused.as_ref().is_some_and(|e| e.is_denied()))
        .map(|r| r.action)
        .collect();
    let failed = rights.iter().find_map(|right| right.refused.as_ref().filter(|error| !error.is_denied()));
    if !denied.is_empty() {
        return Check::warn(
            NAME,
            format!("not allowed: {}", denied.join(", ")),
            "this agent can't patch without them. Give them to the role if it should; if another one patches, set `patch = \"off\"` here",
        );
    }
    if let Some(error) = failed {
        return Check::unknown(
            NAME,
            error.to_string(),
            "rights can't be told while ECS doesn't answer; see `clock` and `metadata`",
        );
    }
    told.push("ECS may be read");
    Check::pass(NAME, format!("{}; {}", told.join("; "), cannot_be_told()))
}
