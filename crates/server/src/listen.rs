//! The listener: few connections, each for a short time, whatever they send.
//!
//! There is no encryption and no password: what is answered holds names and numbers, no secret, and
//! the address is meant to be one of this host or of a network of its own. On purpose not here: what
//! is answered.

use crate::{Answer, Board};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinHandle, JoinSet};

/// How much those who ask may take.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// So many connections there are side by side. With one more the oldest is cut off: an answer takes no time, so it is
    /// one that asks nothing. Who asks now is never kept waiting by those.
    connections: usize,
    /// So long may one last.
    connection: Duration,
    /// So long may what comes before a request.
    header: Duration,
}

const LIMITS: Limits =
    Limits { connections: 32, connection: Duration::from_secs(60), header: Duration::from_secs(3) };
/// A longer request is none that is answered.
const REQUEST_BYTES_MAX: usize = 16 << 10;
/// So long is waited where no connection can be taken, as when there are no more files.
const PAUSE: Duration = Duration::from_millis(200);

/// Answers until it is dropped.
#[derive(Debug)]
pub struct Listening {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Listening {
    /// Where it listens: with port 0 it is told here which one it got.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Listens at an address (`127.0.0.1:9187`, `[::1]:9187`, `name:9187`), and answers what is on the board.
///
/// # Errors
/// The address is none, is taken, or is not for this user.
pub async fn listen(address: &str, board: Arc<Board>) -> io::Result<Listening> {
    listen_within(LIMITS, address, board).await
}

async fn listen_within(limits: Limits, address: &str, board: Arc<Board>) -> io::Result<Listening> {
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    let task = tokio::spawn(accept(limits, listener, board));
    Ok(Listening { address, task })
}

async fn accept(limits: Limits, listener: TcpListener, board: Arc<Board>) {
    // Dropped with this task, which ends all of them.
    let mut all = JoinSet::new();
    let mut open: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        while all.try_join_next().is_some() {}
        open.retain(|connection| !connection.is_finished());
        if open.len() >= limits.connections
            && let Some(oldest) = open.pop_front()
        {
            oldest.abort();
        }
        let board = Arc::clone(&board);
        open.push_back(all.spawn(async move {
            // However it ends: who asked sees it, and asks again.
            let _ = tokio::time::timeout(limits.connection, serve(stream, board, limits.header)).await;
        }));
    }
}

async fn serve(stream: TcpStream, board: Arc<Board>, header: Duration) -> hyper::Result<()> {
    let answer = service_fn(move |request: Request<Incoming>| {
        let answer = board.answer(request.method().as_str(), request.uri().path());
        async move { Ok::<_, Infallible>(response(answer)) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header)
        .max_buf_size(REQUEST_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), answer)
        .await
}

fn response(answer: Answer) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(answer.body)));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
    response
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn started() -> (Listening, Arc<Board>) {
        let board = Arc::new(Board::new(Duration::from_secs(60)));
        (listen("127.0.0.1:0", Arc::clone(&board)).await.unwrap(), board)
    }

    /// Sends, and reads until the other side closes.
    async fn say(to: SocketAddr, text: &[u8]) -> String {
        let mut stream = TcpStream::connect(to).await.unwrap();
        stream.write_all(text).await.unwrap();
        let mut said = Vec::new();
        // Who is refused may be cut off while it still sends.
        let _ = stream.read_to_end(&mut said).await;
        String::from_utf8(said).unwrap()
    }

    #[tokio::test]
    async fn requests_are_answered() {
        let (listening, board) = started().await;
        board.put_metrics("holdfast_x 1\n".into());
        let get =
            |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").into_bytes();
        let said = say(listening.address(), &get("/metrics")).await;
        assert!(
            said.starts_with("HTTP/1.1 200 OK\r\n") && said.ends_with("\r\n\r\nholdfast_x 1\n"),
            "{said}"
        );
        assert!(said.contains("content-type: text/plain; version=0.0.4"), "{said}");
        let said = say(listening.address(), &get("/readyz?verbose")).await;
        assert!(said.starts_with("HTTP/1.1 503 ") && said.ends_with("it is starting\n"), "{said}");
        let head = b"HEAD /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        let said = say(listening.address(), head).await;
        assert!(said.starts_with("HTTP/1.1 200 ") && said.ends_with("\r\n\r\n"), "{said}");
    }

    #[tokio::test]
    async fn nonsense_is_refused_and_harms_nobody() {
        let (listening, _board) = started().await;
        let mut long = b"GET /".to_vec();
        long.resize(REQUEST_BYTES_MAX * 4, b'a');
        for bytes in [b"\x16\x03\x01\x02\x00 TLS\r\n\r\n".as_slice(), b"GET\r\n\r\n", &long] {
            let said = say(listening.address(), bytes).await;
            assert!(said.is_empty() || said.starts_with("HTTP/1.1 4"), "{said}");
        }
        let said = say(listening.address(), b"GET /healthz HTTP/1.0\r\n\r\n").await;
        assert!(said.starts_with("HTTP/1.0 200 "), "{said}");
    }

    /// Whether the other side closed it, waiting for that.
    async fn is_closed(stream: &mut TcpStream) -> bool {
        let mut byte = [0];
        matches!(stream.read(&mut byte).await, Ok(0) | Err(_))
    }

    #[tokio::test]
    async fn those_that_send_nothing_are_cut_off() {
        let (listening, _board) = started().await;
        let mut idle = TcpStream::connect(listening.address()).await.unwrap();
        assert!(is_closed(&mut idle).await);
    }

    #[tokio::test]
    async fn those_that_send_nothing_keep_nobody_waiting() {
        // Nobody is cut off because of the time.
        let hour = Duration::from_secs(3600);
        let limits = Limits { connection: hour, header: hour, ..LIMITS };
        let board = Arc::new(Board::new(hour));
        let listening = listen_within(limits, "127.0.0.1:0", board).await.unwrap();
        let mut idle = Vec::new();
        for _ in 0..limits.connections * 3 {
            idle.push(TcpStream::connect(listening.address()).await.unwrap());
        }
        let said = say(listening.address(), b"GET /healthz HTTP/1.0\r\n\r\n");
        let said = tokio::time::timeout(Duration::from_secs(60), said).await.unwrap();
        assert!(said.starts_with("HTTP/1.0 200 "), "{said}");
        // The oldest made room for it; the newest are still waited for.
        assert!(is_closed(&mut idle[0]).await);
        let newest = idle.last_mut().unwrap();
        newest.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").await.unwrap();
        let mut said = String::new();
        newest.read_to_string(&mut said).await.unwrap();
        assert!(said.starts_with("HTTP/1.0 200 "), "{said}");
    }

    #[tokio::test]
    async fn an_address_that_is_taken_is_told() {
        let (listening, board) = started().await;
        let address = listening.address().to_string();
        assert_eq!(listen(&address, board.clone()).await.unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(listening);
        assert!(listen("no address", board).await.is_err());
    }
}
