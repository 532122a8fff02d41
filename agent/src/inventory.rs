//! What lies on the share, for `ls`: who owns which app's directory, volumes' records, and which directories there are. Runs in a share
//! worker; changes nothing.
//!
//! There may be ten thousand volumes, and each is a few round trips: every question has a budget, and is asked again from where the last
//! one stopped.

pub use crate::record::Record;
use crate::{
    missing_volumes::{RECORDS, Unreadable, whole_records},
    share::{AGENT_DIRECTORY, Directory, Entry, ShareError},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::time::{Duration, Instant};

/// The owners' directory in the agent's own.
pub const OWNERS: &str = "owners";
/// The one of the leaders' locks.
const LEADERS: &str = "leader";
/// More in one directory is no longer read: apps, services and volumes are never so many.
const MOST_ENTRIES: usize = 50_000;

/// A part of a directory's files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageRequest {
    /// The name of the last file of the part before. `None`: from the beginning.
    pub after: Option<String>,
    /// Stop after about so many milliseconds, and be asked again.
    pub budget_ms: u64,
}

/// Its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page<T> {
    /// The files' names and what is in them, in the order of the names.
    pub files: Vec<(String, T)>,
    /// Those that can't be understood, each with why.
    pub unreadable: Vec<Unreadable>,
    /// Where it stopped. `None`: there is no more.
    pub until: Option<String>,
}

/// Whose a directory `<rack>-<app>` is, as `directories` writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The rack.
    pub rack: String,
    /// The app.
    pub app: String,
}

/// Directories to look into.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListRequest {
    /// Relative to the volumes root, which itself is the empty path.
    pub directories: Vec<String>,
    /// Stop after about so many milliseconds, and be asked for the rest.
    pub budget_ms: u64,
}

/// What is in one of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Listed {
    /// Nothing is there.
    Nothing,
    /// A symlink or a file is there, or on the way.
    NoDirectory,
    /// These.
    Entries(Vec<Entry>),
    /// It can't be told, and why.
    Failed(String),
}

impl PageRequest {
    /// From the beginning, with this budget.
    pub fn first(budget: Duration) -> Self {
        Self { after: None, budget_ms: milliseconds(budget) }
    }
}

impl ListRequest {
    /// Of these, with this budget.
    pub fn new(directories: Vec<String>, budget: Duration) -> Self {
        Self { directories, budget_ms: milliseconds(budget) }
    }
}

fn milliseconds(budget: Duration) -> u64 {
    budget.as_millis().try_into().unwrap_or(u64::MAX)
}

/// Reads owner files.
///
/// # Errors
/// The share's; of a single file they are in the answer.
pub fn owners(request: &PageRequest) -> Result<Page<Owner>, ShareError> {
    page(&Directory::root()?, OWNERS, request)
}

/// Reads volumes' records.
///
/// # Errors
/// The share's; of a single record they are in the answer.
pub fn records(request: &PageRequest) -> Result<Page<Record>, ShareError> {
    records_below(&Directory::root()?, request)
}

/// The same, below the share's root as it is held already.
///
/// # Errors
/// As [`records`].
pub fn records_below(root: &Directory, request: &PageRequest) -> Result<Page<Record>, ShareError> {
    page(root, RECORDS, request)
}

/// Looks into directories, at least into one, in their order.
///
/// # Errors
/// The share is not there; of a single directory they are in the answer.
pub fn list(request: &ListRequest) -> Result<Vec<Listed>, ShareError> {
    Ok(list_below(&Directory::root()?, request))
}

/// The names of the clusters' locks, `<region>-<account>-<cluster>`. The locks themselves are opened by lock workers alone.
///
/// # Errors
/// The share's.
pub fn leaders() -> Result<Vec<String>, ShareError> {
    leaders_below(&Directory::root()?)
}

fn leaders_below(root: &Directory) -> Result<Vec<String>, ShareError> {
    let Some(leaders) = of_agent(root, LEADERS)? else { return Ok(Vec::new()) };
    let names = whole_records(leaders.names()?, None);
    Ok(names.iter().filter_map(|name| name.strip_suffix(".json")).map(str::to_owned).collect())
}

/// One of the agent's directories, where it is there: a look makes none.
fn of_agent(root: &Directory, below: &str) -> Result<Option<Directory>, ShareError> {
    match root.open(AGENT_DIRECTORY)? {
        Some(agent) => agent.open(below),
        None => Ok(None),
    }
}

fn page<T: DeserializeOwned>(
    root: &Directory,
    below: &str,
    request: &PageRequest,
) -> Result<Page<T>, ShareError> {
    let (begun, budget) = (Instant::now(), Duration::from_millis(request.budget_ms));
    let mut page = Page { files: Vec::new(), unreadable: Vec::new(), until: None };
    let Some(directory) = of_agent(root, below)? else { return Ok(page) };
    directory.refresh()?;
    let mut names = whole_records(directory.names()?, request.after.as_deref()).into_iter().peekable();
    while let Some(name) = names.next() {
        match directory.read::<T>(&name) {
            Ok(Some(content)) => page.files.push((name.clone(), content)),
            // Removed meanwhile.
            Ok(None) => {}
            Err(why @ (ShareError::Garbled { .. } | ShareError::Newer { .. })) => {
                page.unreadable
                    .push(Unreadable { record: name.clone(), why: crate::diagnostics::in_one_line(&why) });
            }
            Err(error) => return Err(error),
        }
        if begun.elapsed() >= budget && names.peek().is_some() {
            page.until = Some(name);
            break;
        }
    }
    Ok(page)
}

fn list_below(root: &Directory, request: &ListRequest) -> Vec<Listed> {
    let (begun, budget) = (Instant::now(), Duration::from_millis(request.budget_ms));
    let mut listed = Vec::new();
    for path in &request.directories {
        let found = entries(root, path).unwrap_or_else(|error| match error {
            ShareError::NotADirectory(_) => Listed::NoDirectory,
            error => Listed::Failed(error.to_string()),
        });
        listed.push(found);
        if begun.elapsed() >= budget {
            break;
        }
    }
    listed
}

fn entries(root: &Directory, path: &str) -> Result<Listed, ShareError> {
    let mut at: Option<Directory> = None;
    for component in path.split('/').filter(|_| !path.is_empty()) {
        match at.as_ref().unwrap_or(root).open(component)? {
            Some(next) => at = Some(next),
            None => return Ok(Listed::Nothing),
        }
    }
    Ok(match at.as_ref().unwrap_or(root).entries(MOST_ENTRIES)? {
        Some(entries) => Listed::Entries(entries),
        None => Listed::Failed(format!("it has more than {MOST_ENTRIES} entries")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    /// A folder of this test's own, in the place of the share.
    struct Share(PathBuf);

    impl Share {
        fn with(name: &str, directories: &[&str]) -> Self {
            let path =
                std::env::temp_dir().join(format!("volumes-agent-inventory-{name}-{}", std::process::id()));
            std::fs::create_dir(&path).unwrap();
            for directory in directories {
                std::fs::create_dir(path.join(directory)).unwrap();
            }
            Self(path)
        }

        fn write(&self, path: &str, text: &str) {
            std::fs::write(self.0.join(path), text).unwrap();
        }

        fn root(&self) -> Directory {
            Directory::anywhere(&self.0, "").unwrap()
        }
    }

    impl Drop for Share {
        fn drop(&mut self) {
            drop(std::fs::remove_dir_all(&self.0));
        }
    }

    fn budget(budget_ms: u64, after: Option<&str>) -> PageRequest {
        PageRequest { after: after.map(str::to_owned), budget_ms }
    }

    #[test]
    fn records_are_read_page_by_page_and_none_is_dropped() {
        let share = Share::with("records", &[".volumes-agent", ".volumes-agent/volumes"]);
        let empty: Page<Record> = page(&share.root(), OWNERS, &budget(0, None)).unwrap();
        assert_eq!((empty.files.len(), empty.until), (0, None), "no such directory is no record");
        for name in ["a", "c"] {
            let record = format!(
                r#"{{ "format": 1, "path": "r-a/web/{name}", "state": "made", "inode": 7, "made_at": "t", "made_by": "i-1" }}"#
            );
            share.write(&format!(".volumes-agent/volumes/{name}.json"), &record);
        }
        share.write(".volumes-agent/volumes/b.json", "{");
        share.write(".volumes-agent/volumes/d.json", r#"{ "format": 99 }"#);
        share.write(".volumes-agent/volumes/.e.json.0123", "being written");
        let (mut seen, mut unreadable, mut after) = (Vec::new(), Vec::new(), None);
        loop {
            let page: Page<Record> = page(&share.root(), RECORDS, &budget(0, after.as_deref())).unwrap();
            seen.extend(page.files.into_iter().map(|(name, record)| format!("{name} {}", record.path)));
            unreadable.extend(page.unreadable);
            after = page.until;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(seen, ["a.json r-a/web/a", "c.json r-a/web/c"]);
        let [garbled, newer] = <[Unreadable; 2]>::try_from(unreadable).unwrap();
        assert_eq!((garbled.record.as_str(), newer.record.as_str()), ("b.json", "d.json"));
        assert!(garbled.why.contains("EOF") && newer.why.contains("has format 99"), "{garbled:?} {newer:?}");
        let whole: Page<Record> = page(&share.root(), RECORDS, &budget(60_000, None)).unwrap();
        assert_eq!((whole.files.len(), whole.until), (2, None));
    }

    #[test]
    fn directories_are_listed_without_following_a_symlink() {
        use std::os::unix::fs::{MetadataExt, symlink};
        let share = Share::with("directories", &["r-a", "r-a/web", "r-a/web/data"]);
        symlink("/etc", share.0.join("r-a/web/link")).unwrap();
        share.write("r-a/web/file", "");
        let ask = |directories: &[&str], budget_ms| {
            let directories = directories.iter().map(|path| (*path).to_owned()).collect();
            list_below(&share.root(), &ListRequest { directories, budget_ms })
        };
        let answers = ask(&["", "r-a/web", "r-a/none", "r-a/web/link", "r-a/web/link/ssl", "../etc"], 60_000);
        let [root, web, none, link, below, outside] = <[Listed; 6]>::try_from(answers).unwrap();
        assert!(matches!(root, Listed::Entries(entries) if entries.len() == 1 && entries[0].name == "r-a"));
        let Listed::Entries(mut web) = web else { panic!("{web:?}") };
        assert!(web.iter().all(|entry| entry.looks.is_some() == entry.inode.is_some()), "{web:?}");
        web.iter_mut().for_each(|entry| entry.looks = None);
        web.sort_by(|a, b| a.name.cmp(&b.name));
        let inode = std::fs::metadata(share.0.join("r-a/web/data")).unwrap().ino();
        let entry = |name: &str, inode| Entry { name: name.to_owned(), inode, looks: None };
        assert_eq!(web, [entry("data", Some(inode)), entry("file", None), entry("link", None)]);
        assert_eq!([none, link, below], [Listed::Nothing, Listed::NoDirectory, Listed::NoDirectory]);
        assert!(matches!(outside, Listed::Failed(_)), "{outside:?}");
        assert_eq!(ask(&["", "r-a"], 0).len(), 1, "the rest is asked for again");
        assert_eq!(share.root().entries(0).unwrap(), None, "more than asked for");
    }

    #[test]
    fn clusters_are_known_by_their_leaders() {
        let share = Share::with("leaders", &[".volumes-agent"]);
        assert_eq!(leaders_below(&share.root()).unwrap(), [""; 0]);
        std::fs::create_dir(share.0.join(".volumes-agent/leader")).unwrap();
        for name in
            ["us-east-1-123456789012-b", "us-east-1-123456789012-b.json", "us-east-1-123456789012-a.json"]
        {
            share.write(&format!(".volumes-agent/leader/{name}"), "{}");
        }
        let names = ["us-east-1-123456789012-a", "us-east-1-123456789012-b"];
        assert_eq!(leaders_below(&share.root()).unwrap(), names);
    }
}
