//! The agent itself: frozen, besieged, twice there, in another time.

use crate::{
    row::{NOTHING_WRITTEN, Seen, says, whole},
    trail::Trail,
};
use lab::{Error, Lab, expect, wait, writer::Writer};
use std::time::Duration;

/// SIGSTOP: the watchdog ends it, systemd starts it again.
pub(crate) fn frozen(lab: &Lab, index: usize) -> Result<Seen, Error> {
    let guest = lab.instance(index);
    let writer = Writer::start(lab, index, "agent-frozen")?;
    let before =
        guest.run("systemctl show -P MainPID volumes-agent; grep ' /volumes ' /proc/self/mountinfo")?;
    let trail = Trail::begin(lab, index)?;
    guest.run("systemctl kill --kill-who=main -s STOP volumes-agent")?;
    trail.sees(lab, "agent started", Duration::from_secs(60))?;
    whole(lab, index)?;
    let after =
        guest.run("systemctl show -P MainPID volumes-agent; grep ' /volumes ' /proc/self/mountinfo")?;
    let written = writer.finish(lab)?;
    written.no_error()?;
    let mount = |text: &str| text.split_once('\n').map(|(_, mount)| mount.to_owned());
    expect(before != after && mount(&before) == mount(&after), "another process, the same mount", after)?;
    let at = trail.at("agent started")?.unwrap_or_default();
    // The watchdog's 30 s, counted from the last sign of life.
    expect(at < 36.0, "the watchdog needs no second deadline", format!("{at:.1} s"))?;
    Ok(Seen::new(trail.told()?, written.seen(), written.nothing_lost()?))
}

/// Whatever asks the share for the agent is killed, again and again.
pub(crate) fn workers_killed(lab: &Lab, index: usize) -> Result<Seen, Error> {
    const KILL: &str = "pkill -KILL -c -P $(systemctl show -P MainPID volumes-agent)";
    const TIMES: usize = 10;
    let guest = lab.instance(index);
    let writer = Writer::start(lab, index, "workers-killed")?;
    let trail = Trail::begin(lab, index)?;
    let mut killed = 0;
    for _ in 0..TIMES {
        let count = guest.run(KILL)?;
        killed += count.trim().parse().unwrap_or(0);
        let before = lab.health(index).json()["probe"]["last_ok"].clone();
        wait::until(&lab.progress, "the share is probed again", Duration::from_secs(30), || {
            let now = lab.health(index).json()["probe"]["last_ok"].clone();
            if now.is_string() && now != before { Ok(()) } else { Err(now.to_string()) }
        })?;
    }
    whole(lab, index)?;
    let written = writer.finish(lab)?;
    written.no_error()?;
    expect(killed >= TIMES, "one or more each time", killed.to_string())?;
    expect(trail.steps()?.is_empty(), "no change of state", trail.told()?)?;
    Ok(Seen::new(
        format!("{}; {killed} killed in {TIMES} rounds, probed again after each", trail.told()?),
        written.seen(),
        written.nothing_lost()?,
    ))
}

/// Half of them send nothing, half ask for much and never read.
const CALLERS: &str = r#"
trap '' PIPE
ulimit -n 4096
for i in $(seq 500); do
    exec {silent}<>/dev/tcp/127.0.0.1/12049 || exit 1
    exec {deaf}<>/dev/tcp/127.0.0.1/12049 || exit 1
    printf 'GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n%.0s' 1 2 3 4 >&$deaf 2>/dev/null
done
touch /tmp/besieged
sleep 60
"#;

/// 1,000 callers that are stuck.
pub(crate) fn besieged(lab: &Lab, index: usize) -> Result<Seen, Error> {
    let guest = lab.instance(index);
    guest.write("/tmp/callers.sh", CALLERS)?;
    let trail = Trail::begin(lab, index)?;
    guest.run("rm -f /tmp/besieged; setsid bash /tmp/callers.sh > /tmp/callers.said 2>&1 < /dev/null & echo $! > /tmp/callers.pid")?;
    let besieged =
        wait::until(&lab.progress, "1,000 callers are connected", Duration::from_secs(180), || {
            guest
                .run("test -e /tmp/besieged || { cat /tmp/callers.said; exit 1; }")
                .map_err(|error| error.to_string())
        });
    let mut slowest = Duration::ZERO;
    let answered = (|| {
        for _ in 0..10 {
            let answer = lab.health(index);
            expect(answer.status == 200, "200", format!("{} {}", answer.status, answer.body))?;
            slowest = slowest.max(answer.took);
        }
        expect(slowest < Duration::from_secs(5), "answers without waiting for them", format!("{slowest:?}"))
    })();
    let held = guest.run("ls /proc/$(systemctl show -P MainPID volumes-agent)/fd | wc -l; grep VmRSS /proc/$(systemctl show -P MainPID volumes-agent)/status | tr -dc 0-9")?;
    guest.run("kill -KILL -$(cat /tmp/callers.pid) 2>/dev/null; pkill -KILL -f [c]allers.sh; true")?;
    besieged?;
    answered?;
    whole(lab, index)?;
    let (descriptors, memory) = held.trim().split_once('\n').unwrap_or_default();
    Ok(Seen::new(
        format!(
            "{}\n`/healthz` answers in {} ms at most of 10 times; the agent has {descriptors} descriptors and {:.1} MB resident meanwhile",
            trail.told()?,
            slowest.as_millis(),
            memory.parse().unwrap_or(0.0) / 1024.0
        ),
        "nothing of it",
        NOTHING_WRITTEN,
    ))
}

/// A second agent, with an address of its own for its endpoint.
pub(crate) fn twice(lab: &Lab, index: usize) -> Result<Seen, Error> {
    let guest = lab.instance(index);
    let trail = Trail::begin(lab, index)?;
    let second =
        guest.try_run("timeout 10 volumes-agent run --listen 127.0.0.1:12050", Duration::from_secs(20));
    let mounts = guest.run("grep -c ' /volumes ' /proc/self/mountinfo")?;
    lab.reports(index, "ready", Duration::from_secs(10))?;
    expect(
        second.code == 1,
        "the second one ends by itself with 1",
        format!("{} {}", second.code, second.stderr),
    )?;
    expect(mounts.trim() == "1", "one mount", mounts)?;
    let said =
        second.stderr.lines().find(|line| line.contains("error")).unwrap_or(&second.stderr).trim().to_owned();
    Ok(Seen::new(format!("{}\nthe second: \"{said}\"", trail.told()?), "nothing of it", NOTHING_WRITTEN))
}

/// The clock is set a day forward and back again.
pub(crate) fn clock(lab: &Lab, index: usize) -> Result<Seen, Error> {
    let guest = lab.instance(index);
    let writer = Writer::start(lab, index, "clock")?;
    let trail = Trail::begin(lab, index)?;
    let watched = ["+ 86400", "- 86400"].iter().try_for_each(|jump| {
        guest.run(&format!("date -s @$(( $(date +%s) {jump} ))"))?;
        wait::always(&lab.progress, "it is ready", Duration::from_secs(12), || {
            let answer = lab.health(index);
            if answer.status == 200 { Ok(()) } else { Err(answer.body) }
        })
    });
    watched?;
    let written = writer.finish(lab)?;
    written.no_error()?;
    says(lab, index, &["answers"], Duration::from_secs(5))?;
    expect(trail.steps()?.is_empty(), "no change of state", trail.told()?)?;
    Ok(Seen::new(trail.told()?, written.seen(), written.nothing_lost()?))
}
