//! The order of boot and shutdown on an instance of the image, from systemd's and the journal's own times.

use lab::{Error, Lab, expect, host, wait};
use std::{fmt::Write, time::Duration};

const OF_THE_IMAGE: usize = 1;
const UP: Duration = Duration::from_secs(120);

/// When a unit began to start, and when it had started, in seconds since the kernel's start.
fn started(lab: &Lab, unit: &str) -> Result<(f64, f64), Error> {
    let said = lab.instance(OF_THE_IMAGE).run(&format!(
        "systemctl show -P InactiveExitTimestampMonotonic {unit}; systemctl show -P ActiveEnterTimestampMonotonic {unit}"
    ))?;
    let times: Vec<f64> =
        said.lines().filter_map(|line| line.parse::<f64>().ok()).map(|micros| micros / 1e6).collect();
    match times[..] {
        [begun, done] if done > 0.0 => Ok((begun, done)),
        _ => expect(false, format!("{unit} was started"), said).map(|()| (0.0, 0.0)),
    }
}

/// Boots it, looks, shuts it down, boots it again and reads what the journal has of the end.
pub(crate) fn is_ordered(lab: &Lab) -> Result<String, Error> {
    let guest = lab.instance(OF_THE_IMAGE);
    guest.reboot(&lab.progress)?;
    wait::until(&lab.progress, "the last of the units has started", UP, || {
        let state = guest.try_run("systemctl is-active ecs", Duration::from_secs(10)).stdout;
        if state.trim() == "active" { Ok(()) } else { Err(state) }
    })?;
    lab.gates(OF_THE_IMAGE, "ready", UP)?;
    let units = [
        "volumes-agent-guard.service",
        "volumes-agent.service",
        "volumes.mount",
        "docker.service",
        "cloud-final.service",
        "ecs.service",
    ];
    let mut told = String::new();
    let mut times = Vec::new();
    for unit in units {
        let (begun, done) = started(lab, unit)?;
        // Writing to a string can't fail.
        let _ = writeln!(told, "{unit:<27} {begun:6.2} s to {done:6.2} s");
        times.push((begun, done));
    }
    let [guard, agent, share, docker, user_data, ecs] = times[..] else { return Ok(told) };
    expect(guard.1 <= agent.0 && guard.1 <= docker.0, "the guard comes before the agent and Docker", &*told)?;
    expect(agent.1 <= docker.0, "the agent's endpoint answers before Docker starts", &*told)?;
    expect(user_data.1 <= ecs.0, "user-data comes before the ECS agent, as on Amazon Linux", &*told)?;
    expect(share.1 <= ecs.1, "the share is there before the ECS agent runs", &*told)?;
    let chart = guest.run("systemd-analyze plot")?;
    host::write(&lab.folder.join("logs/boot.svg"), chart)?;

    let off = guest.reboot(&lab.progress)?;
    lab.gates(OF_THE_IMAGE, "ready", UP)?;
    let journal = guest.run(
        "journalctl -b -1 -o short-monotonic --no-hostname | grep -E 'Stopping |Stopped |Unmounted |Deactivated ' | grep -E 'docker.service|Docker|container agent|volumes' | cut -c 1-120",
    )?;
    let place = |what: &str| journal.lines().position(|line| line.contains(what));
    let order = [
        "Stopped ecs.service",
        "Stopped docker.service",
        "Stopped volumes-agent.service",
        "Stopped volumes-agent-release.service",
        "Unmounted volumes.mount",
    ]
    .map(place);
    expect(
        order[0].is_some() && order.is_sorted_by(|one, next| one < next),
        "the ECS agent stops first, then the containers, the agent, the release, and the share is unmounted last",
        &*journal,
    )?;
    Ok(format!("{told}\nShutdown, and up again after {:.0} s:\n{journal}", off.as_secs_f64()))
}
