//! The packages on a clean instance: installed, upgraded and downgraded under a container that writes, removed, purged.

use crate::dist::{self, NEWER};
use lab::{
    Error, Lab,
    app::{self, SERVICE},
    cluster::CLUSTER,
    expect, host, wait,
    writer::Writer,
};
use serde_json::json;
use std::{path::Path, time::Duration};

/// The instance that they are installed on.
const INDEX: usize = 0;
/// From the installation to `ready`, and the gate open.
const UP: Duration = Duration::from_secs(60);
/// What a package manager takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// The helper that fills volumes, which patched task definitions bind.
const HELPER: &str = "/usr/lib/volumes-agent/seed/v2/volumes-agent-seed";
/// The share's mount and its age: another number is another mount.
const MOUNT: &str = "grep ' /volumes ' /proc/self/mountinfo | cut -d ' ' -f 1-3";

/// A package format, by its own tool.
struct Format {
    ending: &'static str,
    /// Also over a newer one.
    install: &'static str,
    remove: &'static str,
    version: &'static str,
    /// What removes configuration and state as well, where the format knows that.
    purge: Option<&'static str>,
}

const DEB: Format = Format {
    ending: ".deb",
    install: "DEBIAN_FRONTEND=noninteractive dpkg -i --force-downgrade",
    remove: "dpkg -r volumes-agent",
    version: "dpkg-query -W -f '${Version}' volumes-agent",
    purge: Some("dpkg -P volumes-agent"),
};

/// On a Debian, which has no packages of that format to depend on.
const RPM: Format = Format {
    ending: ".rpm",
    install: "rpm --force-debian --nodeps --oldpackage -U",
    remove: "rpm --force-debian --nodeps -e volumes-agent",
    version: "rpm -q --qf '%{VERSION}' volumes-agent",
    purge: None,
};

pub(crate) fn deb(lab: &Lab) -> Result<String, Error> {
    whole_life(lab, &DEB)
}

pub(crate) fn rpm(lab: &Lab) -> Result<String, Error> {
    let told = whole_life(lab, &RPM)?;
    // What follows has an agent there.
    install(lab, &RPM, &dist::package(RPM.ending)?)?;
    lab.gates(INDEX, "ready", UP)?;
    Ok(told)
}

fn run(lab: &Lab, command: &str) -> Result<String, Error> {
    let output = lab.instance(INDEX).try_run(command, PATIENCE);
    let said = format!("{}{}", output.stdout, output.stderr);
    expect(output.code == 0, format!("`{command}` succeeds"), format!("{}: {said}", output.code))?;
    Ok(said)
}

fn install(lab: &Lab, format: &Format, package: &Path) -> Result<String, Error> {
    let name = package.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let output = lab.instance(INDEX).feed(package, &format!("cat > /tmp/{name}"), PATIENCE)?;
    expect(output.code == 0, "the package is there", output.stderr)?;
    run(lab, &format!("{} /tmp/{name}", format.install))
}

/// A clean instance that ECS has never heard of.
fn clean_instance(lab: &Lab) -> Result<(), Error> {
    let guest = lab.instance(INDEX);
    guest.kill()?;
    forget_registration(lab, INDEX)?;
    guest.reset()?;
    guest.start()?;
    guest.answers(&lab.progress)
}

/// Has ECS forget what it knows of an instance that is replaced.
pub(crate) fn forget_registration(lab: &Lab, index: usize) -> Result<(), Error> {
    while let Ok(instance) = lab.container_instance(index) {
        lab.ecs(
            "DeregisterContainerInstance",
            &json!({ "cluster": CLUSTER, "containerInstance": instance["containerInstanceArn"], "force": true }),
        )?;
    }
    Ok(())
}

/// What must not change while a package is replaced: mount, containers, revisions, the service's deployment.
fn at_rest(lab: &Lab) -> Result<[String; 4], Error> {
    let service = app::services(lab, SERVICE)?.unwrap_or_default();
    Ok([
        lab.instance(INDEX).run(MOUNT)?,
        lab.instance(INDEX).run("docker ps -q | sort")?,
        app::revisions(lab, SERVICE)?.join(" "),
        service["deployments"][0]["id"].to_string(),
    ])
}

fn whole_life(lab: &Lab, format: &Format) -> Result<String, Error> {
    clean_instance(lab)?;
    let (package, newer) = (dist::package(format.ending)?, dist::newer(format.ending)?);
    let guest = lab.instance(INDEX);

    let said = install(lab, format, &package)?;
    host::write(&lab.folder.join(format!("logs/installed{}", format.ending)), said)?;
    lab.reports(INDEX, "ready", UP)?;
    lab.gates(INDEX, "ready", UP)?;
    let enabled =
        guest.run("systemctl is-enabled volumes-agent-guard volumes-agent-release volumes-agent")?;
    expect(enabled.lines().all(|line| line == "enabled"), "its units are enabled", &*enabled)?;
    app::up(lab)?;

    // An administrator's own setting survives.
    guest.run("echo '# by hand' >> /etc/volumes-agent/config.toml")?;
    let writer = Writer::start(lab, INDEX, &format.ending[1..])?;
    let before = at_rest(lab)?;
    let mut versions = Vec::new();
    for (package, expected) in [(&newer, NEWER), (&package, env!("CARGO_PKG_VERSION"))] {
        let process = guest.run("systemctl show -P MainPID volumes-agent")?;
        install(lab, format, package)?;
        lab.reports(INDEX, "ready", UP)?;
        let version = guest.run(format.version)?;
        expect(version.starts_with(expected), format!("version {expected} is installed"), &*version)?;
        let other = guest.run("systemctl show -P MainPID volumes-agent")?;
        expect(process != other, "the agent was restarted", other)?;
        let after = at_rest(lab)?;
        expect(
            before == after,
            format!("mount, containers and revisions are {before:?}"),
            format!("{after:?}"),
        )?;
        writer.goes_on(lab, UP)?;
        versions.push(version);
    }
    let kept = guest.run("tail -n 1 /etc/volumes-agent/config.toml")?;
    expect(kept.trim() == "# by hand", "the configuration is as an administrator left it", kept)?;
    let written = writer.finish(lab)?;
    written.no_error()?;
    let lossless = written.nothing_lost()?;

    run(lab, format.remove)?;
    let left = guest.run("ls -d /usr/bin/volumes-agent /usr/lib/systemd/system/*volumes* /usr/lib/systemd/system/*/volumes* 2> /dev/null; true")?;
    expect(left.trim().is_empty(), "no unit and no program is left", left)?;
    let mount = guest.run(MOUNT)?;
    expect(mount == before[0], "the share stays mounted", mount)?;
    a_task_starts_without_the_agent(lab)?;
    guest.run(&format!("test -x {HELPER}"))?;

    install(lab, format, &package)?;
    lab.reports(INDEX, "ready", UP)?;
    run(lab, format.remove)?;
    let mut told = format!("installed, {} under a writer ({lossless}), removed", versions.join(", "));
    if let Some(purge) = format.purge {
        purged(lab, purge)?;
        told += ", purged";
    }
    Ok(told)
}

/// Patched task definitions bind the helper: it is still there, and a task that starts has its volume.
fn a_task_starts_without_the_agent(lab: &Lab) -> Result<(), Error> {
    let here = |task: &app::Task| task.instance == INDEX;
    let old = app::running(lab, SERVICE)?.into_iter().find(here);
    let old = old.map(|task| task.arn).unwrap_or_default();
    lab.ecs("StopTask", &json!({ "cluster": CLUSTER, "task": old, "reason": "the package was removed" }))?;
    wait::until(&lab.progress, "another task is started there", app::DEPLOYED, || {
        let tasks = app::running(lab, SERVICE).map_err(|error| error.to_string())?;
        if tasks.iter().any(|task| here(task) && task.arn != old) {
            Ok(())
        } else {
            Err(format!("{tasks:?}"))
        }
    })?;
    const NAME: &str = "without-the-agent.txt";
    let on_share = lab.share.path(&format!("{}/wp-content/uploads/{NAME}", app::ON_SHARE));
    host::remove(&on_share)?;
    wait::until(&lab.progress, "it stores a file", app::DEPLOYED, || {
        app::upload(lab, INDEX, NAME, "still on the share").map_err(|error| error.to_string())
    })?;
    let content = host::read(&on_share)?;
    expect(content == "still on the share", "it writes to the share", content)
}

/// Nothing of the package is left on the instance, and all files on the share are.
fn purged(lab: &Lab, purge: &str) -> Result<(), Error> {
    let files = || host::run(std::process::Command::new("find").arg(lab.share.path(app::ON_SHARE)));
    let before = files()?;
    run(lab, purge)?;
    let guest = lab.instance(INDEX);
    let left = guest.run("ls -d /etc/volumes-agent /var/lib/volumes-agent /usr/lib/volumes-agent /etc/systemd/system/*.wants/volumes-agent* 2> /dev/null; true")?;
    expect(left.trim().is_empty(), "nothing of it is left", left)?;
    let mount = guest.run(MOUNT)?;
    expect(!mount.is_empty(), "the share stays mounted under its containers", mount)?;
    let after = files()?;
    expect(before == after, "the files on the share are as they were", after)
}
