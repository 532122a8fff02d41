//! Calls to ECS at half of what its token buckets give, at most: they are the whole account's, the users' own pipelines included
//! (developer guide, "Request throttling for the Amazon ECS API").

use std::time::Duration;
use tokio::{sync::Mutex, time::Instant};

/// A bucket of our own.
#[derive(Debug)]
pub struct Bucket {
    most: f64,
    per_second: f64,
    state: Mutex<(f64, Instant)>,
}

impl Bucket {
    /// Full at the start, with `most` tokens; `per_second` come back.
    pub fn new(most: f64, per_second: f64) -> Self {
        Self { most, per_second, state: Mutex::new((most, Instant::now())) }
    }

    /// Waits until there is a token, and takes it. Waiters are served in their order.
    pub async fn take(&self) {
        let mut state = self.state.lock().await;
        let now = Instant::now();
        let (tokens, at) = *state;
        let tokens = (tokens + now.duration_since(at).as_secs_f64() * self.per_second).min(self.most);
        let missing = (1.0 - tokens).max(0.0) / self.per_second;
        tokio::time::sleep(Duration::from_secs_f64(missing)).await;
        *state = (tokens + missing * self.per_second - 1.0, now + Duration::from_secs_f64(missing));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_pace_is_kept_over_any_stretch() {
        let bucket = Bucket::new(3.0, 0.5);
        let begun = Instant::now();
        for _ in 0..3 {
            bucket.take().await;
        }
        assert_eq!(begun.elapsed(), Duration::ZERO, "the burst");
        for _ in 0..10 {
            bucket.take().await;
        }
        let took = begun.elapsed().as_secs_f64();
        assert!((19.9..20.2).contains(&took), "ten more at one in two seconds: {took}");
    }
}
