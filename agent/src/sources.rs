//! The texts of all files that were read, by the names that problems give, so that a printer can show their lines.

use std::{collections::BTreeMap, sync::Arc};

/// Texts by name.
#[derive(Debug, Clone, Default)]
pub struct Sources(BTreeMap<Arc<str>, Arc<str>>);

impl Sources {
    /// Keeps a text.
    pub fn add(&mut self, name: &Arc<str>, text: &Arc<str>) {
        self.0.insert(name.clone(), text.clone());
    }

    /// A line, from 1, without its end.
    pub fn line(&self, name: &str, line: usize) -> Option<&str> {
        let text = self.0.get(name)?;
        text.split('\n').nth(line.checked_sub(1)?).map(|line| line.trim_end_matches('\r'))
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(|name| &**name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_found_by_name_and_number() {
        let mut sources = Sources::default();
        sources.add(&Arc::from("a.yml"), &Arc::from("one\r\ntwo\n"));
        assert_eq!(sources.line("a.yml", 1), Some("one"));
        assert_eq!(sources.line("a.yml", 2), Some("two"));
        assert_eq!(
            (sources.line("a.yml", 4), sources.line("b.yml", 1), sources.line("a.yml", 0)),
            (None, None, None)
        );
    }
}
