//! How much the NFS client reads ahead: 15 times `rsize`, as efs-utils sets it, since kernels of 5.4 and later ask for only 128 KiB
//! by themselves (amazonlinux/amazon-ec2-utils#7: 14.4 s against 3.6 s for one copy).
//!
//! It is a file of the mount's device, asks the server nothing, and is looked at again now and then: udev rules and tuning
//! scripts reset it.

use crate::mount::RSIZE_BYTES;
use std::{fs, path::PathBuf};

/// What is read ahead, in KiB.
pub const READ_AHEAD_KB: u64 = 15 * RSIZE_BYTES / 1024;

/// The kernel's file for a device (`major:minor`).
pub fn file(device: &str) -> PathBuf {
    PathBuf::from(format!("/sys/class/bdi/{device}/read_ahead_kb"))
}

/// What is read ahead now, in KiB.
///
/// # Errors
/// What is wrong with the file, with its path.
pub fn look(device: &str) -> Result<u64, String> {
    let file = file(device);
    let text = fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    text.trim().parse().map_err(|_| format!("{}: `{}` is not a number", file.display(), text.trim()))
}

/// Sets it, unless it is set. Gives what it was before, if it was another.
///
/// # Errors
/// As [`look`]; read-ahead is then as it was.
pub fn keep(device: &str) -> Result<Option<u64>, String> {
    let before = look(device)?;
    if before == READ_AHEAD_KB {
        return Ok(None);
    }
    let file = file(device);
    fs::write(&file, READ_AHEAD_KB.to_string()).map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(Some(before))
}
