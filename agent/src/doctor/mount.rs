//! The mount: whether it is there, how it was made, what the kernel does for it.

use super::{Check, Findings, Verdict};
use crate::{
    config::{MountFlag, MountMode},
    mount::{RSIZE_BYTES, VOLUMES_ROOT},
    mountinfo::MountEntry,
    read_ahead::{self, READ_AHEAD_KB},
};

/// A change to ECS is under way for so long at most after the lock was confirmed (`aws.rs`): a lease must be longer.
const SHORTEST_LEASE_SECONDS: u64 = 8;

/// The daemon's code for a mount from an address that was the file system's.
const ADDRESS_CHANGED: &str = "address-changed";

fn nothing(name: &'static str) -> Check {
    Check::after(name, "mount", format!("nothing is mounted at {VOLUMES_ROOT}"))
}

/// What is mounted.
pub fn mount(found: &Findings) -> Check {
    const NAME: &str = "mount";
    let mounts = match &found.mounts {
        Ok(mounts) => mounts,
        Err(why) => return Check::unknown(NAME, why, "look at /proc/self/mountinfo"),
    };
    let Some(mounted) = mounts.last() else {
        let help = match (found.config().mount, &found.daemon) {
            (MountMode::External, _) => {
                "fstab or efs-utils mounts it (`mount = \"external\"`): `mount /volumes`, and `journalctl -b -u volumes.mount`"
            }
            (MountMode::None, _) => {
                "this configuration is that of a patcher (`mount = \"none\"`), into whose container the instance's share is bound"
            }
            (MountMode::Direct, Ok(_)) => "the daemon mounts it by itself; see `daemon` for what holds it up",
            (MountMode::Direct, Err(_)) => "`systemctl start volumes-agent`: the daemon mounts it",
        };
        return Check::fail(
            NAME,
            format!("nothing is mounted at {VOLUMES_ROOT}: tasks with volumes can't run here"),
            help,
        );
    };
    let what = format!("{} ({})", mounted.source, mounted.fs_type);
    let config = found.config();
    // The daemon knows the addresses that the file system had before; by what is known here alone it would be foreign, and unmounting it
    // would take the share from containers that wait for it.
    if let Ok(report) = &found.daemon
        && report.codes.iter().any(|code| code == ADDRESS_CHANGED)
    {
        let told = report.problems.iter().find(|problem| problem.ends_with(&format!("[{ADDRESS_CHANGED}]")));
        let detail = told.unwrap_or(&report.health.reason);
        return Check::warn(
            NAME,
            detail,
            "it stays mounted for those who have it; replace this instance, or reboot it",
        );
    }
    if let Some(foreign) = found.observed().foreign(&config) {
        return Check::fail(NAME, foreign.to_string(), foreign.help());
    }
    if mounts.len() > 1 {
        return Check::warn(
            NAME,
            format!("{what}, and {} more below it", mounts.len() - 1),
            format!(
                "it was mounted more than once: containers may have either. Restart what was started before the last one; `umount {VOLUMES_ROOT}` takes the top one away, once no container uses it"
            ),
        );
    }
    Check::pass(NAME, what)
}

/// One thing about the options that isn't as it should be.
struct Remark {
    verdict: Verdict,
    text: String,
}

/// The options, against those that the agent mounts with.
pub fn options(found: &Findings) -> Check {
    const NAME: &str = "mount-options";
    let Some(mounted) = found.mounted() else { return nothing(NAME) };
    if !mounted.fs_type.starts_with("nfs") {
        return Check::after(NAME, "mount", format!("{} is not NFS", mounted.fs_type));
    }
    // The flags that were asked for are known from a right configuration alone.
    let flags = found.configuration.as_ref().map_or(Vec::new(), |config| config.mount_flags.clone());
    let remarks = remarks(mounted, &flags);
    let Some(worst) = remarks.iter().map(|remark| remark.verdict).max() else {
        return Check::pass(
            NAME,
            "as recommended for EFS: NFSv4.1, hard, 1 MiB reads and writes, a new port after a break",
        );
    };
    let detail: Vec<String> = remarks.into_iter().map(|remark| remark.text).collect();
    let help = format!(
        "options are taken when it is mounted: with this instance drained, `umount {VOLUMES_ROOT}` and the agent mounts it right; one that fstab or efs-utils makes is corrected there"
    );
    Check::new(NAME, worst, detail.join("; "), Some(help))
}

/// What is not as recommended (Amazon EFS user guide, "Recommended NFS mount options"; nfs(5)).
fn remarks(mounted: &MountEntry, flags: &[MountFlag]) -> Vec<Remark> {
    let options: Vec<&str> = mounted.options.split(',').collect();
    let has = |option: &str| options.contains(&option);
    let value = |key: &str| options.iter().find_map(|option| option.strip_prefix(key)?.strip_prefix('='));
    let mut remarks = Vec::new();
    let mut say = |verdict, text: String| remarks.push(Remark { verdict, text });
    if has("ro") {
        say(Verdict::Fail, "`ro`: nothing can be written".to_owned());
    }
    if has("soft") || has("softerr") {
        say(Verdict::Fail, "`soft`: a slow answer becomes an error, and writes are lost".to_owned());
    }
    match value("vers") {
        Some("4.1") => {}
        vers => say(Verdict::Warn, format!("`vers={}`: EFS is made for 4.1", vers.unwrap_or("(not shown)"))),
    }
    for key in ["rsize", "wsize"] {
        let bytes: Option<u64> = value(key).and_then(|bytes| bytes.parse().ok());
        if bytes.is_some_and(|bytes| bytes < RSIZE_BYTES) {
            say(
                Verdict::Warn,
                format!("`{key}={}`: below {RSIZE_BYTES} files are slower", bytes.unwrap_or_default()),
            );
        }
    }
    if !has("noresvport") {
        say(
            Verdict::Warn,
            "`noresvport` is missing: after a broken connection the mount may hang for minutes".to_owned(),
        );
    }
    if let Some(timeo) = value("timeo").filter(|timeo| timeo.parse::<u64>().is_ok_and(|tenths| tenths < 600))
    {
        say(Verdict::Warn, format!("`timeo={timeo}`: EFS wants 600 (60 s)"));
    }
    if let Some(connections) = value("nconnect").filter(|connections| *connections != "1") {
        say(Verdict::Warn, format!("`nconnect={connections}`: EFS doesn't support it"));
    }
    for (option, why) in
        [("sync", "each write waits for the server"), ("noac", "each look at a file asks the server")]
    {
        if has(option) {
            say(Verdict::Warn, format!("`{option}`: {why}"));
        }
    }
    for (flag, option) in [
        (MountFlag::Nosuid, "nosuid"),
        (MountFlag::Nodev, "nodev"),
        (MountFlag::Noexec, "noexec"),
        (MountFlag::Noatime, "noatime"),
    ] {
        if flags.contains(&flag) && !has(option) {
            say(Verdict::Warn, format!("`{option}` is missing, which `mount_flags` asks for"));
        }
    }
    remarks
}

/// What the kernel reads ahead of a program that reads on.
pub fn read_ahead(found: &Findings) -> Check {
    const NAME: &str = "read-ahead";
    let Some(mounted) = found.mounted() else { return nothing(NAME) };
    match found.read_ahead_kib {
        Err(ref why) => Check::unknown(
            NAME,
            why,
            "reading large files is slow with the kernel's default of 128 KiB, and as it should be with more",
        ),
        Ok(kib) if kib < READ_AHEAD_KB => Check::warn(
            NAME,
            format!("{kib} KiB, not {READ_AHEAD_KB}: reading large files is slow"),
            format!(
                "`echo {READ_AHEAD_KB} > {}`; the daemon sets it as well, now and then: see what takes it back (a udev rule?)",
                read_ahead::file(&mounted.device).display()
            ),
        )
        .number("read_ahead_kib", kib),
        Ok(kib) => Check::pass(NAME, format!("{kib} KiB")).number("read_ahead_kib", kib),
    }
}

/// For how long the server keeps this client's locks without a word from it.
pub fn lease(found: &Findings) -> Check {
    const NAME: &str = "lease-time";
    if found.mounted().is_none() {
        return nothing(NAME);
    }
    let lease = match &found.lease {
        Ok(lease) => *lease,
        Err(why) => return Check::unknown(NAME, why, "look for `lease_time` in /proc/self/mountstats"),
    };
    let seconds = lease.seconds;
    let check = if lease.expired_seconds > 0 {
        Check::warn(
            NAME,
            format!(
                "{seconds} s, and it ran out {} s ago: the server may have given this instance's locks to others",
                lease.expired_seconds
            ),
            "see `round-trip`; what held a lock (a database) may have to be started anew once the share is back",
        )
    } else if seconds < SHORTEST_LEASE_SECONDS {
        Check::warn(
            NAME,
            format!(
                "{seconds} s: a leader that hangs for a moment could still change ECS after another took over"
            ),
            format!(
                "set the server's lease to {SHORTEST_LEASE_SECONDS} s or longer, or `patch = \"off\"`; EFS's is longer"
            ),
        )
    } else {
        Check::pass(
            NAME,
            format!("{seconds} s: for so long the server keeps locks without hearing of this instance"),
        )
    };
    check.number("lease_seconds", seconds)
}
