//! What one document says, and what documents come to that were merged: services and top-level volumes, each text with its place.

use super::Entry;
use crate::{
    problem::Problem,
    yaml::{Node, Origin, Place, Step, Value, Written},
};
use std::{collections::BTreeMap, sync::Arc};

/// A string with where it stands and how it came there.
#[derive(Debug, Clone)]
pub struct Text {
    /// The string, variables replaced.
    pub value: String,
    /// Where it stands.
    pub place: Place,
    /// How it came here.
    pub origin: Option<Arc<Origin>>,
    /// What was written, where variables changed it.
    pub written: Option<Arc<Written>>,
}

/// Two texts are equal if they say the same.
impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl Text {
    /// Of a scalar that is a string.
    pub fn of(node: &Node) -> Option<Self> {
        node.as_text().is_some().then(|| Self::of_any(node)).flatten()
    }

    /// Of any scalar.
    pub fn of_any(node: &Node) -> Option<Self> {
        match &node.value {
            Value::Scalar { text, written, .. } => Some(Self {
                value: text.clone(),
                place: node.place.clone(),
                origin: node.origin.clone(),
                written: written.clone(),
            }),
            _ => None,
        }
    }

    /// As it stands in the file.
    pub fn as_written(&self) -> &str {
        self.written.as_ref().map_or(&self.value, |written| &written.text)
    }

    fn came_by(&mut self, step: &Step, at: &Place) {
        self.origin = Some(Origin::after(step.clone(), at.clone(), self.origin.take()));
    }
}

/// A key that may be there with nothing in it, which leaves alone what an earlier file said, and is wrong without one.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Key<T> {
    /// It isn't there.
    #[default]
    Absent,
    /// It is there with nothing.
    Null(Place),
    /// It says something.
    Is(T),
}

impl<T> Key<T> {
    /// What it says.
    pub fn value(&self) -> Option<&T> {
        match self {
            Self::Is(value) => Some(value),
            Self::Absent | Self::Null(_) => None,
        }
    }

    fn value_mut(&mut self) -> Option<&mut T> {
        match self {
            Self::Is(value) => Some(value),
            Self::Absent | Self::Null(_) => None,
        }
    }

    /// Another layer over this one; `both` says what two values come to.
    pub fn overlay(&mut self, over: Self, both: impl FnOnce(&mut T, T)) {
        match (self, over) {
            (_, Self::Absent) | (Self::Is(_), Self::Null(_)) => {}
            (Self::Is(base), Self::Is(over)) => both(base, over),
            (base, over) => *base = over,
        }
    }
}

/// An entry of `volumes:` on its way to the model.
#[derive(Debug, Clone)]
pub struct Mount {
    /// What it is in the model.
    pub entry: Entry,
    /// By which a later entry replaces it: the target, cleaned sooner in the short form than in the long one.
    pub key: String,
    /// Whether it is in the short form, and so not yet in the form that Docker Compose compares.
    pub is_short: bool,
}

/// Two entries are equal if Docker Compose would say so when an included file brings a service that is there already.
impl PartialEq for Mount {
    fn eq(&self, other: &Self) -> bool {
        self.is_short == other.is_short
            && self.key == other.key
            && self.entry.declaration == other.entry.declaration
    }
}

/// `extends`.
#[derive(Debug, Clone, PartialEq)]
pub struct Extends {
    /// The service.
    pub service: String,
    /// The file, where it is another one.
    pub file: Option<Text>,
    /// Whether it is written as a mapping, which a mere name can't override.
    pub is_mapping: bool,
    /// Where it is asked for.
    pub place: Place,
}

/// A service.
#[derive(Debug, Clone)]
pub struct ServiceLayer {
    /// Where its name stands.
    pub place: Place,
    /// Whether there is nothing in it.
    pub is_null: bool,
    /// `extends`, until it is followed.
    pub extends: Option<Extends>,
    /// `volumes`
    pub volumes: Key<Vec<Mount>>,
    /// `tmpfs`
    pub tmpfs: Key<Vec<Text>>,
    /// `volumes_from`
    pub volumes_from: Key<Vec<Text>>,
    /// `profiles`
    pub profiles: Key<Vec<Text>>,
    /// `user`
    pub user: Key<Text>,
    /// `x-volumes`
    pub extension: Key<Node>,
    /// Whether an `include` brought it.
    pub is_imported: bool,
    /// All other keys.
    pub others: Vec<(String, Node)>,
    /// What is wrong in it; told if the service ends in the model.
    pub problems: Vec<Problem>,
}

impl PartialEq for ServiceLayer {
    fn eq(&self, other: &Self) -> bool {
        let same_others = self.others.len() == other.others.len()
            && self
                .others
                .iter()
                .all(|(key, value)| other.others.iter().any(|(k, v)| k == key && v == value));
        self.volumes == other.volumes
            && self.tmpfs == other.tmpfs
            && self.volumes_from == other.volumes_from
            && self.profiles == other.profiles
            && self.user == other.user
            && self.extension == other.extension
            && same_others
    }
}

impl ServiceLayer {
    /// One with nothing in it.
    pub fn empty(place: Place) -> Self {
        Self {
            place,
            is_null: false,
            extends: None,
            volumes: Key::Absent,
            tmpfs: Key::Absent,
            volumes_from: Key::Absent,
            profiles: Key::Absent,
            user: Key::Absent,
            extension: Key::Absent,
            is_imported: false,
            others: Vec::new(),
            problems: Vec::new(),
        }
    }

    /// Its entries.
    pub fn mounts_mut(&mut self) -> impl Iterator<Item = &mut Mount> {
        self.volumes.value_mut().into_iter().flatten()
    }

    /// Short entries in the form that Docker Compose compares, and two entries with one target made one.
    pub fn make_canonical(&mut self) {
        let Some(mounts) = self.volumes.value_mut() else { return };
        for mount in mounts.iter_mut().filter(|mount| mount.is_short) {
            mount.key = crate::path::clean(&mount.key);
            mount.is_short = false;
        }
        super::merge::keep_last_by(mounts, |mount| mount.key.clone());
    }

    /// Adds a step to how everything in it came here.
    pub fn came_by(&mut self, step: &Step, at: &Place) {
        for mount in self.volumes.value_mut().into_iter().flatten() {
            mount.entry.origin = Some(Origin::after(step.clone(), at.clone(), mount.entry.origin.take()));
            for refusal in &mut mount.entry.refusals {
                *refusal = refusal.clone().came_by(Some(&Origin::after(step.clone(), at.clone(), None)));
            }
        }
        for list in [&mut self.tmpfs, &mut self.volumes_from, &mut self.profiles] {
            list.value_mut().into_iter().flatten().for_each(|text| text.came_by(step, at));
        }
    }
}

/// A top-level volume.
#[derive(Debug, Clone, PartialEq)]
pub struct VolumeLayer {
    /// Where its key stands.
    pub place: Where,
    /// Whether there is nothing in it.
    pub is_null: bool,
    /// `name`
    pub name: Option<String>,
    /// `external`
    pub external: Option<bool>,
    /// `external.name`, until it is the name.
    pub external_name: Option<Text>,
    /// `driver`
    pub driver: Option<String>,
    /// `driver_opts`
    pub driver_opts: Option<BTreeMap<String, String>>,
    /// `labels`
    pub labels: Option<BTreeMap<String, String>>,
}

/// A place that makes no difference between two things.
#[derive(Debug, Clone)]
pub struct Where(pub Place);

impl PartialEq for Where {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// A file to include.
#[derive(Debug, Clone)]
pub struct Include {
    /// The file, and those merged over it.
    pub paths: Vec<Text>,
    /// The folder that its relative paths belong to.
    pub folder: Option<Text>,
    /// Env files for its variables.
    pub env_files: Vec<Text>,
    /// Where it is asked for.
    pub place: Place,
}

/// A document, or several merged.
#[derive(Debug, Clone, Default)]
pub struct Layer {
    /// `name`
    pub name: Option<Text>,
    /// Services in order.
    pub services: Vec<(String, ServiceLayer)>,
    /// Whether there is a top-level `volumes`.
    pub volumes_key: Key<()>,
    /// Top-level volumes in order.
    pub volumes: Vec<(String, VolumeLayer)>,
    /// Files to include, until they are.
    pub includes: Vec<Include>,
    /// What an earlier layer must give up first: paths of keys tagged `!reset` or `!override`.
    pub resets: Vec<Vec<String>>,
    /// All other top-level keys.
    pub others: Vec<(String, Node)>,
    /// Whether it says nothing at all.
    pub says_nothing: bool,
    /// Whether the services stand at the top level, as in files of Docker Compose's first format.
    pub is_legacy: bool,
}
