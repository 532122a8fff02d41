//! What of a plan is not there yet, for `--detailed-exitcode`: on the cluster as ECS tells, on a laptop as its disk does.

use crate::{
    commands::{
        apply::{
            self, ServicesArgs,
            look::Looking,
            page::{self, Line},
        },
        block_on,
        moving::Cluster,
    },
    compose::Compose,
    deploy::Decision,
    diagnostics::Failure,
    ecs::Ecs,
    labelling::Labelling,
    names::{App, Rack},
};
use serde_json::{Value, json};
use std::path::Path;

/// What is looked at, and what is not there yet.
#[derive(Debug)]
pub(super) enum Changes {
    /// ECS services, each with what would be done.
    Services(Vec<Line>),
    /// Directories that would be made.
    Folders(Vec<String>),
}

impl Changes {
    /// Whether anything would be done.
    pub(super) fn are_pending(&self) -> bool {
        match self {
            Self::Services(lines) => lines.iter().any(Line::is_pending),
            Self::Folders(folders) => !folders.is_empty(),
        }
    }

    /// What would be done alone.
    pub(super) fn as_json(&self) -> Value {
        match self {
            Self::Services(lines) => {
                lines.iter().filter(|line| line.is_pending()).map(|line| json!(line)).collect()
            }
            Self::Folders(folders) => folders.iter().map(|folder| json!({ "folder": folder })).collect(),
        }
    }

    /// For people: every service, so that they see what was looked at.
    pub(super) fn page(&self) -> String {
        match self {
            Self::Services(lines) if lines.is_empty() => {
                "\nno service of the cluster is the file's\n".to_owned()
            }
            Self::Services(lines) => format!("\n{}", page::table(lines)),
            Self::Folders(folders) if folders.is_empty() => "\nall folders are there\n".to_owned(),
            Self::Folders(folders) => {
                let lines: String =
                    folders.iter().map(|folder| format!("{folder} would be made\n")).collect();
                format!("\n{lines}")
            }
        }
    }
}

/// Where to look on AWS.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target<'a> {
    pub services: &'a ServicesArgs,
    pub cluster: &'a str,
    pub rack: &'a Rack,
    pub app: &'a App,
    pub host_paths: &'a [String],
}

/// A line for each ECS service of the file, by what `apply` would do; nothing, where it would refuse. What is to be said is in `decision`.
///
/// # Errors
/// A flag that can't be understood, or AWS.
pub(super) fn on_the_cluster(
    target: Target<'_>,
    compose: &Compose,
    labelling: &Labelling,
    decision: &mut Decision,
) -> Result<Option<Vec<Line>>, Failure> {
    let assignments = target.services.assignments(labelling)?;
    let looked = block_on(async {
        let ecs = Ecs::new(&target.services.connect().await?);
        let looking = Looking {
            cluster: Cluster { ecs: &ecs, name: target.cluster },
            rack: target.rack,
            app: target.app,
            labelling,
            gate: !target.services.no_gate,
            host_paths: target.host_paths,
        };
        looking.at_all(&assignments).await.map_err(apply::aws_failure)
    })??;
    let (cautions, silenced) = apply::cautions(&looked, compose, decision);
    decision.warnings.extend(cautions);
    decision.silenced += silenced;
    let refusals = apply::refusals(&looked, compose);
    let is_refused = !refusals.is_empty();
    decision.refusals.extend(refusals);
    Ok((!is_refused).then(|| apply::would_be_done(&looked)))
}

/// Directories of the plan that this machine hasn't yet, as `start` would make them.
///
/// # Errors
/// Something else is in the way of one.
pub(super) fn on_this_machine(decision: &Decision) -> Result<Vec<String>, Failure> {
    let volumes = decision.volumes.iter().map(|planned| &planned.volume);
    let own = volumes.filter(|volume| volume.relative.is_some() && volume.folded_into.is_none());
    let mut missing: Vec<String> = own
        .filter(|volume| !Path::new(&volume.source).is_dir())
        .map(|volume| volume.source.clone())
        .collect();
    missing.sort();
    missing.dedup();
    for folder in &missing {
        // The nearest one that is there, a dangling link included.
        let there = Path::new(folder).ancestors().find(|path| path.symlink_metadata().is_ok());
        if let Some(there) = there.filter(|path| !path.is_dir()) {
            let error = format!("{} is in the way of a volume: it is no folder", there.display());
            return Err(Failure::refused(error).help("move it elsewhere; `start` would refuse"));
        }
    }
    Ok(missing)
}
