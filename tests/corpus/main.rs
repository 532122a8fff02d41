//! The built binary against compose files of other people, each with the model that a real Docker Compose made of it.
//!
//! The corpus lies outside of this repository: `make test-corpus` says where (`CORPUS=FOLDER`). Nothing of it is known here but the
//! titles of small documents about which this project decided otherwise, each with its reason ([`DIFFERENCES`]).

use serde_json::{Map, Value, json};
use std::{
    collections::BTreeMap,
    error::Error,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Output},
};

/// What Docker Compose refuses and this project reads: keys that have nothing to do with volumes don't stop it.
const DIFFERENCES: [(&str, &str); 5] = [
    ("toplevel unknown", "an unknown top-level key is none of its business"),
    ("no image", "what a service runs is none of its business"),
    ("v1 file", "files without `services:` are read as Docker Compose's first format"),
    ("version 2 numeric", "`version` is ignored, a number as well"),
    ("depends undefined", "what a service waits for is none of its business"),
];
/// The home directory of all runs.
const HOME: &str = "/home/ann";

type Failure = Box<dyn Error>;

fn main() -> ExitCode {
    match run() {
        Ok(failed) => ExitCode::from(u8::from(failed > 0)),
        Err(error) => {
            say(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<usize, Failure> {
    let corpus = std::env::var_os("CORPUS")
        .map(PathBuf::from)
        .ok_or("CORPUS names no folder: run `make test-corpus`")?;
    let corpus =
        corpus.canonicalize().map_err(|error| format!("the corpus {}: {error}", corpus.display()))?;
    // Some cases have sources above their own folder, given for a run two levels below the folder of temporary files.
    let scratch = Scratch::new()?;
    let mut tally = Tally::default();
    for case in sorted(&corpus.join("cases"))? {
        let expected: Value = serde_json::from_str(&std::fs::read_to_string(case.join("expected.json"))?)?;
        let name = case.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let folder = scratch.folder(&name)?;
        copy(&case, &folder)?;
        tally.count("cases", &name, judge_case(&expected, &folder));
    }
    let documents: Vec<Value> =
        serde_json::from_str(&std::fs::read_to_string(corpus.join("vectors/documents.json"))?)?;
    let mut different: Vec<&str> = Vec::new();
    for document in &documents {
        let title = text(document, "title");
        let verdict = judge_document(document, &scratch.folder("proj")?);
        match DIFFERENCES.iter().find(|(known, _)| *known == title) {
            None => tally.count("documents", title, verdict),
            Some((_, reason)) if verdict.is_err() => {
                different.push(title);
                tally.differs("documents", title, reason);
            }
            Some(_) => tally.count("documents", title, Err("is listed as different, and isn't".to_owned())),
        }
    }
    let entries: Vec<Value> =
        serde_json::from_str(&std::fs::read_to_string(corpus.join("vectors/short-syntax.json"))?)?;
    for entry in &entries {
        tally.count("entries", text(entry, "spec"), judge_entry(entry, &scratch.folder("proj")?));
    }
    for (title, _) in DIFFERENCES {
        if !different.contains(&title) && !documents.iter().any(|document| text(document, "title") == title) {
            tally.count(
                "documents",
                title,
                Err("is listed as different, and isn't in the corpus".to_owned()),
            );
        }
    }
    for (kind, least) in [("cases", 1), ("documents", 1), ("entries", 1)] {
        if tally.counts.get(kind).is_none_or(|(passed, failed, _)| passed + failed < least) {
            return Err(format!("the corpus has no {kind}").into());
        }
    }
    Ok(tally.close())
}

/// A case from a repository, with every profile on.
fn judge_case(expected: &Value, folder: &Path) -> Result<(), String> {
    let files = expected["compose_files"].as_array().cloned().unwrap_or_default();
    let mut arguments: Vec<String> = vec!["--profile".to_owned(), "*".to_owned()];
    arguments
        .extend(files.iter().filter_map(Value::as_str).flat_map(|file| ["-f".to_owned(), file.to_owned()]));
    let output = config(folder, &arguments, &Map::new())?;
    let first = files.first().and_then(Value::as_str).unwrap_or_default();
    let project = folder.join(first).parent().unwrap_or(folder).to_owned();
    let keys = ["project_name", "active_without_profiles", "services", "volumes", "unset_variables"];
    compare(&model(&output)?, &resolved(expected, &project), &keys)
}

/// A small document, or several.
fn judge_document(document: &Value, folder: &Path) -> Result<(), String> {
    let mut here = folder.to_owned();
    for (name, content) in document["files"].as_object().into_iter().flatten() {
        let path = folder.join(name);
        // A folder with a mark in it is where the command runs.
        if name.ends_with("/.keep") {
            path.parent().unwrap_or(folder).clone_into(&mut here);
        }
        write(&path, content.as_str().unwrap_or_default()).map_err(|error| error.to_string())?;
    }
    let arguments: Vec<String> = document["args"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    let environment = document["env"].as_object().cloned().unwrap_or_default();
    let output = config(&here, &arguments, &environment)?;
    if let Some(error) = document["error"].as_str() {
        return refused(&output, error);
    }
    let mut found = model(&output)?;
    // The documents tell mounts alone.
    for service in found["services"].as_object_mut().into_iter().flat_map(Map::values_mut) {
        *service = json!({ "volumes": service["volumes"] });
    }
    compare(&found, &resolved(document, folder), &["project_name", "services", "volumes"])
}

/// A string in short syntax.
fn judge_entry(entry: &Value, folder: &Path) -> Result<(), String> {
    let names = ["named", "Named", "_abc", "v"].map(|name| (name.to_owned(), Value::Null));
    let compose = json!({
        "services": { "web": { "image": "busybox", "volumes": [entry["spec"]] } },
        "volumes": names.into_iter().collect::<Map<_, _>>(),
    });
    write(&folder.join("compose.yaml"), &compose.to_string()).map_err(|error| error.to_string())?;
    let output = config(folder, &[], &Map::new())?;
    if let Some(error) = entry["error"].as_str() {
        return refused(&output, error);
    }
    let found = model(&output)?["services"]["web"]["volumes"][0].clone();
    compare(&found, &resolved(entry, folder), &["type", "source", "target", "read_only", "options"])
}

fn config(folder: &Path, arguments: &[String], environment: &Map<String, Value>) -> Result<Output, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let binary = own.with_file_name("volumes-agent");
    Command::new(&binary)
        .arg("config")
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .env("HOME", HOME)
        .envs(environment.iter().filter_map(|(name, value)| Some((name, value.as_str()?))))
        .output()
        .map_err(|error| format!("{}: {error}: build it with `make build`", binary.display()))
}

fn model(output: &Output) -> Result<Value, String> {
    if !output.status.success() {
        return Err(format!("is refused:\n{}", String::from_utf8_lossy(&output.stderr)));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| format!("what it prints is no JSON: {error}"))
}

fn refused(output: &Output, error: &str) -> Result<(), String> {
    match output.status.code() {
        Some(1) if output.stdout.is_empty() && !output.stderr.is_empty() => Ok(()),
        code => Err(format!("is not refused (exit code {code:?}); Docker Compose says: {error}")),
    }
}

/// Compares keys; one with nothing in it is one that isn't there.
fn compare(found: &Value, expected: &Value, keys: &[&str]) -> Result<(), String> {
    let something = |value: &Value| match value {
        Value::Null => None,
        Value::Object(map) if map.is_empty() => None,
        Value::Array(list) if list.is_empty() => None,
        value => Some(value.clone()),
    };
    for key in keys {
        let (found, expected) = (something(&found[*key]), something(&expected[*key]));
        if found != expected {
            let shown =
                |value: Option<Value>| value.map_or("nothing".to_owned(), |value| format!("{value:#}"));
            return Err(format!("`{key}`\nis        {}\nshould be {}", shown(found), shown(expected)));
        }
    }
    Ok(())
}

/// The expected model with the folders of this run.
fn resolved(value: &Value, folder: &Path) -> Value {
    match value {
        Value::String(text) => json!(resolved_text(text, folder)),
        Value::Array(items) => items.iter().map(|item| resolved(item, folder)).collect(),
        Value::Object(pairs) => pairs
            .iter()
            .map(|(key, value)| (key.clone(), resolved(value, folder)))
            .collect::<Map<_, _>>()
            .into(),
        other => other.clone(),
    }
}

fn resolved_text(text: &str, folder: &Path) -> String {
    let Some(rest) = text.strip_prefix("${PROJECT_DIR}") else { return text.replace("${HOME}", HOME) };
    // `${PROJECT_DIR}/../x` stands for a path that was cleaned.
    let mut path = folder.to_owned();
    for component in rest.split('/').filter(|component| !component.is_empty()) {
        match component {
            ".." => drop(path.pop()),
            name => path.push(name),
        }
    }
    path.to_string_lossy().into_owned()
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_default()
}

fn sorted(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let entries = std::fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut paths: Vec<PathBuf> =
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    paths.sort();
    Ok(paths)
}

fn write(path: &Path, content: &str) -> std::io::Result<()> {
    folders(path.parent().unwrap_or(Path::new("/")))?;
    std::fs::write(path, content)
}

/// A scratch folder is no mount point: its parents may be made.
#[expect(clippy::disallowed_methods)]
fn folders(path: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(path)
}

fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    for path in sorted(from)? {
        let target = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            folders(&target)?;
            copy(&path, &target)?;
        } else {
            std::fs::write(&target, std::fs::read(&path)?)?;
        }
    }
    Ok(())
}

/// A folder for one run, taken away at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self, Failure> {
        let folder = PathBuf::from(format!("/tmp/volumes-agent-corpus-{}", std::process::id()));
        folders(&folder)?;
        Ok(Self(folder))
    }

    /// An empty folder of that name.
    fn folder(&self, name: &str) -> Result<PathBuf, Failure> {
        let folder = self.0.join(name);
        if folder.exists() {
            std::fs::remove_dir_all(&folder)?;
        }
        folders(&folder)?;
        Ok(folder)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// Passed, failed and deliberately different, by kind.
#[derive(Default)]
struct Tally {
    counts: BTreeMap<&'static str, (usize, usize, usize)>,
}

impl Tally {
    fn count(&mut self, kind: &'static str, name: &str, verdict: Result<(), String>) {
        let (passed, failed, _) = self.counts.entry(kind).or_default();
        match verdict {
            Ok(()) => *passed += 1,
            Err(reason) => {
                *failed += 1;
                say(&format!("{kind}: `{name}` {reason}\n"));
            }
        }
    }

    fn differs(&mut self, kind: &'static str, name: &str, reason: &str) {
        self.counts.entry(kind).or_default().2 += 1;
        say(&format!("{kind}: `{name}` differs: {reason}"));
    }

    /// How many failed.
    fn close(&self) -> usize {
        let mut totals = (0, 0);
        for (kind, (passed, failed, different)) in &self.counts {
            say(&format!(
                "{kind}: {passed} as Docker Compose has them, {failed} not, {different} different on purpose"
            ));
            totals = (totals.0 + passed, totals.1 + failed);
        }
        say(&format!("corpus: {} passed, {} failed", totals.0, totals.1));
        totals.1
    }
}

#[expect(clippy::print_stdout)] // a test's report
fn say(text: &str) {
    println!("{text}");
}
