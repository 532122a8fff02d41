//! What the agent asks: the EFS and ECS APIs, instance metadata, the ECS agent's introspection, its own configuration.

use crate::{
    row::{BACK, NOTHING_WRITTEN, Seen, drop_in, says, whole},
    trail::Trail,
    writer::Writer,
};
use lab::{Error, Lab, expect, wait};
use serde_json::json;
use std::time::Duration;

const ENVIRONMENT: &str = "/etc/volumes-agent/environment";
const CONFIGURATION: &str = "/etc/volumes-agent/config.toml";
/// Everything that the metadata service would answer goes nowhere.
const WITHOUT_METADATA: &str =
    "[Service]\nExecStartPre=/bin/sh -c 'ip route replace blackhole 169.254.169.254/32'";

/// The instance boots and nobody answers at the EFS API's address.
pub(crate) fn efs_api_down_at_boot(lab: &Lab, index: usize) -> Result<Seen, Error> {
    let guest = lab.instance(index);
    let right = guest.run(&format!("cat {ENVIRONMENT}"))?;
    // An address of the subnet that nobody has.
    guest.write(ENVIRONMENT, right.replace("EFS=http://10.77.0.1:", "EFS=http://10.77.0.200:").trim_end())?;
    guest.reboot(&lab.progress)?;
    let trail = Trail::of_this_boot(lab, index);
    let ready = whole(lab, index);
    let told = trail.told()?;
    let said = crate::row::reason(lab, index);
    guest.write(ENVIRONMENT, right.trim_end())?;
    guest.run("systemctl restart volumes-agent")?;
    whole(lab, index)?;
    ready?;
    Ok(Seen::new(format!("since the boot: {told}\n\"{said}\""), "start as ever", NOTHING_WRITTEN))
}

/// ECS answers every call of this instance with ThrottlingException while the share is lost and comes back.
pub(crate) fn throttled(lab: &Lab, index: usize) -> Result<Seen, Error> {
    let writer = Writer::start(lab, index, "throttled")?;
    let access_key = lab.instance(index).identity.access_key();
    let trail = Trail::begin(lab, index)?;
    lab.ecs_control(
        "POST",
        "faults",
        &json!({ "operation": "*", "fault": "throttle", "for_seconds": 20, "access_key": access_key }),
    )?;
    lab.instance(index).run("umount --lazy --no-canonicalize --internal-only /volumes")?;
    trail.sees(lab, "ready", Duration::from_secs(15))?;
    wait::until(&lab.progress, "ECS throttles no more", Duration::from_secs(30), || match trail.elapsed() {
        Ok(at) if at > 20.0 => Ok(()),
        Ok(at) => Err(format!("{at:.0} s")),
        Err(error) => Err(error.to_string()),
    })?;
    whole(lab, index)?;
    let written = writer.finish(lab)?;
    written.no_error()?;
    Ok(Seen::new(
        format!("share unmounted by hand meanwhile: {}", trail.told()?),
        written.seen(),
        written.nothing_lost()?,
    ))
}

/// Instance metadata doesn't answer, and the agent is restarted.
pub(crate) fn metadata_down(lab: &Lab, index: usize) -> Result<Seen, Error> {
    let guest = lab.instance(index);
    let writer = Writer::start(lab, index, "metadata-down")?;
    let trail = Trail::begin(lab, index)?;
    guest.run("ip route replace blackhole 169.254.169.254/32 && systemctl restart volumes-agent")?;
    let ready = lab.reports(index, "ready", Duration::from_secs(25));
    let told = trail.told()?;
    guest.run("ip route del blackhole 169.254.169.254/32")?;
    whole(lab, index)?;
    ready?;
    let written = writer.finish(lab)?;
    written.no_error()?;
    Ok(Seen::new(told, written.seen(), written.nothing_lost()?))
}

/// Instance metadata doesn't answer while the instance boots, and does later.
pub(crate) fn metadata_down_at_boot(lab: &Lab, index: usize) -> Result<Seen, Error> {
    let guest = lab.instance(index);
    drop_in(lab, index, "volumes-agent.service", Some(WITHOUT_METADATA))?;
    guest.reboot(&lab.progress)?;
    let trail = Trail::of_this_boot(lab, index);
    let said = says(lab, index, &["etadata"], Duration::from_secs(30));
    let state = lab.health(index).json()["state"].clone();
    let back = trail.elapsed()?;
    drop_in(lab, index, "volumes-agent.service", None)?;
    guest.run("ip route del blackhole 169.254.169.254/32")?;
    whole(lab, index)?;
    let said = said?;
    expect(state != "ready", "nothing is mounted before the instance is known", state.to_string())?;
    Ok(Seen::new(
        format!("since the boot: {}\nuntil {back:.1}: \"{said}\"", trail.told()?),
        "new tasks wait for the gate",
        NOTHING_WRITTEN,
    ))
}

/// The ECS agent comes up a minute after this one, and nothing is remembered of it.
pub(crate) fn introspection_late(lab: &Lab, index: usize) -> Result<Seen, Error> {
    let guest = lab.instance(index);
    guest.run("systemctl stop ecs volumes-agent && rm -rf /var/lib/volumes-agent/* && umount /volumes")?;
    let trail = Trail::begin(lab, index)?;
    guest.run("systemctl start --no-block volumes-agent")?;
    trail.sees(lab, "ready", Duration::from_secs(20))?;
    let gate = lab.health(index).json()["gate"].clone();
    std::thread::sleep(Duration::from_secs(60));
    guest.run("systemctl start --no-block ecs")?;
    trail.sees(lab, "gate open", Duration::from_secs(40))?;
    whole(lab, index)?;
    expect(gate == "unknown", "nobody is told before it is known whom", gate.to_string())?;
    Ok(Seen::new(trail.told()?, "new tasks wait for the gate", NOTHING_WRITTEN))
}

/// The agent starts with what an image has, and user-data writes the right configuration half a minute later, in two parts.
pub(crate) fn configuration_late(lab: &Lab, index: usize) -> Result<Seen, Error> {
    let guest = lab.instance(index);
    let right = guest.run(&format!("cat {CONFIGURATION}"))?;
    guest.run("systemctl stop volumes-agent && umount /volumes")?;
    guest.write(CONFIGURATION, "file_system_tag = \"convox.rack=not-said-yet\"")?;
    let trail = Trail::begin(lab, index)?;
    guest.run("systemctl start --no-block volumes-agent")?;
    let said = says(lab, index, &["not-said-yet"], Duration::from_secs(20));
    // A file that is being written is a wrong one for a moment.
    guest.write(CONFIGURATION, "probe_interval = \"2s")?;
    std::thread::sleep(Duration::from_secs(4));
    let state = lab.health(index).json()["state"].clone();
    guest.write(CONFIGURATION, right.trim_end())?;
    let back = trail.elapsed()?;
    lab.reports(index, "ready", BACK)?;
    whole(lab, index)?;
    expect(state == "absent", "absent until it is right", state.to_string())?;
    Ok(Seen::new(
        format!("{}\nuntil {back:.1}: \"{}\"", trail.told()?, said?),
        "new tasks wait for the gate",
        NOTHING_WRITTEN,
    ))
}
