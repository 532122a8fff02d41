//! Token buckets: how many calls of a kind an account has, all of its callers together. Pure; the time is passed in.
//!
//! Source of names, bursts and refill rates: developer guide, "Request throttling for the Amazon ECS API". Operations that it doesn't
//! name are not throttled.

use serde_json::{Value, json};
use std::time::Duration;

/// Name, burst, refill a second, operations.
const BUCKETS: [(&str, u32, u32, &[&str]); 9] = [
    (
        "task definition read",
        50,
        20,
        &["DescribeTaskDefinition", "ListTaskDefinitions", "ListTaskDefinitionFamilies"],
    ),
    ("task definition modify", 20, 1, &["RegisterTaskDefinition", "DeregisterTaskDefinition"]),
    ("service read", 100, 20, &["DescribeServices", "ListServices"]),
    ("service modify", 50, 5, &["CreateService", "UpdateService", "DeleteService"]),
    (
        "cluster resource modify",
        100,
        40,
        &[
            "PutAttributes",
            "DeleteAttributes",
            "RunTask",
            "StartTask",
            "StopTask",
            "UpdateContainerInstancesState",
        ],
    ),
    (
        "cluster resource read",
        100,
        20,
        &[
            "DescribeContainerInstances",
            "ListContainerInstances",
            "ListAttributes",
            "ListTasks",
            "DescribeTasks",
        ],
    ),
    ("cluster read", 50, 20, &["DescribeClusters", "ListClusters"]),
    ("agent", 200, 120, &["RegisterContainerInstance"]),
    ("task set modify", 50, 5, &["CreateTaskSet"]),
];

#[derive(Debug, Clone, Copy)]
struct Bucket {
    level: f64,
    lowest: f64,
    taken: u64,
    refused: u64,
    at: Duration,
}

/// The buckets of the lab's account.
#[derive(Debug)]
pub(super) struct Buckets([Bucket; BUCKETS.len()]);

impl Buckets {
    /// All full.
    pub(super) fn new(now: Duration) -> Self {
        Self(BUCKETS.map(|(_, burst, ..)| {
            let level = f64::from(burst);
            Bucket { level, lowest: level, taken: 0, refused: 0, at: now }
        }))
    }

    /// Takes a token for a call, or says that there is none.
    pub(super) fn take(&mut self, operation: &str, now: Duration) -> bool {
        let mut kinds = BUCKETS.iter().zip(&mut self.0);
        let Some((kind, bucket)) = kinds.find(|(kind, _)| kind.3.contains(&operation)) else { return true };
        let passed = now.saturating_sub(bucket.at).as_secs_f64();
        bucket.at = bucket.at.max(now);
        bucket.level = (bucket.level + passed * f64::from(kind.2)).min(f64::from(kind.1));
        if bucket.level < 1.0 {
            bucket.refused += 1;
            return false;
        }
        bucket.level -= 1.0;
        bucket.taken += 1;
        bucket.lowest = bucket.lowest.min(bucket.level);
        true
    }

    /// Each with its documented size, the lowest level since the start, and how many calls it let pass and refused.
    pub(super) fn answer(&self) -> Value {
        let one = |(kind, bucket): (&(&str, u32, u32, &[&str]), &Bucket)| {
            json!({
                "bucket": kind.0, "burst": kind.1, "refill_per_second": kind.2, "operations": kind.3,
                "lowest": bucket.lowest, "taken": bucket.taken, "refused": bucket.refused,
            })
        };
        BUCKETS.iter().zip(&self.0).map(one).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_refill_rate() {
        let start = Duration::from_secs(100);
        let mut buckets = Buckets::new(start);
        let mut pass = |at: Duration| buckets.take("RegisterTaskDefinition", start + at);
        assert_eq!((0..30).filter(|_| pass(Duration::ZERO)).count(), 20, "the burst");
        assert!(!pass(Duration::from_millis(900)));
        assert!(pass(Duration::from_millis(1_000)), "one a second");
        assert!(!pass(Duration::from_millis(1_100)));
        assert_eq!(
            (0..30).filter(|_| pass(Duration::from_secs(1_000))).count(),
            20,
            "never more than the burst"
        );
        assert!(buckets.take("DescribeTaskDefinition", start), "another bucket");
        assert!(buckets.take("NotOfThisList", start));
        let told = buckets.answer();
        let modify =
            told.as_array().unwrap().iter().find(|b| b["bucket"] == "task definition modify").unwrap();
        assert_eq!(modify["refused"], 22);
        assert!(modify["lowest"].as_f64().unwrap() < 1.0);
    }
}
