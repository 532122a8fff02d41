//! Docker Compose as people have it, on this machine's Docker Engine, with Docker's own volumes.

use crate::{
    images::{self, Images},
    place::{Application, Place},
};
use lab::{Error, engine::Engine, expect, host, place::MEMORY, progress::Progress, wait};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
    time::Duration,
};

/// Until a container that was started again runs.
const RUNS: Duration = Duration::from_secs(60);

/// The engine, with the applications' images.
pub(crate) struct Composed {
    engine: Engine,
    root: PathBuf,
    /// A configuration of Docker's client that has the plugin.
    client: PathBuf,
    progress: Progress,
}

impl Composed {
    /// Starts the engine.
    ///
    /// # Errors
    /// As [`Engine::start`].
    pub(crate) fn start(images: &Images, progress: &Progress) -> Result<Self, Error> {
        let memory = Path::new(MEMORY);
        // containerd's sockets are below /run wherever its state is: these are not the machine's.
        let sockets = Path::new("/run/containerd");
        host::directory(sockets)?;
        host::sh(&format!("mount -t tmpfs tmpfs {}", sockets.display()))?;
        let client = memory.join("client");
        host::directory(&client.join("cli-plugins"))?;
        let plugin = client.join("cli-plugins/docker-compose");
        symlink(images.compose.join("docker-compose"), &plugin).map_err(host::failed("link", &plugin))?;
        control_groups()?;
        let engine = Engine::start(&memory.join("engine"), 0, progress)?;
        Ok(Self { engine, root: images.root.clone(), client, progress: progress.clone() })
    }

    /// Builds the applications' images.
    ///
    /// # Errors
    /// What Docker says.
    pub(crate) fn build(&self, applications: &[&Application]) -> Result<(), Error> {
        self.progress.say("Docker builds the applications' images");
        self.engine.docker(&["import", &self.root.to_string_lossy(), "applications"])?;
        for (name, dockerfile) in applications.iter().flat_map(|one| one.images) {
            self.engine.docker(&[
                "build",
                "--quiet",
                "--network=none",
                "--tag",
                name,
                "--file",
                &images::folder().join(dockerfile).to_string_lossy(),
                &images::folder().to_string_lossy(),
            ])?;
        }
        Ok(())
    }

    /// All these images in one tar.
    ///
    /// # Errors
    /// What Docker says.
    pub(crate) fn save(&self, names: &[&str], to: &Path) -> Result<(), Error> {
        self.engine.docker(&[&["save", "--output", &to.to_string_lossy()], names].concat()).map(drop)
    }

    /// Runs `docker compose` for an application.
    fn compose(
        &self,
        application: &str,
        variables: &[(String, String)],
        words: &[&str],
    ) -> Result<String, Error> {
        let file = compose_file(application);
        let mut command = Command::new(lab::engine::DOCKER);
        command.args(["compose", "--project-name", application, "--file"]).arg(file).args(words);
        command.env("DOCKER_HOST", self.engine.host()).env("DOCKER_CONFIG", &self.client);
        host::run(command.envs(variables.iter().cloned()))
    }

    /// A service of the file as Docker Compose reads it: what a deploy tool makes a task definition of.
    ///
    /// # Errors
    /// What Docker Compose says.
    pub(crate) fn model(
        &self,
        application: &str,
        service: &str,
        variables: &[(&str, &str)],
    ) -> Result<Value, Error> {
        let variables: Vec<_> = owned(variables);
        let text = self.compose(application, &variables, &["config", "--format", "json"])?;
        let model: Value = serde_json::from_str(&text).unwrap_or_default();
        Ok(model["services"][service].clone())
    }

    /// For an application's story.
    pub(crate) fn place(&self, application: &'static Application) -> Project<'_> {
        Project { composed: self, name: application.name, variables: Mutex::default() }
    }
}

/// Mounts the machine's control groups, which `ip netns exec` has hidden by a new /sys: all in one place (version 2), or those in use, a
/// hierarchy each (version 1, cgroups(7)).
fn control_groups() -> Result<(), Error> {
    let root = Path::new("/sys/fs/cgroup");
    let mut hierarchies: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for line in host::read(Path::new("/proc/cgroups"))?.lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.split_whitespace();
        let (name, id) = (words.next().unwrap_or_default(), words.next().and_then(|id| id.parse().ok()));
        hierarchies.entry(id.unwrap_or_default()).or_default().push(name.to_owned());
    }
    // Those that are version 2's.
    hierarchies.remove(&0);
    if hierarchies.is_empty() {
        return host::sh(&format!("mount -t cgroup2 cgroup2 {}", root.display())).map(drop);
    }
    host::sh(&format!("mount -t tmpfs -o mode=755 tmpfs {}", root.display()))?;
    for names in hierarchies.values() {
        let names = names.join(",");
        let folder = root.join(&names);
        host::directory(&folder)?;
        host::sh(&format!("mount -t cgroup -o {names} cgroup {}", folder.display()))?;
    }
    Ok(())
}

/// The compose file of an application.
pub(crate) fn compose_file(application: &str) -> PathBuf {
    images::folder().join(application).join("docker-compose.yml")
}

fn owned(variables: &[(&str, &str)]) -> Vec<(String, String)> {
    variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// An application as a project of Docker Compose.
pub(crate) struct Project<'a> {
    composed: &'a Composed,
    name: &'static str,
    /// Those that its services were started with.
    variables: Mutex<Vec<(String, String)>>,
}

impl Project<'_> {
    fn compose(&self, words: &[&str]) -> Result<String, Error> {
        let variables = self.variables.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        self.composed.compose(self.name, &variables, words)
    }

    fn container(&self, service: &str) -> Result<String, Error> {
        let id = self.compose(&["ps", "--quiet", service])?.trim().to_owned();
        expect(!id.is_empty(), format!("a running container of {service}"), "none").map(|()| id)
    }

    fn up(&self, words: &[&str], service: &str) -> Result<(), Error> {
        self.compose(&[&["up", "--detach", "--no-deps", "--pull=never"], words, &[service]].concat())?;
        self.container(service).map(drop)
    }
}

impl Place for Project<'_> {
    fn told(&self) -> &'static str {
        "under Docker Compose"
    }

    fn start(&self, service: &str, _copies: u64, variables: &[(&str, &str)]) -> Result<(), Error> {
        *self.variables.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = owned(variables);
        self.up(&[], service)
    }

    fn scale(&self, _service: &str, _copies: u64) -> Result<(), Error> {
        Ok(())
    }

    fn addresses(&self, _service: &str) -> Result<Vec<String>, Error> {
        Ok(vec!["127.0.0.1".to_owned()])
    }

    fn inside(&self, service: &str, _address: &str, line: &str) -> Result<String, String> {
        let container = self.container(service).map_err(|error| error.to_string())?;
        self.composed
            .engine
            .docker(&["exec", &container, "sh", "-c", line])
            .map_err(|error| error.to_string())
    }

    fn replace(&self, service: &str) -> Result<(), Error> {
        self.up(&["--force-recreate"], service)
    }

    fn elsewhere(&self, _service: &str, image: &str, line: &str) -> Result<String, Error> {
        let words = ["run", "--rm", "--network=host", "--entrypoint=sh", image, "-c", line];
        self.composed.engine.docker(&words)
    }

    fn lose_machine(&self, service: &str) -> Result<(), Error> {
        self.kill(service)
    }

    fn kill(&self, service: &str) -> Result<(), Error> {
        self.compose(&["kill", "--signal", "KILL", service])?;
        wait::until(&self.composed.progress, "the container has ended", RUNS, || {
            match self.container(service) {
                Ok(id) => Err(format!("{id} runs")),
                Err(_) => Ok(()),
            }
        })?;
        self.up(&["--force-recreate"], service)
    }

    fn end(&self) -> Result<(), Error> {
        self.compose(&["down", "--volumes", "--timeout", "10"]).map(drop)
    }
}
