//! `volumes-agent config`: the volumes of compose files, as Docker Compose reads them.

use crate::{
    commands::{
        Format,
        files::{ComposeArgs, print, read_compose},
        messages::{MessageFormat, Messages},
    },
    compose::{Compose, Entry, Service, TopLevelVolume},
    declaration::Source,
    deploy,
    diagnostics::{Exit, Failure},
    path,
};
use clap::Args;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashSet};

/// Flags of `config`.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// What to read.
    #[command(flatten)]
    pub compose: ComposeArgs,
    /// How to print it [default: json].
    #[arg(long, value_enum)]
    pub format: Option<Format>,
}

impl ConfigArgs {
    /// How to say what is wrong.
    pub fn message_format(&self) -> MessageFormat {
        self.compose.messages.beside(self.format)
    }
}

/// Prints the model. What would be refused on deploy is a warning.
///
/// # Errors
/// What Docker Compose would refuse about volumes.
pub fn run(args: &ConfigArgs) -> Result<Exit, Failure> {
    let mut messages = Messages::new(args.message_format(), &args.compose.messages);
    let Some(compose) = read_compose(&args.compose.file, &args.compose.project, &mut messages)? else {
        return Ok(messages.refused("Docker Compose would refuse it"));
    };
    let (told, silenced) = deploy::refused_elsewhere(&compose);
    messages.add_silenced(silenced);
    messages.add(told);
    messages.tell("");
    match args.format.unwrap_or(Format::Json) {
        Format::Json => print(&format!("{:#}\n", model(&compose))),
        Format::Text => print(&text(&compose)),
    }
}

/// A mapping of what is there.
fn mapping<const N: usize>(pairs: [(&str, Option<Value>); N]) -> Value {
    let there = pairs.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
    Value::Object(there.collect())
}

fn unless_empty<T: serde::Serialize>(items: &[T]) -> Option<Value> {
    (!items.is_empty()).then(|| json!(items))
}

fn volume(entry: &Entry) -> Value {
    let declaration = &entry.declaration;
    let options: Map<String, Value> =
        declaration.options.listed().into_iter().map(|(path, value)| (path.to_owned(), value)).collect();
    mapping([
        ("type", Some(json!(declaration.kind.word()))),
        ("source", Some(json!(declaration.source.as_ref().map(Source::resolved)))),
        ("target", Some(json!(path::clean(&declaration.target)))),
        ("read_only", Some(json!(declaration.read_only))),
        ("options", (!options.is_empty()).then_some(Value::Object(options))),
    ])
}

fn service(service: &Service) -> Value {
    let texts = |texts: &[crate::compose::layer::Text]| -> Vec<String> {
        texts.iter().map(|text| text.value.clone()).collect()
    };
    mapping([
        ("profiles", unless_empty(&service.profiles)),
        ("volumes", Some(service.entries.iter().map(volume).collect())),
        ("volumes_from", unless_empty(&texts(&service.volumes_from))),
        ("tmpfs", unless_empty(&texts(&service.tmpfs))),
        ("user", service.user.as_ref().filter(|user| !user.is_empty()).map(|user| json!(user))),
    ])
}

fn top_level(volume: &TopLevelVolume) -> Value {
    let unless_empty = |map: &BTreeMap<String, String>| (!map.is_empty()).then(|| json!(map));
    mapping([
        ("name", (!volume.full_name.is_empty()).then(|| json!(volume.full_name))),
        ("driver", volume.driver.as_ref().map(|driver| json!(driver))),
        ("driver_opts", unless_empty(&volume.driver_opts)),
        ("external", volume.is_external.then_some(json!(true))),
        ("labels", unless_empty(&volume.labels)),
    ])
}

fn model(compose: &Compose) -> Value {
    let services: BTreeMap<&str, Value> =
        compose.active().map(|found| (found.name.as_str(), service(found))).collect();
    let entries = compose.active().flat_map(|service| &service.entries);
    let used: HashSet<&str> = entries.filter_map(|entry| entry.declaration.named()).collect();
    let volumes: BTreeMap<&str, Value> = compose
        .volumes
        .iter()
        .filter(|volume| used.contains(volume.key.as_str()))
        .map(|volume| (volume.key.as_str(), top_level(volume)))
        .collect();
    // With every profile on: which services would run without a flag.
    let mut by_default: Vec<&str> = compose
        .services
        .iter()
        .filter(|service| service.is_active_by_default)
        .map(|service| service.name.as_str())
        .collect();
    by_default.sort_unstable();
    let says_something = compose.all_profiles && by_default.len() < compose.services.len();
    let unset: Vec<&String> = compose.unset_variables.iter().collect();
    mapping([
        ("compose_files", Some(json!(compose.files))),
        ("project_name", Some(json!(compose.project))),
        ("active_without_profiles", says_something.then(|| json!(by_default))),
        ("services", Some(json!(services))),
        ("volumes", (!volumes.is_empty()).then(|| json!(volumes))),
        ("unset_variables", unless_empty(&unset)),
    ])
}

fn text(compose: &Compose) -> String {
    let mut page = format!(
        "project {} (from {}), {}\n",
        compose.project,
        compose.project_from,
        compose.files.join(", ")
    );
    for service in compose.active() {
        page.push_str(&format!("\n{}\n", service.name));
        for Entry { declaration, .. } in &service.entries {
            let mode = if declaration.read_only { " (read-only)" } else { "" };
            let source = declaration.source.as_ref().map_or("-", Source::resolved);
            let target = path::clean(&declaration.target);
            page.push_str(&format!("  {:<7} {source} -> {target}{mode}\n", declaration.kind.word()));
        }
        for text in &service.tmpfs {
            page.push_str(&format!("  {:<7} - -> {}\n", "tmpfs", text.value));
        }
        for text in &service.volumes_from {
            page.push_str(&format!("  those of {}\n", text.value));
        }
    }
    page
}
