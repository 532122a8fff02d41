//! What lies under the mount point from before, and a share that is a copy of another.

use lab::{Error, Lab, expect, wait};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(90);

/// Content under the mount point is guarded, named, and never hidden; the command that the agent prints moves it.
pub(crate) fn content_under_the_mount_point(lab: &Lab) -> Result<String, Error> {
    let guest = lab.instance(1);
    guest.run(
        "systemctl stop volumes-agent && umount /volumes && chattr -i /volumes && mkdir -p /volumes/old-app/web \
         && echo precious > /volumes/old-app/web/photo && systemctl start volumes-agent",
    )?;
    let health = wait::until(&lab.progress, "the share is not mounted over what lies there", SOON, || {
        let health = lab.health(1).json();
        if health["code"] == "mount-point-not-empty" { Ok(health) } else { Err(health.to_string()) }
    })?;
    let reason = health["reason"].as_str().unwrap_or_default().to_owned();
    expect(
        reason.contains("`old-app` lies on this instance's own disk"),
        "the reason names what lies there",
        health.to_string(),
    )?;
    let denied = guest.try_run("echo more >> /volumes/old-app/web/photo", Duration::from_secs(5));
    expect(denied.code != 0, "nothing can be written there", format!("{denied:?}"))?;
    let command = reason.split('`').find(|part| part.contains("chattr -R -i")).unwrap_or_default();
    guest.run(command)?;
    lab.reports(1, "ready", SOON)?;
    let moved = guest.run("cat /volumes-found/old-app/web/photo && rm -r /volumes-found")?;
    expect(moved.trim() == "precious", "the content was moved", moved)?;
    Ok(reason)
}

/// A restored copy carries the marker of its original: refused until an operator adopts it.
pub(crate) fn a_restored_copy_is_adopted(lab: &Lab) -> Result<String, Error> {
    let guest = lab.instance(1);
    let id = &lab.file_system.id;
    guest.run(&format!(
        "systemctl stop volumes-agent && sed -i 's/{id}/fs-0ld0ld0ld/' /volumes/.volumes-agent/file-system && systemctl start volumes-agent"
    ))?;
    let health = lab.reports(1, "foreign", SOON)?;
    let reason = health["reason"].as_str().unwrap_or_default().to_owned();
    let command = "volumes-agent adopt-share --from fs-0ld0ld0ld";
    expect(
        health["code"] == "restored-copy" && reason.contains(command),
        "the reason has the one command that adopts it",
        health.to_string(),
    )?;
    let wrong = guest.try_run("volumes-agent adopt-share --from fs-other", SOON);
    expect(
        wrong.code == 1 && wrong.stderr.contains("names `fs-0ld0ld0ld`, not `fs-other`"),
        "another name is refused",
        format!("{wrong:?}"),
    )?;
    let adopted = guest.run(command)?;
    expect(
        adopted.contains(&format!("is marked as {id} from now on")),
        "it says what it did",
        adopted.clone(),
    )?;
    lab.reports(1, "ready", SOON)?;
    lab.gates(1, "ready", SOON)?;
    Ok(format!("{reason}\n{adopted}"))
}
