//! The states of the share at the volumes root, and what each means for health, the gate and systemd.

use serde::{Deserialize, Serialize};

/// What the share is to this instance. Health, the gate and the systemd status are functions of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MountState {
    /// Not mounted since the agent started.
    #[default]
    Absent,
    /// Being mounted, or mounted and not yet judged.
    Mounting,
    /// Mounted, the right one, and it answers.
    Ready,
    /// Mounted, and no answer in time.
    Stalled,
    /// Something else is mounted there: never touched.
    Foreign,
    /// Was ready and is gone, until it answers again.
    Lost,
}

/// One look at the volumes root, from mountinfo, the identity check and the probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Seen {
    /// Nothing is mounted and nothing is being done about it.
    Nothing,
    /// A mount is being tried.
    MountInFlight,
    /// An NFS mount of which it isn't known yet whether it is ours.
    Unjudged,
    /// The right share.
    Ours {
        /// Whether it answered within the stall deadline.
        answers: bool,
    },
    /// Anything else.
    Other,
}

impl MountState {
    /// All states, for metrics and tests.
    pub const ALL: [Self; 6] =
        [Self::Absent, Self::Mounting, Self::Ready, Self::Stalled, Self::Foreign, Self::Lost];

    /// The state after one look. Pure: the caller says what was seen.
    #[must_use]
    pub fn next(self, seen: Seen) -> Self {
        use MountState::{Absent, Foreign, Lost, Mounting, Ready, Stalled};
        match (seen, self) {
            (Seen::Other, _) => Foreign, // never mounted over, never unmounted: an operator decides
            (Seen::Ours { answers: true }, _) => Ready, // also adopts what an earlier agent mounted
            (Seen::Ours { answers: false } | Seen::Unjudged, Lost) => Lost, // until it answers, however often we try
            (Seen::Ours { answers: false }, _) => Stalled,
            (Seen::Unjudged, Ready | Stalled) => Stalled, // it was ours a moment ago: wait for the check
            (Seen::Unjudged, Absent | Mounting | Foreign) => Mounting,
            (Seen::Nothing | Seen::MountInFlight, Ready | Stalled | Lost) => Lost,
            (Seen::MountInFlight, Absent | Mounting | Foreign) => Mounting,
            (Seen::Nothing, Absent | Mounting | Foreign) => Absent,
        }
    }

    /// The state's name in JSON, metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Mounting => "mounting",
            Self::Ready => "ready",
            Self::Stalled => "stalled",
            Self::Foreign => "foreign",
            Self::Lost => "lost",
        }
    }

    /// Whether tasks may rely on the share.
    pub fn is_ready(self) -> bool {
        self == Self::Ready
    }

    /// Whether a promise is broken: containers run, or should, and their share isn't there.
    pub fn is_alarm(self) -> bool {
        matches!(self, Self::Stalled | Self::Foreign | Self::Lost)
    }
}

impl std::fmt::Display for MountState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::{
        MountState::{self, *},
        Seen::{self, *},
    };

    const SEEN: [Seen; 6] =
        [Nothing, MountInFlight, Unjudged, Ours { answers: true }, Ours { answers: false }, Other];

    #[test]
    fn the_transitions_operators_rely_on() {
        for (from, seen, to, why) in [
            (Absent, Ours { answers: true }, Ready, "a restarted agent adopts the mount it finds"),
            (Ready, Ours { answers: false }, Stalled, "a hard mount waits, and containers keep it"),
            (Stalled, Ours { answers: true }, Ready, "a server that is back is noticed at once"),
            (Stalled, Nothing, Lost, "someone unmounted it: close the gate, raise the alarm, mount again"),
            (Lost, MountInFlight, Lost, "an attempt is not yet a share"),
            (Lost, Ours { answers: false }, Lost, "a mount that doesn't answer is not yet a share"),
            (Lost, Ours { answers: true }, Ready, "it recovers without a person"),
            (Ready, Other, Foreign, "someone mounted over it"),
            (Foreign, Nothing, Absent, "the foreign mount went: begin anew"),
            (Absent, MountInFlight, Mounting, "the first attempt"),
            (Absent, Unjudged, Mounting, "found mounted, not yet known whether it is ours"),
        ] {
            assert_eq!(from.next(seen), to, "{from:?} then {seen:?}: {why}");
        }
    }

    #[test]
    fn only_an_answering_share_of_ours_is_ready() {
        for from in MountState::ALL {
            for seen in SEEN {
                let to = from.next(seen);
                assert_eq!(to.is_ready(), seen == Ours { answers: true }, "{from:?} then {seen:?}");
                assert_eq!(to == Foreign, seen == Other, "{from:?} then {seen:?}");
            }
        }
    }

    fn words(seen: Seen) -> &'static str {
        match seen {
            Nothing => "nothing mounted",
            MountInFlight => "a mount in flight",
            Unjudged => "not judged yet",
            Ours { answers: true } => "ours, answers",
            Ours { answers: false } => "ours, silent",
            Other => "something else",
        }
    }

    /// docs/mount-states.md, drawn from [`MountState::next`].
    fn page() -> String {
        let mut page = "# The share's states\n\n\
             Drawn from `agent/src/mount_state.rs` by its tests; `UPDATE_DOCS=1 cargo test -p volumes-agent` draws it anew. What each state\n\
             means for an operator: [Operations](operations.md#the-shares-states).\n\n\
             What is seen comes from the kernel's mount table (at once), from the share's marker, and from probes: `ours` is NFSv4 from an address\n\
             of the file system, whose marker names it; `silent` is no answer for `stall_deadline`; `not judged yet` is mounted a moment ago, or found\n\
             mounted, and neither has its marker been read nor has it been silent for that long.\n\n\
             ```mermaid\nstateDiagram-v2\n    [*] --> absent\n"
            .to_owned();
        for from in MountState::ALL {
            for to in MountState::ALL.into_iter().filter(|to| *to != from) {
                let by: Vec<&str> =
                    SEEN.into_iter().filter(|seen| from.next(*seen) == to).map(words).collect();
                if !by.is_empty() {
                    page += &format!("    {from} --> {to}: {}\n", by.join(" / "));
                }
            }
        }
        page += "```\n\n| from | ";
        page += &SEEN.map(words).join(" | ");
        page += " |\n|---|---|---|---|---|---|---|\n";
        for from in MountState::ALL {
            let row = SEEN.map(|seen| from.next(seen).to_string()).join(" | ");
            page += &format!("| **{from}** | {row} |\n");
        }
        page += "\n| state | `/healthz` | gate | an alarm |\n|---|---|---|---|\n";
        for state in MountState::ALL {
            let (status, gate) =
                if state.is_ready() { ("200", "open, after `gate_good_probes`") } else { ("503", "closed") };
            let alarm = if state.is_alarm() { "yes: logged as an error" } else { "no" };
            page += &format!("| {state} | {status} | {gate} | {alarm} |\n");
        }
        page
    }

    #[test]
    fn the_drawing_in_the_docs_is_the_code() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/mount-states.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(file, page()).unwrap();
        }
        let drawn = std::fs::read_to_string(file).unwrap_or_default();
        assert_eq!(drawn, page(), "UPDATE_DOCS=1 draws it anew");
    }

    #[test]
    fn what_was_ready_is_never_absent_again() {
        for from in [Ready, Stalled, Lost] {
            for seen in SEEN {
                assert!(!matches!(from.next(seen), Absent | Mounting), "{from:?} then {seen:?}");
            }
        }
    }
}
