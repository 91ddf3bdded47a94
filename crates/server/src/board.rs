//! What is answered, as it was last put here.
//!
//! On purpose not here: sockets.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Where things stand is written here by one, and read by many.
#[derive(Debug)]
pub struct Board {
    state: Mutex<State>,
    /// Whoever does not move for longer does not live any more.
    alive_within: Duration,
}

#[derive(Debug)]
struct State {
    moved: Instant,
    ready: Result<(), String>,
    /// What it knows, and when that was put here.
    metrics: Option<(Instant, String)>,
}

/// An answer to one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// As HTTP has it.
    pub status: u16,
    /// What kind of text it is.
    pub content_type: &'static str,
    /// The text.
    pub body: String,
}

const PLAIN: &str = "text/plain; charset=utf-8";
/// The text format of Prometheus.
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// How the name of a metric ends that says when who has the board last moved: that is known here, and as of now.
const ALIVE: &str = "_alive_timestamp_seconds";

impl Board {
    /// One that lives as of now and is not ready. `alive_within` says how often it has to move.
    #[must_use]
    pub fn new(alive_within: Duration) -> Self {
        let state = State { moved: now(), ready: Err("it is starting".to_owned()), metrics: None };
        Self { state: Mutex::new(state), alive_within }
    }

    /// It moves.
    pub fn moves(&self) {
        self.state().moved = now();
    }

    /// It can do its work, or why it cannot.
    pub fn put_ready(&self, ready: Result<(), String>) {
        self.state().ready = ready;
    }

    /// What it knows, in the text format of Prometheus. `…_alive_timestamp_seconds` in it is when this is put here; whoever
    /// asks is told when it last moved.
    pub fn put_metrics(&self, text: String) {
        self.state().metrics = Some((now(), text));
    }

    /// Whether it moved lately; else for how long it did not.
    ///
    /// # Errors
    /// It did not; for so long.
    pub fn lives(&self) -> Result<(), Duration> {
        let still = self.state().moved.elapsed();
        if still <= self.alive_within { Ok(()) } else { Err(still) }
    }

    /// Whether it moves and can do its work.
    #[must_use]
    pub fn is_at_work(&self) -> bool {
        self.lives().is_ok() && self.state().ready.is_ok()
    }

    /// The answer to a request.
    #[must_use]
    pub fn answer(&self, method: &str, path: &str) -> Answer {
        if !matches!(method, "GET" | "HEAD") {
            return plain(405, "only GET and HEAD are answered".to_owned());
        }
        match path {
            "/healthz" => match self.lives() {
                Ok(()) => plain(200, "ok".to_owned()),
                Err(still) => plain(503, format!("it has not moved for {} s", still.as_secs())),
            },
            "/readyz" => match &self.state().ready {
                Ok(()) => plain(200, "ok".to_owned()),
                Err(why) => plain(503, why.clone()),
            },
            "/metrics" => match self.metrics() {
                Some(text) => Answer { status: 200, content_type: METRICS, body: text },
                None => plain(503, "nothing was looked at yet".to_owned()),
            },
            _ => plain(404, "there are /metrics, /healthz and /readyz".to_owned()),
        }
    }

    /// What was put here, but for when it moved, which may be long after that, or long before.
    fn metrics(&self) -> Option<String> {
        let state = self.state();
        let (put, text) = state.metrics.as_ref()?;
        let line = |line: &str| match line.split_once(' ') {
            Some((name, at)) if name.ends_with(ALIVE) => match at.trim_end().parse() {
                Ok(at) => format!("{name} {}\n", moved(at, *put, state.moved)),
                Err(_) => line.to_owned(),
            },
            _ => line.to_owned(),
        };
        Some(text.split_inclusive('\n').map(line).collect())
    }

    /// Nothing that is written here can be half written, whoever panicked.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn now() -> Instant {
    Instant::now()
}

/// When it moved, in seconds, from what the time was when something was put here.
fn moved(at: i64, put: Instant, moved: Instant) -> i64 {
    let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    // One of the two is nothing.
    let (since, before) = (moved.saturating_duration_since(put), put.saturating_duration_since(moved));
    at.saturating_add(seconds(since)).saturating_sub(seconds(before))
}

fn plain(status: u16, text: String) -> Answer {
    Answer { status, content_type: PLAIN, body: text + "\n" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(board: &Board, path: &str) -> (u16, String) {
        let answer = board.answer("GET", path);
        (answer.status, answer.body)
    }

    #[tokio::test(start_paused = true)]
    async fn it_says_what_was_put_there() {
        let board = Board::new(Duration::from_secs(60));
        assert_eq!(get(&board, "/readyz"), (503, "it is starting\n".into()));
        assert_eq!(get(&board, "/metrics").0, 503);
        board.put_ready(Ok(()));
        board.put_metrics("a 1\n".into());
        assert_eq!(get(&board, "/readyz"), (200, "ok\n".into()));
        assert_eq!(get(&board, "/metrics"), (200, "a 1\n".into()));
        board.put_ready(Err("the catalog is out of reach".into()));
        assert_eq!(get(&board, "/readyz"), (503, "the catalog is out of reach\n".into()));
        assert_eq!(get(&board, "/").0, 404);
        assert_eq!(board.answer("POST", "/metrics").status, 405);
    }

    #[tokio::test(start_paused = true)]
    async fn when_it_moved_is_told_as_it_is_when_somebody_asks() {
        let board = Board::new(Duration::from_secs(60));
        let told = |wanted: u64| {
            let text = get(&board, "/metrics").1;
            let head = "# HELP x_alive_timestamp_seconds When.\nx_alive_timestamp_seconds";
            assert_eq!(text, format!("{head} {wanted}\ny 3\n"));
        };
        let put = |at: u64| {
            board.put_metrics(format!(
                "# HELP x_alive_timestamp_seconds When.\nx_alive_timestamp_seconds {at}\ny 3\n"
            ));
        };
        put(1000);
        told(1000);
        tokio::time::advance(Duration::from_secs(700)).await;
        told(1000);
        // Numbers are written, as a job ended, and the loop hangs.
        put(1700);
        told(1000);
        tokio::time::advance(Duration::from_secs(5)).await;
        board.moves();
        told(1705);
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_move_does_not_live() {
        let board = Board::new(Duration::from_secs(60));
        assert!(!board.is_at_work(), "it is not ready");
        board.put_ready(Ok(()));
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(get(&board, "/healthz").0, 200);
        assert!(board.is_at_work());
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(get(&board, "/healthz"), (503, "it has not moved for 63 s\n".into()));
        assert!(!board.is_at_work());
        board.moves();
        assert_eq!(get(&board, "/healthz").0, 200);
    }
}
