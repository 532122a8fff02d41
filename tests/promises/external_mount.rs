//! A share that somebody else mounts, through TLS: watched, guarded and gated as one of the agent's own, and never touched.

use lab::{Error, Lab, expect, faults, tunnel, wait};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(90);
const CONFIGURATION: &str = "/etc/volumes-agent/config.toml";

pub(crate) fn an_external_mount(lab: &Lab) -> Result<String, Error> {
    let guest = lab.instance(1);
    let id = &lab.file_system.id;
    let before = guest.run(&format!("cat {CONFIGURATION}"))?;
    let tunnel = tunnel::Tunnel::start(lab, 1)?;
    guest.run(&format!(
        "systemctl stop volumes-agent && umount /volumes && printf 'mount = \"external\"\\nfile_system = \"{id}\"\\n' > {CONFIGURATION} \
         && systemctl start volumes-agent"
    ))?;
    let health = lab.reports(1, "absent", SOON)?;
    let reason = health["reason"].as_str().unwrap_or_default().to_owned();
    expect(
        health["code"] == "not-mounted-externally" && reason.contains("fstab or efs-utils must mount it"),
        "it waits for whoever mounts it",
        health.to_string(),
    )?;
    // As efs-utils does it: the mount's source is this machine.
    let mount = format!(
        "mount -i -t nfs4 -o vers=4.1,addr=127.0.0.1,clientaddr=0.0.0.0,port={},hard,nosuid,nodev 127.0.0.1:/ /volumes",
        tunnel::PORT
    );
    guest.run(&mount)?;
    let health = lab.reports(1, "ready", SOON)?;
    expect(
        health["mount"]["source"] == "127.0.0.1:/" && health["guard"] == "set",
        "ready by way of the tunnel",
        health.to_string(),
    )?;
    lab.gates(1, "ready", SOON)?;
    // The marker is the operator's to write on such a mount.
    let marker = lab.share.path(".volumes-agent/file-system");
    let marked = std::fs::read_to_string(&marker).unwrap_or_default();
    guest.run("systemctl stop volumes-agent && rm /volumes/.volumes-agent/file-system && systemctl start volumes-agent")?;
    let unmarked = lab.reports(1, "foreign", SOON)?;
    expect(
        unmarked["code"] == "unmarked-share",
        "a share that nobody marked is foreign",
        unmarked.to_string(),
    )?;
    lab.gates(1, "not-ready", SOON)?;
    let adopted = guest.run("volumes-agent adopt-share")?;
    expect(adopted.contains(&format!("is marked as {id} from now on")), "it is adopted", adopted.clone())?;
    lab.reports(1, "ready", SOON)?;
    let again = std::fs::read_to_string(&marker).unwrap_or_default();
    expect(again == marked, "the marker as before", again)?;
    // Lost, and nobody mounts it but the one who did.
    guest.unmount_volumes()?;
    let lost = lab.reports(1, "lost", SOON)?;
    wait::always(&lab.progress, "the agent leaves it unmounted", Duration::from_secs(3), || {
        let mounted = guest
            .run("grep -c ' /volumes ' /proc/self/mountinfo || true")
            .map_err(|error| error.to_string())?;
        if mounted.trim() == "0" { Ok(()) } else { Err(mounted) }
    })?;
    faults::docker_is_refused(lab, 1)?;
    guest.run(&mount)?;
    lab.reports(1, "ready", SOON)?;
    // Back to the agent's own mount.
    guest.run(&format!(
        "systemctl stop volumes-agent && umount /volumes && cat > {CONFIGURATION} <<'END'\n{before}END\nsystemctl stop lab-tunnel; systemctl start volumes-agent"
    ))?;
    drop(tunnel);
    lab.reports(1, "ready", SOON)?;
    lab.gates(1, "ready", SOON)?;
    Ok(format!("{reason}; {adopted}{}", lost["reason"]))
}
