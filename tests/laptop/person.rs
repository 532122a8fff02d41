//! A person at a laptop: a home, a compose program, no root.

use lab::{Error, engine::Engine, host};
use std::{
    os::unix::fs::{chown, symlink},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A user id that the machine has no name for.
pub(crate) const USER: u32 = 4711;

/// Docker Compose, as people have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    /// The Go plugin: `docker compose`.
    Go,
    /// The Python program 1.29: `docker-compose`.
    Python,
}

impl Program {
    /// For folders and people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Go => "go",
            Self::Python => "python",
        }
    }
}

/// Someone who works on apps.
pub(crate) struct Person<'a> {
    /// The home directory.
    pub(crate) home: PathBuf,
    programs: &'a Path,
    program: Program,
    /// The engine that the laptop has.
    pub(crate) engine: &'a Engine,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Whether its exit code was 0.
    pub(crate) success: bool,
    /// What it wrote, standard output first.
    pub(crate) text: String,
}

impl Answer {
    /// The text of a success.
    pub(crate) fn succeeded(self) -> Result<String, Error> {
        lab::expect(self.success, "exit code 0", &self.text)?;
        Ok(self.text)
    }

    /// The text of a failure.
    pub(crate) fn failed(self) -> Result<String, Error> {
        lab::expect(!self.success, "another exit code than 0", &self.text)?;
        Ok(self.text)
    }
}

impl<'a> Person<'a> {
    /// With a new home.
    pub(crate) fn at(
        home: &Path,
        programs: &'a Path,
        program: Program,
        engine: &'a Engine,
    ) -> Result<Self, Error> {
        let person = Self { home: home.to_owned(), programs, program, engine };
        person.directory(&person.home)?;
        if program == Program::Go {
            let plugins = home.join(".docker/cli-plugins");
            host::directory(&plugins)?;
            let plugin = plugins.join("docker-compose");
            symlink(programs.join("docker-compose"), &plugin).map_err(host::failed("link", &plugin))?;
        }
        Ok(person)
    }

    /// A folder of the person's own.
    pub(crate) fn directory(&self, path: &Path) -> Result<(), Error> {
        host::directory(path)?;
        chown(path, Some(USER), Some(USER)).map_err(host::failed("give away", path))
    }

    /// An app's folder in the home, with its compose file.
    pub(crate) fn project(&self, name: &str, file: &str) -> Result<PathBuf, Error> {
        let folder = self.home.join(name);
        self.directory(&folder)?;
        host::write(&folder.join("docker-compose.yml"), file)?;
        Ok(folder)
    }

    /// A folder or file below `~/.convox/volumes`.
    pub(crate) fn volume(&self, path: &str) -> PathBuf {
        self.home.join(".convox/volumes").join(path)
    }

    /// Runs a command in a folder, without root, with nothing else on its path than this laptop's compose program.
    fn run(&self, folder: &Path, words: &[&str]) -> Result<Answer, Error> {
        let id = USER.to_string();
        let mut command = Command::new("/usr/bin/setpriv");
        command
            .args(["--reuid", &id, "--regid", &id, "--groups", &crate::GROUP.to_string()])
            .args(words)
            .current_dir(folder)
            .env_clear()
            .env("HOME", &self.home)
            .env("PATH", self.programs.join(self.program.name()))
            .env("DOCKER_HOST", self.engine.host())
            .stdin(Stdio::null());
        let output = command.output().map_err(host::failed("start", Path::new("setpriv")))?;
        let text = [output.stdout, output.stderr].concat();
        Ok(Answer { success: output.status.success(), text: String::from_utf8_lossy(&text).into_owned() })
    }

    /// `volumes-agent ARGS`
    pub(crate) fn agent(&self, folder: &Path, arguments: &[&str]) -> Result<Answer, Error> {
        let agent = self.programs.join("volumes-agent");
        self.run(folder, &[&[&*agent.to_string_lossy()], arguments].concat())
    }

    /// `volumes-agent start -- --detach`
    pub(crate) fn start(&self, folder: &Path) -> Result<String, Error> {
        self.agent(folder, &["start", "--", "--detach"])?.succeeded()
    }

    /// Docker Compose itself, in its own words.
    pub(crate) fn compose(&self, folder: &Path, arguments: &[&str]) -> Result<String, Error> {
        let path = self.programs.join(self.program.name());
        let program = match self.program {
            Program::Go => vec![path.join("docker").to_string_lossy().into_owned(), "compose".to_owned()],
            Program::Python => vec![path.join("docker-compose").to_string_lossy().into_owned()],
        };
        let program: Vec<&str> = program.iter().map(String::as_str).collect();
        self.run(folder, &[&program, arguments].concat())?.succeeded()
    }

    /// Stops an app in its own words: without `start`'s override.
    pub(crate) fn down(&self, folder: &Path) -> Result<(), Error> {
        self.compose(folder, &["down", "--timeout", "0"]).map(drop)
    }

    /// Runs a line of shell in the running container of a service. Gives its standard output.
    pub(crate) fn inside(&self, folder: &Path, service: &str, line: &str) -> Result<String, Error> {
        let labels = [("service", service), ("project.working_dir", &*folder.to_string_lossy())]
            .map(|(name, value)| format!("label=com.docker.compose.{name}={value}"));
        let found = self.engine.docker(&["ps", "--quiet", "--filter", &labels[0], "--filter", &labels[1]])?;
        let container = found.trim();
        lab::expect(!container.is_empty(), format!("a running container of {service}"), "none")?;
        self.engine.docker(&["exec", container, "sh", "-c", line]).map(|text| text.trim().to_owned())
    }

    /// Nothing of it is left for the next one.
    pub(crate) fn leave(&self) -> Result<(), Error> {
        crate::remove_containers(self.engine)?;
        self.engine.docker(&["network", "prune", "--force"]).map(drop)
    }
}
