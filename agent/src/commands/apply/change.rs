//! Registering the revisions that a compose file's services are to have.

use super::look::{Found, Looked, Looking, Step};
use crate::commands::moving::{ChangeError, MOST_TRIES, PAUSE, kept, may_pass};

impl Looking<'_> {
    /// Registers what `found` wants, where it isn't there yet, and compares ECS's answer with what was sent. Gives the revision.
    ///
    /// # Errors
    /// [`ChangeError`]; no service was moved.
    pub(super) async fn register(&self, found: &mut Found) -> Result<String, ChangeError> {
        let mut tries = 0;
        loop {
            if let Step::MoveTo(revision) = &found.step {
                return Ok(revision.clone());
            }
            self.cluster.ecs.may_register().await;
            let error = match self.cluster.ecs.register(&found.wanted.after).await {
                Ok((answer, _)) => return kept(&found.wanted.after, &answer),
                Err(error) => error,
            };
            tries += 1;
            if tries == MOST_TRIES || !may_pass(&error) {
                return Err(error.into());
            }
            tokio::time::sleep(PAUSE).await;
            // An answer that was lost leaves a revision behind: it is found among the family's, and used.
            match self.at(&found.assignment).await? {
                Looked::Found(again) if again.runs() == found.runs() => found.step = again.step,
                Looked::Found(_) | Looked::Skipped(..) | Looked::Refused(_) => {
                    return Err(ChangeError::Superseded);
                }
            }
        }
    }
}
