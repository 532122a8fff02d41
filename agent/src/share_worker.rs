//! Calls on the share, in a child process that can be killed.
//!
//! A call on a hard NFS mount waits for as long as the server is silent, and a thread that waits so holds up the exit. So the
//! agent runs itself again (`share-worker`), sends a request as one line of JSON, and waits with a deadline; a child that
//! doesn't answer is killed and left to the kernel. Children work in `/`, die with their parent, and hold nothing of it.

mod spare;

pub use spare::Spare;

use crate::{
    diagnostics::in_one_line,
    directories::{self, EnsureRequest},
    drift,
    heartbeats::{self, Heartbeat},
    histories,
    history::{Histories, Moving},
    identity,
    inventory::{self, ListRequest, PageRequest},
    leader::{self, LeaderLock, Leads, LockAnswer, LockRequest},
    missing_volumes::{self, CheckRequest},
    mount::{self, MountRequest, VOLUMES_ROOT},
    namespaces::{self, Bind},
    round_trip,
    trouble::Trouble,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    error::Error,
    io::{BufRead, Write},
    process::Stdio,
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::Mutex,
};

/// The hidden subcommand that a child is started with.
pub const SUBCOMMAND: &str = "share-worker";
/// What `modprobe` is looked for in; nothing else of the environment reaches a child.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a worker can be asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// One round trip to the server. Answer: `()`.
    Probe,
    /// Write everything to the server that is not there yet. Answer: `()`.
    Flush,
    /// End every call that waits for the server, with an error for whoever waits. Answer: `()`.
    Abandon,
    /// Mount the share. Answer: [`mount::Mounted`].
    Mount(MountRequest),
    /// Unmount the share of this device, unless somebody holds it. Answer: `()`.
    LetGo {
        /// `major:minor`.
        device: String,
        /// Whether the server answers; if not, the mount is detached without waiting for it.
        answers: bool,
    },
    /// Compare the share's marker, and make one round trip to the server. Answer: [`identity::Identity`].
    Identify {
        /// What the marker must name.
        file_system: String,
        /// Whether a share without one gets it.
        may_mark: bool,
    },
    /// Write the marker anew, as an operator decided. Answer: [`identity::Adopted`].
    Adopt {
        /// What it will name.
        file_system: String,
        /// What it must name now; absent: there must be none.
        from: Option<String>,
    },
    /// Read the share's marker, and change nothing. Answer: `Option<String>`, the file system that it names.
    ReadMarker,
    /// Write, read, lock and remove a file of its own. Answer: [`Option<round_trip::RoundTrip>`].
    RoundTrip,
    /// Look for volumes that are not as they were asked for. Answer: [`drift::Drift`].
    LookForDrift {
        /// Stop after about so many milliseconds.
        budget_ms: u64,
    },
    /// Make the directories of volumes. Answer: [`directories::Ensured`].
    Ensure(EnsureRequest),
    /// Try to take the leader's lock and keep it while this worker lives. Answer: [`LockAnswer`].
    Lock(LockRequest),
    /// Write through the descriptor that holds the lock. Answer: `()`.
    ConfirmLock,
    /// Read the mount tables of all namespaces. Answer: [`crate::containers::Scan`].
    ScanContainers,
    /// Whether the directories of these binds were removed. Answer: a `bool` for each.
    AreDeleted(Vec<Bind>),
    /// Compare volumes' directories with their records. Answer: [`missing_volumes::Checked`].
    CheckVolumes(CheckRequest),
    /// Read who owns which app's directory. Answer: a [`inventory::Page`] of [`inventory::Owner`].
    ReadOwners(PageRequest),
    /// Read volumes' records. Answer: a [`inventory::Page`] of [`inventory::Record`].
    ReadRecords(PageRequest),
    /// What is in directories. Answer: an [`inventory::Listed`] for each, in their order, as far as the budget went.
    ListDirectories(ListRequest),
    /// The clusters that have or had a leader. Answer: the names of their locks.
    ListLeaders,
    /// Whether an operator paused patching by the file `pause`. Answer: `bool`.
    Paused,
    /// Pause patching. Answer: `()`.
    Pause {
        /// Who did, and when: what the file says.
        said: String,
    },
    /// Read what is remembered of a cluster's services, and the move that was asked for last. Answer: [`Histories`], `Option<`[`Moving`]`>`.
    ReadHistories {
        /// The lock file's name.
        name: String,
    },
    /// Remember it. Answer: `()`.
    WriteHistories {
        /// The lock file's name.
        name: String,
        /// What.
        histories: Arc<Histories>,
    },
    /// Remember what is about to be asked for. Answer: `()`.
    WriteMoving {
        /// The lock file's name.
        name: String,
        /// What; nothing, where it was refused.
        moving: Option<Moving>,
    },
    /// Say who leads, and what the leader did last: for people. Answer: `()`.
    WriteLeads {
        /// The lock file's name.
        name: String,
        /// What.
        leads: Leads,
    },
    /// Say that this agent is alive, and what it knows; the leader learns who else is. Answer: [`heartbeats::Beaten`].
    Beat {
        /// This agent.
        heartbeat: Heartbeat,
        /// Whether to look at all of them.
        look: bool,
    },
}

fn trouble(error: &(dyn Error + 'static)) -> Trouble {
    Trouble::from(in_one_line(error))
}

/// Whoever answers questions about the share: workers, or what stands in for a share in tests of what asks.
pub trait Answers: Send + Sync {
    /// Asks, and waits no longer than `deadline`.
    ///
    /// # Errors
    /// [`WorkerError`]
    fn ask_within<A: DeserializeOwned + Send>(
        &self,
        request: &Request,
        deadline: Duration,
    ) -> impl Future<Output = Result<A, WorkerError>> + Send;
}

impl Answers for Spare {
    async fn ask_within<A: DeserializeOwned + Send>(
        &self,
        request: &Request,
        deadline: Duration,
    ) -> Result<A, WorkerError> {
        self.ask_within(request, deadline).await
    }
}

/// One after the other.
impl Answers for Mutex<Worker> {
    async fn ask_within<A: DeserializeOwned + Send>(
        &self,
        request: &Request,
        deadline: Duration,
    ) -> Result<A, WorkerError> {
        self.lock().await.ask_within(request, deadline).await
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The child was asked and said no.
    #[error("{}", .0.text)]
    Failed(Trouble),
    /// Nothing within the deadline: the share hangs. The child was killed.
    #[error("no answer from the share within {}", humantime::format_duration(*.0))]
    TimedOut(Duration),
    /// The child can't be started.
    #[error("the share worker can't be started")]
    Start(#[source] std::io::Error),
    /// The child ended, or said something that isn't an answer.
    #[error("the share worker ended without an answer")]
    Ended(#[source] Option<std::io::Error>),
}

impl From<WorkerError> for Trouble {
    fn from(error: WorkerError) -> Self {
        match error {
            WorkerError::Failed(trouble) => trouble,
            WorkerError::TimedOut(_) => Self::coded("share-silent", error.to_string()),
            WorkerError::Start(_) | WorkerError::Ended(_) => trouble(&error),
        }
    }
}

/// A child with what leads to it. Dropping it kills the child and leaves the rest to the kernel.
#[derive(Debug)]
pub struct Worker {
    // Its drop kills the child.
    child: Child,
    requests: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Worker {
    /// Starts a child.
    ///
    /// # Errors
    /// [`WorkerError::Start`]
    pub fn start() -> Result<Self, WorkerError> {
        let mut child = Command::new("/proc/self/exe")
            .arg(SUBCOMMAND)
            .arg(std::process::id().to_string())
            .current_dir("/")
            .env_clear()
            .env("PATH", PATH)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(WorkerError::Start)?;
        let (Some(requests), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(WorkerError::Ended(None));
        };
        Ok(Self { child, requests, answers: BufReader::new(answers).lines() })
    }

    /// Whether the child has not ended by itself, or by somebody else's hand.
    fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends a request and waits for its answer, for ever if need be.
    ///
    /// # Errors
    /// [`WorkerError`], but never [`WorkerError::TimedOut`].
    pub async fn ask<A: DeserializeOwned>(&mut self, request: &Request) -> Result<A, WorkerError> {
        let line = serde_json::to_string(request).map_err(|error| WorkerError::Ended(Some(error.into())))?;
        let asked = async {
            self.requests.write_all(format!("{line}\n").as_bytes()).await?;
            self.answers.next_line().await
        };
        let answer = asked.await.map_err(|error| WorkerError::Ended(Some(error)))?;
        let answer = answer.ok_or(WorkerError::Ended(None))?;
        match serde_json::from_str::<Result<A, Trouble>>(&answer) {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(trouble)) => Err(WorkerError::Failed(trouble)),
            Err(error) => Err(WorkerError::Ended(Some(error.into()))),
        }
    }

    /// [`Worker::ask`] with a deadline. After a time-out the worker is of no more use.
    ///
    /// # Errors
    /// [`WorkerError`]
    pub async fn ask_within<A: DeserializeOwned>(
        &mut self,
        request: &Request,
        deadline: Duration,
    ) -> Result<A, WorkerError> {
        within(deadline, self.ask(request)).await
    }
}

async fn within<A>(
    deadline: Duration,
    answer: impl Future<Output = Result<A, WorkerError>>,
) -> Result<A, WorkerError> {
    tokio::time::timeout(deadline, answer).await.map_err(|_| WorkerError::TimedOut(deadline))?
}

/// One question to a child of its own.
///
/// # Errors
/// [`WorkerError`]
pub async fn ask<A: DeserializeOwned>(request: &Request, deadline: Duration) -> Result<A, WorkerError> {
    Worker::start()?.ask_within(request, deadline).await
}

/// The child: answers requests from stdin until it ends.
///
/// # Errors
/// stdin or stdout failed: the parent is gone.
pub fn serve(parent: u32) -> std::io::Result<()> {
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
    // The parent may have died before the line above took effect.
    if nix::unistd::getppid().as_raw().unsigned_abs() != parent {
        return Ok(());
    }
    let mut lock: Option<LeaderLock> = None;
    for line in std::io::stdin().lock().lines() {
        let answer = match serde_json::from_str(&line?) {
            Ok(request) => answer(request, &mut lock),
            Err(error) => Err(trouble(&error)),
        };
        let mut stdout = std::io::stdout().lock();
        serde_json::to_writer(&mut stdout, &answer)?;
        stdout.write_all(b"\n")?;
        stdout.flush()?;
    }
    Ok(())
}

/// A call that the NFS client always asks the server for.
fn probe() -> rustix::io::Result<()> {
    rustix::fs::statfs(VOLUMES_ROOT).map(drop)
}

fn answer(request: Request, lock: &mut Option<LeaderLock>) -> Result<serde_json::Value, Trouble> {
    fn json(value: impl Serialize) -> Result<serde_json::Value, Trouble> {
        serde_json::to_value(value).map_err(|error| trouble(&error))
    }
    fn told<T>(result: Result<T, impl Error + 'static>) -> Result<T, Trouble> {
        result.map_err(|error| trouble(&error))
    }
    match request {
        Request::Probe => json(told(probe())?),
        Request::Flush => json(told(mount::flush())?),
        Request::Abandon => json(told(mount::abandon())?),
        Request::Mount(request) => json(mount::mount_share(&request)?),
        Request::LetGo { device, answers } => json(mount::let_go(&device, answers)?),
        Request::Identify { file_system, may_mark } => {
            let identity = told(identity::identify(&file_system, may_mark))?;
            // The marker itself may be in the client's cache.
            told(probe())?;
            json(identity)
        }
        Request::Adopt { file_system, from } => json(identity::adopt(&file_system, from.as_deref())?),
        Request::ReadMarker => json(told(identity::read())?),
        Request::RoundTrip => json(told(round_trip::make())?),
        Request::LookForDrift { budget_ms } => json(told(drift::look(Duration::from_millis(budget_ms)))?),
        Request::Ensure(request) => json(told(directories::ensure(&request))?),
        Request::Lock(request) => match told(leader::try_lock(&request))? {
            Ok((held, leads)) => {
                *lock = Some(held);
                json(LockAnswer::Held { leads })
            }
            Err(leads) => json(LockAnswer::Busy { leads }),
        },
        Request::ConfirmLock => match lock {
            Some(lock) => json(told(lock.confirm())?),
            None => Err("this worker holds no lock".to_owned().into()),
        },
        Request::ScanContainers => json(told(namespaces::scan())?),
        Request::AreDeleted(binds) => json(namespaces::are_deleted(&binds)),
        Request::CheckVolumes(request) => json(told(missing_volumes::check(&request))?),
        Request::ReadOwners(request) => json(told(inventory::owners(&request))?),
        Request::ReadRecords(request) => json(told(inventory::records(&request))?),
        Request::ListDirectories(request) => json(told(inventory::list(&request))?),
        Request::ListLeaders => json(told(inventory::leaders())?),
        Request::Paused => json(told(leader::paused())?),
        Request::Pause { said } => json(told(leader::pause(&said))?),
        Request::ReadHistories { name } => json(told(histories::read(&name))?),
        Request::WriteHistories { name, histories } => json(told(histories::write(&name, &histories))?),
        Request::WriteMoving { name, moving } => json(told(histories::write_moving(&name, moving.as_ref()))?),
        Request::WriteLeads { name, leads } => json(told(leader::write_leads(&name, &leads))?),
        Request::Beat { heartbeat, look } => json(told(heartbeats::beat(&heartbeat, look))?),
    }
}
