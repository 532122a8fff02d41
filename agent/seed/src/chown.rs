//! Changing owners, on shares that may let nobody do it: EFS's access points with a user of their own, exports that squash root.

use crate::ownership::Owner;
use rustix::{
    fs::{AtFlags, Gid, Uid},
    io::Errno,
};
use std::{ffi::CStr, os::fd::AsFd};

/// Of what is open. `false`: the share lets nobody.
///
/// # Errors
/// Any other of the call's.
pub fn of_open(file: impl AsFd, owner: Owner) -> Result<bool, Errno> {
    let (uid, gid) = ids(owner);
    allowed(rustix::fs::fchown(file, uid, gid))
}

/// Of an entry of a directory, without following a symlink; without a name of the directory itself. `false`: the share lets nobody.
///
/// # Errors
/// Any other of the call's.
pub fn of_entry(directory: impl AsFd, name: &CStr, owner: Owner) -> Result<bool, Errno> {
    let (uid, gid) = ids(owner);
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
    allowed(rustix::fs::chownat(directory, name, uid, gid, flags))
}

fn ids(owner: Owner) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(owner.uid)), Some(Gid::from_raw(owner.gid)))
}

fn allowed(changed: Result<(), Errno>) -> Result<bool, Errno> {
    match changed {
        Ok(()) => Ok(true),
        Err(Errno::PERM | Errno::ACCESS) => Ok(false),
        Err(errno) => Err(errno),
    }
}
