//! What runs on this machine: the configuration, the daemon, Docker, and the order in which systemd starts and stops them.

use super::{Check, Docker, Findings, Unit, Verdict};
use crate::{
    containers::Elsewhere,
    mount::VOLUMES_ROOT,
    mount_state::MountState,
    order::{HELPER, HELPER_FOLDER},
};

/// The units that matter, as [`Unit::name`] has them.
pub const UNITS: [&str; 5] = [
    "volumes-agent-guard.service",
    "volumes-agent.service",
    "docker.service",
    "ecs.service",
    "volumes.mount",
];
/// Our drop-ins are called so.
const DROP_IN: &str = "volumes-agent.conf";

/// The configuration.
pub fn configuration(found: &Findings) -> Check {
    const NAME: &str = "configuration";
    let file = &found.configuration_file;
    match &found.configuration {
        Err(problems) => Check::fail(
            NAME,
            problems.clone(),
            "`volumes-agent check-config --help` lists the keys. The daemon takes a mended file by itself; what depends on the configuration is looked at with the defaults here",
        ),
        Ok(config) => {
            let count = config.origins.len();
            let keys = match count {
                0 => "no key is set, all is found out".to_owned(),
                1 => "1 key is set".to_owned(),
                count => format!("{count} keys are set"),
            };
            match &found.environment {
                Ok(environment) => {
                    let beside = environment.as_ref().map(|file| format!(" and {file}")).unwrap_or_default();
                    Check::pass(NAME, format!("{file}{beside}: {keys}"))
                }
                Err(why) => Check::unknown(
                    NAME,
                    format!("{file}: {keys}; the daemon's environment is not known: {why}"),
                    "run it as root: what the daemon has from its environment may be missing here",
                ),
            }
        }
    }
}

/// The daemon.
pub fn daemon(found: &Findings) -> Check {
    const NAME: &str = "daemon";
    let report = match &found.daemon {
        Ok(report) => report,
        Err(why) => {
            return Check::fail(
                NAME,
                format!("no daemon answers: {why}. Nobody watches the share, and ECS is told nothing"),
                "`systemctl status volumes-agent`, `journalctl -u volumes-agent -n 50`; start it by `systemctl start volumes-agent`",
            );
        }
    };
    let health = &report.health;
    let state = format!("{} since {}: {}", health.state, health.since, health.reason);
    if health.state != MountState::Ready {
        let help = report.problems.first().map_or_else(
            || "the reason says it; `volumes-agent status` has the whole page, docs/operations.md what each state means".to_owned(),
            |problem| format!("{problem} (`volumes-agent status` has the whole page)"),
        );
        return Check::fail(NAME, state, help);
    }
    if let Some(problem) = &report.configuration_problem {
        return Check::warn(
            NAME,
            format!("{state}; it goes on with an older configuration: {problem}"),
            format!("mend {}", report.configuration_file),
        );
    }
    match report.problems.as_slice() {
        [] => Check::pass(NAME, state),
        [first, rest @ ..] => Check::warn(
            NAME,
            format!("{state}; {} of its actions fail", 1 + rest.len()),
            format!("{first} (`volumes-agent status` has all)"),
        ),
    }
}

/// The program that fills new volumes, which task definitions name by its path.
pub fn helper(found: &Findings) -> Check {
    const NAME: &str = "helper";
    match &found.helper {
        Ok(()) => Check::pass(NAME, format!("{HELPER_FOLDER}/{HELPER} fills new volumes")),
        Err(why) => Check::fail(
            NAME,
            format!("{HELPER_FOLDER}/{HELPER} can't be run: {why}. Tasks that wait for it don't start here"),
            "install the package of the agent again: the helper comes with it",
        ),
    }
}

/// The running daemon against this binary.
pub fn version(found: &Findings) -> Check {
    const NAME: &str = "version";
    let Ok(report) = &found.daemon else {
        return Check::after(NAME, "daemon", format!("this binary is {}; no daemon answers", found.version));
    };
    let running = &report.health.version;
    let restart = "`systemctl restart volumes-agent`: the share stays mounted, containers notice nothing";
    if *running != found.version {
        Check::warn(NAME, format!("the daemon is {running}, this binary {}", found.version), restart)
    } else if found.daemon_is_replaced {
        Check::warn(NAME, format!("{running}, but the daemon's file was replaced since it started"), restart)
    } else {
        Check::pass(NAME, format!("{running}, the daemon's and this binary's"))
    }
}

/// Whether containers get the share: Docker must see what is mounted.
pub fn docker(found: &Findings) -> Check {
    const NAME: &str = "docker";
    let help = "take MountFlags=, PrivateMounts= and the like out of docker.service (`systemctl cat docker`), `systemctl daemon-reload`, and restart Docker; containers that were started so have to be started anew";
    match &found.docker {
        Docker::NotRunning => Check::warn(NAME, "no Docker engine runs here", "`systemctl status docker`"),
        Docker::Unseen(why) => {
            Check::unseen(NAME, found, why, "see that /proc/<dockerd>/ns/mnt is that of process 1")
        }
        Docker::SeesTheHost => {
            Check::pass(NAME, "it has the machine's mounts: what is mounted is seen by new containers")
        }
        Docker::Apart { device, is_shared } => {
            let apart = "Docker has a mount namespace of its own";
            match found.mounted() {
                None => Check::warn(NAME, format!("{apart}: it may not see the share when it comes"), help),
                Some(mounted) if device.as_ref() == Some(&mounted.device) && *is_shared => {
                    Check::pass(NAME, format!("{apart}, and sees the share: mounts are passed on to it"))
                }
                Some(mounted) if device.as_ref() == Some(&mounted.device) => Check::warn(
                    NAME,
                    format!("{apart}: it sees the share, but would not see it mounted anew"),
                    help,
                ),
                Some(_) => Check::fail(
                    NAME,
                    format!(
                        "{apart} and does NOT see the share: containers get what lies below it at {VOLUMES_ROOT}"
                    ),
                    help,
                ),
            }
        }
    }
}

/// Containers that were started without the share, as the daemon found them.
pub fn containers(found: &Findings) -> Check {
    const NAME: &str = "containers";
    let Ok(report) = &found.daemon else {
        return Check::after(
            NAME,
            "daemon",
            "the daemon does not answer: it looks for containers without the share",
        );
    };
    match report.containers_elsewhere.as_slice() {
        [] => Check::pass(NAME, "none writes elsewhere than to the share, as far as the daemon saw"),
        elsewhere => {
            let told: Vec<String> = elsewhere.iter().map(Elsewhere::problem).collect();
            Check::fail(
                NAME,
                told.join("; "),
                "a container keeps the mount that it was started with: stop its task, and ECS starts another one",
            )
            .number("elsewhere", elsewhere.len())
        }
    }
}

/// What comes before what, at boot and at shutdown.
pub fn order(found: &Findings) -> Check {
    const NAME: &str = "unit-order";
    let units = match &found.units {
        Ok(units) => units,
        Err(why) => {
            return Check::unknown(NAME, why, "look at `systemctl list-dependencies --after ecs.service`");
        }
    };
    let remarks = remarks(units);
    let Some(worst) = remarks.iter().map(|(verdict, _)| *verdict).max() else {
        return Check::pass(
            NAME,
            "the guard before Docker, the agent before the ECS agent, the share outlives both at shutdown",
        );
    };
    let text: Vec<String> = remarks.into_iter().map(|(_, text)| text).collect();
    Check::new(
        NAME,
        worst,
        text.join("; "),
        Some("install the units and drop-ins of this version, `systemctl daemon-reload`, `systemctl enable volumes-agent-guard volumes-agent`; `systemctl cat UNIT` shows what is in force".to_owned()),
    )
}

/// What is not as `systemd/` has it.
fn remarks(units: &[Unit]) -> Vec<(Verdict, String)> {
    let mut remarks = Vec::new();
    let mut say = |verdict, text: String| remarks.push((verdict, text));
    let unit = |name: &str| units.iter().find(|unit| unit.name == name && unit.is_loaded);
    let has = |list: &[String], name: &str| list.iter().any(|one| one == name);
    for (name, what) in [
        ("volumes-agent-guard.service", "nothing guards /volumes at the next boot"),
        ("volumes-agent.service", "nothing mounts the share at the next boot"),
    ] {
        let Some(ours) = unit(name) else {
            say(Verdict::Fail, format!("there is no {name}: {what}"));
            continue;
        };
        if !ours.enabled.starts_with("enabled") {
            say(
                Verdict::Warn,
                format!(
                    "{name} is {}: {what}",
                    if ours.enabled.is_empty() { "not enabled" } else { &ours.enabled }
                ),
            );
        }
        if ours.active == "failed" {
            say(Verdict::Fail, format!("{name} has failed"));
        }
        for other in ["docker.service", "ecs.service"] {
            if unit(other).is_some() && !has(&ours.before, other) {
                say(Verdict::Fail, format!("{name} does not come before {other}"));
            }
        }
        if ours.is_apart {
            say(
                Verdict::Fail,
                format!("{name} has a mount namespace of its own: what it mounts does not reach the machine"),
            );
        }
    }
    match unit("ecs.service") {
        None => say(Verdict::Unknown, "there is no ecs.service: the ECS agent is started by something else, and doesn't wait for the share".to_owned()),
        Some(ecs) if !ecs.drop_ins.iter().any(|path| path.ends_with(DROP_IN)) => {
            say(Verdict::Fail, format!("ecs.service lacks the drop-in {DROP_IN}: tasks may be started before the share is there"));
        }
        Some(ecs) if !has(&ecs.after, "volumes-agent.service") => {
            say(Verdict::Fail, "ecs.service does not come after volumes-agent.service".to_owned());
        }
        Some(_) => {}
    }
    if let Some(mount) = unit("volumes.mount") {
        for other in ["docker.service", "ecs.service"] {
            if unit(other).is_some() && !has(&mount.before, other) {
                say(
                    Verdict::Warn,
                    format!(
                        "volumes.mount does not come before {other}: at shutdown the share may go before it"
                    ),
                );
            }
        }
    }
    for stale in units.iter().filter(|unit| unit.is_loaded && unit.needs_reload) {
        say(Verdict::Warn, format!("{} changed on disk since systemd read it", stale.name));
    }
    remarks
}
