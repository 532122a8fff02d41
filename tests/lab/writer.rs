//! A container that writes numbered records to its volume, each with fsync, and says which were acknowledged.

use crate::{Error, Lab, expect, guest::Guest, host, wait};
use std::{collections::BTreeSet, time::Duration};

/// The lab's one image.
pub const IMAGE: &str = "wordpress:4.5.2-apache";
/// Where writers' volumes are, below the share.
pub const FOLDER: &str = "faults";
/// A writer that wrote nothing by then never will.
const FIRST_RECORDS: Duration = Duration::from_secs(30);

/// Appends a record and asks for it to be on stable storage; only then it says `ack NUMBER UPTIME`. What fails it says too.
const PROGRAM: &str = r#"
n=0
while [ ! -e /stop ]; do
    n=$((n + 1))
    if said=$(echo "record $n" | dd of=/data/records oflag=append conv=notrunc,fsync 2>&1); then
        read -r now rest < /proc/uptime
        echo "ack $n $now"
    else
        echo "err $n $said" | head -n 1
    fi
    usleep 50000
done
"#;

/// A writer that runs.
#[derive(Debug)]
pub struct Writer<'a> {
    guest: &'a Guest,
    name: String,
}

/// What became of its records.
#[derive(Debug)]
pub struct Written {
    /// Records that the container was told are safe.
    pub acknowledged: BTreeSet<u64>,
    /// Those of them that the server's own file doesn't have.
    pub missing: Vec<u64>,
    /// The longest time between two acknowledgments, in seconds.
    pub longest_pause: f64,
    /// What the container was told instead, each once.
    pub errors: Vec<String>,
}

impl<'a> Writer<'a> {
    /// Starts one with an empty volume of its own, and waits for its first records.
    ///
    /// # Errors
    /// [`Error::NotSeen`] when none are acknowledged; what Docker says.
    pub fn start(lab: &'a Lab, index: usize, name: &str) -> Result<Self, Error> {
        let guest = lab.instance(index);
        let name = format!("writer-{name}-{}", index + 1);
        host::remove(&lab.share.path(&format!("{FOLDER}/{name}")))?;
        guest.run(&format!("docker rm -f {name} >/dev/null 2>&1; {}", command(&name, "-d")))?;
        let writer = Self { guest, name };
        writer.goes_on(lab, FIRST_RECORDS)?;
        Ok(writer)
    }

    /// The container's name, and its volume's below [`FOLDER`].
    pub fn name(&self) -> &str {
        &self.name
    }

    fn output(&self) -> Result<String, Error> {
        self.guest.run(&format!("docker logs {} 2>&1", self.name))
    }

    /// Waits until more is acknowledged than is now.
    ///
    /// # Errors
    /// [`Error::NotSeen`] with how many were.
    pub fn goes_on(&self, lab: &Lab, deadline: Duration) -> Result<(), Error> {
        let acknowledged = || self.output().map(|text| acknowledgments(&text).len());
        let before = acknowledged()?;
        wait::until(&lab.progress, &format!("{} writes", self.name), deadline, || match acknowledged() {
            Ok(now) if now >= before + 3 => Ok(()),
            Ok(now) => Err(format!("{now} records acknowledged, {before} before")),
            Err(error) => Err(error.to_string()),
        })
    }

    /// Waits until it was told an error.
    ///
    /// # Errors
    /// [`Error::NotSeen`] with its last line.
    pub fn tells(&self, lab: &Lab, error: &str, deadline: Duration) -> Result<(), Error> {
        wait::until(&lab.progress, &format!("{} is told: {error}", self.name), deadline, || {
            let output = self.output().map_err(|error| error.to_string())?;
            let last = output.lines().last().unwrap_or_default().to_owned();
            if output.lines().any(|line| line.starts_with("err ") && line.contains(error)) {
                Ok(())
            } else {
                Err(last)
            }
        })
    }

    /// Ends it and compares what was acknowledged with what is on the server.
    ///
    /// # Errors
    /// What Docker says.
    pub fn finish(self, lab: &Lab) -> Result<Written, Error> {
        self.guest
            .run(&format!("timeout 15 docker exec {0} touch /stop; timeout 15 docker wait {0}", self.name))?;
        let output = self.output()?;
        self.guest.run(&format!("docker rm -f {}", self.name))?;
        compare(lab, &self.name, &output)
    }
}

/// The `docker run` of a writer.
pub fn command(name: &str, options: &str) -> String {
    format!(
        "docker run {options} --name {name} --network none -v /volumes/{FOLDER}/{name}:/data --entrypoint /bin/sh {IMAGE} -c '{PROGRAM}'"
    )
}

/// Compares what a writer said with the server's own file.
///
/// # Errors
/// None; a file that isn't there has no records.
pub fn compare(lab: &Lab, name: &str, output: &str) -> Result<Written, Error> {
    let acknowledged = acknowledgments(output);
    let on_share = host::read(&lab.share.path(&format!("{FOLDER}/{name}/records"))).unwrap_or_default();
    // A write that was refused may have left the beginning of its record before the next one: a full disk takes what still fits.
    let there: BTreeSet<u64> =
        on_share.lines().filter_map(|line| line.rsplit_once("record ")?.1.parse().ok()).collect();
    let missing = acknowledged.iter().map(|(number, _)| *number).filter(|number| !there.contains(number));
    let mut errors: Vec<String> = Vec::new();
    for line in output.lines() {
        let Some((_, said)) = line.strip_prefix("err ").and_then(|rest| rest.split_once(' ')) else {
            continue;
        };
        let said = said.rsplit(": ").next().unwrap_or(said).to_owned();
        if !errors.contains(&said) {
            errors.push(said);
        }
    }
    let pauses = acknowledged.windows(2).map(|pair| pair[1].1 - pair[0].1);
    Ok(Written {
        missing: missing.collect(),
        longest_pause: pauses.fold(0.0, f64::max),
        acknowledged: acknowledged.iter().map(|(number, _)| *number).collect(),
        errors,
    })
}

/// Numbers and times of `ack NUMBER UPTIME` lines.
fn acknowledgments(output: &str) -> Vec<(u64, f64)> {
    let one = |line: &str| {
        let (number, at) = line.strip_prefix("ack ")?.split_once(' ')?;
        Some((number.parse().ok()?, at.parse().ok()?))
    };
    output.lines().filter_map(one).collect()
}

impl Written {
    /// What the container saw.
    pub fn seen(&self) -> String {
        let waited = format!("longest wait for a write {:.1} s", self.longest_pause);
        if self.errors.is_empty() {
            format!("no error; {waited}")
        } else {
            format!("errors: {}; {waited}", self.errors.join(", "))
        }
    }

    /// Fails unless each acknowledged record is on the share. Gives the words for the table.
    ///
    /// # Errors
    /// [`Error::NotSeen`] with those that are missing.
    pub fn nothing_lost(&self) -> Result<String, Error> {
        expect(
            self.missing.is_empty(),
            "each acknowledged record is on the share",
            format!("{} of {} are not: {:?}", self.missing.len(), self.acknowledged.len(), self.missing),
        )?;
        Ok(format!("nothing: {} records acknowledged, all on the share", self.acknowledged.len()))
    }

    /// Fails if the container was told an error.
    ///
    /// # Errors
    /// [`Error::NotSeen`] with the errors.
    pub fn no_error(&self) -> Result<(), Error> {
        expect(self.errors.is_empty(), "no write fails", self.errors.join(", "))
    }
}
