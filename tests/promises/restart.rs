//! The agent ends and starts while the share hangs.

use lab::{Error, Lab, expect, faults};
use std::time::Duration;

/// SIGTERM, then a start, both while the server is silent; then it speaks again.
pub(crate) fn sigterm_during_a_stall(lab: &Lab) -> Result<String, Error> {
    if lab.health(0).json()["state"] != "stalled" {
        faults::a_stall_is_told(lab)?;
    }
    let guest = lab.instance(0);
    let took = guest.run(
        "pid=$(systemctl show -P MainPID volumes-agent); begun=$(date +%s%N); kill -TERM $pid; \
         while [ -d /proc/$pid ]; do sleep 0.01; done; echo $(( ($(date +%s%N) - begun) / 1000000 ))",
    )?;
    let ms: u64 = took.trim().parse().unwrap_or(u64::MAX);
    // The promised second is the agent's; a busy machine gets more before it counts as waiting for the share.
    expect(ms < 5000, "it ends without waiting for the share", format!("{ms} ms"))?;
    // systemd starts it again: it finds the mount, and says what is so.
    let health = lab.reports(0, "stalled", faults::STALL_SEEN)?;
    let mounted = guest.run("grep -c ' /volumes nfs4\\| /volumes .* nfs4 ' /proc/self/mountinfo")?;
    expect(mounted.trim() == "1", "the share is still mounted, once", mounted)?;
    let answer = lab.health(0);
    expect(answer.took < faults::PROMPT, "an answer at once", format!("{:?}", answer.took))?;
    lab.share.resume()?;
    for index in [0, 1] {
        lab.reports(index, "ready", Duration::from_secs(60))?;
    }
    Ok(format!("{ms} ms; {}", health["reason"]))
}
