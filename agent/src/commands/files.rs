//! Compose files and documents, as the commands take them from the command line, and their problems, as they print them.

use crate::{
    compose::{self, Compose},
    diagnostics::{Exit, Failure, Problem},
};
use serde_json::Value;
use std::{
    io::{Read, Write},
    path::{Path, PathBuf},
};

/// The default file's names, in Compose's order.
const DEFAULT_NAMES: [&str; 4] = ["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"];
/// Largest document on stdin: a task definition has 64 KiB at most, its description a little more.
const LARGEST_DOCUMENT_BYTES: u64 = 1024 * 1024;

/// A compose file that was read, and the absolute folder that it lies in.
#[derive(Debug)]
pub struct ProjectFile {
    /// Its volumes.
    pub compose: Compose,
    /// The project folder.
    pub folder: PathBuf,
}

impl ProjectFile {
    /// `name:`, else the folder's name as Compose makes a name of it; and which of the two.
    pub fn project(&self) -> (String, &'static str) {
        match &self.compose.name {
            Some(name) => (name.clone(), "the file's `name:`"),
            None => {
                let folder = self.folder.file_name().unwrap_or_default().to_string_lossy();
                (compose::project_name(&folder), "the folder's name")
            }
        }
    }
}

/// Reads the one file that `-f` names, or the default one of the present folder. Problems go to stderr.
///
/// # Errors
/// No file, several, one that can't be read, or one with problems.
pub fn read_compose(files: &[PathBuf]) -> Result<ProjectFile, Failure> {
    let file = match files {
        [] => default_file()?,
        [file] => file.clone(),
        several => {
            return Err(Failure::refused(format!(
                "{} compose files were given; merging them isn't done yet",
                several.len()
            ))
            .help("merge them by hand into one"));
        }
    };
    let name = file.display().to_string();
    let text = std::fs::read_to_string(&file).map_err(|error| {
        Failure::refused(format!("{name}: can't be read: {error}")).help("check the path after -f")
    })?;
    let compose = compose::read(&name, &text).map_err(|problems| {
        let count = problems.len();
        print_problems("error", &problems);
        let what = if count == 1 { "1 problem".to_owned() } else { format!("{count} problems") };
        Failure::refused(format!("{name}: {what}, nothing was done"))
    })?;
    let absolute = std::path::absolute(&file)
        .map_err(|error| Failure::refused(format!("{name}: its folder can't be found: {error}")))?;
    let folder = absolute.parent().unwrap_or(Path::new("/")).to_owned();
    Ok(ProjectFile { compose, folder })
}

fn default_file() -> Result<PathBuf, Failure> {
    DEFAULT_NAMES.iter().map(PathBuf::from).find(|file| file.exists()).ok_or_else(|| {
        Failure::refused(format!("there is no {} here", DEFAULT_NAMES.join(", ")))
            .help("name the compose file by -f FILE")
    })
}

/// To stderr, one after the other.
pub fn print_problems(severity: &str, problems: &[Problem]) {
    let mut err = std::io::stderr().lock();
    for problem in problems {
        // A closed stderr leaves nobody to tell; the exit code still does.
        drop(err.write_all(problem.text(severity).as_bytes()));
    }
}

/// One line to stderr.
pub fn note(text: &str) {
    drop(writeln!(std::io::stderr(), "note: {text}"));
}

/// Data, to stdout.
///
/// # Errors
/// stdout is closed or full.
pub fn print(data: &str) -> Result<Exit, Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(data.as_bytes())
        .and_then(|()| out.flush())
        .map(|()| Exit::Done)
        .map_err(|error| Failure::refused(format!("stdout: {error}")))
}

/// A JSON document from stdin.
///
/// # Errors
/// It can't be read, or isn't JSON.
pub fn document_from_stdin() -> Result<Value, Failure> {
    let mut text = String::new();
    let failed = |error: String| {
        Failure::refused(format!("stdin: {error}")).help(
            "give a RegisterTaskDefinition document, or the answer of `aws ecs describe-task-definition --include TAGS`",
        )
    };
    std::io::stdin()
        .lock()
        .take(LARGEST_DOCUMENT_BYTES)
        .read_to_string(&mut text)
        .map_err(|error| failed(error.to_string()))?;
    serde_json::from_str(&text).map_err(|error| failed(format!("not JSON: {error}")))
}
