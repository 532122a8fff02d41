//! The IAM policies that are shipped (`docs/iam`), as the lab's ECS takes them: whoever acts in a lab has those rights and no others.
//!
//! What the lab's ECS can't judge is left out: conditions, and other services than ECS and `iam:PassRole`.

use crate::{
    Error,
    cluster::{ACCOUNT, CLUSTER, REGION},
    ecs::Allow,
    host, place,
};
use serde::Deserialize;

/// The task role of a patcher of its own.
pub const PATCHER_ROLE: &str = "volumes-agent-patcher";
/// The access key of a pipeline.
pub const PIPELINE_KEY: &str = "pipeline";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Document {
    statement: Vec<Statement>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Statement {
    action: OneOrMore,
    resource: OneOrMore,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl OneOrMore {
    fn all(self) -> Vec<String> {
        match self {
            Self::One(one) => vec![one],
            Self::More(more) => more,
        }
    }
}

/// What policies of `docs/iam` allow, by their names, with the lab's own region, account and cluster.
///
/// # Errors
/// A policy that can't be read.
pub fn allowed(policies: &[&str]) -> Result<Vec<Allow>, Error> {
    let mut allowed = Vec::new();
    for name in policies {
        let path = place::repository().join(format!("docs/iam/{name}.json"));
        let text = host::read(&path)?
            .replace("REGION", REGION)
            .replace("ACCOUNT", ACCOUNT)
            .replace("CLUSTER", CLUSTER);
        let document: Document = serde_json::from_str(&text).map_err(|error| Error::NotSeen {
            expected: format!("{} is an IAM policy", path.display()),
            seen: error.to_string(),
            waited: std::time::Duration::ZERO,
        })?;
        for Statement { action, resource } in document.statement {
            let resources = resource.all();
            for action in action.all() {
                allowed.extend(
                    resources
                        .iter()
                        .map(|resource| Allow { action: action.clone(), resource: resource.clone() }),
                );
            }
        }
    }
    Ok(allowed)
}
