//! When a file that changed counts. Pure.

use super::Sources;

/// What was seen of a configuration that may be in the middle of being written.
///
/// Who writes a file in place (a shell's `>`, an editor, user-data) empties it first: for a moment there is a right file that says nothing
/// of what it is to say, and its defaults may be another share. So what is new counts once two looks found the same.
#[derive(Debug, Default)]
pub struct Settling {
    /// What counts.
    taken: Option<Sources>,
    /// What was seen last.
    seen: Option<Sources>,
}

impl Settling {
    /// Whether what is seen now is to be taken. The first look is: nothing was in force before.
    pub fn takes(&mut self, sources: &Sources) -> bool {
        let is_new = self.taken.as_ref() != Some(sources);
        let is_settled = self.seen.is_none() || self.seen.as_ref() == Some(sources);
        self.seen = Some(sources.clone());
        if is_new && is_settled {
            self.taken = Some(sources.clone());
        }
        is_new && is_settled
    }

    /// It could not be read: whatever can be read next is new.
    pub fn lose(&mut self) {
        self.taken = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> Sources {
        Sources { text: Some(text.to_owned()), ..Sources::default() }
    }

    #[test]
    fn a_file_that_is_being_written_is_waited_for() {
        let mut settling = Settling::default();
        let takes: Vec<bool> = ["a", "a", "", "b", "b", "b", "a", "", "a", "a"]
            .into_iter()
            .map(|text| settling.takes(&file(text)))
            .collect();
        assert_eq!(takes, [true, false, false, false, true, false, false, false, false, true]);
    }

    #[test]
    fn what_was_emptied_and_written_again_is_nothing_new() {
        let mut settling = Settling::default();
        assert!(settling.takes(&file("a")));
        assert!(!settling.takes(&file("")) && !settling.takes(&file("a")) && !settling.takes(&file("a")));
    }

    #[test]
    fn a_file_that_could_not_be_read_is_taken_again() {
        let mut settling = Settling::default();
        assert!(settling.takes(&file("a")));
        settling.lose();
        assert!(settling.takes(&file("a")), "what was said of the error is over");
    }
}
