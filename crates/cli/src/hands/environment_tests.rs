//! What children find in their environment.
//!
//! On purpose not here: that they are started with it, which the tests of the program see.

#![expect(clippy::unwrap_used, reason = "a test")]

use super::*;

fn variables(set: &[(&str, &str)]) -> Variables {
    set.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect()
}

fn ours() -> Variables {
    variables(&[
        ("PATH", "/bin"),
        ("HOME", "/root"),
        ("LANG", "C"),
        ("HTTPS_PROXY", "http://proxy:1"),
        ("AWS_ACCESS_KEY_ID", "ambient"),
        ("AWS_SECRET_ACCESS_KEY", "ambient secret"),
        ("AWS_SESSION_TOKEN", "token"),
        ("AWS_CA_BUNDLE", "/ca"),
        ("PGPASSWORD", "of a server"),
        ("HOLDFAST_PASSWORD", "of something else"),
        ("HOLDFAST_NEW_PASSWORD", "x"),
        ("HOLDFAST_FROM_KEY_FILE", "/other"),
        ("HOLDFAST_PG_BIN", "/pg"),
        ("SHOP", "correct"),
        ("EMPTY", ""),
    ])
}

fn place(url: &str, opens: Opens, credentials: Option<Credentials>) -> Place {
    Place { name: "repository".into(), url: url.into(), opens, credentials }
}

fn shop() -> Opens {
    Opens::Password(SecretRef::Env("SHOP".into()))
}

fn access(id: &str) -> Credentials {
    Credentials::AccessKey(AccessKey { id: id.into(), secret: SecretRef::Env("SHOP".into()) })
}

fn value<'a>(set: &'a Variables, name: &str) -> Option<&'a str> {
    set.get(OsStr::new(name)).and_then(|value| value.to_str())
}

#[test]
fn a_verb_finds_its_own_secret_and_no_other() {
    let set = of_verb(&Call::on(&place("/r", shop(), None), ["snapshots"]), &ours()).unwrap();
    let names: Vec<_> = set.keys().filter(|name| name.as_bytes().starts_with(b"HOLDFAST_")).collect();
    assert_eq!(names, ["HOLDFAST_PASSWORD", "HOLDFAST_PG_BIN", "HOLDFAST_REPOSITORY"]);
    assert_eq!((value(&set, "HOLDFAST_PASSWORD"), value(&set, "LANG")), (Some("correct"), Some("C")));
    let key = place("/r", Opens::Key(KeyRef::File("/key".into())), None);
    let call = Call { from: Some(place("/f", shop(), None)), ..Call::on(&key, ["copy"]) };
    let set = of_verb(&call, &ours()).unwrap();
    assert_eq!(value(&set, "HOLDFAST_KEY_FILE"), Some("/key"));
    assert_eq!(value(&set, "HOLDFAST_FROM_PASSWORD"), Some("correct"));
    assert_eq!((value(&set, "HOLDFAST_PASSWORD"), value(&set, "HOLDFAST_FROM_KEY_FILE")), (None, None));
}

#[test]
fn a_bare_verb_finds_nothing_but_the_repository() {
    let call = Call { bare: true, ..Call::on(&place("/r", shop(), None), ["restore"]) };
    let set = of_verb(&call, &ours()).unwrap();
    let names: Vec<_> = set.keys().map(|name| name.to_str().unwrap()).collect();
    let wanted = ["AWS_CA_BUNDLE", "HOLDFAST_PASSWORD", "HOLDFAST_REPOSITORY", "HOME", "HTTPS_PROXY", "PATH"];
    assert_eq!(names, wanted);
    // What opens the bucket is a part of it, and comes from the environment if nobody says otherwise.
    let call = Call { bare: true, ..Call::on(&place("s3://b", shop(), None), ["restore"]) };
    assert_eq!(value(&of_verb(&call, &ours()).unwrap(), "AWS_SESSION_TOKEN"), Some("token"));
    let call = Call { bare: true, ..Call::on(&place("s3://b", shop(), Some(access("own"))), ["restore"]) };
    let set = of_verb(&call, &ours()).unwrap();
    assert_eq!((value(&set, "AWS_ACCESS_KEY_ID"), value(&set, "AWS_SESSION_TOKEN")), (Some("own"), None));
}

#[test]
fn each_bucket_has_keys_of_its_own() {
    let call = Call {
        from: Some(place("s3://from", shop(), None)),
        source: Some(access("source")),
        ..Call::on(&place("s3://r", shop(), Some(access("own"))), ["backup", "s3://media"])
    };
    let set = of_verb(&call, &ours()).unwrap();
    let ids = ["AWS_", "HOLDFAST_SOURCE_AWS_", "HOLDFAST_FROM_AWS_", "HOLDFAST_TARGET_AWS_"];
    let ids = ids.map(|prefix| value(&set, &format!("{prefix}ACCESS_KEY_ID")));
    // The repository's keys are not those of the bucket that is copied from; its own are what was there.
    assert_eq!(ids, [Some("own"), Some("source"), Some("ambient"), Some("ambient")]);
    assert_eq!(value(&set, "AWS_SECRET_ACCESS_KEY"), Some("correct"));
    assert_eq!((value(&set, "AWS_SESSION_TOKEN"), value(&set, "AWS_CA_BUNDLE")), (None, Some("/ca")));
}

#[test]
fn what_is_missing_is_named_and_nothing_is_repeated() {
    let read = |secret: SecretRef| read(&secret, "the password of offsite", &ours());
    let missing = read(SecretRef::Env("NOT_THERE".into())).unwrap_err();
    assert!(missing.contains("NOT_THERE") && missing.contains("offsite"), "{missing}");
    assert!(read(SecretRef::Env("EMPTY".into())).is_err());
    let missing = read(SecretRef::File("/nowhere/at-all".into())).unwrap_err();
    assert!(missing.contains("/nowhere/at-all"), "{missing}");
    let missing = read(SecretRef::Credential("drill".into())).unwrap_err();
    assert!(missing.contains("drill") && missing.contains("CREDENTIALS_DIRECTORY"), "{missing}");
    let words = |words: &[&str]| SecretRef::Command(words.iter().map(|word| (*word).to_owned()).collect());
    assert_eq!(read(words(&["printf", "a $HOME\\n"])).unwrap().as_slice(), b"a $HOME");
    let failed = read(words(&["sh", "-c", "echo hunter2; exit 3"])).unwrap_err();
    assert!(failed.contains("exit status: 3") && !failed.contains("hunter2"), "{failed}");
    assert!(read(words(&["true"])).unwrap_err().contains("empty"));
}

#[test]
fn a_credential_lies_where_systemd_put_it() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("drill"), "secret\n").unwrap();
    let mut ours = ours();
    ours.insert("CREDENTIALS_DIRECTORY".into(), folder.path().into());
    let place = place("/r", Opens::Key(KeyRef::Credential("drill".into())), None);
    let set = of_verb(&Call::on(&place, ["snapshots"]), &ours).unwrap();
    assert_eq!(set[OsStr::new("HOLDFAST_KEY_FILE")], folder.path().join("drill"));
    let bytes = read(&SecretRef::Credential("drill".into()), "it", &ours).unwrap();
    assert_eq!(bytes.as_slice(), b"secret");
    assert!(credential("../drill", &ours).is_err() && credential("other", &ours).is_err());
}

#[test]
fn a_program_of_the_users_finds_no_password_of_ours() {
    let program = Program { env: vec![("HOLDFAST_POLICY".into(), "shop".into())], ..Program::default() };
    let set = of_program(&program, &ours());
    assert_eq!((value(&set, "HOLDFAST_PASSWORD"), value(&set, "HOLDFAST_POLICY")), (None, Some("shop")));
    assert_eq!(value(&set, "PGPASSWORD"), Some("of a server"));
}
