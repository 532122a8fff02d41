//! A volume is filled from its image, by two instances at once, when something breaks: absent or complete, whatever it is.

use crate::row::{BACK, NOTHING_WRITTEN, Seen, whole};
use lab::{Error, Lab, app, expect, host, jenkins, network, wait};
use std::path::Path;

/// Enough that it can be met in the middle.
const PLUGINS: usize = 2500;
/// How many are there when the fault comes.
const PART: usize = 100;

/// A volume that is being filled.
struct Filling {
    revision: String,
    /// The instance that fills it; the other one waits.
    filler: usize,
    /// How many entries there are.
    count: usize,
}

/// Both instances start, nothing is there.
fn begin(lab: &Lab) -> Result<String, Error> {
    if app::services(lab, jenkins::APP)?.is_some() {
        // Of a row that broke.
        jenkins::end(lab)?;
        jenkins::forget(lab)?;
    }
    jenkins::prepare(lab, PLUGINS)?;
    jenkins::deploy_patched(lab, &jenkins::document(PLUGINS))
}

/// Begins to fill the volume, waits until it is in the middle, and stops the server there, so that it stays so until it is resumed.
fn in_the_middle(lab: &Lab) -> Result<Filling, Error> {
    let revision = begin(lab)?;
    let count = jenkins::copied(lab, PART)?;
    lab.share.stall()?;
    expect(count.is_some(), "to meet it in the middle", "it is complete")?;
    Ok(Filling { revision, filler: filler(lab)?, count: count.unwrap_or_default() })
}

/// Both tasks run with all that the image has, and nothing is left of what was begun.
fn complete(lab: &Lab, revision: &str) -> Result<(), Error> {
    jenkins::running(lab, revision)?;
    jenkins::is_whole(lab, PLUGINS)?;
    let beside = jenkins::beside(lab);
    expect(beside == ["jenkins_home"], "nothing is left beside the volume", format!("{beside:?}"))
}

fn end(lab: &Lab, states: String) -> Result<Seen, Error> {
    jenkins::end(lab)?;
    jenkins::forget(lab)?;
    Ok(Seen::new(
        states,
        "the app is created once the volume is complete, on both instances",
        NOTHING_WRITTEN,
    ))
}

/// There is no entry in the volume itself.
fn absent(lab: &Lab) -> Result<(), Error> {
    let volume = lab.share.path(jenkins::ON_SHARE);
    let count = std::fs::read_dir(&volume).map(Iterator::count).unwrap_or_default();
    expect(count == 0, "the volume is empty", count.to_string())
}

/// The share is full, until somebody makes room.
pub(crate) fn full(lab: &Lab) -> Result<Seen, Error> {
    let Filling { revision, count, .. } = in_the_middle(lab)?;
    let ballast = lab.share.path("ballast");
    // It ends with an error, when the last block is taken.
    drop(host::sh(&format!("dd if=/dev/zero of={} bs=64k", ballast.display())));
    lab.share.resume()?;
    let said = wait::until(&lab.progress, "a seeding container says that the share is full", BACK, || {
        let said = [jenkins::said(lab, 0), jenkins::said(lab, 1)]
            .map(|said| said.map_err(|error| error.to_string()));
        let all = said.into_iter().collect::<Result<Vec<_>, _>>()?.concat();
        let line = all.lines().find(|line| line.contains("No space left on device")).map(str::to_owned);
        line.ok_or(all)
    });
    let is_absent = absent(lab);
    host::remove(&ballast)?;
    let said = said?;
    is_absent?;
    complete(lab, &revision)?;
    end(
        lab,
        format!(
            "full when {count} entries were there: \"{said}\"; the task is started again, until there is room"
        ),
    )
}

/// The power of the instance that fills is cut, and comes back.
pub(crate) fn power_cut(lab: &Lab) -> Result<Seen, Error> {
    let Filling { revision, filler, count } = in_the_middle(lab)?;
    let cut = std::time::Instant::now();
    lab.instance(filler).kill()?;
    lab.share.resume()?;
    absent(lab)?;
    let other = lab.instance(1 - filler);
    let filled = wait::until(&lab.progress, "the other instance fills it", BACK, || {
        let said = jenkins::said(lab, 1 - filler).map_err(|error| error.to_string())?;
        if said.contains("filled from the image") { Ok(cut.elapsed()) } else { Err(said) }
    });
    lab.instance(filler).start()?;
    lab.instance(filler).answers(&lab.progress)?;
    let filled = filled?;
    whole(lab, filler)?;
    complete(lab, &revision)?;
    let name = other.identity.name.clone();
    end(
        lab,
        format!(
            "{} was off when {count} entries were there; {name}, which waited, has filled it {:.1} s later (the server's lease is 10 s)",
            lab.instance(filler).identity.name,
            filled.as_secs_f64()
        ),
    )
}

/// The instance that fills is cut off until the other one has filled the volume and its app has written to it, and then let go on.
pub(crate) fn cut_off(lab: &Lab) -> Result<Seen, Error> {
    let Filling { revision, filler, count } = in_the_middle(lab)?;
    let tap = &lab.instance(filler).identity.tap;
    network::connect(tap, false)?;
    lab.share.resume()?;
    let volume = lab.share.path(jenkins::ON_SHARE);
    let log = volume.join("copy_reference_file.log");
    let by_the_other =
        wait::until(&lab.progress, "the other instance fills it, and its app writes", BACK, || {
            let said = jenkins::said(lab, 1 - filler).map_err(|error| error.to_string())?;
            if log.exists() { Ok(host::read(&log)) } else { Err(said) }
        });
    network::connect(tap, true)?;
    lab.instance(filler).answers(&lab.progress)?;
    let written = by_the_other??;
    let inode = inode(&volume)?;
    whole(lab, filler)?;
    complete(lab, &revision)?;
    let after = host::read(&log)?;
    expect(
        inode == self::inode(&volume)? && after.starts_with(&written),
        "what the other instance filled, and its app wrote, stays",
        format!("{written:?}, then {after:?}"),
    )?;
    let record = volumes_agent::record::record_name(jenkins::ON_SHARE);
    let record = host::read(&lab.share.path(&format!(".volumes-agent/volumes/{record}")))?;
    let told: serde_json::Value = serde_json::from_str(&record).unwrap_or_default();
    let other = &lab.instance(1 - filler).identity.name;
    expect(
        told["state"] == "seeded" && told["seeded_by"].as_str().is_some_and(|by| by.ends_with(other)),
        "the record says who has filled it",
        record,
    )?;
    end(
        lab,
        format!(
            "{} was cut off when {count} entries were there, and let go on once the other one had filled it: its own copy came to nothing",
            lab.instance(filler).identity.name
        ),
    )
}

fn inode(path: &Path) -> Result<u64, Error> {
    let meta = std::fs::metadata(path).map_err(host::failed("stat", path))?;
    Ok(std::os::unix::fs::MetadataExt::ino(&meta))
}

/// The instance that fills the volume: a process there holds files of what is not yet in its place.
fn filler(lab: &Lab) -> Result<usize, Error> {
    const HOLDS: &str = "ls -l /proc/[0-9]*/fd 2> /dev/null | grep -c -F .volumes-agent-seeding- || true";
    wait::until(&lab.progress, "one of the two fills it", BACK, || {
        let held = [0, 1].map(|index| lab.instance(index).run(HOLDS).map_err(|error| error.to_string()));
        let holds = held.iter().position(|held| held.as_ref().is_ok_and(|held| held.trim() != "0"));
        holds.ok_or_else(|| format!("{held:?}"))
    })
}

/// The server is killed and started again.
pub(crate) fn server_killed(lab: &Lab) -> Result<Seen, Error> {
    let Filling { revision, count, .. } = in_the_middle(lab)?;
    lab.share.restart(&lab.progress)?;
    complete(lab, &revision)?;
    for index in [0, 1] {
        whole(lab, index)?;
    }
    end(lab, format!("killed when {count} entries were there; the copy waits for it, and goes on"))
}
