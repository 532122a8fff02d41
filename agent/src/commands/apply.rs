//! `volumes-agent apply`: a compose file's volumes, taken to the ECS services of a cluster, and watched until they run.

mod change;
pub mod look;
pub mod page;

use crate::{
    apply::{
        assignment::{Assignment, assign},
        databases,
    },
    aws,
    commands::{
        Format, block_on,
        declared::{self, Flags},
        files::{ComposeArgs, print},
        messages::{MessageFormat, Messages, failed, progress},
        moving::{ChangeError, Cluster, follow::Watched},
    },
    compose::Compose,
    deploy::{
        Decision,
        caution::{DatabaseFiles, database_files},
    },
    diagnostics::{Exit, Failure},
    ecs::Ecs,
    labelling::Labelling,
    problem::Problem,
    service::short_name,
    silence::Silences,
};
use aws_config::SdkConfig;
use clap::Args;
use futures_util::future::join_all;
use look::{Found, Looked, Looking, Refusal, Step};
use page::{Line, Outcome};
use std::{collections::HashSet, io::IsTerminal, time::Duration};

/// Flags of `apply`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  volumes-agent apply -f docker-compose.yml --cluster production --app example-app --dry-run
  volumes-agent apply -f docker-compose.yml --cluster production --app example-app --service web=example-app-web

Exit codes: 0 all are stable; 1 refused, and no service was changed; 4 a deployment failed or was rolled back;
5 one was not stable in time, and goes on by itself.")]
pub struct ApplyArgs {
    /// What to read.
    #[command(flatten)]
    pub compose: ComposeArgs,
    /// The ECS cluster, its name or ARN [default: the rack].
    #[arg(long, value_name = "NAME", required_unless_present = "rack")]
    pub cluster: Option<String>,
    /// The rack [default: the cluster's name].
    #[arg(long, value_name = "NAME")]
    pub rack: Option<String>,
    /// The app.
    #[arg(long, value_name = "NAME")]
    pub app: String,
    /// A path of the instances that services may bind as it is; as in the agents' configuration.
    #[arg(long, value_name = "PATH")]
    pub host_path: Vec<String>,
    /// Which of its services are meant.
    #[command(flatten)]
    pub services: ServicesArgs,
    /// Print the diff of each task definition, and change nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// How long to wait until all tasks run the new revision.
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = humantime::parse_duration)]
    pub timeout: Duration,
    /// How to print it [default: text].
    #[arg(long, value_enum)]
    pub format: Option<Format>,
}

/// Flags that say which services of a cluster are meant.
#[derive(Debug, Clone, Args)]
pub struct ServicesArgs {
    /// The ECS service of a service of the file, where its name is another: SERVICE=ECS_SERVICE.
    #[arg(long, value_name = "S=ECS_SERVICE")]
    pub service: Vec<String>,
    /// The container of a service, where its name is not the service's: SERVICE=CONTAINER.
    #[arg(long, value_name = "S=CONTAINER")]
    pub container: Vec<String>,
    /// No placement constraint. DAEMON services never get one.
    #[arg(long)]
    pub no_gate: bool,
    /// The Region [default: AWS_REGION, else the profile's].
    #[arg(long, value_name = "NAME")]
    pub region: Option<String>,
}

impl ApplyArgs {
    /// How to say what is wrong.
    pub fn message_format(&self) -> MessageFormat {
        self.compose.messages.beside(self.format)
    }
}

/// Takes the file's volumes to the cluster.
///
/// # Errors
/// A flag that can't be understood, or AWS: no service was changed.
pub fn run(args: &ApplyArgs) -> Result<Exit, Failure> {
    let mut messages = Messages::new(args.message_format(), &args.compose.messages);
    let applied = apply(args, &mut messages);
    messages.tell(if matches!(applied, Ok(None)) { "nothing was changed" } else { "" });
    applied.map(|exit| exit.unwrap_or(Exit::Refused))
}

/// `None`: what was refused is in `messages`, and nothing was changed.
fn apply(args: &ApplyArgs, messages: &mut Messages) -> Result<Option<Exit>, Failure> {
    let rack = declared::rack(args.rack.as_deref(), args.cluster.as_deref())?;
    let app = declared::app(&args.app)?;
    let flags = Flags {
        files: &args.compose.file,
        project: &args.compose.project,
        container: &args.services.container,
        host_paths: &args.host_path,
    };
    let Some(declared) = declared::declared(flags, &rack, &app, messages)? else { return Ok(None) };
    block_on(async {
        let assignments = args.services.assignments(&declared.labelling)?;
        let ecs = Ecs::new(&args.services.connect().await?);
        let looking = Looking {
            cluster: Cluster { ecs: &ecs, name: args.cluster.as_deref().unwrap_or_else(|| rack.as_str()) },
            rack: &rack,
            app: &app,
            labelling: &declared.labelling,
            gate: !args.services.no_gate,
            host_paths: &args.host_path,
        };
        let looked = looking.at_all(&assignments).await.map_err(aws_failure)?;
        messages.add(refusals(&looked, &declared.compose));
        let (cautions, silenced) = cautions(&looked, &declared.compose, &declared.decision);
        messages.add(cautions);
        messages.add_silenced(silenced);
        if looked.iter().any(|looked| matches!(looked, Looked::Refused(_))) {
            return Ok(None);
        }
        // What is noteworthy comes before the work, which takes minutes.
        messages.tell("");
        let mut found = Vec::new();
        for looked in looked {
            match looked {
                Looked::Found(service) => found.push(*service),
                Looked::Skipped(assignment, why) => {
                    messages.note(&format!("`{}` declares no volumes: {why}", assignment.ecs_service));
                }
                Looked::Refused(_) => {}
            }
        }
        if args.dry_run {
            dry_run(&found, args.format.unwrap_or(Format::Text))?;
            return Ok(Some(Exit::Done));
        }
        let (lines, exit) = change(&looking, found, args.timeout, args.message_format()).await;
        // Services were changed: a stdout that is closed or full makes nothing of that undone.
        if let Err(failure) = page::print_lines(&lines, args.format.unwrap_or(Format::Text)) {
            failed(args.message_format(), &failure);
        }
        page::annotate(&lines, args.message_format());
        Ok(Some(exit))
    })?
}

impl ServicesArgs {
    /// Whether any of them is.
    pub fn are_given(&self) -> bool {
        let Self { service, container, no_gate, region } = self;
        !service.is_empty() || !container.is_empty() || *no_gate || region.is_some()
    }

    /// Which ECS service each service of the file is.
    ///
    /// # Errors
    /// A flag that can't be understood.
    pub fn assignments(&self, labelling: &Labelling) -> Result<Vec<Assignment>, Failure> {
        let pairs = declared::pairs("service", "ECS_SERVICE", &self.service)?;
        assign(labelling.known(), &pairs).map_err(|error| {
            let help = error.help();
            Failure::usage(error).help(help)
        })
    }

    /// AWS, in the Region that is meant.
    ///
    /// # Errors
    /// None is named anywhere.
    pub async fn connect(&self) -> Result<SdkConfig, Failure> {
        let sdk = match &self.region {
            Some(region) => aws::connect(region).await,
            None => aws::connect_by_environment().await,
        };
        match sdk.region() {
            Some(_) => Ok(sdk),
            None => {
                Err(Failure::refused("the Region is not known").help("give it by --region or AWS_REGION"))
            }
        }
    }
}

/// AWS, before anything was changed.
pub fn aws_failure(error: aws::AwsError) -> Failure {
    let help = match &error {
        aws::AwsError::Refused { code, .. } if code == "ClusterNotFoundException" => {
            "give the cluster's name or ARN by --cluster, and its Region by --region"
        }
        aws::AwsError::Denied { .. } => {
            "docs/pipelines.md lists the rights that it needs; check the credentials by `aws sts get-caller-identity`"
        }
        _ => "no service was changed: run it again",
    };
    Failure::refused(error).help(help)
}

/// What can't be had, at the place of the file that asks for it.
pub fn refusals(looked: &[Looked], compose: &Compose) -> Vec<Problem> {
    let refusals = looked.iter().filter_map(|looked| match looked {
        Looked::Refused(refusal) => Some(refusal),
        Looked::Found(_) | Looked::Skipped(..) => None,
    });
    let told = |refusal: &Refusal| {
        let Assignment { ecs_service, services } = &refusal.assignment;
        let mut reason = refusal.reason.clone();
        if services.first() != Some(ecs_service) {
            reason = format!("ECS service `{ecs_service}`: {reason}");
        }
        let problem = Problem::refused(refusal.code, reason, refusal.help.clone());
        let Some(service) = services.first() else { return problem };
        let problem = problem.service(service);
        match compose.services.iter().find(|found| found.name == *service) {
            Some(found) => problem.at(&found.place),
            None => problem,
        }
    };
    refusals.map(told).collect()
}

/// What is noteworthy about the services that are there, and how many of that were silenced.
pub fn cautions(looked: &[Looked], compose: &Compose, decision: &Decision) -> (Vec<Problem>, usize) {
    let mut problems = Vec::new();
    for found in looked.iter().filter_map(Looked::found) {
        problems.extend(found.wanted.warnings.iter().cloned());
        let is_its = |files: &DatabaseFiles<'_>| {
            found.assignment.services.iter().any(|service| service == files.planned.service.as_str())
        };
        let databases = database_files(compose, decision).filter(is_its);
        problems.extend(databases.filter_map(|files| databases::several_tasks(&files, &found.service)));
    }
    // What is wrong with `silence` itself was told with the file.
    let silenced = Silences::of(compose).0.take_from(&mut problems);
    (problems, silenced)
}

/// A line a service that is there, by what would be done.
pub fn would_be_done(looked: &[Looked]) -> Vec<Line> {
    looked.iter().filter_map(Looked::found).map(|found| Line::of(found, page::would(&found.step))).collect()
}

/// What would be done, with the diff of each task definition.
fn dry_run(found: &[Found], format: Format) -> Result<Exit, Failure> {
    let lines: Vec<Line> = found.iter().map(|found| Line::of(found, page::would(&found.step))).collect();
    if format == Format::Json {
        let with_documents = found.iter().zip(&lines).map(|(found, line)| line.with_documents(found));
        return page::print_json(&with_documents.collect::<Vec<_>>());
    }
    let is_coloured = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let diffs: String = found.iter().map(|found| page::diff(found, is_coloured)).collect();
    print(&format!("{diffs}{}", page::table(&lines)))
}

/// Registers all, then moves all, then waits for all: what ECS won't register stops the run while every service is as it was.
async fn change(
    looking: &Looking<'_>,
    mut found: Vec<Found>,
    timeout: Duration,
    format: MessageFormat,
) -> (Vec<Line>, Exit) {
    let (revisions, stopped) = register_all(looking, &mut found, format).await;
    if let Some(error) = stopped {
        return (nothing_changed(&found, &revisions, &error), Exit::Refused);
    }
    let (mut lines, moved) = move_all(looking, &found, &revisions, format).await;
    follow_all(looking, &found, &mut lines, timeout, format).await;
    let exit = exit(&lines, moved);
    (lines, exit)
}

/// The revision of each service, in order, as far as ECS registers them; why it stopped there.
async fn register_all(
    looking: &Looking<'_>,
    found: &mut [Found],
    format: MessageFormat,
) -> (Vec<String>, Option<ChangeError>) {
    let mut revisions: Vec<String> = Vec::new();
    for found in found {
        if found.step.is_done() {
            revisions.push(found.runs().0.to_owned());
            continue;
        }
        let is_there = matches!(found.step, Step::MoveTo(_));
        match looking.register(found).await {
            Ok(revision) => {
                let what = if is_there { "is registered already" } else { "registered" };
                progress(format, &found.assignment.ecs_service, &format!("{} {what}", short_name(&revision)));
                revisions.push(revision);
            }
            Err(error) => return (revisions, Some(error)),
        }
    }
    (revisions, None)
}

/// A line a service, where ECS would not register the document of the one that has no revision.
fn nothing_changed(found: &[Found], revisions: &[String], error: &ChangeError) -> Vec<Line> {
    let line = |(index, found): (usize, &Found)| {
        let mut line = match index == revisions.len() {
            true => Line::of(found, Outcome::Refused).because(error.code(), error.with_help()),
            false => Line::of(found, Outcome::NotChanged),
        };
        line.registered = revisions.get(index).filter(|_| !found.step.is_done()).cloned();
        line
    };
    found.iter().enumerate().map(line).collect()
}

/// A line a service, and how many were moved.
async fn move_all(
    looking: &Looking<'_>,
    found: &[Found],
    revisions: &[String],
    format: MessageFormat,
) -> (Vec<Line>, usize) {
    let (mut lines, mut moved) = (Vec::new(), 0);
    for (found, revision) in found.iter().zip(revisions) {
        let mut line = Line::of(found, Outcome::InPlace);
        line.task_definition = Some(revision.clone());
        if found.step == Step::NothingDeclared {
            line.outcome = Outcome::NothingDeclared;
        } else if !found.step.is_done() {
            match looking.cluster.move_to(&found.service, revision).await {
                Ok(()) => {
                    moved += 1;
                    line.outcome = Outcome::Moved;
                    progress(
                        format,
                        &found.assignment.ecs_service,
                        &format!("moved to {}", short_name(revision)),
                    );
                }
                Err(error) => {
                    line = line.because(error.code(), error.with_help());
                    line.outcome = Outcome::Refused;
                    line.registered = line.task_definition.replace(found.runs().0.to_owned());
                }
            }
        }
        lines.push(line);
    }
    (lines, moved)
}

/// Watches those that were moved, and those that were in place: a deployment that an earlier run began may still go on.
async fn follow_all(
    looking: &Looking<'_>,
    found: &[Found],
    lines: &mut [Line],
    timeout: Duration,
    format: MessageFormat,
) {
    let say = |service: &str, text: &str| progress(format, service, text);
    let is_watched = |line: &Line| matches!(line.outcome, Outcome::Moved | Outcome::InPlace);
    let watched = found.iter().zip(lines.iter_mut()).filter(|(_, line)| is_watched(line));
    let ends = watched.map(async |(found, line)| {
        let deployments = found.service.deployments.iter().map(|deployment| deployment.id.clone());
        let watched = Watched {
            name: found.service.name.clone(),
            arn: found.service.arn.clone(),
            revision: line.task_definition.clone().unwrap_or_default(),
            before: found.runs().0.to_owned(),
            earlier: if line.outcome == Outcome::Moved { deployments.collect() } else { HashSet::new() },
            known: found.events.iter().map(|event| event.id.clone()).collect(),
        };
        line.ended(looking.cluster.follow(watched, timeout, say).await);
    });
    join_all(ends).await;
}

/// The exit code of what came of it; a refusal is one only where no service was moved.
fn exit(lines: &[Line], moved: usize) -> Exit {
    let any = |outcome| lines.iter().any(|line| line.outcome == outcome);
    match () {
        () if any(Outcome::Failed) || (any(Outcome::Refused) && moved > 0) => Exit::DeploymentFailed,
        () if any(Outcome::Refused) => Exit::Refused,
        () if any(Outcome::TimedOut) => Exit::NotStable,
        () => Exit::Done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_says_whether_anything_was_changed() {
        let of = |outcomes: &[Outcome], moved| {
            let lines: Vec<Line> = outcomes.iter().map(|outcome| Line::example(*outcome)).collect();
            exit(&lines, moved)
        };
        for (outcomes, moved, expected) in [
            (&[Outcome::Stable, Outcome::InPlace][..], 1, Exit::Done),
            (&[], 0, Exit::Done),
            (&[Outcome::Refused, Outcome::InPlace], 0, Exit::Refused),
            (&[Outcome::Stable, Outcome::Refused], 1, Exit::DeploymentFailed),
            (&[Outcome::Failed, Outcome::TimedOut], 2, Exit::DeploymentFailed),
            (&[Outcome::Failed], 0, Exit::DeploymentFailed),
            (&[Outcome::Stable, Outcome::TimedOut], 2, Exit::NotStable),
        ] {
            assert_eq!(of(outcomes, moved), expected, "{outcomes:?}, {moved} moved");
        }
    }
}
