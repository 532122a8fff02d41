//! The way to the server: which mount target, its name, its port.

use super::{Check, Findings, Reached, Target};
use std::time::Duration;

/// Which mount target, and whether it is in the own zone.
pub fn target(found: &Findings) -> Check {
    const NAME: &str = "target-zone";
    match (&found.target, &found.instance) {
        (Target::External, _) => Check::pass(NAME, "fstab or efs-utils chooses it (`mount = \"external\"`)"),
        (Target::NotAsked(why), _) if found.configuration.is_err() => {
            Check::after(NAME, "configuration", why.clone())
        }
        (Target::NotAsked(why), _) => Check::after(NAME, "metadata", why.clone()),
        (Target::Failed { why, help, .. }, _) => {
            let known = found.daemon.as_ref().ok().and_then(|report| report.health.mount.as_ref());
            match known {
                // The share goes on without AWS's API.
                Some(mount) => Check::warn(
                    NAME,
                    format!(
                        "{why}; the daemon has {} of {} in {}",
                        mount.source,
                        mount.file_system,
                        mount.zone.as_deref().unwrap_or("no zone")
                    ),
                    help.clone(),
                ),
                None => Check::fail(NAME, why.clone(), help.clone()),
            }
        }
        (Target::Found(target), instance) => {
            let what = format!("{} of {}", target.address, target.file_system);
            match (&target.zone, instance) {
                (None, _) => Check::pass(NAME, format!("{what}: a server of one's own has no zone")),
                (Some(zone), Ok(instance)) if *zone == instance.zone => {
                    Check::pass(NAME, format!("{what} in {zone}, this instance's zone"))
                }
                (Some(zone), Ok(instance)) => Check::warn(
                    NAME,
                    format!(
                        "{what} is in {zone}, this instance in {}: traffic costs, and the share falls with that zone",
                        instance.zone
                    ),
                    format!("create a mount target of {} in {}", target.file_system, instance.zone),
                ),
                (Some(zone), Err(_)) => Check::after(
                    NAME,
                    "metadata",
                    format!("{what} is in {zone}; this instance's zone is not known"),
                ),
            }
        }
    }
}

/// The file system's name: the way to mount when AWS's API is out of reach.
pub fn dns(found: &Findings) -> Check {
    const NAME: &str = "dns";
    let Some(dns) = &found.dns else {
        return match &found.target {
            Target::Found(_) => Check::pass(NAME, "needs none: the server is configured by its address"),
            Target::External => Check::pass(NAME, "needs none: others mount the share"),
            Target::NotAsked(_) | Target::Failed { .. } => {
                Check::after(NAME, "target-zone", "the file system is not known")
            }
        };
    };
    let why =
        "the agent mounts by address and needs no name, but it is the way in while AWS's API is out of reach";
    let address = match &dns.address {
        Ok(address) => address,
        Err(cause) => {
            return Check::warn(
                NAME,
                format!("{cause}; {why}"),
                "turn on DNS resolution and DNS hostnames of the VPC, use its resolver (169.254.169.253), and have a mount target in this zone",
            );
        }
    };
    let detail = format!("{} is {address}", dns.name);
    if found.target.found().is_none_or(|target| target.all_addresses.contains(address)) {
        Check::pass(NAME, detail)
    } else {
        Check::warn(
            NAME,
            format!("{detail}, which is no mount target of the file system"),
            "look for a private hosted zone or an entry in /etc/hosts that overrides the name, and for a mount target that was replaced a moment ago",
        )
    }
}

/// The server's port, by a connection of its own and an NFS call that does nothing.
pub fn port(found: &Findings) -> Check {
    const NAME: &str = "tcp-2049";
    let Some(port) = &found.port else {
        return Check::after(NAME, "target-zone", "the server's address is not known");
    };
    let address = port.address;
    match &port.reached {
        Reached::Answered { connected, answered } => Check::pass(
            NAME,
            format!("{address} answers: connected in {}, an NFS call took {}", ms(*connected), ms(*answered)),
        )
        .number("connect_ms", millis(*connected))
        .number("rtt_ms", millis(*answered)),
        Reached::Silent { connected, why } => Check::warn(
            NAME,
            format!(
                "{address} takes connections ({}), but an NFS call (NULL) got no answer: {why}",
                ms(*connected)
            ),
            "the network is open, the server is not well: look at it; for EFS at the AWS Health Dashboard",
        )
        .number("connect_ms", millis(*connected)),
        Reached::Refused(why) => Check::fail(
            NAME,
            format!("{address}: {why}"),
            "something answers and it is no NFS server, or there is no route: check the address, the mount target's state and the network's routes",
        ),
        Reached::TimedOut(after) => Check::fail(
            NAME,
            format!("{address}: no connection within {}", humantime::format_duration(*after)),
            "let TCP 2049 through: in the mount target's security group from this instance, in this instance's security group to the mount target, and in the subnets' network ACLs; see that the mount target still exists",
        ),
    }
}

fn millis(time: Duration) -> f64 {
    // Thousandths are enough for people and programs.
    (time.as_secs_f64() * 1e6).round() / 1e3
}

fn ms(time: Duration) -> String {
    format!("{:.1} ms", millis(time))
}
