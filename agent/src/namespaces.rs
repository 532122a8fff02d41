//! The mount tables of all mount namespaces of the instance, from /proc; and whether a bound directory is still on the share.
//!
//! Runs in a share worker. Reading the tables sends nothing to a server; looking at a bound directory does.

use crate::{
    containers::{self, Bound, Namespace, Scan},
    mountinfo,
};
use rustix::{
    fs::{AtFlags, Mode, OFlags, ResolveFlags, StatxFlags},
    io::Errno,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, fs, io, os::unix::fs::MetadataExt};

/// A bind in another mount namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// The namespace.
    pub namespace: u64,
    /// A process in it.
    pub process: u32,
    /// Where it is, as that process sees it.
    pub mount_point: String,
}

fn namespace_of(process: &str) -> io::Result<u64> {
    // The link's target is the namespace itself; following it touches no file system.
    fs::metadata(format!("/proc/{process}/ns/mnt")).map(|namespace| namespace.ino())
}

/// Reads each mount table once. A process that ends meanwhile is passed over.
///
/// # Errors
/// /proc can't be read.
pub fn scan() -> io::Result<Scan> {
    let own = namespace_of("self")?;
    let host = mountinfo::binds(&fs::read_to_string("/proc/self/mountinfo")?).collect();
    let mut scan = Scan { host, namespaces: Vec::new() };
    let mut seen = BTreeSet::from([own]);
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let Ok(process) = name.parse::<u32>() else { continue };
        let Ok(id) = namespace_of(&name) else { continue };
        if seen.contains(&id) {
            continue;
        }
        // Two processes may share a namespace of which one is ending: its table is then empty, and the other one's is read.
        let read = |file: &str| fs::read_to_string(format!("/proc/{name}/{file}")).ok();
        let Some(table) = read("mountinfo").filter(|table| !table.is_empty()) else { continue };
        seen.insert(id);
        let container = read("cgroup").as_deref().and_then(containers::container_id);
        let mounts: Vec<Bound> = mountinfo::binds(&table).filter(|mount| scan.is_relevant(mount)).collect();
        if !mounts.is_empty() {
            scan.namespaces.push(Namespace { id, process, container, mounts });
        }
    }
    Ok(scan)
}

/// Which of these binds are of a directory that was removed, in their order. What can't be looked at counts as there.
pub fn are_deleted(binds: &[Bind]) -> Vec<bool> {
    binds.iter().map(|bind| is_deleted(bind).unwrap_or(false)).collect()
}

/// A removed directory has no link any more, or the server no longer knows it.
fn is_deleted(bind: &Bind) -> Result<bool, Errno> {
    if namespace_of(&bind.process.to_string()).ok() != Some(bind.namespace) {
        return Ok(false);
    }
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let root =
        rustix::fs::open(format!("/proc/{}/root", bind.process), flags | OFlags::DIRECTORY, Mode::empty())?;
    // The container decides what lies on the way: nothing there may lead out of it.
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_SYMLINKS;
    let bound =
        match rustix::fs::openat2(&root, &bind.mount_point, flags | OFlags::NOFOLLOW, Mode::empty(), resolve)
        {
            Ok(bound) => bound,
            Err(Errno::STALE) => return Ok(true),
            Err(errno) => return Err(errno),
        };
    match rustix::fs::statx(
        &bound,
        "",
        AtFlags::EMPTY_PATH | AtFlags::STATX_FORCE_SYNC,
        StatxFlags::BASIC_STATS,
    ) {
        Ok(found) => Ok(found.stx_nlink == 0),
        Err(Errno::STALE) => Ok(true),
        Err(errno) => Err(errno),
    }
}
