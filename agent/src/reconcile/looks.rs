//! What the agent looks at beside the share's state, and what it tells of it.

use super::Agent;
use crate::{
    containers::{Elsewhere, Why},
    jobs::{ContainersSeen, Looked},
    mountstats::Statistics,
    plan::Action,
    trouble::Trouble,
};
use tracing::{error, info};

/// What was seen last.
#[derive(Debug, Default)]
pub(super) struct Looks {
    /// What the kernel counts of the present mount.
    pub(super) statistics: Option<Statistics>,
    /// Containers that write elsewhere than to the share.
    pub(super) elsewhere: Vec<Elsewhere>,
}

impl Looks {
    /// The mount is another one now.
    pub(super) fn forget_the_mount(&mut self) {
        self.statistics = None;
    }

    /// Takes over who writes elsewhere; each is logged when it is new, and when it is over.
    fn containers_seen(&mut self, seen: ContainersSeen) {
        let mut elsewhere = seen.elsewhere;
        if !seen.looked_for_deleted {
            let known = self.elsewhere.iter().filter(|known| known.why == Why::Deleted);
            elsewhere.extend(known.cloned());
        }
        let is_in = |all: &[Elsewhere], one: &Elsewhere| all.iter().any(|other| other.key() == one.key());
        for new in elsewhere.iter().filter(|one| !is_in(&self.elsewhere, one)) {
            error!(
                container = new.container.as_deref().unwrap_or("none"), task = new.task.as_deref().unwrap_or("none"),
                mount_point = %new.mount_point, path = %new.path, why = new.why.name(), problem = %new.problem(),
                "a container writes elsewhere than to the share"
            );
        }
        for over in self.elsewhere.iter().filter(|one| !is_in(&elsewhere, one)) {
            info!(who = %over.who(), mount_point = %over.mount_point, why = over.why.name(), "over: it writes elsewhere no more");
        }
        self.elsewhere = elsewhere;
    }

    /// What is wrong, each with what to do.
    pub(super) fn problems(&self) -> Vec<Trouble> {
        let lease = self.statistics.iter().filter_map(Statistics::problem);
        let lease = lease.map(|text| Trouble::coded("lease-expired", text));
        let elsewhere = self.elsewhere.iter().map(|one| Trouble::coded("written-elsewhere", one.problem()));
        lease.chain(elsewhere).collect()
    }
}

impl Agent {
    /// Takes in what a look found.
    pub(super) fn looked(&mut self, looked: Looked) {
        match looked {
            Looked::Statistics(mount, result) => {
                if let Some(statistics) = self.ended(Action::ReadStatistics, result.map_err(Trouble::from))
                    && self.is_mounted(mount)
                {
                    self.looks.statistics = statistics;
                }
            }
            Looked::Containers(mount, result) => {
                let result = result.map_err(|error| {
                    Trouble::from(error).during("the mount tables of containers could not be read")
                });
                let now = self.observed.mounted.as_ref().map(|mounted| mounted.id);
                // Judged by a mount that is another one by now: looked at again at once.
                if let Some(seen) = self.ended(Action::LookAtContainers, result) {
                    if mount == now {
                        self.observed.held = now.map(|_| seen.held);
                        self.looks.containers_seen(seen);
                    } else {
                        self.schedule.hurry(Action::LookAtContainers.name());
                    }
                }
            }
        }
    }
}
