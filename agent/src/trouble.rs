//! Something that doesn't work, as an operator is told it: a stable code where there is one, and a sentence with what to do.

use serde::{Deserialize, Serialize};
use std::fmt;

/// One thing that fails or is missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// A code of docs/share-codes.md, stable for ever; `volumes-agent explain CODE` tells its story.
    pub code: Option<String>,
    /// What happened, and where.
    pub text: String,
    /// What to do next, where there is something to do.
    pub help: Option<String>,
}

impl Trouble {
    /// With its code.
    pub fn coded(code: &str, text: impl Into<String>) -> Self {
        Self { code: Some(code.to_owned()), ..Self::from(text.into()) }
    }

    /// The same trouble with advice.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The same trouble in the course of something: `during`, then what happened.
    #[must_use]
    pub fn during(mut self, during: &str) -> Self {
        self.text = format!("{during}: {}", self.text);
        self
    }

    /// What happened and what to do next, without the code.
    pub fn sentence(&self) -> String {
        let Self { text, help, .. } = self;
        help.as_ref().map_or_else(|| text.clone(), |help| format!("{text}. {}", capital(help)))
    }
}

impl From<String> for Trouble {
    fn from(text: String) -> Self {
        Self { code: None, text, help: None }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence())?;
        match &self.code {
            Some(code) => write!(f, " [{code}]"),
            None => Ok(()),
        }
    }
}

fn capital(sentence: &str) -> String {
    let mut chars = sentence.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trouble_reads_as_sentences_with_its_code_last() {
        let trouble = Trouble::coded("port-timeout", "no answer").help("open the port").during("mounting");
        assert_eq!(trouble.to_string(), "mounting: no answer. Open the port [port-timeout]");
        assert_eq!(Trouble::from("no answer".to_owned()).to_string(), "no answer");
    }
}
