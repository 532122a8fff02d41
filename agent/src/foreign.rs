//! Why what is mounted at the volumes root is not the share, in words. Pure.

use crate::{
    config::MountMode,
    identity::{self, Identity},
    mount::VOLUMES_ROOT,
    mountinfo::MountEntry,
    target::MountTarget,
    trouble::Trouble,
};

/// Something else than the share is mounted: an operator decides, the agent never touches it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Foreign {
    /// Not NFSv4 at all.
    #[error("{what}, which is not NFSv4")]
    NotNfs {
        /// What is mounted, in words.
        what: String,
    },
    /// NFSv4 from somewhere else.
    #[error("{what}, which is not {expected} of {file_system}")]
    OtherServer {
        /// What is mounted, in words.
        what: String,
        /// `address:/export`
        expected: String,
        /// Which file system that would be.
        file_system: String,
    },
    /// The marker names another file system.
    #[error(
        "{what}, but its marker {} names `{found}`, not `{expected}`: a restored copy or a replica, perhaps",
        identity::marker_path()
    )]
    Copy {
        /// What is mounted, in words.
        what: String,
        /// What the marker names.
        found: String,
        /// What it should name.
        expected: String,
    },
    /// Somebody else's mount, without a marker.
    #[error(
        "{what}, which has no marker {}: nobody said yet that it is `{expected}`",
        identity::marker_path()
    )]
    Unmarked {
        /// What is mounted, in words.
        what: String,
        /// What a marker should name.
        expected: String,
    },
}

impl Foreign {
    /// Judges a mount by what it is, where it comes from, and its marker. `None`: nothing speaks against it.
    pub fn judge(
        mounted: &MountEntry,
        mode: MountMode,
        expected: Option<&str>,
        target: Option<&MountTarget>,
        identity: Option<&Identity>,
    ) -> Option<Self> {
        let what = format!("{VOLUMES_ROOT} has {} ({}) mounted on it", mounted.source, mounted.fs_type);
        if mounted.fs_type != "nfs4" {
            return Some(Self::NotNfs { what });
        }
        // A mount of somebody else's may come by way of a tunnel (127.0.0.1): its marker alone says what it is.
        if let (MountMode::Direct, Some(target)) = (mode, target) {
            let is_known = mounted.server().is_some_and(|address| target.standing(address).is_some());
            if !is_known || mounted.export() != Some(target.export.as_str()) {
                let (expected, file_system) = (target.source(), target.file_system.clone());
                return Some(Self::OtherServer { what, expected, file_system });
            }
        }
        let expected = expected?.to_owned();
        match identity? {
            Identity::Same => None,
            Identity::Other(found) => Some(Self::Copy { what, found: found.clone(), expected }),
            Identity::Unmarked => Some(Self::Unmarked { what, expected }),
        }
    }

    /// The stable word for it.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotNfs { .. } | Self::OtherServer { .. } => "foreign-mount",
            Self::Copy { .. } => "restored-copy",
            Self::Unmarked { .. } => "unmarked-share",
        }
    }

    /// Whether another look at the marker may end it: an operator may have adopted the share.
    pub fn is_about_the_marker(&self) -> bool {
        matches!(self, Self::Copy { .. } | Self::Unmarked { .. })
    }

    /// What to do next.
    pub fn help(&self) -> String {
        match self {
            Self::NotNfs { .. } | Self::OtherServer { .. } => format!(
                "It is left alone. Once no container uses it, unmount it by `umount {VOLUMES_ROOT}`, and the share is mounted by itself"
            ),
            Self::Copy { found, .. } => format!(
                "It is left alone. If this is the right share: `volumes-agent adopt-share --from {found}`; if not, correct `file_system`"
            ),
            Self::Unmarked { .. } => {
                "It is left alone. If this is the right share: `volumes-agent adopt-share`; if not, correct `file_system` or the mount".to_owned()
            }
        }
    }
}

impl From<Foreign> for Trouble {
    fn from(foreign: Foreign) -> Self {
        Self::coded(foreign.code(), foreign.to_string()).help(foreign.help())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(fs_type: &str, source: &str, address: &str) -> MountEntry {
        MountEntry {
            id: 60,
            device: "0:44".to_owned(),
            mount_point: VOLUMES_ROOT.to_owned(),
            fs_type: fs_type.to_owned(),
            source: source.to_owned(),
            options: format!("rw,addr={address}"),
        }
    }

    fn target() -> MountTarget {
        let mut target = MountTarget::plain_server("10.0.0.1".parse().unwrap(), "/");
        target.file_system = "fs-1".to_owned();
        target.former_addresses.push("10.0.0.8".parse().unwrap());
        target
    }

    fn told(entry: &MountEntry, mode: MountMode, identity: Option<&Identity>) -> Option<String> {
        let foreign = Foreign::judge(entry, mode, Some("fs-1"), Some(&target()), identity)?;
        Some(Trouble::from(foreign).to_string())
    }

    #[test]
    fn anything_else_is_told_with_the_way_out() {
        use MountMode::{Direct, External};
        let unmount = "It is left alone. Once no container uses it, unmount it by `umount /volumes`, and the share is mounted by itself";
        let ours = entry("nfs4", "10.0.0.1:/", "10.0.0.1");
        let tunnel = entry("nfs4", "127.0.0.1:/", "127.0.0.1");
        let copy = Identity::Other("fs-0".to_owned());
        for (entry, mode, identity, expected) in [
            (&ours, Direct, None, None),
            (&ours, Direct, Some(&Identity::Same), None),
            (&entry("nfs4", "10.0.0.8:/", "10.0.0.8"), Direct, None, None),
            (&tunnel, External, Some(&Identity::Same), None),
            (
                &entry("tmpfs", "tmpfs", "-"),
                Direct,
                None,
                Some(format!("/volumes has tmpfs (tmpfs) mounted on it, which is not NFSv4. {unmount} [foreign-mount]")),
            ),
            (
                &tunnel,
                Direct,
                None,
                Some(format!("/volumes has 127.0.0.1:/ (nfs4) mounted on it, which is not 10.0.0.1:/ of fs-1. {unmount} [foreign-mount]")),
            ),
            (
                &entry("nfs4", "10.0.0.1:/other", "10.0.0.1"),
                Direct,
                None,
                Some(format!("/volumes has 10.0.0.1:/other (nfs4) mounted on it, which is not 10.0.0.1:/ of fs-1. {unmount} [foreign-mount]")),
            ),
            (
                &ours,
                Direct,
                Some(&copy),
                Some("/volumes has 10.0.0.1:/ (nfs4) mounted on it, but its marker /volumes/.volumes-agent/file-system names `fs-0`, not `fs-1`: a restored copy or a replica, perhaps. It is left alone. If this is the right share: `volumes-agent adopt-share --from fs-0`; if not, correct `file_system` [restored-copy]".to_owned()),
            ),
            (
                &tunnel,
                External,
                Some(&Identity::Unmarked),
                Some("/volumes has 127.0.0.1:/ (nfs4) mounted on it, which has no marker /volumes/.volumes-agent/file-system: nobody said yet that it is `fs-1`. It is left alone. If this is the right share: `volumes-agent adopt-share`; if not, correct `file_system` or the mount [unmarked-share]".to_owned()),
            ),
        ] {
            assert_eq!(told(entry, mode, identity), expected, "{entry:?} {identity:?}");
        }
    }
}
