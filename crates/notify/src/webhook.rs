//! A signed request, as the Standard Webhooks specification has it, for which there are libraries in many
//! languages: `webhook-id`, `webhook-timestamp`, and `webhook-signature`, which is `v1,` and in Base64 the
//! HMAC-SHA256 of `id.timestamp.body`.
//!
//! The id is the same in every try of one message: whoever has seen it need not act on it again. The
//! timestamp, in seconds since 1970, is that of the try: what is old can be refused, so that nobody plays
//! a request again. On purpose not here: what the body says.

use crate::ask::{Sender, ask, host};
use crate::outcome::Outcome;
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// What a secret begins with that is written in Base64; any other is taken as it is.
const ENCODED: &str = "whsec_";

/// What is sent.
#[derive(Debug, Clone, Copy)]
pub struct Signed<'a> {
    /// The number of the message, the same in every try.
    pub id: &'a str,
    /// When it is sent, in seconds since 1970.
    pub timestamp: i64,
    /// JSON.
    pub body: &'a str,
}

/// Sends it.
pub async fn send(sender: &Sender, url: &str, secret: &str, signed: &Signed<'_>) -> Outcome {
    let Some(signature) = sign(secret, signed) else {
        return Outcome::refused("the secret of the webhook begins with whsec_ and is not Base64 behind it");
    };
    let timestamp = signed.timestamp.to_string();
    let headers = [
        ("content-type", "application/json"),
        ("user-agent", concat!("holdfast/", env!("CARGO_PKG_VERSION"))),
        ("webhook-id", signed.id),
        ("webhook-timestamp", timestamp.as_str()),
        ("webhook-signature", signature.as_str()),
    ];
    match ask(sender, "POST", url, &headers, signed.body.as_bytes()).await {
        Ok(answer) => Outcome::of(&host(url), answer.status, answer.retry_after.as_deref()),
        Err(outcome) => outcome,
    }
}

/// The signature; none if the secret is said to be Base64 and is not.
#[must_use]
pub fn sign(secret: &str, signed: &Signed<'_>) -> Option<String> {
    let key = match secret.strip_prefix(ENCODED) {
        Some(encoded) => Zeroizing::new(STANDARD.decode(encoded).ok()?),
        None => Zeroizing::new(secret.as_bytes().to_vec()),
    };
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    let text = format!("{}.{}.{}", signed.id, signed.timestamp, signed.body);
    Some(format!("v1,{}", STANDARD.encode(hmac::sign(&key, text.as_bytes()))))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    #[test]
    fn signatures_are_those_of_the_specification() {
        // The vector of the specification's own libraries.
        let signed = Signed {
            id: "msg_p5jXN8AQM9LWM0D4loKWxJek",
            timestamp: 1_614_265_330,
            body: r#"{"test": 2432232314}"#,
        };
        let signature = sign("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", &signed).unwrap();
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        // A secret as it is, computed with Python's hmac.
        let signed = Signed { id: "00ff", timestamp: 1_790_000_000, body: "{}" };
        assert_eq!(
            sign("a plain secret", &signed).unwrap(),
            "v1,S/kmxg7wwmilzVxuqNAfF06kf6vaeBIYG3HLmv8rG9U="
        );
        assert_eq!(sign("whsec_%%%", &signed), None);
    }
}
