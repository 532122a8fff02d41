//! The NFS server: silent, killed, full, read-only, root squashed, at another address.

use crate::{
    row::{BACK, NOTHING_WRITTEN, Seen, a_new_container_sees_the_share, says, whole},
    trail::Trail,
};
use lab::{
    Error, Lab, expect, host, moto, network,
    share::Export,
    wait,
    writer::{Writer, Written},
};
use std::time::Duration;

/// From the silence of the server until it is told: `stall_deadline`, a probe, and slack for a slow machine.
const STALL_SEEN: Duration = Duration::from_secs(10 + 3 + 7);

/// Both instances with a writer each.
fn begin<'a>(lab: &'a Lab, name: &str) -> Result<(Vec<Writer<'a>>, Vec<Trail<'a>>), Error> {
    Ok((
        vec![Writer::start(lab, 0, name)?, Writer::start(lab, 1, name)?],
        vec![Trail::begin(lab, 0)?, Trail::begin(lab, 1)?],
    ))
}

fn both(trails: &[Trail<'_>]) -> Result<String, Error> {
    let told = trails
        .iter()
        .enumerate()
        .map(|(index, trail)| trail.told().map(|told| format!("instance-{}: {told}", index + 1)));
    Ok(told.collect::<Result<Vec<_>, _>>()?.join("\n"))
}

fn finish(lab: &Lab, writers: Vec<Writer<'_>>) -> Result<Vec<Written>, Error> {
    writers.into_iter().map(|writer| writer.finish(lab)).collect()
}

/// What two writers saw, in one cell; fails if anything acknowledged is missing.
fn told(written: &[Written]) -> Result<(String, String), Error> {
    let lost = written.iter().map(Written::nothing_lost).collect::<Result<Vec<_>, _>>()?;
    let seen: Vec<String> = written.iter().map(Written::seen).collect();
    Ok((seen.join("\n"), lost.join("\n")))
}

/// Ends both writers; what they saw, and what the agents went through and `said`.
fn ended(lab: &Lab, writers: Vec<Writer<'_>>, trails: &[Trail<'_>], said: &str) -> Result<Seen, Error> {
    let (containers, lost) = told(&finish(lab, writers)?)?;
    Ok(Seen::new(format!("{}\n{said}", both(trails)?), containers, lost))
}

/// SIGSTOP for less than the deadline.
pub(crate) fn stopped_briefly(lab: &Lab) -> Result<Seen, Error> {
    let (writers, trails) = begin(lab, "stopped-briefly")?;
    lab.share.stall()?;
    let stayed = wait::always(&lab.progress, "nobody is stalled", Duration::from_secs(5), || {
        for index in [0, 1] {
            let answer = lab.health(index);
            if answer.status != 200 {
                return Err(answer.body);
            }
        }
        Ok(())
    });
    lab.share.resume()?;
    stayed?;
    for writer in &writers {
        writer.goes_on(lab, BACK)?;
    }
    let written = finish(lab, writers)?;
    for trail in &trails {
        expect(trail.steps()?.is_empty(), "no change of state", trail.told()?)?;
    }
    for written in &written {
        written.no_error()?;
    }
    let (containers, lost) = told(&written)?;
    Ok(Seen::new(both(&trails)?, containers, lost))
}

/// Whoever waits for the server is in state D: the probe, and on a leader the kernel, which gives its lock back.
fn one_hangs(lab: &Lab, index: usize, leads: bool) -> Result<(), Error> {
    let what = if leads { "a probe and the lock hang, no more" } else { "a probe hangs, no more" };
    wait::until(&lab.progress, what, Duration::from_secs(20), || {
        const COUNT: &str = "ps -eo stat=,args= | grep -c '^D.*share-worker [0-9]' || true";
        let hung = lab.instance(index).run(COUNT).map_err(|error| error.to_string())?;
        let is_right = |hung: usize| hung >= 1 && hung <= 1 + usize::from(leads);
        if hung.trim().parse().is_ok_and(is_right) { Ok(()) } else { Err(hung) }
    })
}

/// SIGSTOP for longer than the deadline.
pub(crate) fn stopped_for_long(lab: &Lab) -> Result<Seen, Error> {
    let (writers, trails) = begin(lab, "stopped-for-long")?;
    let leads = [0, 1].map(|index| lab.leads(index));
    lab.share.stall()?;
    let mut reasons = String::new();
    let stalled = (|| {
        for (index, trail) in trails.iter().enumerate() {
            trail.sees(lab, "stalled", STALL_SEEN)?;
            trail.sees(lab, "gate closed", STALL_SEEN)?;
            reasons = says(lab, index, &["has not answered"], STALL_SEEN)?;
            let answer = lab.health(index);
            expect(
                answer.took < Duration::from_secs(1),
                "the endpoint answers within a second",
                format!("{:?}", answer.took),
            )?;
            one_hangs(lab, index, leads[index])?;
            // A dead agent's children must not pile up in the kernel: the next one has its own.
            lab.instance(index).run("systemctl kill --kill-who=main -s KILL volumes-agent")?;
            trail.sees(lab, "agent started", BACK)?;
            lab.reports(index, "stalled", STALL_SEEN)?;
            one_hangs(lab, index, leads[index])?;
        }
        Ok(())
    })();
    lab.share.resume()?;
    stalled?;
    for writer in &writers {
        writer.goes_on(lab, BACK)?;
    }
    for index in [0, 1] {
        whole(lab, index)?;
    }
    ended(lab, writers, &trails, &format!("\"{reasons}\""))
}

/// SIGKILL, and a new server: the clients reclaim what they had in its grace period.
pub(crate) fn killed(lab: &Lab) -> Result<Seen, Error> {
    let (writers, trails) = begin(lab, "server-killed")?;
    lab.share.restart(&lab.progress)?;
    for writer in &writers {
        writer.goes_on(lab, BACK)?;
    }
    for index in [0, 1] {
        whole(lab, index)?;
    }
    ended(lab, writers, &trails, "")
}

/// The server's disk is full for a while.
pub(crate) fn full(lab: &Lab) -> Result<Seen, Error> {
    let (writers, trails) = begin(lab, "full")?;
    let filler = lab.share.path("filler");
    // It ends with an error, when the last block is taken.
    drop(host::sh(&format!("dd if=/dev/zero of={} bs=4k", filler.display())));
    let refused = writers
        .iter()
        .try_for_each(|writer| writer.tells(lab, "No space left on device", Duration::from_secs(180)));
    let states: Vec<_> = [0, 1].iter().map(|index| lab.health(*index).json()["state"].clone()).collect();
    host::remove(&filler)?;
    refused?;
    for writer in &writers {
        writer.goes_on(lab, BACK)?;
    }
    expect(states.iter().all(|state| state == "ready"), "a full share is ready", format!("{states:?}"))?;
    ended(lab, writers, &trails, "")
}

/// The server takes no writes any more, and then does again.
pub(crate) fn read_only(lab: &Lab) -> Result<Seen, Error> {
    let (writers, trails) = begin(lab, "read-only")?;
    lab.share.export(Export::ReadOnly, &lab.progress)?;
    let refused = writers
        .iter()
        .try_for_each(|writer| writer.tells(lab, "Read-only file system", Duration::from_secs(60)));
    let told_by_the_agent = problems(lab, 0);
    lab.share.export(Export::Whole, &lab.progress)?;
    refused?;
    for writer in &writers {
        writer.goes_on(lab, BACK)?;
    }
    for index in [0, 1] {
        whole(lab, index)?;
    }
    ended(lab, writers, &trails, &told_by_the_agent)
}

/// Root is nobody to the server: neither the marker can be read, nor an app's files of root be changed.
pub(crate) fn squashed(lab: &Lab) -> Result<Seen, Error> {
    let (writers, trails) = begin(lab, "squashed")?;
    lab.share.export(Export::RootSquashed, &lab.progress)?;
    let outcome = (|| {
        for writer in &writers {
            writer.tells(lab, "Permission denied", Duration::from_secs(60))?;
        }
        // A mount that is made now.
        let guest = lab.instance(1);
        guest.run("umount --lazy --no-canonicalize --internal-only /volumes")?;
        let said = says(lab, 1, &["ermission denied"], Duration::from_secs(40))?;
        let state = lab.health(1).json()["state"].as_str().unwrap_or_default().to_owned();
        expect(state != "ready", "a share whose marker can't be read is not ready", state)?;
        Ok::<_, Error>(said)
    })();
    lab.share.export(Export::Whole, &lab.progress)?;
    let said = outcome?;
    for index in [0, 1] {
        whole(lab, index)?;
    }
    ended(lab, writers, &trails, &format!("mounted anew: \"{said}\""))
}

/// What `/status` of an instance says that is not as it should be.
fn problems(lab: &Lab, index: usize) -> String {
    let status = lab.instance(index).get(12049, "/status", "text/plain").body;
    let told: Vec<&str> = status.lines().filter(|line| line.trim_start().starts_with("- ")).collect();
    told.join("\n")
}

/// The mount target is deleted, and another one made at another address.
pub(crate) fn address_changes(lab: &Lab) -> Result<Seen, Error> {
    const OLD: &str = "10.77.16.7";
    const NEW: &str = "10.77.16.8";
    let index = 1;
    let guest = lab.instance(index);
    let unmount = || guest.run("umount --lazy --no-canonicalize --internal-only /volumes").map(drop);
    // First to an address that nothing else needs: the zone's gateway can't go.
    let at = |address: &str| {
        wait::until(&lab.progress, &format!("{address} is mounted"), BACK, || {
            let report = lab.health(index).json();
            if report["mount"]["address"] == address && report["state"] == "ready" {
                Ok(())
            } else {
                Err(report.to_string())
            }
        })
    };
    network::address(OLD, true)?;
    moto::replace_mount_target(&lab.file_system, index, OLD)?;
    guest.run("systemctl stop volumes-agent")?;
    unmount()?;
    guest.run("systemctl start volumes-agent")?;
    at(OLD)?;
    whole(lab, index)?;

    let writer = Writer::start(lab, index, "address-changes")?;
    let trail = Trail::begin(lab, index)?;
    moto::replace_mount_target(&lab.file_system, index, NEW)?;
    network::address(NEW, true)?;
    network::address(OLD, false)?;
    let outcome = (|| {
        trail.sees(lab, "stalled", STALL_SEEN)?;
        let said = says(lab, index, &[OLD, NEW], Duration::from_secs(100))?;
        let held = guest.run("grep ' /volumes ' /proc/self/mountinfo")?;
        expect(held.contains(OLD), "a mount that a container holds stays", held)?;
        Ok::<_, Error>(said)
    })();
    // What it says to do: the containers end, the mount goes.
    guest.run(&format!("docker kill {0} >/dev/null 2>&1; docker logs {0} > /tmp/{0} 2>&1; docker rm -f {0} >/dev/null 2>&1; true", writer.name()))?;
    let output = guest.run(&format!("cat /tmp/{}", writer.name()))?;
    let remounted = outcome.and_then(|said| {
        let told = trail.told()?;
        guest.run("umount -f -l --no-canonicalize --internal-only /volumes || true")?;
        at(NEW)?;
        whole(lab, index)?;
        a_new_container_sees_the_share(lab, index)?;
        Ok((said, told))
    });
    moto::replace_mount_target(&lab.file_system, index, network::GATEWAYS[index])?;
    // As the agent says: the kernel's client of an address that is gone waits for it until the instance is rebooted. Of what hangs in it
    // no SIGKILL rids systemd, which then waits 90 s twice.
    let off = guest.shut_down(&lab.progress, Duration::from_secs(300));
    guest.kill()?;
    guest.start()?;
    guest.answers(&lab.progress)?;
    at(network::GATEWAYS[index])?;
    network::address(NEW, false)?;
    let (said, told) = remounted?;
    let written = lab::writer::compare(lab, writer.name(), &output)?;
    let off = off?.as_secs();
    Ok(Seen::new(
        format!(
            "{told}\n\"{said}\"\nunmounted by hand: ready, at the new address; rebooted: off after {off} s"
        ),
        written.seen(),
        written.nothing_lost()?,
    ))
}

/// nosuid and nodev inside of containers.
pub(crate) fn flags_in_containers(lab: &Lab, index: usize) -> Result<Seen, Error> {
    let guest = lab.instance(index);
    let folder = format!("/volumes/{}/flags-{}", lab::writer::FOLDER, index + 1);
    guest.run(&format!("mkdir -p {folder} && rm -f {folder}/zero && mknod -m 666 {folder}/zero c 1 5"))?;
    let look = |read_only: &str| {
        guest.run(&format!(
            "docker run --rm --network none -v {folder}:/data{read_only} --entrypoint /bin/sh {} -c 'grep \" /data \" /proc/self/mountinfo | cut -d\" \" -f6; head -c 1 /data/zero > /dev/null 2>&1 && echo opened || echo refused'",
            lab::writer::IMAGE
        ))
    };
    let (writable, read_only) = (look("")?, look(":ro")?);
    if !read_only.contains("nosuid") {
        guest.run(&format!(
            "docker run -d --name flags --network none -v {folder}:/data:ro --entrypoint /bin/sleep {} 1000",
            lab::writer::IMAGE
        ))?;
        let told = wait::until(&lab.progress, "the agent tells that they are lost", BACK, || {
            let codes = guest.get(12049, "/status", "application/json").json()["codes"].to_string();
            if codes.contains("mount-flags-lost") { Ok(()) } else { Err(codes) }
        });
        guest.run("docker rm -f flags")?;
        told?;
    }
    guest.run(&format!("rm -rf {folder}"))?;
    expect(
        writable.contains("nosuid") && writable.contains("nodev") && writable.contains("refused"),
        "a writable bind has nosuid and nodev, and a device on the share can't be opened",
        &*writable,
    )?;
    let words = |seen: &str| seen.trim().replace('\n', "; a device node on the share is ");
    Ok(Seen::new(
        "no change",
        format!(
            "bind: {}\nread-only bind: {} (a bind with an option gets exactly the flags that are asked for, which is runc's rule, and Docker asks for `ro` alone)",
            words(&writable),
            words(&read_only)
        ),
        NOTHING_WRITTEN,
    ))
}
