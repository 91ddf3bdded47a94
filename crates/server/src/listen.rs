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
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// So many are answered side by side; more wait.
const CONNECTIONS_MAX: usize = 32;
/// So long may a connection last, and what comes before a request.
const CONNECTION_MAX: Duration = Duration::from_secs(60);
const HEADER_MAX: Duration = Duration::from_secs(3);
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
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    let task = tokio::spawn(accept(listener, board));
    Ok(Listening { address, task })
}

async fn accept(listener: TcpListener, board: Arc<Board>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    // Dropped with this task, which ends all of them.
    let mut all = tokio::task::JoinSet::new();
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        while all.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                let board = Arc::clone(&board);
                all.spawn(async move {
                    // However it ends: who asked sees it, and asks again.
                    let _ = tokio::time::timeout(CONNECTION_MAX, serve(stream, board)).await;
                    drop(place);
                });
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

async fn serve(stream: TcpStream, board: Arc<Board>) -> hyper::Result<()> {
    let answer = service_fn(move |request: Request<Incoming>| {
        let answer = board.answer(request.method().as_str(), request.uri().path());
        async move { Ok::<_, Infallible>(response(answer)) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_MAX)
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
        let board = Arc::new(Board::new(CONNECTION_MAX));
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

    #[tokio::test]
    async fn those_that_send_nothing_do_not_keep_others_out_for_ever() {
        let (listening, _board) = started().await;
        let mut idle = Vec::new();
        for _ in 0..CONNECTIONS_MAX {
            idle.push(TcpStream::connect(listening.address()).await.unwrap());
        }
        // They are cut off after the time for a header.
        let said = say(listening.address(), b"GET /healthz HTTP/1.0\r\n\r\n").await;
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
