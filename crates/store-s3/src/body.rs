//! The body of an answer: whole or not at all, and in time.
//!
//! A server that sends a byte now and then would be waited for without end: the client library is
//! content with one byte a second. On purpose not here: asking again for what broke off.

use crate::error::chain;
use aws_sdk_s3::primitives::ByteStream;
use bytes::{Bytes, BytesMut};
use std::time::Duration;

/// A body may take so long, whatever its length,
const PATIENCE: Duration = Duration::from_secs(60);
/// and a second more for each so many bytes.
const BYTES_A_SECOND: u64 = 8 << 10;
/// What a body may take whose length the server does not state, in bytes.
const UNSTATED: u64 = 8 << 20;

/// Reads a body to its end, which has to be where the server said.
///
/// # Errors
/// It breaks off, or takes too long; in words.
pub async fn whole(mut stream: ByteStream, stated: Option<u64>) -> Result<Bytes, String> {
    let length = usize::try_from(stated.unwrap_or_default()).unwrap_or_default();
    let mut content = BytesMut::with_capacity(length.min(UNSTATED as usize));
    let read = async {
        while let Some(part) = stream.next().await {
            content.extend_from_slice(&part.map_err(|error| chain(&error))?);
            if stated.is_some_and(|stated| content.len() as u64 > stated) {
                break;
            }
        }
        Ok::<_, String>(())
    };
    let limit = limit(stated.unwrap_or(UNSTATED));
    let read = tokio::time::timeout(limit, read).await;
    read.map_err(|_| format!("the answer took longer than {} s", limit.as_secs()))??;
    match stated {
        Some(stated) if content.len() as u64 != stated => {
            Err(format!("{} of {stated} bytes came", content.len()))
        }
        _ => Ok(content.freeze()),
    }
}

fn limit(length: u64) -> Duration {
    PATIENCE + Duration::from_secs(length / BYTES_A_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bytes: &'static [u8], stated: Option<u64>) -> Result<Bytes, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(whole(ByteStream::from_static(bytes), stated))
    }

    #[test]
    fn a_body_ends_where_it_was_stated() {
        assert_eq!(of(b"abc", Some(3)), Ok(Bytes::from_static(b"abc")));
        assert_eq!(of(b"abc", None), Ok(Bytes::from_static(b"abc")));
        assert_eq!(of(b"", Some(0)), Ok(Bytes::new()));
        assert!(of(b"abc", Some(4)).is_err_and(|text| text == "3 of 4 bytes came"));
        assert!(of(b"abc", Some(2)).is_err());
    }

    #[test]
    fn what_is_long_may_take_long() {
        assert_eq!(limit(0), PATIENCE);
        assert_eq!(limit(8 << 20), Duration::from_secs(60 + 1024));
    }
}
