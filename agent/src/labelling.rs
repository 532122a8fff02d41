//! Writing a compose file's declarations into the labels of a task definition, so that the daemon reads the same.

use crate::{
    compose::Compose,
    deploy::Decision,
    labels::{APP, RACK, SERVICE, VOLUMES},
    layout::Finding,
    names::{App, Rack},
    patch::{self, PatchError},
    problem::Problem,
};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Labels written, by container.
pub type Written = BTreeMap<String, Vec<String>>;

/// What is to be written: services with their declarations and their container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labelling {
    services: Vec<(String, String, Vec<Value>)>,
    /// Named on the command line, so that it must exist.
    asked_for: Vec<(String, String)>,
    /// Services of the file, also those without volumes.
    known: Vec<String>,
}

impl Labelling {
    /// Of a compose file and what was decided about it; `containers` maps services to containers whose names differ.
    pub fn of(compose: &Compose, decision: &Decision, containers: Vec<(String, String)>) -> Self {
        let container = |service: &str| {
            let mapped =
                containers.iter().find(|(of, _)| of == service).map(|(_, container)| container.clone());
            mapped.unwrap_or_else(|| service.to_owned())
        };
        let known: Vec<String> = compose.active().map(|service| service.name.clone()).collect();
        let entries = |service: &String| -> Vec<Value> {
            let own = decision.volumes.iter().filter(|planned| planned.service.as_str() == service);
            own.map(|planned| planned.declaration.as_label()).collect()
        };
        let services = known
            .iter()
            .map(|service| (service.clone(), container(service), entries(service)))
            .filter(|(_, _, entries)| !entries.is_empty())
            .collect();
        Self { services, asked_for: containers, known }
    }

    /// Of these services alone: those that one task definition runs.
    #[must_use]
    pub fn only(&self, services: &[String]) -> Self {
        let is_meant = |service: &String| services.contains(service);
        Self {
            services: self.services.iter().filter(|(service, _, _)| is_meant(service)).cloned().collect(),
            asked_for: self.asked_for.iter().filter(|(service, _)| is_meant(service)).cloned().collect(),
            known: self.known.clone(),
        }
    }

    /// Services of the file, in its order.
    pub fn known(&self) -> impl Iterator<Item = &str> {
        self.known.iter().map(String::as_str)
    }

    /// Whether any of these services declares volumes.
    pub fn declares(&self, services: &[String]) -> bool {
        self.services.iter().any(|(service, _, _)| services.contains(service))
    }

    /// The services that declare volumes and have no container in the document, with the container's name.
    pub fn without_container<'a>(&'a self, document: &Value) -> Vec<(&'a str, &'a str)> {
        let names = patch::container_names(document);
        let services =
            self.services.iter().map(|(service, container, _)| (service.as_str(), container.as_str()));
        services.filter(|(_, container)| !names.contains(container)).collect()
    }

    /// What is noteworthy about containers whose declarations are their author's: that of the file's was told with its lines.
    pub fn warnings_of_others(&self, warnings: &[(String, Finding)]) -> Vec<Problem> {
        let others =
            warnings.iter().filter(|(container, _)| !self.services.iter().any(|(_, of, _)| of == container));
        let told = others.map(|(container, finding)| {
            let reason = format!("container `{container}`: {}", finding.reason);
            let mut problem = Problem::warning(finding.code, reason, finding.help.clone());
            problem.declaration = Some(finding.declaration.clone());
            problem
        });
        told.collect()
    }
}

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum LabellingError {
    /// A label says something else already.
    #[error(
        "container `{container}` has the label `{label}` with `{found}`, but {} says `{wanted}`",
        says(label)
    )]
    Disagrees {
        /// The container.
        container: String,
        /// The label.
        label: &'static str,
        /// What is there.
        found: String,
        /// What was to be written.
        wanted: String,
        /// Whether an earlier run wrote what is there.
        is_ours: bool,
    },
    /// The command line names a container that the document doesn't have.
    #[error("--container names the container `{0}`, which the task definition doesn't have")]
    NoContainer(String),
    /// None of the services that declare volumes has a container here.
    #[error(
        "none of the services with volumes ({services}) is a container of the task definition, which has {containers}"
    )]
    NoneFits {
        /// The services.
        services: String,
        /// The containers.
        containers: String,
    },
    /// Two services want one container.
    #[error("services `{first}` and `{second}` both go to container `{container}`")]
    Twice {
        /// The container.
        container: String,
        /// One service.
        first: String,
        /// The other one.
        second: String,
    },
}

/// What a label is written from.
fn says(label: &str) -> &'static str {
    if [VOLUMES, SERVICE].contains(&label) { "the compose file" } else { "the command line" }
}

impl LabellingError {
    /// The same, where these labels of its container were written by an earlier run.
    fn written_before(mut self, labels: Option<&Vec<String>>) -> Self {
        if let Self::Disagrees { label, is_ours, .. } = &mut self {
            *is_ours = labels.is_some_and(|labels| labels.iter().any(|written| written == label));
        }
        self
    }

    /// Whether it is about what an earlier run wrote, and not about what an author did.
    pub fn is_about_ours(&self) -> bool {
        matches!(self, Self::Disagrees { is_ours: true, .. })
    }

    /// The code, stable for ever.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Disagrees { .. } => "label-disagrees",
            Self::NoContainer(_) | Self::NoneFits { .. } | Self::Twice { .. } => "no-container",
        }
    }

    /// What to do next.
    pub fn help(&self) -> String {
        match self {
            Self::Disagrees { label, .. } if *label == VOLUMES => {
                format!("correct the compose file, or remove the label `{label}` from the task definition's source")
            }
            Self::Disagrees { .. } => {
                "correct the names on the command line or in the compose file; to have other directories, which are empty at first, deploy what `volumes-agent unpatch` makes of it before".to_owned()
            }
            Self::NoContainer(_) => "check the container's name after `=`".to_owned(),
            Self::NoneFits { .. } => {
                "say which container is a service's: --container SERVICE=CONTAINER".to_owned()
            }
            Self::Twice { .. } => "one container is one service: correct --container".to_owned(),
        }
    }
}

/// Writes the labels of every service that has a container here, and checks those that are there already against rack and app.
/// Services of the file without a container are another task definition's.
///
/// # Errors
/// [`LabellingError`]
pub fn write(
    document: &Value,
    labelling: &Labelling,
    rack: &Rack,
    app: &App,
) -> Result<(Value, Written), LabellingError> {
    check_all(document, labelling, rack, app)?;
    let mut document = document.clone();
    let mut written = Written::new();
    let names: Vec<String> = patch::container_names(&document).into_iter().map(str::to_owned).collect();
    for (_, container) in &labelling.asked_for {
        if !names.contains(container) {
            return Err(LabellingError::NoContainer(container.clone()));
        }
    }
    let mut served: BTreeMap<&str, &str> = BTreeMap::new();
    for (service, container, entries) in &labelling.services {
        if !names.contains(container) {
            continue;
        }
        if let Some(first) = served.insert(container, service) {
            let (first, second) = (first.to_owned(), service.clone());
            return Err(LabellingError::Twice { container: container.clone(), first, second });
        }
        let wanted = [
            (APP, app.to_string()),
            (SERVICE, service.clone()),
            (RACK, rack.to_string()),
            (VOLUMES, Value::from(entries.clone()).to_string()),
        ];
        let of_container = containers(&mut document)
            .find(|found| found.get("name").and_then(Value::as_str) == Some(container));
        let Some(found) = of_container else { continue };
        let labels = found.entry("dockerLabels").or_insert_with(|| json!({}));
        if !labels.is_object() {
            *labels = json!({});
        }
        let Some(labels) = labels.as_object_mut() else { continue };
        // What its author declares already stays in the author's words, so that nothing is deployed anew for a label more.
        let is_authors = labels.contains_key(VOLUMES);
        for (label, value) in wanted {
            let is_default = label == RACK || (label == SERVICE && service == container);
            if labels.contains_key(label) {
                check(container, labels, label, &value)?;
            } else if !(is_authors && is_default) {
                labels.insert(label.to_owned(), json!(value));
                written.entry(container.clone()).or_default().push(label.to_owned());
            }
        }
    }
    if served.is_empty() && !labelling.services.is_empty() {
        let services: Vec<&str> = labelling.services.iter().map(|(service, _, _)| service.as_str()).collect();
        return Err(LabellingError::NoneFits { services: services.join(", "), containers: names.join(", ") });
    }
    Ok((document, written))
}

/// Why nothing was rewritten.
#[derive(Debug, thiserror::Error)]
pub enum RewritingError {
    /// What an earlier run put on can't be taken off.
    #[error(transparent)]
    Patch(#[from] PatchError),
    /// The labels.
    #[error(transparent)]
    Labelling(#[from] LabellingError),
}

impl RewritingError {
    /// The code, stable for ever.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Patch(error) => error.code(),
            Self::Labelling(error) => error.code(),
        }
    }

    /// What to do next.
    pub fn help(&self) -> String {
        match self {
            Self::Patch(error) => error.help(),
            Self::Labelling(error) => error.help(),
        }
    }
}

/// [`write`], into a document that may have been patched before: so that a file which changes ends as if it had never said anything else.
/// Everything of ours is taken off, and labels that were written for services of the file; those for services that it doesn't name stay.
///
/// Rack, app and service must be the same as before: others are other directories, in which the containers would find nothing.
///
/// # Errors
/// [`RewritingError`]
pub fn rewrite(
    document: &Value,
    labelling: &Labelling,
    rack: &Rack,
    app: &App,
) -> Result<(Value, Written), RewritingError> {
    check_all(document, labelling, rack, app)?;
    let mut source = patch::unpatch(document)?;
    let mut kept = Written::new();
    for (name, written) in patch::written_labels(document) {
        let before = patch::containers(document)
            .find(|container| container.get("name").and_then(Value::as_str) == Some(&name));
        let Some(before) = before.and_then(|container| container.get("dockerLabels")) else { continue };
        let service = before.get(SERVICE).and_then(Value::as_str).unwrap_or(&name);
        let of_container =
            containers(&mut source).find(|found| found.get("name").and_then(Value::as_str) == Some(&name));
        let Some(found) = of_container.filter(|_| !labelling.known.iter().any(|known| known == service))
        else {
            continue;
        };
        let labels = found.entry("dockerLabels").or_insert_with(|| json!({}));
        let Some(labels) = labels.as_object_mut() else { continue };
        for label in &written {
            labels.extend(before.get(label).map(|value| (label.clone(), value.clone())));
        }
        kept.insert(name, written);
    }
    let (document, mut written) = write(&source, labelling, rack, app)?;
    for (container, labels) in kept {
        written.entry(container).or_default().extend(labels);
    }
    Ok((document, written))
}

/// Labels that are there already, whoever wrote them, must name this rack and app; and a container its service.
fn check_all(document: &Value, labelling: &Labelling, rack: &Rack, app: &App) -> Result<(), LabellingError> {
    let written = patch::written_labels(document);
    for container in patch::containers(document) {
        let name = container.get("name").and_then(Value::as_str).unwrap_or_default();
        let labels = container.get("dockerLabels").and_then(Value::as_object);
        let Some(labels) = labels.filter(|labels| labels.contains_key(VOLUMES)) else { continue };
        let whose = |error: LabellingError| error.written_before(written.get(name));
        check(name, labels, RACK, rack.as_str()).map_err(whose)?;
        check(name, labels, APP, app.as_str()).map_err(whose)?;
        if let Some((service, _, _)) = labelling.services.iter().find(|(_, container, _)| container == name) {
            let mut labels = labels.clone();
            labels.entry(SERVICE).or_insert_with(|| json!(name));
            check(name, &labels, SERVICE, service).map_err(whose)?;
        }
    }
    Ok(())
}

fn containers(document: &mut Value) -> impl Iterator<Item = &mut Map<String, Value>> {
    let list = document.get_mut("containerDefinitions").and_then(Value::as_array_mut);
    list.into_iter().flatten().filter_map(Value::as_object_mut)
}

/// A label that is there must say the same; lists of declarations are compared as such.
fn check(
    container: &str,
    labels: &Map<String, Value>,
    label: &'static str,
    wanted: &str,
) -> Result<(), LabellingError> {
    let Some(found) = labels.get(label).and_then(Value::as_str) else { return Ok(()) };
    let same_list = || {
        let read = |text: &str| serde_json::from_str::<Value>(text).ok();
        label == VOLUMES && read(found).is_some() && read(found) == read(wanted)
    };
    if found == wanted || same_list() {
        Ok(())
    } else {
        let (found, wanted) = (found.to_owned(), wanted.to_owned());
        Err(LabellingError::Disagrees {
            container: container.to_owned(),
            label,
            found,
            wanted,
            is_ours: false,
        })
    }
}
