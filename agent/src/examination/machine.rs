//! Facts of this machine: from /proc and /sys, from systemd, from Docker's process. Nothing here asks a server.

use crate::{
    doctor::{Docker, FileHandles, NfsClient, Unit, image::LeftBehind, units::UNITS},
    leader::RECOVER_LOST_LOCKS,
    mount::{CLIENT_IDENTIFIER, VOLUMES_ROOT},
    mountinfo::{self, MountEntry},
    mountstats::Statistics,
    order::{HELPER, HELPER_FOLDER},
    read_ahead,
};
use std::{
    fs, io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Stdio,
};
use tokio::{process::Command, time::timeout};

/// Where dockerd writes its process id.
const DOCKER_PID: &str = "/run/docker.pid";
/// Where the ECS agent remembers what its instance is (`ECS_DATADIR`'s default, as the host has it).
const ECS_STATE: &str = "/var/lib/ecs/data";
/// As Docker's process is called.
const DOCKER: &str = "dockerd";

/// Whether the helper that fills volumes is a file that can be executed.
pub(super) fn helper() -> Result<(), String> {
    let path = format!("{HELPER_FOLDER}/{HELPER}");
    let meta = fs::metadata(path).map_err(|error| error.to_string())?;
    let can_run = meta.is_file() && meta.permissions().mode() & 0o111 != 0;
    can_run.then_some(()).ok_or_else(|| "it is no file that can be executed".to_owned())
}

/// Whether this process is root's.
pub(super) fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

fn read(file: &str) -> Result<String, String> {
    fs::read_to_string(file)
        .map(|text| text.trim_end().to_owned())
        .map_err(|error| format!("{file}: {error}"))
}

/// All mounts at the volumes root, the topmost last.
pub(super) fn mounts() -> Result<Vec<MountEntry>, String> {
    Ok(mountinfo::stack_at(&read("/proc/self/mountinfo")?, VOLUMES_ROOT))
}

/// What the kernel has for NFS; `modprobe --dry-run` loads nothing.
pub(super) async fn nfs_client() -> NfsClient {
    let filesystems = read("/proc/filesystems").unwrap_or_default();
    if filesystems.lines().any(|line| line.split_whitespace().last() == Some("nfs4")) {
        return NfsClient::Loaded;
    }
    match output("modprobe", &["--dry-run", "--quiet", "nfsv4"]).await {
        Ok(_) => NfsClient::Loadable,
        Err(_) => NfsClient::Missing,
    }
}

/// The NFS client's identifier.
pub(super) fn identifier() -> Result<Option<String>, String> {
    match fs::read_to_string(CLIENT_IDENTIFIER) {
        Ok(text) => Ok(Some(text.trim_end().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("{CLIENT_IDENTIFIER}: {error}")),
    }
}

/// Whether the kernel hides lost locks.
pub(super) fn recovers_lost_locks() -> bool {
    read(RECOVER_LOST_LOCKS).is_ok_and(|value| value == "Y")
}

/// File handles of the system.
pub(super) fn file_handles() -> Result<FileHandles, String> {
    const FILE: &str = "/proc/sys/fs/file-nr";
    let text = read(FILE)?;
    file_handles_in(&text).ok_or_else(|| format!("{FILE} can't be understood: {text}"))
}

/// Allocated, allocated and unused, at most (proc(5)).
fn file_handles_in(text: &str) -> Option<FileHandles> {
    let mut numbers = text.split_whitespace().map(str::parse::<u64>);
    let (allocated, unused, most) = (numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?);
    Some(FileHandles { used: allocated.saturating_sub(unused), most })
}

/// Read-ahead of what is mounted, in KiB.
pub(super) fn read_ahead(mounted: Option<&MountEntry>) -> Result<u64, String> {
    read_ahead::look(&mounted.ok_or("nothing is mounted")?.device)
}

/// What the kernel counts of what is mounted.
pub(super) fn statistics(mounted: Option<&MountEntry>) -> Result<Statistics, String> {
    let device = &mounted.ok_or("nothing is mounted")?.device;
    match Statistics::of(VOLUMES_ROOT, device) {
        Ok(Some(statistics)) => Ok(statistics),
        Ok(None) => Err(format!("/proc/self/mountstats has no NFS mount at {VOLUMES_ROOT}")),
        Err(error) => Err(format!("/proc/self/mountstats or /proc/locks: {error}")),
    }
}

/// Docker's mount namespace.
pub(super) fn docker(mounted: Option<&MountEntry>) -> Docker {
    let Ok(pid) = read(DOCKER_PID) else { return Docker::NotRunning };
    // The number may be another process' by now.
    if !read(&format!("/proc/{pid}/comm")).is_ok_and(|name| name == DOCKER) {
        return Docker::NotRunning;
    }
    let namespace = |pid: &str| -> Result<PathBuf, String> {
        let link = format!("/proc/{pid}/ns/mnt");
        fs::read_link(&link).map_err(|error| format!("{link}: {error}"))
    };
    let seen = namespace("1").and_then(|host| Ok(namespace(&pid)? == host));
    match seen {
        Ok(true) => Docker::SeesTheHost,
        Err(why) => Docker::Unseen(why),
        Ok(false) => {
            let theirs = match read(&format!("/proc/{pid}/mountinfo")) {
                Ok(theirs) => theirs,
                Err(why) => return Docker::Unseen(why),
            };
            let own = read("/proc/self/mountinfo").unwrap_or_default();
            Docker::Apart {
                device: mountinfo::mounted_at(&theirs, VOLUMES_ROOT).map(|entry| entry.device),
                is_shared: mounted.is_some_and(|entry| mountinfo::is_shared(&own, entry.id)),
            }
        }
    }
}

/// The units that matter, and the daemon's process.
pub(super) async fn units() -> Result<(Vec<Unit>, Option<u32>), String> {
    let mut arguments = vec![
        "show",
        "--no-pager",
        "--property=Id,LoadState,ActiveState,UnitFileState,Before,After,DropInPaths,NeedDaemonReload,MainPID,PrivateMounts,PrivateTmp,ProtectSystem",
        "--",
    ];
    arguments.extend(UNITS);
    let text = output("systemctl", &arguments).await?;
    Ok(units_in(&text))
}

/// What this machine leaves in an image of it. What can't be listed is told as such.
pub(super) fn left_behind(state_dir: &Path) -> LeftBehind {
    let machine_id = read("/etc/machine-id").unwrap_or_default();
    LeftBehind {
        state: [state_dir, Path::new(ECS_STATE)].into_iter().flat_map(listed).collect(),
        // machine-id(5): empty, or this word, until the first boot.
        machine_id: Some(machine_id).filter(|id| !id.is_empty() && id != "uninitialized"),
    }
}

fn listed(folder: &Path) -> Vec<String> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.flatten().map(|entry| entry.path().display().to_string()).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => vec![format!("{} ({error})", folder.display())],
    }
}

/// A block of `Key=value` lines a unit, with an empty line between two (systemctl(1), `show`).
fn units_in(text: &str) -> (Vec<Unit>, Option<u32>) {
    let mut main_pid = None;
    let mut units = Vec::new();
    for block in text.split("\n\n") {
        let (mut unit, mut process) = (Unit::default(), None);
        let words = |value: &str| value.split_whitespace().map(str::to_owned).collect();
        for (key, value) in block.lines().filter_map(|line| line.split_once('=')) {
            match key {
                "Id" => unit.name = value.to_owned(),
                "LoadState" => unit.is_loaded = value == "loaded",
                "ActiveState" => unit.active = value.to_owned(),
                "UnitFileState" => unit.enabled = value.to_owned(),
                "Before" => unit.before = words(value),
                "After" => unit.after = words(value),
                "DropInPaths" => unit.drop_ins = words(value),
                "NeedDaemonReload" => unit.needs_reload = value == "yes",
                "PrivateMounts" | "PrivateTmp" | "ProtectSystem" => unit.is_apart |= value != "no",
                "MainPID" => process = value.parse().ok().filter(|pid| *pid != 0),
                _ => {}
            }
        }
        // In which order the lines come is systemd's affair.
        if unit.name == "volumes-agent.service" {
            main_pid = process;
        }
        units.push(unit);
    }
    (units, main_pid)
}

/// Whether a process runs a file that was replaced: the link then names what is gone.
pub(super) fn is_replaced(pid: u32) -> bool {
    fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe.to_string_lossy().ends_with(" (deleted)"))
}

/// What a program of the machine says; ended when its time is up.
async fn output(program: &str, arguments: &[&str]) -> Result<String, String> {
    let run = Command::new(program)
        .args(arguments)
        .current_dir("/")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(super::LOCAL_WITHIN, run)
        .await
        .map_err(|_| format!("{program}: {}", super::no_answer(super::LOCAL_WITHIN)))?
        .map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_handles_are_those_in_use() {
        assert_eq!(
            file_handles_in("1312\t112\t9223372036854775807"),
            Some(FileHandles { used: 1200, most: i64::MAX.unsigned_abs() })
        );
        assert_eq!(file_handles_in("1 2"), None);
    }

    #[test]
    fn systemds_blocks_are_read() {
        let text = "MainPID=42\nId=volumes-agent.service\nLoadState=loaded\nActiveState=active\nUnitFileState=enabled\nBefore=docker.service ecs.service\nPrivateTmp=no\nProtectSystem=no\nNeedDaemonReload=no\n\nMainPID=7\nId=docker.service\nLoadState=not-found\nPrivateMounts=yes\nNeedDaemonReload=yes\nDropInPaths=/a/b.conf\n";
        let (units, main_pid) = units_in(text);
        let ours = Unit {
            name: "volumes-agent.service".to_owned(),
            is_loaded: true,
            active: "active".to_owned(),
            enabled: "enabled".to_owned(),
            before: vec!["docker.service".to_owned(), "ecs.service".to_owned()],
            ..Unit::default()
        };
        let docker = Unit {
            name: "docker.service".to_owned(),
            drop_ins: vec!["/a/b.conf".to_owned()],
            needs_reload: true,
            is_apart: true,
            ..Unit::default()
        };
        assert_eq!(units, [ours, docker]);
        assert_eq!(main_pid, Some(42));
    }
}
