//! Whether the share is the right one: its marker, `.volumes-agent/file-system`, names the file system it was made for.
//!
//! A restored copy carries the marker of the original and must not be taken for it.

use crate::{
    directories::{self, Renewed},
    share::{AGENT_DIRECTORY, Created, Directory, FIRST_FORMAT, ShareError},
    trouble::Trouble,
};
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
    /// There is no marker, and it is not the agent's to write one.
    Unmarked,
}

/// Why a share was not adopted. Its marker is as it was.
#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    /// The marker names another file system than the operator said.
    #[error("the share's marker {} names `{found}`, not `{expected}`", marker_path())]
    Another {
        /// What it names.
        found: String,
        /// What was said.
        expected: String,
    },
    /// There is a marker, and the operator named none.
    #[error("the share's marker {} names `{found}`", marker_path())]
    Marked {
        /// What it names.
        found: String,
    },
    /// The operator named a marker, and there is none.
    #[error(
        "the share has no marker {}, and `--from {expected}` says that it names `{expected}`",
        marker_path()
    )]
    NoMarker {
        /// What was said.
        expected: String,
    },
    /// A call on the share.
    #[error(transparent)]
    Share(#[from] ShareError),
}

impl AdoptError {
    /// What to do next.
    pub fn help(&self) -> String {
        match self {
            Self::Another { found, .. } | Self::Marked { found } => format!(
                "if this share is a copy of {found} that shall be used from now on: `volumes-agent adopt-share --from {found}`"
            ),
            Self::NoMarker { .. } => "leave out --from to mark it for the first time".to_owned(),
            Self::Share(_) => "look at the share: `volumes-agent doctor`".to_owned(),
        }
    }
}

impl From<AdoptError> for Trouble {
    fn from(error: AdoptError) -> Self {
        Self::from(crate::diagnostics::in_one_line(&error)).help(error.help())
    }
}

/// Compares the marker with `file_system`. A share without one gets it, if it may be marked.
///
/// # Errors
/// [`ShareError`]
pub fn identify(file_system: &str, may_mark: bool) -> Result<Identity, ShareError> {
    // Read before anything is made: a share that is full or read-only is the right one all the same.
    let found = match Directory::root()?.open(AGENT_DIRECTORY)? {
        Some(directory) => directory.read::<Marker>(MARKER)?,
        None => None,
    };
    match found {
        Some(found) => return Ok(judge(found, file_system)),
        None if !may_mark => return Ok(Identity::Unmarked),
        None => {}
    }
    // The agent's directory is made by whoever comes first; two agents at once agree by the link.
    let directory = Directory::of_agent("")?;
    match directory.create(MARKER, &Marker::of(file_system))? {
        Created::Made => Ok(Identity::Same),
        Created::Existed => {
            let found = directory.read::<Marker>(MARKER)?;
            Ok(found.map_or(Identity::Same, |found| judge(found, file_system)))
        }
    }
}

/// What the marker names; makes and changes nothing. `None`: there is no marker.
///
/// # Errors
/// [`ShareError`]
pub fn read() -> Result<Option<String>, ShareError> {
    let Some(directory) = Directory::root()?.open(AGENT_DIRECTORY)? else { return Ok(None) };
    Ok(directory.read::<Marker>(MARKER)?.map(|marker| marker.file_system))
}

/// What adopting did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adopted {
    /// Whether the marker was written; if not, it named the file system already.
    pub marked: bool,
    /// What became of the volumes' records.
    pub records: Renewed,
}

/// Writes the marker anew: the operator says what it named until now, or that there was none. The records of volumes come first, so
/// that an adoption that was cut short is begun again. Adopting twice is adopting once.
///
/// # Errors
/// [`AdoptError`]
pub fn adopt(file_system: &str, from: Option<&str>) -> Result<Adopted, AdoptError> {
    let directory = Directory::of_agent("")?;
    let marker = Marker::of(file_system);
    match (directory.read::<Marker>(MARKER)?.map(|marker| marker.file_system), from) {
        (Some(found), _) if found == file_system => Ok(Adopted::default()),
        (Some(found), Some(expected)) if found == expected => {
            let records = directories::renew_records()?;
            directory.replace(MARKER, &marker)?;
            Ok(Adopted { marked: true, records })
        }
        (Some(found), Some(expected)) => Err(AdoptError::Another { found, expected: expected.to_owned() }),
        (Some(found), None) => Err(AdoptError::Marked { found }),
        (None, Some(expected)) => Err(AdoptError::NoMarker { expected: expected.to_owned() }),
        (None, None) => match directory.create(MARKER, &marker)? {
            Created::Made => Ok(Adopted { marked: true, records: Renewed::default() }),
            // Somebody else marked it just now.
            Created::Existed => adopt(file_system, Some(file_system)),
        },
    }
}

impl Marker {
    fn of(file_system: &str) -> Self {
        Self { format: FIRST_FORMAT, file_system: file_system.to_owned() }
    }
}

fn judge(found: Marker, file_system: &str) -> Identity {
    if found.file_system == file_system { Identity::Same } else { Identity::Other(found.file_system) }
}

/// Where the marker lies, for messages.
pub fn marker_path() -> String {
    format!("{}/{AGENT_DIRECTORY}/{MARKER}", crate::mount::VOLUMES_ROOT)
}
