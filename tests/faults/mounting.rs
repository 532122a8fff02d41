//! The mount point: unmounted, mounted over, replaced; the agent killed while it mounts.

use crate::{
    row::{NOTHING_WRITTEN, Seen, a_new_container_sees_the_share, nothing_elsewhere, says, whole},
    trail::Trail,
};
use lab::{Error, Lab, expect, faults, wait, writer::Writer};

use std::time::Duration;

const SOON: Duration = Duration::from_secs(30);
const UNMOUNT: &str = "umount --lazy --no-canonicalize --internal-only /volumes";

/// `umount -l` while a container writes; how soon it is told is measured on the instance, against its own clock.
pub(crate) fn unmounted(lab: &Lab, index: usize) -> Result<Seen, Error> {
    let guest = lab.instance(index);
    let writer = Writer::start(lab, index, "unmounted")?;
    let mut late: Vec<f64> = Vec::new();
    let mut told = String::new();
    for _ in 0..5 {
        let trail = Trail::begin(lab, index)?;
        let times = guest.run(&format!(
            "before=$(date +%s%N); {UNMOUNT}; echo $before; for i in $(seq 200); do \
             at=$(journalctl -q -u volumes-agent --since @$((before / 1000000000)) -o json --output-fields=MESSAGE | grep 'to=lost' | tail -n 1 | sed 's/.*__REALTIME_TIMESTAMP\":\"\\([0-9]*\\).*/\\1/'); \
             [ -n \"$at\" ] && [ ${{at}}000 -gt $before ] && echo ${{at}}000 && exit 0; sleep 0.05; done; exit 1"
        ))?;
        let times: Vec<f64> = times.lines().filter_map(|line| line.parse().ok()).collect();
        if let [before, told] = times[..] {
            late.push((told - before) / 1e6);
        }
        trail.sees(lab, "ready", SOON)?;
        trail.sees(lab, "gate open", SOON)?;
        told = trail.told()?;
    }
    late.sort_by(f64::total_cmp);
    let (median, most) = (late.get(late.len() / 2).copied(), late.last().copied());
    expect(late.len() == 5, "each of five is told", format!("{late:?} ms"))?;
    a_new_container_sees_the_share(lab, index)?;
    let written = writer.finish(lab)?;
    written.no_error()?;
    nothing_elsewhere(lab, index)?;
    Ok(Seen::new(
        format!(
            "{told}\nfrom the call of `umount` to the line in the journal: median {:.0} ms, longest {:.0} ms of 5",
            median.unwrap_or_default(),
            most.unwrap_or_default()
        ),
        format!(
            "those that run keep the mount that they were started with: {}; new ones see the new mount",
            written.seen()
        ),
        written.nothing_lost()?,
    ))
}

/// A tmpfs over it.
pub(crate) fn mounted_over(lab: &Lab, index: usize) -> Result<Seen, Error> {
    let guest = lab.instance(index);
    let writer = Writer::start(lab, index, "mounted-over")?;
    let trail = Trail::begin(lab, index)?;
    guest.run("mount -t tmpfs theirs /volumes")?;
    trail.sees(lab, "foreign", SOON)?;
    let said = says(lab, index, &["theirs (tmpfs)"], SOON)?;
    lab.gates(index, "not-ready", SOON)?;
    writer.goes_on(lab, SOON)?;
    let mounts = guest.run("grep -c ' /volumes ' /proc/self/mountinfo")?;
    guest.unmount_volumes()?;
    whole(lab, index)?;
    let told = trail.told()?;
    let written = writer.finish(lab)?;
    written.no_error()?;
    expect(mounts.trim() == "2", "nothing was mounted or unmounted by the agent", mounts)?;
    Ok(Seen::new(
        format!("{told}\n\"{said}\"\nunmounted by hand: the share is there again"),
        written.seen(),
        written.nothing_lost()?,
    ))
}

/// The mount point becomes something else while the agent is away; `words` are what it says then.
fn replaced(lab: &Lab, index: usize, by: &str, words: &[&str]) -> Result<Seen, Error> {
    let guest = lab.instance(index);
    guest.run(&format!(
        "systemctl stop volumes-agent && {UNMOUNT} && chattr -i /volumes && rmdir /volumes && {by}"
    ))?;
    let trail = Trail::begin(lab, index)?;
    guest.run("systemctl start --no-block volumes-agent")?;
    let outcome = (|| {
        let said = says(lab, index, words, SOON)?;
        lab.gates(index, "not-ready", SOON)?;
        let mounted = guest.run("grep -c nfs4 /proc/self/mountinfo || true")?;
        expect(mounted.trim() == "0", "nothing is mounted", mounted)?;
        Ok::<_, Error>(said)
    })();
    guest.run("rm -f /volumes && mkdir -p /volumes && rm -rf /var/elsewhere")?;
    whole(lab, index)?;
    let guard = lab.health(index).json()["guard"].clone();
    let said = outcome?;
    expect(guard == "set", "the new directory is guarded", guard.to_string())?;
    Ok(Seen::new(
        format!("\"{said}\"\nput right by hand: {}", trail.told()?),
        "new tasks wait for the gate",
        NOTHING_WRITTEN,
    ))
}

pub(crate) fn replaced_by_a_file(lab: &Lab, index: usize) -> Result<Seen, Error> {
    replaced(lab, index, "touch /volumes", &["not a directory"])
}

pub(crate) fn replaced_by_a_symlink(lab: &Lab, index: usize) -> Result<Seen, Error> {
    replaced(lab, index, "mkdir -p /var/elsewhere && ln -s /var/elsewhere /volumes", &["not a directory"])
}

/// A step of mounting at which strace holds the worker until the agent is killed.
struct Step {
    name: &'static str,
    strace: &'static str,
}

const STEPS: &[Step] = &[
    Step {
        name: "before the identifier is written",
        strace: "-e trace=write -e inject=write:delay_enter=30000000 -P /sys/fs/nfs/net/nfs_client/identifier",
    },
    Step { name: "before mount(2)", strace: "-e trace=mount -e inject=mount:delay_enter=30000000" },
    Step {
        name: "after mount(2), before the read-ahead",
        strace: "-e trace=mount -e inject=mount:delay_exit=30000000",
    },
    Step {
        name: "before the marker is looked at",
        strace: "-e trace=openat2 -e inject=openat2:delay_enter=30000000",
    },
    Step {
        name: "before the marker is written",
        strace: "-e trace=linkat -e inject=linkat:delay_enter=30000000",
    },
];

/// Attaches to the agent, makes it mount anew, waits until a worker of it is held, and kills the agent.
const KILL: &str = r#"
agent=$(systemctl show -P MainPID volumes-agent)
: > /tmp/trace.said
setsid strace -f -p $agent -o /tmp/trace STRACE 2>/tmp/trace.said </dev/null &
for i in $(seq 100); do grep -q attached /tmp/trace.said && break; sleep 0.1; done
# Only those that start from now on are traced.
pkill -KILL -P $agent
echo other > /sys/fs/nfs/net/nfs_client/identifier
umount --lazy --no-canonicalize --internal-only /volumes
held() { ps -eo pid,ppid,stat,args | awk -v agent=$agent '$2 == agent && $3 ~ /^t/ && /share-worker/ { print $1 }'; }
for i in $(seq 100); do
    first=$(held); sleep 0.3; again=$(held)
    [ -n "$first" ] && [ "$first" = "$again" ] && break
done
[ -n "$again" ] || { echo "no worker was held"; cat /tmp/trace; exit 1; }
kill -KILL $agent
# The kernel lets nobody out of a tracer's stop, so the tracer goes too: the worker meets its own SIGKILL before anything else.
pkill -KILL -x strace
for i in $(seq 100); do [ -d /proc/$again ] || exit 0; sleep 0.1; done
echo "the worker outlived the agent"; exit 1
"#;

/// Kills the agent at each step, each time with a restart by systemd; then all must be as if nothing had been.
pub(crate) fn killed_at_each_step(lab: &Lab, index: usize) -> Result<Seen, Error> {
    let guest = lab.instance(index);
    let mut told = Vec::new();
    for step in STEPS {
        if step.strace.contains("linkat") {
            std::fs::remove_file(lab.share.path(".volumes-agent/file-system"))
                .map_err(lab::host::failed("remove", &lab.share.path(".volumes-agent/file-system")))?;
        }
        guest.write("/tmp/kill.sh", &KILL.replace("STRACE", step.strace))?;
        let killed = guest.try_run("sh /tmp/kill.sh", Duration::from_secs(60));
        expect(killed.code == 0, format!("killed {}", step.name), killed.stdout + &killed.stderr)?;
        let trail = Trail::begin(lab, index)?;
        trail.sees(lab, "ready", SOON)?;
        whole(lab, index)?;
        as_it_must_be(lab, index).map_err(|error| named(step.name, error))?;
        told.push(format!("{}: {}", step.name, trail.told()?));
    }
    a_new_container_sees_the_share(lab, index)?;
    Ok(Seen::new(
        format!(
            "{}\neach time: mounted once, the identifier is the instance's, read-ahead is set, no worker is left",
            told.join("\n")
        ),
        "new ones see the share",
        NOTHING_WRITTEN,
    ))
}

fn named(step: &str, error: Error) -> Error {
    Error::NotSeen {
        expected: format!("after a kill {step}"),
        seen: error.to_string(),
        waited: Duration::ZERO,
    }
}

/// One mount with everything that belongs to it.
fn as_it_must_be(lab: &Lab, index: usize) -> Result<(), Error> {
    let guest = lab.instance(index);
    wait::until(&lab.progress, "one mount, its identifier, its read-ahead, no worker left", SOON, || {
        let look = guest
            .run(
                "grep -c ' /volumes ' /proc/self/mountinfo; cat /sys/fs/nfs/net/nfs_client/identifier; \
                 cat /sys/class/bdi/$(grep ' /volumes ' /proc/self/mountinfo | cut -d' ' -f3)/read_ahead_kb; \
                 pgrep -c strace",
            )
            .or_else(|error| match error {
                Error::Command { output, .. } => Ok(output),
                other => Err(other.to_string()),
            })?;
        let expected = format!("1\n{}\n15360\n0\n", guest.identity.id);
        if look == expected { Ok(()) } else { Err(look.replace('\n', " ")) }
    })
}

/// dockerd is there before the share is.
pub(crate) fn docker_before_the_agent(lab: &Lab, index: usize) -> Result<Seen, Error> {
    let guest = lab.instance(index);
    guest.run(&format!("systemctl stop ecs volumes-agent && {UNMOUNT} && systemctl restart docker"))?;
    let refused = faults::docker_is_refused(lab, index);
    let trail = Trail::begin(lab, index)?;
    guest.run("systemctl start --no-block volumes-agent ecs")?;
    trail.sees(lab, "ready", SOON)?;
    whole(lab, index)?;
    a_new_container_sees_the_share(lab, index)?;
    nothing_elsewhere(lab, index)?;
    Ok(Seen::new(
        trail.told()?,
        format!("before: \"{}\"; afterwards new ones see the share", refused?),
        NOTHING_WRITTEN,
    ))
}

/// What the agent and the kernel have of things that leak.
const COUNT: &str = r#"
agent=$(systemctl show -P MainPID volumes-agent)
echo $(ls /proc/$agent/fd | wc -l) $(grep VmRSS /proc/$agent/status | tr -dc 0-9) $(ls /proc/$agent/task | wc -l) \
    $(grep -c nfs4 /proc/self/mountinfo) $(pgrep -c -P $agent)
"#;

/// Loses and mounts so many times.
const CYCLES: &str = r#"
for i in $(seq 100); do
    umount --lazy --no-canonicalize --internal-only /volumes || exit 1
    for j in $(seq 300); do
        curl -s http://127.0.0.1:12049/healthz | grep -q '"state":"ready"' && grep -q ' /volumes ' /proc/self/mountinfo && break
        sleep 0.05
    done
done
"#;

/// 100 times unmounted and mounted again.
pub(crate) fn cycles(lab: &Lab, index: usize) -> Result<Seen, Error> {
    let guest = lab.instance(index);
    let count = || {
        let text = guest.run(COUNT)?;
        Ok::<Vec<i64>, Error>(text.split_whitespace().filter_map(|word| word.parse().ok()).collect())
    };
    guest.run("systemctl restart volumes-agent")?;
    whole(lab, index)?;
    let one = |n: &str| CYCLES.replace("seq 100", &format!("seq {n}"));
    // The first few fill pools and caches.
    guest.run(&one("5"))?;
    whole(lab, index)?;
    let before = count()?;
    let trail = Trail::begin(lab, index)?;
    let ran = guest.try_run(CYCLES, Duration::from_secs(300));
    expect(ran.code == 0, "100 cycles", format!("{} {}", ran.code, ran.stderr))?;
    whole(lab, index)?;
    let took = trail.elapsed()?;
    let losses = trail.steps()?.iter().filter(|step| step.what == "lost").count();
    let settled = wait::until(&lab.progress, "as many of everything as before", SOON, || {
        let after = count().map_err(|error| error.to_string())?;
        let is_same = matches!((&before[..], &after[..]), ([f, r, t, m, c], [f2, r2, t2, m2, c2])
            if f2 <= &(f + 3) && r2 <= &(r + 2048) && t2 <= &(t + 1) && m2 == m && c2 <= &(c + 1));
        if is_same { Ok(after) } else { Err(format!("{before:?} before, {after:?} after")) }
    })?;
    expect(losses >= 100, "each loss was told", format!("{losses}"))?;
    let words = |counts: &[i64]| match counts {
        [fds, rss, threads, mounts, children] => format!(
            "{fds} descriptors, {:.1} MB resident, {threads} threads, {mounts} mounts, {children} children",
            *rss as f64 / 1024.0
        ),
        _ => format!("{counts:?}"),
    };
    Ok(Seen::new(
        format!(
            "{losses} times lost and ready again in {took:.0} s\nbefore: {}\nafter: {}",
            words(&before),
            words(&settled)
        ),
        "none ran",
        NOTHING_WRITTEN,
    ))
}
