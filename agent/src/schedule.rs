//! When an action may be tried again: after a success, after a failure (with back-off and jitter), and never twice at once.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};
use tokio::task::AbortHandle;

/// How an action is repeated. Durations grow from `first` by doubling to `most`, each with up to half of it less by chance.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Before the next try after the first failure.
    pub first: Duration,
    /// Before the next try after many failures.
    pub most: Duration,
    /// Before it is done again after a success.
    pub after_success: Duration,
}

impl Pace {
    fn after_failure(&self, failures: u32) -> Duration {
        jittered(self.first.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(self.most))
    }
}

/// Between half of `time` and all of it: instances that failed together don't come back together.
pub fn jittered(time: Duration) -> Duration {
    time.mul_f64(0.5 + fastrand::f64() / 2.0)
}

#[derive(Debug, Default)]
struct Entry {
    in_flight: Option<AbortHandle>,
    /// What it waited for changed while it was being done.
    is_outdated: bool,
    not_before: Option<Instant>,
    failures: u32,
}

/// The schedule of all actions, by name.
#[derive(Debug, Default)]
pub struct Schedule(BTreeMap<&'static str, Entry>);

impl Schedule {
    /// Whether the action may begin now.
    pub fn is_due(&self, action: &str, now: Instant) -> bool {
        self.0.get(action).is_none_or(|entry| {
            entry.in_flight.is_none() && entry.not_before.is_none_or(|not_before| not_before <= now)
        })
    }

    /// Whether it is being done.
    pub fn is_in_flight(&self, action: &str) -> bool {
        self.0.get(action).is_some_and(|entry| entry.in_flight.is_some())
    }

    /// It begins.
    pub fn begin(&mut self, action: &'static str, job: AbortHandle) {
        let entry = self.0.entry(action).or_default();
        entry.in_flight = Some(job);
        entry.is_outdated = false;
    }

    /// It ended well; it may be done again after its pace's time, or at once if it was hurried meanwhile.
    pub fn succeeded(&mut self, action: &'static str, pace: Pace, now: Instant) {
        let entry = self.0.entry(action).or_default();
        let not_before = (!entry.is_outdated).then(|| now + pace.after_success);
        *entry = Entry { not_before, ..Entry::default() };
    }

    /// It failed; it may be tried again after its pace's back-off.
    pub fn failed(&mut self, action: &'static str, pace: Pace, now: Instant) {
        let entry = self.0.entry(action).or_default();
        entry.in_flight = None;
        entry.failures += 1;
        entry.not_before = Some(now + pace.after_failure(entry.failures));
    }

    /// Not before `time` from now, whatever its pace says.
    pub fn postpone(&mut self, action: &'static str, time: Duration, now: Instant) {
        self.0.entry(action).or_default().not_before = Some(now + time);
    }

    /// It may begin at once: what it waited for changed. One that is being done goes on, and may be done again as soon as it has succeeded.
    pub fn hurry(&mut self, action: &'static str) {
        let entry = self.0.entry(action).or_default();
        entry.is_outdated = entry.in_flight.is_some();
        entry.not_before = None;
        entry.failures = 0;
    }

    /// Ends it, if it is being done, and forgets it.
    pub fn cancel(&mut self, action: &str) {
        if let Some(Entry { in_flight: Some(job), .. }) = self.0.remove(action) {
            job.abort();
        }
    }

    /// The next time at which a waiting action becomes due.
    pub fn next_due(&self, now: Instant) -> Option<Instant> {
        let waiting = self.0.values().filter(|entry| entry.in_flight.is_none());
        waiting.filter_map(|entry| entry.not_before).filter(|not_before| *not_before > now).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace {
        first: Duration::from_secs(1),
        most: Duration::from_secs(30),
        after_success: Duration::from_secs(5),
    };

    #[test]
    fn failures_back_off_to_a_limit_and_a_success_forgets_them() {
        let now = Instant::now();
        let mut schedule = Schedule::default();
        assert!(schedule.is_due("mount", now));
        for (failures, most) in [(1, 1), (2, 2), (3, 4), (6, 30), (40, 30)] {
            let after = PACE.after_failure(failures);
            let most = Duration::from_secs(most);
            assert!(after <= most && after >= most / 2, "{failures}: {after:?}");
        }
        schedule.failed("mount", PACE, now);
        assert!(!schedule.is_due("mount", now));
        assert!(schedule.is_due("mount", now + PACE.first));
        schedule.hurry("mount");
        assert!(schedule.is_due("mount", now));
        schedule.succeeded("mount", PACE, now);
        assert!(!schedule.is_due("mount", now + Duration::from_secs(4)));
        assert_eq!(schedule.next_due(now), Some(now + PACE.after_success));
    }

    #[tokio::test]
    async fn what_changes_while_it_is_done_has_it_done_again_once() {
        let now = Instant::now();
        let mut schedule = Schedule::default();
        let mut done = |hurried: bool| {
            schedule.begin("beat", tokio::spawn(async {}).abort_handle());
            if hurried {
                schedule.hurry("beat");
                assert!(!schedule.is_due("beat", now), "never twice at once");
            }
            schedule.succeeded("beat", PACE, now);
            schedule.is_due("beat", now)
        };
        assert!(done(true));
        assert!(!done(false));
    }
}
