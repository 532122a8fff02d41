//! What compose files declare for the cluster, as `patch` and `apply` take it from the command line.

use crate::{
    commands::{
        files::{ProjectArgs, read_compose},
        messages::Messages,
    },
    compose::Compose,
    deploy::{Decision, decide},
    diagnostics::Failure,
    labelling::Labelling,
    layout::Place,
    names::{App, Rack},
    observed::cluster_name,
    spelling,
};

/// The flags that say it.
#[derive(Debug, Clone, Copy)]
pub struct Flags<'a> {
    /// Compose files; none: as Docker Compose finds them.
    pub files: &'a [String],
    /// For which project.
    pub project: &'a ProjectArgs,
    /// SERVICE=CONTAINER, where names differ.
    pub container: &'a [String],
    /// Paths of the instances that may be bound as they are.
    pub host_paths: &'a [String],
}

/// What they declare.
#[derive(Debug)]
pub struct Declared {
    /// The files.
    pub compose: Compose,
    /// What becomes of their entries.
    pub decision: Decision,
    /// What is to be written into labels.
    pub labelling: Labelling,
}

/// The declarations of each service, once it is sure that all of them can be had; none, where they can't. What is to be said of them is
/// in `messages`.
///
/// # Errors
/// A flag can't be understood.
pub fn declared(
    flags: Flags<'_>,
    rack: &Rack,
    app: &App,
    messages: &mut Messages,
) -> Result<Option<Declared>, Failure> {
    let containers = pairs("container", "CONTAINER", flags.container)?;
    let Some(compose) = read_compose(flags.files, flags.project, messages)? else { return Ok(None) };
    let decision = decide(&compose, Place::Deployed { rack, host_paths: flags.host_paths }, app);
    messages.add_silenced(decision.silenced);
    messages.add(decision.warnings.iter().chain(&decision.refusals).cloned());
    if !decision.refusals.is_empty() {
        return Ok(None);
    }
    let labelling = labelling(&compose, &decision, containers)?;
    Ok(Some(Declared { compose, decision, labelling }))
}

/// What is to be written into labels.
///
/// # Errors
/// `containers` names a service that the file doesn't have.
pub fn labelling(
    compose: &Compose,
    decision: &Decision,
    containers: Vec<(String, String)>,
) -> Result<Labelling, Failure> {
    let known = || compose.active().map(|service| service.name.as_str());
    match containers.iter().find(|(service, _)| !known().any(|known| known == service)) {
        None => Ok(Labelling::of(compose, decision, containers)),
        Some((service, _)) => {
            let help = spelling::did_you_mean(service, known())
                .unwrap_or_else(|| format!("its services are {}", known().collect::<Vec<_>>().join(", ")));
            let error =
                format!("--container names the service `{service}`, which the compose file doesn't have");
            Err(Failure::usage(error).help(help))
        }
    }
}

/// The values of a flag that says what a service is elsewhere: `what`.
///
/// # Errors
/// One is not `SERVICE=what`.
pub fn pairs(flag: &str, what: &str, values: &[String]) -> Result<Vec<(String, String)>, Failure> {
    let pair = |value: &String| match value.split_once('=') {
        Some((service, other)) if !service.is_empty() && !other.is_empty() => {
            Ok((service.to_owned(), other.to_owned()))
        }
        _ => Err(Failure::usage(format!("--{flag} `{value}` is not SERVICE={what}"))
            .help(format!("write it as in --{flag} web=shop-web"))),
    };
    values.iter().map(pair).collect()
}

/// The rack: `--rack`, else the name of the cluster.
///
/// # Errors
/// It is no name of a rack.
pub fn rack(rack: Option<&str>, cluster: Option<&str>) -> Result<Rack, Failure> {
    let name = rack.unwrap_or_else(|| cluster.map_or("", cluster_name));
    name.parse().map_err(|error| Failure::refused(error).help("give a name by --rack"))
}

/// The app, by `--app`.
///
/// # Errors
/// It is no name of an app.
pub fn app(app: &str) -> Result<App, Failure> {
    app.parse().map_err(|error| Failure::refused(error).help("give a name by --app"))
}
