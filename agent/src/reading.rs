//! What a revision is to the agent: nothing, somebody else's, refused, patched, or to be patched. Pure; revisions never change, so a
//! reading holds for as long as the configuration does.

use crate::{
    diagnostics::in_one_line,
    labels::SOURCE,
    mount::VOLUMES_ROOT,
    names::Rack,
    patch::{self, Needed, PatchError, PatchSettings, Patched},
    report::Outcome,
};
use serde_json::Value;

/// Why a service is as it is: for `/status`, the log and the metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// What became of it.
    pub outcome: Outcome,
    /// The reason's code, stable for ever, where there is a reason.
    pub code: Option<&'static str>,
    /// The reason, with what to do about it.
    pub reason: Option<String>,
}

impl Verdict {
    /// One that needs no words.
    pub fn plain(outcome: Outcome) -> Self {
        Self { outcome, code: None, reason: None }
    }

    /// One with a reason.
    pub fn because(outcome: Outcome, code: &'static str, reason: impl Into<String>) -> Self {
        Self { outcome, code: Some(code), reason: Some(reason.into()) }
    }

    /// A refusal.
    pub fn refused(code: &'static str, reason: impl Into<String>) -> Self {
        Self::because(Outcome::Refused, code, reason)
    }
}

/// A revision, read.
#[derive(Debug, Clone)]
pub enum Reading {
    /// It declares no volumes.
    NothingDeclared,
    /// Its author's, or another rack's, business.
    LeftAlone(Verdict),
    /// It declares volumes and can't have them.
    Refused(Verdict),
    /// It mounts what it declares.
    Patched {
        /// The revision that it was made from, by its label; `pipeline` where a pipeline patched it.
        source: String,
        /// Computed anew.
        fingerprint: String,
        /// The directories that it needs.
        volumes: Vec<Needed>,
    },
    /// It declares volumes and does not mount them.
    Unpatched(Unpatched),
}

/// A revision to be patched: what is decided by. Its [`Documents`] are apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpatched {
    /// Of what it becomes.
    pub fingerprint: String,
    /// The directories that it will need.
    pub volumes: Vec<Needed>,
    /// Whether its tasks will only be for instances with the share.
    pub needs_share: bool,
    /// Its family.
    pub family: String,
    /// Whether ECS still takes it for new tasks; one that was deregistered is INACTIVE.
    pub is_active: bool,
}

/// The documents of a revision to be patched: a hundred times as large as all else that is known of it, and needed only when it is
/// its turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Documents {
    /// As its author wrote it, ready to register.
    pub source: Value,
    /// What it becomes, ready to register.
    pub patched: Value,
}

impl Reading {
    /// The directories that it needs on the share.
    pub fn volumes(&self) -> &[Needed] {
        match self {
            Self::Patched { volumes, .. } => volumes,
            Self::Unpatched(unpatched) => &unpatched.volumes,
            Self::NothingDeclared | Self::LeftAlone(_) | Self::Refused(_) => &[],
        }
    }
}

impl Unpatched {
    /// Of what it becomes.
    pub fn new(patched: &Patched, family: String, is_active: bool) -> Self {
        Self {
            fingerprint: patched.fingerprint.clone(),
            volumes: patched.volumes.clone(),
            needs_share: patched.needs_share,
            family,
            is_active,
        }
    }
}

/// What readings depend on beside the revision.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    /// The rack.
    pub rack: &'a Rack,
    /// Paths of the instances that may be mounted verbatim.
    pub host_paths: &'a [String],
    /// Whether it is for a daemon service: ECS stops daemons whose instance no longer matches, so what they use has no gate.
    pub is_daemon: bool,
    /// Whether new volumes are filled: not, while an instance may have no helper for that.
    pub fills: bool,
}

impl Reader<'_> {
    /// Reads DescribeTaskDefinition's answer for the revision `arn`. The documents are those of one to be patched.
    pub fn read(&self, arn: &str, answer: Value) -> (Reading, Option<Documents>) {
        let mut documents = None;
        let reading = self.judge(arn, answer, &mut documents);
        (reading, documents)
    }

    fn judge(&self, arn: &str, answer: Value, documents: &mut Option<Documents>) -> Reading {
        let is_active =
            answer.pointer("/taskDefinition/status").and_then(Value::as_str).is_none_or(|s| s == "ACTIVE");
        let refused = |error: &PatchError| {
            Reading::Refused(Verdict::refused(
                error.code(),
                format!("{}. {}", in_one_line(error), sentence(&error.help())),
            ))
        };
        let document = match patch::registerable(answer) {
            Ok(document) => document,
            Err(error) => return refused(&error),
        };
        match patch::patch(&document, &self.settings(arn, self.host_paths)) {
            Ok(patch::Outcome::NothingDeclared) => Reading::NothingDeclared,
            Ok(patch::Outcome::Off) => Reading::LeftAlone(Verdict::because(
                Outcome::LeftAlone,
                "agent-off",
                "its label `convox.volumes.agent` is `off`",
            )),
            Ok(patch::Outcome::OtherRack { rack }) => Reading::LeftAlone(Verdict::because(
                Outcome::LeftAlone,
                "other-rack",
                format!("it is rack `{rack}`'s by its label `convox.rack`"),
            )),
            Ok(patch::Outcome::Patched(patched)) => {
                self.compared(arn, document, *patched, is_active, documents)
            }
            Err(error) => match self.by_pipeline(arn, &document) {
                Some(reading) => reading,
                None => refused(&error),
            },
        }
    }

    fn settings<'s>(&'s self, arn: &str, host_paths: &'s [String]) -> PatchSettings<'s> {
        PatchSettings {
            rack: self.rack,
            gate: !self.is_daemon,
            source: arn.to_owned(),
            host_paths,
            fills: self.fills,
        }
    }

    fn compared(
        &self,
        arn: &str,
        document: Value,
        patched: Patched,
        is_active: bool,
        documents: &mut Option<Documents>,
    ) -> Reading {
        if patch::equivalent(&patched.document, &document) {
            let source = patch::first_label(&document, SOURCE).unwrap_or_else(|| arn.to_owned());
            return Reading::Patched { source, fingerprint: patched.fingerprint, volumes: patched.volumes };
        }
        if let Some(reading) = self.by_pipeline(arn, &document) {
            return reading;
        }
        let family = document.get("family").and_then(Value::as_str).unwrap_or_default().to_owned();
        let unpatched = Unpatched::new(&patched, family, is_active);
        *documents = Some(Documents { source: document, patched: patched.document });
        Reading::Unpatched(unpatched)
    }

    /// What a pipeline patched right, but with paths of the instances that this agent's configuration doesn't allow: it is said, and
    /// left as it is.
    fn by_pipeline(&self, arn: &str, document: &Value) -> Option<Reading> {
        let below = format!("{VOLUMES_ROOT}/");
        let mut bound = patch::our_sources(document);
        bound.retain(|path| !path.starts_with(&below));
        if bound.is_empty() || bound.iter().all(|path| self.host_paths.contains(path)) {
            return None;
        }
        let host_paths: Vec<String> = self.host_paths.iter().chain(&bound).cloned().collect();
        match patch::patch(document, &self.settings(arn, &host_paths)) {
            Ok(patch::Outcome::Patched(patched)) if patch::equivalent(&patched.document, document) => {
                Some(Reading::LeftAlone(Verdict::because(
                    Outcome::LeftAlone,
                    "host-path-of-pipeline",
                    format!(
                        "a pipeline patched it with {} of the instances, which this agent's configuration does not allow: it is left as it is. List it in `host_paths`, or remove the entry",
                        bound.iter().map(|path| format!("`{path}`")).collect::<Vec<_>>().join(", ")
                    ),
                )))
            }
            _ => None,
        }
    }
}

/// A help text as a sentence.
fn sentence(help: &str) -> String {
    let mut chars = help.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}
