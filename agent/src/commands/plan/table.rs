//! A plan as a table that fits its reader's terminal: a line a volume, else a volume below its service.

use crate::{
    commands::columns::{aligned, fit},
    deploy::{Decision, Planned},
    first_use::{Content, FirstUse},
    layout::{Kind, Volume},
    mount::VOLUMES_ROOT,
    names::ServiceName,
};

const HEADS: [&str; 4] = ["SERVICE", "IN THE CONTAINER", "LIVES AT", "BEGINS WITH"];

/// The table.
pub(super) fn page(decision: &Decision, width: Option<usize>) -> String {
    let rows: Vec<[String; 4]> = decision
        .volumes
        .iter()
        .zip(decision.shared_by())
        .map(|(planned, shared)| row(planned, &shared))
        .collect();
    if rows.is_empty() {
        return "no volumes\n".to_owned();
    }
    // Easy to read and to search.
    let flat = if rows.iter().all(|[.., begins]| begins.is_empty()) {
        let [service, target, source, _] = HEADS;
        let rows: Vec<[String; 3]> =
            rows.iter().map(|[a, b, c, _]| [a.clone(), b.clone(), c.clone()]).collect();
        aligned([service, target, source], &rows)
    } else {
        aligned(HEADS, &rows)
    };
    if fit(&flat, width) { flat.into_iter().map(|line| line + "\n").collect() } else { stacked(&rows) }
}

fn row(planned: &Planned, shared_by: &[&ServiceName]) -> [String; 4] {
    let volume = &planned.volume;
    let mut target = volume.target.clone();
    if volume.read_only {
        target.push_str(" (read-only)");
    }
    if let Some(outer) = &volume.folded_into {
        target.push_str(&format!(" (inside {outer})"));
    }
    let mut source = match (volume.kind, volume.memory) {
        (Kind::Tmpfs, Some(memory)) => format!("(memory, {} MiB)", memory.mebibytes),
        (Kind::Tmpfs, None) => "(memory)".to_owned(),
        _ => volume.source.clone(),
    };
    if !shared_by.is_empty() {
        let names: Vec<&str> = shared_by.iter().map(|service| service.as_str()).collect();
        source.push_str(&format!(" (shared with {})", names.join(", ")));
    }
    [planned.service.to_string(), target, source, begins(volume)]
}

/// How a directory on the share begins; nothing is said of what is none, and on a laptop, where Docker sees to it.
fn begins(volume: &Volume) -> String {
    if volume.relative.is_none() || !volume.source.starts_with(VOLUMES_ROOT) {
        return String::new();
    }
    let FirstUse { owner, mode, content } = volume.first_use;
    let mut words = vec![match (content, owner) {
        (Content::OfTheImage, None) => "the image's content and owner".to_owned(),
        (Content::OfTheImage, Some(_)) => "the image's content".to_owned(),
        (other, _) => other.words().to_owned(),
    }];
    words.extend(owner.map(|owner| format!("owner {owner}")));
    words.extend(mode.map(|mode| format!("mode {mode}")));
    words.join(", ")
}

/// A service, what it has, and below that where it lives: each can be as long as it is, and a path is never cut.
fn stacked(rows: &[[String; 4]]) -> String {
    let mut page = String::new();
    let mut last = None;
    for [service, target, source, begins] in rows {
        if last != Some(service) {
            page.push_str(&format!("{}{service}\n", if last.is_some() { "\n" } else { "" }));
            last = Some(service);
        }
        page.push_str(&format!("  {target}\n      {source}\n"));
        if !begins.is_empty() {
            page.push_str(&format!("      begins with {begins}\n"));
        }
    }
    page
}
