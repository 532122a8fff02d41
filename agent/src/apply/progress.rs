//! How far the deployment of a revision is, by one look at its service.

use crate::service::{Deployment, Rollout, Service};
use std::collections::HashSet;

/// What a look tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Under way.
    Going(Tasks),
    /// All tasks run the revision, and no other one is left.
    Stable,
    /// ECS gave it up, and has nothing to go back to.
    Failed {
        /// ECS's words.
        reason: String,
    },
    /// ECS gave it up, and goes back.
    RolledBack {
        /// The revision that it goes back to.
        to: String,
        /// ECS's words.
        reason: String,
    },
    /// Somebody deployed another revision meanwhile.
    Replaced {
        /// That revision.
        by: String,
    },
}

/// The tasks of a service, while they are replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tasks {
    /// Of the revision, that run.
    pub new: u32,
    /// How many are wanted.
    pub wanted: u32,
    /// Of other revisions, that run.
    pub old: u32,
    /// Of the revision, that failed to start.
    pub failed: u32,
}

impl std::fmt::Display for Tasks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { new, wanted, old, failed } = self;
        let tasks = if *wanted == 1 { "task" } else { "tasks" };
        write!(f, "{new} of {wanted} new {tasks} running, {old} old")?;
        if *failed > 0 { write!(f, ", {failed} failed") } else { Ok(()) }
    }
}

/// Which deployment is looked for.
#[derive(Debug, Clone, Copy)]
pub struct Sought<'a> {
    /// Its revision.
    pub revision: &'a str,
    /// The revision that the service ran before.
    pub before: &'a str,
    /// Ids of the deployments that were there before: an older one of the same revision may still drain.
    pub earlier: &'a HashSet<String>,
}

impl<'a> Sought<'a> {
    /// The deployment, where ECS shows it.
    pub fn deployment<'s>(&self, service: &'s Service) -> Option<&'s Deployment> {
        let is_it = |deployment: &&Deployment| {
            deployment.task_definition == self.revision && !self.earlier.contains(&deployment.id)
        };
        service.deployments.iter().find(is_it)
    }
}

/// Judges it. `has_begun`: whether ECS showed it before; its answers lag behind its changes.
///
/// A rolling deployment that is done has COMPLETED, one that ECS gave up FAILED (API reference, Deployment, `rolloutState`); with the
/// circuit breaker's rollback an earlier revision becomes PRIMARY again. Without a `rolloutState` it is done when it is the only one and
/// has all its tasks, which is what `aws ecs wait services-stable` looks at.
pub fn progress(service: &Service, sought: Sought<'_>, has_begun: bool) -> Progress {
    let ours = sought.deployment(service);
    let Some(primary) = service.primary() else {
        return Progress::Going(Tasks { wanted: service.desired, ..Tasks::default() });
    };
    if primary.task_definition == sought.before && ours.is_none() && !has_begun {
        return Progress::Going(Tasks { wanted: primary.desired, old: primary.running, ..Tasks::default() });
    }
    if primary.task_definition != sought.revision {
        let has_failed = ours.is_some_and(|ours| ours.rollout == Rollout::Failed);
        // The failed one may be gone from the list before anybody looks.
        if has_failed || primary.reason.contains("rolling back") || primary.task_definition == sought.before {
            let reason = ours.map(|ours| ours.reason.clone()).filter(|reason| !reason.is_empty());
            return Progress::RolledBack {
                to: primary.task_definition.clone(),
                reason: reason.unwrap_or_else(|| primary.reason.clone()),
            };
        }
        return Progress::Replaced { by: primary.task_definition.clone() };
    }
    let is_done = match primary.rollout {
        Rollout::Failed => return Progress::Failed { reason: primary.reason.clone() },
        Rollout::Completed => true,
        Rollout::InProgress => false,
        Rollout::Unknown => service.deployments.len() == 1 && primary.running == primary.desired,
    };
    if is_done { Progress::Stable } else { Progress::Going(tasks(service, primary)) }
}

fn tasks(service: &Service, primary: &Deployment) -> Tasks {
    let others = service.deployments.iter().filter(|deployment| !deployment.is_primary);
    Tasks {
        new: primary.running,
        wanted: primary.desired,
        old: others.map(|deployment| deployment.running).sum(),
        failed: primary.failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment(task_definition: &str, is_primary: bool, rollout: Rollout, reason: &str) -> Deployment {
        Deployment {
            id: format!("ecs-svc/{task_definition}"),
            is_primary,
            task_definition: task_definition.to_owned(),
            rollout,
            reason: reason.to_owned(),
            running: 1,
            desired: 2,
            ..Deployment::default()
        }
    }

    fn seen(deployments: Vec<Deployment>) -> Progress {
        let service = Service { deployments, desired: 2, ..Service::default() };
        progress(&service, Sought { revision: "f:42", before: "f:41", earlier: &HashSet::new() }, true)
    }

    #[test]
    fn a_deployment_goes_ends_or_is_taken_back() {
        let primary = |rollout| deployment("f:42", true, rollout, "");
        let old = || deployment("f:41", false, Rollout::Completed, "");
        assert_eq!(
            seen(vec![primary(Rollout::InProgress), old()]),
            Progress::Going(Tasks { new: 1, wanted: 2, old: 1, failed: 0 })
        );
        assert_eq!(seen(vec![primary(Rollout::Completed)]), Progress::Stable);
        let failed = deployment("f:42", true, Rollout::Failed, "tasks failed to start.");
        assert_eq!(
            seen(vec![failed, old()]),
            Progress::Failed { reason: "tasks failed to start.".to_owned() }
        );
        let back = deployment("f:41", true, Rollout::InProgress, "rolling back to deploymentId ecs-svc/1.");
        let to = "f:41".to_owned();
        assert_eq!(
            seen(vec![back.clone(), deployment("f:42", false, Rollout::Failed, "tasks failed to start.")]),
            Progress::RolledBack { to: to.clone(), reason: "tasks failed to start.".to_owned() }
        );
        assert_eq!(
            seen(vec![back]),
            Progress::RolledBack { to, reason: "rolling back to deploymentId ecs-svc/1.".to_owned() }
        );
        assert_eq!(
            seen(vec![
                deployment("f:43", true, Rollout::InProgress, ""),
                deployment("f:42", false, Rollout::InProgress, "")
            ]),
            Progress::Replaced { by: "f:43".to_owned() }
        );
    }

    #[test]
    fn what_ecs_does_not_show_yet_is_no_rollback() {
        let service = Service {
            deployments: vec![deployment("f:41", true, Rollout::Completed, "")],
            ..Service::default()
        };
        let none = HashSet::new();
        let sought = Sought { revision: "f:42", before: "f:41", earlier: &none };
        let begun = |has_begun| progress(&service, sought, has_begun);
        assert_eq!(begun(false), Progress::Going(Tasks { new: 0, wanted: 2, old: 1, failed: 0 }));
        assert!(matches!(begun(true), Progress::RolledBack { .. }));
        // One that ran the same revision before, and still drains, is not the one that is looked for.
        let draining = deployment("f:42", false, Rollout::Failed, "");
        let earlier = HashSet::from([draining.id.clone()]);
        let service =
            Service { deployments: vec![service.deployments[0].clone(), draining], ..Service::default() };
        let sought = Sought { earlier: &earlier, ..sought };
        assert_eq!(sought.deployment(&service), None);
        assert!(matches!(progress(&service, sought, false), Progress::Going(_)));
    }

    #[test]
    fn without_a_rollout_state_it_is_done_when_it_is_alone_and_whole() {
        let mut primary = deployment("f:42", true, Rollout::Unknown, "");
        let going = Progress::Going(Tasks { new: 1, wanted: 2, old: 0, failed: 0 });
        assert_eq!(seen(vec![primary.clone()]), going);
        primary.running = 2;
        assert_eq!(seen(vec![primary.clone()]), Progress::Stable);
        let old = deployment("f:41", false, Rollout::Unknown, "");
        assert_eq!(seen(vec![primary, old]), Progress::Going(Tasks { new: 2, wanted: 2, old: 1, failed: 0 }));
    }

    #[test]
    fn tasks_read_as_a_person_would_say_them() {
        let tasks = Tasks { new: 1, wanted: 2, old: 1, failed: 3 };
        assert_eq!(tasks.to_string(), "1 of 2 new tasks running, 1 old, 3 failed");
        assert_eq!(Tasks { wanted: 1, ..Tasks::default() }.to_string(), "0 of 1 new task running, 0 old");
    }
}
