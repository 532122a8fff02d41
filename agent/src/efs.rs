//! Amazon EFS: which file system, and which of its mount targets.

use crate::{aws::AwsError, config::ShareChoice};
use aws_config::SdkConfig;
use aws_sdk_efs::{
    Client,
    types::{FileSystemDescription, LifeCycleState, MountTargetDescription},
};
use std::net::IpAddr;

/// What will be mounted, from where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountTarget {
    /// The file system's id, or `nfs:address:/export` for a plain NFS server: what the marker names.
    pub file_system: String,
    /// The server's address.
    pub address: IpAddr,
    /// The exported path.
    pub export: String,
    /// The zone the address is in; a plain server has none.
    pub zone: Option<String>,
    /// Every address under which the same file system may be mounted: any of these is the right one.
    pub all_addresses: Vec<IpAddr>,
}

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
    /// There is no such file system, or it isn't available.
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
    /// What to do next.
    pub fn help(&self) -> String {
        match self {
            Self::NoneTagged { key, value } => format!(
                "tag the file system `{key}={value}`, or name it by `file_system` in the configuration file (flag --file-system)"
            ),
            Self::SeveralTagged { .. } => {
                "name the right one by `file_system` in the configuration file (flag --file-system)".to_owned()
            }
            Self::NotAvailable { .. } | Self::Aws(AwsError::Refused { .. }) => {
                "check the file system's id and region".to_owned()
            }
            Self::NoMountTarget { id, .. } => format!("create a mount target of {id} in each zone of the cluster"),
            Self::Aws(error) if error.is_denied() => {
                "give the instance's role elasticfilesystem:DescribeFileSystems and elasticfilesystem:DescribeMountTargets"
                    .to_owned()
            }
            Self::Aws(_) => "it is tried again by itself".to_owned(),
        }
    }
}

/// The mount target for an instance in `zone`: its own zone's, else any other's.
///
/// # Errors
/// [`EfsError`]
pub async fn mount_target(sdk: &SdkConfig, share: &ShareChoice, zone: &str) -> Result<MountTarget, EfsError> {
    let client = Client::new(sdk);
    let id = match share {
        ShareChoice::NfsServer { address, export } => return Ok(plain_server(*address, export)),
        ShareChoice::FileSystem(id) => available(&client, id).await?,
        ShareChoice::Tag { key, value } => tagged(&client, key, value).await?,
    };
    let mut targets = Vec::new();
    let mut pages = client.describe_mount_targets().file_system_id(&id).into_paginator().items().send();
    while let Some(target) = pages.next().await {
        targets.push(target.map_err(|error| AwsError::of("elasticfilesystem:DescribeMountTargets", &error))?);
    }
    choose(&id, &targets, zone)
}

/// A plain NFS server is its own mount target, in no zone.
pub fn plain_server(address: IpAddr, export: &str) -> MountTarget {
    MountTarget {
        file_system: format!("nfs:{address}:{export}"),
        address,
        export: export.to_owned(),
        zone: None,
        all_addresses: vec![address],
    }
}

async fn available(client: &Client, id: &str) -> Result<String, EfsError> {
    let answer = client
        .describe_file_systems()
        .file_system_id(id)
        .send()
        .await
        .map_err(|error| AwsError::of("elasticfilesystem:DescribeFileSystems", &error))?;
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

/// The own zone first: traffic to another zone costs, and falls with that zone.
fn choose(id: &str, targets: &[MountTargetDescription], zone: &str) -> Result<MountTarget, EfsError> {
    let usable = |target: &MountTargetDescription| {
        let available = target.life_cycle_state == LifeCycleState::Available;
        let address = target.ip_address.as_deref()?.parse::<IpAddr>().ok()?;
        available.then(|| (address, target.availability_zone_name.clone()))
    };
    let mut addresses: Vec<(IpAddr, Option<String>)> = targets.iter().filter_map(usable).collect();
    addresses.sort();
    let chosen = addresses.iter().find(|(_, at)| at.as_deref() == Some(zone)).or_else(|| addresses.first());
    let Some((address, zone)) = chosen.cloned() else {
        let others =
            targets.iter().map(|t| format!("{}: {}", t.mount_target_id, t.life_cycle_state.as_str()));
        return Err(EfsError::NoMountTarget { id: id.to_owned(), others: others.collect() });
    };
    Ok(MountTarget {
        file_system: id.to_owned(),
        address,
        export: "/".to_owned(),
        zone,
        all_addresses: addresses.into_iter().map(|(address, _)| address).collect(),
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

    #[test]
    fn the_own_zone_comes_first_and_another_one_is_better_than_none() {
        use LifeCycleState::{Available, Creating};
        let both = [target("10.0.0.1", "a", Available), target("10.0.1.1", "b", Available)];
        let chosen = choose("fs-1", &both, "b").unwrap();
        assert_eq!((chosen.address.to_string().as_str(), chosen.zone.as_deref()), ("10.0.1.1", Some("b")));
        assert_eq!(chosen.all_addresses.len(), 2);
        assert_eq!(choose("fs-1", &both, "c").unwrap().zone.as_deref(), Some("a"));
        let creating = [target("10.0.0.1", "a", Available), target("10.0.1.1", "b", Creating)];
        assert_eq!(choose("fs-1", &creating, "b").unwrap().zone.as_deref(), Some("a"));
        assert_eq!(
            choose("fs-1", &creating[1..], "b").unwrap_err().to_string(),
            "file system fs-1 has no mount target that is available (fsmt-b: creating)"
        );
    }
}
