//! What a service uses of the share: by its deployments' revisions, what they mount and what they declare. Pure.
//!
//! Everything that a container has from below the volumes root counts, whoever wrote the mount: nobody's directory must look unused
//! because the agent did not make the mount.

use crate::{
    labels::{APP, RACK, VOLUMES},
    layout,
    mount::VOLUMES_ROOT,
    names::Rack,
    patch::{self, Needed},
    reading::{Reader, Reading, Verdict},
    report::timestamp,
    service::Service,
};
use serde::Serialize;
use serde_json::Value;
use std::{collections::BTreeSet, sync::Arc, time::UNIX_EPOCH};

/// What a revision's volumes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Volumes {
    /// It mounts what it declares.
    Patched,
    /// It declares volumes and does not mount them yet.
    Unpatched,
    /// It declares volumes and can't have them.
    Refused,
    /// Its author's, or another rack's, business.
    LeftAlone,
    /// It declares none.
    NothingDeclared,
    /// It can't be read.
    Unreadable,
}

impl Volumes {
    /// As in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Patched => "patched",
            Self::Unpatched => "unpatched",
            Self::Refused => "refused",
            Self::LeftAlone => "left-alone",
            Self::NothingDeclared => "nothing-declared",
            Self::Unreadable => "unreadable",
        }
    }
}

/// A container's mount from below the volumes root.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mount {
    /// Relative to the volumes root.
    pub path: String,
    /// The container.
    pub container: String,
    /// The path in it.
    pub target: String,
    /// Whether it may only read.
    pub read_only: bool,
}

/// A revision, read for what it uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    /// What its volumes are.
    pub volumes: Volumes,
    /// Why, where it isn't plain.
    pub reason: Option<String>,
    /// The reason's code.
    pub code: Option<&'static str>,
    /// The revision that it was made from, or `pipeline`; its own ARN where it is its author's.
    pub source: Option<String>,
    /// What it mounts, or will mount once it is patched; sorted.
    pub mounts: Vec<Mount>,
    /// Those of `mounts` that it doesn't mount yet.
    pub not_mounted: BTreeSet<Mount>,
    /// The directories that the agent makes for it, with rack and app.
    pub needed: Vec<Needed>,
    /// What else it may use.
    pub hides: Hides,
}

/// What a revision may use that can't be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hides {
    /// The volumes of these, as `<rack>-<app>`; of none, where that is all.
    Apps(BTreeSet<String>),
    /// Any volume.
    Anything,
}

impl Revision {
    /// Reads DescribeTaskDefinition's answer for the revision `arn`.
    pub fn read(reader: &Reader<'_>, arn: &str, answer: Value) -> Self {
        let document = patch::registerable(answer.clone()).unwrap_or_default();
        let bound = mounts(&document);
        let of = |volumes, verdict: Option<Verdict>| Self {
            volumes,
            reason: verdict.as_ref().and_then(|verdict| verdict.reason.clone()),
            code: verdict.and_then(|verdict| verdict.code),
            source: Some(arn.to_owned()),
            mounts: bound.iter().cloned().collect(),
            not_mounted: BTreeSet::new(),
            needed: Vec::new(),
            hides: Hides::Apps(BTreeSet::new()),
        };
        let (reading, documents) = reader.read(arn, answer);
        match reading {
            Reading::NothingDeclared => of(Volumes::NothingDeclared, None),
            // What was declared is not laid out then.
            Reading::LeftAlone(verdict) => Self {
                hides: Hides::Apps(apps(&document, reader.rack)),
                ..of(Volumes::LeftAlone, Some(verdict))
            },
            Reading::Refused(verdict) => Self {
                hides: Hides::Apps(apps(&document, reader.rack)),
                ..of(Volumes::Refused, Some(verdict))
            },
            Reading::Patched { source, volumes, .. } => {
                Self { source: Some(source), needed: volumes, ..of(Volumes::Patched, None) }
            }
            Reading::Unpatched(unpatched) => {
                let wanted = documents.map(|documents| mounts(&documents.patched)).unwrap_or_default();
                Self {
                    mounts: bound.union(&wanted).cloned().collect(),
                    not_mounted: wanted.difference(&bound).cloned().collect(),
                    needed: unpatched.volumes,
                    ..of(Volumes::Unpatched, None)
                }
            }
        }
    }

    /// One that ECS doesn't give.
    pub fn unreadable(code: &'static str, reason: String) -> Self {
        Self {
            volumes: Volumes::Unreadable,
            reason: Some(reason),
            code: Some(code),
            source: None,
            mounts: Vec::new(),
            not_mounted: BTreeSet::new(),
            needed: Vec::new(),
            hides: Hides::Anything,
        }
    }
}

/// A service with its deployments' revisions, as far as they use the share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uses {
    /// Its name in ECS.
    pub service: String,
    /// Of each deployment.
    pub deployments: Vec<Deployed>,
}

/// One deployment's revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployed {
    /// The revision's ARN.
    pub arn: String,
    /// Whether it is what the service is to run.
    pub is_primary: bool,
    /// Its tasks that run.
    pub tasks: u32,
    /// When the deployment was begun, RFC 3339.
    pub since: Option<String>,
    /// What it is.
    pub revision: Arc<Revision>,
}

impl Uses {
    /// A service, with the revision of each of its deployments that was read.
    pub fn new(service: &Service, revision: impl Fn(&str) -> Option<Arc<Revision>>) -> Self {
        let deployments = service.deployments.iter().filter_map(|deployment| {
            Some(Deployed {
                arn: deployment.task_definition.clone(),
                is_primary: deployment.is_primary,
                tasks: deployment.running,
                since: deployment.created.map(|since| timestamp(UNIX_EPOCH + since)),
                revision: revision(&deployment.task_definition)?,
            })
        });
        Self { service: service.name.clone(), deployments: deployments.collect() }
    }
}

/// What a document's containers have from below the volumes root. The root itself, as a patcher has it, is no volume.
fn mounts(document: &Value) -> BTreeSet<Mount> {
    let list =
        |value: &Value, key: &str| value.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let text =
        |value: &Value, pointer: &str| value.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let mut sources = Vec::new();
    for volume in list(document, "volumes") {
        let path = text(&volume, "/host/sourcePath").map(|path| layout::clean(&path));
        let below = path.as_deref().and_then(|path| path.strip_prefix(VOLUMES_ROOT)?.strip_prefix('/'));
        if let (Some(name), Some(below)) = (text(&volume, "/name"), below) {
            sources.push((name, below.to_owned()));
        }
    }
    let mut mounts = BTreeSet::new();
    // What fills volumes uses them for no longer than that takes.
    for container in patch::containers(document).filter(|container| !patch::is_ours(container)) {
        for point in list(container, "mountPoints") {
            let source = text(&point, "/sourceVolume").unwrap_or_default();
            let Some((_, path)) = sources.iter().find(|(name, _)| *name == source) else { continue };
            mounts.insert(Mount {
                path: path.clone(),
                container: text(container, "/name").unwrap_or_default(),
                target: text(&point, "/containerPath").unwrap_or_default(),
                read_only: point.get("readOnly").and_then(Value::as_bool).unwrap_or_default(),
            });
        }
    }
    mounts
}

/// The apps whose volumes a document may declare, as `<rack>-<app>`, by labels that may be wrong in every other way. A container without
/// an app can't have had a volume of its own.
fn apps(document: &Value, rack: &Rack) -> BTreeSet<String> {
    let declaring = patch::containers(document).filter_map(|container| {
        let labels = container.get("dockerLabels")?;
        labels.get(VOLUMES)?;
        let label = |name: &str| labels.get(name).and_then(Value::as_str);
        Some(format!("{}-{}", label(RACK).unwrap_or(rack.as_str()), label(APP)?))
    });
    declaring.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(document: Value) -> Revision {
        let rack: Rack = "production".parse().unwrap();
        let reader = Reader { rack: &rack, host_paths: &[], is_daemon: false, fills: true };
        Revision::read(&reader, "arn:f:1", json!({ "taskDefinition": document }))
    }

    fn container(labels: Value) -> Value {
        json!({
            "family": "f",
            "containerDefinitions": [{ "name": "web", "image": "x", "dockerLabels": labels, "mountPoints": [
                { "sourceVolume": "own", "containerPath": "/backup", "readOnly": true },
                { "sourceVolume": "root", "containerPath": "/all" },
                { "sourceVolume": "elsewhere", "containerPath": "/srv" },
            ] }],
            "volumes": [
                { "name": "own", "host": { "sourcePath": "/volumes//production-old/web/./data/" } },
                { "name": "root", "host": { "sourcePath": "/volumes/" } },
                { "name": "elsewhere", "host": { "sourcePath": "/volumes-found/x" } },
            ],
        })
    }

    fn mount(path: &str, target: &str, read_only: bool) -> Mount {
        Mount { path: path.to_owned(), container: "web".to_owned(), target: target.to_owned(), read_only }
    }

    #[test]
    fn what_an_author_mounts_by_hand_counts() {
        let revision = read(container(json!({})));
        assert_eq!(revision.volumes, Volumes::NothingDeclared);
        assert_eq!(revision.mounts, [mount("production-old/web/data", "/backup", true)]);
        assert_eq!(revision.hides, Hides::Apps(BTreeSet::new()));
    }

    #[test]
    fn what_is_declared_counts_before_and_after_it_is_patched() {
        let labels = json!({ "convox.app": "shop", "convox.volumes": "[\"/data\", \"/conf:/etc/shop:ro\", \"assets:/assets\"]" });
        let unpatched = read(container(labels.clone()));
        let declared = [
            mount("production-shop/@volumes/assets", "/assets", false),
            mount("production-shop/web/conf", "/etc/shop", true),
            mount("production-shop/web/data", "/data", false),
        ];
        assert_eq!((unpatched.volumes, unpatched.source.as_deref()), (Volumes::Unpatched, Some("arn:f:1")));
        assert_eq!(unpatched.not_mounted, BTreeSet::from(declared.clone()));
        assert_eq!(unpatched.mounts.len(), 4, "with the author's own");
        let rack: Rack = "production".parse().unwrap();
        let settings = patch::PatchSettings {
            rack: &rack,
            gate: true,
            source: "arn:f:1".to_owned(),
            host_paths: &[],
            fills: true,
        };
        let Ok(patch::Outcome::Patched(patched)) = patch::patch(&container(labels), &settings) else {
            panic!()
        };
        let patched = read(patched.document);
        assert_eq!((patched.volumes, patched.source.as_deref()), (Volumes::Patched, Some("arn:f:1")));
        assert_eq!((patched.mounts, patched.not_mounted), (unpatched.mounts, BTreeSet::new()));
        assert_eq!(patched.needed.len(), 3);
    }

    #[test]
    fn what_can_t_be_laid_out_hides_its_apps_volumes() {
        let hidden = |labels| {
            let revision = read(container(labels));
            (revision.volumes, revision.code, revision.hides)
        };
        let apps = |names: &[&str]| Hides::Apps(names.iter().map(|name| (*name).to_owned()).collect());
        for (labels, volumes, code, hides) in [
            (
                json!({ "convox.app": "shop", "convox.volumes": "1" }),
                Volumes::Refused,
                "malformed-label",
                apps(&["production-shop"]),
            ),
            (
                json!({ "convox.app": "shop", "convox.volumes": "[\"./a:/b\"]" }),
                Volumes::Refused,
                "relative-source",
                apps(&["production-shop"]),
            ),
            (json!({ "convox.volumes": "[\"/a\"]" }), Volumes::Refused, "malformed-label", apps(&[])),
            (
                json!({ "convox.app": "shop", "convox.volumes": "[\"/a\"]", "convox.volumes.agent": "off" }),
                Volumes::LeftAlone,
                "agent-off",
                apps(&["production-shop"]),
            ),
            (
                json!({ "convox.app": "shop", "convox.volumes": "[\"/a\"]", "convox.rack": "staging" }),
                Volumes::LeftAlone,
                "other-rack",
                apps(&["staging-shop"]),
            ),
        ] {
            assert_eq!(hidden(labels.clone()), (volumes, Some(code), hides), "{labels}");
        }
    }
}
