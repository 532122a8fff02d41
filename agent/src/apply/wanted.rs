//! What the task definition of an ECS service becomes with a compose file's volumes.
//!
//! It starts from the source: what an earlier run put on and wrote is taken off first.

use crate::{
    diagnostics::in_one_line,
    labelling::{self, Labelling, RewritingError},
    labels::{AGENT, SOURCE},
    names::{App, Rack},
    patch::{self, Outcome, PatchError, PatchSettings, Patched},
    problem::Problem,
    reading::{Reading, Unpatched},
};
use serde_json::Value;

/// What is asked for, beside the task definition.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// What the services declare that the task definition runs.
    pub labelling: &'a Labelling,
    /// The rack.
    pub rack: &'a Rack,
    /// The app.
    pub app: &'a App,
    /// Whether tasks are to be placed only where the share is.
    pub gate: bool,
    /// Paths of the instances that may be bound as they are.
    pub host_paths: &'a [String],
}

/// A task definition before and after.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// As it is, ready to register.
    pub before: Value,
    /// As it is to be; the same where nothing is to be done.
    pub after: Value,
    /// What it is to the agent: patched, to be patched, or without volumes.
    pub reading: Reading,
    /// Whether anything is declared: a directory on the share, or memory.
    pub is_declared: bool,
    /// Paths on the share that it mounts, relative to the volumes root.
    pub volumes: Vec<String>,
    /// What is noteworthy about declarations that its author's labels carry.
    pub warnings: Vec<Problem>,
}

/// Why it can't be told.
#[derive(Debug, thiserror::Error)]
pub enum WantedError {
    /// It can't be patched.
    #[error(transparent)]
    Patch(#[from] PatchError),
    /// Its labels say something else.
    #[error(transparent)]
    Rewriting(#[from] RewritingError),
    /// Without volumes nothing takes the hold off.
    #[error(
        "without volumes it has its source's constraint `attribute:convox.volumes.hold exists` again, which is never true: none of its tasks could be placed"
    )]
    Held,
    /// Its author says: hands off.
    #[error("its label `convox.volumes.agent` is `off`")]
    Off,
    /// It is another rack's.
    #[error("it is rack `{0}`'s by its label `convox.rack`")]
    OtherRack(Rack),
    /// Nothing in it runs the service.
    #[error("it has no container `{container}` for the service `{service}`; its containers are {found}")]
    NoContainer {
        /// The service.
        service: String,
        /// The container that was looked for.
        container: String,
        /// Those that it has.
        found: String,
    },
}

impl WantedError {
    /// The code, stable for ever.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Patch(error) => error.code(),
            Self::Rewriting(error) => error.code(),
            Self::Held => "held",
            Self::NoContainer { .. } => "no-container",
            Self::Off => "agent-off",
            Self::OtherRack(_) => "other-rack",
        }
    }

    /// What to do next.
    pub fn help(&self) -> String {
        match self {
            Self::Patch(error) => error.help(),
            Self::Rewriting(error) => error.help(),
            Self::Held => "deploy the task definition without that constraint first".to_owned(),
            Self::Off => "remove the label to have its volumes".to_owned(),
            Self::OtherRack(rack) => format!("give --rack {rack}, or correct the label"),
            Self::NoContainer { service, .. } => {
                format!("say which one it is: --container {service}=CONTAINER")
            }
        }
    }

    /// Whether it is worth a refusal where the file declares nothing: not, where the task definition is somebody else's business.
    pub fn is_about_ours(&self) -> bool {
        match self {
            Self::Off | Self::OtherRack(_) => false,
            Self::Rewriting(RewritingError::Labelling(error)) => error.is_about_ours(),
            Self::Rewriting(RewritingError::Patch(_))
            | Self::Patch(_)
            | Self::Held
            | Self::NoContainer { .. } => true,
        }
    }

    /// All of it in one sentence.
    pub fn in_one_line(&self) -> String {
        in_one_line(self)
    }
}

/// Of DescribeTaskDefinition's answer for the revision `arn`.
///
/// # Errors
/// [`WantedError`]
pub fn wanted(arn: &str, answer: Value, asked: Asked<'_>) -> Result<Wanted, WantedError> {
    let text = |path: &str| answer.pointer(path).and_then(Value::as_str);
    let is_active = text("/taskDefinition/status").is_none_or(|status| status == "ACTIVE");
    let family = text("/taskDefinition/family").unwrap_or_default().to_owned();
    let before = patch::registerable(answer)?;
    if patch::first_label(&before, AGENT).as_deref() == Some("off") {
        return Err(WantedError::Off);
    }
    if let Some((service, container)) = asked.labelling.without_container(&before).first() {
        return Err(WantedError::NoContainer {
            service: (*service).to_owned(),
            container: (*container).to_owned(),
            found: patch::container_names(&before).join(", "),
        });
    }
    let (labelled, written) = labelling::rewrite(&before, asked.labelling, asked.rack, asked.app)?;
    let settings = PatchSettings {
        rack: asked.rack,
        gate: asked.gate,
        source: patch::first_label(&before, SOURCE).unwrap_or_else(|| arn.to_owned()),
        host_paths: asked.host_paths,
        fills: true,
    };
    let (is_declared, patched) = match patch::patch_with(&labelled, &settings, written)? {
        Outcome::Patched(patched) => (true, *patched),
        Outcome::Off => return Err(WantedError::Off),
        Outcome::OtherRack { rack } => return Err(WantedError::OtherRack(rack)),
        Outcome::NothingDeclared if patch::is_held(&labelled) => return Err(WantedError::Held),
        Outcome::NothingDeclared => {
            let (volumes, warnings, fingerprint) = (Vec::new(), Vec::new(), String::new());
            (false, Patched { document: labelled, volumes, needs_share: false, warnings, fingerprint })
        }
    };
    let after = patched.document.clone();
    let volumes: Vec<String> = patched.volumes.iter().map(|volume| volume.relative.clone()).collect();
    let warnings = asked.labelling.warnings_of_others(&patched.warnings);
    let reading = match (patch::equivalent(&before, &after), is_declared) {
        (true, false) => Reading::NothingDeclared,
        (true, true) => Reading::Patched {
            source: settings.source,
            fingerprint: patched.fingerprint,
            volumes: patched.volumes,
        },
        (false, _) => Reading::Unpatched(Unpatched::new(&patched, family, is_active)),
    };
    Ok(Wanted { before, after, reading, is_declared, volumes, warnings })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        deploy::{decide, tests::read},
        layout::Place,
    };
    use serde_json::json;

    /// What the file makes of a task definition; `Err`: the code and the words.
    fn apply(answer: &Value, file: &'static str) -> Result<Wanted, String> {
        let (rack, app) = ("production".parse().unwrap(), "shop".parse().unwrap());
        let compose = read(file);
        let decision = decide(&compose, Place::Deployed { rack: &rack, host_paths: &[] }, &app);
        assert_eq!(decision.refusals, []);
        let labelling = Labelling::of(&compose, &decision, Vec::new());
        let asked = Asked { labelling: &labelling, rack: &rack, app: &app, gate: true, host_paths: &[] };
        wanted("arn:f:41", answer.clone(), asked).map_err(|error| format!("{}: {error}", error.code()))
    }

    fn described(document: &Value) -> Value {
        json!({ "taskDefinition": document, "tags": [] })
    }

    fn source() -> Value {
        json!({ "family": "f", "status": "ACTIVE", "containerDefinitions": [{ "name": "web", "image": "i" }] })
    }

    const ONE: &str = "services: { web: { volumes: [/data] } }";
    const OTHER: &str = "services: { web: { volumes: [/data, /cache] } }";
    const MEMORY: &str = "services: { web: { tmpfs: ['/run:size=1m'] } }";
    const NONE: &str = "services: { web: { image: i } }";

    #[test]
    fn a_file_that_changes_ends_as_if_it_had_never_said_anything_else() {
        let first = apply(&described(&source()), ONE).unwrap();
        assert!(matches!(first.reading, Reading::Unpatched(_)));
        assert_eq!(first.volumes, ["production-shop/web/data"]);
        let registered = described(&first.after);
        let again = apply(&registered, ONE).unwrap();
        assert!(matches!(again.reading, Reading::Patched { .. }), "{:?}", again.reading);
        assert_eq!(again.after, first.after, "applied twice is applied once");
        let changed = apply(&registered, OTHER).unwrap();
        let at_once = apply(&described(&source()), OTHER).unwrap();
        assert_eq!(changed.after, at_once.after);
        let none = apply(&registered, NONE).unwrap();
        let mut plain = source();
        plain.as_object_mut().unwrap().shift_remove("status");
        assert_eq!(none.after, plain);
        assert!(matches!(none.reading, Reading::Unpatched(_)));
        let memory = apply(&described(&source()), MEMORY).unwrap();
        assert!(memory.is_declared && memory.volumes.is_empty());
        assert_eq!(memory.after.get("placementConstraints"), None, "memory waits for no share");
        assert!(matches!(apply(&described(&memory.after), MEMORY).unwrap().reading, Reading::Patched { .. }));
        assert!(matches!(apply(&described(&plain), NONE).unwrap().reading, Reading::NothingDeclared));
    }

    #[test]
    fn what_was_written_for_services_that_the_file_does_not_name_stays() {
        let mut document = source();
        document["containerDefinitions"] = json!([{ "name": "web" }, { "name": "side" }]);
        let both = "services: { web: { volumes: [/data] }, side: { volumes: [/side] } }";
        let first = apply(&described(&document), both).unwrap();
        let then = apply(&described(&first.after), OTHER).unwrap();
        assert_eq!(
            then.volumes,
            ["production-shop/side/side", "production-shop/web/cache", "production-shop/web/data"]
        );
        assert_eq!(patch::unpatch(&then.after).unwrap(), patch::unpatch(&first.after).unwrap());
        // Named without volumes, it has none any more.
        let named = "services: { web: { volumes: [/data] }, side: { image: i } }";
        assert_eq!(apply(&described(&first.after), named).unwrap().volumes, ["production-shop/web/data"]);
    }

    #[test]
    fn what_the_daemon_patched_by_its_authors_labels_is_in_place() {
        let mut document = source();
        document.as_object_mut().unwrap().shift_remove("status");
        document["containerDefinitions"][0]["dockerLabels"] =
            json!({ "convox.app": "shop", "convox.volumes": "[\"/data\"]" });
        let rack = "production".parse().unwrap();
        let settings = PatchSettings {
            rack: &rack,
            gate: true,
            source: "arn:f:41".to_owned(),
            host_paths: &[],
            fills: true,
        };
        let Ok(Outcome::Patched(patched)) = patch::patch(&document, &settings) else { panic!("not patched") };
        let wanted = apply(&described(&patched.document), ONE).unwrap();
        assert!(matches!(wanted.reading, Reading::Patched { .. }), "{:#}", wanted.after);
    }

    #[test]
    fn what_its_author_says_otherwise_is_refused() {
        let labelled = |labels: Value| {
            let mut document = source();
            document["containerDefinitions"][0]["dockerLabels"] = labels;
            apply(&described(&document), ONE).map(|_| ()).unwrap_err()
        };
        let elsewhere = labelled(json!({ "convox.app": "shop", "convox.volumes": "[\"/elsewhere\"]" }));
        assert_eq!(
            elsewhere,
            "label-disagrees: container `web` has the label `convox.volumes` with `[\"/elsewhere\"]`, but the compose file says `[\"/data\"]`"
        );
        assert!(labelled(json!({ "convox.volumes.agent": "off" })).starts_with("agent-off: "));
        let rack = json!({ "convox.app": "shop", "convox.rack": "other", "convox.volumes": "[\"/data\"]" });
        assert!(labelled(rack).starts_with("label-disagrees: "));
    }

    #[test]
    fn a_service_without_a_container_is_told_with_those_that_are_there() {
        let error = apply(&described(&source()), "services: { app: { volumes: [/data] } }").unwrap_err();
        assert_eq!(
            error,
            "no-container: it has no container `app` for the service `app`; its containers are web"
        );
    }
}
