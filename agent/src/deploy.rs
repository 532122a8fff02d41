//! From a compose file to volumes or refusals, for the share or for a laptop: one decision for `plan`, `patch` and the daemon.

use crate::{
    compose::{Compose, Entry, Service, TopLevelVolume},
    declaration::{Declaration, Source},
    diagnostics::Problem,
    layout::{self, Finding, Place, Volume},
    names::{App, ServiceName},
};

/// A volume with where it was declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// The service.
    pub service: ServiceName,
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
    /// The volume.
    pub volume: Volume,
}

/// What becomes of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decision {
    /// Volumes, in the file's order.
    pub volumes: Vec<Planned>,
    /// Entries without a volume.
    pub refusals: Vec<Problem>,
    /// Volumes with a warning.
    pub warnings: Vec<Problem>,
}

/// Decides about every entry of every service.
pub fn decide(compose: &Compose, place: Place<'_>, app: &App) -> Decision {
    let mut decision = Decision::default();
    for service in &compose.services {
        let declarations: Vec<Declaration> =
            service.entries.iter().map(|entry| entry.declaration.clone()).collect();
        let laid_out = layout::layout(place, app, &service.name, &declarations);
        for (index, volume) in laid_out.volumes {
            let entry = &service.entries[index];
            match named(compose, entry).and_then(|top| refused_on_deploy(top, place)) {
                Some((code, reason, help)) => {
                    let finding = Finding { code, declaration: volume.declaration, reason, help };
                    decision.refusals.push(problem(compose, service, entry, finding));
                }
                None => {
                    if let Some(finding) = named(compose, entry).and_then(|top| renamed(top, &volume)) {
                        decision.warnings.push(problem(compose, service, entry, finding));
                    }
                    let service = service.name.clone();
                    let (line, column) = (entry.place.line, entry.place.column);
                    decision.volumes.push(Planned { service, line, column, volume });
                }
            }
        }
        for (index, finding) in laid_out.refusals {
            decision.refusals.push(problem(compose, service, &service.entries[index], finding));
        }
        for (index, finding) in laid_out.warnings {
            decision.warnings.push(problem(compose, service, &service.entries[index], finding));
        }
    }
    decision.refusals.sort_by_key(|problem| (problem.line, problem.column));
    decision.warnings.sort_by_key(|problem| (problem.line, problem.column));
    decision
}

/// The top-level volume that an entry names.
fn named<'c>(compose: &'c Compose, entry: &Entry) -> Option<&'c TopLevelVolume> {
    match &entry.declaration.source {
        Some(Source::Named(name)) => compose.volumes.iter().find(|volume| volume.key.as_str() == name),
        _ => None,
    }
}

fn refused_on_deploy(top: &TopLevelVolume, place: Place<'_>) -> Option<(&'static str, String, String)> {
    if matches!(place, Place::Local { .. }) {
        return None;
    }
    if top.is_external {
        let reason = format!(
            "volume `{}` is external: it is not this app's, and doesn't exist on an instance",
            top.key
        );
        return Some(("external-volume", reason, "remove `external`".to_owned()));
    }
    let special = top.special_driver.as_ref()?;
    let reason = format!("volume `{}` has {special}, which a folder on the share can't honour", top.key);
    Some(("volume-driver", reason, "remove it".to_owned()))
}

fn renamed(top: &TopLevelVolume, volume: &Volume) -> Option<Finding> {
    let name = top.name.as_ref()?;
    Some(Finding {
        code: "volume-renamed",
        declaration: volume.declaration.clone(),
        reason: format!(
            "volume `{}` has the name `{name}`; its folder is called by its key all the same",
            top.key
        ),
        help: "remove `name`".to_owned(),
    })
}

fn problem(compose: &Compose, service: &Service, entry: &Entry, finding: Finding) -> Problem {
    Problem {
        code: finding.code,
        service: Some(service.name.to_string()),
        declaration: Some(finding.declaration),
        file: compose.file.clone(),
        line: entry.place.line,
        column: entry.place.column,
        reason: finding.reason,
        help: finding.help,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose;

    #[test]
    fn every_entry_ends_in_a_volume_or_a_refusal_with_its_place() {
        let text = "services:\n  web:\n    volumes:\n      - /data\n      - ./src:/app\n      - db:/db\n      - ext:/e\n      - own:/o\nvolumes:\n  db: {name: x}\n  ext: {external: true}\n  own: {driver: nfs}\n";
        let compose = compose::read("f.yml", text).unwrap();
        let rack = "r".parse().unwrap();
        let decision =
            decide(&compose, Place::Deployed { rack: &rack, host_paths: &[] }, &"a".parse().unwrap());
        let volumes: Vec<_> = decision.volumes.iter().map(|p| (p.volume.source.as_str(), p.line)).collect();
        assert_eq!(volumes, [("/volumes/r-a/web/data", 4), ("/volumes/r-a/@volumes/db", 6)]);
        let codes = |problems: &[Problem]| problems.iter().map(|p| (p.code, p.line)).collect::<Vec<_>>();
        assert_eq!(
            codes(&decision.refusals),
            [("relative-source", 5), ("external-volume", 7), ("volume-driver", 8)]
        );
        assert_eq!(codes(&decision.warnings), [("volume-renamed", 6)]);
        let local = decide(&compose, Place::Local { home: "/h", project: "/h/p" }, &"a".parse().unwrap());
        assert_eq!((local.volumes.len(), local.refusals.len()), (5, 0));
    }
}
