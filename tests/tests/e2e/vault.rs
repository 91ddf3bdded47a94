//! Passwords and keys that a real server of OpenBao keeps: read when they are needed, by whatever lets us
//! in; and what is said where they cannot be had.
//!
//! On purpose not here: which places of secrets there are beside, and who finds them (`secrets`).

use super::tree::put;
use super::world::{Ran, Word, World};
use holdfast_tests::bao::{self, Bao, ROOT};
use holdfast_tests::proxy::{Fate, Proxy};
use holdfast_tests::tls::Tls;
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const PASSWORD: &str = "c4nary pass\"word\\ü";
const KEY: &str = "a key file of 32 letters at least, and some more";
const PLACE: &str = "secret/data/backups/shop#password";

/// A server with the secrets of a shop, and a world whose token lies in a file.
struct Shop {
    bao: Bao,
    world: World,
    token: PathBuf,
}

impl Shop {
    fn new() -> Self {
        let bao = Bao::start();
        bao.call(
            "POST",
            "secret/data/backups/shop",
            &json!({ "data": { "password": PASSWORD, "key": KEY, "number": 7 } }),
        );
        let rules = "path \"secret/data/backups/*\" { capabilities = [\"read\"] }";
        bao.call("PUT", "sys/policies/acl/backups", &json!({ "policy": rules }));
        let world = World::bare();
        put(world.path("tree/file"), b"content");
        let token = world.path("token");
        let shop = Self { bao, world, token };
        fs::write(&shop.token, format!("{}\n", new_token(shop.bao.port()))).unwrap();
        shop
    }

    /// The program, with nothing that opens a repository but what the server has.
    fn command(&self, server: &str) -> Command {
        let mut command = self.world.command();
        command
            .env_remove("HOLDFAST_PASSWORD")
            .env("VAULT_ADDR", server)
            .env("VAULT_TOKEN_FILE", &self.token);
        command
    }

    fn run_at(&self, server: &str, words: &[Word<'_>]) -> Ran {
        self.run_within("60", server, words)
    }

    /// So many seconds the server is given.
    fn run_within(&self, seconds: &str, server: &str, words: &[Word<'_>]) -> Ran {
        let mut command = self.command(server);
        command.env("HOLDFAST_PASSWORD_VAULT", PLACE).env("VAULT_CLIENT_TIMEOUT", seconds);
        let ran = self.world.run_as(&mut command, words);
        assert!(!ran.out.contains("c4nary") && !ran.err.contains("c4nary"), "{ran:?}");
        ran
    }

    fn run(&self, words: &[Word<'_>]) -> Ran {
        self.run_at(&self.bao.endpoint(), words)
    }
}

/// A token that may read what the backups need.
fn new_token(port: u16) -> String {
    let made =
        bao::call(port, ROOT, "POST", "auth/token/create", &json!({ "policies": ["backups"], "ttl": "1h" }));
    made["auth"]["client_token"].as_str().unwrap().to_owned()
}

fn revoke(port: u16, token: &str) {
    bao::call(port, ROOT, "POST", "auth/token/revoke", &json!({ "token": token }));
}

#[test]
fn a_password_and_a_key_are_read_from_vault() {
    let shop = Shop::new();
    let words: [Word<'_>; 5] = [&"--password-vault", &PLACE, &"init", &"--kdf-memory", &"1"];
    shop.world.run_as(&mut shop.command(&shop.bao.endpoint()), &words).ends(0);
    shop.run(&[&"backup", &shop.world.path("tree")]).ends(0);
    // The password is the one that is written there, to the letter.
    shop.world.run_as(shop.world.command().env("HOLDFAST_PASSWORD", PASSWORD), &[&"snapshots"]).ends(0);
    shop.run(&[&"key", &"add", &"--new-key-vault", &"secret/data/backups/shop#key"]).ends(0);
    let by_key = |server: &str, more: &[(&str, &str)]| {
        let mut command = shop.command(server);
        command.env("HOLDFAST_KEY_VAULT", "secret/data/backups/shop#key").envs(more.iter().copied());
        shop.world.run_as(&mut command, &[&"snapshots"])
    };
    by_key(&shop.bao.endpoint(), &[]).ends(0);
    // By TLS, whose authority has to be known; OpenBao's own names go first.
    let tls = Tls::start(&shop.bao.endpoint());
    let authority = shop.world.path("ca.pem");
    fs::write(&authority, tls.authority()).unwrap();
    by_key(&tls.endpoint(), &[("VAULT_CLIENT_TIMEOUT", "2")])
        .ends(1)
        .says(&["does not answer", "VAULT_CACERT"]);
    by_key(&tls.endpoint(), &[("VAULT_CACERT", authority.to_str().unwrap())]).ends(0);
    let bao = [("BAO_ADDR", tls.endpoint()), ("BAO_CACERT", authority.to_str().unwrap().to_owned())];
    let bao = bao.each_ref().map(|(name, value)| (*name, value.as_str()));
    by_key("https://127.0.0.1:1", &bao).ends(0);
    // A token in a variable, and the file that a login at a terminal leaves.
    let token = fs::read_to_string(&shop.token).unwrap();
    let mut command = shop.command(&shop.bao.endpoint());
    command.env_remove("VAULT_TOKEN_FILE").env("VAULT_TOKEN", token.trim());
    shop.world.run_as(command.env("HOLDFAST_PASSWORD_VAULT", PLACE), &[&"snapshots"]).ends(0);
    let mut command = shop.command(&shop.bao.endpoint());
    put(shop.world.path("home/.vault-token"), token);
    command.env_remove("VAULT_TOKEN_FILE").env("HOLDFAST_PASSWORD_VAULT", PLACE);
    shop.world.run_as(&mut command, &[&"snapshots"]).ends(0);
}

#[test]
fn what_cannot_be_read_is_told_with_a_way_on() {
    let shop = Shop::new();
    put(shop.world.path("repo/holdfast.json"), b"{}");
    let at = |place: &str| {
        let words: [Word<'_>; 3] = [&"--password-vault", &place, &"snapshots"];
        shop.world.run_as(&mut shop.command(&shop.bao.endpoint()), &words)
    };
    at("secret/data/backups/shop").ends(2).says(&["#FIELD"]);
    at("secret/data/backups/shop#nothing")
        .ends(1)
        .says(&["no field nothing", "its fields: key, number, password"]);
    at("secret/data/backups/shop#number").ends(1).says(&["no text"]);
    at("secret/data/backups/other#password").ends(1).says(&["has nothing there"]);
    at("secret/data/elsewhere#password").ends(1).says(&["refuses the token", "permission denied"]);
    let as_root = |place: &str| {
        let mut command = shop.command(&shop.bao.endpoint());
        command.env_remove("VAULT_TOKEN_FILE").env("VAULT_TOKEN", ROOT).env("HOLDFAST_PASSWORD_VAULT", place);
        shop.world.run_as(&mut command, &[&"snapshots"])
    };
    as_root("secret/backups/shop#password").ends(1).says(&["data/ behind the mount"]);
    as_root("nowhere/data/backups/shop#password").ends(1).says(&["no engine there", "mount"]);
    shop.bao.call("DELETE", "secret/data/backups/shop", &Value::Null);
    at(PLACE).ends(1).says(&["deleted version", "undelete"]);
    fs::write(&shop.token, "").unwrap();
    at(PLACE).ends(1).says(&["the token in", "one line"]);
    fs::remove_file(&shop.token).unwrap();
    at(PLACE).ends(1).says(&["cannot read the token"]);
    let mut command = shop.command(&shop.bao.endpoint());
    command.env("VAULT_TOKEN", "c4nary").env("HOLDFAST_PASSWORD_VAULT", PLACE);
    let both =
        shop.world.run_as(&mut command, &[&"snapshots"]).ends(2).says(&["VAULT_TOKEN_FILE", "VAULT_TOKEN"]);
    assert!(!both.err.contains("c4nary"));
    let mut command = shop.command("http://vault.example:8200");
    command.env("HOLDFAST_PASSWORD_VAULT", PLACE);
    shop.world.run_as(&mut command, &[&"snapshots"]).ends(1).says(&["in the clear"]);
    let mut command = shop.world.command();
    command.env_remove("HOLDFAST_PASSWORD").env("HOLDFAST_PASSWORD_VAULT", PLACE);
    shop.world.run_as(&mut command, &[&"snapshots"]).ends(2).says(&["VAULT_ADDR"]);
}

/// Each time a secret is asked for, the token has just been revoked and another one written into its file,
/// as if an agent did so in the very moment. A run and its drill go through all the same.
#[test]
fn a_token_that_rotates_under_a_run_does_not_matter() {
    let shop = Shop::new();
    let (port, file) = (shop.bao.port(), shop.token.clone());
    let rotations = std::sync::Arc::new(AtomicU64::new(0));
    let count = std::sync::Arc::clone(&rotations);
    let proxy = Proxy::start_seeing(&shop.bao.endpoint(), move |line, head| {
        let given =
            head.lines().find_map(|line| line.to_lowercase().strip_prefix("x-vault-token: ").map(str::len));
        // Every second request meets a token that is still good.
        if line.contains("secret/data")
            && given.is_some()
            && count.fetch_add(1, Ordering::Relaxed).is_multiple_of(2)
        {
            let old = fs::read_to_string(&file).unwrap();
            fs::write(&file, new_token(port)).unwrap();
            revoke(port, old.trim());
        }
        Fate::Pass
    });
    let vault = |field: &str| format!("{{ vault: {{ path: secret/data/backups/shop, field: {field} }} }}");
    let policy = shop.world.path("shop.yaml");
    let key = vault("key");
    put(
        &policy,
        format!(
            "name: shop\nrepository: {{ url: repo, password: {}, create: true }}\n\
             copies: [ {{ name: off, url: off, password: {}, create: true }} ]\n\
             sources:\n  one: {{ files: {{ paths: [ tree ] }} }}\n  two: {{ command: {{ run: [ echo, x ], file_name: x }} }}\n\
             retention: {{ keep_last: 2 }}\ncheck: {{}}\nobjectives: {{ rpo: 1d, rto: 1h }}\ndrill: {{ from: [ repository ] }}\n",
            vault("password"),
            vault("password"),
        ),
    );
    let mut command = shop.command(&proxy.endpoint());
    command.args(["run", "--drill", "--json"]).arg(&policy);
    let ran = shop.world.run_as(&mut command, &[]).ends(0);
    assert!(!ran.out.contains("c4nary") && !ran.err.contains("c4nary"), "{ran:?}");
    assert!(rotations.load(Ordering::Relaxed) > 10, "{rotations:?}");
    // Keys from there too, one for each activity.
    let keys = format!("{{ backup: {key}, maintain: {key}, read: {key} }}");
    put(
        shop.world.path("keys.yaml"),
        format!(
            "name: keys\nrepository: {{ url: repo, keys: {keys} }}\nsources: {{ one: {{ files: {{ paths: [ tree ] }} }} }}\n"
        ),
    );
    shop.run(&[&"key", &"add", &"--new-key-vault", &"secret/data/backups/shop#key"]).ends(0);
    let mut command = shop.command(&proxy.endpoint());
    command.args(["run", "--no-drill"]).arg(shop.world.path("keys.yaml"));
    shop.world.run_as(&mut command, &[]).ends(0);
    let shown = shop.world.run(&[&"policy", &"plan", &shop.world.path("keys.yaml")]).ends(0).out;
    assert!(shown.contains("secret/data/backups/shop#key of Vault"), "{shown}");
}

#[test]
fn a_role_logs_in_and_gives_its_token_back() {
    let shop = Shop::new();
    shop.bao.call("POST", "sys/auth/machines", &json!({ "type": "approle" }));
    let role = json!({ "token_policies": ["backups"], "token_ttl": "1h" });
    shop.bao.call("POST", "auth/machines/role/shop", &role);
    let id = shop.bao.call("GET", "auth/machines/role/shop/role-id", &Value::Null);
    let secret = shop.bao.call("POST", "auth/machines/role/shop/secret-id", &json!({}));
    let file = shop.world.path("secret-id");
    fs::write(&file, secret["data"]["secret_id"].as_str().unwrap()).unwrap();
    shop.run(&[&"init", &"--kdf-memory", &"1"]).ends(0);
    let requests = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = std::sync::Arc::clone(&requests);
    let proxy = Proxy::start(&shop.bao.endpoint(), move |line| {
        seen.lock().unwrap().push(line.split(' ').nth(1).unwrap().to_owned());
        Fate::Pass
    });
    let by_role = |mount: &str| {
        let mut command = shop.command(&proxy.endpoint());
        command.env_remove("VAULT_TOKEN_FILE").env("HOLDFAST_VAULT_MOUNT", mount);
        command.env("HOLDFAST_VAULT_ROLE_ID", id["data"]["role_id"].as_str().unwrap());
        command.env("HOLDFAST_VAULT_SECRET_ID_FILE", &file).env("HOLDFAST_PASSWORD_VAULT", PLACE);
        shop.world.run_as(&mut command, &[&"snapshots"])
    };
    by_role("machines").ends(0);
    let wanted = ["auth/machines/login", "secret/data/backups/shop", "auth/token/revoke-self"];
    assert_eq!(*requests.lock().unwrap(), wanted.map(|path| format!("/v1/{path}")));
    by_role("elsewhere").ends(1).says(&["cannot log in", "auth/elsewhere"]);
    fs::write(&file, "wrong").unwrap();
    by_role("machines").ends(1).says(&["cannot log in", "do the ids belong"]);
}

/// A key file that lies on the disk opens nothing without the server.
#[test]
fn a_sealed_key_file_is_opened_by_transit() {
    let shop = Shop::new();
    shop.run(&[&"init", &"--kdf-memory", &"1"]).ends(0);
    shop.bao.call("POST", "sys/mounts/transit", &json!({ "type": "transit" }));
    shop.bao.call("POST", "transit/keys/holdfast", &json!({}));
    // 32 bytes, as base64 has them.
    let plain = json!({ "plaintext": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=" });
    let sealed = shop.bao.call("POST", "transit/encrypt/holdfast", &plain);
    let file = shop.world.path("sealed");
    fs::write(&file, format!("{}\n", sealed["data"]["ciphertext"].as_str().unwrap())).unwrap();
    let words: [Word<'_>; 6] =
        [&"key", &"add", &"--new-key-file", &file, &"--new-key-transit", &"transit/holdfast"];
    shop.run(&words).ends(1).says(&["cannot be opened with transit/holdfast", "refuses the token"]);
    let rules = "path \"secret/data/backups/*\" { capabilities = [\"read\"] } \
                 path \"transit/decrypt/holdfast\" { capabilities = [\"update\"] }";
    shop.bao.call("PUT", "sys/policies/acl/backups", &json!({ "policy": rules }));
    shop.run(&words).ends(0);
    let opened = |more: &[Word<'_>]| {
        let mut command = shop.command(&shop.bao.endpoint());
        command.args([&"--key-file" as Word<'_>, &file].map(|word| word.as_ref()));
        shop.world.run_as(&mut command, &[more, &[&"snapshots"]].concat())
    };
    opened(&[&"--key-transit", &"transit/holdfast"]).ends(0);
    // What is on the disk is no key.
    opened(&[]).ends(12);
    opened(&[&"--key-transit", &"transit/other"]).ends(1).says(&["transit/other"]);
    fs::write(shop.world.path("plain"), [7; 32]).unwrap();
    let mut command = shop.command(&shop.bao.endpoint());
    command
        .env("HOLDFAST_KEY_FILE", shop.world.path("plain"))
        .env("HOLDFAST_KEY_TRANSIT", "transit/holdfast");
    shop.world.run_as(&mut command, &[&"snapshots"]).ends(1).says(&["holds nothing that"]);
    shop.run(&[&"--key-transit", &"transit/holdfast", &"snapshots"]).ends(2).says(&["no key file"]);
    // In a policy, and after the engine's key was rotated.
    shop.bao.call("POST", "transit/keys/holdfast/rotate", &json!({}));
    let key = "{ transit: { key: transit/holdfast, file: sealed } }";
    let policy = shop.world.path("shop.yaml");
    put(
        &policy,
        format!(
            "name: shop\nrepository: {{ url: repo, keys: {{ backup: {key}, maintain: {key}, read: {key} }} }}\n\
             sources: {{ tree: {{ files: {{ paths: [ tree ] }} }} }}\ncheck: {{}}\n"
        ),
    );
    let mut command = shop.command(&shop.bao.endpoint());
    command.args(["run", "--no-drill"]).arg(&policy);
    shop.world.run_as(&mut command, &[]).ends(0);
}

/// What a token may that makes a key, and one that only opens the repository with it.
const SEALS: &str = "path \"transit/encrypt/db2\" { capabilities = [\"update\"] } \
                     path \"transit/decrypt/db2\" { capabilities = [\"update\"] } ";
const OPENS: &str = "path \"transit/decrypt/db2\" { capabilities = [\"update\"] } ";

/// The key file lies in the slot, sealed: a host needs the repository and the server, and no file.
#[test]
fn a_slot_is_opened_by_transit_alone() {
    let shop = Shop::new();
    shop.run(&[&"init", &"--kdf-memory", &"1"]).ends(0);
    shop.bao.call("POST", "sys/mounts/transit", &json!({ "type": "transit" }));
    shop.bao.call("POST", "transit/keys/db2", &json!({}));
    let secrets = "path \"secret/data/backups/*\" { capabilities = [\"read\"] } ";
    let allow = |rules: &str| {
        shop.bao.call("PUT", "sys/policies/acl/backups", &json!({ "policy": format!("{secrets}{rules}") }));
    };
    let kit = shop.world.path("kit");
    let add: [Word<'_>; 8] =
        [&"key", &"add", &"--role", &"writer", &"--label", &"db2", &"--new-key-transit", &"transit/db2"];
    let before = shop.world.objects();
    shop.run(&add).ends(1).says(&["no key file can be sealed with transit/db2", "refuses the token"]);
    assert_eq!(shop.world.objects(), before);
    allow(SEALS);
    shop.run(&[&add[..], &[&"--kit" as Word<'_>, &kit]].concat()).ends(0);
    let kit = fs::read_to_string(kit).unwrap();
    assert!(kit.contains("HOLDFAST_KEY_TRANSIT=transit/db2") && kit.contains("leave to decrypt"), "{kit}");
    allow(OPENS);
    // Nothing but the URL of the repository, the key's name and a token.
    let alone = |key: &str, words: &[Word<'_>]| {
        let mut command = shop.command(&shop.bao.endpoint());
        command.env("HOLDFAST_KEY_TRANSIT", key);
        shop.world.run_as(&mut command, words)
    };
    let tree = shop.world.path("tree");
    alone("transit/db2", &[&"backup", &tree]).ends(0);
    alone("transit/db2", &[&"ls", &"latest"]).ends(1).says(&["this key is a writer's"]);
    let listed = alone("transit/db2", &[&"key", &"list", &"--json"]).ends(0).lines();
    let own = listed.iter().find(|line| line["in_use"] == true).unwrap();
    assert_eq!(
        (&own["transit"], &own["role"], &own["kind"]),
        (&json!("transit/db2"), &json!("writer"), &json!("key_file"))
    );
    let shown = shop.run(&[&"key", &"list"]).ends(0).out;
    assert!(shown.contains("sealed by transit/db2"), "{shown}");
    // Neither another key, nor one that others' slots are sealed with.
    alone("transit/other", &[&"snapshots"]).ends(2).says(&["no slot of", "transit/other"]);
    let mut command = shop.command(&shop.bao.endpoint());
    command.env("HOLDFAST_KEY_TRANSIT", "transit/db2").env("VAULT_TOKEN_FILE", shop.world.path("nowhere"));
    shop.world.run_as(&mut command, &[&"snapshots"]).ends(1).says(&["cannot be opened with transit/db2"]);
    allow(SEALS);
    shop.run(&add).ends(2).says(&["seals key", "of another member already"]);
    let shared: [Word<'_>; 4] = [&"key", &"passwd", &"--new-key-transit", &"transit/db2"];
    shop.run(&shared).ends(2).says(&["seals key", "of another member already"]);
    // An option goes before what the environment of the host has.
    let password = shop.world.path("owner.txt");
    put(&password, PASSWORD);
    alone("transit/db2", &[&"--password-file", &password, &"ls", &"latest"]).ends(0);
    // The slot is written anew when another one goes, and the engine's key is rotated under it.
    let other = shop.world.path("other.key");
    put(&other, [7; 64]);
    let kits = shop.world.path("other kit");
    let added =
        alone("transit/db2", &[&"key", &"add", &"--json", &"--new-key-file", &other, &"--kit", &kits]);
    let id = added.ends(0).lines()[0]["short_id"].as_str().unwrap().to_owned();
    shop.bao.call("POST", "transit/keys/db2/rotate", &json!({}));
    allow(OPENS);
    alone("transit/db2", &[&"key", &"remove", &id]).ends(0);
    alone("transit/db2", &[&"backup", &tree]).ends(0);
    in_a_policy(&shop);
    a_copied_slot_opens_nothing(&shop, &tree);
    // Whoever is shut out is shut out.
    let member = own["member"].as_str().unwrap();
    shop.run(&[&"key", &"remove", &"--member", &member, &"--rotate"]).ends(0);
    alone("transit/db2", &[&"backup", &tree]).ends(2).says(&["no slot of"]);
}

/// What only seals opens nothing: it takes the place of no key.
#[test]
fn a_transit_key_that_only_seals_becomes_no_key() {
    let shop = Shop::new();
    shop.run(&[&"init", &"--kdf-memory", &"1"]).ends(0);
    shop.bao.call("POST", "sys/mounts/transit", &json!({ "type": "transit" }));
    shop.bao.call("POST", "transit/keys/own", &json!({}));
    let rules = "path \"secret/data/backups/*\" { capabilities = [\"read\"] } \
                 path \"transit/encrypt/own\" { capabilities = [\"update\"] }";
    shop.bao.call("PUT", "sys/policies/acl/backups", &json!({ "policy": rules }));
    let before = shop.world.objects();
    for verb in [&["passwd"][..], &["add"], &["add", "--role", "writer", "--label", "x"]] {
        let verb = verb.iter().map(|word| word as Word<'_>);
        let words = [&"key" as Word<'_>].into_iter().chain(verb).collect::<Vec<_>>();
        shop.run(&[&words[..], &[&"--new-key-transit", &"transit/own"]].concat()).ends(1).says(&[
            "what was just sealed cannot be opened with transit/own",
            "refuses the token",
            "nothing was changed",
        ]);
        assert_eq!(shop.world.objects(), before);
    }
    shop.run(&[&"snapshots"]).ends(0);
    // With the right to open it too it takes the old one's place, and says what the kit needs.
    let rules = format!("{rules} path \"transit/decrypt/own\" {{ capabilities = [\"update\"] }}");
    shop.bao.call("PUT", "sys/policies/acl/backups", &json!({ "policy": rules }));
    let changed = shop.run(&[&"key", &"passwd", &"--new-key-transit", &"transit/own"]).ends(0);
    assert!(changed.err.contains("HOLDFAST_KEY_TRANSIT=transit/own"), "{changed:?}");
    shop.run(&[&"snapshots"]).ends(12);
    let mut command = shop.command(&shop.bao.endpoint());
    shop.world.run_as(command.env("HOLDFAST_KEY_TRANSIT", "transit/own"), &[&"snapshots"]).ends(0);
}

/// An agent on this very host is asked past the proxies of the environment: they would see the token.
#[test]
fn no_proxy_sees_what_is_asked_of_this_host() {
    let shop = Shop::new();
    let seen = std::sync::Arc::new(AtomicU64::new(0));
    let count = std::sync::Arc::clone(&seen);
    let proxy = Proxy::start(&shop.bao.endpoint(), move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        Fate::Pass
    });
    let mut command = shop.command(&shop.bao.endpoint());
    command.env("HOLDFAST_PASSWORD_VAULT", PLACE);
    for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
        command.env(name, proxy.endpoint());
    }
    shop.world.run_as(&mut command, &[&"init", &"--kdf-memory", &"1"]).ends(0);
    assert_eq!(seen.load(Ordering::Relaxed), 0);
}

/// A policy names the key of the engine and no file.
fn in_a_policy(shop: &Shop) {
    let policy = shop.world.path("shop.yaml");
    put(
        &policy,
        "name: shop\nrepository: { url: repo, keys: { backup: { transit: { key: transit/db2 } } } }\n\
         sources: { tree: { files: { paths: [ tree ] } } }\n",
    );
    let mut command = shop.command(&shop.bao.endpoint());
    command.args(["run", "--no-drill"]).arg(&policy);
    shop.world.run_as(&mut command, &[]).ends(0);
    let shown = shop.world.run(&[&"policy", &"plan", &policy]).ends(0).out;
    assert!(shown.contains("its slot, opened by transit/db2 of Vault"), "{shown}");
}

/// Who writes the store puts what was sealed elsewhere, or another member's, into slots: nobody's key is used
/// for another's.
fn a_copied_slot_opens_nothing(shop: &Shop, tree: &std::path::Path) {
    let keys = shop.world.repo.join("keys");
    let slots = || fs::read_dir(&keys).unwrap().map(|entry| entry.unwrap().path());
    let sealed = slots().find(|path| fs::read(path).unwrap().windows(11).any(|part| part == b"transit/db2"));
    let mut bytes = fs::read(sealed.unwrap()).unwrap();
    let (forged, id) = (keys.join("ab".repeat(16)), [0xab; 16]);
    bytes[44..60].copy_from_slice(&id);
    let length = bytes.len() - 32;
    let checksum = blake3::hash(&bytes[..length]);
    bytes[length..].copy_from_slice(checksum.as_bytes());
    fs::write(&forged, bytes).unwrap();
    let mut command = shop.command(&shop.bao.endpoint());
    command.env("HOLDFAST_KEY_TRANSIT", "transit/db2");
    shop.world.run_as(&mut command, &[&"backup", &tree]).ends(0);
    fs::remove_file(forged).unwrap();
}

/// A role's token serves one visit and is no good for a second one: each verb of a run logs in anew, so it
/// does not matter how long the run takes.
#[test]
fn each_verb_of_a_run_logs_in_anew() {
    let shop = Shop::new();
    shop.run(&[&"init", &"--kdf-memory", &"1"]).ends(0);
    shop.bao.call("POST", "sys/auth/approle", &json!({ "type": "approle" }));
    // To read the secret, and to give the token back.
    let role = json!({ "token_policies": ["backups"], "token_ttl": "1h", "token_num_uses": 2 });
    shop.bao.call("POST", "auth/approle/role/shop", &role);
    let id = shop.bao.call("GET", "auth/approle/role/shop/role-id", &Value::Null);
    let secret = shop.bao.call("POST", "auth/approle/role/shop/secret-id", &json!({}));
    let file = shop.world.path("secret-id");
    fs::write(&file, secret["data"]["secret_id"].as_str().unwrap()).unwrap();
    let policy = shop.world.path("shop.yaml");
    let password = "{ vault: { path: secret/data/backups/shop, field: password } }";
    put(
        &policy,
        format!(
            "name: shop\nrepository: {{ url: repo, password: {password} }}\n\
             sources:\n  one: {{ files: {{ paths: [ tree ] }} }}\n  two: {{ command: {{ run: [ echo, x ], file_name: x }} }}\n\
             retention: {{ keep_last: 2 }}\ncheck: {{}}\n"
        ),
    );
    let logins = std::sync::Arc::new(AtomicU64::new(0));
    let count = std::sync::Arc::clone(&logins);
    let proxy = Proxy::start(&shop.bao.endpoint(), move |line| {
        count.fetch_add(u64::from(line.contains("/login")), Ordering::Relaxed);
        Fate::Pass
    });
    let mut command = shop.command(&proxy.endpoint());
    command.env_remove("VAULT_TOKEN_FILE").args(["run", "--no-drill"]).arg(&policy);
    command.env("HOLDFAST_VAULT_ROLE_ID", id["data"]["role_id"].as_str().unwrap());
    command.env("HOLDFAST_VAULT_SECRET_ID_FILE", &file);
    shop.world.run_as(&mut command, &[]).ends(0);
    // Two sources, forget, check at least.
    assert!(logins.load(Ordering::Relaxed) >= 4, "{logins:?}");
}

#[test]
fn a_server_in_trouble_is_waited_for_a_while() {
    let shop = Shop::new();
    shop.run(&[&"init", &"--kdf-memory", &"1"]).ends(0);
    let answer = |status: &str, body: &str| {
        Fate::Raw(format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        ))
    };
    let sealed = answer("503 Service Unavailable", r#"{"errors":["Vault is sealed"]}"#);
    // A cluster that elects: it fails for seconds, each time in another way, one attempt hangs; then it answers.
    let tries = AtomicU64::new(0);
    let first = sealed.clone();
    let proxy = Proxy::start(&shop.bao.endpoint(), move |_| match tries.fetch_add(1, Ordering::Relaxed) {
        0 | 3 => first.clone(),
        1 | 4 => Fate::Reset,
        2 => Fate::Hang,
        _ => Fate::Pass,
    });
    shop.run_within("30", &proxy.endpoint(), &[&"snapshots"]).ends(0);
    let always = |fate: Fate| Proxy::start(&shop.bao.endpoint(), move |_| fate.clone());
    let always_sealed = always(sealed);
    shop.run_within("2", &always_sealed.endpoint(), &[&"snapshots"])
        .ends(1)
        .says(&["is sealed", "unseal it"]);
    let cut = always(Fate::Cut(120));
    shop.run_within("2", &cut.endpoint(), &[&"snapshots"]).ends(1).says(&["does not answer"]);
    let page = always(answer("200 OK", "<html>c4nary</html>"));
    shop.run_at(&page.endpoint(), &[&"snapshots"]).ends(1).says(&["something else than JSON"]);
    let slow = always(Fate::Hang);
    shop.run_within("1", &slow.endpoint(), &[&"snapshots"]).ends(1).says(&["did not answer in 1 s"]);
    // A server that stands by names the active one; what is named must not be told anything in the clear.
    let moved = |to: &str| answer(&format!("307 Temporary Redirect\r\nLocation: {to}"), "");
    let active = format!("{}/v1/secret/data/backups/shop", shop.bao.endpoint());
    shop.run_at(&always(moved(&active)).endpoint(), &[&"snapshots"]).ends(0);
    let elsewhere = always(moved("http://vault.example/v1/secret/data/backups/shop"));
    shop.run_at(&elsewhere.endpoint(), &[&"snapshots"]).ends(1).says(&["in the clear"]);
    let tls = Tls::start(&always(moved(&active)).endpoint());
    let authority = shop.world.path("ca.pem");
    fs::write(&authority, tls.authority()).unwrap();
    let mut command = shop.command(&tls.endpoint());
    command
        .env("VAULT_CACERT", &authority)
        .env("HOLDFAST_PASSWORD_VAULT", PLACE)
        .env("VAULT_CLIENT_TIMEOUT", "3");
    shop.world.run_as(&mut command, &[&"snapshots"]).ends(1).says(&["does not answer"]);
    drop((slow, Duration::ZERO));
}
