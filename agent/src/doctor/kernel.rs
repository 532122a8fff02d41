//! The kernel's side: NFS, the bare mount point and its flag, what tells this client from others, file handles.

use super::{Check, Findings, NfsClient};
use crate::{
    guard::{Bare, Guard, MOST_NAMES},
    mount::{CLIENT_IDENTIFIER, VOLUMES_ROOT},
};

/// A share of all file handles in use that someone should know of.
const HANDLES_WARN: f64 = 0.8;
/// One at which the next program may fail.
const HANDLES_FAIL: f64 = 0.95;

/// Whether the kernel can mount NFSv4 at all.
pub fn nfs_client(found: &Findings) -> Check {
    const NAME: &str = "nfs-client";
    match found.nfs_client {
        NfsClient::Loaded => Check::pass(NAME, "the kernel has an NFSv4 client"),
        NfsClient::Loadable => {
            Check::pass(NAME, "the kernel has an NFSv4 client, not loaded yet: mounting loads it")
        }
        NfsClient::Missing => Check::fail(
            NAME,
            "the kernel has no NFSv4 client: /proc/filesystems doesn't list nfs4, and there is no module nfsv4",
            "boot a kernel with NFSv4 (CONFIG_NFS_V4), or install the package that has its modules for the running one (`uname -r`)",
        ),
    }
}

/// The bare directory that the share is mounted on.
pub fn mount_point(found: &Findings) -> Check {
    const NAME: &str = "mount-point";
    match &found.bare {
        Ok(Bare::Directory { inside, .. }) if inside.is_empty() => {
            Check::pass(NAME, format!("{VOLUMES_ROOT} is an empty directory below the share"))
        }
        Ok(Bare::Directory { inside, .. }) => Check::warn(
            NAME,
            format!(
                "{} from before on this instance's own disk, which the share hides: {}",
                counted(inside.len(), MOST_NAMES, "name lies", "names lie"),
                some(inside)
            ),
            format!(
                "someone wrote to {VOLUMES_ROOT} without the share; docs/operations.md, \"Below the share\", says how to get at it and away with it"
            ),
        ),
        Ok(Bare::Missing) => Check::fail(
            NAME,
            format!("there is no directory {VOLUMES_ROOT}"),
            "`systemctl start volumes-agent-guard` makes it",
        ),
        Ok(Bare::NotADirectory) => Check::fail(
            NAME,
            format!("{VOLUMES_ROOT} is there and is not a directory"),
            format!(
                "move it away, then `systemctl restart volumes-agent-guard volumes-agent`: {VOLUMES_ROOT} must be a directory of the root file system"
            ),
        ),
        // What is mounted on must be a directory: that much is known without looking below.
        Err(_) if found.mounted().is_some() => {
            Check::pass(NAME, format!("{VOLUMES_ROOT} is a directory: something is mounted on it"))
        }
        Err(why) => Check::unseen(NAME, found, why, "it needs root and Linux 5.2"),
    }
}

/// The immutable flag of the bare directory.
pub fn guard(found: &Findings) -> Check {
    const NAME: &str = "guard";
    match &found.bare {
        Ok(Bare::Directory { guard: Guard::Set, unguarded, .. }) if unguarded.is_empty() => {
            Check::pass(NAME, format!("the bare {VOLUMES_ROOT} is immutable: without the share, writes fail"))
        }
        Ok(Bare::Directory { guard: Guard::Set, unguarded, .. }) => Check::warn(
            NAME,
            format!(
                "the bare {VOLUMES_ROOT} is immutable, but not what lies in it from before: {}",
                some(unguarded)
            ),
            "`volumes-agent guard` sets the flag there as well",
        ),
        Ok(Bare::Directory { guard: Guard::Unset, .. }) => Check::fail(
            NAME,
            format!(
                "the bare {VOLUMES_ROOT} is NOT immutable: without the share, containers would write to this instance's disk"
            ),
            "`volumes-agent guard` sets the flag; see who took it away",
        ),
        Ok(Bare::Directory { guard: Guard::Unsupported, .. }) => Check::fail(
            NAME,
            "the root file system has no immutable flag: without the share, containers would write to this instance's disk",
            "use ext4, xfs or btrfs for the root file system",
        ),
        Ok(Bare::Missing | Bare::NotADirectory) => {
            Check::after(NAME, "mount-point", format!("{VOLUMES_ROOT} is not a directory"))
        }
        Err(why) => Check::unseen(NAME, found, why, "it needs root and Linux 5.2"),
    }
}

/// What tells this NFS client from all others.
pub fn identifier(found: &Findings) -> Check {
    const NAME: &str = "client-identifier";
    let help = |id: &str| {
        format!(
            "the agent sets it before it mounts; a mount that is there keeps the old one. With this instance drained: `umount {VOLUMES_ROOT}`, `echo {id} > {CLIENT_IDENTIFIER}`, and the agent mounts again"
        )
    };
    match (&found.identifier, &found.instance) {
        (Err(why), _) => Check::unseen(NAME, found, why, "it needs Linux 5.3"),
        (Ok(None), _) if found.mounted().is_none() => Check::after(
            NAME,
            "mount",
            format!("{CLIENT_IDENTIFIER} is not there yet: nothing was mounted by NFS since the boot"),
        ),
        (Ok(None), _) => Check::warn(
            NAME,
            format!(
                "{CLIENT_IDENTIFIER} is not there: instances of one host name would take each other's locks"
            ),
            "it needs Linux 5.3; see to it that no two instances have one host name",
        ),
        (Ok(Some(set)), Err(_)) => Check::after(
            NAME,
            "metadata",
            format!("it is `{set}`; whether that is this instance's id is not known"),
        ),
        (Ok(Some(set)), Ok(instance)) if *set == instance.id => {
            Check::pass(NAME, format!("`{set}`, the instance's id"))
        }
        (Ok(Some(set)), Ok(instance)) if found.mounted().is_none() => {
            Check::pass(NAME, format!("`{set}`; the agent sets it to `{}` before it mounts", instance.id))
        }
        (Ok(Some(set)), Ok(instance)) => Check::warn(
            NAME,
            format!(
                "it is `{set}`, not the instance's id `{}`: instances of one host name would take each other's locks",
                instance.id
            ),
            help(&instance.id),
        ),
    }
}

/// File handles of the whole system: without one nothing can be opened, on the share or elsewhere.
pub fn file_handles(found: &Findings) -> Check {
    const NAME: &str = "file-handles";
    let handles = match &found.file_handles {
        Ok(handles) => handles,
        Err(why) => return Check::unknown(NAME, why, "look at /proc/sys/fs/file-nr"),
    };
    let (used, most) = (handles.used, handles.most);
    // 2^63 - 1, the default of today's kernels, is no limit that a person wants to read.
    let limit =
        if most >= i64::MAX.unsigned_abs() { "no limit".to_owned() } else { format!("{most} at most") };
    let detail = format!("{used} in use, {limit}");
    // A fraction: the last digits don't matter.
    #[allow(clippy::cast_precision_loss)]
    let fraction = used as f64 / most.max(1) as f64;
    let help =
        "find who holds them (`lsof | awk '{print $1}' | sort | uniq -c | sort -n`), or raise fs.file-max";
    let check = if fraction >= HANDLES_FAIL {
        Check::fail(NAME, detail, help)
    } else if fraction >= HANDLES_WARN {
        Check::warn(NAME, detail, help)
    } else {
        Check::pass(NAME, detail)
    };
    check.number("used", used).number("free", most.saturating_sub(used))
}

/// A few of many, in quotes.
fn some(names: &[String]) -> String {
    const FEW: usize = 5;
    let few: Vec<String> = names.iter().take(FEW).map(|name| format!("`{name}`")).collect();
    let more = if names.len() > FEW { ", ..." } else { "" };
    format!("{}{more}", few.join(", "))
}

fn counted(count: usize, most: usize, one: &str, many: &str) -> String {
    match count {
        1 => format!("1 {one}"),
        count if count >= most => format!("{most} {many}, or more,"),
        count => format!("{count} {many}"),
    }
}
