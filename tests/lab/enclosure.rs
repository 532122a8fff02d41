//! The walls around a lab: a network namespace, a process namespace and a mount namespace of its own, and nothing of it left after it.
//!
//! The program that a person starts runs three times, each time with the same arguments:
//!
//! 1. *outside*: in the person's terminal. Passes on what the inside writes, and Ctrl-C.
//! 2. *supervisor*: makes and removes the network namespace and starts the inside. It ends when its standard input ends, so
//!    however the outside ends (SIGKILL too), the supervisor ends all. It outlives the outside only if it is told to keep the lab.
//! 3. *inside*: the first process of a process namespace. When it ends the kernel kills all that it started: guests, servers, all.

use crate::{error::Error, host, place, progress::Progress};
use std::{
    fs::{File, TryLockError},
    io::{Read, Write},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    signal::unix::{SignalKind, signal},
};

/// Which of the three a process is.
const ROLE: &str = "VOLUMES_LAB_ROLE";
/// What the outside writes to the supervisor to keep the lab after the outside has ended.
const KEEP: u8 = b'k';
/// As shells have it: ended by Ctrl-C.
const INTERRUPTED: u8 = 130;

/// What [`enter`] gives back in the two processes that return from it.
#[derive(Debug)]
pub enum Entered {
    /// This is the inside: start the lab, do the work, then [`Inside::leave`].
    Inside(Inside),
    /// This is the outside, and the inside has done its work.
    Done(ExitCode),
}

/// The first process of the lab's namespaces.
#[derive(Debug)]
pub struct Inside {
    /// The lab's name: the network namespace is `volumes-agent-<name>`.
    pub name: String,
    /// The lab's folder.
    pub folder: PathBuf,
}

/// Puts walls around this program; `prepare` runs outside of them before, where the network is.
///
/// # Errors
/// What `prepare` says; [`Error::Missing`] when a lab of this name is running already; what making the namespaces says.
pub fn enter(
    name: &str,
    keep: bool,
    progress: &Progress,
    prepare: impl FnOnce() -> Result<(), Error>,
) -> Result<Entered, Error> {
    let folder = place::of(name)?;
    match std::env::var(ROLE).as_deref() {
        Ok("inside") => return Ok(Entered::Inside(Inside { name: name.to_owned(), folder })),
        Ok(_) => return runtime()?.block_on(supervise(name, &folder)).map(Entered::Done),
        Err(_) => {}
    }
    prepare()?;
    let lock = locked(&folder, name)?;
    for left_over in ["logs", "run", "evidence", "outcome"] {
        host::remove(&folder.join(left_over))?;
    }
    host::directory(&folder.join("logs"))?;
    host::directory(&folder.join("run"))?;
    runtime()?.block_on(outside(&folder, keep, progress, lock)).map(Entered::Done)
}

/// The whole of a program that works inside of walls: `prepare` outside, as in [`enter`], then `work`. What went wrong is said.
pub fn run(
    name: &str,
    keep: bool,
    prepare: impl FnOnce(&Progress) -> Result<(), Error>,
    work: impl FnOnce(Inside, &Progress) -> Result<ExitCode, Error>,
) -> ExitCode {
    let progress = Progress::new();
    let outcome = match enter(name, keep, &progress, || prepare(&progress)) {
        Ok(Entered::Done(code)) => Ok(code),
        Ok(Entered::Inside(inside)) => work(inside, &progress),
        Err(error) => Err(error),
    };
    outcome.unwrap_or_else(|error| {
        progress.plain(&format!("error: {error}"));
        ExitCode::FAILURE
    })
}

/// Ends a lab that was kept. Gives false if there is none.
///
/// # Errors
/// [`Error::NotSeen`] when it doesn't end within ten seconds.
pub fn end(name: &str, progress: &Progress) -> Result<bool, Error> {
    let folder = place::of(name)?;
    if locked(&folder, name).is_ok() {
        return Ok(false);
    }
    let pid = host::read(&folder.join("supervisor.pid"))?;
    let pid: i32 = pid.trim().parse().map_err(|_| Error::Missing {
        what: "the supervisor's process id".to_owned(),
        help: format!("look at {}", folder.join("supervisor.pid").display()),
    })?;
    // A supervisor that has just ended by itself is what is wanted.
    let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGTERM);
    crate::wait::until(progress, "the lab ends", Duration::from_secs(10), || {
        locked(&folder, name).map(drop).map_err(|_| format!("process {pid} still runs"))
    })?;
    Ok(true)
}

/// The name of a lab's network namespace.
pub fn network_namespace(name: &str) -> String {
    format!("volumes-agent-{name}")
}

impl Inside {
    /// Tells the outside how it went; what was started ends now, or when somebody ends the lab.
    ///
    /// # Errors
    /// [`Error::File`] when the outcome can't be written.
    pub fn leave(self, code: u8, keep: bool) -> Result<ExitCode, Error> {
        let outcome = self.folder.join("outcome");
        let whole = self.folder.join("outcome.new");
        host::write(&whole, code.to_string())?;
        std::fs::rename(&whole, &outcome).map_err(host::failed("write", &outcome))?;
        if keep {
            loop {
                std::thread::park();
            }
        }
        Ok(ExitCode::from(code))
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, Error> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(host::failed("start", Path::new("the runtime")))
}

/// Only one lab of a name runs at a time. The lock is the supervisor's as well: it inherits the open file.
fn locked(folder: &Path, name: &str) -> Result<File, Error> {
    host::directory(folder)?;
    let path = folder.join("lock");
    let file = File::create(&path).map_err(host::failed("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::Error(error)) => Err(host::failed("lock", &path)(error)),
        Err(TryLockError::WouldBlock) => Err(Error::Missing {
            what: format!("a free lab `{name}`"),
            help: format!(
                "one is running; `make {name}-down` ends one that was kept ({} is locked)",
                path.display()
            ),
        }),
    }
}

async fn outside(folder: &Path, keep: bool, progress: &Progress, lock: File) -> Result<ExitCode, Error> {
    let io = host::failed_again("start", Path::new("the lab's supervisor"));
    let mut command = Command::new(std::env::current_exe().map_err(&io)?);
    command.args(std::env::args_os().skip(1)).env(ROLE, "supervisor").envs(progress.environment());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // Not in the terminal's foreground: Ctrl-C is for the outside, which tells the supervisor by closing its input.
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    // The supervisor takes the lock as soon as this process lets go of it.
    drop(lock);
    let mut supervisor = tokio::process::Command::from(command).spawn().map_err(&io)?;
    let mut input = supervisor.stdin.take();
    let (stdout, stderr) = (supervisor.stdout.take(), supervisor.stderr.take());
    let copies = [
        tokio::spawn(async move { copied(stdout, std::io::stdout()).await }),
        tokio::spawn(async move { copied(stderr, std::io::stderr()).await }),
    ];
    let (mut interrupted, mut terminated) =
        (signal(SignalKind::interrupt()).map_err(&io)?, signal(SignalKind::terminate()).map_err(&io)?);
    let mut look = tokio::time::interval(Duration::from_millis(100));
    let status = loop {
        tokio::select! {
            status = supervisor.wait() => break status.map_err(&io)?,
            _ = interrupted.recv(), if input.is_some() => {
                progress.say("ending the lab");
                input = None;
            }
            _ = terminated.recv(), if input.is_some() => input = None,
            _ = look.tick(), if keep => {
                let (Some(input), Ok(code)) = (input.as_mut(), std::fs::read_to_string(folder.join("outcome"))) else { continue };
                input.write_all(&[KEEP]).await.map_err(&io)?;
                // What was written last may still be in the pipes.
                tokio::time::sleep(Duration::from_millis(200)).await;
                return Ok(ExitCode::from(code.trim().parse().unwrap_or(1)));
            }
        }
    };
    for copy in copies {
        drop(copy.await);
    }
    let code = if input.is_none() { Some(INTERRUPTED.into()) } else { status.code() };
    Ok(ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
}

/// Passes on what the inside writes, as it comes.
async fn copied(from: Option<impl tokio::io::AsyncRead + Unpin>, mut to: impl Write) {
    let Some(mut from) = from else { return };
    let mut bytes = [0; 4096];
    while let Ok(length @ 1..) = from.read(&mut bytes).await {
        // A closed output ends no lab.
        drop(to.write_all(&bytes[..length]).and_then(|()| to.flush()));
    }
}

/// Bytes of the standard input until its end, read by a thread that the end of this process doesn't wait for.
fn standard_input() -> tokio::sync::mpsc::Receiver<u8> {
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    std::thread::spawn(move || {
        for byte in std::io::stdin().lock().bytes() {
            let Ok(byte) = byte else { return };
            if sender.blocking_send(byte).is_err() {
                return;
            }
        }
    });
    receiver
}

async fn supervise(name: &str, folder: &Path) -> Result<ExitCode, Error> {
    let io = host::failed_again("start", Path::new("the lab"));
    // The outside lets go of the lock before it starts this process.
    let _lock = locked(folder, name)?;
    let mut terminated = signal(SignalKind::terminate()).map_err(&io)?;
    host::write(&folder.join("supervisor.pid"), std::process::id().to_string())?;
    let namespace = network_namespace(name);
    // The lock is of this folder, the name of the whole machine: another clone's lab must not lose its network to this one.
    let others = host::sh(&format!("ip netns pids {namespace}")).unwrap_or_default();
    if let Some(other) = others.lines().next() {
        return Err(Error::Missing {
            what: format!("a free network namespace `{namespace}`"),
            help: format!(
                "a lab of another folder is running in it, such as its process {other}; end that one first"
            ),
        });
    }
    // A lab whose supervisor was killed too: its processes went with it, the name stayed.
    drop(host::sh(&format!("ip netns delete {namespace}")));
    host::sh(&format!("ip netns add {namespace}"))?;
    let mut inside = tokio::process::Command::new("setpriv");
    inside
        .args(["--pdeathsig", "KILL", "ip", "netns", "exec", &namespace])
        .args(["unshare", "--mount-proc", "--pid", "--fork", "--kill-child"])
        .arg(std::env::current_exe().map_err(&io)?)
        .args(std::env::args_os().skip(1))
        .env(ROLE, "inside")
        .stdin(Stdio::null());
    let ended = async {
        let mut inside = inside.spawn().map_err(&io)?;
        let mut input = standard_input();
        let mut kept = false;
        let status = loop {
            tokio::select! {
                status = inside.wait() => break Some(status.map_err(&io)?),
                _ = terminated.recv() => break None,
                byte = input.recv(), if !kept => match byte {
                    Some(KEEP) => kept = true,
                    _ => break None,
                },
            }
        };
        if status.is_none() {
            inside.kill().await.map_err(&io)?;
        }
        Ok(status)
    }
    .await;
    host::sh(&format!("ip netns delete {namespace}"))?;
    host::remove(&folder.join("run"))?;
    host::remove(&folder.join("supervisor.pid"))?;
    let code = ended?.and_then(|status| status.code()).and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.unwrap_or(1)))
}
