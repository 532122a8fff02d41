//! Whether AWS answers, by service: EFS may be out of reach while ECS is not.

use crate::{
    aws::AwsError,
    report::{AwsReport, timestamp},
};
use std::{collections::BTreeSet, time::SystemTime};

/// A service of AWS that the agent calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Service {
    /// Elastic Container Service.
    Ecs,
    /// Elastic File System.
    Efs,
}

impl Service {
    fn name(self) -> &'static str {
        match self {
            Self::Ecs => "ECS",
            Self::Efs => "EFS",
        }
    }
}

/// What the last call to each found.
#[derive(Debug, Default)]
pub(super) struct Reach {
    silent: BTreeSet<Service>,
    report: AwsReport,
}

impl Reach {
    /// Notes whether a service was reached at all; what it said is another matter.
    pub(super) fn note(&mut self, service: Service, is_reached: bool) {
        if is_reached {
            self.silent.remove(&service);
        } else {
            self.silent.insert(service);
        }
        let reachable = self.silent.is_empty();
        if self.report.reachable != Some(reachable) {
            self.report.reachable = Some(reachable);
            self.report.since = Some(timestamp(SystemTime::now()));
        }
        self.report.silent = self.silent.iter().map(|service| service.name().to_owned()).collect();
    }

    /// Notes it of a call's outcome.
    pub(super) fn heard<T>(&mut self, service: Service, result: Result<T, AwsError>) -> Result<T, AwsError> {
        self.note(service, result.as_ref().err().is_none_or(AwsError::reached));
        result
    }

    /// Reachable: all that were called.
    pub(super) fn report(&self) -> AwsReport {
        self.report.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_service_that_answers_hides_no_other_that_is_silent() {
        let mut reach = Reach::default();
        assert_eq!(reach.report(), AwsReport::default(), "nothing was called yet");
        reach.note(Service::Efs, false);
        let since = reach.report().since;
        reach.note(Service::Ecs, true);
        let silent = vec!["EFS".to_owned()];
        assert_eq!(reach.report(), AwsReport { reachable: Some(false), since, silent });
        reach.note(Service::Efs, true);
        assert_eq!(reach.report().reachable, Some(true));
    }
}
