//! Owners and modes as compose files, the configuration and records have them: `1000:1000`, `0750`.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::{fmt, str::FromStr};

/// A user and a group, by number: names mean something else in every image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
}

/// Permissions of a directory, the set-group-id and sticky bits among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mode(u32);

/// What is no owner, or no mode.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OwnershipError {
    /// No owner.
    #[error("`{0}` is no owner: a user's and a group's number, as in `1000:1000`")]
    Owner(String),
    /// No mode.
    #[error("`{0}` is no mode: octal digits, as in `0750`")]
    Mode(String),
}

impl FromStr for Owner {
    type Err = OwnershipError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // The largest number means "leave it" to chown(2).
        let number =
            |text: &str| is_number(text).then(|| text.parse().ok()).flatten().filter(|id| *id != u32::MAX);
        text.split_once(':')
            .and_then(|(uid, gid)| Some(Self { uid: number(uid)?, gid: number(gid)? }))
            .ok_or_else(|| OwnershipError::Owner(text.to_owned()))
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.uid, self.gid)
    }
}

impl Mode {
    /// Of the bits of `st_mode`; those of the file's type are left out.
    pub fn of_bits(bits: u32) -> Self {
        Self(bits & 0o7777)
    }

    /// As chmod(2) takes it.
    pub fn bits(self) -> u32 {
        self.0
    }
}

impl FromStr for Mode {
    type Err = OwnershipError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bits = is_number(text).then(|| u32::from_str_radix(text, 8).ok()).flatten();
        match bits.filter(|bits| (3..=5).contains(&text.len()) && *bits <= 0o7777) {
            Some(bits) => Ok(Self(bits)),
            None => Err(OwnershipError::Mode(text.to_owned())),
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

impl Serialize for Owner {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Owner {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl Serialize for Mode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Mode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_and_modes_are_read_and_written_alike() {
        assert_eq!("1000:0".parse(), Ok(Owner { uid: 1000, gid: 0 }));
        assert_eq!("0750".parse(), Ok(Mode(0o750)));
        assert_eq!("2775".parse::<Mode>().map(|mode| mode.to_string()), Ok("2775".to_owned()));
        assert_eq!(Mode::of_bits(0o40755).to_string(), "0755");
        for text in ["", "1000", "jenkins:jenkins", "1:2:3", "-1:0", "+1:0", "4294967295:0", " 1:1"] {
            assert!(text.parse::<Owner>().is_err(), "{text}");
        }
        for text in ["", "7", "0o750", "0788", "u+x", "17777", "+750"] {
            assert!(text.parse::<Mode>().is_err(), "{text}");
        }
        assert_eq!(
            "jenkins".parse::<Owner>().map_err(|error| error.to_string()),
            Err("`jenkins` is no owner: a user's and a group's number, as in `1000:1000`".to_owned())
        );
    }
}
