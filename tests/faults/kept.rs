//! What each row saw, for as long as the instances' disk stays the same: a row that broke can be mended and run alone, and the table is
//! of one state of the agent all the same.

use crate::row::{Row, Seen};
use lab::{Error, host, place};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The results of one disk.
pub(crate) struct Kept {
    folder: PathBuf,
}

/// Of one row.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Remembered {
    pub(crate) seen: Seen,
    pub(crate) seconds: f64,
}

impl Kept {
    /// Those of this disk; what others saw is forgotten.
    pub(crate) fn of(disk: &Path) -> Result<Self, Error> {
        let all = place::cache()?.join("faults");
        let folder = all.join(disk.file_stem().unwrap_or_default());
        if !folder.exists() {
            host::remove(&all)?;
        }
        host::directory(&folder)?;
        Ok(Self { folder })
    }

    fn file(&self, row: &Row) -> PathBuf {
        self.folder.join(format!("{}.json", row.name))
    }

    /// It was as it must be.
    pub(crate) fn keep(&self, row: &Row, seen: &Seen, seconds: f64) -> Result<(), Error> {
        let result = Remembered { seen: seen.clone(), seconds };
        host::write(&self.file(row), serde_json::to_string(&result).unwrap_or_default())
    }

    /// It broke, whatever it did before.
    pub(crate) fn forget(&self, row: &Row) -> Result<(), Error> {
        host::remove(&self.file(row))
    }

    /// Of a row, if it was as it must be when it ran last.
    pub(crate) fn result(&self, row: &Row) -> Option<Remembered> {
        serde_json::from_str(&host::read(&self.file(row)).ok()?).ok()
    }
}
