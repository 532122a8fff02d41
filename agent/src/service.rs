//! What ECS tells of a service, its deployments and its cluster's instances, as far as patching decides by it. Pure.

use std::time::Duration;

/// One service.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Service {
    /// Its ARN.
    pub arn: String,
    /// Its name.
    pub name: String,
    /// A daemon service runs one task an instance, and ECS stops it where its constraint stops matching.
    pub is_daemon: bool,
    /// Why ECS would not update it by a rolling deployment, if it would not.
    pub not_rolling: Option<String>,
    /// Where its tasks run, if that is no instance of the cluster's: `FARGATE`.
    pub not_on_instances: Option<String>,
    /// Whether no two of its tasks can be on one instance (the constraint `distinctInstance`).
    pub one_task_an_instance: bool,
    /// How many tasks it wants.
    pub desired: u32,
    /// `maximumPercent`: how many tasks, of those it wants, may run while a deployment is under way.
    pub maximum_percent: u32,
    /// `minimumHealthyPercent`.
    pub minimum_healthy_percent: u32,
    /// Newest first. A service without deployments has one made of its task set's revision, or of its own; an EXTERNAL one without a task
    /// set has none.
    pub deployments: Vec<Deployment>,
    /// ECS's last word that it found no instance for a task of it, and when, since the Unix epoch.
    pub unplaced: Option<(Duration, String)>,
}

/// One rollout of one revision.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Deployment {
    /// Its id, `ecs-svc/...`; empty under a controller that has no deployments.
    pub id: String,
    /// Whether it is the PRIMARY one: what the service is to run.
    pub is_primary: bool,
    /// The full ARN of its revision.
    pub task_definition: String,
    /// How it goes.
    pub rollout: Rollout,
    /// ECS's words for that.
    pub reason: String,
    /// Tasks that run.
    pub running: u32,
    /// Tasks that it wants.
    pub desired: u32,
    /// Tasks that failed to start.
    pub failed: u32,
    /// When it was begun, since the Unix epoch, where that is told.
    pub created: Option<Duration>,
}

/// `rolloutState` (API reference, Deployment): only rolling updates have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rollout {
    /// Under way.
    InProgress,
    /// Done.
    Completed,
    /// The circuit breaker, or an alarm, ended it.
    Failed,
    /// Not told.
    #[default]
    Unknown,
}

impl Rollout {
    /// As ECS writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::InProgress => "IN_PROGRESS",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
            Self::Unknown => "no rollout state",
        }
    }
}

impl Service {
    /// The deployment that says what the service is to run.
    pub fn primary(&self) -> Option<&Deployment> {
        self.deployments.iter().find(|deployment| deployment.is_primary)
    }

    /// The revision that it is to run, and the id of the deployment that says so; empty where there is none.
    pub fn runs(&self) -> (&str, &str) {
        self.primary().map_or(("", ""), |primary| (&primary.task_definition, &primary.id))
    }

    /// Whether ECS is taking a failed deployment back: it makes an earlier one PRIMARY again, and a new deployment in the middle of
    /// that would have no completed one to go back to (developer guide, "deployment circuit breaker").
    pub fn is_rolling_back(&self) -> bool {
        self.primary().is_some_and(|primary| {
            primary.rollout == Rollout::InProgress
                && (primary.reason.contains("rolling back")
                    || self.deployments.iter().any(|other| other.rollout == Rollout::Failed))
        })
    }

    /// The deployment that a move overtook which was decided about the deployment `from`: somebody deployed between the last look at the
    /// service and the move, and ECS takes no condition. It is newer than `from`, and older than the move. Whoever deploys the patched copy
    /// again on purpose had it deployed before.
    pub fn overtaken(&self, from: &str) -> Option<&Deployment> {
        let primary = self.primary()?;
        let others = || self.deployments.iter().filter(|other| !other.is_primary);
        if self.is_rolling_back() || others().any(|other| other.task_definition == primary.task_definition) {
            return None;
        }
        let from = others().find(|other| other.id == from)?;
        let decided_about = from.created?;
        others()
            .filter(|other| other.task_definition != from.task_definition && other.rollout != Rollout::Failed)
            .filter(|other| other.created > Some(decided_about) && other.created < primary.created)
            .max_by_key(|other| other.created)
    }

    /// The most tasks that may run at once while a deployment is under way; a daemon service's are one an instance.
    pub fn most_tasks(&self) -> u32 {
        let most = u64::from(self.desired) * u64::from(self.maximum_percent) / 100;
        u32::try_from(most).unwrap_or(u32::MAX).max(self.desired)
    }

    /// How many instances the service must find ready before it is moved to a revision that runs nowhere else.
    pub fn needs_ready(&self) -> u32 {
        if self.one_task_an_instance {
            let healthy = u64::from(self.desired) * u64::from(self.minimum_healthy_percent.min(100));
            u32::try_from(healthy.div_ceil(100)).unwrap_or(self.desired).max(1)
        } else {
            1
        }
    }
}

/// What ECS tells of a service in passing (API reference, ServiceEvent).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its id, which no other event has.
    pub id: String,
    /// ECS's words.
    pub message: String,
}

/// The container instances of the cluster that ECS places tasks on (ACTIVE, agent connected), by what their gate says. Those
/// without the attribute run no agent of ours, and count for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Instances {
    /// `convox.volumes=ready`
    pub ready: u32,
    /// Any other value.
    pub not_ready: u32,
}

impl Instances {
    /// Whether a service that needs `ready` of them may be moved now: so many are there, and it is not the share that is away from
    /// most of the cluster.
    pub fn are_enough(self, needs: u32) -> bool {
        self.ready >= needs && self.ready >= self.not_ready
    }
}

/// A service's name, of its name or ARN (`arn:aws:ecs:us-east-1:123456789012:service/production/web`).
pub fn short_name(service: &str) -> &str {
    service.rsplit('/').next().unwrap_or(service)
}

/// Why the tasks of a failed deployment stopped.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StoppedTask {
    /// `stoppedReason` and the reasons of the containers, in ECS's words.
    pub reasons: Vec<String>,
}

impl std::fmt::Display for Instances {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { ready, not_ready } = self;
        let are = if *ready == 1 { "instance is" } else { "instances are" };
        write!(f, "{ready} {are} ready, {not_ready} not")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment(is_primary: bool, rollout: Rollout, reason: &str) -> Deployment {
        Deployment { is_primary, rollout, reason: reason.to_owned(), ..Deployment::default() }
    }

    #[test]
    fn a_rollback_is_known_by_the_failed_deployment_or_by_ecs_words() {
        let of = |deployments| Service { deployments, ..Service::default() };
        let primary = |reason| deployment(true, Rollout::InProgress, reason);
        assert!(of(vec![primary(""), deployment(false, Rollout::Failed, "")]).is_rolling_back());
        assert!(
            of(vec![primary("ECS deployment circuit breaker: rolling back to deploymentId ecs-svc/1.")])
                .is_rolling_back()
        );
        assert!(!of(vec![primary("ECS deployment ecs-svc/1 in progress.")]).is_rolling_back());
        let over = deployment(true, Rollout::Completed, "");
        assert!(!of(vec![over, deployment(false, Rollout::Failed, "")]).is_rolling_back());
    }

    #[test]
    fn only_a_deploy_between_the_look_and_the_move_was_overtaken() {
        let at = |seconds: u64, task_definition: &str, is_primary, rollout| Deployment {
            id: format!("d{seconds}"),
            created: Some(Duration::from_secs(seconds)),
            task_definition: task_definition.to_owned(),
            is_primary,
            rollout,
            ..Deployment::default()
        };
        use Rollout::{Completed, Failed, InProgress};
        let ours = at(9, "f:42", true, InProgress);
        let source = at(1, "f:41", false, Completed);
        let deployed = at(5, "f:43", false, InProgress);
        for (others, expected) in [
            (vec![source.clone(), deployed.clone()], Some("f:43")),
            (vec![source.clone(), deployed.clone(), at(6, "f:44", false, InProgress)], Some("f:44")),
            (vec![source.clone()], None),
            (vec![source.clone(), at(5, "f:43", false, Failed)], None),
            // Rolled back by hand, to the source: what was deployed before that is over.
            (vec![at(7, "f:41", false, InProgress), source.clone(), deployed.clone()], None),
            // Rolled back by hand, to the patched copy.
            (vec![source.clone(), at(2, "f:42", false, Completed), deployed.clone()], None),
            // Another leader's, or from long ago.
            (vec![deployed.clone()], None),
        ] {
            let deployments = [vec![ours.clone()], others].concat();
            let service = Service { deployments, ..Service::default() };
            let from = if service.deployments.iter().any(|one| one.id == "d7") { "d7" } else { "d1" };
            let overtaken = service.overtaken(from).map(|deployment| deployment.task_definition.as_str());
            assert_eq!(overtaken, expected, "{service:?}");
        }
    }

    #[test]
    fn how_many_instances_must_be_ready() {
        let of = |one_task_an_instance, desired, minimum_healthy_percent| {
            Service { one_task_an_instance, desired, minimum_healthy_percent, ..Service::default() }
                .needs_ready()
        };
        assert_eq!([of(false, 9, 100), of(true, 3, 50), of(true, 3, 100), of(true, 0, 100)], [1, 2, 3, 1]);
        assert!(Instances { ready: 2, not_ready: 2 }.are_enough(2));
        assert!(!Instances { ready: 1, not_ready: 2 }.are_enough(1));
        assert!(!Instances { ready: 0, not_ready: 0 }.are_enough(1));
    }
}
