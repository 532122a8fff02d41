//! Amazon EFS: which file system, and which of its mount targets.

use crate::{
    aws::AwsError,
    config::ShareChoice,
    target::{self, Candidate, MountTarget, Place},
    trouble::Trouble,
};
use aws_config::SdkConfig;
use aws_sdk_efs::{
    Client,
    types::{FileSystemDescription, LifeCycleState, MountTargetDescription},
};

/// Why there is no mount target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EfsError {
    /// The tag fits none.
    #[error("no EFS file system has the tag `{key}={value}`")]
    NoneTagged {
        /// The tag's key.
        key: String,
        /// The tag's value.
        value: String,
    },
    /// The tag fits several.
    #[error("{} EFS file systems have the tag `{key}={value}`: {}", .found.len(), .found.join(", "))]
    SeveralTagged {
        /// The tag's key.
        key: String,
        /// The tag's value.
        value: String,
        /// Their ids.
        found: Vec<String>,
    },
    /// There is no such file system in this account and Region.
    #[error("there is no EFS file system {id} in this account and Region")]
    NoSuch {
        /// Its id.
        id: String,
    },
    /// It is being made or deleted.
    #[error("file system {id} is {state}, not available")]
    NotAvailable {
        /// Its id.
        id: String,
        /// What EFS says.
        state: String,
    },
    /// It can't be mounted from anywhere.
    #[error("file system {id} has no mount target that is available{}", .others.first().map(|o| format!(" ({o})")).unwrap_or_default())]
    NoMountTarget {
        /// The file system's id.
        id: String,
        /// Those that are not available, with their state.
        others: Vec<String>,
    },
    /// The call failed.
    #[error(transparent)]
    Aws(#[from] AwsError),
}

impl EfsError {
    /// The stable word for it.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoneTagged { .. } | Self::NoSuch { .. } => "no-file-system",
            Self::SeveralTagged { .. } => "several-file-systems",
            Self::NotAvailable { .. } => "file-system-not-available",
            Self::NoMountTarget { others, .. } if others.is_empty() => "no-mount-target",
            Self::NoMountTarget { .. } => "mount-target-not-available",
            Self::Aws(AwsError::Denied { .. }) => "efs-denied",
            Self::Aws(AwsError::Throttled { .. }) => "efs-throttled",
            Self::Aws(AwsError::Unreachable { .. }) => "efs-unreachable",
            Self::Aws(AwsError::Refused { .. } | AwsError::Garbled { .. }) => "efs-refused",
        }
    }

    /// What to do next.
    pub fn help(&self) -> String {
        match self {
            Self::NoneTagged { key, value } => format!(
                "Tag the file system `{key}={value}`, or name it by `file_system` in the configuration file (flag --file-system)"
            ),
            Self::SeveralTagged { .. } => {
                "Name the right one by `file_system` in the configuration file (flag --file-system)".to_owned()
            }
            Self::NoSuch { .. } | Self::Aws(AwsError::Refused { .. } | AwsError::Garbled { .. }) => {
                "Check the file system's id, and the Region".to_owned()
            }
            Self::NotAvailable { .. } => "It is asked again by itself".to_owned(),
            Self::NoMountTarget { others, .. } if !others.is_empty() => {
                "A new one takes a minute or two; it is asked again by itself".to_owned()
            }
            Self::NoMountTarget { id, .. } => format!("Create a mount target of {id} in each zone of the cluster"),
            Self::Aws(AwsError::Denied { .. }) => {
                "Give the instance's role elasticfilesystem:DescribeFileSystems and elasticfilesystem:DescribeMountTargets"
                    .to_owned()
            }
            Self::Aws(AwsError::Throttled { .. } | AwsError::Unreachable { .. }) => "It is tried again by itself".to_owned(),
        }
    }

    /// Whether EFS left the question open, so that another source may answer it: it wasn't reached, wouldn't, or made no sense. What
    /// it did answer (no such file system, no mount target) nobody else knows better.
    pub fn is_open(&self) -> bool {
        matches!(self, Self::Aws(_))
    }
}

impl From<EfsError> for Trouble {
    fn from(error: EfsError) -> Self {
        Self::coded(error.code(), error.to_string()).help(error.help())
    }
}

/// The mount target for an instance at `place`, as EFS tells it.
///
/// # Errors
/// [`EfsError`]
pub async fn mount_target(
    sdk: &SdkConfig,
    share: &ShareChoice,
    place: Place<'_>,
) -> Result<MountTarget, EfsError> {
    let client = Client::new(sdk);
    let id = match share {
        ShareChoice::NfsServer { address, export } => return Ok(MountTarget::plain_server(*address, export)),
        ShareChoice::FileSystem(id) => available(&client, id).await?,
        ShareChoice::Tag { key, value } => tagged(&client, key, value).await?,
    };
    let mut targets = Vec::new();
    let mut pages = client.describe_mount_targets().file_system_id(&id).into_paginator().items().send();
    while let Some(target) = pages.next().await {
        targets.push(target.map_err(|error| AwsError::of("elasticfilesystem:DescribeMountTargets", &error))?);
    }
    choose(&id, &targets, place)
}

async fn available(client: &Client, id: &str) -> Result<String, EfsError> {
    let answer =
        client.describe_file_systems().file_system_id(id).send().await.map_err(
            |error| match AwsError::of("elasticfilesystem:DescribeFileSystems", &error) {
                AwsError::Refused { code, .. } if code == "FileSystemNotFound" => {
                    EfsError::NoSuch { id: id.to_owned() }
                }
                other => EfsError::Aws(other),
            },
        )?;
    let found = answer.file_systems.unwrap_or_default();
    only_available(found.iter().find(|found| found.file_system_id == id), id)
}

async fn tagged(client: &Client, key: &str, value: &str) -> Result<String, EfsError> {
    let mut found = Vec::new();
    let mut pages = client.describe_file_systems().into_paginator().items().send();
    while let Some(file_system) = pages.next().await {
        let file_system =
            file_system.map_err(|error| AwsError::of("elasticfilesystem:DescribeFileSystems", &error))?;
        if file_system.tags.iter().any(|tag| tag.key == key && tag.value == value) {
            found.push(file_system);
        }
    }
    match found.as_slice() {
        [] => Err(EfsError::NoneTagged { key: key.to_owned(), value: value.to_owned() }),
        [one] => only_available(Some(one), &one.file_system_id),
        several => Err(EfsError::SeveralTagged {
            key: key.to_owned(),
            value: value.to_owned(),
            found: several.iter().map(|f| f.file_system_id.clone()).collect(),
        }),
    }
}

fn only_available(found: Option<&FileSystemDescription>, id: &str) -> Result<String, EfsError> {
    match found.map(|found| &found.life_cycle_state) {
        // `updating` is a change of throughput: the file system serves as before.
        Some(LifeCycleState::Available | LifeCycleState::Updating) => Ok(id.to_owned()),
        state => Err(EfsError::NotAvailable {
            id: id.to_owned(),
            state: state.map_or_else(|| "unknown".to_owned(), |state| state.as_str().to_owned()),
        }),
    }
}

fn choose(id: &str, targets: &[MountTargetDescription], place: Place<'_>) -> Result<MountTarget, EfsError> {
    let candidates: Vec<Candidate> = targets.iter().filter_map(candidate).collect();
    target::choose(id, &candidates, place).ok_or_else(|| {
        let others =
            targets.iter().map(|t| format!("{}: {}", t.mount_target_id, t.life_cycle_state.as_str()));
        EfsError::NoMountTarget { id: id.to_owned(), others: others.collect() }
    })
}

/// `None`: it can't be mounted from now.
fn candidate(target: &MountTargetDescription) -> Option<Candidate> {
    let addresses = [target.ip_address.as_deref(), target.ipv6_address.as_deref()];
    (target.life_cycle_state == LifeCycleState::Available).then(|| Candidate {
        addresses: addresses.into_iter().flatten().filter_map(|address| address.parse().ok()).collect(),
        zone: target.availability_zone_name.clone(),
        subnet: target.subnet_id.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(address: &str, zone: &str, state: LifeCycleState) -> MountTargetDescription {
        MountTargetDescription::builder()
            .mount_target_id(format!("fsmt-{zone}"))
            .file_system_id("fs-1")
            .subnet_id("subnet-1")
            .life_cycle_state(state)
            .ip_address(address)
            .availability_zone_name(zone)
            .build()
            .unwrap()
    }

    const PLACE: Place<'_> = Place { zone: "b", subnet: None };

    #[test]
    fn what_is_not_available_is_passed_over_and_named_where_nothing_else_is() {
        use LifeCycleState::{Available, Creating};
        let creating = [target("10.0.0.1", "a", Available), target("10.0.1.1", "b", Creating)];
        let chosen = choose("fs-1", &creating, PLACE).unwrap();
        assert_eq!((chosen.zone.as_deref(), chosen.all_addresses.len()), (Some("a"), 1));
        let error = choose("fs-1", &creating[1..], PLACE).unwrap_err();
        assert_eq!(
            error.to_string(),
            "file system fs-1 has no mount target that is available (fsmt-b: creating)"
        );
        assert_eq!(error.code(), "mount-target-not-available");
        assert_eq!(choose("fs-1", &[], PLACE).unwrap_err().code(), "no-mount-target");
    }
}
