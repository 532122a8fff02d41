//! What a volume is when it is used for the first time: whose, with which permissions, and whether with the image's content.
//!
//! The rules are Docker's for volumes of its own: a single path and a named volume begin with what the image has there; what is bound from a
//! path does not. Source: docs/first-use.md.

use crate::{
    declaration::{Declaration, Source},
    names::App,
    ownership::{Mode, Owner, OwnershipError},
};
use serde_json::Value;
use std::collections::BTreeMap;

/// How a new volume begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FirstUse {
    /// Whose it is, by `x-volumes`.
    pub owner: Option<Owner>,
    /// Its permissions, by `x-volumes`.
    pub mode: Option<Mode>,
    /// With which content.
    pub content: Content,
}

/// What the agent's configuration says of new volumes; `x-volumes` wins over it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Configured {
    /// `seed = "off"`
    pub is_off: bool,
    /// `[apps.<app>]`
    pub apps: BTreeMap<App, OfApp>,
}

/// What the configuration says of one app's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OfApp {
    /// Whose they are.
    pub owner: Option<Owner>,
    /// Their permissions.
    pub mode: Option<Mode>,
    /// Whether they begin with the image's content.
    pub seed: Option<bool>,
}

impl Configured {
    /// What an app's new volumes are to be.
    pub fn of(&self, app: &App) -> OfApp {
        let of_app = self.apps.get(app).copied().unwrap_or_default();
        OfApp { seed: of_app.seed.or(self.is_off.then_some(false)), ..of_app }
    }
}

/// What is in a new volume.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Content {
    /// What the image has at its target; its owner and mode are the image's as well.
    OfTheImage,
    /// Nothing: it is a path of a machine, as in `/foo:/bar`.
    #[default]
    PathOfAMachine,
    /// Nothing, by `nocopy`.
    NoCopy,
    /// Nothing: the container may only read.
    ReadOnly,
    /// Nothing, by `seed: false`.
    SwitchedOff,
    /// It is a part of another volume, which begins with all that the image has.
    Folded,
}

/// What `x-volumes` says of an entry and can't be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FirstUseError {
    /// Its owner or mode.
    #[error("`x-volumes.{key}`: {error}")]
    Ownership {
        /// `owner`, `mode`.
        key: &'static str,
        /// Why.
        error: OwnershipError,
    },
    /// A value of another type.
    #[error("`x-volumes.{key}` is `{value}`, which is no {expected}")]
    Type {
        /// The key.
        key: &'static str,
        /// What it has.
        value: String,
        /// What it should have.
        expected: &'static str,
    },
}

impl FirstUseError {
    /// How to write it instead.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Ownership { key: "owner", .. } => {
                "write the numbers of the user and the group in the image, as in `owner: \"1000:1000\"`"
            }
            Self::Ownership { .. } => "write it as chmod has it, as in `mode: \"0750\"`",
            Self::Type { key: "seed", .. } => "write `seed: true` or `seed: false`",
            Self::Type { .. } => "write it in quotes, as in `owner: \"1000:1000\"` and `mode: \"0750\"`",
        }
    }
}

impl FirstUse {
    /// Of a declaration that becomes a directory on the share.
    ///
    /// # Errors
    /// [`FirstUseError`]
    pub fn of(declaration: &Declaration) -> Result<Self, FirstUseError> {
        let said =
            |key: &str| declaration.options.extension.as_ref().and_then(|extension| extension.get(key));
        let owner = text("owner", said("owner"))?.map(str::parse).transpose();
        let mode = text("mode", said("mode"))?.map(str::parse).transpose();
        let seed = match said("seed") {
            None | Some(Value::Null) => true,
            Some(Value::Bool(seed)) => *seed,
            Some(value) => {
                return Err(FirstUseError::Type {
                    key: "seed",
                    value: value.to_string(),
                    expected: "switch",
                });
            }
        };
        let content = match &declaration.source {
            None | Some(Source::Named(_) | Source::Other(_)) => match declaration {
                _ if !seed => Content::SwitchedOff,
                Declaration { read_only: true, .. } => Content::ReadOnly,
                _ if declaration.options.nocopy => Content::NoCopy,
                _ => Content::OfTheImage,
            },
            Some(_) => Content::PathOfAMachine,
        };
        let wrong = |key| move |error| FirstUseError::Ownership { key, error };
        Ok(Self { owner: owner.map_err(wrong("owner"))?, mode: mode.map_err(wrong("mode"))?, content })
    }
}

fn text<'v>(key: &'static str, value: Option<&'v Value>) -> Result<Option<&'v str>, FirstUseError> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(value) => Err(FirstUseError::Type { key, value: value.to_string(), expected: "text" }),
    }
}

impl Content {
    /// Whether a seeding container fills it.
    pub fn is_of_the_image(self) -> bool {
        self == Self::OfTheImage
    }

    /// What it begins with and why, for plans.
    pub fn words(self) -> &'static str {
        match self {
            Self::OfTheImage => "the image's content",
            Self::PathOfAMachine => "nothing (a path)",
            Self::NoCopy => "nothing (nocopy)",
            Self::ReadOnly => "nothing (read-only)",
            Self::SwitchedOff => "nothing (seed: false)",
            Self::Folded => "its part of the outer one",
        }
    }

    /// The same as a word of JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::OfTheImage => "image",
            Self::PathOfAMachine => "path",
            Self::NoCopy => "nocopy",
            Self::ReadOnly => "read-only",
            Self::SwitchedOff => "seed-off",
            Self::Folded => "folded",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(text: &str, extension: Value) -> Result<FirstUse, String> {
        let mut declaration: Declaration = text.parse().unwrap();
        declaration.options.extension = Some(extension);
        FirstUse::of(&declaration).map_err(|error| format!("{error}: {}", error.help()))
    }

    #[test]
    fn single_paths_and_named_volumes_begin_with_the_images_content() {
        for (text, extension, content) in [
            ("/data", json!({}), Content::OfTheImage),
            ("db:/data", json!({}), Content::OfTheImage),
            ("db:/data:ro", json!({}), Content::ReadOnly),
            ("db:/data:nocopy", json!({}), Content::NoCopy),
            ("/data", json!({ "seed": false }), Content::SwitchedOff),
            ("/h:/data", json!({ "seed": true }), Content::PathOfAMachine),
        ] {
            assert_eq!(of(text, extension).map(|first| first.content), Ok(content), "{text}");
        }
    }

    #[test]
    fn owner_and_mode_are_x_volumes_and_what_is_neither_is_refused() {
        let first = of("/h:/data", json!({ "owner": "1000:0", "mode": "0770" })).unwrap();
        assert_eq!((first.owner, first.mode), ("1000:0".parse().ok(), "0770".parse().ok()));
        for (extension, expected) in [
            (json!({ "owner": "jenkins" }), "`x-volumes.owner`: `jenkins` is no owner"),
            (json!({ "owner": 1000 }), "`x-volumes.owner` is `1000`, which is no text: write it in quotes"),
            (json!({ "mode": "rwx" }), "`x-volumes.mode`: `rwx` is no mode"),
            (json!({ "mode": 488 }), "`x-volumes.mode` is `488`"),
            (json!({ "seed": "no" }), "`x-volumes.seed` is `\"no\"`, which is no switch: write `seed: true`"),
        ] {
            let error = of("/data", extension).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
