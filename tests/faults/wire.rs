//! An instance's network: cut, slow, losing packets.

use crate::{
    row::{BACK, Seen, whole},
    trail::Trail,
};
use lab::{Error, Lab, expect, network, wait, writer::Writer};
use std::time::Duration;

/// Nothing gets through for half a minute.
pub(crate) fn cut(lab: &Lab, index: usize) -> Result<Seen, Error> {
    let writer = Writer::start(lab, index, "network-cut")?;
    let trail = Trail::begin(lab, index)?;
    let tap = &lab.instance(index).identity.tap;
    network::connect(tap, false)?;
    // Half a minute is the fault itself.
    std::thread::sleep(Duration::from_secs(30));
    network::connect(tap, true)?;
    lab.instance(index).answers(&lab.progress)?;
    writer.goes_on(lab, BACK)?;
    whole(lab, index)?;
    let written = writer.finish(lab)?;
    let told = trail.told()?;
    expect(trail.has("stalled")?, "it is told as stalled", &*told)?;
    Ok(Seen::new(told, written.seen(), written.nothing_lost()?))
}

/// 200 ms of delay and 5 % loss on the way out, for a minute.
pub(crate) fn slow(lab: &Lab, index: usize) -> Result<Seen, Error> {
    let guest = lab.instance(index);
    let writer = Writer::start(lab, index, "network-slow")?;
    let trail = Trail::begin(lab, index)?;
    guest.run("tc qdisc add dev vec0 root netem delay 200ms loss 5%")?;
    let stayed = wait::always(&lab.progress, "it is ready", Duration::from_secs(60), || {
        let state = lab.health(index);
        if state.json()["state"] == "ready" || state.status == 0 { Ok(()) } else { Err(state.body) }
    });
    guest.run("tc qdisc del dev vec0 root")?;
    stayed?;
    let written = writer.finish(lab)?;
    written.no_error()?;
    expect(!trail.has("stalled")?, "never stalled", trail.told()?)?;
    Ok(Seen::new(trail.told()?, written.seen(), written.nothing_lost()?))
}
