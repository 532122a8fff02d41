//! The ECS agent as a container, as its documentation runs it where there is no amazon-ecs-init: no unit, so no drop-in of ours before it.

use lab::{Error, Lab, app, expect, faults};
use std::time::Duration;

const INDEX: usize = 0;
/// A reboot, and all that comes after it.
const UP: Duration = Duration::from_secs(120);

/// The lab's stand-in, which needs the host's Docker as the real one does; its files are the host's, since there is no image of it.
const RUN: &str = "docker run -d --name ecs-agent --restart always --network host --pid host --privileged -v /:/host \
    --entrypoint /bin/chroot wordpress:4.5.2-apache /host /bin/sh -c 'set -a; . /etc/ecs/ecs.config; exec /usr/local/bin/lab-ecs-agent'";

/// It registers, the gate opens, the app is served; after a reboot too; and a lost share closes the gate.
pub(crate) fn is_gated(lab: &Lab) -> Result<String, Error> {
    let guest = lab.instance(INDEX);
    guest.run(&format!("systemctl disable --now ecs && {RUN}"))?;
    lab.gates(INDEX, "ready", UP)?;
    app::up(lab)?;
    let took = guest.reboot(&lab.progress)?;
    lab.reports(INDEX, "ready", UP)?;
    lab.gates(INDEX, "ready", UP)?;
    let unit = guest.try_run("systemctl is-active ecs", Duration::from_secs(10)).stdout;
    expect(unit.trim() == "inactive", "ecs.service is not what runs it", unit)?;
    app::up(lab)?;
    lab.share.stall()?;
    let closed = (|| {
        faults::unmount(lab, INDEX)?;
        lab.gates(INDEX, "not-ready", faults::STALL_SEEN)
    })();
    lab.share.resume()?;
    closed?;
    lab.gates(INDEX, "ready", faults::BACK)?;
    guest.run("docker rm -f ecs-agent && systemctl enable --now ecs")?;
    Ok(format!(
        "registered, ready and serving, after a reboot of {:.0} s too; gate closed while the share was lost, then open again",
        took.as_secs_f64()
    ))
}
