//! What containers see of the share: a container keeps the mount that it was started with, so one that was started while the
//! share was away, or another one was there, goes on elsewhere whatever is mounted now.
//!
//! Pure: [`crate::namespaces`] reads the mount tables. The kernel writes no path of the host there, so a bind of something under
//! the volumes root is known by its device: that of the instance's own disk with a path under `/volumes`, or that of an NFS file
//! system. Of an NFS mount mountinfo shows the path below the export in the source (fs/nfs/super.c, `nfs_show_devname`).

use crate::{
    config::MountFlag,
    mount::{FOUND, VOLUMES_ROOT},
    mountinfo::MountEntry,
};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// A mount that may have to do with the volumes root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    /// `major:minor` of the file system.
    pub device: String,
    /// The path in the file system that is mounted; `/` for NFS, whose path is in `export`.
    pub root: String,
    /// Where, as the processes of the namespace see it.
    pub mount_point: String,
    /// The type, as `nfs4`.
    pub fs_type: String,
    /// Options of the mount and of its file system, joined.
    pub options: String,
    /// The server of an NFS mount.
    pub server: Option<IpAddr>,
    /// The path on the server of an NFS mount.
    pub export: Option<String>,
    /// Whether what is mounted and unmounted on the host happens there too (a slave or a peer, proc(5)).
    pub follows: bool,
    /// Whether the directory was removed: nothing that is written there is found again.
    pub is_deleted: bool,
}

/// A mount namespace other than the agent's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {
    /// Its inode, which is its number.
    pub id: u64,
    /// A process in it.
    pub process: u32,
    /// The container's id, where the process has one.
    pub container: Option<String>,
    /// What may have to do with the volumes root.
    pub mounts: Vec<Bound>,
}

/// What all mount tables of the instance say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scan {
    /// Of the agent's own namespace, which is the host's.
    pub host: Vec<Bound>,
    /// Of the others.
    pub namespaces: Vec<Namespace>,
}

/// What is at the volumes root now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Present {
    /// Nothing, or it isn't known yet whose it is.
    Nothing,
    /// The right share, at these addresses.
    Share {
        /// Its device.
        device: String,
        /// All addresses of the file system.
        addresses: Vec<IpAddr>,
        /// The exported path.
        export: String,
    },
    /// Something else, with this device.
    Foreign(String),
}

/// Why what a container writes is not on the share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// It lies on the instance's own disk, below the bare mount point.
    OwnDisk,
    /// It lies on what somebody else mounted at the volumes root.
    ForeignMount,
    /// It lies on another NFS file system, which was mounted at the volumes root before.
    OtherShare,
    /// The directory was removed from the share.
    Deleted,
}

impl Why {
    /// All of them, for metrics.
    pub const ALL: [Self; 4] = [Self::OwnDisk, Self::ForeignMount, Self::OtherShare, Self::Deleted];

    /// The name in JSON, metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::OwnDisk => "own-disk",
            Self::ForeignMount => "foreign-mount",
            Self::OtherShare => "other-share",
            Self::Deleted => "deleted",
        }
    }
}

/// A container that writes elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Elsewhere {
    /// The container's id; none for a process in a mount namespace of its own that is no container.
    pub container: Option<String>,
    /// A process in it.
    pub process: u32,
    /// The path in the container.
    pub mount_point: String,
    /// The path that it should be: below `/volumes`; for another NFS file system the path on that one.
    pub path: String,
    /// What is wrong.
    pub why: Why,
    /// The container's name in its task, where the ECS agent knows it.
    pub name: Option<String>,
    /// The task's ARN.
    pub task: Option<String>,
    /// The task definition's family.
    pub family: Option<String>,
}

impl Elsewhere {
    /// What tells it from all others.
    pub fn key(&self) -> (Option<&str>, &str, Why) {
        (self.container.as_deref(), &self.mount_point, self.why)
    }

    /// Who it is.
    pub fn who(&self) -> String {
        let id = match &self.container {
            Some(id) => format!("container {}", id.get(..12).unwrap_or(id)),
            None => format!("process {}", self.process),
        };
        match (&self.name, &self.family, &self.task) {
            (Some(name), Some(family), Some(task)) => {
                let task = task.rsplit('/').next().unwrap_or(task);
                format!("`{name}` of task {task} ({family}, {id})")
            }
            _ => id,
        }
    }

    /// What is wrong, and what to do.
    pub fn problem(&self) -> String {
        let Self { mount_point, path, .. } = self;
        let wrong = match self.why {
            Why::OwnDisk => format!(
                "what it writes to {mount_point} goes to {path} on this instance's own disk, not to the share: it was started while \
                 the share was not mounted"
            ),
            Why::ForeignMount => format!(
                "what it writes to {mount_point} goes to {path} of what somebody mounted over the share, not to the share"
            ),
            Why::OtherShare => format!(
                "what it writes to {mount_point} goes to {path} of another NFS file system, which is no longer mounted here"
            ),
            Why::Deleted => format!(
                "its {mount_point} is {path}, which was removed from the share since it was started: what it writes there is lost"
            ),
        };
        let stop = match (&self.task, &self.container) {
            // Started anew before that, it would be given an empty directory.
            _ if self.why == Why::Deleted => {
                "put the directory back first, as the alarm of its volume says, and stop it then".to_owned()
            }
            // arn:aws:ecs:us-east-1:123456789012:task/production/0123
            (Some(task), _) => format!(
                "stop the task (`aws ecs stop-task --cluster {} --task {task}`): ECS starts it anew, with the share",
                task.rsplit('/').nth(1).unwrap_or("default")
            ),
            (None, Some(_)) => "stop the container, and start it anew".to_owned(),
            (None, None) => "end it, and start it anew".to_owned(),
        };
        let then = match self.why {
            Why::OwnDisk => {
                ". What it wrote is hidden below the share: docs/operations.md, \"Below the share\", says how to get at it"
            }
            Why::ForeignMount | Why::OtherShare | Why::Deleted => "",
        };
        format!("{}: {wrong}; {stop}{then}", self.who())
    }
}

/// A container's bind of the share without flags that the mount itself has.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unflagged {
    /// The container's id.
    pub container: String,
    /// The path in the container.
    pub mount_point: String,
    /// What is missing.
    pub lacks: Vec<&'static str>,
}

impl Unflagged {
    /// All of them in a sentence, the first few by name.
    pub fn problem(all: &[Self]) -> String {
        const NAMED: usize = 3;
        let names = all.iter().take(NAMED).map(|one| {
            let id = one.container.get(..12).unwrap_or(&one.container);
            format!("{} of container {id} has no {}", one.mount_point, one.lacks.join(" and no "))
        });
        let more = all.len().saturating_sub(NAMED);
        let more = if more == 0 { String::new() } else { format!(", and {more} more") };
        format!(
            "binds of the share lost what protects the host from what containers put there: {}{more}",
            names.collect::<Vec<_>>().join(", ")
        )
    }
}

/// Whether `path` is `parent` or below it.
fn is_below(path: &str, parent: &str) -> bool {
    parent == "/" || path.strip_prefix(parent).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// `path` without the `parent` that it is below: empty, or with a slash before it.
fn below<'a>(path: &'a str, parent: &str) -> &'a str {
    let rest = if parent == "/" { path } else { path.strip_prefix(parent).unwrap_or(path) };
    if rest == "/" { "" } else { rest }
}

impl Bound {
    /// From a line of mountinfo and its entry. The kernel adds `//deleted` to the root of a bind whose directory is gone
    /// (fs/d_path.c), but not for NFS.
    pub fn of(entry: MountEntry, root: &str, follows: bool) -> Self {
        let is_deleted = root.ends_with("//deleted");
        let is_nfs = entry.fs_type.starts_with("nfs");
        Self {
            server: entry.server().filter(|_| is_nfs),
            export: entry.export().filter(|_| is_nfs).map(str::to_owned),
            root: root.trim_end_matches("//deleted").to_owned(),
            device: entry.device,
            options: entry.options,
            mount_point: entry.mount_point,
            fs_type: entry.fs_type,
            follows,
            is_deleted,
        }
    }

    fn is_nfs(&self) -> bool {
        self.fs_type.starts_with("nfs")
    }
}

impl Scan {
    /// The instance's own disk, as `/` has it.
    fn disk(&self) -> Option<&Bound> {
        self.host.iter().rev().find(|mount| mount.mount_point == "/")
    }

    /// The path on the instance's own disk, if the mount lies in the bare mount point, or where content found there is moved to: a
    /// container that holds it goes on writing there.
    fn on_own_disk(&self, mount: &Bound) -> Option<String> {
        let disk = self.disk()?;
        // The file system of `/` may itself be mounted in part.
        let at = |path: &str| format!("{}{path}", below(&disk.root, "/"));
        let holder = [VOLUMES_ROOT, FOUND].into_iter().find(|path| is_below(&mount.root, &at(path)))?;
        (mount.device == disk.device).then(|| format!("{holder}{}", below(&mount.root, &at(holder))))
    }

    /// What of a namespace's mounts may have to do with the volumes root; the rest need not be kept.
    pub fn is_relevant(&self, mount: &Bound) -> bool {
        let at_root =
            self.host.iter().any(|host| host.mount_point == VOLUMES_ROOT && host.device == mount.device);
        mount.is_nfs() || at_root || self.on_own_disk(mount).is_some()
    }

    /// Whether any other mount namespace holds the file system with this number, so that it stays in use whatever is unmounted
    /// here. A copy of the host's whole tree that follows it (a sandboxed service of systemd) does not count.
    pub fn held_by_others(&self, device: &str) -> bool {
        self.namespaces.iter().any(|namespace| {
            let is_copy = |mount: &Bound| {
                namespace.container.is_none() && mount.follows && mount.mount_point == VOLUMES_ROOT
            };
            namespace.mounts.iter().any(|mount| mount.device == device && !is_copy(mount))
        })
    }

    /// Binds in containers of the share with this number that lack any of these flags, in the order of ids.
    ///
    /// runc makes a bind read-only by mounting it again with just the flags that it was asked for; Docker before 25, and on kernels before
    /// 5.12, asks for `ro` alone.
    pub fn unflagged(&self, device: &str, flags: &[MountFlag]) -> Vec<Unflagged> {
        let mut found = Vec::new();
        for (container, mount) in self.namespaces.iter().flat_map(|namespace| {
            namespace.container.iter().flat_map(|id| namespace.mounts.iter().map(move |mount| (id, mount)))
        }) {
            let has = |flag: &MountFlag| mount.options.split(',').any(|option| option == flag.option());
            // Access times protect nobody.
            let lacks = flags.iter().filter(|flag| !matches!(flag, MountFlag::Noatime) && !has(flag));
            let lacks: Vec<_> = lacks.map(|flag| flag.option()).collect();
            if mount.device == device && !lacks.is_empty() {
                let mount_point = mount.mount_point.clone();
                found.push(Unflagged { container: container.clone(), mount_point, lacks });
            }
        }
        found.sort();
        found
    }

    /// Who writes elsewhere, in the order of ids.
    pub fn elsewhere(&self, present: &Present) -> Vec<Elsewhere> {
        let mut found = Vec::new();
        for namespace in &self.namespaces {
            for mount in &namespace.mounts {
                let Some((why, path)) = self.judge(mount, present) else { continue };
                found.push(Elsewhere {
                    container: namespace.container.clone(),
                    process: namespace.process,
                    mount_point: mount.mount_point.clone(),
                    path,
                    why,
                    name: None,
                    task: None,
                    family: None,
                });
            }
        }
        found.sort();
        found
    }

    fn judge(&self, mount: &Bound, present: &Present) -> Option<(Why, String)> {
        if let Some(path) = self.on_own_disk(mount) {
            return Some((Why::OwnDisk, path));
        }
        match present {
            Present::Nothing => None,
            Present::Foreign(device) => self.on_foreign(mount, device),
            Present::Share { device, addresses, export } => {
                let theirs = mount.export.as_deref().filter(|_| mount.is_nfs())?;
                // The same file system, though not the same device: mounted by other options, or from another zone's target.
                let is_same = mount.device == *device
                    || (mount.server.is_some_and(|server| addresses.contains(&server))
                        && is_below(theirs, export));
                if is_same {
                    let path = format!("{VOLUMES_ROOT}{}", below(theirs, export));
                    return mount.is_deleted.then_some((Why::Deleted, path));
                }
                // What is mounted elsewhere on the host too is somebody's own: a volume of Docker's or of ECS.
                let is_theirs = self
                    .host
                    .iter()
                    .any(|host| host.mount_point != VOLUMES_ROOT && host.device == mount.device);
                (!is_theirs).then(|| (Why::OtherShare, theirs.to_owned()))
            }
        }
    }

    fn on_foreign(&self, mount: &Bound, device: &str) -> Option<(Why, String)> {
        let foreign =
            self.host.iter().rev().find(|host| host.mount_point == VOLUMES_ROOT && host.device == device)?;
        let is_all_of_the_disk =
            self.disk().is_some_and(|disk| disk.device == device && disk.root == foreign.root);
        let is_copy = mount.follows && mount.mount_point == VOLUMES_ROOT;
        if mount.device != device || is_all_of_the_disk || is_copy || !is_below(&mount.root, &foreign.root) {
            return None;
        }
        let path = match (&mount.export, &foreign.export) {
            (Some(mount), Some(foreign)) => below(mount, foreign),
            _ => below(&mount.root, &foreign.root),
        };
        Some((Why::ForeignMount, format!("{VOLUMES_ROOT}{path}")))
    }
}

/// The container's id in /proc/PID/cgroup, as Docker and containerd name it under either version of cgroups: 64 hexadecimal
/// digits, perhaps with a word before (`docker-`) and `.scope` after. The outermost one is the one that ECS knows.
pub fn container_id(cgroup: &str) -> Option<String> {
    let is_id = |text: &&str| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    cgroup.lines().find_map(|line| {
        let path = line.splitn(3, ':').nth(2)?;
        let names = path.split('/').map(|name| {
            let name = name.strip_suffix(".scope").unwrap_or(name);
            name.rsplit('-').next().unwrap_or(name)
        });
        names.clone().find(is_id).map(str::to_owned)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mountinfo;

    const ID: &str = "0449367cbf3630ce56a10b08fb8b4fd7d4be77d936f301d4642b1a4a4023e9ad";

    const HOST: &str = "\
16 1 98:0 / / rw,noatime shared:1 - ext4 /dev/root rw
29 16 0:26 / /volumes rw,nosuid,nodev,relatime shared:16 - nfs4 10.77.16.1:/ rw,vers=4.1,addr=10.77.16.1
40 16 0:50 / /var/lib/docker/volumes/theirs/_data rw shared:40 - nfs4 10.9.9.9:/theirs rw,addr=10.9.9.9
";

    fn scan(tables: &[&str]) -> Scan {
        let mut scan = Scan { host: mountinfo::binds(HOST).collect(), namespaces: Vec::new() };
        for (number, table) in (1..).zip(tables) {
            let mounts = mountinfo::binds(table).filter(|mount| scan.is_relevant(mount)).collect();
            let container = Some(ID.to_owned());
            scan.namespaces.push(Namespace { id: number, process: 7, container, mounts });
        }
        scan
    }

    fn ours() -> Present {
        Present::Share {
            device: "0:26".to_owned(),
            addresses: vec!["10.77.0.1".parse().unwrap(), "10.77.16.1".parse().unwrap()],
            export: "/".to_owned(),
        }
    }

    fn found(table: &str, present: &Present) -> Vec<(Why, String)> {
        let found = scan(&[table]).elsewhere(present);
        found.into_iter().map(|found| (found.why, found.path)).collect()
    }

    /// A container's table as an instance of the lab has it: its root, files that Docker binds, and the volume.
    fn container(volume: &str) -> String {
        format!(
            "86 51 0:36 / / rw,relatime master:19 - overlay overlay rw,lowerdir=a\n\
             90 86 98:0 /var/lib/docker/containers/x/hosts /etc/hosts rw - ext4 /dev/root rw\n{volume}\n"
        )
    }

    const ON_SHARE: &str =
        "94 86 0:26 / /data rw,nosuid - nfs4 10.77.16.1:/production-app/web/data rw,addr=10.77.16.1";
    const ON_DISK: &str = "94 86 98:0 /volumes/production-app/web/data /data rw - ext4 /dev/root rw";

    #[test]
    fn a_container_with_the_share_is_where_it_belongs() {
        assert_eq!(found(&container(ON_SHARE), &ours()), []);
        assert_eq!(
            found(&container(ON_SHARE), &Present::Nothing),
            [],
            "the share is lost; it keeps its mount"
        );
        let other_zone = "94 86 0:60 / /data rw - nfs4 10.77.0.1:/production-app/web/data rw,addr=10.77.0.1";
        assert_eq!(found(&container(other_zone), &ours()), [], "another target of the same file system");
    }

    #[test]
    fn a_container_on_the_own_disk_is_found_whatever_is_mounted() {
        let expected = [(Why::OwnDisk, "/volumes/production-app/web/data".to_owned())];
        for present in [ours(), Present::Nothing, Present::Foreign("0:70".to_owned())] {
            assert_eq!(found(&container(ON_DISK), &present), expected);
        }
        let whole = "94 86 98:0 /volumes /data rw - ext4 /dev/root rw";
        assert_eq!(found(&container(whole), &ours()), [(Why::OwnDisk, "/volumes".to_owned())]);
        let gone = ON_DISK.replace("web/data ", "web/data//deleted ");
        assert_eq!(found(&container(&gone), &ours()), expected);
        let other = ON_DISK.replace("/volumes/", "/volumes-of-mine/");
        assert_eq!(found(&container(&other), &ours()), []);
    }

    #[test]
    fn the_disk_may_be_a_part_of_a_file_system() {
        let host = "16 1 0:20 /@root / rw shared:1 - btrfs /dev/nvme0n1p1 rw\n";
        let mut scan = Scan { host: mountinfo::binds(host).collect(), namespaces: Vec::new() };
        let mounts = "94 86 0:20 /@root/volumes/a/b /data rw - btrfs /dev/nvme0n1p1 rw\n";
        let mounts = mountinfo::binds(mounts).filter(|mount| scan.is_relevant(mount)).collect();
        scan.namespaces.push(Namespace { id: 1, process: 7, container: None, mounts });
        let found = scan.elsewhere(&Present::Nothing);
        assert_eq!(found[0].path, "/volumes/a/b");
        assert!(
            found[0].problem().starts_with("process 7: what it writes to /data goes to /volumes/a/b on this")
        );
    }

    #[test]
    fn another_file_system_than_the_mounted_one_is_found_and_what_is_somebodys_own_is_not() {
        let other = "94 86 0:61 / /data rw - nfs4 10.5.5.5:/production-app/web/data rw,addr=10.5.5.5";
        let expected = [(Why::OtherShare, "/production-app/web/data".to_owned())];
        assert_eq!(found(&container(other), &ours()), expected);
        let theirs = "94 86 0:50 / /data rw - nfs4 10.9.9.9:/theirs rw,addr=10.9.9.9";
        assert_eq!(found(&container(theirs), &ours()), []);
    }

    #[test]
    fn what_somebody_mounted_over_the_share_is_found() {
        let mut scan = scan(&[&container("94 86 0:70 /a /data rw - tmpfs theirs rw"), &container(ON_SHARE)]);
        assert!(scan.namespaces[0].mounts.is_empty(), "a tmpfs of its own");
        let host = format!("{HOST}50 29 0:70 / /volumes rw shared:50 - tmpfs theirs rw\n");
        scan.host = mountinfo::binds(&host).collect();
        let mount = mountinfo::binds("94 86 0:70 /a /data rw - tmpfs theirs rw").collect();
        scan.namespaces[0].mounts = mount;
        let found = scan.elsewhere(&Present::Foreign("0:70".to_owned()));
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].why, found[0].path.as_str()), (Why::ForeignMount, "/volumes/a"));
    }

    #[test]
    fn a_removed_directory_is_found() {
        let mut scan = scan(&[&container(ON_SHARE)]);
        scan.namespaces[0].mounts[0].is_deleted = true;
        let found = scan.elsewhere(&ours());
        assert_eq!(
            (found[0].why, found[0].path.as_str()),
            (Why::Deleted, "/volumes/production-app/web/data")
        );
    }

    #[test]
    fn a_bind_that_lost_the_mounts_flags_is_found() {
        let flags = [MountFlag::Nosuid, MountFlag::Nodev, MountFlag::Noatime];
        let whole = ON_SHARE.replace("rw,nosuid ", "rw,nosuid,nodev,relatime ");
        assert_eq!(scan(&[&container(&whole)]).unflagged("0:26", &flags), []);
        let read_only = whole.replace("rw,nosuid,nodev", "ro");
        let found = scan(&[&container(&whole), &container(&read_only)]).unflagged("0:26", &flags);
        assert_eq!(
            Unflagged::problem(&found),
            "binds of the share lost what protects the host from what containers put there: /data of container 0449367cbf36 has no nosuid \
             and no nodev"
        );
        assert_eq!(scan(&[&container(&read_only)]).unflagged("0:26", &[]), [], "nobody asked for any");
        assert_eq!(scan(&[&container(&read_only)]).unflagged("0:27", &flags), [], "not the share");
    }

    #[test]
    fn who_follows_the_host_does_not_hold_the_share() {
        let service = HOST.replace("shared:", "master:");
        let sandboxed = |mut scan: Scan| {
            scan.namespaces.iter_mut().for_each(|namespace| namespace.container = None);
            scan
        };
        assert!(!sandboxed(scan(&[&service])).held_by_others("0:26"));
        assert!(scan(&[&service]).held_by_others("0:26"), "a container holds it, whatever follows");
        assert!(scan(&[&HOST.replace("shared:16 ", "")]).held_by_others("0:26"), "a private copy holds it");
        assert!(scan(&[&service, &container(ON_SHARE)]).held_by_others("0:26"));
        assert!(!scan(&[&container(ON_DISK)]).held_by_others("0:26"));
    }

    #[test]
    fn containers_are_known_by_their_cgroup() {
        for cgroup in [
            format!("0::/system.slice/docker-{ID}.scope\n"),
            format!("12:pids:/docker/{ID}\n11:cpu:/docker/{ID}\n"),
            format!("0::/ecstasks.slice/ecstasks-0123.slice/docker-{ID}.scope/init.scope\n"),
            format!("3:memory:/ecs/production/0123456789abcdef0123456789abcdef/{ID}\n"),
        ] {
            assert_eq!(container_id(&cgroup).as_deref(), Some(ID), "{cgroup}");
        }
        for cgroup in ["0::/system.slice/ssh.service\n", "0::/\n", "nonsense", ""] {
            assert_eq!(container_id(cgroup), None, "{cgroup}");
        }
    }

    #[test]
    fn the_task_is_named_with_what_to_do() {
        let mut found = scan(&[&container(ON_DISK)]).elsewhere(&ours()).remove(0);
        assert!(found.problem().contains("container 0449367cbf36: "));
        found.name = Some("web".to_owned());
        found.family = Some("example".to_owned());
        found.task = Some("arn:aws:ecs:us-east-1:1:task/production/ab12".to_owned());
        assert_eq!(
            found.problem(),
            "`web` of task ab12 (example, container 0449367cbf36): what it writes to /data goes to /volumes/production-app/web/data on \
             this instance's own disk, not to the share: it was started while the share was not mounted; stop the task (`aws ecs \
             stop-task --cluster production --task arn:aws:ecs:us-east-1:1:task/production/ab12`): ECS starts it anew, with the share. What it wrote is \
             hidden below the share: docs/operations.md, \"Below the share\", says how to get at it"
        );
    }
}
