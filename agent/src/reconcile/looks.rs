//! What the agent looks at beside the share's state, and what it tells of it.

use super::Agent;
use crate::{jobs::Looked, mountstats::Statistics, plan::Action};

/// What was seen last.
#[derive(Debug, Default)]
pub(super) struct Looks {
    /// What the kernel counts of the present mount.
    pub(super) statistics: Option<Statistics>,
}

impl Looks {
    /// The mount is another one now.
    pub(super) fn forget_the_mount(&mut self) {
        self.statistics = None;
    }

    /// What is wrong, each with what to do.
    pub(super) fn problems(&self) -> Vec<String> {
        self.statistics.iter().filter_map(Statistics::problem).collect()
    }
}

impl Agent {
    /// Takes in what a look found.
    pub(super) fn looked(&mut self, looked: Looked) {
        match looked {
            Looked::Statistics(mount, result) => {
                if let Some(statistics) = self.ended(Action::ReadStatistics, result)
                    && self.is_mounted(mount)
                {
                    self.looks.statistics = statistics;
                }
            }
        }
    }
}
