//! A wrong configuration: told with its place, harmless to what runs, taken as soon as it is right.

use lab::{Error, Lab, expect, wait};
use std::time::Duration;

const FILE: &str = "/etc/volumes-agent/config.toml";
const READY: Duration = Duration::from_secs(90);

pub(crate) fn a_wrong_configuration(lab: &Lab) -> Result<String, Error> {
    let guest = lab.instance(0);
    let right = guest.run(&format!("cat {FILE}"))?;
    let line = right.lines().count() + 1;
    let problem = format!("{FILE}:{line}: unknown key `racks`, did you mean `rack`?");
    guest.write(FILE, &format!("{}\nracks = \"x\"", right.trim_end()))?;

    let checked = guest.try_run("volumes-agent check-config", READY);
    expect(
        checked.code == 78 && checked.stderr.contains(&problem),
        format!("78 and {problem}"),
        format!("{} {}", checked.code, checked.stderr),
    )?;
    wait::until(&lab.progress, "the running daemon says so", READY, || {
        let status = guest.get(12049, "/status", "application/json").json();
        let is_told = status["configuration_problem"].as_str().is_some_and(|told| told.contains(&problem));
        let goes_on = status["health"]["state"] == "ready";
        if is_told && goes_on { Ok(()) } else { Err(status.to_string()) }
    })?;

    // A daemon that starts with it mounts nothing and stays up.
    guest.run("systemctl restart volumes-agent")?;
    let health = lab.reports(0, "absent", READY)?;
    let reason = health["reason"].as_str().unwrap_or_default();
    expect(
        reason.starts_with("wrong configuration: ") && reason.contains(&problem),
        format!("the reason names {problem}"),
        reason,
    )?;
    let status = guest.try_run("volumes-agent status --config /nowhere.toml", READY);
    expect(status.code == 1, "`status` ends with 1", format!("{} {}", status.code, status.stderr))?;

    guest.write(FILE, right.trim_end())?;
    lab.reports(0, "ready", READY)?;
    lab.gates(0, "ready", READY)?;
    Ok(problem)
}
