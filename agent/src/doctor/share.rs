//! What the share itself says, through a child that can be killed.

use super::{Check, Findings, ShareAnswers, Silence};
use crate::{
    config::MountMode, drift::Drift, identity, leader::RECOVER_LOST_LOCKS, mount::VOLUMES_ROOT,
    share::AGENT_DIRECTORY,
};

/// A step that takes longer is felt by whoever waits for a page; within a zone EFS takes a few milliseconds.
const SLOW_MS: f64 = 500.0;

/// What was answered, or the check that says why not. `is_asked_first`: this check itself tells of a silent share.
fn answers<'a>(
    name: &'static str,
    found: &'a Findings,
    is_asked_first: bool,
) -> Result<&'a ShareAnswers, Box<Check>> {
    let Some(share) = &found.share else {
        let why = found.mounted().map_or_else(
            || format!("nothing is mounted at {VOLUMES_ROOT}"),
            |mounted| format!("{} is not NFS", mounted.fs_type),
        );
        return Err(Box::new(Check::after(name, "mount", why)));
    };
    let check = match &share.answers {
        Ok(()) => return Ok(share),
        Err(_) if !is_asked_first => Check::after(name, "round-trip", "the share does not answer"),
        Err(Silence::TimedOut(after)) => Check::fail(
            name,
            format!(
                "no answer from the share within {}: whoever uses it hangs",
                humantime::format_duration(*after)
            ),
            "look at `tcp-2049`, the server and the network. Do NOT unmount: it is a hard mount, what was written waits and goes on when the server is back",
        ),
        Err(Silence::Failed(why)) => Check::fail(
            name,
            format!("the share does not answer: {why}"),
            "look at `mount` and at the kernel's log (`dmesg | grep -i nfs`)",
        ),
    };
    Err(Box::new(check))
}

/// The agent's directory is closed to others; what the server says to them is no sign of anything.
fn for_root_alone(name: &'static str) -> Check {
    Check::unknown(
        name,
        format!("only root may look into {VOLUMES_ROOT}/{AGENT_DIRECTORY} (this needs root)"),
        "run it as root",
    )
}

/// A file of the doctor's own, written, read and removed.
pub fn round_trip(found: &Findings) -> Check {
    const NAME: &str = "round-trip";
    let share = match answers(NAME, found, true) {
        Ok(share) => share,
        Err(check) => return *check,
    };
    match &share.round_trip {
        Ok(Some(trip)) => {
            let detail = format!(
                "written in {:.1} ms, read in {:.1} ms, removed in {:.1} ms",
                trip.write_ms, trip.read_ms, trip.delete_ms
            );
            let slowest = trip.write_ms.max(trip.read_ms).max(trip.delete_ms).max(trip.answer_ms);
            let check = if slowest > SLOW_MS {
                Check::warn(
                    NAME,
                    format!("{detail}: slow"),
                    "compare with `tcp-2049`: if that is fast, the file system is at its limits (EFS: BurstCreditBalance, PercentIOLimit, throughput mode); if not, the network is",
                )
            } else {
                Check::pass(NAME, detail)
            };
            let round = |ms: f64| (ms * 1e3).round() / 1e3;
            check
                .number("rtt_ms", round(trip.answer_ms))
                .number("write_ms", round(trip.write_ms))
                .number("read_ms", round(trip.read_ms))
                .number("delete_ms", round(trip.delete_ms))
        }
        Ok(None) => Check::unknown(
            NAME,
            format!(
                "{VOLUMES_ROOT}/{AGENT_DIRECTORY} is not on the share yet, and the doctor makes no directories; the share answers"
            ),
            "the daemon makes it when it has mounted the share; see `daemon`",
        ),
        Err(_) if !found.is_root => for_root_alone(NAME),
        Err(why) => Check::fail(
            NAME,
            why.clone(),
            "EACCES or EPERM: root must not be squashed, and the file system's policy must allow ClientWrite and ClientRootAccess; EROFS: it is read-only; ENOSPC or EDQUOT: it is full, or at a limit",
        ),
    }
}

/// The marker.
pub fn identity(found: &Findings) -> Check {
    const NAME: &str = "identity";
    let share = match answers(NAME, found, false) {
        Ok(share) => share,
        Err(check) => return *check,
    };
    let config = found.config();
    let observed = found.observed();
    let known = found.daemon.as_ref().ok().and_then(|report| report.health.mount.as_ref());
    let expected = observed.file_system(&config).or_else(|| known.map(|mount| mount.file_system.as_str()));
    let marker = identity::marker_path();
    let is = match &share.marker {
        Ok(Some(is)) => is,
        // Whoever mounts it otherwise says by the marker which one it is; else the daemon does.
        Ok(None) if config.mount == MountMode::Direct => {
            return Check::unknown(
                NAME,
                format!("there is no marker {marker} yet"),
                "the daemon writes it when it has mounted the share; see `daemon`",
            );
        }
        Ok(None) => {
            return Check::fail(
                NAME,
                format!("there is no marker {marker}: nobody said yet which file system this is"),
                "if this is the right share: `volumes-agent adopt-share`; if not, correct `file_system` or the mount",
            );
        }
        Err(_) if !found.is_root => return for_root_alone(NAME),
        Err(why) => {
            let help = format!("look at {marker}: it names the file system that this share is");
            return Check::unseen(NAME, found, why, &help);
        }
    };
    match expected {
        None => Check::after(
            NAME,
            "target-zone",
            format!("the share says that it is {is}; which one it should be is not known"),
        ),
        Some(should) if is == should => Check::pass(NAME, format!("the share says that it is {is}")),
        Some(should) => Check::fail(
            NAME,
            format!(
                "the share says that it is `{is}`, not `{should}`: a restored copy or a replica, or the wrong file system"
            ),
            format!(
                "if this is the right share: `volumes-agent adopt-share --from {is}`; if not, correct `file_system`"
            ),
        ),
    }
}

/// Whether the server gives locks, and the kernel tells when one was lost.
pub fn locks(found: &Findings) -> Check {
    const NAME: &str = "locks";
    let share = match answers(NAME, found, false) {
        Ok(share) => share,
        Err(check) => return *check,
    };
    match &share.round_trip {
        Ok(Some(trip)) => match &trip.lock_refused {
            Some(why) => Check::fail(
                NAME,
                format!("the server gave no lock: {why}"),
                "databases and the leader need locks. ENOLCK or EDQUOT: too many are held (EFS: 512 a file, 8192 a client); EOPNOTSUPP: the server has none",
            ),
            None if found.recovers_lost_locks => Check::warn(
                NAME,
                format!(
                    "the server gives locks, but this kernel hides when one was lost ({RECOVER_LOST_LOCKS} is Y): this instance may not lead"
                ),
                "remove nfs.recover_lost_locks from the kernel's command line and from /etc/modprobe.d",
            ),
            None => {
                let held = found.locks_held.map(|held| format!("; held on this instance: {held}"));
                let check = Check::pass(NAME, format!("the server gives locks{}", held.unwrap_or_default()));
                match found.locks_held {
                    Some(held) => check.number("held", held),
                    None => check,
                }
            }
        },
        _ => Check::after(NAME, "round-trip", "there was no file to lock"),
    }
}

/// Volumes whose directory has another owner or mode than was asked for.
pub fn ownership(found: &Findings) -> Check {
    const NAME: &str = "ownership";
    const HELP: &str = "`volumes-agent ls` shows them all, and `volumes-agent chown` changes one; an existing directory is never changed by itself";
    let share = match answers(NAME, found, false) {
        Ok(share) => share,
        Err(check) => return *check,
    };
    match &share.drift {
        Ok(Drift { volumes, told, .. }) if !told.is_empty() => {
            let (count, first) = (told.len(), told.first().map(String::as_str).unwrap_or_default());
            Check::warn(
                NAME,
                format!("volumes that are not as asked for: {count} of {volumes}; {first}"),
                HELP,
            )
        }
        Ok(Drift { volumes, is_all: false, .. }) => Check::unknown(
            NAME,
            format!(
                "not all volumes were looked at, there was no time; of {volumes} none is other than asked for"
            ),
            "`volumes-agent ls` looks at all of them",
        ),
        Ok(Drift { volumes, .. }) => {
            Check::pass(NAME, format!("no volume has another owner or mode than asked for (of {volumes})"))
        }
        Err(_) if !found.is_root => for_root_alone(NAME),
        Err(why) => Check::unknown(NAME, why.clone(), "`volumes-agent ls` shows owners and modes"),
    }
}
