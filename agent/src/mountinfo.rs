//! What the kernel says is mounted at the volumes root: /proc/self/mountinfo, parsed and watched.
//!
//! Reading it sends nothing to a server, so it never hangs with the share. The kernel reports each change of the mount table
//! by POLLPRI (proc(5)); a stalled server changes nothing there.

use crate::containers::Bound;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::{
    io::{Read, Seek},
    net::IpAddr,
    os::fd::AsFd,
};
use tokio::sync::watch;

const FILE: &str = "/proc/self/mountinfo";

/// One mount, as a line of mountinfo tells it (proc(5)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountEntry {
    /// The kernel's number for this mount; another one means another mount.
    pub id: u32,
    /// `major:minor` of the file system.
    pub device: String,
    /// Where it is mounted.
    pub mount_point: String,
    /// The type, as `nfs4`.
    pub fs_type: String,
    /// What is mounted, as `10.0.0.5:/`.
    pub source: String,
    /// Options of the mount and of its file system, joined.
    pub options: String,
}

impl MountEntry {
    /// The server's address, from the option `addr` of an NFS mount.
    pub fn server(&self) -> Option<IpAddr> {
        self.options.split(',').find_map(|option| option.strip_prefix("addr="))?.parse().ok()
    }

    /// The exported path: what follows the server in the source.
    pub fn export(&self) -> Option<&str> {
        let colon = self.source.find(":/")?;
        self.source.get(colon + 1..)
    }
}

/// The topmost mount at a path: the last line that names it wins, as for every path walk.
pub fn mounted_at(mountinfo: &str, path: &str) -> Option<MountEntry> {
    mountinfo.lines().rev().filter_map(parse_line).find(|entry| entry.mount_point == path)
}

/// All mounts of a table with the path that is bound, in the table's order: what lies on top comes last.
pub fn binds(mountinfo: &str) -> impl Iterator<Item = Bound> + '_ {
    mountinfo.lines().filter_map(|line| {
        let root = unescape(line.split(' ').nth(3)?);
        let follows = line.split(' ').skip(6).take_while(|field| *field != "-");
        let follows =
            follows.into_iter().any(|field| field.starts_with("master:") || field.starts_with("shared:"));
        Some(Bound::of(parse_line(line)?, &root, follows))
    })
}

/// `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`
fn parse_line(line: &str) -> Option<MountEntry> {
    let (before, after) = line.split_once(" - ")?;
    let mut fields = before.split(' ');
    let id = fields.next()?.parse().ok()?;
    let device = fields.nth(1)?.to_owned();
    let mount_point = unescape(fields.nth(1)?);
    let mount_options = fields.next()?;
    let mut fields = after.split(' ');
    let fs_type = fields.next()?.to_owned();
    let source = unescape(fields.next()?);
    let options = format!("{mount_options},{}", fields.next().unwrap_or_default());
    Some(MountEntry { id, device, mount_point, fs_type, source, options })
}

/// Blanks, tabs, newlines and backslashes are written as octal escapes (`\040`).
fn unescape(field: &str) -> String {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first == b'\\'
            && let [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..] = tail
        {
            bytes.push((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'));
            rest = after;
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What is mounted at `path` now.
///
/// # Errors
/// The file can't be read: /proc isn't there.
pub fn look(path: &str) -> std::io::Result<Option<MountEntry>> {
    Ok(mounted_at(&std::fs::read_to_string(FILE)?, path))
}

/// Follows the mount at `path` from a thread of its own, for as long as the receiver lives. The thread never touches the share.
///
/// # Errors
/// mountinfo can't be opened or the thread not started.
pub fn watch(path: &'static str) -> std::io::Result<watch::Receiver<Option<MountEntry>>> {
    let mut file = std::fs::File::open(FILE)?;
    let (sender, receiver) = watch::channel(look(path)?);
    std::thread::Builder::new().name("mountinfo".to_owned()).spawn(move || {
        while !sender.is_closed() {
            let mut text = String::new();
            // Read before waiting: a change between the two is reported by the next poll.
            if file.rewind().and_then(|()| file.read_to_string(&mut text)).is_ok() {
                let entry = mounted_at(&text, path);
                sender.send_if_modified(|known| {
                    let changed = *known != entry;
                    *known = entry;
                    changed
                });
            }
            // Whatever poll says, the table is read again: a spurious wake costs a read, a missed one a lost share.
            if poll(&mut [PollFd::new(file.as_fd(), PollFlags::POLLPRI)], PollTimeout::from(10_000u16))
                .is_err()
            {
                std::thread::sleep(std::time::Duration::from_millis(100));
            }
        }
    })?;
    Ok(receiver)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
21 1 254:0 / / rw,relatime shared:1 - ext4 /dev/root rw
60 21 0:44 / /volumes rw,nosuid,nodev,relatime shared:30 - nfs4 10.77.0.1:/ rw,vers=4.1,addr=10.77.0.1
61 21 0:45 / /a\\040b rw - tmpfs tmpfs rw
";

    #[test]
    fn a_mount_is_found_with_its_server_and_export() {
        let entry = mounted_at(TABLE, "/volumes").unwrap();
        assert_eq!((entry.id, entry.device.as_str(), entry.fs_type.as_str()), (60, "0:44", "nfs4"));
        assert_eq!(entry.server(), Some("10.77.0.1".parse().unwrap()));
        assert_eq!(entry.export(), Some("/"));
        assert!(entry.options.starts_with("rw,nosuid,nodev"));
    }

    #[test]
    fn the_topmost_mount_counts() {
        let table = format!("{TABLE}62 60 0:46 / /volumes rw - tmpfs over rw\n");
        assert_eq!(mounted_at(&table, "/volumes").unwrap().fs_type, "tmpfs");
    }

    #[test]
    fn other_paths_and_odd_lines_are_passed_over() {
        assert_eq!(mounted_at(TABLE, "/volumes/a"), None);
        assert_eq!(mounted_at(TABLE, "/a b").unwrap().fs_type, "tmpfs");
        assert_eq!(mounted_at("nonsense\n1 2 3\n", "/volumes"), None);
    }
}
