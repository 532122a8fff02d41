//! Whether the share is the right one: its marker, `.volumes-agent/file-system`, names the file system it was made for.
//!
//! A restored copy carries the marker of the original and must not be taken for it.

use crate::share::{AGENT_DIRECTORY, Created, Directory, FORMAT, ShareError};
use serde::{Deserialize, Serialize};

/// The marker's name in the agent's directory.
pub const MARKER: &str = "file-system";

#[derive(Debug, Serialize, Deserialize)]
struct Marker {
    format: u32,
    file_system: String,
}

/// What the share says it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Identity {
    /// The marker names the expected file system, perhaps since just now.
    Same,
    /// The marker names another one.
    Other(String),
}

/// Compares the marker with `file_system`; a share without one gets it.
///
/// # Errors
/// [`ShareError`]
pub fn identify(file_system: &str) -> Result<Identity, ShareError> {
    // The agent's directory is made by whoever comes first; two agents at once agree by the link.
    let directory = Directory::of_agent("")?;
    let marker = Marker { format: FORMAT, file_system: file_system.to_owned() };
    if let Some(found) = directory.read::<Marker>(MARKER)? {
        return Ok(judge(found, file_system));
    }
    match directory.create(MARKER, &marker)? {
        Created::Made => Ok(Identity::Same),
        Created::Existed => {
            let found = directory.read::<Marker>(MARKER)?;
            Ok(found.map_or(Identity::Same, |found| judge(found, file_system)))
        }
    }
}

fn judge(found: Marker, file_system: &str) -> Identity {
    if found.file_system == file_system { Identity::Same } else { Identity::Other(found.file_system) }
}

/// Where the marker lies, for messages.
pub fn marker_path() -> String {
    format!("{}/{AGENT_DIRECTORY}/{MARKER}", crate::mount::VOLUMES_ROOT)
}
