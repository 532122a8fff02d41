//! `volumes-agent doctor` on a booted instance: well, with the daemon dead, with the share silent.

use lab::{Error, Lab, expect, faults, guest::Output, story};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// What its help promises, and what starting it over ssh takes.
const LONGEST: Duration = Duration::from_secs(25 + 3);
/// Until a healthy instance is as it was.
const SOON: Duration = Duration::from_secs(60);

/// What a run said: its exit code, and each check's result and detail.
struct Run {
    code: i32,
    checks: BTreeMap<String, (String, String)>,
    took: Duration,
    said: String,
}

impl Run {
    /// Whether these checks have these results, and all others pass.
    fn is(&self, code: i32, others: &[(&str, &[&str])]) -> Result<(), Error> {
        let others: BTreeMap<&str, &[&str]> = others.iter().copied().collect();
        for (name, (result, detail)) in &self.checks {
            let allowed = others.get(name.as_str()).copied().unwrap_or(&["pass"]);
            expect(
                allowed.contains(&result.as_str()),
                format!("`{name}` is one of {allowed:?}"),
                format!("{result}: {detail}"),
            )?;
        }
        for name in others.keys() {
            expect(self.checks.contains_key(*name), format!("a check `{name}`"), &*self.said)?;
        }
        expect(self.code == code, format!("exit code {code}"), format!("{}: {}", self.code, self.said))
    }

    fn tells(&self, name: &str, words: &str) -> Result<(), Error> {
        let detail = self.checks.get(name).map_or("", |(_, detail)| detail);
        expect(detail.contains(words), format!("`{name}` tells `{words}`"), detail)
    }
}

fn run(lab: &Lab, index: usize, command: &str) -> Result<Run, Error> {
    let begun = Instant::now();
    let Output { code, stdout, stderr } = lab.instance(index).try_run(command, LONGEST + SOON);
    let took = begun.elapsed();
    let document: Value = serde_json::from_str(&stdout).unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let checks: BTreeMap<_, _> = document["checks"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|check| (text(&check["name"]), (text(&check["result"]), text(&check["detail"]))))
        .collect();
    let said = format!("{stdout}{stderr}");
    expect(checks.len() >= 20, "a list of checks", &*said)?;
    Ok(Run { code, checks, took, said })
}

const DOCTOR: &str = "volumes-agent doctor --format json";

/// What the lab can't have: the names that the VPC's DNS has of a file system.
const NO_NAMES: (&str, &[&str]) = ("dns", &["pass", "warn"]);
/// On a busy machine a round trip takes long enough for a warning.
const SLOW: (&str, &[&str]) = ("round-trip", &["pass", "warn"]);

/// Each check passes, and nothing is left on the share.
pub(crate) fn a_healthy_instance(lab: &Lab) -> Result<String, Error> {
    story::both_instances_are_ready(lab)?;
    lab.gates(0, "ready", SOON)?;
    let files = || lab.instance(0).run("ls -A /volumes/.volumes-agent");
    let before = files()?;
    let healthy = run(lab, 0, DOCTOR)?;
    let warns = healthy.checks.values().any(|(result, _)| result == "warn");
    healthy.is(i32::from(warns), &[NO_NAMES, SLOW])?;
    healthy.tells("metadata", "in us-east-1a")?;
    healthy.tells("identity", &lab.file_system.id)?;
    healthy.tells("tcp-2049", "10.77.0.1:2049 answers")?;
    healthy.tells("permissions", "ECS may be read")?;
    let after = files()?;
    expect(before == after, format!("the same files on the share: {before}"), after)?;
    let page = lab.instance(0).try_run("volumes-agent doctor", LONGEST).stdout;
    expect(page.starts_with("pass     configuration  "), "a page for people", &*page)?;
    Ok(format!("{} checks in {:.1} s", healthy.checks.len(), healthy.took.as_secs_f64()))
}

/// The daemon dead, the guard off, read-ahead reset, a wrong configuration, and a person who isn't root: each is told by its check.
pub(crate) fn what_is_wrong_is_told(lab: &Lab) -> Result<String, Error> {
    let guest = lab.instance(1);
    lab.gates(1, "ready", SOON)?;

    let other = run(lab, 1, &format!("setpriv --reuid 65534 --regid 65534 --clear-groups {DOCTOR}"))?;
    let unseen: &[&str] = &["unknown"];
    other.is(
        1,
        &[
            NO_NAMES,
            ("guard", unseen),
            ("docker", unseen),
            ("round-trip", unseen),
            ("identity", unseen),
            ("locks", unseen),
            ("ownership", unseen),
        ],
    )?;
    other.tells("guard", "this needs root")?;

    let wrong = run(lab, 1, &format!("{DOCTOR} --probe-interval never"))?;
    wrong.is(
        78,
        &[
            SLOW,
            ("configuration", &["fail"]),
            ("target-zone", unseen),
            ("dns", unseen),
            ("permissions", unseen),
        ],
    )?;
    wrong.tells("configuration", "flag --probe-interval")?;

    // The mount's own device, and the bare mount point below it.
    let reset = "dev=$(awk '$5 == \"/volumes\" { print $3 }' /proc/self/mountinfo); echo 128 > /sys/class/bdi/$dev/read_ahead_kb; \
                 mkdir -p /run/bare && mount --bind / /run/bare && chattr -i /run/bare/volumes && umount /run/bare";
    guest.run(&format!("systemctl stop volumes-agent; {reset}"))?;
    let dead = run(lab, 1, DOCTOR)?;
    guest.run("systemctl start volumes-agent && volumes-agent guard")?;
    lab.reports(1, "ready", SOON)?;
    dead.is(
        2,
        &[
            NO_NAMES,
            SLOW,
            ("daemon", &["fail"]),
            ("version", unseen),
            ("gate", unseen),
            ("containers", unseen),
            ("guard", &["fail"]),
            ("read-ahead", &["warn"]),
        ],
    )?;
    dead.tells("read-ahead", "128 KiB")?;
    dead.tells("guard", "NOT immutable")?;
    lab.gates(1, "ready", SOON)?;
    Ok(dead.checks.get("daemon").map(|(_, detail)| detail.clone()).unwrap_or_default())
}

/// It ends within its time, tells the stall, and twice is no worse than once: no child hangs on after it.
pub(crate) fn a_stalled_share(lab: &Lab) -> Result<String, Error> {
    if lab.health(0).json()["state"] != "stalled" {
        faults::a_stall_is_told(lab)?;
    }
    // Not the agent's own, which come and go.
    let left_over = "agent=$(systemctl show -P MainPID volumes-agent); \
        ps -eo ppid=,args= | awk -v agent=$agent '/share-worker [0-9]/ && $1 != agent'";
    let mut took = Duration::ZERO;
    for _ in 0..2 {
        let stalled = run(lab, 0, DOCTOR)?;
        took = stalled.took;
        expect(took < LONGEST, format!("an end within {LONGEST:?}"), format!("{took:?}"))?;
        stalled.is(
            2,
            &[
                NO_NAMES,
                ("daemon", &["fail"]),
                ("gate", &["fail"]),
                ("tcp-2049", &["warn"]),
                ("round-trip", &["fail"]),
                ("identity", &["unknown"]),
                ("locks", &["unknown"]),
                ("ownership", &["unknown"]),
                ("lease-time", &["pass", "warn"]),
            ],
        )?;
        stalled.tells("round-trip", "no answer from the share within 5s")?;
        stalled.tells("daemon", "stalled since")?;
    }
    let left_over = lab.instance(0).run(left_over)?;
    expect(left_over.is_empty(), "no child of the doctor is left", left_over)?;
    Ok(format!("{:.1} s", took.as_secs_f64()))
}
