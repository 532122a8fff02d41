//! From files to one layer: each document read, its `extends` and `include` followed, and laid over those before.

use super::{
    MOST_ENTRIES,
    document::{self, Folders},
    env_file::EnvFile,
    files::{FileError, Files},
    interpolation::Variables,
    layer::Layer,
    merge, top_level_volume,
};
use crate::{
    path,
    problem::Problem,
    sources::Sources,
    yaml::{self, Place, Yaml, YamlError, advice},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    sync::Arc,
};

/// Most files that one run reads, with all that they include and extend.
const MOST_FILES: usize = 1000;

/// Where files are read for: their folder and their variables.
#[derive(Debug, Clone)]
pub struct Scope {
    /// The folder that relative paths belong to, absolute.
    pub folder: String,
    /// The variables.
    pub variables: Rc<Variables>,
}

/// A file to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilePath {
    /// Its absolute path, or `-`.
    pub path: String,
    /// Its name for people.
    pub name: Arc<str>,
}

/// Reads files and keeps what is noteworthy about them.
pub struct Loader<'a> {
    pub(super) files: &'a dyn Files,
    pub(super) home: Option<String>,
    /// The folder that names are shortened by.
    pub(super) here: String,
    pub(super) sources: Sources,
    pub(super) problems: Vec<Problem>,
    pub(super) unset: BTreeSet<String>,
    /// Whether a file couldn't be read, so that what it would have declared is missing.
    pub(super) is_incomplete: bool,
    /// Mounts that services inherited; their number has an end.
    pub(super) inherited: usize,
    documents: BTreeMap<String, Rc<Yaml>>,
    reads: usize,
    entries: usize,
}

impl<'a> Loader<'a> {
    /// One that has read nothing yet.
    pub fn new(files: &'a dyn Files, here: &str, home: Option<String>) -> Self {
        Self {
            files,
            home,
            here: here.to_owned(),
            sources: Sources::default(),
            problems: Vec::new(),
            unset: BTreeSet::new(),
            is_incomplete: false,
            inherited: 0,
            documents: BTreeMap::new(),
            reads: 0,
            entries: 0,
        }
    }

    /// A file that another one names.
    pub fn named(&self, path: String) -> FilePath {
        let below = path.strip_prefix(&self.here).and_then(|rest| rest.strip_prefix('/'));
        let name = Arc::from(below.unwrap_or(&path));
        FilePath { path, name }
    }

    /// The documents of a file; what is wrong with it is told once.
    pub fn yaml(&mut self, file: &FilePath, asked_at: Option<&Place>) -> Option<Rc<Yaml>> {
        self.reads += 1;
        if self.reads > MOST_FILES {
            if self.reads == MOST_FILES + 1 {
                let reason = format!("more than {MOST_FILES} files are included and extended");
                self.file_problem(Problem::error("too-large", reason, "include fewer files"), asked_at);
            }
            return None;
        }
        if let Some(yaml) = self.documents.get(&file.path) {
            return Some(yaml.clone());
        }
        let text = match self.files.read(&file.path) {
            Ok(text) => text,
            Err(error) => {
                self.unreadable(file, &error, asked_at);
                self.is_incomplete = true;
                return None;
            }
        };
        self.sources.add(&file.name, &Arc::from(text.as_str()));
        let yaml = Rc::new(yaml::read(&file.name, text.trim_start_matches('\u{feff}')));
        self.problems.extend(yaml.errors.iter().map(|error| yaml_problem(error, &text)));
        self.is_incomplete |= !yaml.errors.is_empty();
        self.documents.insert(file.path.clone(), yaml.clone());
        Some(yaml)
    }

    fn file_problem(&mut self, problem: Problem, asked_at: Option<&Place>) {
        self.problems.push(match asked_at {
            Some(place) => problem.at(place),
            None => problem,
        });
    }

    /// A file that can't be read.
    pub fn unreadable(&mut self, file: &FilePath, error: &FileError, asked_at: Option<&Place>) {
        let reason = format!("{}: {error}", file.name);
        self.file_problem(Problem::error(error.code(), reason, error.help()), asked_at);
    }

    /// Reads one more env file.
    pub fn env_file(
        &mut self,
        file: &FilePath,
        asked_at: Option<&Place>,
        environment: &Variables,
        into: &mut EnvFile,
    ) {
        match self.files.read(&file.path) {
            Ok(text) => {
                self.sources.add(&file.name, &Arc::from(text.as_str()));
                if let Err(error) = into.read(&file.name, &text, environment) {
                    self.problems.push(Problem::error("env-file", error.reason, error.help).at(&error.place));
                }
                self.unset.extend(into.unset.iter().cloned());
            }
            Err(error) => self.unreadable(file, &error, asked_at),
        }
    }

    /// Reads files and lays each over those before.
    pub fn load(&mut self, scope: &Scope, files: &[FilePath], included: &[String]) -> Layer {
        let mut merged = Layer { says_nothing: true, ..Layer::default() };
        for file in files {
            let Some(yaml) = self.yaml(file, None) else { continue };
            for root in &yaml.documents {
                let mut layer = self.document(scope, root, &scope.folder);
                self.follow_extends(scope, &mut layer, file);
                let mut included = included.to_vec();
                included.push(file.path.clone());
                self.follow_includes(scope, &mut layer, &included);
                let mut problems = Vec::new();
                merge::layer(&mut merged, layer, &mut problems);
                self.problems.extend(problems);
            }
        }
        for (name, volume) in &mut merged.volumes {
            self.problems.extend(top_level_volume::conflict(name, volume));
            top_level_volume::make_device_absolute(volume, &scope.folder, self.home.as_deref());
        }
        merged
    }

    /// One document as a layer; its relative paths belong to `folder`.
    pub fn document(&mut self, scope: &Scope, root: &yaml::Node, folder: &str) -> Layer {
        let mut root = root.clone();
        let mut resets = Vec::new();
        document::take_resets(&mut root, &mut Vec::new(), &mut resets);
        document::interpolate_all(&mut root, &scope.variables, &mut self.unset, &mut self.problems);
        if self.has_too_many(&root) {
            return Layer::default();
        }
        let folders = Folders { folder: folder.to_owned(), home: self.home.clone() };
        let mut layer = document::read(&root, &folders, &mut self.problems);
        layer.resets = resets;
        layer
    }

    /// Whether there are more entries than anyone writes: told once, before they fill the memory.
    fn has_too_many(&mut self, root: &yaml::Node) -> bool {
        let services = root.get("services").and_then(yaml::Node::as_mapping).unwrap_or_default();
        let lists = services.iter().filter_map(|(_, service)| service.get("volumes"));
        let entries = lists.map(|list| match &list.value {
            yaml::Value::List(items) => items.len(),
            _ => 0,
        });
        let before = self.entries;
        self.entries += entries.sum::<usize>();
        if self.entries > MOST_ENTRIES && before <= MOST_ENTRIES {
            let reason = format!("the services have more than {MOST_ENTRIES} volumes");
            self.problems.push(Problem::error("too-large", reason, "is it the right file?").at(&root.place));
        }
        self.entries > MOST_ENTRIES
    }

    /// What was read, and what is wrong with it.
    pub fn into_parts(self) -> (Sources, Vec<Problem>, BTreeSet<String>) {
        (self.sources, self.problems, self.unset)
    }
}

fn yaml_problem(error: &YamlError, text: &str) -> Problem {
    let (code, help) = match error {
        YamlError::Syntax { place, message } => {
            let (reason, help) = advice::of_syntax(message, text, place.line);
            return Problem::error("yaml", reason, help).at(place);
        }
        YamlError::TooDeep { .. } | YamlError::TooMany { .. } => ("too-large", "is it the right file?"),
        YamlError::Cycle { .. } => ("alias-cycle", "remove the alias, or move the anchor"),
        YamlError::DuplicateKey { .. } => ("duplicate-key", "keep one of them"),
        YamlError::KeyKind { .. } => ("key-kind", "write the key in quotes"),
        YamlError::MergeKey { .. } => ("merge-key", "write `<<: *name`, or `<<: [*one, *other]`"),
        YamlError::Tag { .. } => ("tag", "correct the value, or remove the tag"),
    };
    let problem = Problem::error(code, error.to_string(), help).at(error.place());
    match error {
        YamlError::DuplicateKey { first, .. } => problem.see(first, "the first one"),
        YamlError::KeyKind { key, .. } if !key.is_empty() => problem.fix(Some(format!("\"{key}\""))),
        _ => problem,
    }
}

/// The folder of a file, absolute.
pub fn folder_of(file: &FilePath) -> String {
    path::parent(&file.path).to_owned()
}
