//! Real applications with real data, from their compose files, in two places: Docker Compose with its own volumes, and the cluster with
//! volumes on the share. What an application sees must be the same in both.
//!
//! A name, or a part of one, on the command line runs only the applications that have it. A run of all writes docs/applications.md.
//! `--keep` leaves the cluster running, to look around in.

mod cluster;
mod composed;
mod git;
mod images;
mod jenkins;
mod place;
mod postgresql;
mod prometheus;
mod redis;
mod table;
mod wordpress;

use cluster::Cluster;
use composed::Composed;
use lab::{
    Error, Lab,
    enclosure::{self, Inside},
    expect,
    progress::Progress,
    selection::Selection,
};
use place::{Application, Place, Seen};
use std::{process::ExitCode, time::Duration};
use table::Alike;

const NAME: &str = "applications";

/// All of them. The last one's loses an instance.
const APPLICATIONS: &[Application] = &[
    jenkins::APPLICATION,
    git::APPLICATION,
    prometheus::APPLICATION,
    redis::APPLICATION,
    wordpress::APPLICATION,
    postgresql::APPLICATION,
];

fn main() -> ExitCode {
    let keep = std::env::args().any(|word| word == "--keep");
    let prepare = |progress: &Progress| {
        lab::cluster::prepare(progress)?;
        images::prepare(progress).map(drop)
    };
    enclosure::run(NAME, keep, prepare, |inside, progress| run(inside, keep, progress))
}

fn run(inside: Inside, keep: bool, progress: &Progress) -> Result<ExitCode, Error> {
    let wanted = Selection::of_the_command_line();
    let applications: Vec<&'static Application> =
        APPLICATIONS.iter().filter(|one| wanted.has(one.name)).collect();
    let lab = Lab::start(&inside, progress)?;
    for index in [0, 1] {
        lab.reports(index, "ready", Duration::from_secs(60))?;
        lab.gates(index, "ready", Duration::from_secs(60))?;
    }
    let images = images::prepare(progress)?;
    let composed = Composed::start(&images, progress)?;
    composed.build(&applications)?;
    cluster::load(&lab, &composed, &applications)?;
    let mut seen = Vec::new();
    let mut broken = Vec::new();
    for application in &applications {
        match both(&lab, &composed, application) {
            Ok(alike) => {
                progress.say(&format!("ok      {}", application.name));
                seen.push(alike);
            }
            Err(error) => {
                let evidence = lab.folder.join("evidence").join(application.name);
                progress.say(&format!(
                    "BROKEN  {}\n  {error}\n  logs:     {}",
                    application.name,
                    evidence.display()
                ));
                broken.push(application.name);
            }
        }
    }
    if wanted.is_all() && broken.is_empty() {
        table::write(&seen)?;
    }
    progress.say(&format!(
        "{} applications alike in both places, {} broken {broken:?}",
        seen.len(),
        broken.len()
    ));
    // A filter that fits nothing has tested nothing.
    inside.leave(u8::from(!broken.is_empty() || seen.is_empty()), keep)
}

/// Runs an application in both places.
fn both(lab: &Lab, composed: &Composed, application: &'static Application) -> Result<Alike, Error> {
    let there = told(lab, application, &composed.place(application))?;
    let here = told(lab, application, &Cluster::new(lab, composed, application))?;
    same(&there, &here)?;
    Ok(Alike { application, there, here })
}

/// Runs an application in a place, and leaves nothing of it there but, where it broke, evidence.
fn told(lab: &Lab, application: &Application, place: &dyn Place) -> Result<Vec<Seen>, Error> {
    lab.progress.say(&format!("{} {}", application.name, place.told()));
    let seen = (application.story)(place);
    if seen.is_err() {
        lab.evidence(application.name)?;
    }
    place.end()?;
    let seen = seen?;
    lab.progress.detail(&seen.iter().map(|one| format!("{}: {}\n", one.what, one.seen)).collect::<String>());
    Ok(seen)
}

/// Whether an application saw the same in both places.
fn same(there: &[Seen], here: &[Seen]) -> Result<(), Error> {
    let told = |seen: &[Seen]| {
        seen.iter()
            .filter(|one| one.must_agree)
            .map(|one| format!("{}: {}", one.what, one.seen))
            .collect::<Vec<_>>()
            .join("\n")
    };
    expect(told(there) == told(here), told(there), told(here))
}
