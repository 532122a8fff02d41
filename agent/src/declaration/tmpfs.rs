//! An entry of a service's `tmpfs:`, `TARGET[:OPTION,...]`: memory, declared as the long syntax of `volumes` would say it.
//!
//! Docker hands the options to mount(8). Those that the long syntax has are taken, those that Docker sets by itself change nothing,
//! and any other is named: memory that is mounted otherwise than was asked for is no help to anyone.
//! Source: moby, `volume/mounts/linux_parser.go` (defaults: `rw`, `noexec`, `nosuid`, `nodev`); tmpfs(5).

use super::{Declaration, Kind, Options};
use crate::compose::block;

/// What Docker sets by itself.
const BY_ITSELF: [&str; 4] = ["rw", "noexec", "nosuid", "nodev"];

/// An option that can't be passed on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TmpfsError {
    /// One that the long syntax doesn't have.
    #[error("the option `{0}` of `tmpfs` isn't passed on to ECS")]
    Unknown(String),
    /// A size that is none.
    #[error("`{0}` is not a size that ECS could be told")]
    Size(String),
    /// Permissions that are none.
    #[error("`{0}` is not permissions in octal")]
    Mode(String),
}

impl TmpfsError {
    /// The diagnostic's code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unknown(_) | Self::Mode(_) => "tmpfs",
            Self::Size(_) => "tmpfs-size",
        }
    }

    /// What to do.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Unknown(_) => {
                "remove it; `size`, `mode` and `ro` are passed on. Where it must be, set `linuxParameters.tmpfs` in the task definition, and remove the entry"
            }
            Self::Size(_) => "write bytes, or a number with a unit: `size=64m`",
            Self::Mode(_) => "write it as in `mode=1777`",
        }
    }
}

/// Takes an entry apart. What can't be passed on is left out of the declaration, and told.
pub fn parse(text: &str) -> (Declaration, Vec<TmpfsError>) {
    let (target, words) = text.split_once(':').unwrap_or((text, ""));
    let mut declaration = Declaration {
        text: text.to_owned(),
        kind: Kind::Tmpfs,
        source: None,
        target: target.to_owned(),
        read_only: false,
        options: Options::default(),
    };
    let mut errors = Vec::new();
    for word in words.split(',').filter(|word| !word.is_empty()) {
        match word.split_once('=').unwrap_or((word, "")) {
            ("ro", "") => declaration.read_only = true,
            ("size", size) => match block::bytes(size) {
                Some(bytes) => declaration.options.tmpfs_size = Some(bytes),
                None => errors.push(TmpfsError::Size(word.to_owned())),
            },
            ("mode", mode) => match u32::from_str_radix(mode, 8) {
                Ok(mode) => declaration.options.tmpfs_mode = Some(mode),
                Err(_) => errors.push(TmpfsError::Mode(word.to_owned())),
            },
            (word, "") if BY_ITSELF.contains(&word) => {}
            _ => errors.push(TmpfsError::Unknown(word.to_owned())),
        }
    }
    (declaration, errors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_taken_or_named() {
        let read = |text: &str| {
            let (declaration, errors) = parse(text);
            let Options { tmpfs_size: size, tmpfs_mode: mode, .. } = declaration.options;
            (declaration.target, declaration.read_only, size, mode, errors)
        };
        let plain = |target: &str| (target.to_owned(), false, None, None, Vec::new());
        assert_eq!(read("/run"), plain("/run"));
        assert_eq!(read("/run:rw,noexec,nosuid,nodev"), plain("/run"));
        let (_, read_only, size, mode, errors) = read("/run:size=64m,mode=1777,ro");
        assert_eq!((read_only, size, mode, errors), (true, Some(64 << 20), Some(0o1777), Vec::new()));
        let errors = read("/run:exec,size=50%,uid=1000,mode=rwx,rw=x").4;
        let named: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            named,
            [
                "the option `exec` of `tmpfs` isn't passed on to ECS",
                "`size=50%` is not a size that ECS could be told",
                "the option `uid=1000` of `tmpfs` isn't passed on to ECS",
                "`mode=rwx` is not permissions in octal",
                "the option `rw=x` of `tmpfs` isn't passed on to ECS",
            ]
        );
    }
}
