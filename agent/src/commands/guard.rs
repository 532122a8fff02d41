//! `volumes-agent guard`: makes the bare mount point immutable, before Docker and ECS start.

use crate::{
    diagnostics::{Exit, Failure},
    guard::{self, Guard},
};
use std::io::Write;

/// Sets the guard once. No configuration, no network, and the share is never touched.
///
/// # Errors
/// The mount point can't be made or flagged.
pub fn run() -> Result<Exit, Failure> {
    let guarded = guard::set()
        .map_err(|error| Failure::refused(error).help("run it as root, on a kernel of 5.2 or later"))?;
    let mut out = std::io::stderr();
    // A closed stderr leaves nobody to tell; the flag is set all the same.
    for path in &guarded.found_inside {
        drop(writeln!(
            out,
            "warning: /volumes/{path} lies on this instance's own disk, from before the share; made immutable as well, with all that is in it"
        ));
    }
    match guarded.guard {
        Guard::Set => {
            drop(writeln!(out, "/volumes is immutable: without the share, nothing can be written there"));
            Ok(Exit::Done)
        }
        Guard::Unset | Guard::Unsupported => Err(Failure::refused(
            "the root file system has no immutable flag: without the share, containers would write to this instance's disk",
        )
        .help("use ext4, xfs or btrfs for the root file system")),
    }
}
