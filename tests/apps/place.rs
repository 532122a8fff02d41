//! Where an application runs, and what its story may ask there.

use lab::{Error, expect};
use std::time::{Duration, Instant};

/// How long applications take to start: a guest is slow, and some install themselves first.
const PATIENCE: Duration = Duration::from_secs(420);

/// One application, its compose file and images in the folder of its name.
pub(crate) struct Application {
    /// The folder, the app's name, and its project's.
    pub(crate) name: &'static str,
    /// What it is, for the table.
    pub(crate) told: &'static str,
    /// Its images, by their Dockerfiles.
    pub(crate) images: &'static [(&'static str, &'static str)],
    /// Services that others find by their address, so that they stay on their machine.
    pub(crate) at_one_address: &'static [&'static str],
    /// Deploys it, uses it, replaces its tasks, ends some hard, and tells what it saw each time.
    pub(crate) story: fn(&dyn Place) -> Result<Vec<Seen>, Error>,
}

/// Something that was seen.
pub(crate) struct Seen {
    /// What was looked at.
    pub(crate) what: &'static str,
    /// What was there.
    pub(crate) seen: String,
    /// Whether it must be the same in both places; times need not be.
    pub(crate) must_agree: bool,
}

impl Seen {
    /// What must be the same in both places.
    pub(crate) fn fact(what: &'static str, seen: impl Into<String>) -> Self {
        Self { what, seen: seen.into(), must_agree: true }
    }

    /// How long something took.
    pub(crate) fn time(what: &'static str, since: Instant) -> Self {
        Self { what, seen: format!("{:.1} s", since.elapsed().as_secs_f64()), must_agree: false }
    }
}

/// Docker Compose with its own volumes, or the cluster with volumes on the share.
pub(crate) trait Place: Sync {
    /// Where, in words.
    fn told(&self) -> &'static str;

    /// Starts a service of the compose file, and waits until its tasks run: `copies` of them where the place has more than one machine.
    fn start(&self, service: &str, copies: u64, variables: &[(&str, &str)]) -> Result<(), Error>;

    /// Has so many tasks of the service run, where the place has more than one machine.
    fn scale(&self, service: &str, copies: u64) -> Result<(), Error>;

    /// The addresses at which the service's tasks listen, one a task.
    fn addresses(&self, service: &str) -> Result<Vec<String>, Error>;

    /// Runs a line of shell in the container of the service's task at this address, as a user. Gives what it wrote; `Err` as text, for
    /// what is waited for.
    fn inside(&self, service: &str, address: &str, line: &str) -> Result<String, String>;

    /// Replaces all tasks of the service as a deployment does, and waits until the new ones run.
    fn replace(&self, service: &str) -> Result<(), Error>;

    /// Runs a line of shell in a container of its own, from this image, on a machine that no task of the service is on if there is one.
    /// Gives what it wrote, however it ended.
    fn elsewhere(&self, service: &str, image: &str, line: &str) -> Result<String, Error>;

    /// Ends the container of the service's only task by SIGKILL, and waits until another one runs.
    fn kill(&self, service: &str) -> Result<(), Error>;

    /// Ends the machine of the service's only task without a goodbye, and waits until another one runs; where the machine is the only
    /// one, the container.
    fn lose_machine(&self, service: &str) -> Result<(), Error>;

    /// Ends the application; its volumes go with it where they are Docker's own.
    fn end(&self) -> Result<(), Error>;

    /// The address of the first task.
    fn first(&self, service: &str) -> Result<String, Error> {
        Ok(self.addresses(service)?.first().cloned().unwrap_or_default())
    }

    /// Runs a line of shell in the first task's container, and insists on exit code 0.
    fn run(&self, service: &str, line: &str) -> Result<String, Error> {
        succeeded(line, self.inside(service, &self.first(service)?, line))
    }

    /// The address of the last task: of the other one, where there are two.
    fn other(&self, service: &str) -> Result<String, Error> {
        Ok(self.addresses(service)?.last().cloned().unwrap_or_default())
    }

    /// The same in the other one's container.
    fn run_in_other(&self, service: &str, line: &str) -> Result<String, Error> {
        succeeded(line, self.inside(service, &self.other(service)?, line))
    }

    /// Waits until the line ends with 0 in each task's container and writes this.
    fn answers(&self, service: &str, line: &str, text: &str) -> Result<(), Error> {
        let addresses = self.addresses(service)?;
        expect(!addresses.is_empty(), format!("a task of {service} that can be asked"), "none")?;
        for address in addresses {
            let begun = Instant::now();
            loop {
                let seen = self.inside(service, &address, line);
                if seen.as_ref().is_ok_and(|seen| seen.contains(text)) {
                    break;
                }
                let is_over = begun.elapsed() > PATIENCE;
                expect(
                    !is_over,
                    format!("{text:?} from `{line}` in {service} at {address}"),
                    format!("{seen:?}"),
                )?;
                std::thread::park_timeout(Duration::from_secs(1));
            }
        }
        Ok(())
    }
}

/// What a line wrote, as an error where it failed.
///
/// # Errors
/// [`Error::Command`].
pub(crate) fn succeeded(line: &str, outcome: Result<String, String>) -> Result<String, Error> {
    let text = outcome.map_err(|output| Error::Command {
        command: line.to_owned(),
        how: "failed in a container".to_owned(),
        output,
    })?;
    Ok(text.trim().to_owned())
}
