//! Writing a compose file's declarations into the labels of a task definition, so that the daemon reads the same.

use crate::{
    compose::Compose,
    deploy::Decision,
    labels::{APP, RACK, SERVICE, VOLUMES},
    layout::Finding,
    names::{App, Rack},
    patch,
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
    },
    /// The command line names a service that the file doesn't have.
    #[error("--container names the service `{0}`, which the compose file doesn't have")]
    NoService(String),
    /// The command line names a container that the document doesn't have.
    #[error("--container names the container `{0}`, which the task definition doesn't have")]
    NoContainer(String),
    /// None of the services that declare volumes has a container here.
    #[error("none of the services with volumes ({0}) is a container of the task definition")]
    NoneFits(String),
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
    /// The code, stable for ever.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Disagrees { .. } => "label-disagrees",
            Self::NoService(_) | Self::NoContainer(_) | Self::NoneFits(_) | Self::Twice { .. } => {
                "no-container"
            }
        }
    }

    /// What to do next.
    pub fn help(&self) -> String {
        match self {
            Self::Disagrees { label, .. } => {
                format!("correct `--rack`, `--app` or the compose file, or remove the label `{label}`")
            }
            Self::NoService(_) => "check the service's name before `=`".to_owned(),
            Self::NoContainer(_) => "check the container's name after `=`".to_owned(),
            Self::NoneFits(_) => {
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
    let mut document = document.clone();
    let mut written = Written::new();
    let mut names = Vec::new();
    for container in containers(&mut document) {
        let name = container.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
        let labels = container.get("dockerLabels").and_then(Value::as_object);
        if let Some(labels) = labels.filter(|labels| labels.contains_key(VOLUMES)) {
            check(&name, labels, RACK, rack.as_str())?;
            check(&name, labels, APP, app.as_str())?;
        }
        names.push(name);
    }
    for (service, container) in &labelling.asked_for {
        if !labelling.known.contains(service) {
            return Err(LabellingError::NoService(service.clone()));
        }
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
        for (label, value) in wanted {
            if labels.contains_key(label) {
                check(container, labels, label, &value)?;
            } else {
                labels.insert(label.to_owned(), json!(value));
                written.entry(container.clone()).or_default().push(label.to_owned());
            }
        }
    }
    if served.is_empty() && !labelling.services.is_empty() {
        let services: Vec<&str> = labelling.services.iter().map(|(service, _, _)| service.as_str()).collect();
        return Err(LabellingError::NoneFits(services.join(", ")));
    }
    Ok((document, written))
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
        Err(LabellingError::Disagrees { container: container.to_owned(), label, found, wanted })
    }
}
