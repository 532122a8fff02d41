//! `volumes-agent plan`: where each volume of a compose file will live, before anything happens.

mod pending;
mod table;

use crate::{
    commands::{
        Format,
        apply::ServicesArgs,
        columns, declared,
        files::{ComposeArgs, print, read_compose},
        messages::{MessageFormat, Messages},
    },
    compose::Compose,
    deploy::{Decision, caution::Images, decide_knowing},
    diagnostics::{Exit, Failure},
    images,
    layout::{Kind, Place},
    mount::VOLUMES_ROOT,
    names::{App, Rack},
    problem::Problem,
};
use clap::Args;
use pending::{Changes, Target};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// Flags of `plan`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  volumes-agent plan -f docker-compose.yml --rack production --app example-app
  volumes-agent plan -f docker-compose.yml --cluster production --app example-app --detailed-exitcode
  volumes-agent plan --local")]
pub struct PlanArgs {
    /// What to read.
    #[command(flatten)]
    pub compose: ComposeArgs,
    /// For a laptop: volumes below ~/.convox/volumes.
    #[arg(long, conflicts_with_all = ["rack", "cluster", "host_path"])]
    pub local: bool,
    /// The rack [default: the cluster's name].
    #[arg(long, value_name = "NAME")]
    pub rack: Option<String>,
    /// The ECS cluster, where the rack is called like it.
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<String>,
    /// The app [default with --local: .convox/app, else the project's name where one is given, else the folder's].
    #[arg(long, value_name = "NAME")]
    pub app: Option<String>,
    /// A path of the instances that services may bind as it is; as in the agents' configuration.
    #[arg(long, value_name = "PATH")]
    pub host_path: Vec<String>,
    /// End with 2 if something is not there yet: on the cluster what `apply` would do, on a laptop folders that `start` would make.
    #[arg(long)]
    pub detailed_exitcode: bool,
    /// Which services of the cluster are meant, for --detailed-exitcode.
    #[command(flatten)]
    pub services: ServicesArgs,
    /// How to print it [default: text].
    #[arg(long, value_enum)]
    pub format: Option<Format>,
}

impl PlanArgs {
    /// How to say what is wrong.
    pub fn message_format(&self) -> MessageFormat {
        self.compose.messages.beside(self.format)
    }
}

/// Prints the plan; `Refused` if any entry is.
///
/// # Errors
/// The file can't be read, or a name is none.
pub fn run(args: &PlanArgs) -> Result<Exit, Failure> {
    let mut messages = Messages::new(args.message_format(), &args.compose.messages);
    let planned = plan(args, &mut messages);
    // What reading found is worth knowing even where a name on the command line is wrong.
    messages.tell(if matches!(planned, Ok(None)) { "nothing was planned" } else { "" });
    planned.map(|exit| exit.unwrap_or(Exit::Refused))
}

/// The plan; nothing, where the files can't be read.
fn plan(args: &PlanArgs, messages: &mut Messages) -> Result<Option<Exit>, Failure> {
    if (!args.detailed_exitcode || args.local) && args.services.are_given() {
        let flags = "--service, --container, --no-gate and --region are about what is on the cluster";
        return Err(
            Failure::usage(flags).help("say which cluster, and add --detailed-exitcode, which looks there")
        );
    }
    if !args.local && (args.app.is_none() || (args.rack.is_none() && args.cluster.is_none())) {
        return Err(Failure::usage("a plan is for a cluster or for this machine")
            .help("say which: --rack RACK --app APP, or --local"));
    }
    let Some(compose) = read_compose(&args.compose.file, &args.compose.project, messages)? else {
        return Ok(None);
    };
    let home = super::home()?;
    let app = app(args, &compose, messages)?;
    let rack: Option<Rack> = match (args.rack.as_deref(), args.cluster.as_deref()) {
        (None, None) => None,
        (rack, cluster) => Some(declared::rack(rack, cluster)?),
    };
    let place = match &rack {
        Some(rack) => Place::Deployed { rack, host_paths: &args.host_path },
        None => Place::Local { home: &home, project: &compose.folder },
    };
    let images = images_at_hand(&compose, place)?;
    let mut decision = decide_knowing(&compose, place, &app, &images);
    let changes = match args.detailed_exitcode && decision.refusals.is_empty() {
        true => changes(args, rack.as_ref(), &app, &compose, &mut decision)?,
        false => None,
    };
    messages.add_silenced(decision.silenced);
    messages.add(std::mem::take(&mut decision.warnings));
    decision.warnings = messages.take();
    decision.silenced = messages.silenced();
    decision.warnings.sort_by_cached_key(Problem::sort_key);
    let format = args.format.unwrap_or(Format::Text);
    match format {
        Format::Json => print(&format!("{:#}\n", as_json(&decision, changes.as_ref())))?,
        Format::Text => {
            let changes = changes.as_ref().map(Changes::page).unwrap_or_default();
            print(&format!("{}{changes}", table::page(&decision, columns::width())))?
        }
    };
    let is_refused = !decision.refusals.is_empty();
    // The document has them already; a form that was asked for is another matter.
    if format == Format::Text || args.compose.messages.message_format.is_some() {
        messages.add(decision.refusals.into_iter().chain(decision.warnings));
    }
    Ok(Some(match changes {
        _ if is_refused => Exit::Refused,
        Some(changes) if changes.are_pending() => Exit::Pending,
        _ => Exit::Done,
    }))
}

/// What is not there yet; nothing, where `apply` would refuse.
fn changes(
    args: &PlanArgs,
    rack: Option<&Rack>,
    app: &App,
    compose: &Compose,
    decision: &mut Decision,
) -> Result<Option<Changes>, Failure> {
    let Some(rack) = rack else {
        return Ok(Some(Changes::Folders(pending::on_this_machine(decision)?)));
    };
    let containers = declared::pairs("container", "CONTAINER", &args.services.container)?;
    let labelling = declared::labelling(compose, decision, containers)?;
    let target = Target {
        services: &args.services,
        cluster: args.cluster.as_deref().unwrap_or_else(|| rack.as_str()),
        rack,
        app,
        host_paths: &args.host_path,
    };
    Ok(pending::on_the_cluster(target, compose, &labelling, decision)?.map(Changes::Services))
}

/// What this machine's engine knows of the images that the file names. On a laptop nothing depends on it.
fn images_at_hand(compose: &Compose, place: Place<'_>) -> Result<Images, Failure> {
    let names: BTreeSet<&str> = compose.active().filter_map(|service| service.image.as_deref()).collect();
    if names.is_empty() || matches!(place, Place::Local { .. }) {
        return Ok(Images::new());
    }
    super::block_on(images::known(&names))
}

fn app(args: &PlanArgs, compose: &Compose, messages: &Messages) -> Result<App, Failure> {
    match &args.app {
        Some(app) if !args.local => declared::app(app),
        app => super::start::app(app.as_deref(), compose, messages),
    }
}

fn as_json(decision: &Decision, changes: Option<&Changes>) -> Value {
    let volumes: Vec<Value> = decision
        .volumes
        .iter()
        .zip(decision.shared_by())
        .map(|(planned, shared_by)| {
            let volume = &planned.volume;
            let mut line = Map::new();
            let mut put = |key: &str, value: Value| drop(line.insert(key.to_owned(), value));
            put("service", json!(planned.service));
            put("declaration", json!(volume.declaration));
            if let Some(resolved) = &planned.resolved {
                put("resolved", json!(resolved));
            }
            put("type", json!(volume.kind));
            if volume.kind != Kind::Tmpfs {
                put("source", json!(volume.source));
            }
            put("target", json!(volume.target));
            put("read_only", json!(volume.read_only));
            if let Some(outer) = &volume.folded_into {
                put("folded_into", json!(outer));
            }
            if let Some(memory) = &volume.memory {
                put("size_mib", json!(memory.mebibytes));
                if let Some(mode) = memory.mode {
                    put("mode", json!(format!("{mode:04o}")));
                }
            }
            // On a laptop Docker itself sees to it.
            if volume.relative.is_some() && volume.source.starts_with(VOLUMES_ROOT) {
                let first_use = volume.first_use;
                let is_seeded = first_use.content.is_of_the_image();
                put("seed", json!(is_seeded));
                if !is_seeded {
                    put("seed_reason", json!(first_use.content.name()));
                }
                if let Some(owner) = first_use.owner {
                    put("owner", json!(owner));
                }
                if let Some(mode) = first_use.mode {
                    put("mode", json!(mode));
                }
            }
            if !shared_by.is_empty() {
                put("shared_by", json!(shared_by));
            }
            put("file", json!(&*planned.place.file));
            put("line", json!(planned.place.line));
            put("column", json!(planned.place.column));
            Value::Object(line)
        })
        .collect();
    let mut document =
        json!({ "volumes": volumes, "refusals": decision.refusals, "warnings": decision.warnings });
    if decision.silenced > 0 {
        document["silenced"] = json!(decision.silenced);
    }
    if let Some(changes) = changes {
        document["changes"] = changes.as_json();
    }
    document
}
