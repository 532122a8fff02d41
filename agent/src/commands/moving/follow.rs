//! Watching deployments to their end.

use super::Cluster;
use crate::{
    apply::progress::{Progress, Sought, Tasks, progress},
    aws::AwsError,
    service::{Event, short_name},
};
use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

/// Between two looks; at first, since a small service is there at once.
const FIRST_POLL: Duration = Duration::from_secs(1);
/// For how long.
const AT_FIRST: Duration = Duration::from_secs(10);
/// Later: each look is one of DescribeServices' 20 a second for the whole account.
const POLL: Duration = Duration::from_secs(3);
/// ECS's answers lag behind its changes by seconds; what is not shown after this is not there.
const SHOWN_WITHIN: Duration = Duration::from_secs(30);
/// So many different reasons of stopped tasks are told.
const MOST_REASONS: usize = 3;

/// A deployment that is watched.
#[derive(Debug)]
pub struct Watched {
    /// The ECS service, by its name.
    pub name: String,
    /// Its ARN.
    pub arn: String,
    /// The revision that it is to run.
    pub revision: String,
    /// The one that it ran before; the same, where nothing was changed.
    pub before: String,
    /// Ids of deployments that were there before; none, where the one that is there is waited for.
    pub earlier: HashSet<String>,
    /// Events that were there before.
    pub known: HashSet<String>,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// All tasks run the revision.
    Stable {
        /// Since it was watched.
        after: Duration,
    },
    /// It failed, was rolled back, or another revision was deployed.
    Failed {
        /// What happened, and why as far as ECS tells.
        reason: String,
    },
    /// Not there in time.
    TimedOut {
        /// How far it was, and why as far as ECS tells.
        reason: String,
    },
}

impl Cluster<'_> {
    /// Watches one deployment until it ends or `timeout` is over, and tells `say` what changes.
    pub async fn follow(&self, mut watched: Watched, timeout: Duration, say: impl Fn(&str, &str)) -> End {
        let begun = Instant::now();
        let mut told: Option<Tasks> = None;
        let mut away: Option<AwsError> = None;
        let mut last_event: Option<String> = None;
        let of_service = format!("(service {}) ", watched.name);
        let mut has_begun = watched.before == watched.revision;
        loop {
            match self.ecs.service_with_events(self.name, &watched.arn).await {
                Ok(None) => return End::Failed { reason: "the service was deleted meanwhile".to_owned() },
                Ok(Some((service, events))) => {
                    away = None;
                    let looked_for = Sought {
                        revision: &watched.revision,
                        before: &watched.before,
                        earlier: &watched.earlier,
                    };
                    has_begun |= begun.elapsed() > SHOWN_WITHIN || looked_for.deployment(&service).is_some();
                    for event in new_events(events, &mut watched.known) {
                        let event = event.strip_prefix(&of_service).unwrap_or(&event).to_owned();
                        say(&watched.name, &format!("ECS: {event}"));
                        last_event = Some(event);
                    }
                    match progress(&service, looked_for, has_begun) {
                        Progress::Going(tasks) => {
                            if told != Some(tasks) {
                                say(&watched.name, &tasks.to_string());
                            }
                            told = Some(tasks);
                        }
                        Progress::Stable => return End::Stable { after: begun.elapsed() },
                        Progress::Failed { reason } => {
                            let why = self.why(&watched).await;
                            return End::Failed {
                                reason: format!(
                                    "the deployment failed, and ECS has no rollback to do: {}{why}",
                                    reason.trim_end_matches('.')
                                ),
                            };
                        }
                        Progress::RolledBack { to, reason } => {
                            let why = self.why(&watched).await;
                            return End::Failed {
                                reason: format!(
                                    "the deployment failed, and ECS goes back to {}: {}{why}",
                                    short_name(&to),
                                    reason.trim_end_matches('.')
                                ),
                            };
                        }
                        Progress::Replaced { by } => {
                            return End::Failed {
                                reason: format!(
                                    "{} was deployed meanwhile, by somebody else",
                                    short_name(&by)
                                ),
                            };
                        }
                    }
                }
                Err(error) => {
                    if away.as_ref().map(ToString::to_string) != Some(error.to_string()) {
                        say(&watched.name, &format!("{error}; asked again"));
                    }
                    away = Some(error);
                }
            }
            let pause = if begun.elapsed() < AT_FIRST { FIRST_POLL } else { POLL };
            if begun.elapsed() + pause > timeout {
                let tasks =
                    told.map(|tasks| tasks.to_string()).unwrap_or_else(|| "nothing is known".to_owned());
                let why = match (away, last_event) {
                    (Some(error), _) => format!("; {error}"),
                    (None, last_event) => {
                        let said = last_event.map(|event| format!("; ECS said last: {event}"));
                        format!("{}{}", self.why(&watched).await, said.unwrap_or_default())
                    }
                };
                return End::TimedOut { reason: format!("{tasks}{why}") };
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Why its tasks stopped, in ECS's words, as the end of a sentence.
    async fn why(&self, watched: &Watched) -> String {
        let tasks = match self.ecs.stopped_tasks(self.name, &watched.arn, &watched.revision).await {
            Ok(tasks) => tasks,
            Err(error) => return format!("; why its tasks stopped is not known: {error}"),
        };
        let mut reasons: Vec<String> = Vec::new();
        for reason in tasks.into_iter().flat_map(|task| task.reasons) {
            if says_why(&reason) && !reasons.contains(&reason) && reasons.len() < MOST_REASONS {
                reasons.push(reason);
            }
        }
        if reasons.is_empty() {
            String::new()
        } else {
            format!("; its tasks stopped: {}", reasons.join("; "))
        }
    }
}

/// Not that it was told to stop, nor that it stopped (developer guide, "stopped tasks error codes").
fn says_why(reason: &str) -> bool {
    !reason.starts_with("Scaling activity initiated by") && reason != "Task failed to start"
}

/// What ECS told since, oldest first.
fn new_events(events: Vec<Event>, known: &mut HashSet<String>) -> Vec<String> {
    let mut new: Vec<String> = events
        .into_iter()
        .filter(|event| known.insert(event.id.clone()))
        .map(|event| event.message)
        .collect();
    new.reverse();
    new
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_told_once_and_in_order() {
        let event = |id: &str| Event { id: id.to_owned(), message: format!("message {id}") };
        let mut known = HashSet::from(["1".to_owned()]);
        assert_eq!(
            new_events(vec![event("3"), event("2"), event("1")], &mut known),
            ["message 2", "message 3"]
        );
        assert!(new_events(vec![event("3"), event("2")], &mut known).is_empty());
    }
}
