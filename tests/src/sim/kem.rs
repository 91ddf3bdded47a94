//! ML-KEM without randomness of its own: stored key pairs, one encapsulation for each.
//!
//! The same seed then gives the same bytes in every process. What is agreed on still differs from
//! session to session, by the X25519 half, whose randomness comes from the seed. On purpose not
//! here: the stored numbers, which are the format's vectors.

use holdfast_core::FormatError;
use holdfast_core::crypto::{
    KemCalls, MLKEM_CIPHERTEXT_BYTES, MLKEM_PUBLIC_BYTES, MlKemEncapsulated, MlKemPair, Secret,
};
use std::cell::Cell;
use std::sync::OnceLock;

struct Stored {
    secret: Vec<u8>,
    public: Vec<u8>,
    ciphertext: Vec<u8>,
    shared: [u8; 32],
}

thread_local! {
    static NEXT: Cell<usize> = const { Cell::new(0) };
}

/// The calls; key pairs are given out from the first one on.
pub(super) fn calls() -> KemCalls {
    NEXT.set(0);
    KemCalls { generate, encapsulate }
}

fn stored() -> &'static [Stored] {
    static STORED: OnceLock<Vec<Stored>> = OnceLock::new();
    STORED.get_or_init(|| {
        let text = include_str!("../../../crates/core/vectors/xwing.json");
        let all: Vec<serde_json::Value> = serde_json::from_str(text).expect("a list of stored keys");
        all.iter()
            .map(|one| {
                let field = |name: &str| bytes(one[name].as_str().expect("hexadecimal"));
                let (mut public, mut ciphertext) = (field("public"), field("ciphertext"));
                public.truncate(MLKEM_PUBLIC_BYTES);
                ciphertext.truncate(MLKEM_CIPHERTEXT_BYTES);
                let shared = field("mlkem_shared").try_into().expect("32 bytes");
                Stored { secret: field("mlkem_secret"), public, ciphertext, shared }
            })
            .collect()
    })
}

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal");
    (0..hex.len()).step_by(2).map(digit).collect()
}

#[expect(clippy::unnecessary_wraps, reason = "the signature is given")]
fn generate() -> Result<MlKemPair, FormatError> {
    let at = NEXT.get();
    NEXT.set(at + 1);
    let one = &stored()[at % stored().len()];
    Ok(MlKemPair { secret: one.secret.clone(), public: one.public.clone() })
}

fn encapsulate(public: &[u8]) -> Result<MlKemEncapsulated, FormatError> {
    let hit = stored().iter().find(|one| one.public == public);
    let one = hit.ok_or(FormatError::Malformed("a stored key"))?;
    Ok(MlKemEncapsulated { ciphertext: one.ciphertext.clone(), secret: Secret::new(one.shared) })
}
