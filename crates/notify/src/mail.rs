//! A mail, handed to a server over SMTP.
//!
//! Its number is in its `Message-ID`, so that a mailbox that gets it twice can tell; mails about one thing
//! refer to one that was never sent, so that they are shown as one thread. On purpose not here: HTML,
//! attachments.

use crate::outcome::Outcome;
use crate::page::{Page, cut};
use crate::smtp::{Server, Way};
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::transport::smtp::{AsyncSmtpTransport, Error};
use lettre::{AsyncTransport, Tokio1Executor};
use std::fmt::Write;
use std::time::Duration;

/// So long may one answer take, and all of it.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(60));
/// Longer subjects are cut by those who show them.
const SUBJECT_MAX: usize = 150;
/// As wide as a text is that is read on any screen.
const LABEL_WIDTH: usize = 8;

/// A mail.
#[derive(Debug, Clone, Copy)]
pub struct Letter<'a> {
    /// From whom.
    pub sender: &'a str,
    /// To whom.
    pub to: &'a [String],
    /// The number of the message, the same in every try.
    pub id: &'a str,
    /// What it is about: the same for all that belong together.
    pub thread: Option<&'a str>,
    /// What it says.
    pub page: &'a Page,
}

/// Sends it. Certificates that are trusted beside the system's are in PEM.
pub async fn send(
    server: &Server,
    password: Option<&str>,
    trusted: Option<&[u8]>,
    letter: &Letter<'_>,
) -> Outcome {
    let message = match message(letter) {
        Ok(message) => message,
        Err(why) => return Outcome::never(why),
    };
    let transport = match transport(server, password, trusted) {
        Ok(transport) => transport,
        Err(why) => return Outcome::never(why),
    };
    let host = &server.host;
    match tokio::time::timeout(PATIENCE.1, transport.send(message)).await {
        Ok(Ok(_)) => Outcome::Delivered,
        Ok(Err(error)) => sorted(host, &error),
        Err(_) => Outcome::again(format!("{host} did not take the mail in {} s", PATIENCE.1.as_secs())),
    }
}

fn transport(
    server: &Server,
    password: Option<&str>,
    trusted: Option<&[u8]>,
) -> Result<AsyncSmtpTransport<Tokio1Executor>, String> {
    let encrypted = || -> Result<TlsParameters, String> {
        let mut builder = TlsParameters::builder(server.host.clone());
        for certificate in trusted.into_iter().flat_map(pieces) {
            let certificate = Certificate::from_pem(certificate.as_bytes());
            builder = builder
                .add_root_certificate(certificate.map_err(|_| "the certificates to trust cannot be read")?);
        }
        builder.build().map_err(|_| "the certificates to trust cannot be used".to_owned())
    };
    let tls = match server.way {
        Way::Encrypted => Tls::Wrapper(encrypted()?),
        Way::Upgraded => Tls::Required(encrypted()?),
        Way::Clear => Tls::None,
    };
    let builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&server.host);
    let builder = builder.port(server.port).tls(tls).timeout(Some(PATIENCE.0));
    Ok(match (&server.user, password) {
        (Some(user), Some(password)) => {
            builder.credentials(Credentials::new(user.clone(), password.to_owned())).build()
        }
        (Some(_), None) => {
            return Err("the mail server has a user and no password: add `password`".to_owned());
        }
        (None, Some(_)) => {
            return Err("the mail server has a password and no user: write smtps://user@host".to_owned());
        }
        (None, None) => builder.build(),
    })
}

/// Each certificate of a file of several.
fn pieces(pem: &[u8]) -> Vec<String> {
    const END: &str = "-----END CERTIFICATE-----";
    let text = String::from_utf8_lossy(pem);
    text.split_inclusive(END).filter(|piece| piece.contains(END)).map(str::to_owned).collect()
}

fn message(letter: &Letter<'_>) -> Result<Message, String> {
    let sender = address(letter.sender)?;
    let domain = sender.email.domain().to_owned();
    let mut builder = Message::builder().from(sender).subject(cut(&letter.page.title, SUBJECT_MAX));
    for to in letter.to {
        builder = builder.to(address(to)?);
    }
    builder = builder.message_id(Some(format!("<{}@holdfast.{domain}>", letter.id)));
    if let Some(thread) = letter.thread {
        builder = builder.references(format!("<{thread}@holdfast.{domain}>"));
    }
    let message = builder.header(ContentType::TEXT_PLAIN).body(text(letter.page));
    let mut message = message.map_err(|error| format!("the mail cannot be written: {error}"))?;
    // So that nobody's absence is answered to it.
    let name = HeaderName::new_from_ascii_str("Auto-Submitted");
    message.headers_mut().insert_raw(HeaderValue::new(name, "auto-generated".to_owned()));
    Ok(message)
}

fn address(text: &str) -> Result<Mailbox, String> {
    text.parse().map_err(|_| format!("{} is no address of a mailbox", cut(text, 80)))
}

/// What stands in the mail.
pub(crate) fn text(page: &Page) -> String {
    let mut text = format!("{}\n", page.title);
    for line in &page.text {
        let _ = write!(text, "\n{line}");
    }
    if !page.text.is_empty() {
        text.push('\n');
    }
    for line in &page.lines {
        let _ = write!(text, "\n{:<LABEL_WIDTH$} {}", line.label, line.text);
    }
    if !page.lines.is_empty() {
        text.push('\n');
    }
    let _ = writeln!(text, "\n-- \n{}", page.foot);
    text
}

/// Sorts what a server said. Its own words may repeat anything: its number is told.
fn sorted(host: &str, error: &Error) -> Outcome {
    let code = error.status().map(|code| format!(" ({code})")).unwrap_or_default();
    match () {
        () if error.is_transient() => Outcome::again(format!("{host} does not take mail now{code}")),
        () if error.is_permanent() && code.contains("53") => Outcome::never(format!(
            "{host} does not let us in{code}: is the user or the password an old one?"
        )),
        () if error.is_permanent() => {
            Outcome::never(format!("{host} refuses the mail{code}: are the addresses right?"))
        }
        () if error.is_client() => Outcome::never(format!(
            "{host} does not offer what is needed: STARTTLS, or a way to log in that is known here"
        )),
        () if error.is_tls() => Outcome::again(format!(
            "the certificate of {host} is not trusted, or the way to it cannot be encrypted; --cacert names one to trust"
        )),
        () if error.is_timeout() => {
            Outcome::again(format!("{host} did not answer in {} s", PATIENCE.0.as_secs()))
        }
        () => Outcome::again(format!("{host} cannot be reached, or hung up")),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;
    use crate::page::{Line, Tone};

    fn page() -> Page {
        Page {
            tone: Tone::High,
            title: "HIGH shop/media is not backed up".to_owned(),
            text: vec!["If it is lost now, 3 days are lost.".to_owned()],
            lines: vec![
                Line { label: "why".to_owned(), text: "GetObject denied".to_owned() },
                Line { label: "restore".to_owned(), text: "holdfast restore latest".to_owned() },
            ],
            foot: "shop · number 00ff".to_owned(),
        }
    }

    #[test]
    fn a_mail_says_what_the_page_says() {
        let wanted = "HIGH shop/media is not backed up\n\nIf it is lost now, 3 days are lost.\n\n\
                      why      GetObject denied\nrestore  holdfast restore latest\n\n-- \nshop · number 00ff\n";
        assert_eq!(text(&page()), wanted);
    }

    #[test]
    fn its_number_and_its_thread_are_in_its_head() {
        let page = page();
        let to = ["Night <night@b.example>".to_owned(), "c@b.example".to_owned()];
        let letter =
            Letter { sender: "holdfast@a.example", to: &to, id: "00ff", thread: Some("aa-1"), page: &page };
        let mail = String::from_utf8(message(&letter).unwrap().formatted()).unwrap();
        for line in [
            "From: holdfast@a.example\r\n",
            "To: Night <night@b.example>, c@b.example\r\n",
            "Subject: HIGH shop/media is not backed up\r\n",
            "Message-ID: <00ff@holdfast.a.example>\r\n",
            "References: <aa-1@holdfast.a.example>\r\n",
            "Auto-Submitted: auto-generated\r\n",
        ] {
            assert!(mail.contains(line), "{line} is not in {mail}");
        }
        // Nobody's text becomes a header.
        let page = Page { title: "x\r\nBcc: all@evil.example".to_owned(), ..page.clone() };
        let mail =
            String::from_utf8(message(&Letter { page: &page, ..letter }).unwrap().formatted()).unwrap();
        let head = mail.split("\r\n\r\n").next().unwrap();
        assert!(!head.lines().any(|line| line.starts_with("Bcc")), "{head}");
        assert!(message(&Letter { sender: "nobody", ..letter }).is_err());
    }
}
