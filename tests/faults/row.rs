//! A row of the matrix: the fault, and what was seen of it.

use lab::writer::{FOLDER, IMAGE};
use lab::{Error, Lab, expect};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Where a row happens.
pub(crate) enum Fault {
    /// To everybody: the server, the APIs. Nothing else may happen meanwhile.
    Common(fn(&Lab) -> Result<Seen, Error>),
    /// To one instance, whichever has nothing else to do; the function gets its number.
    OfAnInstance(fn(&Lab, usize) -> Result<Seen, Error>),
}

/// One row.
pub(crate) struct Row {
    /// For the command line.
    pub(crate) name: &'static str,
    /// What happens, as the table says it.
    pub(crate) told: &'static str,
    /// Makes it happen, puts everything back, and says what was seen.
    pub(crate) fault: Fault,
}

/// What was seen, in the table's words.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Seen {
    /// The share's states and the gate, with seconds since the fault; what the agent said.
    pub(crate) states: String,
    /// What containers saw.
    pub(crate) containers: String,
    /// Whether anything was lost.
    pub(crate) lost: String,
}

impl Seen {
    pub(crate) fn new(
        states: impl Into<String>,
        containers: impl Into<String>,
        lost: impl Into<String>,
    ) -> Self {
        Self { states: states.into(), containers: containers.into(), lost: lost.into() }
    }
}

/// Where no container wrote anything.
pub(crate) const NOTHING_WRITTEN: &str = "nothing was written";

/// How long a recovery may take: the NFS client may be in a back-off, the server in its grace period.
pub(crate) const BACK: Duration = Duration::from_secs(90);

/// The instance is as it was before all faults: ready, and its gate open.
pub(crate) fn whole(lab: &Lab, index: usize) -> Result<(), Error> {
    lab.reports(index, "ready", BACK)?;
    lab.gates(index, "ready", BACK)
}

/// Puts files into an instance, or takes them away, and makes systemd see it.
pub(crate) fn drop_in(lab: &Lab, index: usize, unit: &str, content: Option<&str>) -> Result<(), Error> {
    let guest = lab.instance(index);
    let folder = format!("/etc/systemd/system/{unit}.d");
    match content {
        Some(content) => {
            guest.run(&format!("mkdir -p {folder}"))?;
            guest.write(&format!("{folder}/fault.conf"), content)?;
        }
        None => drop(guest.run(&format!("rm -rf {folder}"))?),
    }
    guest.run("systemctl daemon-reload").map(drop)
}

/// What lies on the instance's own disk where the share belongs: must be nothing.
pub(crate) fn nothing_elsewhere(lab: &Lab, index: usize) -> Result<(), Error> {
    let bare = lab.instance(index).run("unshare -m sh -c 'mount --bind / /mnt && ls -A /mnt/volumes'")?;
    expect(bare.trim().is_empty(), "nothing lies below the bare mount point", bare)
}

/// A container that is started now must see the share.
pub(crate) fn a_new_container_sees_the_share(lab: &Lab, index: usize) -> Result<(), Error> {
    let name = format!("{FOLDER}/new-{}", index + 1);
    lab.instance(index).run(&format!(
        "docker run --rm --network none -v /volumes/{name}:/data --entrypoint /bin/sh {IMAGE} -c 'date > /data/new'"
    ))?;
    let there = lab.share.path(&format!("{name}/new")).exists();
    lab.instance(index).run(&format!("rm -rf /volumes/{name}"))?;
    expect(there, "what a new container writes is on the share", "it is not")
}

/// The reason that `/healthz` gives.
pub(crate) fn reason(lab: &Lab, index: usize) -> String {
    lab.health(index).json()["reason"].as_str().unwrap_or_default().to_owned()
}

/// Waits until the reason has all of these words.
pub(crate) fn says(lab: &Lab, index: usize, words: &[&str], deadline: Duration) -> Result<String, Error> {
    let name = &lab.instance(index).identity.name;
    lab::wait::until(&lab.progress, &format!("{name}: the reason has {words:?}"), deadline, || {
        let reason = reason(lab, index);
        if words.iter().all(|word| reason.contains(word)) { Ok(reason) } else { Err(reason) }
    })
}
