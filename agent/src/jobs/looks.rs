//! The jobs that only look: nothing that they do changes anything, on the share or elsewhere.

use super::{Done, Jobs};
use crate::{
    mount::VOLUMES_ROOT,
    mountstats::Statistics,
};

/// What a look found.
#[derive(Debug)]
pub enum Looked {
    /// Of `ReadStatistics`, for the mount of this id.
    Statistics(u32, Result<Option<Statistics>, String>),
}

impl Jobs {
    /// Reads what the kernel counts of the mount. It asks the server nothing.
    pub fn read_statistics(&self, mount: u32, device: String) -> tokio::task::AbortHandle {
        self.spawn(async move {
            let read = Statistics::of(VOLUMES_ROOT, &device);
            Done::Looked(Looked::Statistics(mount, read.map_err(|error| error.to_string())))
        })
    }
}
