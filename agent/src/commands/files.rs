//! Compose files and documents, as the commands take them from the command line, and their problems, as they print them.

use crate::{
    commands::messages::{MessageArgs, Messages},
    compose::{
        self, Compose, Reading,
        files::{FileError, Files, text},
        selection::Request,
    },
    diagnostics::{Exit, Failure},
};
use clap::Args;
use rustix::fs::OFlags;
use serde_json::Value;
use std::{
    fs::{File, OpenOptions},
    io::{ErrorKind, Read, Write},
    os::unix::fs::OpenOptionsExt,
};

/// Largest document on stdin: a task definition has 64 KiB at most, its description a little more.
const LARGEST_DOCUMENT_BYTES: u64 = 1024 * 1024;
/// Largest compose file or env file.
const LARGEST_FILE_BYTES: u64 = 1024 * 1024;

/// Flags that say what to read, as Docker Compose has them.
#[derive(Debug, Clone, Default, Args)]
pub struct ComposeArgs {
    /// A compose file, `-` for stdin; several are merged [default: COMPOSE_FILE, else compose.yaml, compose.yml,
    /// docker-compose.yml or docker-compose.yaml here or in a folder above, with its override].
    #[arg(short, long = "file", value_name = "FILE")]
    pub file: Vec<String>,
    /// For which project.
    #[command(flatten)]
    pub project: ProjectArgs,
    /// How problems are told.
    #[command(flatten)]
    pub messages: MessageArgs,
}

/// Flags that say for which project.
#[derive(Debug, Clone, Default, Args)]
pub struct ProjectArgs {
    /// The project's name [default: COMPOSE_PROJECT_NAME, else the file's `name`, else the folder's name].
    #[arg(short, long, value_name = "NAME", allow_hyphen_values = true)]
    pub project_name: Option<String>,
    /// The project's folder [default: the first file's].
    #[arg(long, value_name = "FOLDER")]
    pub project_directory: Option<String>,
    /// A file of variables [default: COMPOSE_ENV_FILES, else .env in the project's folder].
    #[arg(long, value_name = "FILE")]
    pub env_file: Vec<String>,
    /// An active profile, or `*` [default: COMPOSE_PROFILES].
    #[arg(long, value_name = "NAME")]
    pub profile: Vec<String>,
}

/// Files of the machine, regular ones only, so that reading one always ends.
struct Disk;

impl Files for Disk {
    fn read(&self, path: &str) -> Result<String, FileError> {
        let other = |error: std::io::Error| match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => FileError::Missing,
            _ => FileError::Other(error.to_string()),
        };
        let mut bytes = Vec::new();
        let too_large = |bytes| FileError::TooLarge { bytes, most: LARGEST_FILE_BYTES };
        match path {
            "-" => {
                std::io::stdin()
                    .lock()
                    .take(LARGEST_FILE_BYTES + 1)
                    .read_to_end(&mut bytes)
                    .map_err(other)?;
            }
            // The way to say that there is no env file.
            "/dev/null" => {}
            path => {
                // Not blocking: opening a pipe would wait for someone to write into it.
                let flags = OFlags::NONBLOCK.bits().cast_signed();
                let file: File =
                    OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(other)?;
                let metadata = file.metadata().map_err(other)?;
                if metadata.is_dir() {
                    return Err(FileError::Folder);
                }
                if !metadata.is_file() {
                    return Err(FileError::NotAFile);
                }
                if metadata.len() > LARGEST_FILE_BYTES {
                    return Err(too_large(metadata.len()));
                }
                file.take(LARGEST_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(other)?;
            }
        }
        let length = bytes.len().try_into().unwrap_or(u64::MAX);
        if length > LARGEST_FILE_BYTES {
            return Err(too_large(length));
        }
        text(bytes)
    }

    fn exists(&self, path: &str) -> bool {
        std::fs::metadata(path).is_ok()
    }

    fn is_folder(&self, path: &str) -> bool {
        std::fs::metadata(path).is_ok_and(|metadata| metadata.is_dir())
    }
}

/// Reads what the flags, the environment and the folder say.
///
/// # Errors
/// The present folder is not known.
pub fn read(files: &[String], project: &ProjectArgs) -> Result<Reading, Failure> {
    let here = here()?;
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let request = Request {
        here,
        environment,
        files: files.to_vec(),
        project_name: project.project_name.clone(),
        project_directory: project.project_directory.clone(),
        env_files: project.env_file.clone(),
        profiles: project.profile.clone(),
    };
    Ok(compose::read(&request, &Disk))
}

/// The present folder as its user calls it, symbolic links included, where `PWD` tells it.
fn here() -> Result<String, Failure> {
    let unknown =
        |error: std::io::Error| Failure::refused(format!("the present folder is not known: {error}"));
    let real = std::env::current_dir().map_err(unknown)?;
    let called = std::env::var_os("PWD").map(std::path::PathBuf::from).filter(|called| {
        let is_real = called.canonicalize().ok().is_some_and(|path| real.canonicalize().ok() == Some(path));
        called.is_absolute() && is_real
    });
    called.unwrap_or(real).into_os_string().into_string().map_err(|folder| {
        Failure::refused(format!("the present folder's name is not UTF-8: {}", folder.to_string_lossy()))
    })
}

/// The project, with its problems in `messages`; none, where Docker Compose would refuse it.
///
/// # Errors
/// As [`read`].
pub fn read_compose(
    files: &[String],
    project: &ProjectArgs,
    messages: &mut Messages,
) -> Result<Option<Compose>, Failure> {
    let reading = read(files, project)?;
    messages.show_lines_of(reading.sources);
    messages.add(reading.problems);
    Ok(reading.compose)
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
