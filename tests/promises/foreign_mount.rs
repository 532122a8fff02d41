//! Something else at /volumes is an operator's decision.

use lab::{Error, Lab, expect, faults, wait};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(90);

pub(crate) fn a_foreign_mount_is_never_touched(lab: &Lab) -> Result<String, Error> {
    let guest = lab.instance(1);
    guest.run("systemctl stop volumes-agent")?;
    faults::unmount(lab, 1)?;
    guest.run("mount -t tmpfs theirs /volumes && touch /volumes/theirs.txt")?;
    let mounts = || guest.run("grep ' /volumes ' /proc/self/mountinfo");
    let before = mounts()?;
    guest.run("systemctl start volumes-agent")?;
    let health = lab.reports(1, "foreign", SOON)?;
    let reason = health["reason"].as_str().unwrap_or_default().to_owned();
    expect(
        reason.contains("/volumes has theirs (tmpfs) mounted on it"),
        "the reason names what is there",
        &*reason,
    )?;
    lab.gates(1, "not-ready", SOON)?;
    wait::always(&lab.progress, "it stays as it is", Duration::from_secs(5), || {
        let now = mounts().map_err(|error| error.to_string())?;
        let files = guest.run("ls -A /volumes").map_err(|error| error.to_string())?;
        if now == before && files.trim() == "theirs.txt" { Ok(()) } else { Err(format!("{now}{files}")) }
    })?;
    guest.unmount_volumes()?;
    lab.reports(1, "ready", SOON)?;
    lab.gates(1, "ready", SOON)?;
    Ok(reason)
}
