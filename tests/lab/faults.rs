//! The part of the story where the share goes away and comes back.

use crate::{
    Error, Lab,
    app::{self, ON_SHARE, SERVICE},
    cluster::CLUSTER,
    expect,
    guest::Output,
    wait,
};
use serde_json::json;
use std::time::{Duration, Instant};

/// `stall_deadline`, a probe and a half, and some slack for a slow machine.
pub const STALL_SEEN: Duration = Duration::from_secs(15 + 8 + 22);
/// From the server's return until the mount is ready: the client may be in a back-off, the server in its grace period.
pub const BACK: Duration = Duration::from_secs(120);
/// An answer of the daemon that takes longer waits for the share. On a machine that does nothing else it takes milliseconds.
pub const PROMPT: Duration = Duration::from_secs(5);

/// The server is stopped, connections stay open: both daemons say so, in time, with a reason, and without hanging themselves.
///
/// # Errors
/// [`Error::NotSeen`].
pub fn a_stall_is_told(lab: &Lab) -> Result<String, Error> {
    app::up(lab)?;
    lab.share.stall()?;
    let since = Instant::now();
    let mut seen = String::new();
    for index in [0, 1] {
        let report = lab.reports(index, "stalled", STALL_SEEN.saturating_sub(since.elapsed()))?;
        let reason = report["reason"].as_str().unwrap_or_default().to_owned();
        expect(!reason.is_empty(), "a reason in the report", report.to_string())?;
        let answer = lab.health(index);
        expect(answer.took < PROMPT, format!("an answer within {PROMPT:?}"), format!("{:?}", answer.took))?;
        seen += &format!(
            "{}: 503 stalled {:.1} s after the server stopped: {reason} (answered in {} ms)\n",
            lab.instance(index).identity.name,
            since.elapsed().as_secs_f64(),
            answer.took.as_millis()
        );
    }
    Ok(seen)
}

/// With the server gone and the mount as well, nothing may be written to the instance's own disk.
///
/// # Errors
/// [`Error::NotSeen`].
pub fn a_lost_share_closes_the_gate(lab: &Lab) -> Result<String, Error> {
    if lab.health(0).json()["state"] != "stalled" {
        a_stall_is_told(lab)?;
    }
    unmount(lab, 0)?;
    let report = lab.reports(0, "lost", STALL_SEEN)?;
    lab.gates(0, "not-ready", STALL_SEEN)?;
    let refused = docker_is_refused(lab, 0)?;
    let old = app::running(lab, SERVICE)?.into_iter().find(|task| task.instance == 0);
    let mut seen = format!(
        "instance-1: 503 lost: {}; ECS has convox.volumes=not-ready\n",
        report["reason"].as_str().unwrap_or_default()
    );
    if let Some(task) = old {
        lab.ecs(
            "StopTask",
            &json!({ "cluster": CLUSTER, "task": task.arn, "reason": "the demo wants a new one" }),
        )?;
    }
    let event = wait::until(&lab.progress, "ECS finds no instance for the task", app::DEPLOYED, || {
        let service = app::services(lab, SERVICE).map_err(|error| error.to_string())?.unwrap_or_default();
        let event = service["events"][0]["message"].as_str().unwrap_or_default().to_owned();
        if event.contains("unable to place a task") { Ok(event) } else { Err(event) }
    })?;
    let elsewhere = |task: &app::Task| task.instance != 0;
    wait::always(&lab.progress, "no task is placed on instance-1", Duration::from_secs(3), || {
        let tasks = app::running(lab, SERVICE).map_err(|error| error.to_string())?;
        if tasks.iter().all(elsewhere) { Ok(()) } else { Err(format!("{tasks:?}")) }
    })?;
    seen += &format!("{event}\n$ docker run -v /volumes/{ON_SHARE}:/var/www/html ...\n{refused}");
    Ok(seen)
}

/// Takes the mount away from an instance, as a person might: lazily, because the server doesn't answer.
///
/// # Errors
/// What `umount` says.
pub fn unmount(lab: &Lab, index: usize) -> Result<(), Error> {
    lab.instance(index).run("umount --lazy --no-canonicalize --internal-only /volumes").map(drop)
}

/// Docker must fail to start a container on the bare mount point, and nothing may be left there. Gives what it says.
///
/// # Errors
/// [`Error::NotSeen`].
pub fn docker_is_refused(lab: &Lab, index: usize) -> Result<String, Error> {
    let guest = lab.instance(index);
    let run = format!(
        "docker run --rm --network host -v /volumes/{ON_SHARE}:/var/www/html wordpress:4.5.2-apache touch /var/www/html/on-the-wrong-disk"
    );
    let Output { code, stdout, stderr } = guest.try_run(&run, Duration::from_secs(30));
    let said = format!("{stdout}{stderr}");
    expect(
        code != 0 && said.contains("operation not permitted"),
        "docker run ends with \"operation not permitted\"",
        format!("status {code}: {said}"),
    )?;
    let left = guest.run("grep -q ' /volumes ' /proc/self/mountinfo || ls -A /volumes")?;
    expect(left.trim().is_empty(), "the bare /volumes is empty", left)?;
    Ok(said
        .lines()
        .find(|line| line.contains("operation not permitted"))
        .unwrap_or_default()
        .trim()
        .to_owned())
}

/// The server answers again: mounted, ready, gate open, tasks placed, files there, and nobody did anything.
///
/// # Errors
/// [`Error::NotSeen`].
pub fn the_share_comes_back(lab: &Lab) -> Result<String, Error> {
    lab.share.resume()?;
    let since = Instant::now();
    let mut seen = String::new();
    for index in [0, 1] {
        lab.reports(index, "ready", BACK.saturating_sub(since.elapsed()))?;
        seen += &format!(
            "{}: 200 ready after {:.1} s",
            lab.instance(index).identity.name,
            since.elapsed().as_secs_f64()
        );
        lab.gates(index, "ready", BACK)?;
        seen += &format!(", convox.volumes=ready after {:.1} s\n", since.elapsed().as_secs_f64());
    }
    app::up(lab)?;
    app::upload(lab, 0, "after.txt", "written after the storm")?;
    app::reads(lab, 1, "after.txt", "written after the storm")?;
    Ok(seen
        + &format!(
            "a task runs on each again after {:.1} s, and they share files",
            since.elapsed().as_secs_f64()
        ))
}
