//! `include`: other files with a folder and an env file of their own, their resources copied into this one.

use super::{
    env_file::EnvFile,
    layer::{Include, Layer, ServiceLayer},
    loader::{FilePath, Loader, Scope},
};
use crate::{
    path,
    problem::Problem,
    yaml::{Node, Step, Value},
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
        for (name, service) in imported.services {
            match layer.services.iter().find(|(found, _)| *found == name) {
                None => layer.services.push((name, service)),
                Some((_, found)) if is_same(found, &service) => {}
                Some((_, found)) => {
                    let reason = format!("service `{name}` is here, and in what is included");
                    let help = "rename one of them, or change the included one in an override file (`-f`)";
                    let problem =
                        Problem::error("include-conflict", reason, help).at(&found.place).service(&name);
                    self.problems.push(
                        problem.see(&service.place, "the included one").see(&include.place, "included here"),
                    );
                }
            }
        }
        for (name, volume) in imported.volumes {
            match layer.volumes.iter().find(|(found, _)| *found == name) {
                None => layer.volumes.push((name, volume)),
                Some((_, found)) if *found == volume => {}
                Some((_, found)) => {
                    let reason =
                        format!("the top-level volume `{name}` is here, and another one in what is included");
                    let help = "keep one of them, or write both alike";
                    let problem = Problem::error("include-conflict", reason, help).at(&found.place.0);
                    self.problems.push(
                        problem.see(&volume.place.0, "the included one").see(&include.place, "included here"),
                    );
                }
            }
        }
        for (key, value) in imported.others {
            if !layer.others.iter().any(|(found, _)| *found == key) {
                layer.others.push((key, value));
            }
        }
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
