//! Commands and files of the machine that the lab runs on.

use crate::error::Error;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Runs a command to its end and gives its standard output.
///
/// # Errors
/// [`Error::Command`] with the last lines of both outputs when it can't be started or its status isn't 0.
pub fn run(command: &mut Command) -> Result<String, Error> {
    let line = line_of(command);
    let output = command.stdin(Stdio::null()).output().map_err(|error| Error::Command {
        command: line.clone(),
        how: format!("can't be started: {error}"),
        output: String::new(),
    })?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(stdout);
    }
    let both = stdout + &String::from_utf8_lossy(&output.stderr);
    Err(Error::Command { command: line, how: format!("ended with {}", output.status), output: both })
}

/// Runs a line of words, split at spaces: for commands whose arguments have none.
///
/// # Errors
/// As [`run`].
pub fn sh(words: &str) -> Result<String, Error> {
    let mut words = words.split_whitespace();
    run(Command::new(words.next().unwrap_or_default()).args(words))
}

/// A command as a person would type it.
pub fn line_of(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Makes a folder of the lab with its parents.
///
/// # Errors
/// [`Error::File`].
pub fn directory(path: &Path) -> Result<(), Error> {
    fs::DirBuilder::new().recursive(true).create(path).map_err(failed("make", path))
}

/// Writes a file of the lab whole.
///
/// # Errors
/// [`Error::File`].
pub fn write(path: &Path, content: impl AsRef<[u8]>) -> Result<(), Error> {
    fs::write(path, content).map_err(failed("write", path))
}

/// Reads a text file.
///
/// # Errors
/// [`Error::File`].
pub fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(failed("read", path))
}

/// Removes a file or a folder with all that is in it; that it isn't there is fine.
///
/// # Errors
/// [`Error::File`].
pub fn remove(path: &Path) -> Result<(), Error> {
    let gone =
        if path.is_dir() && !path.is_symlink() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match gone {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Gives an I/O error its place.
pub fn failed(act: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path: PathBuf = path.to_owned();
    move |source| Error::File { act, path, source }
}

/// As [`failed`], for several calls in one place.
pub fn failed_again(act: &'static str, path: &Path) -> impl Fn(std::io::Error) -> Error {
    let path: PathBuf = path.to_owned();
    move |source| Error::File { act, path: path.clone(), source }
}

/// All files below a folder, sorted; folders themselves are left out.
///
/// # Errors
/// [`Error::File`].
pub fn files_below(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed("read", folder))? {
        let path = entry.map_err(failed("read", folder))?.path();
        if path.is_dir() && !path.is_symlink() {
            found.extend(files_below(&path)?);
        } else {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
