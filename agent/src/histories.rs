//! What is remembered of a cluster's services, on the share: `patching/<region>-<account>-<cluster>.json`. Written by the leader alone.

use crate::{
    history::Histories,
    share::{Directory, ShareError},
};

/// Nothing, where nothing was written yet.
///
/// # Errors
/// [`ShareError`]; a record of a newer agent is one.
pub fn read(name: &str) -> Result<Histories, ShareError> {
    Ok(Directory::of_agent("patching")?.read(&format!("{name}.json"))?.unwrap_or_default())
}

/// Replaces the record, whole, in the format that it names.
///
/// # Errors
/// [`ShareError`]
pub fn write(name: &str, histories: &Histories) -> Result<(), ShareError> {
    Directory::of_agent("patching")?.replace(&format!("{name}.json"), histories)
}
