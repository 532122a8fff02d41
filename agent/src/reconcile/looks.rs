//! What the agent looks at beside the share's state, and what it tells of it.

use super::Agent;
use crate::{
    containers::{Elsewhere, Unflagged, Why},
    jobs::{ContainersSeen, Looked},
    missing_volumes::{Checked, Known},
    mountstats::Statistics,
    plan::Action,
    report::VolumesReport,
    schedule::jittered,
    trouble::Trouble,
};
use std::time::{Duration, Instant};
use tracing::{error, info, warn};

/// What was seen last.
#[derive(Debug, Default)]
pub(super) struct Looks {
    /// What the kernel counts of the present mount.
    pub(super) statistics: Option<Statistics>,
    /// Containers that write elsewhere than to the share.
    pub(super) elsewhere: Vec<Elsewhere>,
    /// Binds of the share without flags that it is mounted with.
    unflagged: Vec<Unflagged>,
    /// Volumes whose directory is not the recorded one; the leader looks.
    pub(super) volumes: Known,
}

impl Looks {
    /// The mount is another one now.
    pub(super) fn forget_the_mount(&mut self) {
        self.statistics = None;
    }

    /// Takes over who writes elsewhere; each is logged when it is new, and when it is over.
    fn containers_seen(&mut self, seen: ContainersSeen) {
        if seen.unflagged != self.unflagged && !seen.unflagged.is_empty() {
            warn!(problem = %Unflagged::problem(&seen.unflagged), "flags of the mount are lost inside of containers");
        }
        self.unflagged = seen.unflagged;
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

    /// Takes over what was found of the volumes; each is logged when it is new, and when it is over.
    fn volumes_checked(&mut self, checked: Checked) {
        let before = self.volumes.missing().to_vec();
        self.volumes.take(checked);
        let now = self.volumes.missing();
        for new in now.iter().filter(|one| !before.contains(one)) {
            error!(path = %new.path, record = %new.record, made_at = %new.made_at, problem = %new.problem(), "a volume is not what its record says");
        }
        for over in before.iter().filter(|one| now.iter().all(|other| other.path != one.path)) {
            info!(path = %over.path, "over: the volume is as its record says, or has none any more");
        }
    }

    /// What the report says of the volumes, once all of them were looked at.
    pub(super) fn volumes_report(&self) -> Option<VolumesReport> {
        let records = self.volumes.records()?;
        Some(VolumesReport { records, missing: self.volumes.missing().to_vec() })
    }

    /// What is wrong, each with what to do.
    pub(super) fn problems(&self) -> Vec<Trouble> {
        let lease = self.statistics.iter().filter_map(Statistics::problem);
        let lease = lease.map(|text| Trouble::coded("lease-expired", text));
        let elsewhere = self.elsewhere.iter().map(|one| Trouble::coded("written-elsewhere", one.problem()));
        let volumes = self.volumes.problems().map(|text| Trouble::coded("volume-missing", text));
        let unflagged = (!self.unflagged.is_empty()).then(|| {
            Trouble::coded("mount-flags-lost", Unflagged::problem(&self.unflagged))
                .help("use Docker 25 or later with Linux 5.12 or later: before, a read-only bind loses them")
        });
        lease.chain(volumes).chain(elsewhere).chain(unflagged).collect()
    }
}

/// A look at all volumes takes at most a twentieth of the time, and about one a minute is enough.
fn pause_after_check(took: Duration) -> Duration {
    const A_MINUTE: Duration = Duration::from_secs(60);
    took.saturating_mul(20).max(A_MINUTE)
}

impl Agent {
    /// Only the leader tells of the volumes.
    pub(super) fn forget_volumes(&mut self) {
        self.schedule.cancel(Action::CheckVolumes.name());
        self.problems.remove(Action::CheckVolumes.name());
        self.looks.volumes = Known::default();
    }

    /// Takes in what a look found.
    pub(super) fn looked(&mut self, looked: Looked) {
        match looked {
            Looked::Statistics(mount, result) => {
                if let Some(statistics) = self.ended(Action::ReadStatistics, result.map_err(Trouble::from))
                    && self.is_mounted(mount)
                {
                    let problem =
                        |statistics: &Option<Statistics>| statistics.as_ref().and_then(Statistics::problem);
                    // Over once the share answers, and worth knowing after that.
                    if let (None, Some(problem)) = (problem(&self.looks.statistics), problem(&statistics)) {
                        warn!(%problem, "the lease is over");
                    }
                    self.looks.statistics = statistics;
                }
            }
            Looked::Volumes(took, result) => {
                let result = result.map_err(|error| {
                    Trouble::from(error).during("the volumes' directories could not be looked at")
                });
                // A look of one that led a moment ago: the leader looks itself.
                if !self.observed.leads {
                    return;
                }
                if let Some(checked) = self.ended(Action::CheckVolumes, result) {
                    self.looks.volumes_checked(checked);
                }
                let pause = pause_after_check(took);
                // Later by chance, never sooner.
                let pause = pause + jittered(pause / 5);
                self.schedule.postpone(Action::CheckVolumes.name(), pause, Instant::now());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looking_at_volumes_takes_a_twentieth_of_the_time_at_most() {
        for (took, pause) in [(0, 60), (1, 60), (3, 60), (5, 100), (30, 600)] {
            assert_eq!(pause_after_check(Duration::from_secs(took)), Duration::from_secs(pause));
        }
    }
}
