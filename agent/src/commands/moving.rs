//! Moving services to revisions, and watching them there: what `apply` and `leave` have in common.

pub mod follow;

use crate::{
    aws::AwsError,
    ecs::Ecs,
    patch,
    service::{Service, short_name},
};
use std::time::Duration;

/// How often a call is made that AWS did not answer.
pub const MOST_TRIES: u32 = 3;
/// Between two of them.
pub const PAUSE: Duration = Duration::from_secs(2);

/// Why a service was not moved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// AWS.
    #[error(transparent)]
    Aws(#[from] AwsError),
    /// ECS made something else of the document.
    #[error(
        "ECS did not keep {fields} of revision {revision}, so no service was moved to it. Deregister it, and deploy without what ECS does not keep"
    )]
    Dropped {
        /// What is missing.
        fields: String,
        /// The revision that was registered.
        revision: String,
    },
    /// Somebody deployed meanwhile.
    #[error("it was deployed anew, or removed, meanwhile: this run is dropped, run it again")]
    Superseded,
}

impl ChangeError {
    /// The code, stable for ever.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Aws(AwsError::Denied { cause, .. }) if cause.contains("iam:PassRole") => "pass-role",
            Self::Aws(_) => "refused-by-aws",
            Self::Dropped { .. } => "dropped-field",
            Self::Superseded => "superseded",
        }
    }

    /// What happened, and what to do next, where the words don't say it already.
    pub fn with_help(&self) -> String {
        let help = match self {
            Self::Aws(AwsError::Denied { cause, .. }) if cause.contains("iam:PassRole") => {
                "Allow iam:PassRole on that role to whoever runs this"
            }
            Self::Aws(AwsError::Denied { .. }) => {
                "Give the right to whoever runs this: docs/pipelines.md lists all"
            }
            Self::Aws(_) => "Run it again: what was registered is found and used",
            Self::Dropped { .. } | Self::Superseded => return self.to_string(),
        };
        format!("{self}. {help}")
    }
}

/// The cluster whose services are moved.
#[derive(Debug, Clone, Copy)]
pub struct Cluster<'a> {
    /// ECS.
    pub ecs: &'a Ecs,
    /// Its name or ARN.
    pub name: &'a str,
}

impl Cluster<'_> {
    /// Moves the service, if it still runs what was looked at.
    ///
    /// # Errors
    /// [`ChangeError`]; the service was not moved.
    pub async fn move_to(&self, service: &Service, revision: &str) -> Result<(), ChangeError> {
        let mut tries = 0;
        loop {
            self.ecs.may_update().await;
            let fresh = self.ecs.service(self.name, &service.arn).await?;
            let runs = fresh.as_ref().and_then(Service::primary);
            match runs.map(|primary| (primary.task_definition.as_str(), primary.id.as_str())) {
                // A try whose answer was lost.
                Some((running, _)) if running == revision => return Ok(()),
                Some(running) if running == service.runs() => {}
                _ => return Err(ChangeError::Superseded),
            }
            let Err(error) = self.ecs.update_service(self.name, &service.arn, revision).await else {
                return Ok(());
            };
            tries += 1;
            if tries == MOST_TRIES || !may_pass(&error) {
                return Err(error.into());
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Whether another try may do what this one did not, or did without our knowing.
pub fn may_pass(error: &AwsError) -> bool {
    match error {
        AwsError::Unreachable { .. } | AwsError::Throttled { .. } | AwsError::Garbled { .. } => true,
        AwsError::Denied { .. } | AwsError::Refused { .. } => false,
    }
}

/// The revision, if ECS kept all that was sent.
///
/// # Errors
/// [`ChangeError::Dropped`], or an answer that names no revision.
pub fn kept(sent: &serde_json::Value, answer: &serde_json::Value) -> Result<String, ChangeError> {
    const CALL: &str = "ecs:RegisterTaskDefinition";
    let arn = answer.pointer("/taskDefinition/taskDefinitionArn").and_then(serde_json::Value::as_str);
    let Some(arn) = arn.map(str::to_owned) else {
        return Err(AwsError::Garbled { call: CALL, cause: "it names no revision".to_owned() }.into());
    };
    let dropped = patch::dropped_fields(sent, answer);
    if dropped.is_empty() {
        return Ok(arn);
    }
    Err(ChangeError::Dropped { fields: dropped.join(", "), revision: short_name(&arn).to_owned() })
}
