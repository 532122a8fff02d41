//! `extends`: a service over another one, of the same document or of another file.
//!
//! Relative paths of the other file belong to its own folder; its top-level volumes stay there.

use super::{
    MOST_ENTRIES,
    layer::{Key, Layer, ServiceLayer},
    loader::{self, FilePath, Loader, Scope},
    merge,
};
use crate::{path, problem::Problem, spelling, yaml::Step};
use std::{
    collections::{HashMap, HashSet},
    rc::Rc,
};

/// Longest chain that is followed.
const LONGEST: usize = 64;

/// The services that `extends` may name.
struct Bases {
    layer: Layer,
    /// Where each service is in the layer.
    places: HashMap<String, usize>,
    file: FilePath,
    /// The folder that files named here belong to.
    folder: String,
}

impl Bases {
    fn new(layer: Layer, file: FilePath, folder: String) -> Rc<Self> {
        let places = layer.services.iter().enumerate().map(|(at, (name, _))| (name.clone(), at)).collect();
        Rc::new(Self { layer, places, file, folder })
    }

    fn service(&self, name: &str) -> Option<&ServiceLayer> {
        self.places.get(name).map(|at| &self.layer.services[*at].1)
    }
}

/// What was asked for on the way to a service, and the files that were read for it.
#[derive(Default)]
struct Trail {
    steps: Vec<(String, String)>,
    files: HashMap<String, Option<Rc<Bases>>>,
    /// Services of circles that were told.
    circles: HashSet<(String, String)>,
}

impl Loader<'_> {
    /// Follows `extends` of every service of a document.
    pub(super) fn follow_extends(&mut self, scope: &Scope, layer: &mut Layer, file: &FilePath) {
        if layer.services.iter().all(|(_, service)| service.extends.is_none()) {
            return;
        }
        let bases = Bases::new(layer.clone(), file.clone(), scope.folder.clone());
        let mut trail = Trail::default();
        for (name, service) in &mut layer.services {
            if service.extends.is_some() {
                trail.steps.clear();
                if let Some(extended) = self.extended(scope, &bases, name, &mut trail) {
                    *service = extended;
                }
            }
        }
    }

    /// A service with its `extends` followed; nothing, if that can't be done.
    fn extended(
        &mut self,
        scope: &Scope,
        bases: &Rc<Bases>,
        name: &str,
        trail: &mut Trail,
    ) -> Option<ServiceLayer> {
        let mut service = bases.service(name)?.clone();
        let Some(extends) = service.extends.clone() else { return Some(service) };
        let mut refuse = |code, reason: String, help: &str| {
            self.problems.push(Problem::error(code, reason, help).at(&extends.place).service(name));
        };
        let step = (bases.file.path.clone(), name.to_owned());
        if trail.steps.contains(&step) {
            let circle: Vec<_> = trail.steps.iter().skip_while(|before| **before != step).cloned().collect();
            // Each service in it comes round to the same one.
            if !circle.iter().any(|member| trail.circles.contains(member)) {
                let chain: Vec<&str> = circle.iter().map(|(_, service)| service.as_str()).collect();
                let reason = format!("`{name}` extends itself: {} -> {name}", chain.join(" -> "));
                refuse("extends-cycle", reason, "remove one of the `extends`");
            }
            trail.circles.extend(circle);
            return None;
        }
        if trail.steps.len() >= LONGEST {
            refuse("too-large", format!("more than {LONGEST} services extend each other"), "extend fewer");
            return None;
        }
        trail.steps.push(step);
        let from = match &extends.file {
            None => Some(bases.clone()),
            Some(file) => {
                let path = path::within(&bases.folder, &file.value);
                match trail.files.get(&path) {
                    Some(found) => found.clone(),
                    None => {
                        let read = self.bases(scope, self.named(path.clone()), &file.place);
                        trail.files.insert(path, read.clone());
                        read
                    }
                }
            }
        }?;
        if from.service(&extends.service).is_none() {
            let reason = format!("`{}` has no service `{}` to extend", from.file.name, extends.service);
            let names: Vec<&str> = from.layer.services.iter().map(|(name, _)| name.as_str()).collect();
            let meant = spelling::did_you_mean(&extends.service, names.iter().copied());
            let help = meant.unwrap_or_else(|| {
                format!(
                    "it has {}",
                    if names.is_empty() { "no services".to_owned() } else { names.join(", ") }
                )
            });
            self.problems.push(Problem::error("extends", reason, help).at(&extends.place).service(name));
            return None;
        }
        let mut base = self.extended(scope, &from, &extends.service, trail)?;
        trail.steps.pop();
        service.extends = None;
        if base.is_null {
            return Some(service);
        }
        if let Key::Is(mounts) = &base.volumes {
            self.inherited += mounts.len();
            if self.inherited > MOST_ENTRIES {
                let reason = format!("services inherit more than {MOST_ENTRIES} volumes");
                let problem = Problem::error("too-large", reason, "is it the right file?").at(&extends.place);
                if !self.problems.iter().any(|found| found.code == problem.code) {
                    self.problems.push(problem);
                }
                return None;
            }
        }
        for path in &bases.layer.resets {
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            if let ["services", of, key @ ..] = path.as_slice()
                && *of == name
            {
                merge::reset_service(&mut base, key);
            }
        }
        base.came_by(&Step::Extends(extends.service.clone()), &extends.place);
        base.place = service.place.clone();
        for problem in &mut base.problems {
            problem.service = Some(name.to_owned());
        }
        for refusal in base.mounts_mut().flat_map(|mount| &mut mount.entry.refusals) {
            refusal.service = Some(name.to_owned());
        }
        merge::service(&mut base, service);
        base.extends = None;
        Some(base)
    }

    /// The services of another file. Nothing but what is extended there is looked at closely.
    fn bases(&mut self, scope: &Scope, file: FilePath, asked_at: &crate::yaml::Place) -> Option<Rc<Bases>> {
        let yaml = self.yaml(&file, Some(asked_at))?;
        let folder = loader::folder_of(&file);
        let mut merged = Layer::default();
        let mut resets = Vec::new();
        for root in &yaml.documents {
            let before = self.problems.len();
            let layer = self.document(scope, root, &folder);
            let own = self.problems.split_off(before);
            self.problems.extend(own.into_iter().filter(|problem| {
                ["interpolation", "required-variable", "not-a-mapping"].contains(&problem.code)
            }));
            resets.extend(layer.resets.iter().cloned());
            merge::layer(&mut merged, layer, &mut Vec::new());
        }
        if !yaml.errors.is_empty() {
            return None;
        }
        // What can't be merged is wrong whichever service is wanted; all else only if it is that one's.
        for (name, service) in &mut merged.services {
            let (merging, own) = std::mem::take(&mut service.problems)
                .into_iter()
                .partition(|problem| problem.code == "cannot-override");
            service.problems = own;
            let merging: Vec<Problem> = merging;
            self.problems.extend(merging.into_iter().map(|problem| problem.service(name)));
        }
        merged.resets = resets;
        Some(Bases::new(merged, file, folder))
    }
}
