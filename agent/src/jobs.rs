//! The actions, done: each a task of its own with its own time limits, whose outcome comes back to the loop as a value.

mod draining;
mod looks;

pub use draining::{DrainError, DrainOutcome, DrainRequest};
pub use looks::{ContainersSeen, Looked};

use crate::{
    aws::{self, AwsError},
    config::ShareChoice,
    ecs::Ecs,
    ecs_agent::{self, Registration},
    ecs_task::{self, Task},
    guard::{self, Guarded},
    heartbeats::{Beaten, Heartbeat},
    identity::Identity,
    imds::{self, Instance},
    leader::{Leads, LockAnswer, LockRequest},
    mount::{MountError, MountRequest, Mounted},
    patch_round::{Round, RoundResult},
    port, read_ahead,
    share_worker::{Request, Spare, Worker, WorkerError},
    target_search::{Found, Search, SearchError},
    trouble::Trouble,
};
use aws_config::SdkConfig;
use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::{Mutex, OnceCell, mpsc};

/// A mount that the server delays is let be for long: killing mount(2) in the middle leaves the NFS client confused for a
/// while (Amazon EFS user guide, "Mount fails with a 'connection reset by peer' error" and its neighbours).
const MOUNT_DEADLINE: Duration = Duration::from_secs(120);
/// The marker and the lock: a few round trips.
const SHARE_DEADLINE: Duration = Duration::from_secs(10);

/// What came of a job.
#[derive(Debug)]
pub enum Done {
    /// Of `LearnInstance`.
    Instance(Result<Instance, Trouble>),
    /// Of `LearnTask`.
    Task(Result<Task, Trouble>),
    /// Of `LearnRegistration`, with the ECS agent's configured cluster.
    Registration(Option<String>, Result<Registration, Trouble>),
    /// Of `SetGuard`.
    Guard(Result<Guarded, Trouble>),
    /// Of `FindTarget`, with the choice of file system that it was for.
    Target(ShareChoice, Result<Found, SearchError>),
    /// Of `Mount`.
    Mounted(Result<Mounted, Trouble>),
    /// Of `LetGo`.
    LetGo(Result<(), Trouble>),
    /// Of `KeepReadAhead`: what it was before, in KiB, if it was another.
    ReadAhead(Result<Option<u64>, String>),
    /// Of `Identify`, for the mount of this id: how long it took, too.
    Identified(u32, Result<(Identity, Duration), WorkerError>),
    /// Of `Probe`, for the mount of this id: how long it took.
    Probed(u32, Result<Duration, WorkerError>),
    /// Of `SetGate`: what was told about which container instance.
    Gate(bool, String, Result<(), AwsError>),
    /// Of `Lead`.
    Lead(Result<Tried, WorkerError>),
    /// Of `Beat`.
    Beat(Result<Beaten, WorkerError>),
    /// Of `Patch`.
    Round(Box<RoundResult>),
    /// Of `SetDraining`.
    Draining(bool, Result<DrainOutcome, DrainError>),
    /// Of what is only looked at.
    Looked(Looked),
}

/// What came of a try for the lock.
#[derive(Debug)]
pub enum Tried {
    /// This worker holds it, and said so for people.
    Holds(Box<Worker>, Leads),
    /// Somebody else does, as far as that is known.
    Busy(Option<Leads>),
}

/// The AWS clients of one region, each made at first use. Clones are the same clients: their paces last as long as they do.
#[derive(Debug, Clone, Default)]
pub struct Clients(Arc<(OnceCell<SdkConfig>, OnceCell<Ecs>)>);

impl Clients {
    async fn sdk(&self, region: &str) -> &SdkConfig {
        self.0.0.get_or_init(|| aws::connect(region)).await
    }

    async fn ecs(&self, region: &str) -> &Ecs {
        self.0.1.get_or_init(|| async { Ecs::new(self.sdk(region).await) }).await
    }
}

/// Starts jobs and leads their outcomes back.
#[derive(Debug, Clone)]
pub struct Jobs {
    done: mpsc::UnboundedSender<Done>,
    share: Spare,
}

impl Jobs {
    /// Outcomes go to the receiver.
    pub fn new() -> (Self, mpsc::UnboundedReceiver<Done>) {
        let (done, outcomes) = mpsc::unbounded_channel();
        (Self { done, share: Spare::default() }, outcomes)
    }

    /// Makes ready what the first question to the share needs, while its address is not known yet.
    pub fn warm_up(&self) {
        self.share.warm();
    }

    fn spawn(&self, job: impl Future<Output = Done> + Send + 'static) -> tokio::task::AbortHandle {
        let done = self.done.clone();
        // The receiver is gone only when the agent ends.
        tokio::spawn(async move { drop(done.send(job.await)) }).abort_handle()
    }

    /// Asks instance metadata.
    pub fn learn_instance(&self) -> tokio::task::AbortHandle {
        self.spawn(async { Done::Instance(imds::instance().await.map_err(Trouble::from)) })
    }

    /// Asks task metadata.
    pub fn learn_task(&self) -> tokio::task::AbortHandle {
        self.spawn(async { Done::Task(ecs_task::task().await.map_err(Trouble::from)) })
    }

    /// Asks the ECS agent.
    pub fn learn_registration(&self) -> tokio::task::AbortHandle {
        self.spawn(async {
            let registration = ecs_agent::registration().await.map_err(|error| {
                let why = std::error::Error::source(&error)
                    .map_or_else(|| error.to_string(), |why| format!("{error} ({why})"));
                Trouble::coded("not-registered", why)
            });
            Done::Registration(ecs_agent::configured_cluster(), registration)
        })
    }

    /// Sets the guard. It never touches the share, so no child is needed; much may lie under the mount point, so the loop doesn't wait.
    pub fn set_guard(&self) -> tokio::task::AbortHandle {
        self.spawn(async {
            // The ban is for the share; this is the instance's own disk, and the exit waits for no pool (`shutdown_background`).
            #[allow(clippy::disallowed_methods)]
            let set = tokio::task::spawn_blocking(guard::set).await;
            let set = set.map_err(|error| Trouble::from(error.to_string()));
            Done::Guard(set.and_then(|set| set.map_err(|error| MountError::Guard(error).into())))
        })
    }

    /// Asks EFS, and what stands in for it.
    pub fn find_target(&self, clients: Clients, search: Search) -> tokio::task::AbortHandle {
        self.spawn(async move {
            let sdk = clients.sdk(&search.region).await;
            Done::Target(search.share.clone(), search.run(sdk).await)
        })
    }

    /// Mounts, once the server's port answers.
    pub fn mount(&self, request: MountRequest) -> tokio::task::AbortHandle {
        let share = self.share.clone();
        self.spawn(async move {
            let mounted = async {
                port::reach(request.address).await?;
                Ok(share.ask_within(&Request::Mount(request), MOUNT_DEADLINE).await?)
            };
            Done::Mounted(mounted.await)
        })
    }

    /// Unmounts, unless somebody holds the share by now.
    pub fn let_go(&self, device: String, to: IpAddr, answers: bool) -> tokio::task::AbortHandle {
        let request = Request::LetGo { device, answers };
        let share = self.share.clone();
        self.spawn(async move {
            let gone = async {
                // A mount that works is not given up for an address that doesn't.
                port::reach(to).await?;
                Ok(share.ask_within(&request, MOUNT_DEADLINE).await?)
            };
            Done::LetGo(gone.await)
        })
    }

    /// Sets read-ahead, where something reset it. A file of the kernel that asks the server nothing: no child is needed.
    pub fn keep_read_ahead(&self, device: String) -> tokio::task::AbortHandle {
        self.spawn(async move { Done::ReadAhead(read_ahead::keep(&device)) })
    }

    /// Reads the marker, which is a probe as well.
    pub fn identify(&self, mount: u32, file_system: String, may_mark: bool) -> tokio::task::AbortHandle {
        let request = Request::Identify { file_system, may_mark };
        let share = self.share.clone();
        self.spawn(async move {
            let begun = Instant::now();
            let identity = share.ask_within(&request, SHARE_DEADLINE).await;
            Done::Identified(mount, identity.map(|identity| (identity, begun.elapsed())))
        })
    }

    /// Probes, without a deadline: a probe that a stalled server holds tells at once when it is back, and no second one is
    /// needed until then.
    pub fn probe(&self, mount: u32) -> tokio::task::AbortHandle {
        let share = self.share.clone();
        self.spawn(async move {
            let begun = Instant::now();
            let answered = share.ask::<()>(&Request::Probe).await;
            Done::Probed(mount, answered.map(|()| begun.elapsed()))
        })
    }

    /// Tells ECS.
    pub fn set_gate(
        &self,
        clients: Clients,
        region: String,
        at: Registration,
        open: bool,
    ) -> tokio::task::AbortHandle {
        self.spawn(async move {
            let ecs = clients.ecs(&region).await;
            let told = ecs.set_gate(&at.cluster, &at.container_instance, open).await;
            Done::Gate(open, at.container_instance, told)
        })
    }

    /// Tries for the lock.
    pub fn lead(&self, request: LockRequest) -> tokio::task::AbortHandle {
        let share = self.share.clone();
        self.spawn(async move {
            let tried = async {
                let mut worker = share.take()?;
                match worker.ask_within(&Request::Lock(request), SHARE_DEADLINE).await? {
                    LockAnswer::Held { leads } => Ok(Tried::Holds(Box::new(worker), leads)),
                    LockAnswer::Busy { leads } => {
                        share.give_back(worker);
                        Ok(Tried::Busy(leads))
                    }
                }
            };
            Done::Lead(tried.await)
        })
    }

    /// Says on the share that this agent is alive.
    pub fn beat(&self, heartbeat: Heartbeat, look: bool) -> tokio::task::AbortHandle {
        let share = self.share.clone();
        self.spawn(async move {
            Done::Beat(share.ask_within(&Request::Beat { heartbeat, look }, SHARE_DEADLINE).await)
        })
    }

    /// Looks at the cluster's services.
    pub fn patch(
        &self,
        clients: Clients,
        region: String,
        round: Round,
        lock: Arc<Mutex<Worker>>,
    ) -> tokio::task::AbortHandle {
        let share = self.share.clone();
        self.spawn(async move {
            let ecs = clients.ecs(&region).await;
            Done::Round(Box::new(round.run(ecs, &share, Some(&*lock)).await))
        })
    }
}
