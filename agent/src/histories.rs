//! What is remembered of a cluster's services, on the share: `patching/<region>-<account>-<cluster>.json`, and beside it, as `.moving.json`, the
//! move that is about to be asked for. Written by the leader alone.

use crate::{
    history::{Histories, Moving},
    share::{Directory, ShareError},
};

const FOLDER: &str = "patching";

fn of_all(name: &str) -> String {
    format!("{name}.json")
}

fn of_the_move(name: &str) -> String {
    format!("{name}.moving.json")
}

/// Nothing, where nothing was written yet.
///
/// # Errors
/// [`ShareError`]; a record of a newer agent is one.
pub fn read(name: &str) -> Result<(Histories, Option<Moving>), ShareError> {
    let records = Directory::of_agent(FOLDER)?;
    Ok((records.read(&of_all(name))?.unwrap_or_default(), records.read(&of_the_move(name))?))
}

/// Replaces the record, whole, in the format that it names.
///
/// # Errors
/// [`ShareError`]
pub fn write(name: &str, histories: &Histories) -> Result<(), ShareError> {
    Directory::of_agent(FOLDER)?.replace(&of_all(name), histories)
}

/// Replaces what is about to be asked for, or takes it back.
///
/// # Errors
/// [`ShareError`]
pub fn write_moving(name: &str, moving: Option<&Moving>) -> Result<(), ShareError> {
    let records = Directory::of_agent(FOLDER)?;
    match moving {
        Some(moving) => records.replace(&of_the_move(name), moving),
        None => records.remove(&of_the_move(name)),
    }
}
