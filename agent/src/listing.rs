//! The volumes of a share: where each is, who uses it, and which nobody uses. Pure: what the share tells and what the cluster tells are
//! put side by side.
//!
//! Somebody may delete what is called an orphan. So it is called so only where everything is known that could use it: a volume whose
//! owner is another rack, one that a service may use whose declarations can't be told, and everything while ECS does not answer, is not.

mod first_use;
pub mod uses;
pub mod walk;

use crate::{
    drift,
    inventory::{OWNERS, Owner, Record},
    missing_volumes::{Found, MissingVolume, Unreadable},
    mount::VOLUMES_ROOT,
    names::Rack,
    ownership::{Mode, Owner as Ownership},
    share::AGENT_DIRECTORY,
};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use uses::{Hides, Uses, Volumes};
use walk::{At, Directories, above};

/// What the share tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Share {
    /// Whose the directories `<rack>-<app>` are.
    pub owners: Vec<Owner>,
    /// Records, by their files' names.
    pub records: Vec<(String, Record)>,
    /// What is where volumes are known, and elsewhere.
    pub directories: Directories,
    /// Of [`suspects`], those that are not what their record says, by a second look.
    pub missing: Vec<MissingVolume>,
    /// Files of the agent and directories that could not be read.
    pub unreadable: Vec<Unreadable>,
    /// Other clusters that have, or had, a leader on this share.
    pub other_clusters: Vec<String>,
}

/// What the cluster tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// Its rack.
    pub rack: Rack,
    /// Its services, as far as they were read.
    pub services: Vec<Uses>,
    /// Why not all were read, if so.
    pub incomplete: Option<String>,
}

/// What a volume comes to, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// A service of the cluster uses it.
    Used,
    /// A service declares it, and its directory was never made.
    NotMade,
    /// No service of the cluster uses it.
    Orphan,
    /// As [`State::Orphan`], and no file says whose it is.
    Unowned,
    /// Another rack's: whether it is used isn't told here.
    OtherRack,
    /// Whether it is used isn't known.
    Unknown,
    /// It has a record, and its directory is gone.
    Gone,
    /// Another directory is in its place.
    Replaced,
    /// A symlink or a file is in its place.
    NoDirectory,
}

impl State {
    /// As in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Used => "used",
            Self::NotMade => "not-made",
            Self::Orphan => "orphan",
            Self::Unowned => "unowned",
            Self::OtherRack => "other-rack",
            Self::Unknown => "unknown",
            Self::Gone => "gone",
            Self::Replaced => "replaced",
            Self::NoDirectory => "no-directory",
        }
    }

    fn of(directory: Place, usage: Usage) -> Self {
        match (directory, usage) {
            (Place::Gone, _) => Self::Gone,
            (Place::Replaced, _) => Self::Replaced,
            (Place::NoDirectory, _) => Self::NoDirectory,
            (Place::NotMade, Usage::Used) => Self::NotMade,
            (_, Usage::Used) => Self::Used,
            (_, Usage::Unused) => Self::Orphan,
            (_, Usage::Unowned) => Self::Unowned,
            (_, Usage::OtherRack) => Self::OtherRack,
            (_, Usage::Unknown) => Self::Unknown,
        }
    }
}

/// What is on the share for a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// Its directory.
    There,
    /// Nothing, and it has no record: it was never made.
    NotMade,
    /// Nothing, and it has a record.
    Gone,
    /// Another directory than the recorded one.
    Replaced,
    /// A symlink or a file.
    NoDirectory,
    /// It can't be told.
    Unknown,
}

/// Whether a volume is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Usage {
    /// By a service of the cluster.
    Used,
    /// By none of them.
    Unused,
    /// By none of them, and whose it is isn't known.
    Unowned,
    /// It is another rack's.
    OtherRack,
    /// It can't be told.
    Unknown,
}

/// A container of a service that uses a volume.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct UsedBy {
    /// The service's name in ECS.
    pub service: String,
    /// The container.
    pub container: String,
    /// The path in it.
    pub target: String,
    /// Whether it may only read.
    pub read_only: bool,
    /// Whether the revision mounts it. If not, it declares it, and its tasks run without.
    pub mounted: bool,
    /// The revision's ARN.
    pub revision: String,
    /// The revision that it was made from, or `pipeline`.
    pub source: Option<String>,
    /// Tasks of it that run.
    pub tasks: u32,
    /// When its deployment was begun, RFC 3339.
    pub since: Option<String>,
}

/// A volume, or what lies where one could.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Volume {
    /// Its rack, where that is known.
    pub rack: Option<String>,
    /// Its app.
    pub app: Option<String>,
    /// Its service's name in the compose file; `@volumes` for one that services share.
    pub service: Option<String>,
    /// Its path on every instance.
    pub path: String,
    /// What it comes to.
    pub state: State,
    /// What is on the share.
    pub directory: Place,
    /// Whether it is used.
    pub usage: Usage,
    /// By whom.
    pub used_by: Vec<UsedBy>,
    /// Its record's file.
    pub record: Option<String>,
    /// When it was made, as its record says.
    pub made_at: Option<String>,
    /// By which instance.
    pub made_by: Option<String>,
    /// Whose its directory is, by numbers.
    pub owner: Option<Ownership>,
    /// Its permissions.
    pub mode: Option<Mode>,
    /// Whose it was to be, where somebody says.
    pub asked_owner: Option<Ownership>,
    /// Its permissions, likewise.
    pub asked_mode: Option<Mode>,
    /// How far its first use has come.
    pub first_use: Option<String>,
    /// Why it comes to that, where it isn't plain, or what is not as it was asked for; and what to do.
    pub why: Option<String>,
}

/// A service, by what its PRIMARY deployment runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Service {
    /// Its name in ECS.
    pub service: String,
    /// What its volumes are.
    pub volumes: Volumes,
    /// The reason's code, where there is a reason.
    pub code: Option<&'static str>,
    /// Why, with what to do.
    pub reason: Option<String>,
    /// The revision's ARN.
    pub revision: String,
    /// The revision that it was made from, or `pipeline`.
    pub source: Option<String>,
    /// Tasks of it that run.
    pub tasks: u32,
    /// When its deployment was begun, RFC 3339.
    pub since: Option<String>,
}

/// Everything, sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Listing {
    /// By rack, app and path; what belongs to nobody known comes last.
    pub volumes: Vec<Volume>,
    /// By name; those without a declaration are left out.
    pub services: Vec<Service>,
    /// Files of the agent and directories that can't be read: what they would tell is missing above.
    pub unreadable: Vec<Unreadable>,
    /// Other clusters that have, or had, a leader on this share: `<region>-<account>-<cluster>`.
    pub other_clusters: Vec<String>,
}

/// Something at a path of the share that could not be read.
pub fn unreadable(path: &str, why: String) -> Unreadable {
    Unreadable { record: format!("{VOLUMES_ROOT}/{path}"), why }
}

/// The paths that services use, relative to the volumes root.
pub fn used_paths(services: &[Uses]) -> BTreeSet<String> {
    let deployments = services.iter().flat_map(|service| &service.deployments);
    let mounts = deployments.flat_map(|deployed| &deployed.revision.mounts);
    mounts.map(|mount| mount.path.clone()).collect()
}

/// Whether a record's path is one that the layout can give: what is deeper than an app's directory, and climbs nowhere.
pub fn is_layout_path(path: &str) -> bool {
    path.contains('/') && !path.split('/').any(|part| matches!(part, "" | "." | ".."))
}

/// The names of the records whose directory doesn't seem to be the recorded one. To be looked at again: it may have been made, or have
/// been put into its place, since the record was read.
pub fn suspects(records: &[(String, Record)], directories: &Directories) -> Vec<String> {
    let differs = |record: &Record| match directories.known.get(&record.path) {
        Some(At::Directory(inode)) => *inode != record.inode,
        Some(At::Not(_)) => true,
        Some(At::Unknown) | None => false,
    };
    records.iter().filter(|(_, record)| differs(record)).map(|(name, _)| name.clone()).collect()
}

/// Puts side by side what is known. `None`: that side can't be asked.
pub fn list(share: Option<&Share>, cluster: Option<&Cluster>, rack: Option<&Rack>) -> Listing {
    let sides = Sides::new(share, cluster, rack);
    let mut volumes: Vec<Volume> = sides.paths().into_iter().map(|path| sides.volume(path)).collect();
    let key = |volume: &Volume| {
        (volume.rack.is_none(), volume.rack.clone(), volume.app.clone(), volume.path.clone())
    };
    volumes.sort_by_cached_key(key);
    Listing {
        volumes,
        services: cluster.map(services).unwrap_or_default(),
        unreadable: share.map(|share| share.unreadable.clone()).unwrap_or_default(),
        other_clusters: share.map(|share| share.other_clusters.clone()).unwrap_or_default(),
    }
}

fn services(cluster: &Cluster) -> Vec<Service> {
    let primary = |uses: &Uses| {
        let deployed = uses.deployments.iter().find(|deployed| deployed.is_primary)?;
        let revision = &deployed.revision;
        (revision.volumes != Volumes::NothingDeclared).then(|| Service {
            service: uses.service.clone(),
            volumes: revision.volumes,
            code: revision.code,
            reason: revision.reason.clone(),
            revision: deployed.arn.clone(),
            source: revision.source.clone(),
            tasks: deployed.tasks,
            since: deployed.since.clone(),
        })
    };
    let mut services: Vec<Service> = cluster.services.iter().filter_map(primary).collect();
    services.sort_by(|a, b| a.service.cmp(&b.service));
    services
}

/// Both sides, by path.
struct Sides<'a> {
    share: Option<&'a Share>,
    cluster: Option<&'a Cluster>,
    rack: Option<&'a Rack>,
    /// Rack and app of a directory `<rack>-<app>`.
    owners: BTreeMap<String, (String, String)>,
    records: BTreeMap<&'a str, (&'a str, &'a Record)>,
    missing: BTreeMap<&'a str, &'a MissingVolume>,
    used_by: BTreeMap<&'a str, BTreeSet<UsedBy>>,
    /// Why what an app's volumes are used by can't be told, by `<rack>-<app>`, and of all.
    hidden: BTreeMap<&'a str, String>,
    all_hidden: Option<String>,
}

impl<'a> Sides<'a> {
    fn new(share: Option<&'a Share>, cluster: Option<&'a Cluster>, rack: Option<&'a Rack>) -> Self {
        let mut sides = Self {
            share,
            cluster,
            rack,
            owners: BTreeMap::new(),
            records: BTreeMap::new(),
            missing: BTreeMap::new(),
            used_by: BTreeMap::new(),
            hidden: BTreeMap::new(),
            all_hidden: None,
        };
        for service in cluster.into_iter().flat_map(|cluster| &cluster.services) {
            sides.take_service(service);
        }
        if let Some(share) = share {
            // The file on the share is what counts: it is what keeps a second owner away.
            let owners = share.owners.iter();
            sides.owners.extend(
                owners
                    .map(|owner| (joined(&owner.rack, &owner.app), (owner.rack.clone(), owner.app.clone()))),
            );
            sides.records = share
                .records
                .iter()
                .map(|(name, record)| (record.path.as_str(), (name.as_str(), record)))
                .collect();
            sides.missing = share.missing.iter().map(|missing| (missing.path.as_str(), missing)).collect();
        }
        sides
    }

    fn take_service(&mut self, service: &'a Uses) {
        for deployed in &service.deployments {
            let revision = &deployed.revision;
            for needed in &revision.needed {
                let (rack, app) = (needed.rack.to_string(), needed.app.to_string());
                self.owners.insert(joined(&rack, &app), (rack, app));
            }
            for mount in &revision.mounts {
                self.used_by.entry(&mount.path).or_default().insert(UsedBy {
                    service: service.service.clone(),
                    container: mount.container.clone(),
                    target: mount.target.clone(),
                    read_only: mount.read_only,
                    mounted: !revision.not_mounted.contains(mount),
                    revision: deployed.arn.clone(),
                    source: revision.source.clone(),
                    tasks: deployed.tasks,
                    since: deployed.since.clone(),
                });
            }
            let why = || {
                format!(
                    "service `{}` is {} [{}], so that it can't be told what else it uses: `volumes-agent explain-service {}`",
                    service.service,
                    revision.volumes.name(),
                    revision.code.unwrap_or_default(),
                    service.service
                )
            };
            match &revision.hides {
                Hides::Apps(apps) => {
                    for app in apps {
                        self.hidden.entry(app).or_insert_with(why);
                    }
                }
                Hides::Anything => {
                    self.all_hidden.get_or_insert_with(why);
                }
            }
        }
    }

    fn paths(&self) -> BTreeSet<&'a str> {
        let others = self.share.into_iter().flat_map(|share| &share.directories.others).map(String::as_str);
        self.records.keys().chain(self.used_by.keys()).copied().chain(others).collect()
    }

    fn volume(&self, path: &'a str) -> Volume {
        let owner = self.owners.get(path.split('/').next().unwrap_or_default());
        let record = self.records.get(path);
        let used_by = self.used_by(path);
        let directory = self.directory(path);
        let (usage, why) = self.usage(path, owner.map(|(rack, _)| rack.as_str()), !used_by.is_empty());
        let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let looks = self.share.and_then(|share| share.directories.looks.get(path));
        let drifted = drift::told(path, record.map(|(_, record)| *record), looks);
        Volume {
            rack: owner.map(|(rack, _)| rack.clone()),
            app: owner.map(|(_, app)| app.clone()),
            service: path.split('/').nth(1).map(str::to_owned),
            path: format!("{VOLUMES_ROOT}/{path}"),
            state: State::of(directory, usage),
            directory,
            usage,
            used_by,
            record: record.map(|(name, _)| (*name).to_owned()),
            made_at: record.and_then(|(_, record)| text(&record.made_at)),
            made_by: record.and_then(|(_, record)| text(&record.made_by)),
            owner: looks.map(|(owner, _)| *owner),
            mode: looks.map(|(_, mode)| *mode),
            asked_owner: record.and_then(|(_, record)| record.owner),
            asked_mode: record.and_then(|(_, record)| record.mode),
            first_use: record.map(|(_, record)| first_use::state(&record.state)),
            why: self.missing.get(path).map(|missing| missing.problem()).or(why).or(drifted),
        }
    }

    /// Who mounts it, or a directory above it.
    fn used_by(&self, path: &str) -> Vec<UsedBy> {
        let parts = above(path).chain([path]);
        let all = parts.filter_map(|part| self.used_by.get(part)).flatten().cloned();
        all.collect::<BTreeSet<_>>().into_iter().collect()
    }

    fn directory(&self, path: &str) -> Place {
        let Some(share) = self.share else { return Place::Unknown };
        if let Some(missing) = self.missing.get(path) {
            return match missing.found {
                Found::Nothing => Place::Gone,
                Found::OtherDirectory => Place::Replaced,
                Found::NoDirectory => Place::NoDirectory,
            };
        }
        let has_record = self.records.contains_key(path);
        match share.directories.known.get(path) {
            Some(At::Unknown) => Place::Unknown,
            // What seemed wrong, and was not by the second look, is there.
            _ if has_record => Place::There,
            Some(At::Directory(_)) => Place::There,
            Some(At::Not(Found::NoDirectory)) => Place::NoDirectory,
            Some(At::Not(_)) => Place::NotMade,
            None if share.directories.others.contains(path) => Place::There,
            None => Place::Unknown,
        }
    }

    fn usage(&self, path: &str, owner: Option<&str>, is_used: bool) -> (Usage, Option<String>) {
        if is_used {
            return (Usage::Used, None);
        }
        let unknown = |why: &str| (Usage::Unknown, Some(why.to_owned()));
        let app = path.split('/').next().unwrap_or_default();
        match (self.cluster, self.rack, owner) {
            (_, Some(rack), Some(owner)) if rack.as_str() != owner => {
                let why = format!(
                    "it is rack `{owner}`'s: run `volumes-agent ls` on an instance of its cluster to see whether it is used"
                );
                (Usage::OtherRack, Some(why))
            }
            (None, ..) | (_, None, _) => unknown("what the cluster's services use is not known"),
            (Some(Cluster { incomplete: Some(_), .. }), ..) => {
                unknown("what the cluster's services use is not known: not all of them could be read")
            }
            (_, _, None) if self.has_unreadable_owner(app) => {
                unknown("the file that says whose it is can't be read")
            }
            _ if self.hidden.contains_key(app) || self.all_hidden.is_some() => {
                (Usage::Unknown, self.hidden.get(app).or(self.all_hidden.as_ref()).cloned())
            }
            (_, _, Some(_)) => (Usage::Unused, None),
            (_, _, None) => {
                let why = "no file on the share says whose it is, so the agent did not make it";
                (Usage::Unowned, Some(why.to_owned()))
            }
        }
    }

    fn has_unreadable_owner(&self, app: &str) -> bool {
        let file = unreadable(&format!("{AGENT_DIRECTORY}/{OWNERS}/{app}.json"), String::new()).record;
        self.share.is_some_and(|share| share.unreadable.iter().any(|one| one.record == file))
    }
}

fn joined(rack: &str, app: &str) -> String {
    format!("{rack}-{app}")
}

impl Volume {
    /// Whether no service of the cluster uses it, as far as that is known: what an operator may want to remove.
    pub fn is_unused(&self) -> bool {
        matches!(self.usage, Usage::Unused | Usage::Unowned)
    }
}

impl Listing {
    /// Leaves out what is used, or may be.
    pub fn keep_unused(&mut self) {
        self.volumes.retain(Volume::is_unused);
    }

    /// What a person should know beside the table, each once.
    pub fn notes(&self) -> Vec<String> {
        let mut whys: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for volume in &self.volumes {
            whys.entry(volume.why.as_deref().unwrap_or_default()).or_default().push(&volume.path);
        }
        whys.remove("");
        let note = |(why, paths): (&str, Vec<&str>)| match paths[..] {
            // It has its subject already.
            [path] if why.contains(path) => why.to_owned(),
            [path] => format!("{path}: {why}"),
            _ => format!("{} volumes: {why}", paths.len()),
        };
        let mut notes: Vec<String> = whys.into_iter().map(note).collect();
        if !self.volumes.iter().any(Volume::is_unused) {
            return notes;
        }
        notes.push(
            "tasks that no service runs (RunTask, schedules) are not looked at: they may use what is called an orphan"
                .to_owned(),
        );
        if !self.other_clusters.is_empty() {
            notes.push(format!(
                "this share serves other clusters as well ({}): run `volumes-agent ls` there too before anything is removed",
                self.other_clusters.join(", ")
            ));
        }
        notes
    }

    /// How many there are of each state: `3 volumes: 2 used, 1 orphan`.
    pub fn summary(&self) -> String {
        let mut states: BTreeMap<State, usize> = BTreeMap::new();
        for volume in &self.volumes {
            *states.entry(volume.state).or_default() += 1;
        }
        let each: Vec<String> =
            states.iter().map(|(state, times)| format!("{times} {}", state.name())).collect();
        let count = self.volumes.len();
        let volumes = if count == 1 { "volume" } else { "volumes" };
        let colon = if each.is_empty() { "" } else { ": " };
        format!("{count} {volumes}{colon}{}", each.join(", "))
    }
}

#[cfg(test)]
#[path = "listing/tests.rs"]
mod tests;
