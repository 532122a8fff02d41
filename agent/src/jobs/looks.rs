//! The jobs that only look: nothing that they do changes anything, on the share or elsewhere.

use super::{Done, Jobs};
use crate::{
    config::MountFlag,
    containers::{Bound, Elsewhere, Namespace, Present, Scan, Unflagged},
    ecs_agent::{self, Task},
    missing_volumes::{CheckRequest, Checked},
    mount::VOLUMES_ROOT,
    mountstats::Statistics,
    namespaces::Bind,
    share_worker::{Request, Spare, WorkerError},
};
use std::time::{Duration, Instant};

/// A look at the volumes' directories stops by itself after this; the next one goes on from there.
const CHECK_BUDGET: Duration = Duration::from_secs(5);
/// More than the budget and the second look at what seems wrong.
const CHECK_DEADLINE: Duration = Duration::from_secs(30);
/// A walk over /proc takes milliseconds, and a directory on the share a round trip.
const DEADLINE: Duration = Duration::from_secs(10);

/// What a look found.
#[derive(Debug)]
pub enum Looked {
    /// Of `ReadStatistics`, for the mount of this id.
    Statistics(u32, Result<Option<Statistics>, String>),
    /// Of `LookAtContainers`, for the mount of this id, if any.
    Containers(Option<u32>, Result<ContainersSeen, WorkerError>),
    /// Of `CheckVolumes`: how long it took.
    Volumes(Duration, Result<Checked, WorkerError>),
}

/// What containers see.
#[derive(Debug)]
pub struct ContainersSeen {
    /// Who writes elsewhere.
    pub elsewhere: Vec<Elsewhere>,
    /// Whether removed directories were looked for: not while the share is silent.
    pub looked_for_deleted: bool,
    /// Whether any of them holds the share that is mounted.
    pub held: bool,
    /// Binds of the share without flags that it is mounted with.
    pub unflagged: Vec<Unflagged>,
}

async fn look_at_containers(
    share: &Spare,
    mounted: Option<&str>,
    present: &Present,
    answers: bool,
    flags: &[MountFlag],
) -> Result<ContainersSeen, WorkerError> {
    let mut scan: Scan = share.ask_within(&Request::ScanContainers, DEADLINE).await?;
    let held = mounted.is_some_and(|device| scan.held_by_others(device));
    let unflagged = mounted.map(|device| scan.unflagged(device, flags)).unwrap_or_default();
    // What is no alarm without it may be one with it: those alone are asked about.
    let is_bound =
        |mount: &Bound| Some(mount.device.as_str()) == mounted && mount.mount_point != VOLUMES_ROOT;
    let mut bound: Vec<(&Namespace, usize)> = Vec::new();
    for namespace in &scan.namespaces {
        let mounts = namespace.mounts.iter().enumerate();
        bound.extend(mounts.filter(|(_, mount)| is_bound(mount)).map(|(at, _)| (namespace, at)));
    }
    let binds: Vec<Bind> = bound
        .iter()
        .map(|(namespace, at)| Bind {
            namespace: namespace.id,
            process: namespace.process,
            mount_point: namespace.mounts[*at].mount_point.clone(),
        })
        .collect();
    let places: Vec<(u64, usize)> = bound.iter().map(|(namespace, at)| (namespace.id, *at)).collect();
    let mut looked_for_deleted = answers;
    if answers && !binds.is_empty() {
        match share.ask_within::<Vec<bool>>(&Request::AreDeleted(binds), DEADLINE).await {
            Ok(deleted) => {
                for ((id, at), deleted) in places.into_iter().zip(deleted) {
                    if let Some(namespace) = scan.namespaces.iter_mut().find(|namespace| namespace.id == id) {
                        namespace.mounts[at].is_deleted |= deleted;
                    }
                }
            }
            // The share fell silent; the tables tell the rest.
            Err(_) => looked_for_deleted = false,
        }
    }
    let mut elsewhere = scan.elsewhere(present);
    if !elsewhere.is_empty() {
        name(&mut elsewhere, &ecs_agent::tasks().await);
    }
    Ok(ContainersSeen { elsewhere, looked_for_deleted, held, unflagged })
}

/// Names what the ECS agent knows.
fn name(elsewhere: &mut [Elsewhere], tasks: &[Task]) {
    for found in elsewhere {
        let of = |task: &&Task| {
            task.containers.iter().any(|container| Some(&container.docker_id) == found.container.as_ref())
        };
        let Some(task) = tasks.iter().find(of) else { continue };
        let container = task.containers.iter().find(|one| Some(&one.docker_id) == found.container.as_ref());
        found.name = container.map(|container| container.name.clone());
        found.task = Some(task.arn.clone());
        found.family = Some(task.family.clone());
    }
}

impl Jobs {
    /// Looks at the mount tables of containers, whether their binds of the share have these `flags`; at what they bind only where the share
    /// `answers`.
    pub fn look_at_containers(
        &self,
        mounted: Option<(u32, String)>,
        present: Present,
        answers: bool,
        flags: Vec<MountFlag>,
    ) -> tokio::task::AbortHandle {
        let share = self.share.clone();
        self.spawn(async move {
            let device = mounted.as_ref().map(|(_, device)| device.as_str());
            let seen = look_at_containers(&share, device, &present, answers, &flags).await;
            Done::Looked(Looked::Containers(mounted.map(|(id, _)| id), seen))
        })
    }

    /// Compares volumes' directories with their records, from where the last look stopped.
    pub fn check_volumes(&self, after: Option<String>) -> tokio::task::AbortHandle {
        let budget_ms = CHECK_BUDGET.as_millis().try_into().unwrap_or(u64::MAX);
        let request = Request::CheckVolumes(CheckRequest { after, budget_ms, only: None });
        let share = self.share.clone();
        self.spawn(async move {
            let begun = Instant::now();
            let checked = share.ask_within(&request, CHECK_DEADLINE).await;
            Done::Looked(Looked::Volumes(begun.elapsed(), checked))
        })
    }

    /// Reads what the kernel counts of the mount. It asks the server nothing.
    pub fn read_statistics(&self, mount: u32, device: String) -> tokio::task::AbortHandle {
        self.spawn(async move {
            let read = Statistics::of(VOLUMES_ROOT, &device);
            Done::Looked(Looked::Statistics(mount, read.map_err(|error| error.to_string())))
        })
    }
}
