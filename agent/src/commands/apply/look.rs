//! What would be done to the ECS services of a compose file: asked of ECS, nothing is changed.

use crate::{
    apply::{
        assignment::Assignment,
        wanted::{Asked, Wanted, wanted},
    },
    aws::AwsError,
    commands::moving::Cluster,
    family::{self, Versions},
    history::History,
    labelling::Labelling,
    names::{App, Rack},
    reading::{Reading, Verdict},
    report::Outcome,
    rollout::{self, Facts, Next},
    service::{Event, Instances, Service, short_name},
    spelling,
};
use std::time::{SystemTime, UNIX_EPOCH};

/// What looking needs.
#[derive(Debug, Clone, Copy)]
pub struct Looking<'a> {
    /// Where its services are.
    pub cluster: Cluster<'a>,
    /// The rack.
    pub rack: &'a Rack,
    /// The app.
    pub app: &'a App,
    /// What the file declares.
    pub labelling: &'a Labelling,
    /// Whether tasks of replica services are to be placed only where the share is.
    pub gate: bool,
    /// Paths of the instances that may be bound as they are.
    pub host_paths: &'a [String],
}

/// An ECS service, and what it needs.
#[derive(Debug)]
pub struct Found {
    /// Which one, and of which services of the file.
    pub assignment: Assignment,
    /// As ECS describes it.
    pub service: Service,
    /// What ECS told of it so far.
    pub events: Vec<Event>,
    /// Its task definition before and after.
    pub wanted: Wanted,
    /// What is to be done.
    pub step: Step,
}

impl Found {
    /// The revision that it runs, and the deployment that says so.
    pub fn runs(&self) -> (&str, &str) {
        self.service.runs()
    }
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing: it is there.
    InPlace,
    /// Nothing: neither the file nor the task definition declares volumes.
    NothingDeclared,
    /// Register the document, and move the service to it.
    Register,
    /// Move the service to this revision, which says what is wanted already.
    MoveTo(String),
}

impl Step {
    /// Whether nothing is to be done.
    pub fn is_done(&self) -> bool {
        matches!(self, Self::InPlace | Self::NothingDeclared)
    }
}

/// Why an ECS service can't have its volumes now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The services of the file, and the ECS service.
    pub assignment: Assignment,
    /// The code, stable for ever.
    pub code: &'static str,
    /// What is wrong.
    pub reason: String,
    /// What to do.
    pub help: String,
}

/// What a look at one ECS service gives.
#[derive(Debug)]
pub enum Looked {
    /// It is there, and can have its volumes.
    Found(Box<Found>),
    /// Nothing is to be done, since its services declare no volumes, and why nothing was looked at.
    Skipped(Assignment, String),
    /// It can't.
    Refused(Refusal),
}

impl Looked {
    /// The service, if it is there and can have its volumes.
    pub fn found(&self) -> Option<&Found> {
        match self {
            Self::Found(found) => Some(found),
            Self::Skipped(..) | Self::Refused(_) => None,
        }
    }
}

impl Looking<'_> {
    /// Looks at every one.
    ///
    /// # Errors
    /// [`AwsError`]: nothing is known then.
    pub async fn at_all(&self, assignments: &[Assignment]) -> Result<Vec<Looked>, AwsError> {
        let mut all = Vec::new();
        let mut names = None;
        for assignment in assignments {
            let mut looked = self.at(assignment).await?;
            if let Looked::Refused(refusal) = &mut looked
                && refusal.code == NO_SERVICE
            {
                if names.is_none() {
                    names = Some(self.cluster.ecs.service_names(self.cluster.name).await?);
                }
                refusal.help = which_was_meant(assignment, self.app, names.as_deref().unwrap_or_default());
            }
            all.push(looked);
        }
        Ok(all)
    }

    /// Looks at one.
    ///
    /// # Errors
    /// [`AwsError`]
    pub async fn at(&self, assignment: &Assignment) -> Result<Looked, AwsError> {
        let labelling = self.labelling.only(&assignment.services);
        let refused = |code, reason: String, help: String| {
            Ok(Looked::Refused(Refusal { assignment: assignment.clone(), code, reason, help }))
        };
        let declares = labelling.declares(&assignment.services);
        let skipped = |why: String| Ok(Looked::Skipped(assignment.clone(), why));
        let found = match is_name(&assignment.ecs_service) {
            true => self.cluster.ecs.service_with_events(self.cluster.name, &assignment.ecs_service).await?,
            // ECS would refuse to look for it.
            false => None,
        };
        let Some((service, events)) = found else {
            if !declares {
                return skipped("the cluster has no service of that name".to_owned());
            }
            let reason = format!(
                "the cluster `{}` has no active service `{}`",
                self.cluster.name, assignment.ecs_service
            );
            return refused(NO_SERVICE, reason, String::new());
        };
        let Some(primary) = service.primary() else {
            let reason = rollout::no_deployment().reason.unwrap_or_default();
            return match declares {
                true => refused("no-deployment", reason, "deploy it first".to_owned()),
                false => skipped(reason),
            };
        };
        let arn = primary.task_definition.clone();
        let answer = self.cluster.ecs.task_definition(&arn).await?;
        let asked = Asked {
            labelling: &labelling,
            rack: self.rack,
            app: self.app,
            gate: self.gate && !service.is_daemon,
            host_paths: self.host_paths,
        };
        let wanted = match wanted(&arn, answer, asked) {
            Ok(wanted) => wanted,
            Err(error) => {
                let reason = format!("its task definition {}: {}", short_name(&arn), error.in_one_line());
                return match declares || error.is_about_ours() {
                    true => refused(error.code(), reason, error.help()),
                    false => skipped(reason),
                };
            }
        };
        match self.step(&service, &wanted).await? {
            Ok(step) => Ok(Looked::Found(Box::new(Found {
                assignment: assignment.clone(),
                service,
                events,
                wanted,
                step,
            }))),
            Err((code, reason, help)) => refused(code, reason, help.to_owned()),
        }
    }

    /// What is to be done, by the rules of the daemon; its memory of earlier deployments aside: whoever runs this asked for it.
    async fn step(
        &self,
        service: &Service,
        wanted: &Wanted,
    ) -> Result<Result<Step, (&'static str, String, &'static str)>, AwsError> {
        let history = History::default();
        let mut instances: Option<Instances> = None;
        let mut latest = None;
        let revision = service.primary().map(|primary| primary.task_definition.as_str()).unwrap_or_default();
        loop {
            let facts = Facts {
                service,
                reading: &wanted.reading,
                history: &history,
                now: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
                instances,
                latest: latest.as_ref(),
            };
            match rollout::next(facts) {
                Next::LearnInstances => {
                    instances = Some(self.cluster.ecs.instances(self.cluster.name).await?)
                }
                Next::LearnLatest(unpatched) => {
                    let versions = Versions { source: &wanted.before, patched: &wanted.after };
                    let family = &unpatched.family;
                    let same = family::same_source;
                    latest =
                        Some(family::latest(self.cluster.ecs, revision, family, versions, None, same).await?);
                }
                Next::Register(_) => return Ok(Ok(Step::Register)),
                Next::Move(_, to) => return Ok(Ok(Step::MoveTo(to))),
                // The leader sees to it; here it is as it should be.
                Next::GiveBack(_) => return Ok(Ok(Step::InPlace)),
                Next::Stay(verdict) => return Ok(stay(&wanted.reading, verdict)),
                // There is no memory that could hold one.
                Next::LearnFailure(moved) => {
                    return Ok(Err(("deployment-failed", format!("{} failed", moved.patched), MEND)));
                }
            }
        }
    }
}

/// No such service in the cluster.
const NO_SERVICE: &str = "no-such-service";

/// What to do about what passes by itself.
const WAIT: &str = "run the same command again when that is over";
/// What to do about what doesn't.
const MEND: &str = "mend that, and run the same command again";

/// Whether ECS takes it for the name of a service (API reference, CreateService: letters, digits, `_` and `-`, 255 at most).
fn is_name(name: &str) -> bool {
    (1..=255).contains(&name.len()) && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

fn stay(reading: &Reading, verdict: Verdict) -> Result<Step, (&'static str, String, &'static str)> {
    match reading {
        Reading::NothingDeclared => Ok(Step::NothingDeclared),
        Reading::Patched { .. } => Ok(Step::InPlace),
        Reading::Unpatched(_) | Reading::LeftAlone(_) | Reading::Refused(_) => {
            let Verdict { outcome, code, reason } = verdict;
            let help = if outcome == Outcome::Waiting { WAIT } else { MEND };
            Err((code.unwrap_or("refused"), reason.unwrap_or_else(|| outcome.name().to_owned()), help))
        }
    }
}

/// Which service of the cluster was meant, as far as names tell.
fn which_was_meant(assignment: &Assignment, app: &App, names: &[String]) -> String {
    let wanted = assignment.ecs_service.as_str();
    let service = assignment.services.first().map_or(wanted, String::as_str);
    // `web` is called `shop-web` more often than it is misspelt.
    let containing: Vec<&str> =
        names.iter().map(String::as_str).filter(|name| name.split('-').any(|word| word == wanted)).collect();
    let apps_own = format!("{app}-{wanted}");
    let meant = match containing[..] {
        _ if containing.contains(&&*apps_own) => vec![&*apps_own],
        [] => spelling::nearest(wanted, names.iter().map(String::as_str)).into_iter().collect(),
        _ => containing,
    };
    match meant[..] {
        [] => format!(
            "create it first; if it has another name: --service {service}=NAME (`aws ecs list-services` lists them)"
        ),
        [one] => format!("did you mean `{one}`? Then say --service {service}={one}"),
        [..] => format!("which one is it? Say --service {service}=NAME: {}", meant.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_that_is_not_there_is_told_with_the_one_that_may_be_meant() {
        let assignment = Assignment { ecs_service: "web".to_owned(), services: vec!["web".to_owned()] };
        let help = |names: &[&str]| {
            which_was_meant(
                &assignment,
                &"shop".parse().unwrap(),
                &names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>(),
            )
        };
        assert_eq!(
            help(&["shop-web", "shop-db"]),
            "did you mean `shop-web`? Then say --service web=shop-web"
        );
        assert_eq!(
            help(&["old-web", "blog-web"]),
            "which one is it? Say --service web=NAME: old-web, blog-web"
        );
        assert_eq!(help(&["blog-web", "shop-web"]), help(&["shop-web"]));
        assert_eq!(help(&["wbe"]), "did you mean `wbe`? Then say --service web=wbe");
        assert!(help(&["worker"]).starts_with("create it first"));
    }
}
