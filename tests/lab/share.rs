//! The share: nfs-ganesha, a real NFSv4.1 server in user space, stands in for Amazon EFS.
//!
//! Its files lie on a tmpfs of the lab: ganesha needs a file system with handles, which the overlay of a container isn't.

use crate::{error::Error, host, place, progress::Progress, wait};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Lease and grace period: short, so that a lost client or a restarted server doesn't cost a minute and a half.
const LEASE: Duration = Duration::from_secs(10);

/// What the server lets its clients do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Export {
    /// All, and root is root.
    Whole,
    /// Read.
    ReadOnly,
    /// All, but root is nobody.
    RootSquashed,
}

/// The server and its faults.
#[derive(Debug)]
pub struct Share {
    configuration: PathBuf,
    log: PathBuf,
    files: PathBuf,
    server: Mutex<Child>,
}

impl Share {
    /// Starts the server; it listens when this returns.
    ///
    /// # Errors
    /// What mounting or starting says; [`Error::NotSeen`] when it doesn't listen in time.
    pub fn start(logs: &Path, progress: &Progress) -> Result<Self, Error> {
        let folder = Path::new(place::MEMORY);
        let files = folder.join("share");
        for part in ["share", "ganesha", "ganesha/recovery"] {
            host::directory(&folder.join(part))?;
        }
        host::run(
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=1g,mode=0755", "share"]).arg(&files),
        )?;
        let configuration = folder.join("ganesha/ganesha.conf");
        host::write(&configuration, configured(&files, Export::Whole))?;
        let log = logs.join("ganesha.log");
        let share = Self { server: Mutex::new(spawned(&configuration, &log)?), configuration, log, files };
        share.listens(progress)?;
        Ok(share)
    }

    /// The server stops to answer; connections stay open: what a dead mount target looks like.
    ///
    /// # Errors
    /// When the signal can't be sent.
    pub fn stall(&self) -> Result<(), Error> {
        self.signal(Signal::SIGSTOP)
    }

    /// The server answers again.
    ///
    /// # Errors
    /// When the signal can't be sent.
    pub fn resume(&self) -> Result<(), Error> {
        self.signal(Signal::SIGCONT)
    }

    /// The server is killed and started again: clients have to reclaim what they held.
    ///
    /// # Errors
    /// As [`Share::start`].
    pub fn restart(&self, progress: &Progress) -> Result<(), Error> {
        {
            let mut server = self.server();
            server
                .kill()
                .and_then(|()| server.wait())
                .map_err(host::failed("end", Path::new("ganesha.nfsd")))?;
            *server = spawned(&self.configuration, &self.log)?;
        }
        self.listens(progress)
    }

    /// The server is killed and started again with another export.
    ///
    /// # Errors
    /// As [`Share::start`].
    pub fn export(&self, export: Export, progress: &Progress) -> Result<(), Error> {
        host::write(&self.configuration, configured(&self.files, export))?;
        self.restart(progress)
    }

    /// Where a path of the share lies on the server: what is really there, whatever clients see.
    pub fn path(&self, on_share: &str) -> PathBuf {
        self.files.join(on_share.trim_start_matches('/'))
    }

    fn signal(&self, signal: Signal) -> Result<(), Error> {
        let pid = self.server().id();
        kill(Pid::from_raw(pid.cast_signed()), signal).map_err(|errno| Error::Command {
            command: format!("kill -{signal} {pid}"),
            how: format!("failed: {errno}"),
            output: String::new(),
        })
    }

    fn server(&self) -> MutexGuard<'_, Child> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listens(&self, progress: &Progress) -> Result<(), Error> {
        let address = SocketAddr::from(([127, 0, 0, 1], 2049));
        wait::until(progress, "the NFS server listens", Duration::from_secs(20), || {
            if let Ok(Some(status)) = self.server().try_wait() {
                return Err(format!("it ended with {status}; its log is {}", self.log.display()));
            }
            TcpStream::connect_timeout(&address, Duration::from_secs(1))
                .map(drop)
                .map_err(|error| error.to_string())
        })
    }
}

fn spawned(configuration: &Path, log: &Path) -> Result<Child, Error> {
    let failed = host::failed_again("start", Path::new("ganesha.nfsd"));
    let output =
        std::fs::File::options().create(true).append(true).open(log).map_err(host::failed("open", log))?;
    let errors = output.try_clone().map_err(&failed)?;
    let pid = Path::new(place::MEMORY).join("ganesha/pid");
    host::remove(&pid)?;
    Command::new("ganesha.nfsd")
        .args(["-F", "-L", "STDERR", "-f"])
        .arg(configuration)
        .arg("-p")
        .arg(pid)
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        .spawn()
        .map_err(&failed)
}

fn configured(files: &Path, export: Export) -> String {
    let recovery = Path::new(place::MEMORY).join("ganesha/recovery");
    let (files, recovery, lease) = (files.display(), recovery.display(), LEASE.as_secs());
    let (access, squash) = match export {
        Export::Whole => ("RW", "No_Root_Squash"),
        Export::ReadOnly => ("RO", "No_Root_Squash"),
        Export::RootSquashed => ("RW", "Root_Squash"),
    };
    format!(
        "NFS_CORE_PARAM {{ Protocols = 4; NFS_Port = 2049; Enable_NLM = false; Enable_RQUOTA = false; Enable_UDP = None; fsid_device = true; }}
NFSv4 {{ Minor_Versions = 1; Only_Numeric_Owners = true; Lease_Lifetime = {lease}; Grace_Period = {lease}; Delegations = false; RecoveryBackend = fs; RecoveryRoot = \"{recovery}\"; }}
EXPORT {{ Export_Id = 1; Path = \"{files}\"; Pseudo = \"/\"; Access_Type = {access}; Squash = {squash}; SecType = sys; Transports = TCP; Protocols = 4; FSAL {{ Name = VFS; }} }}
LOG {{ Default_Log_Level = EVENT; }}
"
    )
}
