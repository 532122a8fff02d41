//! The instance itself: its power cut, rebooted with a server that answers and with one that doesn't.

use crate::{
    row::{BACK, Seen, nothing_elsewhere, whole},
    trail::Trail,
};
use lab::{
    Error, Lab, expect, host, wait,
    writer::{FOLDER, command, compare},
};
use std::{path::Path, process::Child, time::Duration};

/// A writer whose acknowledgments arrive outside of the instance as they come.
struct Told {
    name: String,
    output: std::path::PathBuf,
    ssh: Child,
}

fn start(lab: &Lab, index: usize, name: &str) -> Result<Told, Error> {
    let name = format!("writer-{name}-{}", index + 1);
    host::remove(&lab.share.path(&format!("{FOLDER}/{name}")))?;
    let output = lab.folder.join("run").join(&name);
    lab.instance(index).run(&format!("docker rm -f {name} > /dev/null 2>&1; true"))?;
    let ssh = lab.instance(index).stream(&command(&name, "--rm"), &output)?;
    let told = Told { name, output, ssh };
    wait::until(&lab.progress, &format!("{} writes", told.name), Duration::from_secs(30), || {
        let lines = host::read(&told.output).map_err(|error| error.to_string())?;
        if lines.lines().count() > 20 { Ok(()) } else { Err(lines) }
    })?;
    Ok(told)
}

impl Told {
    /// What arrived, now that nothing more can.
    fn end(mut self) -> Result<(String, String), Error> {
        drop(self.ssh.kill());
        self.ssh.wait().map_err(host::failed("end", Path::new("ssh")))?;
        Ok((self.name, host::read(&self.output)?))
    }
}

/// SIGKILL of the guest, and a start.
pub(crate) fn power_cut(lab: &Lab, index: usize) -> Result<Seen, Error> {
    let guest = lab.instance(index);
    let told = start(lab, index, "power-cut")?;
    guest.kill()?;
    let (name, output) = told.end()?;
    let written = compare(lab, &name, &output)?;
    guest.start()?;
    guest.answers(&lab.progress)?;
    let trail = Trail::of_this_boot(lab, index);
    whole(lab, index)?;
    nothing_elsewhere(lab, index)?;
    let states = trail.told()?;
    // Records may be there that nobody was told of; none that somebody was told of may be missing, now as before the start.
    let after = compare(lab, &name, &output)?;
    after.nothing_lost()?;
    Ok(Seen::new(format!("since the start: {states}"), "ended with the instance", written.nothing_lost()?))
}

/// `systemctl reboot` with a server that answers, while a container writes.
pub(crate) fn rebooted(lab: &Lab, index: usize) -> Result<Seen, Error> {
    let guest = lab.instance(index);
    let told = start(lab, index, "rebooted")?;
    let took = guest.shut_down(&lab.progress, Duration::from_secs(120))?;
    let (name, output) = told.end()?;
    guest.start()?;
    guest.answers(&lab.progress)?;
    let trail = Trail::of_this_boot(lab, index);
    whole(lab, index)?;
    let order = guest.run(
        "journalctl -q -b -1 -o short-monotonic --no-hostname | grep -E 'Stopped docker.service|Unmounted volumes.mount|Stopped volumes-agent.service'",
    )?;
    let place = |what: &str| order.lines().position(|line| line.contains(what));
    let written = compare(lab, &name, &output)?;
    let states = trail.told()?;
    expect(
        place("Stopped docker.service").is_some()
            && place("Stopped docker.service") < place("Unmounted volumes.mount"),
        "containers are stopped, then the share is unmounted",
        &*order,
    )?;
    written.no_error()?;
    Ok(Seen::new(
        format!("off after {:.1}; since the start: {states}", took.as_secs_f64()),
        format!("stopped before the share is unmounted; {}", written.seen()),
        written.nothing_lost()?,
    ))
}

/// Takes the other instance's agent away until this one leads: a leader's lock is what a dead server holds longest.
fn leads(lab: &Lab, index: usize) -> Result<(), Error> {
    let other = lab.instance(1 - index);
    other.run("systemctl stop volumes-agent")?;
    let led = wait::until(&lab.progress, "this instance leads", BACK, || {
        if lab.leads(index) { Ok(()) } else { Err("it does not".to_owned()) }
    });
    other.run("systemctl start volumes-agent")?;
    led?;
    whole(lab, 1 - index)
}

/// `systemctl reboot` of the leader with a server that is silent for all of the shutdown and a part of the boot.
pub(crate) fn rebooted_without_server(lab: &Lab) -> Result<Seen, Error> {
    let index = 1;
    let guest = lab.instance(index);
    leads(lab, index)?;
    let told = start(lab, index, "rebooted-without-server")?;
    lab.share.stall()?;
    let outcome = (|| {
        let took = guest.shut_down(&lab.progress, Duration::from_secs(300))?;
        guest.start()?;
        guest.answers(&lab.progress)?;
        let trail = Trail::of_this_boot(lab, index);
        let boot = trail.elapsed()?;
        lab.gates(index, "not-ready", Duration::from_secs(30))?;
        let state = lab.health(index).json()["state"].clone();
        let resumed = trail.elapsed()?;
        expect(state != "ready", "not ready", state.to_string())?;
        Ok::<_, Error>((took, boot, resumed, trail))
    })();
    let (name, output) = told.end()?;
    lab.share.resume()?;
    let (took, boot, resumed, trail) = outcome?;
    for index in [0, 1] {
        lab.reports(index, "ready", BACK * 2)?;
        whole(lab, index)?;
    }
    nothing_elsewhere(lab, index)?;
    let written = compare(lab, &name, &output)?;
    expect(took < Duration::from_secs(60), "the shutdown takes no minutes", format!("{took:?}"))?;
    Ok(Seen::new(
        format!(
            "off after {:.1}; up {boot:.0} s after the start; the server is back at {resumed:.0}\nsince the start: {}",
            took.as_secs_f64(),
            trail.told()?
        ),
        "stopped by Docker, by SIGKILL where they wait for the share",
        written.nothing_lost()?,
    ))
}
