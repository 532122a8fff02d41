//! From a compose file to volumes or refusals, for the share or for a laptop: one decision for `plan`, `patch` and the daemon.

pub mod caution;
mod extension;
mod spellings;

use crate::{
    compose::{
        self, Compose, Entry, Service, TopLevelVolume, consistency::other_service, layer::Text,
        service::of_text_without_value,
    },
    declaration::{self, Declaration, tmpfs},
    layout::{self, Finding, Place, Volume},
    names::{App, ServiceName},
    problem::{Problem, Severity},
    silence::Silences,
    yaml::Place as At,
};
use caution::Images;
use spellings::Spellings;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// A volume with where it was declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// The service.
    pub service: ServiceName,
    /// The declaration with its variables replaced, where that changed it.
    pub resolved: Option<String>,
    /// Where it stands.
    pub place: At,
    /// What it declares; with what the service says beside it.
    pub declaration: Declaration,
    /// The volume.
    pub volume: Volume,
}

/// What becomes of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decision {
    /// Volumes, in the file's order.
    pub volumes: Vec<Planned>,
    /// Entries without a volume.
    pub refusals: Vec<Problem>,
    /// Volumes, and services, with a warning.
    pub warnings: Vec<Problem>,
    /// How many warnings the file silences; they are not among those.
    pub silenced: usize,
}

/// Decides about every entry of every active service.
pub fn decide(compose: &Compose, place: Place<'_>, app: &App) -> Decision {
    decide_knowing(compose, place, app, &Images::new())
}

/// The same for who knows something of the images. What is a volume and what is refused doesn't depend on them.
pub fn decide_knowing(compose: &Compose, place: Place<'_>, app: &App, images: &Images) -> Decision {
    let mut decision = Decision::default();
    let volumes = compose.volumes.iter().map(|volume| (volume.key.as_str(), volume)).collect();
    let mut spellings = Spellings::default();
    for service in compose.active() {
        decision.service(&volumes, service, place, app, &mut spellings);
    }
    decision.all_volumes_from(compose, place);
    let mut warnings: Vec<Problem> = caution::inactive(compose, place).collect();
    warnings.extend(compose.active().flat_map(|service| service.warnings.clone()));
    warnings.extend(compose.active().flat_map(extension::meaningless));
    warnings.extend(caution::several_database_tasks(compose, &decision));
    if matches!(place, Place::Deployed { .. }) {
        warnings.extend(caution::not_root(compose, &decision, images));
        warnings.extend(caution::uncovered(compose, &decision, images));
    }
    decision.warnings.extend(warnings);
    let (silences, wrong) = Silences::of(compose);
    decision.silenced = silences.take_from(&mut decision.warnings);
    decision.warnings.extend(wrong);
    decision.refusals.sort_by_cached_key(Problem::sort_key);
    decision.warnings.sort_by_cached_key(Problem::sort_key);
    decision
}

impl Decision {
    /// For each volume, which other services mount the same directory, or path of the machine.
    pub fn shared_by(&self) -> Vec<Vec<&ServiceName>> {
        let mut by_source: HashMap<&str, BTreeMap<&str, &ServiceName>> = HashMap::new();
        let has_files =
            |planned: &&Planned| !matches!(planned.volume.kind, layout::Kind::Tmpfs | layout::Kind::Docker);
        for planned in self.volumes.iter().filter(has_files) {
            let services = by_source.entry(planned.volume.source.as_str()).or_default();
            services.insert(planned.service.as_str(), &planned.service);
        }
        let others = |planned: &Planned| {
            let services = by_source.get(planned.volume.source.as_str()).filter(|_| has_files(&planned));
            let services = services.into_iter().flat_map(BTreeMap::values);
            services.copied().filter(|service| **service != planned.service).collect()
        };
        self.volumes.iter().map(others).collect()
    }

    fn service(
        &mut self,
        volumes: &HashMap<&str, &TopLevelVolume>,
        service: &Service,
        place: Place<'_>,
        app: &App,
        spellings: &mut Spellings,
    ) {
        let is_deployed = matches!(place, Place::Deployed { .. });
        let is_memory_ours = is_deployed && !service.tmpfs.is_empty();
        if service.entries.is_empty() && service.volumes_from.is_empty() && !is_memory_ours {
            return;
        }
        let name: ServiceName = match service.name.parse() {
            Ok(name) => name,
            Err(error) => {
                let help = "rename the service: its name becomes a folder's";
                let problem = Problem::refused("service-name", error.to_string(), help);
                return self.refusals.push(problem.at(&service.place).service(&service.name));
            }
        };
        let (sound, unsound): (Vec<&Entry>, Vec<&Entry>) =
            service.entries.iter().partition(|entry| entry.refusals.is_empty());
        self.refusals.extend(unsound.into_iter().flat_map(|entry| entry.refusals.clone()));
        let mut sites: Vec<Site<'_>> = sound.into_iter().map(Site::Entry).collect();
        let mut declarations: Vec<Declaration> = sites
            .iter()
            .filter_map(|site| site.entry().map(|entry| with_extension(entry, service)))
            .collect();
        // On a laptop Docker reads them itself, and they are no volumes there.
        for text in service.tmpfs.iter().filter(|_| is_deployed) {
            match memory(text) {
                Ok(declaration) => {
                    sites.push(Site::Tmpfs(text));
                    declarations.push(declaration);
                }
                Err(refusals) => {
                    self.refusals.extend(refusals.into_iter().map(|problem| problem.service(&service.name)));
                }
            }
        }
        let laid_out = layout::layout(place, app, &name, &declarations);
        let told = |index: usize, severity, finding: Finding| {
            let Finding { code, reason, why, help, fix, .. } = finding;
            let site = &sites[index];
            let mut problem = site.problem(Problem::of(severity, code, reason, help)).service(&service.name);
            problem.why = why.map(str::to_owned);
            problem.fix(fix.filter(|_| site.is_what_was_looked_at()))
        };
        for (index, mut volume) in laid_out.volumes {
            let site = &sites[index];
            let top = declarations[index].named().and_then(|name| volumes.get(name).copied());
            match top.and_then(|top| Some((top, not_on_a_share(top)?))) {
                Some((_, problem)) if is_deployed => {
                    let problem = site.problem(problem).service(&service.name);
                    self.refusals.push(with_top_level(problem, top));
                    continue;
                }
                Some((top, _)) => {
                    volume.kind = layout::Kind::Docker;
                    volume.source.clone_from(&top.full_name);
                    volume.relative = None;
                }
                None => {
                    if let Some(problem) = top.and_then(|top| renamed(top, is_deployed)) {
                        let problem = site.problem(problem).service(&service.name);
                        self.warnings.push(with_top_level(problem, top));
                    }
                }
            }
            let collision = (!is_deployed).then(|| spellings.collision(&volume, site.place())).flatten();
            if let Some(problem) = collision {
                self.refusals.push(site.problem(problem).service(&service.name));
                continue;
            }
            self.volumes.push(Planned {
                service: name.clone(),
                resolved: site.resolved(),
                place: site.place().clone(),
                declaration: declarations[index].clone(),
                volume,
            });
        }
        self.refusals
            .extend(laid_out.refusals.into_iter().map(|(i, finding)| told(i, Severity::Refused, finding)));
        self.warnings
            .extend(laid_out.warnings.into_iter().map(|(i, finding)| told(i, Severity::Warning, finding)));
    }

    /// The same directories as another service, where a label can say so: those that services share.
    fn all_volumes_from(&mut self, compose: &Compose, place: Place<'_>) {
        let takers: Vec<&Service> =
            compose.active().filter(|service| !service.volumes_from.is_empty()).collect();
        let second_hand: HashSet<&str> = takers.iter().map(|service| service.name.as_str()).collect();
        let mut offers: HashMap<String, Offer> = HashMap::new();
        // Docker passes volumes on, and memory of `volumes`, but not what the key `tmpfs` asks for.
        let not_passed_on: BTreeSet<&At> =
            compose.active().flat_map(|service| &service.tmpfs).map(|text| &text.place).collect();
        let passed_on = self.volumes.iter().filter(|planned| !not_passed_on.contains(&planned.place));
        for planned in passed_on.filter(|_| !takers.is_empty()) {
            let offer = offers.entry(planned.service.to_string()).or_default();
            if planned.volume.kind == layout::Kind::Service && matches!(place, Place::Deployed { .. }) {
                offer.own.push(planned.volume.target.clone());
            } else {
                offer.shared.push(planned.clone());
            }
        }
        let none = Offer::default();
        let mut taken = 0;
        for service in takers {
            let Ok(taker) = service.name.parse::<ServiceName>() else { continue };
            let own = offers.get(&service.name).unwrap_or(&none);
            let shared = own.shared.iter().map(|planned| &planned.volume.target);
            let mut targets: HashSet<String> = shared.chain(&own.own).cloned().collect();
            for text in &service.volumes_from {
                let offer = offers.get(text.value.split(':').next().unwrap_or_default()).unwrap_or(&none);
                let told = |problem: Problem| {
                    let problem =
                        problem.at(&text.place).came_by(text.origin.as_ref()).service(&service.name);
                    problem.why("ECS gives a container only what its own definition names")
                };
                if let Some(problem) = why_not_taken(text, &second_hand) {
                    self.refusals.push(told(problem));
                    continue;
                }
                self.refusals.extend(offer.not_shared(&text.value).map(told));
                for planned in &offer.shared {
                    if !targets.insert(planned.volume.target.clone()) {
                        continue;
                    }
                    taken += 1;
                    if taken > compose::MOST_ENTRIES {
                        let reason = "services take too many volumes from each other";
                        let problem = Problem::refused("too-large", reason, "is it the right file?");
                        return self.refusals.push(problem.at(&text.place));
                    }
                    let mut planned = planned.clone();
                    let read_only = text.value.ends_with(":ro");
                    planned.service = taker.clone();
                    planned.place = text.place.clone();
                    planned.volume.read_only |= read_only;
                    planned.declaration.read_only |= read_only;
                    self.volumes.push(planned);
                }
            }
        }
    }
}

/// Where a declaration stands.
enum Site<'a> {
    /// In `volumes`.
    Entry(&'a Entry),
    /// In `tmpfs`.
    Tmpfs(&'a Text),
}

impl<'a> Site<'a> {
    fn entry(&self) -> Option<&'a Entry> {
        match self {
            Self::Entry(entry) => Some(entry),
            Self::Tmpfs(_) => None,
        }
    }

    fn place(&self) -> &'a At {
        match self {
            Self::Entry(entry) => &entry.place,
            Self::Tmpfs(text) => &text.place,
        }
    }

    fn resolved(&self) -> Option<String> {
        match self {
            Self::Entry(entry) => entry.resolved.clone(),
            Self::Tmpfs(text) => text.written.is_some().then(|| text.value.clone()),
        }
    }

    /// Not where variables changed it, or where it is a mapping: what could be written instead stands for what was looked at.
    fn is_what_was_looked_at(&self) -> bool {
        self.resolved().is_none() && self.entry().is_none_or(|entry| entry.is_short)
    }

    fn problem(&self, problem: Problem) -> Problem {
        match self {
            Self::Entry(entry) => entry.problem(problem),
            Self::Tmpfs(text) => of_tmpfs(text, problem),
        }
    }
}

fn of_tmpfs(text: &Text, problem: Problem) -> Problem {
    let mut problem = problem.at(&text.place).came_by(text.origin.as_ref());
    problem.declaration = Some(text.as_written().to_owned());
    problem.resolved = text.written.is_some().then(|| text.value.clone());
    problem
}

/// What an entry of `tmpfs` declares, in the words of `volumes`.
fn memory(text: &Text) -> Result<Declaration, Vec<Problem>> {
    let mut refusals = Vec::new();
    if let Some(written) = &text.written {
        of_text_without_value(written, &mut |problem| refusals.push(of_tmpfs(text, problem)));
    }
    if !refusals.is_empty() {
        return Err(refusals);
    }
    let (mut declaration, errors) = tmpfs::parse(&text.value);
    refusals.extend(
        errors
            .iter()
            .map(|error| of_tmpfs(text, Problem::refused(error.code(), error.to_string(), error.help()))),
    );
    refusals.extend(declaration.complaints().iter().map(|complaint| {
        let problem = Problem::refused(complaint.code(), complaint.to_string(), complaint.help());
        of_tmpfs(text, problem.why(complaint.why()))
    }));
    text.as_written().clone_into(&mut declaration.text);
    if refusals.is_empty() { Ok(declaration) } else { Err(refusals) }
}

/// What a service has for those that take its volumes.
#[derive(Default)]
struct Offer {
    /// Targets of volumes that nobody else can mount.
    own: Vec<String>,
    /// Those that others can.
    shared: Vec<Planned>,
}

impl Offer {
    /// What can't be taken of a service.
    fn not_shared(&self, from: &str) -> Option<Problem> {
        let first = self.own.first()?;
        let name = from.split(':').next().unwrap_or_default();
        let what = match self.own.len() {
            1 => format!("the volume at `{first}` is"),
            count => format!("{count} volumes, that at `{first}` among them, are"),
        };
        let reason = format!("{what} the service `{name}`'s own, and can't be mounted by another one");
        let help =
            format!("declare a volume in the top-level `volumes`, and write `NAME:{first}` in both services");
        Some(Problem::refused("volumes-from", reason, help))
    }
}

/// Why nothing can be had by an entry of `volumes_from`.
fn why_not_taken(text: &Text, second_hand: &HashSet<&str>) -> Option<Problem> {
    let refused = |reason: String, help: &str| Some(Problem::refused("volumes-from", reason, help));
    let (name, mode) = text.value.split_once(':').unwrap_or((&text.value, ""));
    if other_service(&text.value).is_none() {
        let reason = format!("`{}` is a container outside of the compose file", text.value);
        return refused(reason, "name the volumes in `volumes`");
    }
    if !["", "ro", "rw"].contains(&mode) {
        return refused(
            format!("`{mode}` in `{}` is neither `ro` nor `rw`", text.value),
            "write `ro` or `rw`",
        );
    }
    let reason = || format!("`{name}` takes its volumes from another service itself");
    second_hand
        .contains(name)
        .then(reason)
        .and_then(|reason| refused(reason, "name the volumes in `volumes`"))
}

/// What a service says about all its entries, said by each.
fn with_extension(entry: &Entry, service: &Service) -> Declaration {
    let mut declaration = entry.declaration.clone();
    if declaration.kind == declaration::Kind::Tmpfs {
        // Memory has no owner to set and nothing to seed.
        return declaration;
    }
    let Some(of_service) = service.extension.as_ref().and_then(serde_json::Value::as_object) else {
        return declaration;
    };
    let target = crate::path::clean(&declaration.target);
    let mut all = of_service.clone();
    all.remove("entries");
    let of_target = service.extension.as_ref().and_then(|said| extension::of_target(said, &target));
    let own = declaration.options.extension.as_ref();
    for more in [of_target, own].into_iter().flatten().filter_map(serde_json::Value::as_object) {
        all.extend(more.clone());
    }
    if !all.is_empty() {
        declaration.options.extension = Some(all.into());
    }
    declaration
}

fn with_top_level(problem: Problem, top: Option<&TopLevelVolume>) -> Problem {
    match top {
        Some(top) => problem.see(&top.place, "declared here"),
        None => problem,
    }
}

fn not_on_a_share(top: &TopLevelVolume) -> Option<Problem> {
    if top.is_external {
        let reason = format!(
            "volume `{}` is external: it is not this app's, and doesn't exist on an instance",
            top.key
        );
        let help = "remove `external` for a new, empty volume on the share, and copy the data into it";
        let why = "its data is elsewhere: the container would find an empty folder";
        return Some(Problem::refused("external-volume", reason, help).why(why));
    }
    let special = match top.driver.as_deref().filter(|driver| *driver != "local") {
        Some(driver) => format!("driver `{driver}`"),
        None if !top.driver_opts.is_empty() => "`driver_opts`".to_owned(),
        None => return None,
    };
    let reason = format!("volume `{}` has {special}, which a folder on the share can't honour", top.key);
    let help = "remove it to have the volume on the share; where the data must stay where the driver keeps it, mount that in the task definition yourself";
    let why = "the container would find an empty folder instead of what the driver keeps";
    Some(Problem::refused("volume-driver", reason, help).why(why))
}

fn renamed(top: &TopLevelVolume, is_deployed: bool) -> Option<Problem> {
    let name = top.name.as_ref()?;
    let reason =
        format!("volume `{}` has the name `{name}`; its folder is called by its key all the same", top.key);
    let why = match is_deployed {
        true => {
            "another app that uses the name gets a folder of its own: on the share, names belong to an app"
        }
        false => "another app that uses the name gets a folder of its own: names belong to an app",
    };
    Some(Problem::warning("volume-renamed", reason, "remove `name`").why(why))
}

/// What would be refused on deploy, for those who only read: warnings, and how many the file silences.
pub fn refused_elsewhere(compose: &Compose) -> (Vec<Problem>, usize) {
    let (Ok(rack), Ok(app)) = ("rack".parse(), "app".parse()) else { return (Vec::new(), 0) };
    let decision = decide(compose, Place::Deployed { rack: &rack, host_paths: &[] }, &app);
    // What a profile leaves out is left out of the model as well, and whose a directory is matters where there is one.
    let of_deploying = ["inactive-service", "non-root-image"];
    let warnings = decision.warnings.into_iter().filter(|warning| !of_deploying.contains(&warning.code));
    let all = decision.refusals.into_iter().chain(warnings);
    let mut told: Vec<Problem> = all.map(|problem| problem.as_severity(Severity::Warning)).collect();
    told.sort_by_cached_key(Problem::sort_key);
    (told, decision.silenced)
}

#[cfg(test)]
#[path = "deploy_tests.rs"]
pub(crate) mod tests;
