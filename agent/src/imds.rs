//! The EC2 instance metadata service, version 2: a token first (the SDK's client), then who and where this instance is.

use crate::{aws, names::Rack};
use aws_config::{imds::client::Client, imds::client::error::ImdsError, provider_config::ProviderConfig};
use std::time::Duration;

/// Metadata answers from the hypervisor's side of the machine; a second is long.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Who and where this instance is; none of it changes while it runs, tags aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// As `i-0123456789abcdef0`.
    pub id: String,
    /// The availability zone's name, as `us-east-1a`.
    pub zone: String,
    /// The region, as `us-east-1`.
    pub region: String,
    /// The rack's name from the tags `convox.rack` or `Rack`, where metadata shows tags.
    pub rack: Option<Rack>,
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
    Ok(Instance { id, zone, region, rack })
}

fn required(value: Option<String>, path: &str) -> Result<String, MetadataError> {
    value.ok_or_else(|| MetadataError::Unreachable { path: path.to_owned(), cause: "not found".to_owned() })
}

/// `None`: metadata says that there is no such thing.
async fn get(client: &Client, path: &'static str) -> Result<Option<String>, MetadataError> {
    match client.get(path).await {
        Ok(value) => Ok(Some(value.as_ref().trim().to_owned())),
        Err(ImdsError::ErrorResponse(response)) if response.response().status().as_u16() == 404 => Ok(None),
        Err(error) => Err(MetadataError::Unreachable { path: path.to_owned(), cause: error.to_string() }),
    }
}
