//! What a listing says of a volume's beginning, and of an owner or a mode that is not the one that was asked for. Pure.

use crate::{
    inventory::Record,
    mount::VOLUMES_ROOT,
    ownership::{Mode, Owner},
    record::State,
};

/// How far the first use of a volume has come, in words.
pub(super) fn state(state: &State) -> String {
    match state {
        State::Made => "not filled yet".to_owned(),
        State::Seeding { .. } => "being filled".to_owned(),
        State::Seeded { chown_denied: true, seeded_at, .. } => {
            format!("filled at {seeded_at}, without the image's owners: the share lets nobody change them")
        }
        State::Seeded { entries: 0, seeded_at, .. } => format!("the image's since {seeded_at}"),
        State::Seeded { entries, seeded_at, .. } => format!("filled with {entries} entries at {seeded_at}"),
        State::Left { why } => format!("left as it is: {}", why.words()),
    }
}

/// What of a directory is not as it was asked for, and what to do. An existing one is never changed by itself.
pub(super) fn drift(path: &str, record: Option<&Record>, looks: Option<&(Owner, Mode)>) -> Option<String> {
    let ((owner, mode), record) = (looks?, record?);
    let other_owner = record.owner.filter(|asked| asked != owner);
    let other_mode = record.mode.filter(|asked| asked != mode);
    let asked: Vec<String> = other_owner
        .map(|owner| format!("owner {owner}"))
        .into_iter()
        .chain(other_mode.map(|mode| format!("mode {mode}")))
        .collect();
    if asked.is_empty() {
        return None;
    }
    let path = format!("{VOLUMES_ROOT}/{path}");
    let way = match (other_owner, other_mode) {
        (Some(owner), _) => format!("`volumes-agent chown {path} {owner}` does it"),
        (None, mode) => {
            format!("`chmod {} {path}` does it", mode.map(|mode| mode.to_string()).unwrap_or_default())
        }
    };
    Some(format!(
        "{path} is {owner}'s with mode {mode}, and {} was asked for: an existing directory is never changed by itself; {way}",
        asked.join(" and ")
    ))
}
