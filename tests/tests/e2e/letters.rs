//! Messages on real ways: a webhook that is down for an hour, mail servers of three kinds, TLS by an authority
//! of one's own. The clock is ours, the servers are real.
//!
//! On purpose not here: the program, which is in `alerts`.

use async_trait::async_trait;
use holdfast_notify::{
    Letter, Line, Outcome as Sent, Page, Sender, Server, Signed, Tone, beat, send_mail, send_slack,
    send_webhook, sign,
};
use holdfast_scheduler::alert::{Facts, Message, Outcome, Post, Ticked, tick};
use holdfast_scheduler::catalog::{Catalog, Place};
use holdfast_scheduler::policy::read::parse;
use holdfast_scheduler::policy::{Heartbeat, Notify};
use holdfast_scheduler::status::{Known, Next, Problem, State, Status};
use holdfast_store_s3::Network;
use holdfast_tests::hook::{Hook, Reply};
use holdfast_tests::smtp::{Manners, Smtp};
use holdfast_tests::tls::Tls;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

const SECRET: &str = "a secret of the hook";

/// Sends to one hook, and does not wait for long.
struct Hooked<'a> {
    hook: &'a Hook,
    clock: Mutex<Timestamp>,
    sender: Sender,
}

#[async_trait]
impl Post for Hooked<'_> {
    fn now(&self) -> Timestamp {
        *self.clock.lock().unwrap()
    }

    async fn deliver(&self, _way: &Notify, message: &Message, now: Timestamp) -> Outcome {
        let body = serde_json::to_string(message).unwrap();
        let signed = Signed { id: &message.id, timestamp: now.as_second(), body: &body };
        match send_webhook(&self.sender, &self.hook.url("/in?token=hidden"), SECRET, &signed).await {
            Sent::Delivered => Outcome::Delivered,
            Sent::TryAgain { why, after } => Outcome::TryAgain { why, after },
            Sent::Refused { why } => Outcome::Refused { why },
            Sent::Never { why } => Outcome::Never { why },
        }
    }

    async fn beat(&self, _heartbeat: &Heartbeat) -> Outcome {
        Outcome::Delivered
    }

    async fn facts(&self, _known: &Known) -> Facts {
        Facts::default()
    }
}

fn sender() -> Sender {
    Sender { patience: Duration::from_millis(300), ..Sender::new(Network::default()) }
}

fn known() -> [Known; 1] {
    let text = "name: shop\nrepository: { url: /b, password: { env: X } }\nsources:\n  db: { files: { paths: [/srv] } }\n\
                notify: [ { webhook: { url: { env: U }, secret: { env: S } } } ]\n";
    [Known { policy: parse(text, "shop.yaml").unwrap(), file: "/etc/shop.yaml".to_owned(), since: None }]
}

fn status(now: Timestamp, bad: &[&str]) -> Status {
    let problem = |source: &&str| Problem {
        policy: "shop".to_owned(),
        source: Some((*source).to_owned()),
        copy: None,
        channel: None,
        state: State::High,
        condition: "rpo",
        what: format!("shop/{source} is not backed up."),
        why: "why".to_owned(),
        to_do: "do".to_owned(),
        do_not: "do not".to_owned(),
        restore: "restore".to_owned(),
    };
    Status {
        now,
        sources: vec![],
        copies: vec![],
        slots: vec![],
        holds: vec![],
        next: vec![Next { policy: "shop".to_owned(), run: None, drill: None, readable: true }],
        channels: vec![],
        silences: vec![],
        problems: bad.iter().map(problem).collect(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_is_down_for_an_hour_loses_nothing_and_gets_nothing_twice() {
    let hook = Hook::start();
    let folder = tempfile::tempdir().unwrap();
    let catalog = Catalog::open(&Place::File(folder.path().join("catalog.sqlite"))).await.unwrap();
    let mut now: Timestamp = "2026-11-26T00:00:00Z".parse().unwrap();
    let (post, known) = (Hooked { hook: &hook, clock: Mutex::new(now), sender: sender() }, known());
    let mut look = async |bad: &[&str], reply: Reply| -> Ticked {
        now = now.checked_add(SignedDuration::from_mins(1)).unwrap();
        *post.clock.lock().unwrap() = now;
        hook.answers(reply);
        tick(&post, &catalog, &known, &status(now, bad), now).await
    };
    let down =
        [Reply::Status(500), Reply::Close, Reply::Wait(120), Reply::Hang, Reply::Cut, Reply::Status(503)];
    let mut troubles = BTreeSet::new();
    for minute in 0..60 {
        // Things go wrong and get well again meanwhile: each has to be told, of each thing in order.
        let bad: &[&str] = match minute {
            0..20 => &["db"],
            20..40 => &["db", "tree"],
            _ => &["tree"],
        };
        let ticked = look(bad, down[minute % down.len()]).await;
        assert_eq!(ticked.delivered, 0);
        troubles.extend(ticked.troubles);
    }
    let shown = troubles.iter().cloned().collect::<String>();
    assert!(!shown.contains("hidden") && !shown.contains(SECRET), "{shown}");
    for _ in 0..20 {
        look(&["tree"], Reply::Status(200)).await;
    }
    let requests = hook.requests();
    let is_taken = |reply: Reply| reply == Reply::Status(200);
    let taken: Vec<_> = requests.iter().filter(|request| is_taken(request.reply)).collect();
    let told: Vec<String> = taken
        .iter()
        .map(|request| {
            let message = request.json();
            format!("{} {}", message["source"].as_str().unwrap(), message["event"].as_str().unwrap())
        })
        .collect();
    let of = |source: &str| -> Vec<&str> {
        told.iter().map(String::as_str).filter(|one| one.starts_with(source)).collect()
    };
    assert_eq!((of("db"), of("tree").len()), (vec!["db opened", "db resolved"], 1), "{told:?}");
    let ids: BTreeSet<&str> = taken.iter().map(|request| request.headers["webhook-id"].as_str()).collect();
    assert_eq!(ids.len(), taken.len(), "a message was taken twice");
    // Every way to fail was met, and the patience grew: not once a minute.
    let failed = requests.len() - taken.len();
    assert!((3..30).contains(&failed), "{failed}");
    for request in &requests {
        let (id, time) =
            (&request.headers["webhook-id"], request.headers["webhook-timestamp"].parse().unwrap());
        let signed = Signed { id, timestamp: time, body: &request.body };
        assert_eq!(request.headers["webhook-signature"], sign(SECRET, &signed).unwrap());
        assert_eq!(request.json()["id"], **id);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_way_to_fail_is_told_for_what_it_is() {
    let hook = Hook::start();
    let url = hook.url("/services/T0/B0/hidden");
    let page = page();
    for (reply, again, word) in [
        (Reply::Status(500), true, "in trouble (500)"),
        (Reply::Wait(7), true, "too often (429)"),
        (Reply::Hang, true, "did not answer in"),
        (Reply::Close, true, "does not answer"),
        (Reply::Cut, true, "does not answer"),
        (Reply::Status(404), false, "does not know that address (404)"),
        (Reply::Status(302), false, "points elsewhere"),
        (Reply::Status(410), false, "does not know that address (410)"),
        (Reply::Status(400), false, "refuses the message (400)"),
    ] {
        hook.answers(reply);
        match send_slack(&sender(), &url, &page).await {
            Sent::TryAgain { why, after } => {
                assert!(again && why.contains(word) && !why.contains("hidden"), "{reply:?}: {why}");
                assert_eq!(after, (reply == Reply::Wait(7)).then(|| Duration::from_secs(7)));
            }
            Sent::Refused { why } | Sent::Never { why } => {
                assert!(!again && why.contains(word) && !why.contains("hidden"), "{reply:?}: {why}");
            }
            Sent::Delivered => panic!("{reply:?}"),
        }
    }
    hook.answers(Reply::Status(204));
    assert_eq!(beat(&sender(), &hook.url("/ping")).await, Sent::Delivered);
    assert_eq!(hook.requests().last().unwrap().line, "GET /ping HTTP/1.1");
    // Nobody is there any more.
    drop(hook);
    assert!(matches!(send_slack(&sender(), &url, &page).await, Sent::TryAgain { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_of_ones_own_is_trusted_where_it_is_named() {
    let hook = Hook::start();
    let tls = Tls::start(&hook.url(""));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, tls.authority()).unwrap();
    let url = format!("{}/in", tls.endpoint());
    // It may take its time on a busy machine; nobody is waited for here that does not answer.
    let patient = |network: Network| Sender { patience: Duration::from_secs(60), network };
    let trusting = patient(Network::new(Some(&file), []).unwrap());
    assert_eq!(send_slack(&trusting, &url, &page()).await, Sent::Delivered);
    assert!(matches!(send_slack(&patient(Network::default()), &url, &page()).await, Sent::TryAgain { .. }));
    assert_eq!(hook.requests().len(), 1);
    let text = &hook.requests()[0].json()["blocks"][0]["text"]["text"];
    assert_eq!(text, ":red_circle: HIGH shop/db is not backed up");
}

fn page() -> Page {
    Page {
        tone: Tone::High,
        title: "HIGH shop/db is not backed up".to_owned(),
        text: vec![],
        lines: vec![Line { label: "why".to_owned(), text: "nobody knows".to_owned() }],
        foot: "shop".to_owned(),
    }
}

async fn mail(server: &str, password: Option<&str>, trusted: Option<&str>) -> Sent {
    let (page, to) = (page(), ["night@b.example".to_owned()]);
    let letter = Letter { sender: "holdfast@a.example", to: &to, id: "00ff", thread: None, page: &page };
    let server = Server::parse(server).unwrap();
    send_mail(&server, password, trusted.map(str::as_bytes), &letter).await
}

/// Sends one to several, in the clear.
async fn mail_to(smtp: &Smtp, id: &str, to: &[&str]) -> Sent {
    let (page, to): (_, Vec<String>) = (page(), to.iter().map(|to| (*to).to_owned()).collect());
    let letter = Letter { sender: "holdfast@a.example", to: &to, id, thread: None, page: &page };
    let server = Server::parse(&format!("smtp://127.0.0.1:{}", smtp.port())).unwrap();
    send_mail(&server, None, None, &letter).await
}

const ALL: [&str; 3] = ["gone@b.example", "night@b.example", "day@b.example"];

#[tokio::test(flavor = "multi_thread")]
async fn a_mailbox_that_is_gone_keeps_the_mail_from_nobody_else() {
    let smtp = Smtp::start(Manners::default());
    smtp.refuses(&[(ALL[0], 550)]);
    assert_eq!(mail_to(&smtp, "gone-1", &ALL).await, Sent::Delivered);
    let mails = smtp.mails();
    assert_eq!((mails.len(), &mails[0].to[..]), (1, &ALL.map(str::to_owned)[1..]));
    // They read who did not get it.
    let text = mails[0].text.replace("=\r\n", "");
    assert!(text.contains("not told gone@b.example was refused this mail (550)"), "{text}");
    smtp.refuses(&ALL.map(|mailbox| (mailbox, 550)));
    assert!(refused(mail_to(&smtp, "gone-2", &ALL).await).contains("(550)"));
    smtp.refuses(&[(ALL[0], 550), (ALL[1], 451), (ALL[2], 550)]);
    assert!(matches!(mail_to(&smtp, "gone-3", &ALL).await, Sent::TryAgain { .. }));
    assert_eq!(smtp.mails().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_has_it_never_gets_it_twice_for_the_sake_of_another() {
    let smtp = Smtp::start(Manners::default());
    smtp.refuses(&[(ALL[0], 550), (ALL[2], 451)]);
    assert_eq!(mail_to(&smtp, "full-1", &ALL).await, Sent::Delivered);
    let mails = smtp.mails();
    assert_eq!((mails.len(), mails[0].to.join(" ")), (1, ALL[1].to_owned()));
    let text = mails[0].text.replace("=\r\n", "");
    assert!(text.contains("day@b.example did not take this mail (451)"), "{text}");
    // Where nobody has it, all are asked again.
    smtp.refuses(&ALL.map(|mailbox| (mailbox, 451)));
    assert!(matches!(mail_to(&smtp, "full-2", &ALL).await, Sent::TryAgain { .. }));
    smtp.refuses(&[]);
    assert_eq!(mail_to(&smtp, "full-2", &ALL).await, Sent::Delivered);
    assert_eq!(smtp.mails()[1].to, ALL.map(str::to_owned));
}

fn refused(sent: Sent) -> String {
    match sent {
        Sent::Refused { why } => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_goes_by_starttls_where_somebody_logs_in() {
    let login = Some(("me".to_owned(), "a password".to_owned()));
    let smtp = Smtp::start(Manners { upgrades: true, login, refuses: None });
    let (server, ca) = (format!("smtp://me@127.0.0.1:{}", smtp.port()), Some(smtp.authority()));
    assert_eq!(mail(&server, Some("a password"), ca).await, Sent::Delivered);
    let mails = smtp.mails();
    assert_eq!(mails.len(), 1);
    let one = &mails[0];
    assert!(one.upgraded && one.logged_in, "{one:?}");
    assert_eq!(
        (one.from.as_str(), one.to.as_slice()),
        ("holdfast@a.example", &["night@b.example".to_owned()][..])
    );
    assert!(
        one.text.contains("Subject: HIGH shop/db is not backed up\r\n") && one.text.contains("nobody knows")
    );
    let why = refused(mail(&server, Some("another"), ca).await);
    assert!(why.contains("does not let us in (535)") && !why.contains("another"), "{why}");
    assert!(refused(mail(&server, None, ca).await).contains("no password"));
    // Whose certificate nobody vouches for hears no password.
    assert!(matches!(mail(&server, Some("a password"), None).await, Sent::TryAgain { .. }));
    assert_eq!(smtp.mails().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_logs_in_in_the_clear() {
    let login = Some(("me".to_owned(), "a password".to_owned()));
    let smtp = Smtp::start(Manners { upgrades: false, login, refuses: None });
    let server = format!("smtp://me@127.0.0.1:{}", smtp.port());
    let why = refused(mail(&server, Some("a password"), None).await);
    assert!(why.contains("STARTTLS"), "{why}");
    assert!(smtp.mails().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_goes_encrypted_from_the_first_byte_on_and_in_the_clear_on_this_host_alone() {
    let smtp = Smtp::start(Manners::default());
    let clear = format!("smtp://127.0.0.1:{}", smtp.port());
    assert_eq!(mail(&clear, None, None).await, Sent::Delivered);
    let tls = Tls::start(&format!("http://127.0.0.1:{}", smtp.port()));
    let encrypted = tls.endpoint().replace("https://", "smtps://");
    assert_eq!(mail(&encrypted, None, Some(tls.authority())).await, Sent::Delivered);
    assert!(matches!(mail(&encrypted, None, None).await, Sent::TryAgain { .. }));
    assert_eq!(smtp.mails().len(), 2);
    let busy = Smtp::start(Manners { refuses: Some(451), ..Manners::default() });
    assert!(matches!(
        mail(&format!("smtp://127.0.0.1:{}", busy.port()), None, None).await,
        Sent::TryAgain { .. }
    ));
    let strict = Smtp::start(Manners { refuses: Some(550), ..Manners::default() });
    assert!(
        refused(mail(&format!("smtp://127.0.0.1:{}", strict.port()), None, None).await).contains("(550)")
    );
    drop(strict);
    assert!(matches!(mail("smtp://127.0.0.1:1", None, None).await, Sent::TryAgain { .. }));
}
