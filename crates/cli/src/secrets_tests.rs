//! Which of several places a secret comes from, and what is taken of it.
//!
//! On purpose not here: asking a person, and Vault, which need a terminal and a server.

#![expect(clippy::unwrap_used, reason = "a test")]

use super::*;
use crate::fault::Code;
use crate::wire_up::Network;
use std::io::Write;
use zeroize::Zeroizing;

fn password(bytes: &[u8]) -> Option<Vec<u8>> {
    match password_of(Zeroizing::new(bytes.to_vec()), "it") {
        Ok(Secret::Password(ref bytes)) => Some(bytes.clone()),
        _ => None,
    }
}

fn origin_of(stated: &Stated<'_>, set: &[(&str, &str)]) -> Result<Origin, Fault> {
    origin(stated, |name| set.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into()))
}

fn of_global(global: &Global, set: &[(&str, &str)]) -> Result<Origin, Fault> {
    origin_of(&Stated::of(global, &Ok(Network::default())), set)
}

fn of_from(from: &FromArgs, set: &[(&str, &str)]) -> Result<Origin, Fault> {
    origin_of(&Stated::of_from(from, &Ok(Network::default())), set)
}

#[test]
fn one_newline_does_not_count() {
    assert_eq!(password(b"pass word\n").unwrap(), b"pass word");
    assert_eq!(password(b"a\r\n").unwrap(), b"a");
    assert_eq!(password(b" a\n\n").unwrap(), b" a\n");
    assert_eq!((password(b""), password(b"\n")), (None, None));
}

#[test]
fn options_go_before_the_environment() {
    let global = Global { password_file: Some("/p".into()), ..Global::default() };
    let set = [("HOLDFAST_KEY_FILE", "/k"), ("HOLDFAST_PASSWORD", "x")];
    assert_eq!(of_global(&global, &set).unwrap(), Origin::PasswordFile("/p".into()));
    assert_eq!(of_global(&Global::default(), &set).unwrap_err().code, Code::Usage);
    assert_eq!(of_global(&Global::default(), &set[1..]).unwrap(), Origin::Password);
    assert_eq!(of_global(&Global::default(), &[]).unwrap(), Origin::Person);
    let both = Global { password_vault: Some("a/b#c".into()), ..global };
    let told = of_global(&both, &[]).unwrap_err().to_string();
    assert!(told.contains("--password-file") && told.contains("--password-vault"), "{told}");
}

#[test]
fn an_option_passes_over_the_transit_key_of_the_environment() {
    let set = |name: &str| (name == "HOLDFAST_KEY_TRANSIT").then(|| "transit/host".into());
    let reach = Ok(Network::default());
    let of = |global: &Global| transit(&Stated::of(global, &reach), set);
    assert_eq!(of(&Global { password_file: Some("/p".into()), ..Global::default() }), None);
    // A file may be sealed, and then is what the key is for; so is a slot.
    let host = Some(OsString::from("transit/host"));
    assert_eq!(of(&Global { key_file: Some("/k".into()), ..Global::default() }), host);
    assert_eq!(of(&Global::default()), host);
    let stated = Global {
        password_file: Some("/p".into()),
        key_transit: Some("transit/own".into()),
        ..Global::default()
    };
    assert_eq!(of(&stated), Some("transit/own".into()), "both as options: that is told of");
}

#[test]
fn each_place_has_a_variable() {
    let places = [
        ("HOLDFAST_KEY_CREDENTIAL", Origin::KeyCredential("x".into())),
        ("HOLDFAST_KEY_VAULT", Origin::KeyVault("x".into())),
        ("HOLDFAST_PASSWORD_CREDENTIAL", Origin::PasswordCredential("x".into())),
        ("HOLDFAST_PASSWORD_VAULT", Origin::PasswordVault("x".into())),
    ];
    for (name, origin) in places {
        assert_eq!(of_global(&Global::default(), &[(name, "x")]).unwrap(), origin);
    }
}

#[test]
fn two_repositories_have_variables_of_their_own() {
    let set = [("HOLDFAST_KEY_FILE", "/k"), ("HOLDFAST_FROM_PASSWORD", "x")];
    assert_eq!(of_from(&FromArgs::default(), &set).unwrap(), Origin::Password);
    assert_eq!(of_from(&FromArgs::default(), &set[..1]).unwrap(), Origin::Person);
    assert_eq!(of_global(&Global::default(), &set).unwrap(), Origin::KeyFile("/k".into()));
    let from = FromArgs { from_key_file: Some("/f".into()), ..FromArgs::default() };
    assert_eq!(of_from(&from, &set).unwrap(), Origin::KeyFile("/f".into()));
}

#[test]
fn of_a_new_secret_the_environment_has_the_password_alone() {
    let (new, reach) = (NewSecret::default(), Ok(Network::default()));
    let of = |set: &[(&str, &str)]| origin_of(&Stated::of_new(&new, &reach), set).unwrap();
    assert_eq!(of(&[("HOLDFAST_NEW_PASSWORD", "x")]), Origin::Password);
    assert_eq!(of(&[("HOLDFAST_NEW_KEY_FILE", "x"), ("HOLDFAST_PASSWORD", "y")]), Origin::Person);
}

#[test]
fn a_command_prints_the_password() {
    let global = |command: &str| Global { password_command: Some(command.into()), ..Global::default() };
    let reach = Ok(Network::default());
    let printed = get(&global("printf 'se cret\\n'"), &reach, false);
    assert!(matches!(&printed, Ok(Secret::Password(bytes)) if bytes == b"se cret"));
    let failed = get(&global("echo hunter2; exit 3"), &reach, false).err().unwrap();
    assert!(failed.code == Code::Failed && !failed.to_string().contains("hunter2"));
}

#[test]
fn a_key_file_has_enough_bytes() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&[b'\n'; KEY_FILE_BYTES_MIN - 1]).unwrap();
    assert_eq!(key_file(file.path()).err().unwrap().code, Code::Usage);
    file.write_all(b"\n").unwrap();
    assert!(
        matches!(&key_file(file.path()), Ok(Secret::KeyFile(bytes)) if bytes.len() == KEY_FILE_BYTES_MIN)
    );
    assert_eq!(key_file(Path::new("/nowhere/at all")).err().unwrap().code, Code::Usage);
}
