//! What children find in their environment.
//!
//! On purpose not here: that they are started with it, which the tests of the program see.

#![expect(clippy::unwrap_used, reason = "a test")]

use super::*;
use crate::wire_up::Network;
use holdfast_scheduler::serve::policies::{File, Policies};

fn variables(set: &[(&str, &str)]) -> Variables {
    set.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect()
}

fn ours() -> Ours {
    with_taken(&[])
}

fn with_taken(taken: &[&str]) -> Ours {
    let taken = taken.iter().map(OsString::from).collect();
    Ours { variables: around(), taken, reach: Ok(Network::default()) }
}

/// All that a verb comes to know, by whatever way; secrets have a mark.
fn told_to(call: &Call, ours: &Ours) -> Variables {
    let (mut set, handed) = of_verb(call, ours).unwrap();
    for (name, value) in handed {
        let marked = format!("handed: {}", str::from_utf8(&value).unwrap());
        assert_eq!(set.insert(name.into(), marked.into()), None);
    }
    set
}

fn around() -> Variables {
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
        ("VAULT_TOKEN", "of the person"),
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
fn a_verb_is_handed_its_own_secret_and_no_other() {
    let set = told_to(&Call::on(&place("/r", shop(), None), ["snapshots"]), &ours());
    let names: Vec<_> = set.keys().filter(|name| name.as_bytes().starts_with(b"HOLDFAST_")).collect();
    assert_eq!(names, ["HOLDFAST_PASSWORD", "HOLDFAST_PG_BIN", "HOLDFAST_REPOSITORY"]);
    assert_eq!((value(&set, "HOLDFAST_PASSWORD"), value(&set, "LANG")), (Some("handed: correct"), Some("C")));
    let key = place("/r", Opens::Key(KeyRef::File("/key".into())), None);
    let call = Call { from: Some(place("/f", shop(), None)), ..Call::on(&key, ["copy"]) };
    let set = told_to(&call, &ours());
    assert_eq!(value(&set, "HOLDFAST_KEY_FILE"), Some("/key"));
    assert_eq!(value(&set, "HOLDFAST_FROM_PASSWORD"), Some("handed: correct"));
    assert_eq!((value(&set, "HOLDFAST_PASSWORD"), value(&set, "HOLDFAST_FROM_KEY_FILE")), (None, None));
}

#[test]
fn no_secret_is_in_the_environment_of_a_verb() {
    let ours = with_taken(&["SHOP", "PGPASSWORD"]);
    let call = Call {
        source: Some(access("source")),
        ..Call::on(&place("s3://r", shop(), Some(access("own"))), ["backup", "s3://media"])
    };
    let (set, handed) = of_verb(&call, &ours).unwrap();
    let secrets =
        ["correct", "ambient secret", "token", "of a server", "of the person", "of something else", "x"];
    for (name, value) in &set {
        assert!(!secrets.iter().any(|secret| value == secret), "{}", name.display());
    }
    // What a person has for herself reaches her programs all the same, but for what a policy took.
    assert_eq!(handed["VAULT_TOKEN"].as_slice(), b"of the person");
    assert_eq!(handed[TAKEN].as_slice(), b"PGPASSWORD");
    assert_eq!(value(&told_to(&call, &ours), "SHOP"), None);
}

#[test]
fn a_bare_verb_finds_nothing_but_the_repository() {
    let call = Call { bare: true, ..Call::on(&place("/r", shop(), None), ["restore"]) };
    let set = told_to(&call, &ours());
    let names: Vec<_> = set.keys().map(|name| name.to_str().unwrap()).collect();
    let wanted = ["AWS_CA_BUNDLE", "HOLDFAST_PASSWORD", "HOLDFAST_REPOSITORY", "HOME", "HTTPS_PROXY", "PATH"];
    assert_eq!(names, wanted);
    // What opens the bucket is a part of it, and comes from the environment if nobody says otherwise.
    let call = Call { bare: true, ..Call::on(&place("s3://b", shop(), None), ["restore"]) };
    assert_eq!(value(&told_to(&call, &ours()), "AWS_SESSION_TOKEN"), Some("handed: token"));
    let call = Call { bare: true, ..Call::on(&place("s3://b", shop(), Some(access("own"))), ["restore"]) };
    let set = told_to(&call, &ours());
    assert_eq!(
        (value(&set, "HOLDFAST_AWS_ACCESS_KEY_ID"), value(&set, "AWS_SESSION_TOKEN")),
        (Some("own"), None)
    );
}

#[test]
fn each_bucket_has_keys_of_its_own() {
    let call = Call {
        from: Some(place("s3://from", shop(), None)),
        source: Some(access("source")),
        ..Call::on(&place("s3://r", shop(), Some(access("own"))), ["backup", "s3://media"])
    };
    let set = told_to(&call, &ours());
    let prefixes = ["HOLDFAST_AWS_", "HOLDFAST_SOURCE_AWS_", "HOLDFAST_FROM_AWS_", "AWS_"];
    let ids = prefixes.map(|prefix| value(&set, &format!("{prefix}ACCESS_KEY_ID")));
    // The repository's keys are not those of the bucket that is copied from; its own are what was there.
    assert_eq!(ids, [Some("own"), Some("source"), None, Some("ambient")]);
    let keys = prefixes.map(|prefix| value(&set, &format!("{prefix}SECRET_ACCESS_KEY")));
    let correct = Some("handed: correct");
    assert_eq!(keys, [correct, correct, None, Some("handed: ambient secret")]);
    assert_eq!(value(&set, "AWS_CA_BUNDLE"), Some("/ca"));
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
    ours.variables.insert("CREDENTIALS_DIRECTORY".into(), folder.path().into());
    let place = place("/r", Opens::Key(KeyRef::Credential("drill".into())), None);
    let (set, _) = of_verb(&Call::on(&place, ["snapshots"]), &ours).unwrap();
    assert_eq!(set[OsStr::new("HOLDFAST_KEY_FILE")], folder.path().join("drill"));
    let bytes = read(&SecretRef::Credential("drill".into()), "it", &ours).unwrap();
    assert_eq!(bytes.as_slice(), b"secret");
    assert!(ours.credential("../drill").is_err() && ours.credential("other").is_err());
}

#[test]
fn a_program_of_the_users_finds_no_password_of_ours() {
    let program = Program { env: vec![("HOLDFAST_POLICY".into(), "shop".into())], ..Program::default() };
    let set = of_program(&program, &ours());
    assert_eq!((value(&set, "HOLDFAST_PASSWORD"), value(&set, "HOLDFAST_POLICY")), (None, Some("shop")));
    // What is the person's own reaches her programs, but not what a policy takes its secrets from.
    assert_eq!((value(&set, "PGPASSWORD"), value(&set, "SHOP")), (Some("of a server"), Some("correct")));
    let set = of_program(&program, &with_taken(&["SHOP", "PGPASSWORD"]));
    assert_eq!((value(&set, "PGPASSWORD"), value(&set, "SHOP")), (None, None));
}

/// What a job comes to know of a worker that serves two policies.
#[test]
fn a_job_finds_nothing_that_another_policy_has_for_itself() {
    let text = |name: &str, secret: &str| {
        format!(
            "name: {name}\nrepository: {{ url: /r, password: {{ env: {secret} }} }}\nsources: {{ a: {{ files: {{ paths: [ /a ] }} }} }}\n"
        )
    };
    let mut policies = Policies::new(None);
    let file = |name: &str, secret: &str| File {
        path: format!("/{name}.yaml").into(),
        text: Ok(text(name, secret)),
    };
    policies.take(vec![file("a", "A_SECRET"), file("b", "B_SECRET"), file("c", "PGPASSWORD")]);
    let served = policies.get("a").unwrap();
    let others = policies.secrets_of_others(served);
    let around = [("A_SECRET", "a"), ("B_SECRET", "b"), ("PGPASSWORD", "hers"), ("LANG", "C")];
    let proxy = [("HTTPS_PROXY", "http://user:word@proxy:1")];
    let ours = Ours { variables: variables(&[&around[..], &proxy].concat()), ..ours() };
    let (open, handed) = of_job(&served.policy, &others, &ours);
    assert_eq!(open, variables(&[("LANG", "C")]));
    // What is hers by its usual name is for all, as it is for one policy alone.
    assert_eq!(handed.keys().collect::<Vec<_>>(), ["A_SECRET", "HTTPS_PROXY", "PGPASSWORD"]);
    let names: Vec<_> = ours.without(&others).variables.into_keys().collect();
    assert_eq!(names, ["A_SECRET", "HTTPS_PROXY", "LANG", "PGPASSWORD"]);
}

#[test]
fn a_proxy_with_a_password_is_handed_over() {
    let around = |more: &[(&str, &str)]| Ours { variables: variables(more), ..ours() };
    let repository = place("/r", shop(), None);
    let call = Call::on(&repository, ["check"]);
    let told = |more: &[(&str, &str)]| {
        let more = [more, &[("SHOP", "correct"), ("NO_PROXY", "localhost")]].concat();
        let mut told = told_to(&call, &around(&more));
        told.retain(|name, _| PROXIES.iter().any(|known| name == *known));
        told
    };
    let (open, secret) = ("http://proxy:1", "http://user:word@proxy:1");
    assert_eq!(told(&[("HTTPS_PROXY", open)]), variables(&[("HTTPS_PROXY", open)]));
    let marked = format!("handed: {secret}");
    assert_eq!(told(&[("all_proxy", secret)]), variables(&[("all_proxy", &marked)]));
    // Two that differ only the environment can say.
    let two = [("HTTPS_PROXY", secret), ("HTTP_PROXY", open)];
    assert_eq!(told(&two), variables(&two));
}
