//! `volumes-agent patch` and `unpatch`: a filter for pipelines, from stdin to stdout, without AWS.

use crate::{
    commands::{
        declared::{self, Flags},
        files::{ProjectArgs, document_from_stdin, print},
        messages::{MessageArgs, MessageFormat, Messages, note},
    },
    diagnostics::{Exit, Failure},
    labelling::{self, Labelling, RewritingError},
    labels::SOURCE,
    patch::{self, Outcome, PatchError, PatchSettings},
    problem::Problem,
};
use clap::Args;

/// Flags of `patch`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  volumes-agent patch --rack production --app example-app < task-definition.json > patched.json
  aws ecs describe-task-definition --include TAGS --task-definition web \\
    | volumes-agent patch --rack production --app example-app --compose docker-compose.yml > patched.json
  aws ecs register-task-definition --cli-input-json file://patched.json")]
pub struct PatchArgs {
    /// The rack [default: the cluster's name].
    #[arg(long, value_name = "NAME", required_unless_present = "cluster")]
    pub rack: Option<String>,
    /// The ECS cluster, where the rack is called like it.
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<String>,
    /// The app.
    #[arg(long, value_name = "NAME")]
    pub app: String,
    /// A compose file whose services' volumes are written into the containers' labels first; several are merged.
    #[arg(short = 'f', long, value_name = "FILE")]
    pub compose: Vec<String>,
    /// For which project.
    #[command(flatten)]
    pub project: ProjectArgs,
    /// How problems are told.
    #[command(flatten)]
    pub messages: MessageArgs,
    /// The container of a service, where its name is not the service's: SERVICE=CONTAINER.
    #[arg(long, value_name = "S=CONTAINER", requires = "compose")]
    pub container: Vec<String>,
    /// No placement constraint: for what a DAEMON service uses.
    #[arg(long)]
    pub no_gate: bool,
    /// A path of the instances that services may bind as it is; as in the agents' configuration.
    #[arg(long, value_name = "PATH")]
    pub host_path: Vec<String>,
}

/// Reads a RegisterTaskDefinition document, or DescribeTaskDefinition's answer, and prints one that is ready to register.
///
/// # Errors
/// What was refused; nothing is printed to stdout then.
pub fn run(args: &PatchArgs) -> Result<Exit, Failure> {
    let rack = declared::rack(args.rack.as_deref(), args.cluster.as_deref())?;
    let app = declared::app(&args.app)?;
    let document = patch::registerable(document_from_stdin()?).map_err(refused)?;
    let mut messages = Messages::new(args.messages.beside(None), &args.messages);
    let labelling = if args.compose.is_empty() {
        Labelling::default()
    } else {
        let flags = Flags {
            files: &args.compose,
            project: &args.project,
            container: &args.container,
            host_paths: &args.host_path,
        };
        match declared::declared(flags, &rack, &app, &mut messages) {
            Ok(Some(declared)) => declared.labelling,
            Ok(None) => return Ok(messages.refused("nothing was patched")),
            Err(failure) => {
                messages.tell("");
                return Err(failure);
            }
        }
    };
    messages.tell("");
    let (labelled, written) = if args.compose.is_empty() {
        labelling::write(&document, &labelling, &rack, &app).map_err(RewritingError::from)
    } else {
        labelling::rewrite(&document, &labelling, &rack, &app)
    }
    .map_err(|error| {
        let (code, help) = (error.code(), error.help());
        Failure::refused(error).code(code).help(help)
    })?;
    for (service, container) in labelling.without_container(&document) {
        messages.note(&format!(
            "the task definition has no container `{container}`: the volumes of service `{service}` are not in it"
        ));
    }
    let settings = PatchSettings {
        rack: &rack,
        gate: !args.no_gate,
        source: patch::first_label(&document, SOURCE).unwrap_or_else(|| "pipeline".to_owned()),
        host_paths: &args.host_path,
        fills: true,
    };
    match patch::patch_with(&labelled, &settings, written).map_err(refused)? {
        Outcome::Patched(patched) => {
            // What the compose file declares was told with its lines.
            messages.add(labelling.warnings_of_others(&patched.warnings));
            messages.tell("");
            print(&format!("{:#}\n", patched.document))
        }
        Outcome::Off => {
            messages.note("the label `convox.volumes.agent` is `off`: not patched");
            print(&format!("{document:#}\n"))
        }
        Outcome::NothingDeclared | Outcome::OtherRack { .. } => {
            messages.note("no container declares volumes (label `convox.volumes`): not patched; --compose FILE writes those of a compose file");
            if patch::is_held(&labelled) {
                messages.add([Problem::warning(
                    "held",
                    "the task definition has the constraint `attribute:convox.volumes.hold exists`, which is never true, and no volumes for which it would be swapped",
                    "remove the constraint: none of its tasks can be placed",
                )]);
                messages.tell("");
            }
            print(&format!("{labelled:#}\n"))
        }
    }
}

fn refused(error: PatchError) -> Failure {
    let (code, help) = (error.code(), error.help());
    Failure::refused(error).code(code).help(help)
}

/// The inverse: the source, as its author registered it.
///
/// # Errors
/// stdin is not a task definition, or our label was changed.
pub fn run_unpatch() -> Result<Exit, Failure> {
    let document = patch::registerable(document_from_stdin()?).map_err(refused)?;
    let source = patch::unpatch(&document).map_err(refused)?;
    if source == document {
        note(MessageFormat::Text, "nothing of volumes-agent is in it");
    }
    print(&format!("{source:#}\n"))
}
