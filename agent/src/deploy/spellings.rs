//! Folders that a home doesn't tell apart, because they differ by upper and lower case alone.

use crate::{layout::Volume, problem::Problem, yaml::Place as At};
use std::collections::HashMap;

/// The folders of an app, as they were spelt first, by their spelling in lower case: the homes of macOS don't tell the two apart.
#[derive(Default)]
pub(super) struct Spellings(HashMap<String, (String, At)>);

impl Spellings {
    /// A volume whose folder, or one above it, is called as another one but for upper and lower case. If none is, it is noted.
    pub(super) fn collision(&mut self, volume: &Volume, place: &At) -> Option<Problem> {
        // The app's own folder is one for all of them.
        let (_, path) = volume.relative.as_deref()?.split_once('/')?;
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        let folders: Vec<&str> = ends.map(|end| &path[..end]).collect();
        let other = folders.iter().find_map(|folder| {
            let (first, at) = self.0.get(&folder.to_lowercase())?;
            (first != folder).then(|| (first.clone(), at.clone(), *folder))
        });
        let Some((first, at, folder)) = other else {
            for folder in folders {
                let as_spelt = || (folder.to_owned(), place.clone());
                self.0.entry(folder.to_lowercase()).or_insert_with(as_spelt);
            }
            return None;
        };
        let reason = format!("its folder `{folder}` differs from `{first}` only by upper and lower case");
        let help = "rename one of the two, so that they differ by more";
        let why = "on a home that doesn't tell upper from lower case, such as a Mac's, both are one folder: each would find and overwrite the other's files";
        Some(Problem::refused("case-collision", reason, help).why(why).see(&at, "the other one"))
    }
}
