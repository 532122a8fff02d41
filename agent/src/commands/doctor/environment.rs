//! The daemon's environment, for the doctor: what a shell lacks (an endpoint, a proxy, a key of the configuration) must not make
//! the doctor see another world than the daemon.

use std::{io, os::unix::process::CommandExt, process::Command};

/// The unit's `EnvironmentFile=`.
const FILE: &str = "/etc/volumes-agent/environment";

/// Runs this command once more with the variables of the daemon's environment file, where some of them are not set here; those that
/// are set here win. Gives the file, if there is one, when nothing is missing any more.
///
/// # Errors
/// Why the file can't be read, or the command not run again.
pub(super) fn taken() -> Result<Option<String>, String> {
    let text = match std::fs::read_to_string(FILE) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("{FILE}: {error}")),
    };
    let missing: Vec<_> =
        variables(&text).into_iter().filter(|(name, _)| std::env::var_os(name).is_none()).collect();
    if missing.is_empty() {
        return Ok(Some(FILE.to_owned()));
    }
    // It comes back only when it fails.
    let error = Command::new("/proc/self/exe").args(std::env::args_os().skip(1)).envs(missing).exec();
    Err(format!("{FILE}: running the doctor with it failed: {error}"))
}

/// `KEY=value` lines as systemd reads them (systemd.exec(5), `EnvironmentFile=`), but for values over several lines, which none of
/// these variables has.
fn variables(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with(['#', ';']) {
            continue;
        }
        let Some((name, value)) = line.split_once('=') else { continue };
        let name = name.trim();
        // Nothing else can be set, and would be missing for ever.
        if name.is_empty()
            || name.starts_with(|c: char| c.is_ascii_digit())
            || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        {
            continue;
        }
        let value = value.trim();
        let quoted = |quote| value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
        let value = quoted('"').or_else(|| quoted('\'')).unwrap_or(value);
        if !value.contains('\0') {
            found.push((name.to_owned(), value.to_owned()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_read_as_systemd_reads_it() {
        let text = "# x=1\n; y=2\n\nA=1\n B = two words \nC=\"quoted\"\nD='q'\nE=\nnot a variable\n1F=x\nG H=x\nI=\"\n";
        let read = variables(text);
        let read: Vec<(&str, &str)> =
            read.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(
            read,
            [("A", "1"), ("B", "two words"), ("C", "quoted"), ("D", "q"), ("E", ""), ("I", "\"")]
        );
    }
}
