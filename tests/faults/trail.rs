//! What the agent of an instance went through since a moment: its own journal, with the kernel's monotonic time, so that neither a
//! cut network nor a changed clock hides anything.

use lab::{Error, Lab, guest::Guest, wait};
use serde_json::Value;
use std::time::Duration;

/// A moment in an instance's life.
#[derive(Debug)]
pub(crate) struct Trail<'a> {
    guest: &'a Guest,
    /// Seconds since the boot.
    since: f64,
}

/// Something that the agent said in its journal.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    /// Seconds since the moment.
    pub(crate) at: f64,
    /// `ready`, `lost`, ..., `gate open`, `gate closed`, `agent started`.
    pub(crate) what: String,
}

impl<'a> Trail<'a> {
    /// From now on.
    pub(crate) fn begin(lab: &'a Lab, index: usize) -> Result<Self, Error> {
        let guest = lab.instance(index);
        let uptime = guest.run("cat /proc/uptime")?;
        Ok(Self { guest, since: seconds(&uptime) })
    }

    /// From the start of the present boot on.
    pub(crate) fn of_this_boot(lab: &'a Lab, index: usize) -> Self {
        Self { guest: lab.instance(index), since: 0.0 }
    }

    /// How long ago the moment is, in seconds.
    pub(crate) fn elapsed(&self) -> Result<f64, Error> {
        Ok(seconds(&self.guest.run("cat /proc/uptime")?) - self.since)
    }

    /// All steps so far.
    pub(crate) fn steps(&self) -> Result<Vec<Step>, Error> {
        let lines = self
            .guest
            .run("journalctl -q -b -u volumes-agent -o json --output-fields=MESSAGE,__MONOTONIC_TIMESTAMP")?;
        let steps = lines.lines().filter_map(|line| {
            let entry: Value = serde_json::from_str(line).ok()?;
            let micros: f64 = entry["__MONOTONIC_TIMESTAMP"].as_str()?.parse().ok()?;
            let at = micros / 1e6 - self.since;
            let what = step(entry["MESSAGE"].as_str()?)?;
            (at >= 0.0).then_some(Step { at, what })
        });
        Ok(steps.collect())
    }

    /// The steps as the table tells them: `stalled 10.3, gate closed 10.4, ready 21.0`.
    pub(crate) fn told(&self) -> Result<String, Error> {
        let steps = self.steps()?;
        if steps.is_empty() {
            return Ok("no change".to_owned());
        }
        let mut told: Vec<String> = Vec::new();
        for step in steps {
            let at = if step.at < 1.0 { format!("{:.3}", step.at) } else { format!("{:.1}", step.at) };
            told.push(format!("{} {at}", step.what));
        }
        Ok(told.join(", "))
    }

    /// Whether a step was seen so far.
    pub(crate) fn has(&self, what: &str) -> Result<bool, Error> {
        Ok(self.steps()?.iter().any(|step| step.what == what))
    }

    /// When a step was first seen.
    pub(crate) fn at(&self, what: &str) -> Result<Option<f64>, Error> {
        Ok(self.steps()?.iter().find(|step| step.what == what).map(|step| step.at))
    }

    /// Waits until a step is in the journal.
    pub(crate) fn sees(&self, lab: &Lab, what: &str, deadline: Duration) -> Result<(), Error> {
        let name = &self.guest.identity.name;
        wait::until(&lab.progress, &format!("{name}: {what}"), deadline, || match self.has(what) {
            Ok(true) => Ok(()),
            Ok(false) => Err(self.told().unwrap_or_default()),
            Err(error) => Err(error.to_string()),
        })
    }
}

/// What a line of the agent's journal tells, if it is a step.
fn step(message: &str) -> Option<String> {
    let field = |name: &str| {
        let rest = message.split_once(&format!("{name}="))?.1;
        Some(rest.split(' ').next()?.trim_matches('"').to_owned())
    };
    if message.contains("mount state changed") {
        return field("to");
    }
    if message.contains("ECS was told") {
        return Some(format!("gate {}", field("gate")?));
    }
    message.contains("volumes-agent is up").then(|| "agent started".to_owned())
}

fn seconds(uptime: &str) -> f64 {
    uptime.split(' ').next().and_then(|text| text.parse().ok()).unwrap_or_default()
}
