//! A mail, handed to a server over SMTP.
//!
//! Its number is in its `Message-ID`, so that a mailbox that gets it twice can tell; mails about one thing
//! refer to one that was never sent, so that they are shown as one thread. Each mailbox is offered it by itself: one that
//! is refused keeps it from nobody else, who read in it who did not get it. It is delivered if one mailbox has it: were it
//! tried again for the sake of another, those who have it would get it once more with each try, as another process does
//! not know who they are. On purpose not here: HTML, attachments.

use crate::outcome::Outcome;
use crate::page::{Line, Page, cut};
use crate::smtp::{Server, Way};
use lettre::Address;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message};
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::{ClientId, Extension, MailBodyParameter, MailParameter};
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
    let ready = || -> Result<_, String> { Ok((parties(letter)?, access(server, password, trusted)?)) };
    let (parties, access) = match ready() {
        Ok(ready) => ready,
        Err(why) => return Outcome::refused(why),
    };
    let host = &server.host;
    let done = hand_over(server, &access, letter, &parties);
    match tokio::time::timeout(PATIENCE.1, done).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(error)) => sorted(host, &error),
        Err(_) => Outcome::again(format!("{host} did not take the mail in {} s", PATIENCE.1.as_secs())),
    }
}

/// From whom to whom.
struct Parties {
    sender: Mailbox,
    to: Vec<Mailbox>,
}

fn parties(letter: &Letter<'_>) -> Result<Parties, String> {
    let to: Vec<_> = letter.to.iter().map(|to| address(to)).collect::<Result<_, _>>()?;
    if to.is_empty() {
        return Err("there is no mailbox to send the mail to".to_owned());
    }
    Ok(Parties { sender: address(letter.sender)?, to })
}

/// How a server is gone to: encrypted, and as whom.
struct Access {
    encrypted: Option<TlsParameters>,
    user: Option<Credentials>,
}

fn access(server: &Server, password: Option<&str>, trusted: Option<&[u8]>) -> Result<Access, String> {
    let encrypted = match server.way {
        Way::Encrypted | Way::Upgraded => Some(encryption(server, trusted)?),
        Way::Clear => None,
    };
    let user = match (&server.user, password) {
        (Some(user), Some(password)) => Some(Credentials::new(user.clone(), password.to_owned())),
        (Some(_), None) => {
            return Err("the mail server has a user and no password: add `password`".to_owned());
        }
        (None, Some(_)) => {
            return Err("the mail server has a password and no user: write smtps://user@host".to_owned());
        }
        (None, None) => None,
    };
    Ok(Access { encrypted, user })
}

fn encryption(server: &Server, trusted: Option<&[u8]>) -> Result<TlsParameters, String> {
    let mut builder = TlsParameters::builder(server.host.clone());
    for certificate in trusted.into_iter().flat_map(pieces) {
        let certificate = Certificate::from_pem(certificate.as_bytes());
        builder = builder
            .add_root_certificate(certificate.map_err(|_| "the certificates to trust cannot be read")?);
    }
    builder.build().map_err(|_| "the certificates to trust cannot be used".to_owned())
}

async fn connect(server: &Server, access: &Access) -> Result<AsyncSmtpConnection, Error> {
    let (place, us) = ((server.host.as_str(), server.port), ClientId::default());
    let first = access.encrypted.clone().filter(|_| server.way == Way::Encrypted);
    let mut connection =
        AsyncSmtpConnection::connect_tokio1(place, Some(PATIENCE.0), &us, first, None).await?;
    if let Some(encrypted) = access.encrypted.clone().filter(|_| server.way == Way::Upgraded) {
        connection.starttls(encrypted, &us).await?;
    }
    if let Some(user) = &access.user {
        connection.auth(DEFAULT_MECHANISMS, user).await?;
    }
    Ok(connection)
}

async fn hand_over(
    server: &Server,
    access: &Access,
    letter: &Letter<'_>,
    parties: &Parties,
) -> Result<Outcome, Error> {
    let mut connection = connect(server, access).await?;
    let done = talk(&mut connection, &server.host, letter, parties).await;
    connection.abort().await;
    done
}

/// A mailbox that did not take it.
struct Refusal<'a> {
    mailbox: &'a Address,
    error: Error,
}

async fn talk(
    connection: &mut AsyncSmtpConnection,
    host: &str,
    letter: &Letter<'_>,
    parties: &Parties,
) -> Result<Outcome, Error> {
    let options = options(connection, parties);
    connection.command(Mail::new(Some(parties.sender.email.clone()), options)).await?;
    let (mut takers, mut refusals) = (0, Vec::new());
    for mailbox in parties.to.iter().map(|to| &to.email) {
        match connection.command(Rcpt::new(mailbox.clone(), vec![])).await {
            Ok(_) => takers += 1,
            // An answer, and a bad one: the next may be better.
            Err(error) if error.status().is_some() => refusals.push(Refusal { mailbox, error }),
            Err(error) => return Err(error),
        }
    }
    if takers > 0 {
        let message = match message(letter, parties, &refusals) {
            Ok(message) => message.formatted(),
            Err(why) => return Ok(Outcome::never(why)),
        };
        connection.command(Data).await?;
        connection.message(&message).await?;
    }
    Ok(judged(host, takers, &refusals))
}

/// What the server has to know before. Where it does not know what an address in other letters than ASCII is, it says
/// so when it hears one.
fn options(connection: &AsyncSmtpConnection, parties: &Parties) -> Vec<MailParameter> {
    let knows = |extension| connection.server_info().supports_feature(extension);
    let all = std::iter::once(&parties.sender).chain(&parties.to);
    let is_plain = all.map(|mailbox| &mailbox.email).all(|address| AsRef::<str>::as_ref(address).is_ascii());
    let mut options = Vec::new();
    if !is_plain && knows(Extension::SmtpUtfEight) {
        options.push(MailParameter::SmtpUtfEight);
    }
    if knows(Extension::EightBitMime) {
        options.push(MailParameter::Body(MailBodyParameter::EightBitMime));
    }
    options
}

/// What follows where so many have it and others refused it.
fn judged(host: &str, have: usize, refusals: &[Refusal<'_>]) -> Outcome {
    let patient = refusals.iter().find(|refusal| refusal.error.is_transient());
    match patient.or(refusals.first()) {
        Some(refusal) if have == 0 => sorted(host, &refusal.error),
        _ => Outcome::Delivered,
    }
}

/// Each certificate of a file of several.
fn pieces(pem: &[u8]) -> Vec<String> {
    const END: &str = "-----END CERTIFICATE-----";
    let text = String::from_utf8_lossy(pem);
    text.split_inclusive(END).filter(|piece| piece.contains(END)).map(str::to_owned).collect()
}

fn message(letter: &Letter<'_>, parties: &Parties, refusals: &[Refusal<'_>]) -> Result<Message, String> {
    let Parties { sender, to } = parties;
    let domain = sender.email.domain().to_owned();
    let mut builder = Message::builder().from(sender.clone()).subject(cut(&letter.page.title, SUBJECT_MAX));
    for to in to {
        builder = builder.to(to.clone());
    }
    builder = builder.message_id(Some(format!("<{}@holdfast.{domain}>", letter.id)));
    if let Some(thread) = letter.thread {
        builder = builder.references(format!("<{thread}@holdfast.{domain}>"));
    }
    let mut page = letter.page.clone();
    page.lines.extend(refusals.iter().map(missed));
    let message = builder.header(ContentType::TEXT_PLAIN).body(text(&page));
    let mut message = message.map_err(|error| format!("the mail cannot be written: {error}"))?;
    // So that nobody's absence is answered to it.
    let name = HeaderName::new_from_ascii_str("Auto-Submitted");
    message.headers_mut().insert_raw(HeaderValue::new(name, "auto-generated".to_owned()));
    Ok(message)
}

/// Who did not get it. All who read this stand beside in its head.
fn missed(refusal: &Refusal<'_>) -> Line {
    let (mailbox, code) = (refusal.mailbox, code(&refusal.error));
    let text = match refusal.error.is_transient() {
        true => format!("{mailbox} did not take this mail{code}: is it full?"),
        false => format!("{mailbox} was refused this mail{code}: is there still such a mailbox?"),
    };
    Line { label: "not told".to_owned(), text }
}

/// The number that a server answered with.
fn code(error: &Error) -> String {
    error.status().map(|code| format!(" ({code})")).unwrap_or_default()
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
    let code = code(error);
    match () {
        () if error.is_transient() => Outcome::again(format!("{host} does not take mail now{code}")),
        () if error.is_permanent() && code.contains("53") => Outcome::refused(format!(
            "{host} does not let us in{code}: is the user or the password an old one?"
        )),
        () if error.is_permanent() => {
            Outcome::refused(format!("{host} refuses the mail{code}: are the addresses right?"))
        }
        () if error.is_client() => Outcome::refused(format!(
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

    fn written(letter: &Letter<'_>) -> String {
        let message = message(letter, &parties(letter).unwrap(), &[]).unwrap();
        String::from_utf8(message.formatted()).unwrap()
    }

    #[test]
    fn its_number_and_its_thread_are_in_its_head() {
        let page = page();
        let to = ["Night <night@b.example>".to_owned(), "c@b.example".to_owned()];
        let letter =
            Letter { sender: "holdfast@a.example", to: &to, id: "00ff", thread: Some("aa-1"), page: &page };
        let mail = written(&letter);
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
        let mail = written(&Letter { page: &page, ..letter });
        let head = mail.split("\r\n\r\n").next().unwrap();
        assert!(!head.lines().any(|line| line.starts_with("Bcc")), "{head}");
        assert!(parties(&Letter { sender: "nobody", ..letter }).is_err());
    }
}
