//! What is shipped, as operators get it: the packages on clean instances, an image built by Packer, the stack by CloudFormation.
//!
//! The acts are one story: the image is built first, the stack names it, and an instance of it comes up on the stack's file system; the
//! packages follow on clean instances. `make test-ship` makes the packages first.

mod agent_in_a_container;
mod aws;
mod baked;
mod boot;
mod dist;
mod package_files;
mod packages;
mod stack;

use lab::{Error, Lab, cluster, enclosure, enclosure::Inside, progress::Progress, selection::Selection};
use std::{process::ExitCode, time::Instant};

/// An act; what it gives is what was seen.
type Act = fn(&Lab) -> Result<String, Error>;

const ACTS: [(&str, Act); 9] = [
    ("package_files_are_right", package_files::are_right),
    ("the_program_runs_on_debian_11", package_files::run_on_debian_11),
    ("packer_builds_an_image", baked::an_image_is_built),
    ("the_stack_is_created", stack::is_created),
    ("an_instance_of_the_image_serves_an_app", baked::an_instance_serves),
    ("the_deb_is_installed_upgraded_and_removed", packages::deb),
    ("the_rpm_is_installed_upgraded_and_removed", packages::rpm),
    ("the_ecs_agent_may_be_a_container", agent_in_a_container::is_gated),
    ("boot_and_shutdown_are_ordered", boot::is_ordered),
];

fn main() -> ExitCode {
    enclosure::run("ship", false, prepare, tell)
}

fn prepare(progress: &Progress) -> Result<(), Error> {
    cluster::prepare_clean(progress)?;
    dist::prepare(progress)
}

fn tell(inside: Inside, progress: &Progress) -> Result<ExitCode, Error> {
    let wanted = Selection::of_the_command_line();
    let lab = Lab::start_with(cluster::prepare_clean(progress)?, &inside, progress)?;
    let mut failed = Vec::new();
    let mut seen = 0;
    for (name, act) in ACTS.iter().filter(|(name, _)| wanted.has(name)) {
        let begun = Instant::now();
        match act(&lab) {
            Ok(told) => {
                seen += 1;
                progress.say(&format!("ok      {name} ({:.1} s)", begun.elapsed().as_secs_f64()));
                progress.detail(&told);
            }
            Err(error) => {
                let evidence = lab.evidence(name)?;
                progress.say(&format!("BROKEN  {name}\n  {error}\n  logs:     {}", evidence.display()));
                failed.push(name);
            }
        }
    }
    progress.say(&format!("{seen} acts seen, {} not: {failed:?}", failed.len()));
    inside.leave(u8::from(!failed.is_empty() || seen == 0), false)
}
