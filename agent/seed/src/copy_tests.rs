// Temporary directories of tests are on no mount.
#![allow(clippy::disallowed_methods)]

use super::*;
use std::{
    fs,
    os::unix::{
        ffi::OsStrExt,
        fs::{FileExt, MetadataExt, PermissionsExt, chown, lchown, symlink},
    },
    path::{Path, PathBuf},
};

/// A directory that goes with the test.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("volumes-agent-seed-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn directory(&self, name: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(&path).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn open(path: &Path) -> OwnedFd {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap()
}

/// All that a copy must keep, a line an entry: kind and mode, owner, time of the last write, size, where a symlink leads, content, and
/// which names are one file.
pub(crate) fn looks_of(root: &Path) -> Vec<String> {
    fn walk(root: &Path, at: &Path, lines: &mut Vec<String>, seen: &mut HashMap<u64, String>) {
        let mut entries: Vec<_> = fs::read_dir(at).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        for path in entries {
            let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
            let meta = fs::symlink_metadata(&path).unwrap();
            let what = match meta.file_type() {
                kind if kind.is_symlink() => format!("-> {}", fs::read_link(&path).unwrap().display()),
                kind if kind.is_file() => format!(
                    "{} {:?}",
                    meta.len(),
                    fs::read(&path)
                        .unwrap()
                        .iter()
                        .fold(0u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)))
                ),
                _ => String::new(),
            };
            let same = (meta.nlink() > 1 && !meta.is_dir())
                .then(|| seen.entry(meta.ino()).or_insert_with(|| name.clone()).clone());
            lines.push(format!(
                "{name} {:o} {}:{} {}.{:09} {what} {same:?}",
                meta.mode(),
                meta.uid(),
                meta.gid(),
                meta.mtime(),
                meta.mtime_nsec()
            ));
            if meta.is_dir() {
                walk(root, &path, lines, seen);
            }
        }
    }
    let mut lines = Vec::new();
    walk(root, root, &mut lines, &mut HashMap::new());
    lines
}

/// An image's directory with all kinds of entries; these tests run as root, as the helper does.
fn image(root: &Path) {
    fs::create_dir_all(root.join("conf.d/deep")).unwrap();
    fs::write(root.join("conf.d/site"), "listen 80").unwrap();
    fs::write(root.join("tool"), "#!/bin/sh").unwrap();
    chown(root.join("tool"), Some(33), Some(44)).unwrap();
    fs::set_permissions(root.join("tool"), fs::Permissions::from_mode(0o6751)).unwrap();
    fs::hard_link(root.join("tool"), root.join("conf.d/deep/tool")).unwrap();
    symlink("../../nowhere", root.join("conf.d/link")).unwrap();
    lchown(root.join("conf.d/link"), Some(1000), Some(1000)).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, root.join("pipe"), FileType::Fifo, Mode::from_raw_mode(0o620), 0)
        .unwrap();
    let sparse = fs::File::create(root.join("sparse")).unwrap();
    sparse.set_len(64 << 20).unwrap();
    sparse.write_at(b"middle", 32 << 20).unwrap();
    fs::write(root.join(std::ffi::OsStr::from_bytes(b"\xff\xfe")), "no UTF-8").unwrap();
    std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        root.join("null"),
        FileType::CharacterDevice,
        Mode::RUSR,
        rustix::fs::makedev(1, 3),
    )
    .unwrap();
    fs::set_permissions(root.join("conf.d"), fs::Permissions::from_mode(0o2700)).unwrap();
    chown(root.join("conf.d/deep"), Some(7), Some(8)).unwrap();
    for (name, seconds) in
        [("conf.d", 1_000_000_000), ("conf.d/deep", 1_100_000_000), ("conf.d/site", 1_200_000_000)]
    {
        let file = fs::File::open(root.join(name)).unwrap();
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_nanos(seconds * 1_000_000_000 + 5);
        file.set_times(fs::FileTimes::new().set_modified(time)).unwrap();
    }
}

#[test]
fn a_copy_has_all_that_docker_copies() {
    let scratch = Scratch::new("copy");
    let (from, to) = (scratch.directory("from"), scratch.directory("to"));
    image(&from);
    let copied = copy(open(&from), open(&to)).unwrap();
    assert_eq!(copied.left_out, ["null (a device)", "socket (a socket)"]);
    let mut expected = looks_of(&from);
    expected.retain(|line| !line.starts_with("null") && !line.starts_with("socket"));
    assert_eq!(looks_of(&to), expected);
    assert_eq!(copied.entries, expected.len() as u64);
    let blocks = |path: PathBuf| fs::metadata(path).unwrap().blocks() * 512;
    assert!(blocks(to.join("sparse")) < 1 << 20, "the hole was filled: {}", blocks(to.join("sparse")));
    assert!(!copied.chown_denied);
}

#[test]
fn what_is_in_the_way_is_an_error_with_its_path() {
    let scratch = Scratch::new("in-the-way");
    let (from, to) = (scratch.directory("from"), scratch.directory("to"));
    fs::create_dir(from.join("d")).unwrap();
    fs::create_dir(to.join("d")).unwrap();
    let error = copy(open(&from), open(&to)).unwrap_err();
    assert_eq!(error.to_string(), format!("making of `d` failed: {}", Errno::EXIST));
}

#[test]
fn many_files_are_copied_whole() {
    let scratch = Scratch::new("many");
    let (from, to) = (scratch.directory("from"), scratch.directory("to"));
    for number in 0..2000 {
        let directory = scratch.directory(&format!("from/{}", number % 37));
        fs::write(directory.join(number.to_string()), number.to_string().repeat(100)).unwrap();
    }
    let copied = copy(open(&from), open(&to)).unwrap();
    assert_eq!(copied.entries, 2037);
    assert_eq!(looks_of(&to), looks_of(&from));
}
