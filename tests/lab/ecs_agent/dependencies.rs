//! What containers of a task wait for: `dependsOn`, as the real agent judges it; pure.
//!
//! Read in aws/amazon-ecs-agent 1.105.1 (8dfceca), `agent/engine/dependencygraph/graph.go`; lines below are of that file unless
//! they name another. All conditions, START too, hold back pulling, creating *and* starting the container that depends (:417-476);
//! only its manifest is pulled before. What can never be met any more ends the container that depends, not the task (:286-306):
//! the task ends because that container was essential.

use std::time::{Duration, SystemTime};

/// How far a container has come, in the real agent's order (`ecs-agent/api/container/status/containerstatus.go:22-44`). What that
/// has between none and created, pulling, takes no time here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Known {
    /// Docker has no container.
    None,
    /// It was created, and not started yet.
    Created,
    /// It runs.
    Running,
    /// It ran and ended, or was told to ECS as STOPPED.
    Stopped,
}

/// What a dependency must have come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// It runs, or ran.
    Start,
    /// It ended, with any exit code.
    Complete,
    /// It ended with 0.
    Success,
    /// Docker's health check says `healthy`.
    Healthy,
}

impl Condition {
    /// By its name in a task definition.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "START" => Some(Self::Start),
            "COMPLETE" => Some(Self::Complete),
            "SUCCESS" => Some(Self::Success),
            "HEALTHY" => Some(Self::Healthy),
            _ => None,
        }
    }
}

/// What Docker's health check says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Health {
    /// There is none, or it has not said anything yet.
    #[default]
    Unknown,
    /// It passes.
    Healthy,
    /// It failed as often as `retries` says.
    Unhealthy,
}

impl Health {
    /// As ECS is told (service model, `HealthStatus`); nothing where there is nothing to tell.
    pub fn name(self) -> Option<&'static str> {
        match self {
            Self::Unknown => None,
            Self::Healthy => Some("HEALTHY"),
            Self::Unhealthy => Some("UNHEALTHY"),
        }
    }
}

/// A container of a task: what its revision says of it, and what is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name in the revision.
    pub name: String,
    /// Its image.
    pub image: String,
    /// Whether the task ends with it.
    pub essential: bool,
    /// What it waits for, by name.
    pub depends_on: Vec<(String, Condition)>,
    /// How long others wait for it, from its start on; set at the dependency, not at what depends.
    pub start_timeout: Option<Duration>,
    /// How far it has come.
    pub known: Known,
    /// It was not run and never will be: it failed to be created or started, or what it waits for can't come any more.
    pub given_up: bool,
    /// Docker's id, once it was created.
    pub id: Option<String>,
    /// When it was started, if anybody counts.
    pub started_at: Option<SystemTime>,
    /// Once it has ended.
    pub exit_code: Option<i64>,
    /// What Docker's health check says.
    pub health: Health,
    /// Why it was given up.
    pub reason: Option<String>,
}

impl Member {
    /// Whether it ended, or never will begin.
    pub fn has_ended(&self) -> bool {
        self.known == Known::Stopped || self.given_up
    }

    /// Whether its process was started at some time.
    pub fn has_run(&self) -> bool {
        self.known >= Known::Running && self.id.is_some()
    }

    fn waits_for(&self, other: &Self) -> bool {
        self.depends_on.iter().any(|(name, _)| *name == other.name)
    }

    /// As the real agent writes a container into its messages (`agent/api/container/container.go:538`). What waits has its
    /// manifest (:417), what failed to be created had its image.
    fn told(&self) -> String {
        let known = match self.known {
            Known::None if self.given_up && self.exit_code.is_none() => "PULLED",
            Known::None => "MANIFEST_PULLED",
            Known::Created => "CREATED",
            Known::Running => "RUNNING",
            Known::Stopped => "STOPPED",
        };
        let desired = if self.given_up { "STOPPED" } else { "RUNNING" };
        let code = self.exit_code.map(|code| format!(" - Exit: {code}")).unwrap_or_default();
        format!("{}({}) ({known}->{desired}){code}", self.name, self.image)
    }
}

/// Whether a container may be created, or started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gate {
    /// It may.
    Open,
    /// Not yet.
    Waiting,
    /// It never may, and why, in the real agent's words.
    Never(String),
}

/// Judges whether `target` may go on, from what its dependencies have come to (:266-316).
pub fn gate(target: &Member, all: &[Member], now: SystemTime) -> Gate {
    let mut gate = Gate::Open;
    for (name, condition) in &target.depends_on {
        let never = |what: &str, on: &str, why: &str| {
            Gate::Never(format!("dependency graph: {what} [{on}] for target [{}] {why}", target.told()))
        };
        let Some(on) = all.iter().find(|member| member.name == *name) else {
            return never("container ordering dependency", "<nil>", "does not exist.");
        };
        let told = on.told();
        // Counted for what is not created yet, while the dependency has not stopped (:289).
        if target.known < Known::Created && on.known != Known::Stopped && has_timed_out(on, *condition, now) {
            return never("container ordering dependency", &told, "has timed out.");
        }
        let failed = "failed to resolve container ordering dependency";
        if *condition == Condition::Success && on.known == Known::Stopped && on.exit_code != Some(0) {
            return never(failed, &told, "as dependency did not exit successfully.");
        }
        if on.given_up {
            return never(failed, &told, "because dependency will never start");
        }
        if !is_met(on, *condition) {
            gate = Gate::Waiting; // another one may be hopeless
        }
    }
    gate
}

/// :437-471. A dependency that vanished has no exit code: COMPLETE waits for it for ever (:468).
fn is_met(on: &Member, condition: Condition) -> bool {
    match condition {
        Condition::Start => on.known >= Known::Running,
        Condition::Complete => on.known == Known::Stopped && on.exit_code.is_some(),
        Condition::Success => on.known == Known::Stopped && on.exit_code == Some(0),
        Condition::Healthy => on.health == Health::Healthy,
    }
}

/// :479-489: from its start on, so never for one that doesn't start; and nobody waits for START by the clock.
fn has_timed_out(on: &Member, condition: Condition, now: SystemTime) -> bool {
    let Some((at, timeout)) = on.started_at.zip(on.start_timeout) else { return false };
    condition != Condition::Start && !timeout.is_zero() && now > at + timeout
}

/// Whether a container that runs may be stopped: what depends on it goes first (:506-529).
pub fn may_stop(target: &Member, all: &[Member]) -> bool {
    !all.iter().any(|other| other.known == Known::Running && other.waits_for(target))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::ecs_agent) fn member(name: &str, known: Known) -> Member {
        Member {
            name: name.to_owned(),
            image: format!("{name}:1"),
            essential: true,
            depends_on: vec![],
            start_timeout: None,
            known,
            given_up: false,
            id: (known > Known::None).then(|| format!("id-{name}")),
            started_at: None,
            exit_code: None,
            health: Health::Unknown,
            reason: None,
        }
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    /// The gate of `app`, which waits for `seed`.
    fn gate_of(condition: Condition, seed: &Member, now: u64) -> Gate {
        let mut app = member("app", Known::None);
        app.depends_on = vec![("seed".to_owned(), condition)];
        gate(&app, &[seed.clone(), app.clone()], at(now))
    }

    /// Each condition (columns: START, COMPLETE, SUCCESS, HEALTHY) in each state of the dependency.
    #[test]
    fn what_a_dependency_has_come_to_opens_the_gate_or_shuts_it() {
        use Condition::{Complete, Healthy, Start, Success};
        let ended = |code| Member { exit_code: code, ..member("seed", Known::Stopped) };
        let healthy = Member { health: Health::Healthy, ..member("seed", Known::Running) };
        let failed = Member { given_up: true, ..member("seed", Known::Created) };
        let cases = [
            (member("seed", Known::None), "----", "it is not there"),
            (member("seed", Known::Created), "----", "START wants it running, for creating too"),
            (member("seed", Known::Running), "o---", "it runs"),
            (healthy, "o--o", "it is healthy"),
            (ended(Some(0)), "ooo-", "it ended well; START is met by one that ran"),
            (ended(Some(1)), "oo!-", "it ended badly"),
            (ended(None), "o-!-", "it vanished: COMPLETE waits for ever"),
            (failed, "!!!!", "it could not be started"),
        ];
        for (seed, expected, why) in cases {
            let seen: String = [Start, Complete, Success, Healthy]
                .map(|condition| match gate_of(condition, &seed, 0) {
                    Gate::Open => 'o',
                    Gate::Waiting => '-',
                    Gate::Never(_) => '!',
                })
                .iter()
                .collect();
            assert_eq!(seen, expected, "{why}");
        }
    }

    #[test]
    fn a_start_timeout_counts_from_the_start_of_the_dependency() {
        let seed = |known, started: Option<u64>| Member {
            start_timeout: Some(Duration::from_secs(30)),
            started_at: started.map(at),
            ..member("seed", known)
        };
        let shut = |condition, seed: &Member, now| matches!(gate_of(condition, seed, now), Gate::Never(_));
        let running = seed(Known::Running, Some(100));
        for condition in [Condition::Complete, Condition::Success, Condition::Healthy] {
            assert!(!shut(condition, &running, 130), "{condition:?}: in time to the second");
            assert!(shut(condition, &running, 131), "{condition:?}: over");
        }
        assert!(!shut(Condition::Start, &running, 900), "nobody waits for START by the clock");
        assert!(!shut(Condition::Success, &seed(Known::Created, None), 900), "it was not started yet");
        let ended = Member { exit_code: Some(0), ..seed(Known::Stopped, Some(100)) };
        assert_eq!(gate_of(Condition::Success, &ended, 900), Gate::Open, "it ended: too late to time out");
        let unlimited = Member { start_timeout: None, ..running.clone() };
        assert!(!shut(Condition::Success, &unlimited, 900), "no startTimeout, no end");
        let mut created = member("app", Known::Created);
        created.depends_on = vec![("seed".to_owned(), Condition::Healthy)];
        assert_eq!(gate(&created, &[running, created.clone()], at(900)), Gate::Waiting, "created already");
    }

    #[test]
    fn it_is_told_in_the_real_agents_words() {
        let mut app = member("app", Known::None);
        app.depends_on = vec![("seed".to_owned(), Condition::Success)];
        let seed = member("seed", Known::Running);
        let late =
            Member { start_timeout: Some(Duration::from_secs(1)), started_at: Some(at(0)), ..seed.clone() };
        let failed = Member { exit_code: Some(1), ..member("seed", Known::Stopped) };
        let uncreated = Member { given_up: true, ..member("seed", Known::None) };
        let hopeless = Member { exit_code: Some(143), ..uncreated.clone() };
        for (on, expected) in [
            (
                failed,
                "failed to resolve container ordering dependency [seed(seed:1) (STOPPED->RUNNING) - Exit: 1] for target \
                 [app(app:1) (MANIFEST_PULLED->RUNNING)] as dependency did not exit successfully.",
            ),
            (
                late,
                "container ordering dependency [seed(seed:1) (RUNNING->RUNNING)] for target \
                 [app(app:1) (MANIFEST_PULLED->RUNNING)] has timed out.",
            ),
            (
                uncreated,
                "failed to resolve container ordering dependency [seed(seed:1) (PULLED->STOPPED)] for target \
                 [app(app:1) (MANIFEST_PULLED->RUNNING)] because dependency will never start",
            ),
            (
                hopeless,
                "failed to resolve container ordering dependency [seed(seed:1) (MANIFEST_PULLED->STOPPED) - Exit: 143] for \
                 target [app(app:1) (MANIFEST_PULLED->RUNNING)] because dependency will never start",
            ),
        ] {
            assert_eq!(gate(&app, &[on], at(9)), Gate::Never(format!("dependency graph: {expected}")));
        }
        let Gate::Never(words) = gate(&app, &[], at(9)) else { panic!("it has nothing to wait for") };
        assert!(words.contains("[<nil>]") && words.ends_with("does not exist."), "{words}");
    }

    /// One that is waited for is not looked at alone: a hopeless one further on ends it now.
    #[test]
    fn all_dependencies_count() {
        let mut app = member("app", Known::None);
        app.depends_on =
            vec![("slow".to_owned(), Condition::Complete), ("seed".to_owned(), Condition::Success)];
        let slow = member("slow", Known::Running);
        let ended = |code| Member { exit_code: Some(code), ..member("seed", Known::Stopped) };
        assert_eq!(gate(&app, &[slow.clone(), ended(0)], at(0)), Gate::Waiting);
        assert!(matches!(gate(&app, &[slow, ended(2)], at(0)), Gate::Never(_)));
    }

    #[test]
    fn what_depends_is_stopped_first() {
        let mut app = member("app", Known::Running);
        app.depends_on = vec![("db".to_owned(), Condition::Start)];
        let db = member("db", Known::Running);
        assert!(may_stop(&app, &[app.clone(), db.clone()]));
        assert!(!may_stop(&db, &[app.clone(), db.clone()]));
        app.known = Known::Stopped;
        assert!(may_stop(&db, &[app, db.clone()]));
    }
}
