//! `volumes-agent leave`: takes the volumes of all services off again, at a pace, so that a cluster can do without this agent.

mod look;
mod page;

use crate::{
    aws::{self, AwsError},
    commands::{
        Format,
        apply::aws_failure,
        block_on,
        configuration::ConfigurationArgs,
        look::{Look, look},
        messages::{MessageFormat, failed, note, progress},
        moving::{
            ChangeError, Cluster, MOST_TRIES, PAUSE,
            follow::{End, Watched},
            kept, may_pass,
        },
    },
    config::Config,
    diagnostics::{Exit, Failure},
    ecs::Ecs,
    names::Rack,
    report::timestamp,
    service::short_name,
    share_worker::{self, Request},
};
use clap::Args;
use futures_util::future::join_all;
use look::{Found, Step};
use page::{Line, Outcome};
use std::{
    collections::HashSet,
    time::{Duration, SystemTime},
};

/// For writing the file `pause`.
const SHARE_DEADLINE: Duration = Duration::from_secs(10);
/// A leader that looked for the file just before it was written may still send a change for so long: what a confirmation lasts, and what
/// a call to AWS may take.
const LAST_CHANGE_WITHIN: Duration = Duration::from_secs(15);
/// What to do about what is in the way.
const REFUSED: &str =
    "no service was changed. What is refused stops all: mend it, or leave it as it is by --except";

/// Flags of `leave`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  volumes-agent leave                 what would be done
  volumes-agent leave --yes           pause the patching of this cluster's share, then move service by service

Files stay on the share; no task has them any more. docs/leaving.md says how to mount the share without this agent.

Exit codes: 0 done, or nothing is in the way; 1 refused, and nothing was changed; 4 a deployment failed, and the rest was left;
5 one was not stable in time, and the rest was left.")]
pub struct LeaveArgs {
    /// Do it; without this it is only told.
    #[arg(long)]
    pub yes: bool,
    /// An ECS service that is left as it is.
    #[arg(long, value_name = "ECS_SERVICE")]
    pub except: Vec<String>,
    /// So many services are moved at a time; the next ones follow once these are stable.
    #[arg(long, value_name = "NUMBER", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    pub at_a_time: u16,
    /// How long to wait until a service's tasks run without volumes.
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = humantime::parse_duration)]
    pub timeout: Duration,
    /// Don't pause patching by the share: no agent patches this cluster any more.
    #[arg(long)]
    pub without_share: bool,
    /// How to print it.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// Which cluster and rack, where this is no instance.
    #[command(flatten)]
    pub configuration: ConfigurationArgs,
}

impl LeaveArgs {
    /// How to say what is wrong.
    fn message_format(&self) -> MessageFormat {
        match self.format {
            Format::Text => MessageFormat::Text,
            Format::Json => MessageFormat::Json,
        }
    }
}

/// Tells what would be done, or does it.
///
/// # Errors
/// What must be known isn't, patching can't be paused, or AWS: no service was changed.
pub fn run(args: &LeaveArgs) -> Result<Exit, Failure> {
    let config = args.configuration.config()?;
    block_on(leave(args, &config))?
}

async fn leave(args: &LeaveArgs, config: &Config) -> Result<Exit, Failure> {
    let not_known = |error: String| {
        Failure::refused(error)
            .help("run it on an instance of the cluster, or give --cluster, --rack and --region")
    };
    let look = look(config).await;
    let file = args.configuration.file.display().to_string();
    let rack = look.observed.rack(config, &file).map_err(not_known)?;
    let name =
        look.observed.cluster(config).ok_or_else(|| not_known("the cluster is not known".to_owned()))?;
    let region =
        look.observed.region(config).ok_or_else(|| not_known("the Region is not known".to_owned()))?;
    let ecs = Ecs::new(&aws::connect(&region).await);
    let cluster = Cluster { ecs: &ecs, name: &name };
    let mut found = look::at_all(cluster, &rack, &args.except).await.map_err(aws_failure)?;
    let told = |found: &[Found], words| {
        page::print_lines(&found.iter().map(Line::before).collect::<Vec<_>>(), args.format)?;
        note(args.message_format(), words);
        Ok(if found.iter().any(Found::is_refused) { Exit::Refused } else { Exit::Done })
    };
    if found.iter().any(Found::is_refused) {
        return told(&found, REFUSED);
    }
    if !args.yes {
        return told(&found, "nothing was changed: --yes does it");
    }
    if !args.without_share {
        pause(&look).await?;
        note(
            args.message_format(),
            "patching is paused by the file /volumes/.volumes-agent/pause, for all clusters of this share",
        );
        tokio::time::sleep(LAST_CHANGE_WITHIN).await;
        // What was patched until now as well.
        found = look::at_all(cluster, &rack, &args.except).await.map_err(aws_failure)?;
        if found.iter().any(Found::is_refused) {
            return told(&found, REFUSED);
        }
    }
    let (lines, exit) = move_all(cluster, &rack, found, args).await;
    // Services were changed: a stdout that is closed or full makes nothing of that undone.
    if let Err(failure) = page::print_lines(&lines, args.format) {
        failed(args.message_format(), &failure);
    }
    if exit == Exit::Done {
        note(
            args.message_format(),
            "tasks that no service runs (RunTask, schedules) go by the revision that they name; see docs/leaving.md for what comes next",
        );
    }
    Ok(exit)
}

/// Keeps every agent of the share from patching.
async fn pause(look: &Look) -> Result<(), Failure> {
    let refused = |why: String| {
        Failure::refused(format!(
            "patching can't be paused: {why}. The leader would patch again what is moved here"
        ))
        .help("run it on an instance whose share is `ready`; or, where no agent patches the cluster any more, with --without-share")
    };
    if !look.share_answers {
        return Err(refused("the share is not mounted here, or does not answer".to_owned()));
    }
    let who = look.observed.instance.as_ref().map_or("somebody", |instance| instance.id.as_str());
    let said = format!("volumes-agent leave, on {who}, {}\n", timestamp(SystemTime::now()));
    let paused = share_worker::ask::<()>(&Request::Pause { said }, SHARE_DEADLINE).await;
    paused.map_err(|error| refused(error.to_string()))
}

/// Moves some at a time, and waits for them; what fails stops the rest.
async fn move_all(
    cluster: Cluster<'_>,
    rack: &Rack,
    found: Vec<Found>,
    args: &LeaveArgs,
) -> (Vec<Line>, Exit) {
    let mut lines: Vec<Line> = found.iter().map(Line::before).collect();
    let to_move: Vec<usize> =
        found.iter().enumerate().filter(|(_, found)| found.step.is_pending()).map(|(at, _)| at).collect();
    for at in &to_move {
        lines[*at].outcome = Outcome::NotReached;
    }
    for some in to_move.chunks(usize::from(args.at_a_time)) {
        for at in some {
            let (found, line) = (&found[*at], &mut lines[*at]);
            match moved(cluster, rack, found).await {
                Ok(revision) => {
                    let words = format!("moved to {}", short_name(&revision));
                    progress(args.message_format(), &found.service.name, &words);
                    line.moved_to(revision);
                }
                Err(error) => {
                    line.refused(error.code(), error.with_help());
                    break;
                }
            }
        }
        let moved = some.iter().filter(|at| lines[**at].outcome == Outcome::Moved);
        let ends = moved.map(async |at| (*at, follow(cluster, &found[*at], &lines[*at], args).await));
        for (at, end) in join_all(ends).await {
            lines[at].ended(end);
        }
        if some.iter().any(|at| lines[*at].outcome != Outcome::Stable) {
            break;
        }
    }
    let exit = exit(&lines);
    (lines, exit)
}

/// Registers what must be, and moves the service. Gives the revision that it runs then.
async fn moved(cluster: Cluster<'_>, rack: &Rack, found: &Found) -> Result<String, ChangeError> {
    let mut step = found.step.clone();
    let mut tries = 0;
    loop {
        let document = match step {
            Step::MoveTo(revision) => {
                cluster.move_to(&found.service, &revision).await?;
                return Ok(revision);
            }
            Step::Register(document) => document,
            Step::Stays(..) => return Err(ChangeError::Superseded),
        };
        cluster.ecs.may_register().await;
        step = match cluster.ecs.register(&document).await {
            Ok((answer, _)) => Step::MoveTo(kept(&document, &answer)?),
            Err(error) => {
                tries += 1;
                if tries == MOST_TRIES || !may_pass(&error) {
                    return Err(error.into());
                }
                tokio::time::sleep(PAUSE).await;
                // An answer that was lost leaves a revision behind: it is found, and used.
                look::step(cluster, rack, &found.service).await?.unwrap_or(Step::Register(document))
            }
        };
    }
}

async fn follow(cluster: Cluster<'_>, found: &Found, line: &Line, args: &LeaveArgs) -> End {
    let deployments = found.service.deployments.iter().map(|deployment| deployment.id.clone());
    let watched = Watched {
        name: found.service.name.clone(),
        arn: found.service.arn.clone(),
        revision: line.task_definition.clone().unwrap_or_default(),
        before: found.service.runs().0.to_owned(),
        earlier: deployments.collect::<HashSet<_>>(),
        known: found.events.iter().map(|event| event.id.clone()).collect(),
    };
    let say = |service: &str, text: &str| progress(args.message_format(), service, text);
    cluster.follow(watched, args.timeout, say).await
}

/// The exit code of what came of it; a refusal is one only where no service was moved.
fn exit(lines: &[Line]) -> Exit {
    let any = |outcomes: &[Outcome]| lines.iter().any(|line| outcomes.contains(&line.outcome));
    match () {
        () if any(&[Outcome::Failed]) => Exit::DeploymentFailed,
        () if any(&[Outcome::Refused]) && any(&[Outcome::Stable, Outcome::TimedOut]) => {
            Exit::DeploymentFailed
        }
        () if any(&[Outcome::Refused]) => Exit::Refused,
        () if any(&[Outcome::TimedOut]) => Exit::NotStable,
        () => Exit::Done,
    }
}

/// AWS, in the middle of a look: what is not known is not done.
type Looked<T> = Result<T, AwsError>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_says_whether_anything_was_changed() {
        let of = |outcomes: &[Outcome]| {
            exit(&outcomes.iter().map(|outcome| Line::example(*outcome)).collect::<Vec<_>>())
        };
        for (outcomes, expected) in [
            (&[][..], Exit::Done),
            (&[Outcome::Stable, Outcome::LeftAlone], Exit::Done),
            (&[Outcome::Refused, Outcome::NotReached], Exit::Refused),
            (&[Outcome::Stable, Outcome::Refused], Exit::DeploymentFailed),
            (&[Outcome::Stable, Outcome::Failed, Outcome::NotReached], Exit::DeploymentFailed),
            (&[Outcome::TimedOut, Outcome::NotReached], Exit::NotStable),
        ] {
            assert_eq!(of(outcomes), expected, "{outcomes:?}");
        }
    }
}
