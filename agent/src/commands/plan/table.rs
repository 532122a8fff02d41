//! A plan as a table that fits its reader's terminal: a line a volume, else a volume below its service.

use crate::{
    commands::columns::{aligned, fit},
    deploy::{Decision, Planned},
    layout::Kind,
    names::ServiceName,
};

const HEADS: [&str; 3] = ["SERVICE", "IN THE CONTAINER", "LIVES AT"];

/// The table.
pub(super) fn page(decision: &Decision, width: Option<usize>) -> String {
    let rows: Vec<[String; 3]> = decision
        .volumes
        .iter()
        .zip(decision.shared_by())
        .map(|(planned, shared)| row(planned, &shared))
        .collect();
    if rows.is_empty() {
        return "no volumes\n".to_owned();
    }
    // Easy to read and to search.
    let flat = aligned(HEADS, &rows);
    if fit(&flat, width) { flat.into_iter().map(|line| line + "\n").collect() } else { stacked(&rows) }
}

fn row(planned: &Planned, shared_by: &[&ServiceName]) -> [String; 3] {
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
    [planned.service.to_string(), target, source]
}

/// A service, what it has, and below that where it lives: each can be as long as it is, and a path is never cut.
fn stacked(rows: &[[String; 3]]) -> String {
    let mut page = String::new();
    let mut last = None;
    for [service, target, source] in rows {
        if last != Some(service) {
            page.push_str(&format!("{}{service}\n", if last.is_some() { "\n" } else { "" }));
            last = Some(service);
        }
        page.push_str(&format!("  {target}\n      {source}\n"));
    }
    page
}
