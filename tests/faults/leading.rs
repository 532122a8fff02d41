//! The leader: cut off, killed, rebooted, frozen, its lock lost. A follower takes over, and of what was deployed meanwhile nothing is
//! registered twice and nothing runs without its volumes.

use crate::{
    row::{BACK, NOTHING_WRITTEN, Seen, whole},
    trail::Trail,
};
use lab::{Error, Lab, app, cluster::CLUSTER, expect, network, wait};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// A server frees the lock of a client that is silent once its lease is over, and looks for such clients now and then; the follower tries every
/// ten seconds.
const TAKES_OVER: Duration = Duration::from_secs(180);

/// The deployed app, and who leads when the fault begins.
struct Before {
    leader: usize,
    /// The NFS client's lease with the server, in seconds, as its kernel tells.
    lease: u64,
    revisions: usize,
}

impl Before {
    fn look(lab: &Lab) -> Result<Self, Error> {
        app::up(lab)?;
        let leader = wait::until(&lab.progress, "one leads, one follows", BACK, || {
            match [0, 1].map(|index| lab.leads(index)) {
                [true, false] => Ok(0),
                [false, true] => Ok(1),
                other => Err(format!("{other:?}")),
            }
        })?;
        let lease = lab.instance(leader).run(
            "grep -A9 'mounted on /volumes ' /proc/self/mountstats | grep -o 'lease_time=[0-9]*' | cut -d= -f2",
        )?;
        Ok(Self {
            leader,
            lease: lease.trim().parse().unwrap_or_default(),
            revisions: app::revisions(lab, app::SERVICE)?.len(),
        })
    }

    /// A plain deploy of new code, without volumes, in the middle of the fault.
    fn deploy(&self, lab: &Lab) -> Result<(), Error> {
        let mut document: Value =
            serde_json::from_str(&app::file("task-definition.json")?).unwrap_or_default();
        // The same code again and again would be a pipeline that fights.
        let release = json!({ "name": "RELEASE", "value": self.revisions.to_string() });
        document["containerDefinitions"][0]["environment"] = json!([release]);
        let revision = app::register(lab, &document)?;
        lab.ecs(
            "UpdateService",
            &json!({ "cluster": CLUSTER, "service": app::SERVICE, "taskDefinition": revision }),
        )
        .map(drop)
    }

    /// Waits until the other instance leads. Gives after how long.
    fn taken_over(&self, lab: &Lab, since: Instant) -> Result<f64, Error> {
        wait::until(&lab.progress, "the other instance leads", TAKES_OVER, || {
            if lab.leads(1 - self.leader) {
                Ok(since.elapsed().as_secs_f64())
            } else {
                Err("it does not".to_owned())
            }
        })
    }

    /// What the deploy came to: one revision of the author's, one patched copy, and the service on that.
    fn ends(&self, lab: &Lab) -> Result<String, Error> {
        let patched = app::patched(lab, app::SERVICE)?;
        for index in [0, 1] {
            whole(lab, index)?;
        }
        app::serving(lab, &patched)?;
        let revisions = app::revisions(lab, app::SERVICE)?;
        expect(
            revisions.len() == self.revisions + 2 && revisions.last() == Some(&patched),
            "the deploy's revision and one patched copy of it, and the service on that",
            format!("{patched} of {revisions:?}, {} before", self.revisions),
        )?;
        wait::until(&lab.progress, "one leads, one follows", BACK, || {
            let leads = [0, 1].map(|index| lab.leads(index));
            if leads.iter().filter(|leads| **leads).count() == 1 { Ok(()) } else { Err(format!("{leads:?}")) }
        })?;
        Ok(format!("registered once, on {}", patched.rsplit('/').next().unwrap_or_default()))
    }

    fn told(&self, what: &str, took: f64, containers: String) -> Seen {
        let states = format!("{what}; the other instance leads after {took:.1} (lease: {} s)", self.lease);
        Seen::new(states, containers, NOTHING_WRITTEN)
    }
}

/// The leader's instance loses its network for longer than its lease lasts.
pub(crate) fn cut_off(lab: &Lab) -> Result<Seen, Error> {
    let before = Before::look(lab)?;
    let tap = &lab.instance(before.leader).identity.tap;
    network::connect(tap, false)?;
    let begun = Instant::now();
    let took = before.deploy(lab).and_then(|()| before.taken_over(lab, begun));
    network::connect(tap, true)?;
    let took = took?;
    let end = before.ends(lab)?;
    Ok(before.told("network down until then", took, end))
}

/// The leader's instance loses its power, and is started again once the other one leads.
pub(crate) fn killed(lab: &Lab) -> Result<Seen, Error> {
    let before = Before::look(lab)?;
    let guest = lab.instance(before.leader);
    guest.kill()?;
    let begun = Instant::now();
    let took = before.deploy(lab).and_then(|()| before.taken_over(lab, begun));
    guest.start()?;
    guest.answers(&lab.progress)?;
    let took = took?;
    let end = before.ends(lab)?;
    Ok(before.told("power cut", took, end))
}

/// The leader's instance is rebooted.
pub(crate) fn rebooted(lab: &Lab) -> Result<Seen, Error> {
    let before = Before::look(lab)?;
    let guest = lab.instance(before.leader);
    let begun = Instant::now();
    guest.shut_down(&lab.progress, Duration::from_secs(120))?;
    let took = before.deploy(lab).and_then(|()| before.taken_over(lab, begun));
    guest.start()?;
    guest.answers(&lab.progress)?;
    let took = took?;
    let end = before.ends(lab)?;
    Ok(before.told("`systemctl reboot`", took, end))
}

/// The leader's whole instance stands still until another leads, and goes on as if nothing had been.
pub(crate) fn frozen(lab: &Lab) -> Result<Seen, Error> {
    let before = Before::look(lab)?;
    let guest = lab.instance(before.leader);
    guest.freeze()?;
    let begun = Instant::now();
    let took = before.deploy(lab).and_then(|()| before.taken_over(lab, begun));
    guest.thaw()?;
    let took = took?;
    let end = before.ends(lab)?;
    Ok(before.told("instance frozen until then", took, end))
}

/// The leader's process stands still: its kernel keeps the lease, so only the watchdog ends it.
pub(crate) fn process_frozen(lab: &Lab) -> Result<Seen, Error> {
    let before = Before::look(lab)?;
    let trail = Trail::begin(lab, before.leader)?;
    lab.instance(before.leader).run("systemctl kill --kill-who=main -s STOP volumes-agent")?;
    before.deploy(lab)?;
    trail.sees(lab, "agent started", Duration::from_secs(60))?;
    let end = before.ends(lab)?;
    Ok(Seen::new(format!("{}; whoever is first leads", trail.told()?), end, NOTHING_WRITTEN))
}

/// The server is killed and started again while a deploy waits: the leader has its lock back, or another takes it.
pub(crate) fn server_restarted(lab: &Lab) -> Result<Seen, Error> {
    let before = Before::look(lab)?;
    before.deploy(lab)?;
    lab.share.restart(&lab.progress)?;
    let end = before.ends(lab)?;
    let leads = if lab.leads(before.leader) { "the same instance leads" } else { "the other instance leads" };
    Ok(Seen::new(leads, end, NOTHING_WRITTEN))
}

/// The leader's instance drains: it lets another lead.
pub(crate) fn drains(lab: &Lab) -> Result<Seen, Error> {
    let before = Before::look(lab)?;
    let arn = lab.container_instance(before.leader)?["containerInstanceArn"].clone();
    let set = |status: &str| {
        lab.ecs(
            "UpdateContainerInstancesState",
            &json!({ "cluster": CLUSTER, "containerInstances": [arn], "status": status }),
        )
    };
    set("DRAINING")?;
    let begun = Instant::now();
    let took = before.taken_over(lab, begun);
    set("ACTIVE")?;
    let took = took?;
    before.deploy(lab)?;
    let end = before.ends(lab)?;
    Ok(before.told("DRAINING", took, end))
}
