//! Finding the mount target: EFS's word; where EFS isn't to be had, the file system's DNS name; then what this instance knew last.
//!
//! An instance boots while AWS's control plane is down. What EFS does answer (no such file system, no mount target) counts.

use crate::{
    aws::AwsError,
    config::ShareChoice,
    dns,
    efs::{self, EfsError},
    imds::Instance,
    target::{KnownFrom, MountTarget},
    trouble::Trouble,
};
use aws_config::SdkConfig;

/// What is looked for, by whom.
#[derive(Debug, Clone)]
pub struct Search {
    /// The configured choice of file system.
    pub share: ShareChoice,
    /// The AWS region.
    pub region: String,
    /// Where this instance is.
    pub instance: Instance,
    /// What was known before: of this run, or of an earlier one.
    pub known: Option<MountTarget>,
}

/// What was found.
#[derive(Debug)]
pub struct Found {
    /// The target.
    pub target: MountTarget,
    /// Why EFS did not tell it, where it is not EFS's word.
    pub instead_of: Option<AwsError>,
}

/// Why there is no target.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// EFS's own answer.
    #[error(transparent)]
    Efs(EfsError),
    /// EFS did not answer, and nothing else could.
    #[error("{efs}; {dns}; and this instance remembers no mount target")]
    Nowhere {
        /// Why EFS did not.
        efs: EfsError,
        /// Why the name did not.
        dns: String,
    },
}

impl Search {
    /// Searches in that order.
    ///
    /// # Errors
    /// [`SearchError`]
    pub async fn run(self, sdk: &SdkConfig) -> Result<Found, SearchError> {
        let known = self.known.as_ref();
        let why = match efs::mount_target(sdk, &self.share, self.instance.place()).await {
            Ok(target) => return Ok(Found { target: target.after(known), instead_of: None }),
            Err(EfsError::Aws(why)) => why,
            Err(answer) => return Err(SearchError::Efs(answer)),
        };
        let id = match &self.share {
            ShareChoice::FileSystem(id) => Some(id.as_str()),
            _ => known.map(|known| known.file_system.as_str()),
        };
        let dns = match id {
            Some(id) => match dns::look_up(&dns::name(id, &self.region)).await {
                Ok(address) => {
                    let target = MountTarget::of_dns_name(id, address, &self.instance.zone);
                    return Ok(Found { target: target.after(known), instead_of: Some(why) });
                }
                Err(unresolved) => unresolved,
            },
            None => "without EFS it is not known which file system has the tag".to_owned(),
        };
        match known {
            Some(known) => Ok(Found {
                target: MountTarget { known_from: KnownFrom::Memory, ..known.clone() },
                instead_of: Some(why),
            }),
            None => Err(SearchError::Nowhere { efs: EfsError::Aws(why), dns }),
        }
    }
}

impl SearchError {
    /// What AWS did, for whether it is reachable. `None`: it answered.
    pub fn aws(&self) -> Option<&AwsError> {
        match self {
            Self::Efs(EfsError::Aws(error)) | Self::Nowhere { efs: EfsError::Aws(error), .. } => Some(error),
            Self::Efs(_) | Self::Nowhere { .. } => None,
        }
    }
}

impl From<SearchError> for Trouble {
    fn from(error: SearchError) -> Self {
        match error {
            SearchError::Efs(error) => error.into(),
            SearchError::Nowhere { ref efs, .. } => {
                Self::coded(efs.code(), error.to_string()).help(efs.help())
            }
        }
    }
}
