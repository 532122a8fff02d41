//! When ECS is told about the gate: at once where a task could come to harm, else spread over the fleet, so that hundreds of instances that boot
//! at the same moment don't take the account's calls from everybody. Pure; time and chance are passed in.

use std::time::{Duration, Instant};

/// An agent's part of the time over which a fleet spreads its calls. Twenty a second are half of what PutAttributes' bucket refills
/// (developer guide, "Request throttling for the Amazon ECS API": 100 at once, 40 a second, all callers of the account together).
const PER_AGENT: Duration = Duration::from_millis(50);
/// The longest that a boot's word waits: `volumes-agent wait` holds the ECS agent back for longer than that.
const MOST: Duration = Duration::from_secs(30);
/// The size of the fleet where nothing is known of it: a new instance, of which ECS has nothing wrong yet.
const UNKNOWN_FLEET: usize = 400;

/// What is to be told, and from when on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spread(Option<(bool, Instant)>);

impl Spread {
    /// There is nothing to be told.
    pub fn forget(&mut self) {
        self.0 = None;
    }

    /// Whether it may be told now. `pause` is asked for once for each change of what is to be told.
    pub fn may_tell(&mut self, open: bool, now: Instant, pause: impl FnOnce() -> Duration) -> bool {
        match self.0 {
            Some((told, from)) if told == open => from <= now,
            _ => {
                let pause = pause();
                self.0 = Some((open, now + pause));
                pause.is_zero()
            }
        }
    }
}

/// How long to wait before ECS is told. `opened`: it may have `ready`, so that tasks may come here. `agents`: how many there are,
/// by their heartbeats. `part`: from 0 to 1, by chance.
pub fn pause(open: bool, opened: bool, agents: Option<usize>, part: f64) -> Duration {
    if !open && opened {
        return Duration::ZERO;
    }
    let agents = u32::try_from(agents.unwrap_or(UNKNOWN_FLEET)).unwrap_or(u32::MAX);
    PER_AGENT.saturating_mul(agents).min(MOST).mul_f64(part.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_that_was_open_is_closed_at_once() {
        assert_eq!(pause(false, true, Some(5000), 1.0), Duration::ZERO);
        assert_eq!(
            pause(true, true, Some(2), 1.0),
            Duration::from_millis(100),
            "nobody waits in a small cluster"
        );
        assert_eq!(pause(true, true, Some(5000), 1.0), MOST);
        assert_eq!(pause(false, false, None, 0.5), Duration::from_secs(10));
    }

    #[test]
    fn chance_is_asked_once_for_each_change() {
        let now = Instant::now();
        let later = |seconds| now + Duration::from_secs(seconds);
        let mut spread = Spread::default();
        assert!(!spread.may_tell(false, now, || Duration::from_secs(9)));
        assert!(!spread.may_tell(false, later(8), || Duration::ZERO));
        assert!(spread.may_tell(false, later(9), || Duration::from_secs(9)));
        assert!(!spread.may_tell(true, later(9), || Duration::from_secs(1)), "a change begins anew");
        spread.forget();
        assert!(spread.may_tell(true, later(9), || Duration::ZERO));
    }

    /// 500 agents whose instances boot within one second, in the worst case for each: its registration was there before, ECS has to be told
    /// `not-ready` first, and the share is ready three seconds later.
    #[test]
    #[allow(clippy::print_stdout)] // the figure is for whoever asks with --nocapture
    fn five_hundred_agents_at_once_stay_within_the_bucket() {
        const AGENTS: usize = 500;
        let (burst, refill) = (100.0, 40.0);
        let mut worst: (f64, usize) = (burst, 0);
        for _ in 0..200 {
            let mut calls: Vec<f64> = Vec::new();
            for _ in 0..AGENTS {
                let booted = fastrand::f64();
                let closes = booted + pause(false, false, Some(AGENTS), fastrand::f64()).as_secs_f64();
                let is_ready = booted + 3.0;
                // One that is ready before its turn has nothing to close.
                if closes < is_ready {
                    calls.push(closes);
                }
                calls.push(is_ready + pause(true, false, Some(AGENTS), fastrand::f64()).as_secs_f64());
            }
            calls.sort_by(f64::total_cmp);
            let (mut level, mut at) = (burst, 0.0);
            for call in &calls {
                level = (level + (call - at) * refill).min(burst) - 1.0;
                at = *call;
                worst.0 = worst.0.min(level);
            }
            let second = |from: &f64| calls.iter().filter(|at| (*from..from + 1.0).contains(*at)).count();
            worst.1 = calls.iter().map(second).max().unwrap().max(worst.1);
        }
        println!("peak {} calls in a second, the bucket of 100 never below {:.0}", worst.1, worst.0);
        assert!(worst.0 > burst / 2.0, "{worst:?}");
    }
}
