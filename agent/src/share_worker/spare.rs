//! The worker that stays: a probe every few seconds must not cost the start of a process each time.

use super::{Request, Worker, WorkerError, within};
use serde::de::DeserializeOwned;
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// At most one worker that has nothing to do. Whoever asks takes it, or starts another one while it is taken; one that answered is kept
/// for the next question, one that didn't is not. Clones share it.
///
/// A worker holds nothing of the share between two questions, so one that waits keeps nobody from unmounting it.
#[derive(Debug, Clone, Default)]
pub struct Spare(Arc<Mutex<Option<Worker>>>);

impl Spare {
    fn slot(&self) -> MutexGuard<'_, Option<Worker>> {
        // Whoever panicked while holding it left a worker or none: both are right.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts one before it is needed, unless there is one. That it can't be started is told by the first question.
    pub fn warm(&self) {
        let mut slot = self.slot();
        if slot.is_none() {
            *slot = Worker::start().ok();
        }
    }

    /// The worker that waits, if it still runs, or a new one: for who may keep it.
    ///
    /// # Errors
    /// [`WorkerError::Start`]
    pub fn take(&self) -> Result<Worker, WorkerError> {
        let waiting = self.slot().take();
        if let Some(mut worker) = waiting
            && worker.runs()
        {
            return Ok(worker);
        }
        Worker::start()
    }

    /// Keeps one that has answered and holds nothing.
    pub fn give_back(&self, worker: Worker) {
        self.slot().get_or_insert(worker);
    }

    /// Asks, for ever if need be. Dropping the future kills the worker.
    ///
    /// # Errors
    /// [`WorkerError`], but never [`WorkerError::TimedOut`].
    pub async fn ask<A: DeserializeOwned>(&self, request: &Request) -> Result<A, WorkerError> {
        let mut worker = self.take()?;
        let answer = worker.ask(request).await;
        if matches!(answer, Ok(_) | Err(WorkerError::Failed(_))) {
            self.give_back(worker);
        }
        answer
    }

    /// [`Spare::ask`] with a deadline; a worker that passes it is killed.
    ///
    /// # Errors
    /// [`WorkerError`]
    pub async fn ask_within<A: DeserializeOwned>(
        &self,
        request: &Request,
        deadline: Duration,
    ) -> Result<A, WorkerError> {
        within(deadline, self.ask(request)).await
    }
}
