//! The fault matrix: each row makes one fault happen on a booted cluster, asserts what must hold, and tells what was seen.
//!
//! A name, or a part of one, on the command line runs only the rows that have it. Once every row was as it must be on the same disk of the
//! instances, in one run or in several, docs/faults.md is written.
//! `--keep` leaves the cluster running, to look around in; ending the program ends it.

mod agent;
mod aws;
mod filling;
mod kept;
mod leading;
mod machine;
mod mounting;
mod row;
mod server;
mod table;
mod trail;
mod volumes;
mod wire;

use kept::Kept;
use lab::{
    Error, Lab, cluster,
    enclosure::{self, Inside},
    image,
    progress::Progress,
    selection::Selection,
};
use row::{Fault, Row};
use std::{
    collections::VecDeque,
    process::ExitCode,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

const NAME: &str = "faults";

/// The agents' settings that differ from the defaults: see the head of the table.
const CONFIGURATION: &str = "probe_interval = \"2s\"\nstall_deadline = \"10s\"";

/// All rows. Those of an instance that follow each other are shared out between the two.
#[rustfmt::skip] // a table
const ROWS: &[Row] = &[
    Row { name: "server_stopped_briefly", told: "server stopped (SIGSTOP) for 5 s", fault: Fault::Common(server::stopped_briefly) },
    Row { name: "server_stopped_for_long", told: "server stopped for longer than `stall_deadline`", fault: Fault::Common(server::stopped_for_long) },
    Row { name: "server_killed", told: "server killed and started again (grace period of 10 s)", fault: Fault::Common(server::killed) },
    Row { name: "share_full", told: "share full, then not", fault: Fault::Common(server::full) },
    Row { name: "share_read_only", told: "share exported read-only, then not", fault: Fault::Common(server::read_only) },
    Row { name: "root_squashed", told: "root squashed by the server, then not", fault: Fault::Common(server::squashed) },
    Row { name: "address_changes", told: "the mount target is replaced by one with another address", fault: Fault::Common(server::address_changes) },
    Row { name: "directory_removed", told: "a volume's directory removed on the share: under running tasks, then before new ones", fault: Fault::Common(volumes::removed) },
    Row { name: "filling_full", told: "share full while a new volume is filled from its image, then not", fault: Fault::Common(filling::full) },
    Row { name: "filling_power_cut", told: "power cut of the instance that fills a new volume", fault: Fault::Common(filling::power_cut) },
    Row { name: "filling_cut_off", told: "network down of the instance that fills a new volume, until the other one has filled it", fault: Fault::Common(filling::cut_off) },
    Row { name: "filling_server_killed", told: "server killed and started again while a new volume is filled", fault: Fault::Common(filling::server_killed) },
    Row { name: "cycles", told: "100 times `umount -l`, and mounted again", fault: Fault::OfAnInstance(mounting::cycles) },
    Row { name: "introspection_late", told: "the ECS agent is up a minute late", fault: Fault::OfAnInstance(aws::introspection_late) },
    Row { name: "network_slow", told: "200 ms delay and 5 % loss (towards the server) for a minute", fault: Fault::OfAnInstance(wire::slow) },
    Row { name: "network_cut", told: "network down for 30 s", fault: Fault::OfAnInstance(wire::cut) },
    Row { name: "killed_at_each_step", told: "agent killed (SIGKILL) at each step of mounting", fault: Fault::OfAnInstance(mounting::killed_at_each_step) },
    Row { name: "agent_frozen", told: "agent stopped (SIGSTOP)", fault: Fault::OfAnInstance(agent::frozen) },
    Row { name: "efs_api_down_at_boot", told: "EFS API down at boot", fault: Fault::OfAnInstance(aws::efs_api_down_at_boot) },
    Row { name: "efs_throttles_at_boot", told: "EFS throttles every call at boot", fault: Fault::OfAnInstance(aws::efs_throttles_at_boot) },
    Row { name: "metadata_down_at_boot", told: "instance metadata down at boot", fault: Fault::OfAnInstance(aws::metadata_down_at_boot) },
    Row { name: "power_cut", told: "instance's power cut while a container writes", fault: Fault::OfAnInstance(machine::power_cut) },
    Row { name: "rebooted", told: "instance rebooted while a container writes", fault: Fault::OfAnInstance(machine::rebooted) },
    Row { name: "api_throttled", told: "ECS throttles every call for 20 s", fault: Fault::OfAnInstance(aws::throttled) },
    Row { name: "metadata_down_while_mounted", told: "instance metadata down, agent restarted", fault: Fault::OfAnInstance(aws::metadata_down) },
    Row { name: "configuration_late", told: "the right configuration written late, in two parts", fault: Fault::OfAnInstance(aws::configuration_late) },
    Row { name: "unmounted_by_hand", told: "`umount -l` by hand", fault: Fault::OfAnInstance(mounting::unmounted) },
    Row { name: "mounted_over", told: "another file system mounted over it", fault: Fault::OfAnInstance(mounting::mounted_over) },
    Row { name: "replaced_by_a_file", told: "mount point replaced by a file, agent restarted", fault: Fault::OfAnInstance(mounting::replaced_by_a_file) },
    Row { name: "replaced_by_a_symlink", told: "mount point replaced by a symlink, agent restarted", fault: Fault::OfAnInstance(mounting::replaced_by_a_symlink) },
    Row { name: "docker_before_the_agent", told: "Docker started before the agent", fault: Fault::OfAnInstance(mounting::docker_before_the_agent) },
    Row { name: "clock_jump", told: "clock set a day forward, then back", fault: Fault::OfAnInstance(agent::clock) },
    Row { name: "workers_killed", told: "the agent's children killed (SIGKILL), ten times", fault: Fault::OfAnInstance(agent::workers_killed) },
    Row { name: "stuck_callers", told: "1,000 stuck callers of the endpoint", fault: Fault::OfAnInstance(agent::besieged) },
    Row { name: "two_agents", told: "two agents started on one host", fault: Fault::OfAnInstance(agent::twice) },
    Row { name: "flags_in_containers", told: "a device node on the share (`mount_flags` inside of containers)", fault: Fault::OfAnInstance(server::flags_in_containers) },
    Row { name: "rebooted_without_server", told: "instance rebooted while the server is stopped", fault: Fault::Common(machine::rebooted_without_server) },
    Row { name: "leader_cut_off", told: "the leader's network is down; a deploy", fault: Fault::Common(leading::cut_off) },
    Row { name: "leader_killed", told: "the leader's power is cut; a deploy", fault: Fault::Common(leading::killed) },
    Row { name: "leader_rebooted", told: "the leader is rebooted; a deploy", fault: Fault::Common(leading::rebooted) },
    Row { name: "leader_frozen", told: "the leader's instance is frozen, and goes on; a deploy", fault: Fault::Common(leading::frozen) },
    Row { name: "leader_process_frozen", told: "the leader's agent is stopped (SIGSTOP); a deploy", fault: Fault::Common(leading::process_frozen) },
    Row { name: "leader_server_restarted", told: "a deploy; the server is killed and started again", fault: Fault::Common(leading::server_restarted) },
    Row { name: "leader_drains", told: "the leader's instance is set to DRAINING; a deploy", fault: Fault::Common(leading::drains) },
];

fn main() -> ExitCode {
    let keep = std::env::args().any(|word| word == "--keep");
    let prepare = |progress: &Progress| cluster::prepare(progress).map(drop);
    enclosure::run(NAME, keep, prepare, |inside, progress| run(inside, keep, progress))
}

fn run(inside: Inside, keep: bool, progress: &Progress) -> Result<ExitCode, Error> {
    let wanted = Selection::of_the_command_line();
    let rows: Vec<&Row> = ROWS.iter().filter(|row| wanted.has(row.name)).collect();
    let lab = Lab::start(&inside, progress)?;
    for index in [0, 1] {
        lab.instance(index).write("/etc/volumes-agent/config.toml", CONFIGURATION)?;
        lab.reports(index, "ready", Duration::from_secs(60))?;
        lab.gates(index, "ready", Duration::from_secs(60))?;
    }
    let kept = Kept::of(&image::prepare(image::Content::Agent, progress)?.disk)?;
    all(&lab, &rows, &kept)?;
    let broken: Vec<&str> =
        rows.iter().filter(|row| kept.result(row).is_none()).map(|row| row.name).collect();
    let every: Option<Vec<(&Row, kept::Remembered)>> =
        ROWS.iter().map(|row| Some((row, kept.result(row)?))).collect();
    match every {
        Some(every) => table::write(&every)?,
        None => {
            let missing = ROWS.iter().filter(|row| kept.result(row).is_none()).map(|row| row.name);
            progress.say(&format!(
                "docs/faults.md is written once these are as they must be, too: {}",
                missing.collect::<Vec<_>>().join(", ")
            ));
        }
    }
    let right = rows.len() - broken.len();
    progress.say(&format!("{right} rows as they must be, {} broken {broken:?}", broken.len()));
    // A filter that fits nothing has tested nothing.
    inside.leave(u8::from(right == 0 || !broken.is_empty()), keep)
}

/// Runs the rows in their order, and keeps what was seen of those that are as they must be.
fn all(lab: &Lab, rows: &[&Row], kept: &Kept) -> Result<(), Error> {
    let mut rest = rows;
    while let [first, ..] = rest {
        let of_instances = rest.iter().take_while(|row| matches!(row.fault, Fault::OfAnInstance(_))).count();
        if of_instances == 0 {
            one(lab, first, 0, kept)?;
            rest = &rest[1..];
            continue;
        }
        let waiting: Mutex<VecDeque<&Row>> = Mutex::new(rest[..of_instances].iter().copied().collect());
        std::thread::scope(|scope| {
            let workers = [0, 1].map(|index| {
                let waiting = &waiting;
                scope.spawn(move || {
                    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                    while let Some(row) = next() {
                        one(lab, row, index, kept)?;
                    }
                    Ok::<_, Error>(())
                })
            });
            workers.into_iter().try_for_each(|worker| match worker.join() {
                Ok(outcome) => outcome,
                Err(panic) => std::panic::resume_unwind(panic),
            })
        })?;
        rest = &rest[of_instances..];
    }
    Ok(())
}

fn one(lab: &Lab, row: &Row, index: usize, kept: &Kept) -> Result<(), Error> {
    kept.forget(row)?;
    let begun = Instant::now();
    let outcome = match row.fault {
        Fault::Common(fault) => fault(lab),
        Fault::OfAnInstance(fault) => fault(lab, index),
    };
    let took = begun.elapsed().as_secs_f64();
    match outcome {
        Ok(seen) => {
            lab.progress.say(&format!("ok      {} ({took:.1} s)", row.name));
            lab.progress.detail(&format!("{}\n{}\n{}", seen.states, seen.containers, seen.lost));
            kept.keep(row, &seen, took)?;
        }
        Err(error) => {
            let evidence = lab.evidence(row.name)?;
            lab.progress.say(&format!(
                "BROKEN  {} ({took:.1} s)\n  {error}\n  logs:     {}",
                row.name,
                evidence.display()
            ));
            // What a broken row left cut off or off must not break the next one.
            lab.share.resume()?;
            let instances = match row.fault {
                Fault::Common(_) => vec![0, 1],
                Fault::OfAnInstance(_) => vec![index],
            };
            for guest in instances.into_iter().map(|index| lab.instance(index)) {
                if guest.try_run("true", Duration::from_secs(30)).code != 0 {
                    guest.kill()?;
                    guest.start()?;
                    guest.answers(&lab.progress)?;
                }
            }
        }
    }
    Ok(())
}
