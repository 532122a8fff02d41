//! What must be known of a service beyond what ECS tells: what it was moved to, what failed, and who keeps putting it back. Pure; the
//! leader keeps it on the share, so that the next leader doesn't begin anew.

use crate::{
    order::HELPER,
    patch::SEEDING,
    service::{Rollout, Service, StoppedTask},
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::Duration};

/// An unpatched revision that is put back so often, within [`WINDOW`], is fought over: the agent yields.
pub const MOST_ROUNDS: usize = 3;
/// Put-backs further apart are none of a fight: infrastructure code that is applied once a day is patched once a day.
pub const WINDOW: Duration = Duration::from_secs(3600);
/// The longest pause between two tries against a share that makes deployments fail, and in a fight.
const LONGEST_PAUSE: Duration = Duration::from_secs(24 * 3600);
/// The first pause before a deployment that the share made fail is tried again.
const FIRST_PAUSE: Duration = Duration::from_secs(30);
/// For so long ECS remembers stopped tasks (API reference, DescribeTasks); what it says of placement is compared with that.
const REMEMBERED: Duration = Duration::from_secs(3600);

/// All services of a cluster that something is known of, by ARN. A record on the share.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Histories {
    /// The record's format.
    pub format: u32,
    /// By the service's ARN.
    pub services: BTreeMap<String, History>,
}

/// A move that is about to be asked for: whether ECS made it, and over which deployment, must be known whatever becomes of the answer. A
/// record of its own, since there is one at a time, and that of all services may be large.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moving {
    /// The record's format.
    pub format: u32,
    /// The service's ARN.
    pub service: String,
    /// What it would come to.
    pub moved: Moved,
}

impl Histories {
    /// Takes over what an earlier leader was about to ask for, unless it is known what became of it.
    pub fn expect(&mut self, Moving { service, moved, .. }: Moving) {
        let history = self.services.entry(service).or_default();
        let is_known = history.moved.as_ref().is_some_and(|known| {
            (&known.patched, &known.from_deployment) == (&moved.patched, &moved.from_deployment)
        });
        if !is_known {
            history.moving = Some(moved);
        }
    }
}

/// One service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// The last move to a patched revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved: Option<Moved>,
    /// A move that was about to be asked for; [`Moving`] keeps it.
    #[serde(skip)]
    pub moving: Option<Moved>,
    /// The last patched deployment that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<Failed>,
    /// When something put the unpatched revision back, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub put_back: Vec<PutBack>,
    /// A source revision that can't be had, whatever the round: ECS dropped a field of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropped: Option<Dropped>,
}

/// A move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// ARN of the unpatched revision.
    pub source: String,
    /// ARN of the patched one.
    pub patched: String,
    /// Of the patched document: what came back as the same code is known by it.
    pub fingerprint: String,
    /// The deployment that was PRIMARY before: ECS goes back to it.
    pub from_deployment: String,
    /// Whether its failure was seen and noted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub has_failed: bool,
}

/// A failed deployment of a patched revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// ARN of the unpatched revision.
    pub source: String,
    /// ARN of the patched one.
    pub patched: String,
    /// Whose fault it was.
    pub cause: Cause,
    /// What ECS said of its tasks.
    pub said: String,
    /// When it was seen, since the Unix epoch.
    pub at: Duration,
    /// How often in a row.
    pub times: u32,
}

/// Whose fault a failed deployment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cause {
    /// The share was away: it is tried again.
    Share,
    /// Anything else: it is left alone.
    App,
}

/// Something else made an unpatched revision PRIMARY again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutBack {
    /// Its deployment.
    pub deployment: String,
    /// The revision.
    pub revision: String,
    /// When it was seen, since the Unix epoch.
    pub at: Duration,
}

/// A revision whose patched form ECS doesn't keep whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    /// ARN of the source.
    pub source: String,
    /// What happened.
    pub reason: String,
}

impl History {
    /// Whether there is nothing to keep.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Takes in a look at a service whose PRIMARY revision is unpatched: what came back as the same code is put back by somebody,
    /// unless it came back as the very deployment from before, which is ECS's own rollback.
    pub fn saw_unpatched(&mut self, service: &Service, fingerprint: &str, now: Duration) {
        let (Some(moved), Some(primary)) = (&self.moved, service.primary()) else { return };
        if moved.fingerprint != fingerprint {
            // Other code: a new deploy. What was fought over is over.
            self.put_back.clear();
            return;
        }
        let is_rollback = primary.id == moved.from_deployment || service.is_rolling_back();
        let is_known = self.put_back.last().is_some_and(|last| last.deployment == primary.id);
        if !is_rollback && !is_known {
            self.put_back.push(PutBack {
                deployment: primary.id.clone(),
                revision: primary.task_definition.clone(),
                at: now,
            });
            // What is older tells nothing any more; what is kept bounds the pause.
            let keep = self.put_back.len().saturating_sub(2 * MOST_ROUNDS);
            self.put_back.drain(..keep);
        }
    }

    /// Takes in a look at a service whose PRIMARY revision is patched already, by whomever.
    pub fn saw_patched(&mut self, service: &Service, source: &str, fingerprint: &str, now: Duration) {
        let Some(primary) = service.primary() else { return };
        if primary.rollout == Rollout::Completed {
            self.failed = None;
            self.put_back.retain(|put_back| now.saturating_sub(put_back.at) < LONGEST_PAUSE);
        }
        let is_known = self.moved.as_ref().is_some_and(|moved| moved.patched == primary.task_definition);
        // Asked for, and made: it says which deployment the move was decided about.
        if let Some(moving) = self.moving.take_if(|moving| moving.patched == primary.task_definition) {
            self.moved = Some(moving);
            return;
        }
        // Where it is COMPLETED, there is nothing before it that ECS could go back to.
        if !is_known {
            self.moved = Some(Moved {
                source: source.to_owned(),
                patched: primary.task_definition.clone(),
                fingerprint: fingerprint.to_owned(),
                from_deployment: before(service).unwrap_or_default(),
                has_failed: false,
            });
        }
    }

    /// The patched revision that was moved to and failed, where that isn't noted yet.
    pub fn unnoted_failure(&self, service: &Service) -> Option<&Moved> {
        let moved = self.moved.as_ref()?;
        let primary = service.primary()?;
        let has_failed = |deployment: &crate::service::Deployment| {
            deployment.task_definition == moved.patched && deployment.rollout == Rollout::Failed
        };
        let came_back = primary.task_definition != moved.patched
            && !moved.from_deployment.is_empty()
            && primary.id == moved.from_deployment;
        let failed = service.deployments.iter().any(has_failed) || came_back;
        // The same failure is seen in many rounds.
        (failed && !moved.has_failed).then_some(moved)
    }

    /// Notes a failure of what was moved to last: what ECS says of its tasks that stopped, and of one that it couldn't place.
    pub fn failed(
        &mut self,
        tasks: &[StoppedTask],
        unplaced: Option<&(Duration, String)>,
        now: Duration,
    ) -> Option<&Failed> {
        let moved = self.moved.as_mut()?;
        moved.has_failed = true;
        let unplaced = unplaced.filter(|(at, _)| now.saturating_sub(*at) < REMEMBERED);
        let (cause, said) = judge(tasks, unplaced.map(|(_, said)| said.as_str()));
        let before = self.failed.take().filter(|failed| failed.source == moved.source);
        self.failed = Some(Failed {
            source: moved.source.clone(),
            patched: moved.patched.clone(),
            cause,
            said,
            at: now,
            times: before.map_or(0, |failed| failed.times) + 1,
        });
        self.failed.as_ref()
    }

    /// Until when a fight makes the agent wait; the last put-back tells who with.
    pub fn yields_until(&self) -> Option<(&PutBack, Duration)> {
        let last = self.put_back.last()?;
        let recent = self.put_back.iter().filter(|one| last.at.saturating_sub(one.at) < WINDOW).count();
        if recent < MOST_ROUNDS {
            return None;
        }
        let rounds = u32::try_from(self.put_back.len().saturating_sub(MOST_ROUNDS)).unwrap_or_default();
        Some((last, last.at + doubled(WINDOW, rounds)))
    }
}

/// The deployment that a rollback of the PRIMARY one would make PRIMARY again: the newest of the others, in whatever order ECS lists them;
/// the first, where it doesn't tell when they were made.
fn before(service: &Service) -> Option<String> {
    let others = service.deployments.iter().rev().filter(|other| !other.is_primary);
    others.max_by_key(|other| other.created).map(|other| other.id.clone())
}

impl Failed {
    /// When a failure that was the share's may be tried again.
    pub fn again_at(&self) -> Duration {
        self.at + doubled(FIRST_PAUSE, self.times.saturating_sub(1)).min(WINDOW)
    }
}

fn doubled(pause: Duration, times: u32) -> Duration {
    pause.saturating_mul(1 << times.min(16)).min(LONGEST_PAUSE)
}

/// Whose fault it was, by ECS's words: a source on the volumes root that can't be bound is the share's, and so is a Docker that
/// didn't answer in time (it waits for the share), and a volume that could not be filled; an app can cause none of these. Where no task of
/// the revision was ever started, it is that no instance was ready for it: the gate is what the patched revision asks for beyond its source.
fn judge(tasks: &[StoppedTask], unplaced: Option<&str>) -> (Cause, String) {
    let all = || tasks.iter().flat_map(|task| &task.reasons);
    // The one that names the path says most.
    let names_the_path = |reason: &&String| {
        let at_start = reason.contains("CannotStartContainer") || reason.contains("CannotCreateContainer");
        at_start && reason.contains("/volumes/")
    };
    let is_share = |reason: &&String| {
        let fills = reason.contains(SEEDING) || reason.contains(HELPER);
        reason.contains("DockerTimeoutError") || fills
    };
    if let Some(said) = all().find(names_the_path).or_else(|| all().find(is_share)) {
        return (Cause::Share, said.clone());
    }
    if tasks.is_empty()
        && let Some(said) = unplaced
    {
        return (Cause::Share, said.to_owned());
    }
    let said = all().next().cloned();
    (Cause::App, said.unwrap_or_else(|| "ECS has forgotten why its tasks stopped".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::Deployment;

    const F: &str = "v1:f";

    fn service(deployments: &[(&str, &str, Rollout)]) -> Service {
        let deployment = |(at, (id, revision, rollout)): (usize, &(&str, &str, Rollout))| Deployment {
            id: (*id).to_owned(),
            is_primary: at == 0,
            task_definition: (*revision).to_owned(),
            rollout: *rollout,
            ..Deployment::default()
        };
        Service {
            deployments: deployments.iter().enumerate().map(deployment).collect(),
            ..Service::default()
        }
    }

    fn moved() -> History {
        let moved = Moved {
            source: "f:41".to_owned(),
            patched: "f:42".to_owned(),
            fingerprint: F.to_owned(),
            from_deployment: "d1".to_owned(),
            has_failed: false,
        };
        History { moved: Some(moved), ..History::default() }
    }

    fn told(reason: &str) -> StoppedTask {
        StoppedTask { reasons: vec![reason.to_owned()] }
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_failure_is_noted_once_whether_ecs_rolls_back_or_not() {
        use Rollout::{Completed, Failed, InProgress};
        let rolled_back = [("d1", "f:41", Completed)];
        let rolling_back = [("d1", "f:41", InProgress), ("d2", "f:42", Failed)];
        let failed = [("d2", "f:42", Failed), ("d1", "f:41", Completed)];
        for deployments in [&rolled_back[..], &rolling_back[..], &failed[..]] {
            let mut history = moved();
            assert!(history.unnoted_failure(&service(deployments)).is_some(), "{deployments:?}");
            history.failed(&[], None, at(9));
            assert!(history.unnoted_failure(&service(deployments)).is_none(), "{deployments:?}");
        }
        let under_way = [("d2", "f:42", InProgress), ("d1", "f:41", Completed)];
        let anew = [("d3", "f:41", InProgress), ("d2", "f:42", Completed)];
        for deployments in [&under_way[..], &anew[..]] {
            assert!(moved().unnoted_failure(&service(deployments)).is_none(), "{deployments:?}");
        }
    }

    #[test]
    fn the_deployment_before_is_the_newest_however_they_are_listed() {
        let seen = |created: [Option<u64>; 3]| {
            let mut service = service(&[
                ("d9", "f:42", Rollout::InProgress),
                ("d1", "f:41", Rollout::Completed),
                ("d5", "f:43", Rollout::InProgress),
            ]);
            for (deployment, created) in service.deployments.iter_mut().zip(created) {
                deployment.created = created.map(Duration::from_secs);
            }
            let mut history = History::default();
            history.saw_patched(&service, "f:41", F, at(0));
            history.moved.unwrap().from_deployment
        };
        assert_eq!(seen([Some(9), Some(1), Some(5)]), "d5");
        assert_eq!(seen([None, None, None]), "d1");
    }

    #[test]
    fn a_move_whose_answer_was_lost_is_known_with_what_it_was_decided_about() {
        let moving = Moved { from_deployment: "d1".to_owned(), ..moved().moved.unwrap() };
        let mut history = History { moving: Some(moving.clone()), ..History::default() };
        let deployments = [
            ("d9", "f:42", Rollout::InProgress),
            ("d5", "f:43", Rollout::InProgress),
            ("d1", "f:41", Rollout::Completed),
        ];
        history.saw_patched(&service(&deployments), "f:41", F, at(0));
        assert_eq!((history.moved, history.moving), (Some(moving), None));
    }

    #[test]
    fn what_became_of_a_move_is_not_forgotten_for_its_intent() {
        let failed = Moved { has_failed: true, ..moved().moved.unwrap() };
        let known = History { moved: Some(failed.clone()), ..History::default() };
        let mut histories =
            Histories { format: 1, services: BTreeMap::from([("s".to_owned(), known.clone())]) };
        let intent = |moved| Moving { format: 1, service: "s".to_owned(), moved };
        histories.expect(intent(Moved { has_failed: false, ..failed.clone() }));
        assert_eq!(histories.services["s"], known);
        let another = Moved { from_deployment: "d9".to_owned(), ..failed };
        histories.expect(intent(another.clone()));
        assert_eq!(histories.services["s"].moving, Some(another));
    }

    #[test]
    fn only_what_names_the_volumes_root_or_a_docker_that_hangs_is_the_shares_fault() {
        let share = "CannotStartContainerError: Error response from daemon: error while creating mount source path '/volumes/r-a/web/data': mkdir /volumes/r-a: operation not permitted";
        for (reason, cause) in [
            (share, Cause::Share),
            (
                "DockerTimeoutError: Could not transition to started; timed out after waiting 3m0s",
                Cause::Share,
            ),
            (
                "dependency graph: failed to resolve container ordering dependency [convox-volumes-seed-web(x) (STOPPED->RUNNING) - Exit: 1] for target [web(x) (MANIFEST_PULLED->RUNNING)] as dependency did not exit successfully.",
                Cause::Share,
            ),
            (
                "CannotStartContainerError: exec: \"/.volumes-agent/bin/volumes-agent-seed\": stat: no such file or directory",
                Cause::Share,
            ),
            ("Essential container in task exited", Cause::App),
            ("CannotStartContainerError: exec: \"/app\": no such file or directory", Cause::App),
            ("the app says /volumes/x is missing", Cause::App),
        ] {
            assert_eq!(
                judge(&[told("Task failed to start"), told(reason)], Some("unable to place a task")).0,
                cause,
                "{reason}"
            );
        }
    }

    #[test]
    fn a_revision_that_no_instance_was_ready_for_is_the_shares_fault_while_ecs_would_know_its_tasks() {
        let unplaced = (at(1000), "was unable to place a task because no container instance met".to_owned());
        let cause = |now| moved().failed(&[], Some(&unplaced), at(now)).unwrap().cause;
        assert_eq!([cause(1100), cause(4500), cause(4600)], [Cause::Share, Cause::Share, Cause::App]);
    }

    #[test]
    fn failures_of_one_source_are_counted_and_tried_less_and_less() {
        let mut history = moved();
        let share = told("DockerTimeoutError: x");
        let mut pauses = Vec::new();
        for _ in 0..9 {
            let failed = history.failed(std::slice::from_ref(&share), None, at(1000)).unwrap().clone();
            pauses.push((failed.again_at() - at(1000)).as_secs());
        }
        assert_eq!(pauses, [30, 60, 120, 240, 480, 960, 1920, 3600, 3600]);
    }

    #[test]
    fn who_puts_the_same_code_back_again_and_again_is_yielded_to() {
        let mut history = moved();
        for round in 0..3 {
            assert_eq!(history.yields_until(), None, "round {round}");
            let deployment = format!("t{round}");
            for _ in 0..2 {
                // Seen in more than one look, counted once.
                history.saw_unpatched(&service(&[(&deployment, "f:41", Rollout::InProgress)]), F, at(round));
            }
        }
        let (who, until) = history.yields_until().unwrap();
        assert_eq!((who.deployment.as_str(), who.revision.as_str(), until), ("t2", "f:41", at(2) + WINDOW));
        // An hour later it is tried once more; put back again, the pause is longer.
        history.saw_unpatched(&service(&[("t3", "f:41", Rollout::Completed)]), F, at(4000));
        assert_eq!(history.yields_until().map(|(_, until)| until), None, "one in an hour is no fight");
        history.saw_unpatched(&service(&[("t4", "f:41", Rollout::Completed)]), F, at(4001));
        history.saw_unpatched(&service(&[("t5", "f:41", Rollout::Completed)]), F, at(4002));
        assert!(history.yields_until().unwrap().1 > at(4002) + WINDOW, "longer each time");
        history.saw_unpatched(&service(&[("n", "f:43", Rollout::InProgress)]), "v1:new code", at(4003));
        assert_eq!(history.yields_until(), None, "a new deploy ends it");
    }

    #[test]
    fn ecs_own_rollback_and_a_daily_apply_are_no_fight() {
        let mut history = moved();
        for day in 0..30 {
            history.saw_unpatched(&service(&[("d1", "f:41", Rollout::Completed)]), F, at(day));
            assert_eq!(history.put_back, []);
        }
        for day in 0..30_u64 {
            let id = format!("t{day}");
            let now = at(day * 86_400);
            history.saw_unpatched(&service(&[(&id, "f:41", Rollout::InProgress)]), F, now);
            assert_eq!(history.yields_until(), None, "day {day}");
            let done = service(&[("p", "f:42", Rollout::Completed)]);
            history.saw_patched(&done, "f:41", F, now + at(60));
        }
    }
}
