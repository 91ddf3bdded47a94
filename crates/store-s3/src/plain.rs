//! One request to a server that is no bucket's, the way buckets are asked: the same certificates,
//! proxies and ciphers.
//!
//! On purpose not here: trying again, waiting, and what is asked.

use crate::error::chain;
use crate::network::Network;
use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use aws_smithy_http_client::Connector;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_runtime_api::client::http::HttpConnector;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use zeroize::Zeroizing;

/// A longer answer is none that was asked for.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// A request.
#[derive(Debug)]
pub struct Plain<'a> {
    /// `GET` or `POST`.
    pub method: &'a str,
    /// Where to.
    pub url: &'a str,
    /// With which headers.
    pub headers: &'a [(&'a str, &'a str)],
    /// What is sent.
    pub body: &'a [u8],
}

/// What was answered.
#[derive(Debug)]
pub struct Answered {
    /// How it went, as HTTP has it.
    pub status: u16,
    /// Where else to ask.
    pub location: Option<String>,
    /// When to ask again, as the server has it: `Retry-After`.
    pub retry_after: Option<String>,
    /// What came. It is wiped when it is dropped.
    pub body: Zeroizing<Vec<u8>>,
}

/// Nothing was answered, or not to its end. What was sent is never told.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NoAnswer(String);

impl Network {
    /// Asks once. Whoever asks says how long it may take.
    ///
    /// # Errors
    /// It cannot be asked, or does not answer.
    pub async fn ask(&self, plain: &Plain<'_>) -> Result<Answered, NoAnswer> {
        let connector = Connector::builder()
            .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
            .tls_context(self.context())
            .proxy_config(self.proxies_to(plain.url))
            .build();
        let answer = connector.call(request(plain)?).await;
        let answer = answer.map_err(|error| NoAnswer(chain(&error)))?;
        let status = answer.status().as_u16();
        let location = answer.headers().get("location").map(str::to_owned);
        let retry_after = answer.headers().get("retry-after").map(str::to_owned);
        Ok(Answered { status, location, retry_after, body: whole(answer.into_body()).await? })
    }
}

fn request(plain: &Plain<'_>) -> Result<HttpRequest, NoAnswer> {
    let mut request = HttpRequest::new(SdkBody::from(plain.body));
    request.set_method(plain.method).map_err(|_| NoAnswer("this is no method of HTTP".to_owned()))?;
    request.set_uri(plain.url).map_err(|_| NoAnswer("this is no URL".to_owned()))?;
    for (name, value) in plain.headers {
        let put = request.headers_mut().try_insert((*name).to_owned(), (*value).to_owned());
        put.map_err(|_| NoAnswer(format!("the header {name} has letters that no header has")))?;
    }
    Ok(request)
}

async fn whole(body: SdkBody) -> Result<Zeroizing<Vec<u8>>, NoAnswer> {
    let mut stream = ByteStream::new(body);
    let mut pieces = Vec::new();
    let mut length = 0;
    while let Some(piece) = stream.next().await {
        let piece = piece.map_err(|error| NoAnswer(chain(&error)))?;
        length += piece.len();
        if length > ANSWER_BYTES_MAX {
            return Err(NoAnswer("it answers more than was asked for".to_owned()));
        }
        pieces.push(piece);
    }
    // Of its whole length at once: what grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(length));
    pieces.iter().for_each(|piece| bytes.extend_from_slice(piece));
    Ok(bytes)
}
