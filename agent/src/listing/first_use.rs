//! What a listing says of a volume's beginning. Pure.

use crate::record::State;

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
