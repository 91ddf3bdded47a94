//! Reading an object that is there.
//!
//! A stretch is read at a time and kept: whoever compares asks for small pieces in order. On purpose
//! not here: what it is compared with.

use super::place::BucketPlace;
use super::shared::lock;
use bytes::Bytes;
use holdfast_engine::target::Present;
use holdfast_store_s3::{About, chain};
use std::io;
use std::sync::Mutex;
use tokio::runtime::Handle;

/// How much is read at once, in bytes.
const STRETCH_BYTES: u64 = 8 << 20;
/// So often the body of an answer is asked for when it breaks off.
const BODIES: usize = 5;

/// An object, pinned to the content that was looked at.
pub(super) struct ThereObject {
    place: BucketPlace,
    handle: Handle,
    name: String,
    etag: Option<String>,
    size: u64,
    /// Where the stretch begins that was read last, and its bytes.
    stretch: Mutex<(u64, Bytes)>,
}

impl ThereObject {
    pub(super) const fn new(
        place: BucketPlace,
        handle: Handle,
        name: String,
        etag: Option<String>,
        size: u64,
    ) -> Self {
        Self { place, handle, name, etag, size, stretch: Mutex::new((0, Bytes::new())) }
    }

    /// Opens an object of which nothing is known. What is small comes with the same answer.
    pub(super) async fn open(place: BucketPlace, handle: Handle, name: String) -> io::Result<Self> {
        let subject = place.subject(&name);
        let about = About { operation: "read", subject: &subject };
        let get = place.client.get_object().bucket(place.bucket()).key(&name);
        let answer = place.ask(&name, get.send()).await.map_err(|absent| {
            let kind = if absent.is_absent() { io::ErrorKind::NotFound } else { io::ErrorKind::Other };
            io::Error::new(kind, chain(&absent.into_error(&about)))
        })?;
        let size = answer.content_length().and_then(|size| u64::try_from(size).ok());
        let size = size.ok_or_else(|| io::Error::other("the server does not say how long it is"))?;
        let mut object = Self::new(place, handle, name, answer.e_tag().map(str::to_owned), size);
        let _waiting = object.place.waiting(&object.name);
        if size <= STRETCH_BYTES
            && let Ok(body) = answer.body.collect().await
        {
            object.stretch = Mutex::new((0, body.into_bytes()));
        }
        Ok(object)
    }

    async fn get(&self, from: u64, length: u64) -> io::Result<Bytes> {
        let subject = self.place.subject(&self.name);
        let about = About { operation: "read", subject: &subject };
        let mut broken = None;
        for _ in 0..BODIES {
            let get = self.place.client.get_object().bucket(self.place.bucket()).key(&self.name);
            let get =
                get.range(format!("bytes={from}-{}", from + length - 1)).set_if_match(self.etag.clone());
            let answer = self.place.ask(&self.name, get.send()).await;
            let answer = answer.map_err(|answer| io::Error::other(chain(&answer.into_error(&about))))?;
            let _waiting = self.place.waiting(&self.name);
            match answer.body.collect().await {
                Ok(body) => {
                    let bytes = body.into_bytes();
                    if bytes.len() as u64 == length {
                        return Ok(bytes);
                    }
                    broken = Some(io::Error::from(io::ErrorKind::UnexpectedEof));
                }
                Err(error) => broken = Some(io::Error::other(format!("read {subject}: {}", chain(&error)))),
            }
        }
        Err(broken.unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into()))
    }
}

impl Present for ThereObject {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(buffer.len() as u64).filter(|end| *end <= self.size);
        let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        let mut stretch = lock(&self.stretch);
        let mut at = offset;
        while at < end {
            let (start, bytes) = &*stretch;
            if at < *start || at >= start + bytes.len() as u64 {
                let length = STRETCH_BYTES.min(self.size - at);
                let read = tokio::task::block_in_place(|| self.handle.block_on(self.get(at, length)))?;
                *stretch = (at, read);
                continue;
            }
            let skipped = (at - start) as usize;
            let length = (bytes.len() - skipped).min((end - at) as usize);
            let into = (at - offset) as usize;
            buffer[into..into + length].copy_from_slice(&bytes[skipped..skipped + length]);
            at += length as u64;
        }
        Ok(())
    }

    /// Objects have no holes: what reads as zeros is as good.
    fn is_hole(&self, offset: u64, length: u64) -> bool {
        let mut buffer = vec![0; (256 << 10).min(usize::try_from(length).unwrap_or(usize::MAX))];
        let Some(end) = offset.checked_add(length) else { return false };
        let mut at = offset;
        while at < end {
            let part = (buffer.len() as u64).min(end - at) as usize;
            let zeros =
                self.read_at(at, &mut buffer[..part]).is_ok() && buffer[..part].iter().all(|byte| *byte == 0);
            if !zeros {
                return false;
            }
            at += part as u64;
        }
        true
    }
}
