//! A Docker Engine of this machine's own packages, started by hand: for what needs containers and compose programs, but no cluster.

use crate::{error::Error, host, progress::Progress, wait};
use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

/// Debian's, whatever else is called `docker` on this machine.
pub const DOCKER: &str = "/usr/bin/docker";
/// The daemon of the same package.
const DOCKERD: &str = "/usr/sbin/dockerd";
/// Where the daemon finds containerd, runc and its proxy.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// A running engine; it ends with this.
#[derive(Debug)]
pub struct Engine {
    daemon: Child,
    folder: PathBuf,
}

impl Engine {
    /// Starts one that keeps all it has below `folder`, and whose socket is open to the group `group`. It touches no packet filter, so it
    /// belongs into a network namespace of its own.
    ///
    /// # Errors
    /// [`Error::Missing`] without the package, [`Error::NotSeen`] if it doesn't answer.
    pub fn start(folder: &Path, group: u32, progress: &Progress) -> Result<Self, Error> {
        for program in [DOCKER, DOCKERD] {
            if !Path::new(program).exists() {
                let help = "tests/install-packages installs Debian's docker.io".to_owned();
                return Err(Error::Missing { what: program.to_owned(), help });
            }
        }
        host::directory(folder)?;
        // The machine's own configuration is for another engine.
        host::write(&folder.join("daemon.json"), "{}")?;
        let log = folder.join("dockerd.log");
        let output = File::create(&log).map_err(host::failed("write", &log))?;
        let errors = output.try_clone().map_err(host::failed("write", &log))?;
        let mut daemon = Command::new(DOCKERD);
        let place = |flag: &str, name: &str| format!("--{flag}={}", folder.join(name).display());
        daemon
            .args([
                place("config-file", "daemon.json"),
                place("data-root", "data"),
                place("exec-root", "exec"),
            ])
            .args([place("pidfile", "pid"), format!("--host={}", socket(folder)), format!("--group={group}")])
            .args(["--iptables=false", "--ip6tables=false", "--bridge=none"])
            .env("PATH", PATH)
            .env_remove("DOCKER_HOST")
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors);
        let daemon = daemon.spawn().map_err(host::failed("start", Path::new(DOCKERD)))?;
        let mut engine = Self { daemon, folder: folder.to_owned() };
        wait::until(progress, "the Docker Engine answers", Duration::from_secs(30), || {
            if let Ok(Some(status)) = engine.daemon.try_wait() {
                let log = host::read(&log).unwrap_or_default();
                return Err(format!("it ended with {status}: {log}"));
            }
            engine.docker(&["version"]).map_err(|error| error.to_string())
        })?;
        Ok(engine)
    }

    /// What clients find it by.
    pub fn host(&self) -> String {
        socket(&self.folder)
    }

    /// Runs `docker` with it, as root.
    ///
    /// # Errors
    /// [`Error::Command`].
    pub fn docker(&self, arguments: &[&str]) -> Result<String, Error> {
        let mut command = Command::new(DOCKER);
        command.args(arguments).env("DOCKER_HOST", self.host()).env("DOCKER_BUILDKIT", "0");
        host::run(command.env("PATH", PATH))
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        drop(host::run(Command::new("kill").arg(self.daemon.id().to_string())));
        drop(self.daemon.wait());
    }
}

fn socket(folder: &Path) -> String {
    format!("unix://{}", folder.join("docker.sock").display())
}
