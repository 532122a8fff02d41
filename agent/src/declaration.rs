//! One entry of a service's `volumes:`, in the form that Docker Compose makes of it: short or long, it ends as the same fields.
//!
//! Reading is lenient where Docker Compose is. What that loses is told by [`Declaration::complaints`], and refused on deploy.

pub mod complaint;
pub mod label;
pub mod short_syntax;
pub mod tmpfs;

use crate::path;
use complaint::Complaint;
use std::collections::BTreeMap;

/// A `volumes:` entry, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declaration {
    /// The entry as it stands in the file: its short form, or for a long one what it comes to in short.
    pub text: String,
    /// What is mounted.
    pub kind: Kind,
    /// From where; none for a single path.
    pub source: Option<Source>,
    /// The path in the container, as written.
    pub target: String,
    /// Whether the container may only read.
    pub read_only: bool,
    /// The rest.
    pub options: Options,
}

/// What is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A volume: named, or of a single path.
    Volume,
    /// A path of the machine.
    Bind,
    /// Memory.
    Tmpfs,
    /// A named pipe of Windows.
    NamedPipe,
    /// A volume of a Swarm cluster.
    Cluster,
    /// Another image's files.
    Image,
}

/// What comes before the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// An absolute path, as written.
    Absolute(String),
    /// A path relative to the compose file's folder or the home directory.
    Relative {
        /// As written.
        written: String,
        /// What it comes to on this machine, where that is known.
        absolute: Option<String>,
    },
    /// An absolute path of Windows.
    Windows(String),
    /// A key of the top-level `volumes:`.
    Named(String),
    /// An image, a pipe, a cluster's volume.
    Other(String),
}

/// What can be said about a mount beside source, target and read-only.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// `consistency`, of the long form.
    pub consistency: Option<String>,
    /// `bind.propagation`
    pub propagation: Option<String>,
    /// `bind.selinux`: `z` or `Z`.
    pub selinux: Option<String>,
    /// `bind.recursive`
    pub recursive: Option<String>,
    /// `bind.create_host_path`, where the long form says it.
    pub create_host_path: Option<bool>,
    /// `volume.nocopy`
    pub nocopy: bool,
    /// `volume.subpath`
    pub subpath: Option<String>,
    /// `volume.labels`
    pub labels: BTreeMap<String, String>,
    /// `tmpfs.size`, in bytes.
    pub tmpfs_size: Option<i64>,
    /// `tmpfs.mode`
    pub tmpfs_mode: Option<u32>,
    /// `image.subpath`
    pub image_subpath: Option<String>,
    /// Words of the short form that Docker Compose drops.
    pub dropped: Vec<String>,
    /// `x-volumes`, as it is.
    pub extension: Option<serde_json::Value>,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 6] =
        [Self::Bind, Self::Volume, Self::Tmpfs, Self::Cluster, Self::NamedPipe, Self::Image];

    /// As `type` has it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Volume => "volume",
            Self::Bind => "bind",
            Self::Tmpfs => "tmpfs",
            Self::NamedPipe => "npipe",
            Self::Cluster => "cluster",
            Self::Image => "image",
        }
    }
}

impl Source {
    /// A bind's source.
    pub fn of_bind(text: &str) -> Self {
        match text {
            _ if text.starts_with('/') => Self::Absolute(text.to_owned()),
            _ if path::is_windows(text) => Self::Windows(text.to_owned()),
            _ => Self::Relative { written: text.to_owned(), absolute: None },
        }
    }

    /// As it was written.
    pub fn written(&self) -> &str {
        match self {
            Self::Absolute(text)
            | Self::Windows(text)
            | Self::Named(text)
            | Self::Other(text)
            | Self::Relative { written: text, .. } => text,
        }
    }

    /// As it is on this machine: absolute where it is a path.
    pub fn resolved(&self) -> &str {
        match self {
            Self::Relative { absolute: Some(absolute), .. } => absolute,
            other => other.written(),
        }
    }

    /// Where a relative path leads, from the folder of the compose file and the home directory.
    pub fn resolve(&mut self, folder: &str, home: Option<&str>) {
        if let Self::Relative { written, absolute } = self {
            *absolute = Some(match home {
                Some(home) if written.starts_with('~') => path::of_home(home, written.get(1..).unwrap_or("")),
                _ => path::within(folder, written),
            });
        }
    }
}

impl Declaration {
    /// What Docker Compose accepts without a word, although it loses data or can't work in a container.
    pub fn complaints(&self) -> Vec<Complaint> {
        complaint::about(self)
    }

    /// The volume's name, where it has one.
    pub fn named(&self) -> Option<&str> {
        match (&self.source, self.kind) {
            (Some(Source::Named(name)), Kind::Volume) => Some(name),
            _ => None,
        }
    }

    /// What has no meaning on a share: SELinux labels, the caches of Docker Desktop.
    pub fn without_meaning(&self) -> Vec<&str> {
        let known = self.options.dropped.iter().filter(|word| complaint::CACHES.contains(&word.as_str()));
        let selinux = self.options.selinux.iter();
        selinux.chain(known).chain(&self.options.consistency).map(String::as_str).collect()
    }
}

/// A short form that Docker Compose takes without a loss.
impl std::str::FromStr for Declaration {
    type Err = complaint::DeclarationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let declaration = short_syntax::parse(text)?;
        match declaration.complaints().into_iter().next() {
            Some(complaint) => Err(complaint::DeclarationError::Complaint(Box::new(complaint))),
            None => Ok(declaration),
        }
    }
}
