//! From a compose file to volumes or refusals, for the share or for a laptop: one decision for `plan`, `patch` and the daemon.

use crate::{
    compose::{self, Compose, Entry, Service, TopLevelVolume, consistency::other_service, layer::Text},
    declaration::Declaration,
    layout::{self, Finding, Place, Volume},
    names::{App, ServiceName},
    problem::{Problem, Severity},
    yaml::Place as At,
};
use std::collections::{HashMap, HashSet};

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
    /// Volumes with a warning.
    pub warnings: Vec<Problem>,
}

/// Decides about every entry of every active service.
pub fn decide(compose: &Compose, place: Place<'_>, app: &App) -> Decision {
    let mut decision = Decision::default();
    let volumes = compose.volumes.iter().map(|volume| (volume.key.as_str(), volume)).collect();
    let mut spellings = Spellings::default();
    for service in compose.active() {
        decision.service(&volumes, service, place, app, &mut spellings);
    }
    decision.all_volumes_from(compose, place);
    decision.refusals.sort_by_cached_key(Problem::sort_key);
    decision.warnings.sort_by_cached_key(Problem::sort_key);
    decision
}

impl Decision {
    fn service(
        &mut self,
        volumes: &HashMap<&str, &TopLevelVolume>,
        service: &Service,
        place: Place<'_>,
        app: &App,
        spellings: &mut Spellings,
    ) {
        let is_deployed = matches!(place, Place::Deployed { .. });
        if is_deployed {
            self.refusals.extend(service.tmpfs.iter().map(|text| {
                let reason = format!("`tmpfs`: memory at `{}` isn't passed on to ECS", text.value);
                let help = "set `linuxParameters.tmpfs` in the task definition, and remove the entry";
                Problem::refused("tmpfs", reason, help)
                    .at(&text.place)
                    .came_by(text.origin.as_ref())
                    .service(&service.name)
            }));
        }
        if service.entries.is_empty() && service.volumes_from.is_empty() {
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
        let declarations: Vec<Declaration> =
            sound.iter().map(|entry| with_extension(entry, service)).collect();
        let laid_out = layout::layout(place, app, &name, &declarations);
        let told = |index: usize, severity, finding: Finding| {
            let Finding { code, reason, why, help, fix, .. } = finding;
            let entry = sound[index];
            let mut problem = entry.problem(Problem::of(severity, code, reason, help)).service(&service.name);
            problem.why = why.map(str::to_owned);
            // What stands in the file is not what was looked at where variables changed it, or where it is a mapping.
            problem.fix(fix.filter(|_| entry.resolved.is_none() && entry.is_short))
        };
        for (index, mut volume) in laid_out.volumes {
            let entry = sound[index];
            let top = entry.declaration.named().and_then(|name| volumes.get(name).copied());
            match top.and_then(|top| Some((top, not_on_a_share(top)?))) {
                Some((_, problem)) if is_deployed => {
                    let problem = entry.problem(problem).service(&service.name);
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
                        let problem = entry.problem(problem).service(&service.name);
                        self.warnings.push(with_top_level(problem, top));
                    }
                }
            }
            let collision = (!is_deployed).then(|| spellings.collision(&volume, &entry.place)).flatten();
            if let Some(problem) = collision {
                self.refusals.push(entry.problem(problem).service(&service.name));
                continue;
            }
            self.volumes.push(Planned {
                service: name.clone(),
                resolved: entry.resolved.clone(),
                place: entry.place.clone(),
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
        for planned in self.volumes.iter().filter(|_| !takers.is_empty()) {
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

/// The folders of an app, as they were spelt first, by their spelling in lower case: the homes of macOS don't tell the two apart.
#[derive(Default)]
struct Spellings(HashMap<String, (String, At)>);

impl Spellings {
    /// A volume whose folder, or one above it, is called as another one but for upper and lower case. If none is, it is noted.
    fn collision(&mut self, volume: &Volume, place: &At) -> Option<Problem> {
        // The app's own folder is one for all of them.
        let (_, path) = volume.relative.as_deref()?.split_once('/')?;
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        let folders: Vec<&str> = ends.map(|end| &path[..end]).collect();
        let other = folders.iter().find_map(|folder| {
            let (first, at) = self.0.get(&folder.to_lowercase())?;
            (first != folder).then(|| (first.clone(), at.clone(), *folder))
        });
        let Some((first, at, folder)) = other else {
            for folder in folders {
                let as_spelt = || (folder.to_owned(), place.clone());
                self.0.entry(folder.to_lowercase()).or_insert_with(as_spelt);
            }
            return None;
        };
        let reason = format!("its folder `{folder}` differs from `{first}` only by upper and lower case");
        let help = "rename one of the two, so that they differ by more";
        let why = "on a home that doesn't tell upper from lower case, such as a Mac's, both are one folder: each would find and overwrite the other's files";
        Some(Problem::refused("case-collision", reason, help).why(why).see(&at, "the other one"))
    }
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
    let Some(of_service) = service.extension.as_ref().and_then(serde_json::Value::as_object) else {
        return declaration;
    };
    let target = crate::path::clean(&declaration.target);
    let mut all = of_service.clone();
    let entries = all.remove("entries");
    let of_target = entries.as_ref().and_then(|entries| entries.get(&target));
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

/// What would be refused on deploy, for those who only read: warnings.
pub fn refused_elsewhere(compose: &Compose) -> Vec<Problem> {
    let (Ok(rack), Ok(app)) = ("rack".parse(), "app".parse()) else { return Vec::new() };
    let decision = decide(compose, Place::Deployed { rack: &rack, host_paths: &[] }, &app);
    let all = decision.refusals.into_iter().chain(decision.warnings);
    let mut told: Vec<Problem> = all.map(|problem| problem.as_severity(Severity::Warning)).collect();
    told.sort_by_cached_key(Problem::sort_key);
    told
}

#[cfg(test)]
#[path = "deploy_tests.rs"]
mod tests;
