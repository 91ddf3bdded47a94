//! What systemd is told: that it is ready, that it lives, what it does, that it stops.
//!
//! Without a service manager nothing is told to anybody. On purpose not here: when.

use sd_notify::NotifyState;
use std::time::Duration;

/// The service manager that started this program, if one did.
#[derive(Debug, Clone, Copy)]
pub struct Manager {
    watchdog: Option<Duration>,
}

impl Manager {
    /// Finds out from the environment whether there is one.
    #[must_use]
    pub fn from_env() -> Self {
        let mut micros = 0;
        let watched = sd_notify::watchdog_enabled(false, &mut micros);
        Self { watchdog: watched.then(|| Duration::from_micros(micros)).filter(|time| !time.is_zero()) }
    }

    /// How often it has to be told that this program lives: half of the time after which it is killed.
    #[must_use]
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog.map(|time| time / 2)
    }

    /// The work can begin.
    pub fn ready(self) {
        tell(&[NotifyState::Ready]);
    }

    /// It lives.
    pub fn lives(self) {
        if self.watchdog.is_some() {
            tell(&[NotifyState::Watchdog]);
        }
    }

    /// What it is doing, in one line.
    pub fn status(self, text: &str) {
        tell(&[NotifyState::Status(&text.replace(['\n', '\r'], " "))]);
    }

    /// It takes no more work.
    pub fn stops(self) {
        tell(&[NotifyState::Stopping]);
    }
}

/// A manager that does not listen is no reason to stop working.
fn tell(state: &[NotifyState<'_>]) {
    let _ = sd_notify::notify(false, state);
}
