//! The deployment circuit breaker: when a deployment has failed. Pure arithmetic.
//!
//! Source: developer guide, "How the Amazon ECS deployment circuit breaker detects failures", and the service model's
//! `DeploymentCircuitBreaker` and `ThresholdConfiguration`.

use serde_json::Value;

/// What a service's `deploymentConfiguration.deploymentCircuitBreaker` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CircuitBreaker {
    pub(super) rollback: bool,
    /// Whether a task that runs sets the count of failures back to 0.
    pub(super) resets: bool,
    threshold: Threshold,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Threshold {
    Count(u32),
    BoundedPercent(u32),
    UnboundedPercent(u32),
}

impl CircuitBreaker {
    /// `None` unless it is enabled. Members of the wrong type count as absent: the service model's check refuses them earlier.
    pub(super) fn of(deployment_configuration: &Value) -> Option<Self> {
        let breaker = &deployment_configuration["deploymentCircuitBreaker"];
        if breaker["enable"] != true {
            return None;
        }
        let configured = &breaker["thresholdConfiguration"];
        let value = configured["value"].as_u64().and_then(|value| u32::try_from(value).ok()).unwrap_or(50);
        Some(Self {
            rollback: breaker["rollback"] == true,
            resets: breaker["resetOnHealthyTask"] != false,
            threshold: match configured["type"].as_str() {
                Some("COUNT") => Threshold::Count(value),
                Some("UNBOUNDED_PERCENT") => Threshold::UnboundedPercent(value),
                _ => Threshold::BoundedPercent(value),
            },
        })
    }

    /// So many failed tasks fail a deployment of `desired` tasks; at least 1.
    pub(super) fn threshold(self, desired: usize) -> u32 {
        let desired = u32::try_from(desired).unwrap_or(u32::MAX);
        let percent = |percent: u32| desired.saturating_mul(percent).div_ceil(100);
        match self.threshold {
            Threshold::Count(count) => count.max(1),
            Threshold::BoundedPercent(value) => percent(value).clamp(3, 200),
            Threshold::UnboundedPercent(value) => percent(value).max(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_threshold_is_that_of_the_developer_guide() {
        let default = json!({});
        let of = |kind: &str, value: u32| json!({ "type": kind, "value": value });
        for (configured, desired, expected) in [
            (&default, 0, 3),
            (&default, 1, 3),
            (&default, 25, 13),
            (&default, 400, 200),
            (&default, 800, 200),
            (&of("BOUNDED_PERCENT", 10), 25, 3),
            (&of("BOUNDED_PERCENT", 100), 25, 25),
            (&of("UNBOUNDED_PERCENT", 50), 800, 400),
            (&of("UNBOUNDED_PERCENT", 50), 2, 1),
            (&of("COUNT", 7), 800, 7),
        ] {
            let breaker = json!({ "enable": true, "rollback": true, "thresholdConfiguration": configured });
            let breaker = CircuitBreaker::of(&json!({ "deploymentCircuitBreaker": breaker })).unwrap();
            assert_eq!(breaker.threshold(desired), expected, "{configured} of {desired}");
        }
    }

    #[test]
    fn a_breaker_that_is_not_enabled_is_none() {
        for configuration in
            [json!({}), json!({ "deploymentCircuitBreaker": { "enable": false, "rollback": true } })]
        {
            assert_eq!(CircuitBreaker::of(&configuration), None, "{configuration}");
        }
    }
}
