//! Who the instance is, and its place in the cluster: once registered, kept over restarts and reboots.

use serde_json::{Value, json};
use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    time::Duration,
};

/// The longest that a request may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// What the instance can do; without it the lab's ECS places nothing on it.
const CAPABILITIES: [&str; 2] =
    ["com.amazonaws.ecs.capability.docker-remote-api.1.18", "ecs.capability.docker-plugin.local"];

/// Why the agent could not do what it was about.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// Nobody answers there, or not in time.
    #[error("no answer from {url}")]
    Unreachable {
        /// What was asked for.
        url: String,
        /// What the client says.
        source: Box<ureq::Error>,
    },
    /// An answer that is no success.
    #[error("{url} answers {status}: {body}")]
    Refused {
        /// What was asked for.
        url: String,
        /// The HTTP status.
        status: u16,
        /// What it says.
        body: String,
    },
    /// An answer that can't be read.
    #[error("the answer of {url} is not what was expected")]
    Unreadable {
        /// What was asked for.
        url: String,
        /// What is wrong in it.
        source: serde_json::Error,
    },
    /// The data folder can't be used.
    #[error("could not use the checkpoint {}", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What `ECS_INSTANCE_ATTRIBUTES` has is no JSON object of strings.
    #[error("ECS_INSTANCE_ATTRIBUTES is not a JSON object of strings: {0}")]
    Attributes(String),
    /// The checkpoint is of another cluster; the real agent ends with exit code 5 too, and is not started again.
    #[error("registered with the cluster {registered} before, and ECS_CLUSTER says {configured}; remove {} to begin anew", path.display())]
    OtherCluster {
        /// From the checkpoint.
        registered: String,
        /// From the configuration.
        configured: String,
        /// The checkpoint.
        path: PathBuf,
    },
}

/// How the agent was configured (`/etc/ecs/ecs.config`).
#[derive(Debug, Clone)]
pub struct Settings {
    /// Name or ARN, as introspection tells it.
    pub cluster: String,
    /// Base URL of the lab's ECS.
    pub backend: String,
    /// Base URL of instance metadata.
    pub metadata: String,
    /// Where the checkpoint is kept.
    pub data_folder: PathBuf,
    /// Custom attributes, a JSON object; sent with the first registration only.
    pub attributes: Option<String>,
}

/// HTTP to the lab's servers.
#[derive(Debug, Clone)]
pub struct Http(ureq::Agent);

impl Default for Http {
    fn default() -> Self {
        let config = ureq::Agent::config_builder().timeout_global(Some(TIMEOUT)).http_status_as_error(false);
        Self(config.user_agent("amazon-ecs-agent (the lab's stand-in)").build().into())
    }
}

impl Http {
    fn text(
        url: &str,
        sent: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<String, AgentError> {
        let unreachable = |source| AgentError::Unreachable { url: url.to_owned(), source: Box::new(source) };
        let mut response = sent.map_err(unreachable)?;
        let body = response.body_mut().read_to_string().map_err(unreachable)?;
        if response.status().is_success() {
            return Ok(body);
        }
        Err(AgentError::Refused { url: url.to_owned(), status: response.status().as_u16(), body })
    }

    fn json(url: &str, body: &str) -> Result<Value, AgentError> {
        serde_json::from_str(body).map_err(|source| AgentError::Unreadable { url: url.to_owned(), source })
    }

    /// GET, with the answer as JSON.
    ///
    /// # Errors
    /// No answer, no success, no JSON.
    pub fn get(&self, url: &str) -> Result<Value, AgentError> {
        Self::json(url, &Self::text(url, self.0.get(url).call())?)
    }

    /// POST of JSON, with the answer as JSON. `target` is the operation of an API call.
    ///
    /// # Errors
    /// As [`Http::get`].
    pub fn post(&self, url: &str, target: Option<&str>, body: &Value) -> Result<Value, AgentError> {
        let mut request = self.0.post(url);
        if let Some(operation) = target {
            request =
                request.header("x-amz-target", format!("AmazonEC2ContainerServiceV20141113.{operation}"));
        }
        Self::json(url, &Self::text(url, request.content_type("application/json").send(body.to_string()))?)
    }

    /// The instance identity document, with a token as IMDSv2 wants it.
    fn identity(&self, metadata: &str) -> Result<String, AgentError> {
        let url = format!("{metadata}/latest/api/token");
        let token = self.0.put(&url).header("x-aws-ec2-metadata-token-ttl-seconds", "60").send_empty();
        let token = Self::text(&url, token)?;
        let url = format!("{metadata}/latest/dynamic/instance-identity/document");
        Self::text(&url, self.0.get(&url).header("x-aws-ec2-metadata-token", token).call())
    }
}

/// What the instance is to ECS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    /// The container instance's ARN.
    pub arn: String,
    /// The instance's availability zone.
    pub zone: String,
}

/// Registers with the cluster, under the ARN of before if there is one.
///
/// # Errors
/// All but [`AgentError::OtherCluster`] and [`AgentError::Attributes`] may pass when tried again.
pub fn register(http: &Http, settings: &Settings) -> Result<Registered, AgentError> {
    let document = http.identity(&settings.metadata)?;
    let identity = Http::json(&settings.metadata, &document)?;
    let instance = identity["instanceId"].as_str().unwrap_or_default();
    let path = settings.data_folder.join("agent.json");
    let known = read(&path)?.filter(|known| known.instance == instance); // another instance's comes from an image: begin anew
    if let Some(known) = &known
        && known.cluster != settings.cluster
    {
        let (registered, configured) = (known.cluster.clone(), settings.cluster.clone());
        return Err(AgentError::OtherCluster { registered, configured, path });
    }
    let mut attributes: Vec<Value> = CAPABILITIES.iter().map(|name| json!({ "name": name })).collect();
    attributes.push(json!({ "name": "ecs.os-type", "value": "linux" }));
    if known.is_none() {
        attributes.extend(custom(settings.attributes.as_deref())?);
    }
    let request = json!({
        "cluster": settings.cluster,
        "instanceIdentityDocument": document,
        "containerInstanceArn": known.as_ref().map(|known| known.arn.clone()),
        "attributes": attributes,
        "versionInfo": { "agentVersion": "1.105.1", "agentHash": "lab" },
    });
    let answer = http.post(&settings.backend, Some("RegisterContainerInstance"), &request)?;
    let arn = answer["containerInstance"]["containerInstanceArn"].as_str().unwrap_or_default().to_owned();
    if known.is_none() {
        let known =
            Known { arn: arn.clone(), cluster: settings.cluster.clone(), instance: instance.to_owned() };
        write(&path, &known)?;
    }
    let zone = identity["availabilityZone"].as_str().unwrap_or_default().to_owned();
    Ok(Registered { arn, zone })
}

fn custom(attributes: Option<&str>) -> Result<Vec<Value>, AgentError> {
    let Some(text) = attributes.filter(|text| !text.trim().is_empty()) else { return Ok(vec![]) };
    let wrong = || AgentError::Attributes(text.to_owned());
    let object = serde_json::from_str::<serde_json::Map<String, Value>>(text).map_err(|_| wrong())?;
    let one = |(name, value): (String, Value)| {
        value.is_string().then(|| json!({ "name": name, "value": value })).ok_or_else(wrong)
    };
    object.into_iter().map(one).collect()
}

/// The checkpoint. The real agent's is a database, `agent.db`.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Known {
    arn: String,
    cluster: String,
    instance: String,
}

fn read(path: &Path) -> Result<Option<Known>, AgentError> {
    let broken = |source| AgentError::Checkpoint { path: path.to_owned(), source };
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| broken(error.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(broken(error)),
    }
}

/// Whole or not at all, and on the disk: an instance that forgets its ARN comes back as another one.
fn write(path: &Path, known: &Known) -> Result<(), AgentError> {
    let whole = || {
        let new = path.with_extension("new");
        let mut file = fs::File::create(&new)?;
        file.write_all(serde_json::to_string(known)?.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        path.parent().map_or(Ok(()), |folder| fs::File::open(folder)?.sync_all())
    };
    whole().map_err(|source| AgentError::Checkpoint { path: path.to_owned(), source })
}
