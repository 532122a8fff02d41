//! The EC2 instance metadata service, version 2: a token first (the SDK's client), then who and where this instance is.

use crate::{aws, names::Rack, target::Place, trouble::Trouble};
use aws_config::{imds::client::Client, imds::client::error::ImdsError, provider_config::ProviderConfig};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Metadata answers from the hypervisor's side of the machine; a second is long.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Who and where this instance is; none of it changes while it runs, tags aside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// As `i-0123456789abcdef0`.
    pub id: String,
    /// The availability zone's name, as `us-east-1a`.
    pub zone: String,
    /// The region, as `us-east-1`.
    pub region: String,
    /// The subnet of the first network interface, where metadata tells it.
    #[serde(default)]
    pub subnet: Option<String>,
    /// The rack's name from the tags `convox.rack` or `Rack`, where metadata shows tags.
    pub rack: Option<Rack>,
}

impl Instance {
    /// Where it is, for the choice of a mount target.
    pub fn place(&self) -> Place<'_> {
        Place { zone: &self.zone, subnet: self.subnet.as_deref() }
    }
}

/// Why the instance isn't known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// No answer.
    #[error("instance metadata ({path}) is not there yet: {cause}")]
    Unreachable {
        /// What was asked for.
        path: String,
        /// What went wrong.
        cause: String,
    },
    /// The tag isn't a rack's name.
    #[error("the instance's tag `{tag}` is not a rack's name: {cause}")]
    Tag {
        /// The tag's key.
        tag: &'static str,
        /// What is wrong with it.
        cause: String,
    },
}

/// Asks for everything once.
///
/// # Errors
/// [`MetadataError`]
pub async fn instance() -> Result<Instance, MetadataError> {
    let client = Client::builder()
        .configure(&ProviderConfig::default().with_http_client(aws::http_client()))
        .connect_timeout(TIMEOUT)
        .read_timeout(TIMEOUT)
        .max_attempts(2)
        .build();
    let known = |path: &'static str| get(&client, path);
    let id = required(known("/latest/meta-data/instance-id").await?, "instance-id")?;
    let zone = required(
        known("/latest/meta-data/placement/availability-zone").await?,
        "placement/availability-zone",
    )?;
    let region = required(known("/latest/meta-data/placement/region").await?, "placement/region")?;
    let mac = known("/latest/meta-data/mac").await?;
    let subnet = match mac {
        Some(mac) => {
            get(&client, &format!("/latest/meta-data/network/interfaces/macs/{mac}/subnet-id")).await?
        }
        None => None,
    };
    let mut rack = None;
    for (tag, path) in [
        ("convox.rack", "/latest/meta-data/tags/instance/convox.rack"),
        ("Rack", "/latest/meta-data/tags/instance/Rack"),
    ] {
        if let Some(value) = known(path).await? {
            rack = Some(value.parse().map_err(|error: crate::names::NameError| MetadataError::Tag {
                tag,
                cause: error.to_string(),
            })?);
            break;
        }
    }
    Ok(Instance { id, zone, region, subnet, rack })
}

impl From<MetadataError> for Trouble {
    fn from(error: MetadataError) -> Self {
        match error {
            MetadataError::Unreachable { .. } => Self::coded("no-metadata", error.to_string())
                .help("the instance must allow its metadata service (`HttpEndpoint` enabled); it is asked again by itself"),
            MetadataError::Tag { .. } => Self::coded("wrong-tag", error.to_string())
                .help("correct the tag, or set `rack` in the configuration"),
        }
    }
}

fn required(value: Option<String>, path: &str) -> Result<String, MetadataError> {
    value.ok_or_else(|| MetadataError::Unreachable { path: path.to_owned(), cause: "not found".to_owned() })
}

/// `None`: metadata says that there is no such thing.
async fn get(client: &Client, path: &str) -> Result<Option<String>, MetadataError> {
    match client.get(path).await {
        Ok(value) => Ok(Some(value.as_ref().trim().to_owned())),
        Err(ImdsError::ErrorResponse(response)) if response.response().status().as_u16() == 404 => Ok(None),
        Err(error) => Err(MetadataError::Unreachable { path: path.to_owned(), cause: error.to_string() }),
    }
}
