//! Carries messages: reads what is secret about a channel when it is needed, and has them sent.
//!
//! On purpose not here: what is told, and the form that a channel gives it.

use super::{OwnHands, environment};
use crate::fault::Fault;
use crate::secrets::Bytes;
use crate::wire_up::{
    Letter, MailServer, Page, PageLine, PageTone, Sender, SentOutcome, Signed, beat, send_mail, send_slack,
    send_webhook,
};
use async_trait::async_trait;
use holdfast_scheduler::alert::digest::{facts, unprotected};
use holdfast_scheduler::alert::{Facts, Laid, Loudness, Message, Outcome, Post, lay};
use holdfast_scheduler::hands::{Hands, Program};
use holdfast_scheduler::policy::secret::SecretRef;
use holdfast_scheduler::policy::{Heartbeat, Mail, Notify, Slack, Webhook};
use holdfast_scheduler::status::Known;
use jiff::Timestamp;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// So long may a program take that tells a message.
const PROGRAM_MAX: Duration = Duration::from_secs(60);

/// Carries messages as this run was asked to.
pub(crate) struct OwnPost {
    hands: OwnHands,
    /// Certificates that are trusted beside the system's.
    trusted: Option<PathBuf>,
    /// The files of all policies of this host, where they are known.
    files: Vec<String>,
}

impl OwnPost {
    pub(crate) fn new(hands: OwnHands, trusted: Option<PathBuf>) -> Self {
        Self { hands, trusted, files: Vec::new() }
    }

    /// Knows all policies of this host by their files: what none of them backs up is told in digests.
    pub(crate) fn of_all(self, files: impl IntoIterator<Item = String>) -> Self {
        Self { files: files.into_iter().collect(), ..self }
    }

    fn sender(&self) -> Result<Sender, Outcome> {
        let network = self.hands.reach.as_ref();
        let network = network.map_err(|fault: &Fault| Outcome::Refused { why: fault.to_string() })?;
        Ok(Sender::new(network.clone()))
    }

    /// What cannot be had now may be had later: a file that is being replaced, a Vault that is sealed.
    fn secret(&self, secret: &SecretRef, what: &str) -> Result<Bytes, Outcome> {
        let read = tokio::task::block_in_place(|| environment::read(secret, what, &self.hands.ours));
        read.map_err(|why| Outcome::TryAgain { why, after: None })
    }

    async fn slack(&self, slack: &Slack, message: &Message) -> Result<Outcome, Outcome> {
        let url = self.secret(&slack.webhook, "the address of the Slack webhook")?;
        Ok(outcome(send_slack(&self.sender()?, text(&url)?, &page(lay(message))).await))
    }

    async fn webhook(
        &self,
        webhook: &Webhook,
        message: &Message,
        now: Timestamp,
    ) -> Result<Outcome, Outcome> {
        let url = self.secret(&webhook.url, "the address of the webhook")?;
        let secret = self.secret(&webhook.secret, "the secret of the webhook")?;
        let body = serde_json::to_string(message).unwrap_or_default();
        let signed = Signed { id: &message.id, timestamp: now.as_second(), body: &body };
        Ok(outcome(send_webhook(&self.sender()?, text(&url)?, text(&secret)?, &signed).await))
    }

    async fn mail(&self, mail: &Mail, message: &Message) -> Result<Outcome, Outcome> {
        let server = MailServer::parse(&mail.server).map_err(|why| Outcome::Never { why })?;
        let password =
            mail.password.as_ref().map(|secret| self.secret(secret, "the password of the mail server"));
        let password = password.transpose()?;
        let password = password.as_ref().map(text).transpose()?;
        let trusted = match &self.trusted {
            Some(path) => Some(std::fs::read(path).map_err(|error| Outcome::TryAgain {
                why: format!("the certificates in {} cannot be read: {error}", path.display()),
                after: None,
            })?),
            None => None,
        };
        let thread = message.fingerprint.as_ref().zip(message.episode);
        let thread = thread.map(|(fingerprint, episode)| format!("{fingerprint}.{episode}"));
        let page = page(lay(message));
        let (sender, to, id) = (&mail.sender, &mail.to, &message.id);
        let letter = Letter { sender, to, id, thread: thread.as_deref(), page: &page };
        Ok(outcome(send_mail(&server, password, trusted.as_deref(), &letter).await))
    }

    async fn program(&self, words: &[String], message: &Message) -> Outcome {
        let program = Program {
            words: words.iter().map(OsString::from).collect(),
            timeout: Some(PROGRAM_MAX),
            input: Some(serde_json::to_vec(message).unwrap_or_default()),
            ..Program::default()
        };
        let name = words.first().map_or("the program", String::as_str);
        // What it says may be anything: only how it ended is told.
        let why = match self.hands.program(program).await {
            Ok(ended) if ended.code == Some(0) => return Outcome::Delivered,
            Ok(ended) if ended.timed_out => format!("{name} took longer than {} s", PROGRAM_MAX.as_secs()),
            Ok(ended) => match ended.code {
                Some(code) => format!("{name} ended with {code}"),
                None => format!("{name} was killed"),
            },
            Err(why) => why,
        };
        Outcome::TryAgain { why, after: None }
    }
}

#[async_trait]
impl Post for OwnPost {
    fn now(&self) -> Timestamp {
        self.hands.now()
    }

    async fn deliver(&self, way: &Notify, message: &Message, now: Timestamp) -> Outcome {
        let told = match way {
            Notify { slack: Some(slack), .. } => self.slack(slack, message).await,
            Notify { webhook: Some(webhook), .. } => self.webhook(webhook, message, now).await,
            Notify { mail: Some(mail), .. } => self.mail(mail, message).await,
            Notify { command, .. } => Ok(self.program(command, message).await),
        };
        told.unwrap_or_else(|outcome| outcome)
    }

    async fn beat(&self, heartbeat: &Heartbeat) -> Outcome {
        let beat = async || -> Result<Outcome, Outcome> {
            let url = self.secret(&heartbeat.url, "the address of the heartbeat")?;
            Ok(outcome(beat(&self.sender()?, text(&url)?).await))
        };
        beat().await.unwrap_or_else(|outcome| outcome)
    }

    async fn facts(&self, known: &Known) -> Facts {
        let facts = facts(&self.hands, known).await;
        match &*self.files {
            [] => facts,
            files => Facts { unprotected: unprotected(&self.hands, files).await, ..facts },
        }
    }
}

fn text(bytes: &Bytes) -> Result<&str, Outcome> {
    std::str::from_utf8(bytes)
        .map_err(|_| Outcome::Refused { why: "what is secret about it is no text".to_owned() })
}

fn outcome(outcome: SentOutcome) -> Outcome {
    match outcome {
        SentOutcome::Delivered => Outcome::Delivered,
        SentOutcome::TryAgain { why, after } => Outcome::TryAgain { why, after },
        SentOutcome::Refused { why } => Outcome::Refused { why },
        SentOutcome::Never { why } => Outcome::Never { why },
    }
}

fn page(laid: Laid) -> Page {
    let tone = match laid.loudness {
        Loudness::Good => PageTone::Good,
        Loudness::Quiet => PageTone::Quiet,
        Loudness::Warning => PageTone::Warning,
        Loudness::High => PageTone::High,
        Loudness::Disaster => PageTone::Disaster,
    };
    let lines =
        laid.lines.into_iter().map(|(label, text)| PageLine { label: label.to_owned(), text }).collect();
    Page { tone, title: laid.title, text: laid.text, lines, foot: laid.foot }
}
