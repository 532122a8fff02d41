//! Where one thread writes records before they are linked into place.
//!
//! Whoever makes a file in a directory of NFS has it to himself for a few round trips (the kernel's lock of its inode), so that in that of
//! the records all other threads would wait. So each has a directory of its own, made when it is needed.

use crate::share::{Directory, ShareError};

/// A thread's own directory.
pub(super) struct Draft<'a> {
    drafts: &'a Directory,
    name: String,
    folder: Option<Directory>,
}

impl<'a> Draft<'a> {
    /// In `drafts`, for a thread of the instance `by`; nothing is made yet.
    pub(super) fn new(drafts: &'a Directory, by: &str, thread: usize) -> Self {
        Self { drafts, name: format!("{by}-{thread}"), folder: None }
    }

    /// The directory, made if it isn't there.
    pub(super) fn folder(&mut self) -> Result<&Directory, ShareError> {
        let folder = match self.folder.take() {
            Some(folder) => folder,
            None => self.empty()?,
        };
        Ok(self.folder.insert(folder))
    }

    /// What is in it is of a worker of this instance that was killed.
    fn empty(&self) -> Result<Directory, ShareError> {
        let (folder, is_new) = self.drafts.make(&self.name, 0o700)?;
        if !is_new {
            for name in folder.names()? {
                folder.remove(&name)?;
            }
        }
        Ok(folder)
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        if self.folder.take().is_some() {
            // One that is left is emptied and used again the next time that this instance makes volumes.
            drop(self.drafts.remove_directory(&self.name));
        }
    }
}
