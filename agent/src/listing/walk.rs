//! Which directories of the share are looked into: those on the way to a volume, and as deep as the layout puts volumes. Pure: a walk
//! says what to list next, and is told what is there.
//!
//! What is inside a volume is its containers' business, and never listed, unless another volume lies in it.

use super::unreadable;
use crate::{
    inventory::Listed,
    missing_volumes::{Found, Unreadable},
    ownership::{Mode, Owner},
    record::SIBLING,
};
use std::collections::{BTreeMap, BTreeSet};

/// Components of the shortest path of a volume: `<rack>-<app>/<service>/<key>`, `<rack>-<app>/@volumes/<name>`.
const VOLUME_DEPTH: usize = 3;

/// What is at a path where a volume is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// A directory with this inode.
    Directory(u64),
    /// No directory.
    Not(Found),
    /// It can't be told.
    Unknown,
}

/// What a walk found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Directories {
    /// For each volume that was known before.
    pub known: BTreeMap<String, At>,
    /// Whose the directories of volumes that were known before are, and with which permissions.
    pub looks: BTreeMap<String, (Owner, Mode)>,
    /// Directories that are, or lead to, no known volume, by their paths: of such a tree the one at the depth of volumes alone, or the
    /// deepest above it.
    pub others: BTreeSet<String>,
    /// Directories that could not be listed, each with why.
    pub unreadable: Vec<Unreadable>,
}

/// A walk, level by level.
#[derive(Debug)]
pub struct Walk {
    known: BTreeSet<String>,
    /// All directories above known volumes.
    ways: BTreeSet<String>,
    owned: BTreeSet<String>,
    next: Vec<String>,
    inodes: BTreeMap<String, u64>,
    /// Where something lies that is no directory.
    blocked: BTreeSet<String>,
    /// What could not be listed.
    failed: BTreeSet<String>,
    found: Directories,
}

impl Walk {
    /// A walk from the root: to the `known` volumes, and to all that lies in the `owned` apps' directories.
    pub fn new(known: BTreeSet<String>, owned: BTreeSet<String>) -> Self {
        let ways = known.iter().flat_map(|path| above(path)).map(str::to_owned).collect();
        Self {
            known,
            ways,
            owned,
            next: vec![String::new()],
            inodes: BTreeMap::new(),
            blocked: BTreeSet::new(),
            failed: BTreeSet::new(),
            found: Directories::default(),
        }
    }

    /// What is to be listed next, relative to the volumes root. Nothing: the walk is at its end.
    pub fn next(&self) -> &[String] {
        &self.next
    }

    /// Takes the answers for the first of [`Walk::next`], in their order.
    pub fn take(&mut self, answers: Vec<Listed>) {
        let taken = answers.len().min(self.next.len());
        let listed: Vec<String> = self.next.drain(..taken).collect();
        for (directory, answer) in listed.into_iter().zip(answers) {
            self.one(directory, answer);
        }
    }

    fn one(&mut self, directory: String, answer: Listed) {
        let entries = match answer {
            Listed::Entries(entries) => entries,
            // Removed since it was seen.
            Listed::Nothing => return,
            Listed::NoDirectory => {
                self.blocked.insert(directory);
                return;
            }
            Listed::Failed(why) => {
                self.found.unreadable.push(unreadable(&directory, why));
                self.failed.insert(directory);
                return;
            }
        };
        let mut has_directories = false;
        for entry in entries {
            let is_root = directory.is_empty();
            if is_root && entry.name.starts_with('.') || entry.name.starts_with(SIBLING) {
                // The agent's own directory, what file servers show of theirs (`.snapshot`), and a volume that is just being filled.
                continue;
            }
            let path = if is_root { entry.name } else { format!("{directory}/{}", entry.name) };
            match entry.inode {
                Some(inode) => {
                    has_directories = true;
                    if let Some(looks) = entry.looks.filter(|_| self.known.contains(&path)) {
                        self.found.looks.insert(path.clone(), looks);
                    }
                    self.directory(path, inode);
                }
                None if self.known.contains(&path) || self.ways.contains(&path) => {
                    self.blocked.insert(path);
                }
                None => {}
            }
        }
        let is_expected = |path: &String| self.ways.contains(path) || self.known.contains(path);
        if !has_directories && !directory.is_empty() && !is_expected(&directory) {
            // An app or a service without a volume.
            self.found.others.insert(directory);
        }
    }

    fn directory(&mut self, path: String, inode: u64) {
        let is_known = self.known.contains(&path);
        if is_known {
            self.inodes.insert(path.clone(), inode);
        }
        if self.ways.contains(&path) {
            self.next.push(path);
        } else if is_known || above(&path).any(|above| self.known.contains(above)) {
            // A volume, or what containers keep in one.
        } else if self.leads_to_volumes(&path) {
            self.next.push(path);
        } else {
            self.found.others.insert(path);
        }
    }

    fn leads_to_volumes(&self, path: &str) -> bool {
        let app = path.split('/').next().unwrap_or_default();
        let is_apps = self.owned.contains(app) || self.ways.contains(app);
        is_apps && path.split('/').count() < VOLUME_DEPTH
    }

    /// What was found.
    pub fn end(self) -> Directories {
        let mut found = self.found;
        found.known = self
            .known
            .into_iter()
            .map(|path| {
                let at = match self.inodes.get(&path) {
                    Some(inode) => At::Directory(*inode),
                    None if on_the_way(&path).any(|part| self.blocked.contains(part)) => {
                        At::Not(Found::NoDirectory)
                    }
                    None if self.failed.contains("")
                        || above(&path).any(|part| self.failed.contains(part)) =>
                    {
                        At::Unknown
                    }
                    None => At::Not(Found::Nothing),
                };
                (path, at)
            })
            .collect();
        found
    }
}

/// The directories above a path, the highest first, without the root.
pub fn above(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(at, _)| &path[..at])
}

/// The same, and the path itself.
fn on_the_way(path: &str) -> impl Iterator<Item = &str> {
    above(path).chain([path])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::share::Entry;
    use proptest::prelude::*;

    /// A tree: paths of directories and of files, everything above them included.
    #[derive(Debug, Clone, Default)]
    struct Tree {
        directories: BTreeMap<String, u64>,
        files: BTreeSet<String>,
    }

    impl Tree {
        fn of(directories: &[&str], files: &[&str]) -> Self {
            let all = directories
                .iter()
                .flat_map(|path| on_the_way(path))
                .chain(files.iter().flat_map(|f| above(f)));
            let all: BTreeSet<&str> = all.collect();
            Self {
                directories: all.into_iter().map(str::to_owned).zip(100..).collect(),
                files: files.iter().map(|path| (*path).to_owned()).collect(),
            }
        }

        fn list(&self, directory: &str) -> Listed {
            if self.files.contains(directory) {
                return Listed::NoDirectory;
            }
            if !directory.is_empty() && !self.directories.contains_key(directory) {
                return Listed::Nothing;
            }
            let within = |path: &str| {
                let rest = if directory.is_empty() {
                    Some(path)
                } else {
                    path.strip_prefix(directory)?.strip_prefix('/')
                };
                rest.filter(|rest| !rest.contains('/')).map(str::to_owned)
            };
            let directories =
                self.directories.iter().filter_map(|(path, inode)| Some((within(path)?, Some(*inode))));
            let files = self.files.iter().filter_map(|path| Some((within(path)?, None)));
            Listed::Entries(
                directories.chain(files).map(|(name, inode)| Entry { name, inode, looks: None }).collect(),
            )
        }

        /// Walks, `most` answers at a time; gives what was listed as well.
        fn walk(&self, known: &[&str], owned: &[&str], most: usize) -> (Directories, Vec<String>) {
            let set = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect();
            let mut walk = Walk::new(set(known), set(owned));
            let mut listed = Vec::new();
            while !walk.next().is_empty() {
                let now: Vec<String> = walk.next().iter().take(most).cloned().collect();
                walk.take(now.iter().map(|path| self.list(path)).collect());
                listed.extend(now);
            }
            (walk.end(), listed)
        }
    }

    #[test]
    fn what_is_known_is_found_and_everything_else_is_told() {
        let tree = Tree::of(
            &[
                ".volumes-agent/volumes",
                "r-a/web/var/www/html/content",
                "r-a/web/var/lib",
                "r-a/@volumes/assets/x",
                "r-a/@volumes/old/y",
                "r-a/old/data/z",
                "r-a/bare",
                "backup/2024/01",
            ],
            &["r-a/file", "r-a/web/log", "note"],
        );
        let known = [
            "r-a/web/var/www/html",
            "r-a/@volumes/assets",
            "r-a/web/gone",
            "r-a/web/log",
            "r-a/web/log/in",
            "s-b/c/d",
        ];
        let (found, listed) = tree.walk(&known, &["r-a"], 2);
        let not = |path: &str, found| (path.to_owned(), At::Not(found));
        let there = |path: &str| (path.to_owned(), At::Directory(tree.directories[path]));
        let expected = [
            there("r-a/@volumes/assets"),
            not("r-a/web/gone", Found::Nothing),
            not("r-a/web/log", Found::NoDirectory),
            not("r-a/web/log/in", Found::NoDirectory),
            there("r-a/web/var/www/html"),
            not("s-b/c/d", Found::Nothing),
        ];
        assert_eq!(found.known, BTreeMap::from(expected));
        let others = ["backup", "r-a/@volumes/old", "r-a/bare", "r-a/old/data", "r-a/web/var/lib"];
        assert_eq!(found.others, others.map(str::to_owned).into());
        assert!(
            !listed
                .iter()
                .any(|path| path.starts_with("r-a/web/var/www/html") || path.starts_with("r-a/old/data")),
            "{listed:?}"
        );
    }

    #[test]
    fn what_can_t_be_listed_is_not_known_and_said() {
        let mut walk = Walk::new(["r-a/web/data".to_owned()].into(), BTreeSet::new());
        walk.take(vec![Listed::Entries(vec![Entry { name: "r-a".to_owned(), inode: Some(1), looks: None }])]);
        walk.take(vec![Listed::Failed("no".to_owned())]);
        assert!(walk.next().is_empty());
        let found = walk.end();
        assert_eq!(found.known["r-a/web/data"], At::Unknown);
        assert_eq!(found.unreadable, [unreadable("r-a", "no".to_owned())]);
    }

    const PATH: &str = "[ab]/[cd]/[ef](/[gh](/[ij])?)?";

    proptest! {
        /// Whatever the tree: each known volume is found as it is, every directory of an owned app is a known volume, in or above one,
        /// or told; and what is told is there.
        #[test]
        fn nothing_is_overlooked(
            directories in prop::collection::vec(PATH, 0..8),
            known in prop::collection::btree_set(PATH, 0..6),
            most in 1usize..4,
        ) {
            fn texts<'a>(paths: impl IntoIterator<Item = &'a String>) -> Vec<&'a str> {
                paths.into_iter().map(String::as_str).collect()
            }
            let tree = Tree::of(&texts(&directories), &[]);
            let (found, _) = tree.walk(&texts(&known), &["a", "b"], most);
            for path in &known {
                let expected = tree.directories.get(path).map_or(At::Not(Found::Nothing), |inode| At::Directory(*inode));
                prop_assert_eq!(found.known[path], expected);
            }
            for path in tree.directories.keys() {
                let is_in = on_the_way(path).any(|part| known.contains(part) || found.others.contains(part));
                let leads = |to: &String| above(to).any(|part| part == path.as_str());
                prop_assert!(is_in || known.iter().chain(&found.others).any(leads), "{path} is told by nothing");
            }
            for other in &found.others {
                prop_assert!(tree.directories.contains_key(other) && !known.contains(other));
                prop_assert!(!above(other).any(|part| known.contains(part) || found.others.contains(part)));
            }
        }
    }
}
