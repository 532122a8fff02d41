//! `volumes-agent config`: the volumes of a compose file, as Docker Compose reads them.

use crate::{
    commands::{
        Format,
        files::{ProjectFile, print, read_compose},
    },
    compose::Entry,
    declaration::Source,
    diagnostics::{Exit, Failure},
    layout,
};
use clap::Args;
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, path::PathBuf};

/// Flags of `config`.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// The compose file [default: compose.yaml, compose.yml, docker-compose.yml or docker-compose.yaml in this folder].
    #[arg(short, long = "file", value_name = "FILE")]
    pub file: Vec<PathBuf>,
    /// How to print it.
    #[arg(long, value_enum, default_value_t = Format::Json)]
    pub format: Format,
}

/// Prints the model.
///
/// # Errors
/// What Compose would refuse about volumes, and what isn't read yet.
pub fn run(args: &ConfigArgs) -> Result<Exit, Failure> {
    let read = read_compose(&args.file)?;
    let home = super::home()?;
    match args.format {
        Format::Json => print(&format!("{:#}\n", model(&read, &home))),
        Format::Text => print(&text(&read, &home)),
    }
}

/// A bind's source as Compose has it: relative ones joined to the project's folder, `~` replaced, absolute ones untouched.
fn source(entry: &Entry, folder: &str, home: &str) -> (&'static str, Option<String>) {
    match &entry.declaration.source {
        None => ("volume", None),
        Some(Source::Named(name)) => ("volume", Some(name.clone())),
        Some(Source::Absolute(path)) => ("bind", Some(path.clone())),
        Some(Source::Relative(path)) => {
            let absolute = match path.strip_prefix('~') {
                Some(rest) => format!("{home}/{rest}"),
                None => format!("{folder}/{path}"),
            };
            ("bind", Some(layout::clean(&absolute)))
        }
    }
}

fn volume(entry: &Entry, folder: &str, home: &str) -> Value {
    let declaration = &entry.declaration;
    let (kind, source) = source(entry, folder, home);
    let mut volume = Map::new();
    volume.insert("type".to_owned(), json!(kind));
    volume.insert("source".to_owned(), json!(source));
    volume.insert("target".to_owned(), json!(layout::clean(&declaration.target)));
    volume.insert("read_only".to_owned(), json!(declaration.read_only));
    let mut options = Map::new();
    for option in &declaration.ignored {
        match option.as_str() {
            "z" | "Z" => drop(options.insert("bind.selinux".to_owned(), json!(option))),
            "nocopy" => drop(options.insert("volume.nocopy".to_owned(), json!(true))),
            // `cached` and its like: Compose drops them in short syntax as well.
            _ => {}
        }
    }
    if !options.is_empty() {
        volume.insert("options".to_owned(), Value::Object(options));
    }
    Value::Object(volume)
}

fn model(read: &ProjectFile, home: &str) -> Value {
    let folder = read.folder.display().to_string();
    let services: BTreeMap<String, Value> = read
        .compose
        .services
        .iter()
        .map(|service| {
            let volumes: Vec<Value> =
                service.entries.iter().map(|entry| volume(entry, &folder, home)).collect();
            (service.name.to_string(), json!({ "volumes": volumes }))
        })
        .collect();
    let (project, _) = read.project();
    let used = |key: &str| {
        let mut entries = read.compose.services.iter().flat_map(|service| &service.entries);
        entries.any(|entry| matches!(&entry.declaration.source, Some(Source::Named(name)) if name == key))
    };
    let volumes: BTreeMap<String, Value> = read
        .compose
        .volumes
        .iter()
        .filter(|volume| used(volume.key.as_str()))
        .map(|volume| {
            let key = volume.key.to_string();
            let name = match &volume.name {
                Some(name) => name.clone(),
                None if volume.is_external => key.clone(),
                None => format!("{project}_{key}"),
            };
            let mut described = Map::new();
            described.insert("name".to_owned(), json!(name));
            if volume.is_external {
                described.insert("external".to_owned(), json!(true));
            }
            (key, Value::Object(described))
        })
        .collect();
    json!({
        "compose_files": [read.compose.file],
        "project_name": project,
        "services": services,
        "volumes": volumes,
    })
}

fn text(read: &ProjectFile, home: &str) -> String {
    let folder = read.folder.display().to_string();
    let (project, from) = read.project();
    let mut page = format!("project {project} (from {from}), {}\n", read.compose.file);
    for service in &read.compose.services {
        page.push_str(&format!("\n{}\n", service.name));
        for entry in &service.entries {
            let (kind, source) = source(entry, &folder, home);
            let mode = if entry.declaration.read_only { " (read-only)" } else { "" };
            let source = source.unwrap_or_else(|| "-".to_owned());
            page.push_str(&format!(
                "  {kind:<7} {source} -> {}{mode}\n",
                layout::clean(&entry.declaration.target)
            ));
        }
    }
    page
}
