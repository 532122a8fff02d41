//! `volumes-agent plan`: where each volume of a compose file will live, before anything happens.

use crate::{
    commands::{
        Format,
        files::{ComposeArgs, print, read_compose},
        messages::{MessageFormat, Messages},
    },
    compose::Compose,
    deploy::{Decision, decide},
    diagnostics::{Exit, Failure},
    layout::{Kind, Place},
    names::{App, Rack},
    problem::Problem,
};
use clap::Args;
use serde_json::{Map, Value, json};

/// Flags of `plan`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  volumes-agent plan -f docker-compose.yml --rack production --app example-app
  volumes-agent plan --local")]
pub struct PlanArgs {
    /// What to read.
    #[command(flatten)]
    pub compose: ComposeArgs,
    /// For a laptop: volumes below ~/.convox/volumes.
    #[arg(long, conflicts_with_all = ["rack", "cluster", "host_path"])]
    pub local: bool,
    /// The rack [default: the cluster's name].
    #[arg(long, value_name = "NAME", required_unless_present_any = ["local", "cluster"])]
    pub rack: Option<String>,
    /// The ECS cluster, where the rack is called like it.
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<String>,
    /// The app [default with --local: .convox/app, else the project's name where one is given, else the folder's].
    #[arg(long, value_name = "NAME", required_unless_present = "local")]
    pub app: Option<String>,
    /// A path of the instances that services may bind as it is; as in the agents' configuration.
    #[arg(long, value_name = "PATH")]
    pub host_path: Vec<String>,
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
    let mut messages = Messages::new(args.message_format());
    let planned = plan(args, &mut messages);
    // What reading found is worth knowing even where a name on the command line is wrong.
    messages.tell(if matches!(planned, Ok(None)) { "nothing was planned" } else { "" });
    planned.map(|exit| exit.unwrap_or(Exit::Refused))
}

/// The plan; nothing, where the files can't be read.
fn plan(args: &PlanArgs, messages: &mut Messages) -> Result<Option<Exit>, Failure> {
    let Some(compose) = read_compose(&args.compose.file, &args.compose.project, messages)? else {
        return Ok(None);
    };
    let home = super::home()?;
    let app = app(args, &compose, messages)?;
    let rack: Option<Rack> = match args.rack.as_ref().or(args.cluster.as_ref()) {
        Some(rack) => {
            Some(rack.parse().map_err(|error| Failure::refused(error).help("give a name by --rack"))?)
        }
        None => None,
    };
    let place = match &rack {
        Some(rack) => Place::Deployed { rack, host_paths: &args.host_path },
        None => Place::Local { home: &home, project: &compose.folder },
    };
    let mut decision = decide(&compose, place, &app);
    decision.warnings.extend(messages.take());
    decision.warnings.sort_by_cached_key(Problem::sort_key);
    let format = args.format.unwrap_or(Format::Text);
    match format {
        Format::Json => print(&format!("{:#}\n", as_json(&decision)))?,
        Format::Text => print(&table(&decision))?,
    };
    let is_refused = !decision.refusals.is_empty();
    // The document has them already; a form that was asked for is another matter.
    if format == Format::Text || args.compose.messages.message_format.is_some() {
        messages.add(decision.refusals.into_iter().chain(decision.warnings));
    }
    Ok(Some(if is_refused { Exit::Refused } else { Exit::Done }))
}

fn app(args: &PlanArgs, compose: &Compose, messages: &Messages) -> Result<App, Failure> {
    super::start::app(args.app.as_deref(), compose, messages)
}

fn as_json(decision: &Decision) -> Value {
    let volumes: Vec<Value> = decision
        .volumes
        .iter()
        .map(|planned| {
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
            put("file", json!(&*planned.place.file));
            put("line", json!(planned.place.line));
            put("column", json!(planned.place.column));
            Value::Object(line)
        })
        .collect();
    json!({ "volumes": volumes, "refusals": decision.refusals, "warnings": decision.warnings })
}

/// Three lines a volume would be easier to align; one line is easier to read and to search.
fn table(decision: &Decision) -> String {
    let rows: Vec<[String; 3]> = decision
        .volumes
        .iter()
        .map(|planned| {
            let volume = &planned.volume;
            let mut target = volume.target.clone();
            if volume.read_only {
                target.push_str(" (read-only)");
            }
            if let Some(outer) = &volume.folded_into {
                target.push_str(&format!(" (inside {outer})"));
            }
            let source = if volume.kind == Kind::Tmpfs { "(memory)" } else { volume.source.as_str() };
            [planned.service.to_string(), target, source.to_owned()]
        })
        .collect();
    if rows.is_empty() {
        return "no volumes\n".to_owned();
    }
    let heads = ["SERVICE", "IN THE CONTAINER", "LIVES AT"].map(str::to_owned);
    let width =
        |column: usize| rows.iter().chain([&heads]).map(|row| row[column].chars().count()).max().unwrap_or(0);
    let (first, second) = (width(0), width(1));
    std::iter::once(&heads)
        .chain(&rows)
        .map(|[service, target, source]| format!("{service:<first$}  {target:<second$}  {source}\n"))
        .collect()
}
