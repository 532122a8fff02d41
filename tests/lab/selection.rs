//! Which tests of a program without libtest are asked for on its command line: those that have one of the words in their name, or all.

/// What is asked for.
#[derive(Debug)]
pub struct Selection(Vec<String>);

impl Selection {
    /// Options are libtest's, as `cargo test` passes them to all tests; they choose nothing.
    pub fn of_the_command_line() -> Self {
        Self(std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect())
    }

    /// Whether all are.
    pub fn is_all(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this one is.
    pub fn has(&self, name: &str) -> bool {
        self.is_all() || self.0.iter().any(|word| name.contains(word.as_str()))
    }
}
