//! Waiting for facts: looked at again and again until a deadline. The lab never just sleeps.

use crate::{error::Error, progress::Progress};
use std::time::{Duration, Instant};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(150);

/// Looks until `look` sees what is expected; what it says instead (`Err`) is the evidence if it never does.
///
/// # Errors
/// [`Error::NotSeen`] with the last thing seen when the deadline has passed.
pub fn until<T>(
    progress: &Progress,
    expected: &str,
    deadline: Duration,
    mut look: impl FnMut() -> Result<T, String>,
) -> Result<T, Error> {
    let since = Instant::now();
    let mut told = Duration::ZERO;
    loop {
        match look() {
            Ok(seen) => return Ok(seen),
            Err(seen) if since.elapsed() >= deadline => {
                return Err(Error::NotSeen { expected: expected.to_owned(), seen, waited: since.elapsed() });
            }
            Err(_) => progress.waiting(expected, since, &mut told),
        }
        std::thread::park_timeout(PAUSE);
    }
}

/// Looks for the whole `period` and fails at once when `look` sees something else (`Err`).
///
/// # Errors
/// [`Error::NotSeen`] with what was seen instead.
pub fn always(
    progress: &Progress,
    expected: &str,
    period: Duration,
    mut look: impl FnMut() -> Result<(), String>,
) -> Result<(), Error> {
    let since = Instant::now();
    let mut told = Duration::ZERO;
    while since.elapsed() < period {
        if let Err(seen) = look() {
            return Err(Error::NotSeen { expected: expected.to_owned(), seen, waited: since.elapsed() });
        }
        progress.waiting(&format!("{expected} (watching for {} s)", period.as_secs()), since, &mut told);
        std::thread::park_timeout(PAUSE);
    }
    Ok(())
}
