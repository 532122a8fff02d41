//! What a person sees while the lab works: what is being done, and how long so far.

use std::{
    io::{IsTerminal, Write},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// When the command that the person typed was started, in milliseconds since the epoch: handed to the processes it starts.
const STARTED: &str = "VOLUMES_LAB_STARTED";
/// Set when the person's own standard output is a terminal (the inner processes write into a pipe).
const TERMINAL: &str = "VOLUMES_LAB_TERMINAL";

/// Writes progress to standard output. A closed output ends no lab: nothing is left to tell then, and the exit code still does.
#[derive(Debug, Clone)]
pub struct Progress {
    started: Instant,
    terminal: bool,
}

impl Progress {
    /// The clock starts now, or continues that of the process that started this one.
    pub fn new() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let before: Option<u64> = std::env::var(STARTED).ok().and_then(|text| text.parse().ok());
        let already = before
            .map_or(Duration::ZERO, |started| since_epoch.saturating_sub(Duration::from_millis(started)));
        let now = Instant::now();
        let terminal = std::env::var_os(TERMINAL).is_some() || std::io::stdout().is_terminal();
        Self { started: now.checked_sub(already).unwrap_or(now), terminal }
    }

    /// The variables that make another process go on with this clock.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut variables =
            vec![(STARTED, since_epoch.saturating_sub(self.started.elapsed()).as_millis().to_string())];
        if self.terminal {
            variables.push((TERMINAL, "1".to_owned()));
        }
        variables
    }

    /// How long so far.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// A line with the time so far.
    pub fn say(&self, text: &str) {
        self.clear();
        self.write(&format!("[{:6.1} s] {text}\n", self.elapsed().as_secs_f64()));
    }

    /// A line that belongs to the one before.
    pub fn detail(&self, text: &str) {
        self.clear();
        for line in text.lines() {
            self.write(&format!("             {line}\n"));
        }
    }

    /// Text as it is.
    pub fn plain(&self, text: &str) {
        self.clear();
        self.write(&format!("{text}\n"));
    }

    /// Shows that something is waited for: on a terminal a line that changes, else a line now and then.
    pub fn waiting(&self, what: &str, since: Instant, told: &mut Duration) {
        let waited = since.elapsed();
        if self.terminal {
            self.write(&format!(
                "\r\x1b[K[{:6.1} s] … {what}, {:.0} s",
                self.elapsed().as_secs_f64(),
                waited.as_secs_f64()
            ));
        } else if waited.saturating_sub(*told) > Duration::from_secs(10) {
            *told = waited;
            self.say(&format!("… {what}, {:.0} s so far", waited.as_secs_f64()));
        }
    }

    fn clear(&self) {
        if self.terminal {
            self.write("\r\x1b[K");
        }
    }

    fn write(&self, text: &str) {
        let mut stdout = std::io::stdout().lock();
        drop(stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()));
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

/// Does some work of unknown length in this thread while another one shows how long it takes.
pub fn during<T: Send>(progress: &Progress, what: &str, work: impl FnOnce() -> T + Send) -> T {
    let since = Instant::now();
    std::thread::scope(|scope| {
        let working = scope.spawn(work);
        let mut told = Duration::ZERO;
        while !working.is_finished() {
            std::thread::park_timeout(Duration::from_millis(200));
            progress.waiting(what, since, &mut told);
        }
        progress.clear();
        match working.join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}
