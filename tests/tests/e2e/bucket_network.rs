//! The way to a bucket: certificates of a private authority, proxies, profiles, credentials that
//! expire, clocks that differ.
//!
//! On purpose not here: what a bad network does to requests, which `bucket_trouble` has.

use super::compare::same;
use super::tree::{noise, put};
use super::world::{Word, World, within};
use holdfast_tests::forward::Forward;
use holdfast_tests::proxy::{Fate, Proxy};
use holdfast_tests::tls::Tls;
use holdfast_tests::weed::{ACCESS, BUCKET, SECRET, Weed};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

const INIT: [Word<'static>; 3] = [&"init", &"--kdf-memory", &"1"];

fn at(endpoint: &str, prefix: &str) -> PathBuf {
    PathBuf::from(format!("s3://{BUCKET}/{prefix}?endpoint={endpoint}"))
}

/// A place whose repository is to be in a bucket, and a tree there.
fn place(repo: PathBuf) -> (World, PathBuf) {
    let mut world = World::bare();
    world.repo = repo;
    let tree = world.path("tree");
    put(tree.join("file"), noise(1, 10_000));
    (world, tree)
}

fn with(world: &World, variables: &[(&str, &dyn AsRef<std::ffi::OsStr>)]) -> Command {
    let mut command = world.command();
    for (name, value) in variables {
        command.env(name, value.as_ref());
    }
    command
}

#[test]
fn a_private_authority_is_trusted_by_its_certificate() {
    let weed = Weed::start();
    let tls = Tls::start(&weed.endpoint());
    let (world, tree) = place(at(&tls.endpoint(), "x"));
    let authority = world.path("authority.pem");
    fs::write(&authority, tls.authority()).unwrap();
    world.run(&INIT).ends(1).says(&["is not trusted", "--cacert", "UnknownIssuer"]);
    let cacert: [Word<'_>; 2] = [&"--cacert", &authority];
    world.run(&[&INIT[..], &cacert].concat()).ends(0);
    let mut command = with(&world, &[("AWS_CA_BUNDLE", &authority)]);
    world.run_as(&mut command, &[&"backup", &tree]).ends(0);
    let (what, out) = (within("latest", &tree), world.path("out"));
    world.run(&[&[&"restore" as Word<'_>, &what, &"--target", &out], &cacert[..]].concat()).ends(0);
    same(&tree, &out);
    // A bucket that is backed up, one that is restored to, and a repository to copy from.
    let (bucket, other) = (at(&tls.endpoint(), "objects"), world.path("other"));
    world.run(&[&[&"restore" as Word<'_>, &what, &"--target", &bucket], &cacert[..]].concat()).ends(0);
    world.run(&[&[&"backup" as Word<'_>, &bucket], &cacert[..]].concat()).ends(0);
    world.run(&[&"backup", &bucket, &"-r", &other]).ends(10);
    let init: [Word<'_>; 2] = [&"-r", &other];
    world.run(&[&INIT[..], &init].concat()).ends(0);
    world.run(&[&"backup", &bucket, &"-r", &other]).ends(1).says(&["--cacert"]);
    let mut command = with(&world, &[("HOLDFAST_FROM_PASSWORD", &"correct horse")]);
    let copy: [Word<'_>; 5] = [&"copy", &"-r", &other, &"--from", &world.repo];
    world.run_as(&mut command, &[&copy[..], &cacert].concat()).ends(0);
    // A file that cannot be used is told of before anything is asked.
    let broken = world.path("broken.pem");
    world.run(&[&"snapshots", &"--cacert", &broken]).ends(2).says(&["--cacert", "cannot read"]);
    fs::write(&broken, "no certificate").unwrap();
    let mut command = with(&world, &[("AWS_CA_BUNDLE", &broken)]);
    world.run_as(&mut command, &[&"snapshots"]).ends(2).says(&["AWS_CA_BUNDLE", "no certificate in PEM"]);
    // Who needs no server needs no certificates.
    let mut command = with(&world, &[("AWS_CA_BUNDLE", &broken)]);
    world.run_as(&mut command, &[&"snapshots", &"-r", &other]).ends(0);
}

#[test]
fn proxies_are_gone_through_and_their_passwords_are_not_told() {
    let weed = Weed::start();
    let (forward, tls) = (Forward::start(), Tls::start(&weed.endpoint()));
    let (mut world, tree) = place(at(&weed.endpoint(), "x"));
    let proxy = format!("http://somebody:geheim@{}", forward.authority());
    world.run_as(&mut with(&world, &[("HTTP_PROXY", &proxy)]), &INIT).ends(0);
    let seen = forward.take();
    let absolute = format!(" {}/{BUCKET}", weed.endpoint());
    assert!(seen.len() > 5 && seen.iter().all(|head| head.contains(&absolute)), "{seen:?}");
    let is_basic = |head: &String| head.to_lowercase().contains("proxy-authorization: basic ");
    assert!(seen.iter().all(is_basic), "{seen:?}");
    let around: [(&str, &dyn AsRef<std::ffi::OsStr>); 2] =
        [("HTTP_PROXY", &proxy), ("NO_PROXY", &"localhost, 127.0.0.1")];
    world.run_as(&mut with(&world, &around), &[&"backup", &tree]).ends(0);
    assert_eq!(forward.take(), [""; 0]);
    // What is encrypted goes through a tunnel.
    world.repo = at(&tls.endpoint(), "x");
    let authority = world.path("authority.pem");
    fs::write(&authority, tls.authority()).unwrap();
    let both: [(&str, &dyn AsRef<std::ffi::OsStr>); 2] =
        [("https_proxy", &proxy), ("AWS_CA_BUNDLE", &authority)];
    world.run_as(&mut with(&world, &both), &[&"snapshots"]).ends(0);
    let seen = forward.take();
    let connect = format!("CONNECT {} ", tls.endpoint().trim_start_matches("https://"));
    assert!(!seen.is_empty() && seen.iter().all(|head| head.starts_with(&connect)), "{seen:?}");
    // A proxy that refuses, and what is none.
    world.repo = at(&weed.endpoint(), "x");
    let refusing = Proxy::start("http://127.0.0.1:9", |_| Fate::Refuse(407, "ProxyAuthenticationRequired"));
    let proxy = refusing.endpoint().replace("http://", "http://somebody:geheim@");
    for (value, code) in [(proxy.as_str(), 1), ("socks5://somebody:geheim@127.0.0.1:1080", 2)] {
        let ran = world.run_as(&mut with(&world, &[("HTTP_PROXY", &value)]), &[&"snapshots", &"-v"]);
        let ran = ran.ends(code);
        assert!(!ran.err.contains("geheim") && !ran.out.contains("geheim"), "{ran:?}");
    }
}

#[test]
fn a_profile_in_the_url_goes_before_the_environment() {
    let weed = Weed::start();
    let (mut world, tree) = place(at(&weed.endpoint(), "x"));
    let credentials = world.path("credentials");
    let profile = |name: &str, secret: &str| {
        format!("[{name}]\naws_access_key_id = {ACCESS}\naws_secret_access_key = {secret}\n")
    };
    fs::write(&credentials, profile("right", SECRET) + &profile("wrong", "wrong")).unwrap();
    world.run(&INIT).ends(0);
    let url = world.repo.clone();
    let named = |name: &str| PathBuf::from(format!("{}&profile={name}", url.display()));
    let file: (&str, &dyn AsRef<std::ffi::OsStr>) = ("AWS_SHARED_CREDENTIALS_FILE", &credentials);
    world.repo = named("right");
    let mut command = with(&world, &[file, ("AWS_SECRET_ACCESS_KEY", &"wrong")]);
    world.run_as(&mut command, &[&"backup", &tree]).ends(0);
    world.repo = named("wrong");
    world.run_as(&mut with(&world, &[file]), &[&"snapshots"]).ends(1).says(&["profile="]);
    world.repo = named("missing");
    world.run_as(&mut with(&world, &[file]), &[&"snapshots"]).ends(1).says(&["missing"]);
}

/// A program that gives out credentials for so many seconds, and notes when they expire.
fn process(path: &Path, noted: &Path, seconds: u64) {
    let script = format!(
        "#!/bin/sh\nend=$(( $(date +%s) + {seconds} ))\necho $end >> '{}'\n\
         printf '{{\"Version\":1,\"AccessKeyId\":\"{ACCESS}\",\"SecretAccessKey\":\"{SECRET}\",\"Expiration\":\"%s\"}}' \
         \"$(date -u -d @$end +%Y-%m-%dT%H:%M:%SZ)\"\n",
        noted.display()
    );
    fs::write(path, script).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

#[test]
fn a_run_outlasts_its_credentials() {
    let weed = Weed::start();
    let (mut world, tree) = place(at(&weed.endpoint(), "x"));
    world.run(&INIT).ends(0);
    let (script, noted, config) = (world.path("give"), world.path("noted"), world.path("config"));
    process(&script, &noted, 3);
    fs::write(&config, format!("[profile short]\ncredential_process = {}\n", script.display())).unwrap();
    // Whoever asks with credentials that have expired is refused, and each answer takes its time.
    let expired = noted.clone();
    let proxy = Proxy::start(&weed.endpoint(), move |_| {
        std::thread::sleep(Duration::from_millis(150));
        let noted = fs::read_to_string(&expired).unwrap_or_default();
        let end = noted.lines().last().and_then(|line| line.parse().ok()).unwrap_or(0);
        if now() <= end { Fate::Pass } else { Fate::Refuse(400, "ExpiredToken") }
    });
    world.repo = PathBuf::from(format!("{}&profile=short", at(&proxy.endpoint(), "x").display()));
    for number in 0..6 {
        put(tree.join(format!("large {number}")), noise(number, 20 << 20));
    }
    let file: (&str, &dyn AsRef<std::ffi::OsStr>) = ("AWS_CONFIG_FILE", &config);
    let begun = now();
    world.run_as(&mut with(&world, &[file]), &[&"backup", &tree, &"--pack-size", &"16M"]).ends(0);
    let took = now() - begun;
    let calls = fs::read_to_string(&noted).unwrap().lines().count();
    assert!(took > 3 && calls >= 2, "{calls} calls in {took} s");
    assert_eq!(proxy.disturbed(), 0, "something was asked for with credentials that had expired");
}

#[test]
fn what_was_refused_for_a_clock_or_an_old_token_says_so_in_a_bucket() {
    let (mut world, _) = place(PathBuf::new());
    let clock = Proxy::start("http://127.0.0.1:9", |line| {
        let body =
            "<?xml version=\"1.0\"?><Error><Code>RequestTimeTooSkewed</Code><Message>no</Message></Error>";
        let body = if line.starts_with("HEAD") { "" } else { body };
        Fate::Raw(format!(
            "HTTP/1.1 403 So\r\nDate: Thu, 01 Jan 2015 00:00:00 GMT\r\nContent-Type: application/xml\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        ))
    });
    world.repo = at(&clock.endpoint(), "x");
    let ran = world.run(&[&"snapshots"]).ends(1);
    let ran =
        ran.says(&["RequestTimeTooSkewed", "your clock differs from the server's by", "clock of this host"]);
    assert!(!ran.err.contains("AWS_SECRET"), "{ran:?}");
    let token = Proxy::start("http://127.0.0.1:9", |_| Fate::Refuse(400, "ExpiredToken"));
    world.repo = at(&token.endpoint(), "x");
    world.run(&[&"snapshots"]).ends(1).says(&["ExpiredToken", "get new credentials", "credential_process"]);
}

#[test]
fn a_role_of_a_profile_is_assumed_for_a_bucket() {
    const ANSWER: &str = "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
        <AssumeRoleResult><AssumedRoleUser><AssumedRoleId>a:b</AssumedRoleId><Arn>arn:aws:sts::1:x</Arn>\
        </AssumedRoleUser><Credentials><AccessKeyId>ASSUMED</AccessKeyId><SecretAccessKey>secret</SecretAccessKey>\
        <SessionToken>token</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>\
        </AssumeRoleResult></AssumeRoleResponse>";
    let (mut world, _) = place(PathBuf::new());
    let config = world.path("config");
    let text = format!(
        "[profile base]\naws_access_key_id = {ACCESS}\naws_secret_access_key = {SECRET}\n\
         [profile there]\nrole_arn = arn:aws:iam::1:role/backup\nsource_profile = base\nexternal_id = x\n\
         region = eu-central-1\n"
    );
    fs::write(&config, text).unwrap();
    let heads = Arc::new(Mutex::new([Vec::new(), Vec::new()]));
    let noted = |at: usize, answer: Fate| {
        let heads = Arc::clone(&heads);
        Proxy::start_seeing("http://127.0.0.1:9", move |_, head| {
            heads.lock().unwrap()[at].push(head.to_lowercase());
            answer.clone()
        })
    };
    let said = format!(
        "HTTP/1.1 200 So\r\nContent-Type: text/xml\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{ANSWER}",
        ANSWER.len()
    );
    let (sts, bucket) = (noted(0, Fate::Raw(said)), noted(1, Fate::Refuse(404, "NoSuchKey")));
    world.repo = PathBuf::from(format!("{}&profile=there", at(&bucket.endpoint(), "x").display()));
    let sts = sts.endpoint();
    let variables: [(&str, &dyn AsRef<std::ffi::OsStr>); 3] =
        [("AWS_CONFIG_FILE", &config), ("AWS_ENDPOINT_URL_STS", &sts), ("AWS_ACCESS_KEY_ID", &"environment")];
    world.run_as(&mut with(&world, &variables), &[&"snapshots"]).ends(10);
    let [asked, used] = &*heads.lock().unwrap();
    let base = format!("credential={}/", ACCESS.to_lowercase());
    assert!(!asked.is_empty() && asked.iter().all(|head| head.contains(&base)), "{asked:?}");
    let is_assumed =
        |head: &String| head.contains("credential=assumed/") && head.contains("x-amz-security-token: token");
    assert!(!used.is_empty() && used.iter().all(is_assumed), "{used:?}");
}
