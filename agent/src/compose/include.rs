//! `include`: other files with a folder and an env file of their own, their resources copied into this one.

use super::{
    env_file::EnvFile,
    layer::{Include, Layer, ServiceLayer},
    loader::{FilePath, Loader, Scope},
    merge,
};
use crate::{
    path,
    problem::Problem,
    yaml::{Node, Place, Step, Value},
};
use std::rc::Rc;

impl Loader<'_> {
    /// Follows all `include`s of a document.
    pub(super) fn follow_includes(&mut self, scope: &Scope, layer: &mut Layer, included: &[String]) {
        for include in std::mem::take(&mut layer.includes) {
            if let Some(mut imported) = self.included(scope, &include, included) {
                for (_, service) in &mut imported.services {
                    service.came_by(&Step::Include, &include.place);
                    service.is_imported = true;
                }
                self.import(layer, imported, &include);
            }
        }
    }

    fn included(&mut self, scope: &Scope, include: &Include, included: &[String]) -> Option<Layer> {
        let mut files = Vec::new();
        for text in &include.paths {
            let file = self.named(path::within(&scope.folder, &text.value));
            if files.is_empty() && included.contains(&file.path) {
                let reason = format!("`{}` includes itself", file.name);
                self.problems.push(
                    Problem::error("include-cycle", reason, "remove one of the `include`s").at(&text.place),
                );
                self.is_incomplete = true;
                return None;
            }
            // Said here, where the file is asked for.
            self.yaml(&file, Some(&text.place))?;
            files.push(file);
        }
        let folder = match (&include.folder, files.first()) {
            (Some(folder), _) if !folder.value.is_empty() => path::within(&scope.folder, &folder.value),
            (_, Some(first)) => super::loader::folder_of(first),
            (_, None) => scope.folder.clone(),
        };
        let mut env_file = EnvFile::default();
        if include.env_files.is_empty() {
            let default = path::within(&folder, ".env");
            if self.files.exists(&default) && !self.files.is_folder(&default) {
                let default = self.named(default);
                self.env_file(&default, None, &scope.variables, &mut env_file);
            }
        }
        for text in &include.env_files {
            let file: FilePath = self.named(path::within(&scope.folder, &text.value));
            self.env_file(&file, Some(&text.place), &scope.variables, &mut env_file);
        }
        let mut variables = (*scope.variables).clone();
        variables.add(env_file.set);
        let scope = Scope { folder, variables: Rc::new(variables) };
        Some(self.load(&scope, &files, included))
    }

    /// Copies resources in; one that is there already must be the same.
    fn import(&mut self, layer: &mut Layer, imported: Layer, include: &Include) {
        let mut conflicts: Vec<Problem> = Vec::new();
        let mut conflict =
            |reason: String, help: &str, here: &Place, there: &Place, service: Option<&str>| {
                let mut problem = Problem::error("include-conflict", reason, help)
                    .at(here)
                    .see(there, "the included one")
                    .see(&include.place, "included here");
                problem.service = service.map(str::to_owned);
                conflicts.push(problem);
            };
        merge::by_name(&mut layer.services, imported.services, |name, found, service| {
            if !is_same(found, &service) {
                let reason = format!("service `{name}` is here, and in what is included");
                let help = "rename one of them, or change the included one in an override file (`-f`)";
                conflict(reason, help, &found.place, &service.place, Some(name));
            }
        });
        merge::by_name(&mut layer.volumes, imported.volumes, |name, found, volume| {
            if *found != volume {
                let reason =
                    format!("the top-level volume `{name}` is here, and another one in what is included");
                let help = "keep one of them, or write both alike";
                conflict(reason, help, &found.place.0, &volume.place.0, None);
            }
        });
        // What is said twice about anything else is none of this reader's business.
        merge::by_name(&mut layer.others, imported.others, |_, _, _| {});
        self.problems.extend(conflicts);
    }
}

/// Docker Compose compares what is written here with what it made of the included file, so that most forms that it rewrites
/// (short syntax, `build`, `ports`) never are the same.
fn is_same(found: &ServiceLayer, imported: &ServiceLayer) -> bool {
    let is_final = |(key, value): &(String, Node)| match key.as_str() {
        "build" | "ports" | "env_file" | "label_file" | "secrets" | "configs" | "devices" | "gpus" => false,
        "depends_on" | "networks" | "models" => matches!(value.value, Value::Mapping(_)),
        "dns" => matches!(value.value, Value::List(_)),
        _ => true,
    };
    found == imported && (found.is_imported || found.others.iter().all(is_final))
}
