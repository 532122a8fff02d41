//! Which files, which variables, which project, which profiles: from the command line, the environment and what lies in the folder.
//! Source: docker/compose, `cmd/compose/compose.go`, and compose-go, `cli/options.go`; measured.

use super::{
    env_file::EnvFile,
    interpolation::{self, From, Variables},
    loader::{FilePath, Loader},
};
use crate::{path, problem::Problem};
use std::{collections::BTreeMap, sync::Arc};

/// Names of compose files, in the order in which they are looked for.
pub const FILE_NAMES: [&str; 4] =
    ["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"];
/// Names of files that override them.
pub const OVERRIDE_NAMES: [&str; 4] = [
    "compose.override.yml",
    "compose.override.yaml",
    "docker-compose.override.yml",
    "docker-compose.override.yaml",
];

/// Where a project's name is from, if nothing gives it one.
pub const FOLDERS_NAME: &str = "the folder's name";

/// What was asked for.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The folder of the command, absolute.
    pub here: String,
    /// The environment.
    pub environment: BTreeMap<String, String>,
    /// `--file`, in order; `-` is standard input.
    pub files: Vec<String>,
    /// `--project-name`
    pub project_name: Option<String>,
    /// `--project-directory`
    pub project_directory: Option<String>,
    /// `--env-file`, in order.
    pub env_files: Vec<String>,
    /// `--profile`
    pub profiles: Vec<String>,
}

/// What to read.
#[derive(Debug, Clone)]
pub struct Selection {
    /// The files, in order.
    pub files: Vec<FilePath>,
    /// The project's folder, absolute.
    pub folder: String,
    /// The project's name.
    pub project: String,
    /// Where the name is from, for people.
    pub project_from: &'static str,
    /// The variables.
    pub variables: Variables,
    /// Profiles that are active.
    pub profiles: Vec<String>,
    /// Profiles that would be without a flag.
    pub default_profiles: Vec<String>,
}

/// Selects. Nothing, where no file is found or one can't be had; the loader has the reason then.
pub fn select(request: &Request, loader: &mut Loader<'_>) -> Option<Selection> {
    let mut variables = Variables::of_environment(&request.environment);
    if variables.get("PWD").is_none() {
        variables.set("PWD", &request.here, From::Environment);
    }
    let absolute = |given: &str| path::within(&request.here, given);
    let project_directory = request
        .project_directory
        .as_deref()
        .filter(|folder| !folder.is_empty())
        .map(|given| path::clean(&absolute(given)));
    let given = |name: &str| FilePath {
        path: if name == "-" { name.to_owned() } else { absolute(name) },
        name: Arc::from(name),
    };
    let mut files: Vec<FilePath> = request.files.iter().map(|name| given(name)).collect();
    let folder = |files: &[FilePath]| {
        let first =
            files.iter().find(|file| file.path != "-").map(|file| path::clean(path::parent(&file.path)));
        project_directory.clone().or(first).unwrap_or_else(|| request.here.clone())
    };
    add_env_files(request, &folder(&files), &mut variables, loader);
    if files.is_empty()
        && let Some(list) = variables.value("COMPOSE_FILE")
    {
        let separator = variables.value("COMPOSE_PATH_SEPARATOR").filter(|separator| !separator.is_empty());
        files = list.split(separator.unwrap_or(":")).map(given).collect();
    }
    if files.is_empty() {
        files = search(&folder(&[]), loader);
    }
    if files.is_empty() {
        let reason = format!("there is no {} here or in a folder above", FILE_NAMES.join(", "));
        loader.problems.push(Problem::error("missing-file", reason, "name the compose file by -f FILE"));
        return None;
    }
    let folder = folder(&files);
    add_env_files(request, &folder, &mut variables, loader);
    let list = variables.value("COMPOSE_PROFILES").unwrap_or_default();
    let default_profiles: Vec<String> = list.split(',').map(|profile| profile.trim().to_owned()).collect();
    let profiles =
        if request.profiles.is_empty() { default_profiles.clone() } else { request.profiles.clone() };
    let before = loader.problems.len();
    let (project, project_from) = project(request, &files, &folder, &variables, loader)?;
    if loader.problems[before..].iter().any(|problem| problem.code == "missing-file") {
        return None;
    }
    variables.set("COMPOSE_PROJECT_NAME", &project, From::Compose);
    Some(Selection { files, folder, project, project_from, variables, profiles, default_profiles })
}

/// `--env-file`, else `COMPOSE_ENV_FILES`, else `.env` in the folder. What is set already stays.
fn add_env_files(request: &Request, folder: &str, variables: &mut Variables, loader: &mut Loader<'_>) {
    let listed = request.environment.get("COMPOSE_ENV_FILES").map(String::as_str).unwrap_or_default();
    let listed = listed.split(',').filter(|file| !file.is_empty()).map(str::to_owned);
    let given: Vec<String> =
        if request.env_files.is_empty() { listed.collect() } else { request.env_files.clone() };
    let mut env_file = EnvFile::default();
    for name in &given {
        let file = FilePath { path: path::within(&request.here, name), name: Arc::from(name.as_str()) };
        loader.env_file(&file, None, variables, &mut env_file);
    }
    let disabled = request.environment.get("COMPOSE_DISABLE_ENV_FILE").map(String::as_str);
    let is_disabled = match disabled {
        None | Some("0" | "f" | "F" | "false" | "FALSE" | "False") => false,
        Some("1" | "t" | "T" | "true" | "TRUE" | "True") => true,
        Some(other) => {
            let reason = format!("COMPOSE_DISABLE_ENV_FILE is `{other}`, neither true nor false");
            loader.problems.push(Problem::error("environment", reason, "write `true` or `false`"));
            true
        }
    };
    let default = path::within(folder, ".env");
    if given.is_empty() && !is_disabled && loader.files.exists(&default) && !loader.files.is_folder(&default)
    {
        let file = loader.named(default);
        loader.env_file(&file, None, variables, &mut env_file);
    }
    variables.add(env_file.set);
}

/// The compose file of a folder or one above it, and its override.
fn search(folder: &str, loader: &mut Loader<'_>) -> Vec<FilePath> {
    let mut folder = folder;
    loop {
        let found: Vec<String> = FILE_NAMES
            .iter()
            .map(|name| path::within(folder, name))
            .filter(|path| loader.files.exists(path))
            .collect();
        if let Some(first) = found.first() {
            if found.len() > 1 {
                let reason = format!(
                    "{} compose files lie in the folder; {} is read",
                    found.len(),
                    path::file_name(first)
                );
                let help = "keep one of them, or name the files by -f";
                loader.problems.push(Problem::warning("several-files", reason, help));
            }
            let mut overrides = OVERRIDE_NAMES
                .iter()
                .map(|name| path::within(folder, name))
                .filter(|path| loader.files.exists(path));
            let over = overrides.next();
            return [Some(first.clone()), over]
                .into_iter()
                .flatten()
                .map(|path| loader.named(path))
                .collect();
        }
        if folder == "/" {
            return Vec::new();
        }
        folder = path::parent(folder);
    }
}

/// The project's name, and where it is from.
fn project(
    request: &Request,
    files: &[FilePath],
    folder: &str,
    variables: &Variables,
    loader: &mut Loader<'_>,
) -> Option<(String, &'static str)> {
    let mut written = None;
    let mut is_named = false;
    for file in files {
        let yaml = loader.yaml(file, None)?;
        for (index, document) in yaml.documents.iter().enumerate() {
            let name =
                document.get("name").filter(|name| name.as_scalar().is_some_and(|name| !name.is_empty()));
            is_named |= name.is_some() && index == 0;
            written = name.cloned().or(written);
        }
    }
    let help = "use lower case letters, digits, `-` and `_`, and begin with a letter or a digit";
    let given =
        request.project_name.as_deref().filter(|name| !name.is_empty()).map(|name| (name, "--project-name"));
    let from_variable = variables.value("COMPOSE_PROJECT_NAME").filter(|name| !name.is_empty());
    if let Some((name, from)) = given.or(from_variable.map(|name| (name, "COMPOSE_PROJECT_NAME"))) {
        if normal_name(name) != name {
            let reason = format!("`{name}` ({from}) can't be a project's name");
            loader.problems.push(Problem::error("project-name", reason, help));
        }
        return Some((name.to_owned(), from));
    }
    let text = written.as_ref().and_then(|node| node.as_scalar()).unwrap_or_default();
    // What can't be replaced is told when the file is read.
    let replaced = interpolation::substitute(text, variables).map(|done| done.text).unwrap_or_default();
    let name = normal_name(&replaced);
    if !name.is_empty() {
        return Some((name, "the file's `name`"));
    }
    let of_folder = normal_name(path::file_name(folder));
    let problem = match (&written, is_named) {
        (Some(node), true) => {
            let reason = format!("`{text}` leaves no name for the project");
            Problem::error("project-name", reason, help).at(&node.place)
        }
        _ if of_folder.is_empty() => {
            let reason = format!("the folder `{folder}` leaves no name for the project");
            Problem::error("project-name", reason, "write `name:` into the file, or name the project by -p")
        }
        _ => return Some((of_folder, FOLDERS_NAME)),
    };
    loader.problems.push(problem);
    Some((name, "the file's `name`"))
}

/// A project's name as Docker Compose makes one: lower case, only `[a-z0-9_-]`, no leading `_` or `-`.
pub fn normal_name(text: &str) -> String {
    let kept: String = text
        .to_lowercase()
        .chars()
        .filter(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-'))
        .collect();
    kept.trim_start_matches(['_', '-']).to_owned()
}
