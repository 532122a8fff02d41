//! What systemd is told (sd_notify(3)): ready, the status line, the watchdog, stopping. Without systemd all of it does nothing.

use sd_notify::NotifyState;
use tracing::warn;

/// Tells systemd, and logs where that fails: a service manager that isn't told restarts the agent, which an operator sees.
fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        warn!(%error, "systemd could not be told");
    }
}

/// The endpoint answers.
pub fn ready(status: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The line of `systemctl status`.
pub fn status(status: &str) {
    notify(&[NotifyState::Status(status)]);
}

/// The loop lives. Sent by the loop itself: a frozen one must be noticed.
pub fn alive() {
    notify(&[NotifyState::Watchdog]);
}

/// The agent ends, on purpose.
pub fn stopping() {
    notify(&[NotifyState::Stopping, NotifyState::Status("stopping; the share stays mounted")]);
}
