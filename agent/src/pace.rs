//! Calls to ECS at half of what its token buckets give, at most: they are the whole account's, the users' own pipelines included
//! (developer guide, "Request throttling for the Amazon ECS API").

use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// A bucket of our own.
#[derive(Debug)]
pub struct Bucket {
    most: f64,
    per_second: f64,
    state: Mutex<State>,
}

/// How many tokens there were at a moment.
#[derive(Debug, Clone, Copy)]
struct State {
    tokens: f64,
    at: Instant,
}

impl Bucket {
    /// Full at the start, with `most` tokens; `per_second` come back.
    pub fn new(most: f64, per_second: f64) -> Self {
        Self { most, per_second, state: Mutex::new(State { tokens: most, at: Instant::now() }) }
    }

    /// Waits until there is a token, and takes it. Waiters are served in their order.
    pub async fn take(&self) {
        let mut state = self.state.lock().await;
        let (wait, after) = self.taken(*state, Instant::now());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        *state = after;
    }

    /// How long a token must be waited for from `now` on, and what the bucket is when it was taken.
    fn taken(&self, State { tokens, at }: State, now: Instant) -> (Duration, State) {
        let tokens = (tokens + now.duration_since(at).as_secs_f64() * self.per_second).min(self.most);
        let missing = (1.0 - tokens).max(0.0) / self.per_second;
        let wait = Duration::from_secs_f64(missing);
        (wait, State { tokens: tokens + missing * self.per_second - 1.0, at: now + wait })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_is_kept_over_any_stretch() {
        let bucket = Bucket::new(3.0, 0.5);
        let begun = Instant::now();
        let mut state = State { tokens: 3.0, at: begun };
        let mut now = begun;
        let mut take = |times: usize| {
            for _ in 0..times {
                let (wait, after) = bucket.taken(state, now);
                now += wait;
                state = after;
            }
            now.duration_since(begun)
        };
        assert_eq!(take(3), Duration::ZERO, "the burst");
        let took = take(10).as_secs_f64();
        assert!((19.9..20.2).contains(&took), "ten more at one in two seconds: {took}");
    }
}
