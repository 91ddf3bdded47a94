//! The catalog on a server of PostgreSQL: the cases that hold in a file hold there too, also behind a
//! pooler; whoever may not use it is told what to do; a server that is killed loses and doubles nothing.
//!
//! On purpose not here: the program on top of it, which `e2e` runs.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests say what they measured")]

mod catalog;
mod killed;
mod server;

use catalog::common_tests::{CASES, Fresh, it_is_as_in_the_model};
use catalog::{Catalog, CatalogError, Due, Place, Worker};
use futures::future::BoxFuture;
use holdfast_tests::pooler::Pooler;
use holdfast_tests::postgres::{SUPERUSER, Version};
use jiff::{SignedDuration, Timestamp};
use server::Server;
use std::time::{Duration, Instant};

/// So many seeds; in files there are more.
const SEEDS: u64 = 12;

/// New databases of one server, behind a pooler or not.
struct Databases<'a>(&'a Server, u16);

impl Fresh for Databases<'_> {
    fn catalog(&self) -> BoxFuture<'_, Catalog> {
        Box::pin(async move {
            let place = self.0.database().on(self.1);
            Catalog::open(&place).await.unwrap().by_handed_time()
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cases_hold_on_a_server() {
    for version in [Version::V15, Version::V18] {
        let server = Server::start(version).await;
        let fresh = Databases(&server, server.port());
        for (name, case) in CASES {
            println!("{version:?} {name}");
            case(&fresh).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_comes_in_whatever_order_it_is_as_in_the_model() {
    let server = Server::start(Version::V15).await;
    for seed in 0..SEEDS {
        it_is_as_in_the_model(&Databases(&server, server.port()), seed).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cases_hold_behind_a_pooler_of_transactions() {
    let server = Server::start(Version::V15).await;
    let pooler = server.with(|cluster| Pooler::start(cluster));
    let fresh = Databases(&server, pooler.port);
    for (name, case) in CASES {
        println!("{name}");
        case(&fresh).await;
    }
    let passed = server.with(|cluster| pooler.transactions(cluster));
    assert!(passed > 1000, "{passed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_make_it_at_once() {
    let server = Server::start(Version::V15).await;
    for _ in 0..5 {
        let place = server.database().place();
        let makers: Vec<_> = (0..6)
            .map(|_| {
                tokio::spawn({
                    let place = place.clone();
                    async move { Catalog::open(&place).await.map(drop) }
                })
            })
            .collect();
        for maker in makers {
            maker.await.unwrap().unwrap();
        }
    }
}

async fn refused(place: &Place) -> CatalogError {
    Catalog::open(place).await.unwrap_err()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_catalog_of_ours_is_refused_by_name_and_left_alone() {
    let server = Server::start(Version::V15).await;
    let theirs = server.database();
    theirs.sql("CREATE SCHEMA holdfast; CREATE TABLE holdfast.theirs (x int)");
    let error = refused(&theirs.place()).await;
    assert!(matches!(error, CatalogError::NotOurs { .. }), "{error}");
    assert!(error.to_string().contains("the schema holdfast of postgres://"), "{error}");
    assert_eq!(theirs.sql("SELECT count(*) FROM pg_tables WHERE schemaname = 'holdfast'"), "1");
    assert!(Catalog::open_if_there(&theirs.place()).await.unwrap().is_none());

    // Beside what another program has in the same database there is room.
    let shared = server.database();
    shared.sql("CREATE TABLE run (x int); CREATE TABLE job (x int)");
    assert!(Catalog::open_if_there(&shared.place()).await.unwrap().is_none());
    assert_eq!(shared.sql("SELECT count(*) FROM pg_namespace WHERE nspname = 'holdfast'"), "0");
    Catalog::open(&shared.place()).await.unwrap().close().await;
    assert!(Catalog::open_if_there(&shared.place()).await.unwrap().is_some());
    assert_eq!(shared.sql("SELECT count(*) FROM run"), "0");

    shared.sql("INSERT INTO holdfast.holdfast_catalog VALUES (77)");
    let error = refused(&shared.place()).await;
    assert!(matches!(error, CatalogError::Later { version: 77, .. }), "{error}");
    assert!(error.to_string().contains("newer version of holdfast"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_the_version_before_is_brought_up_to_date_with_what_is_in_it() {
    let server = Server::start(Version::V15).await;
    let database = server.database();
    let catalog = Catalog::open(&database.place()).await.unwrap();
    catalog.remember_policy("shop", "/a", "aa", Timestamp::UNIX_EPOCH).await.unwrap();
    database.sql(
        "DROP TABLE holdfast.job, holdfast.job_label, holdfast.job_group, holdfast.taken, holdfast.worker, \
         holdfast.alert, holdfast.delivery, holdfast.silence, holdfast.ways; \
         DELETE FROM holdfast.holdfast_catalog WHERE version > 1",
    );
    let error = catalog.jobs("shop", 1).await.unwrap_err();
    assert!(matches!(error, CatalogError::Damaged { .. }), "{error}");
    assert!(error.to_string().contains("ALTER SCHEMA holdfast RENAME"), "{error}");
    let catalog = Catalog::open(&database.place()).await.unwrap();
    assert!(catalog.jobs("shop", 1).await.unwrap().is_empty());
    assert_eq!(catalog.policies().await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_not_let_in_or_lacks_a_right_is_told_and_never_with_a_password() {
    let server = Server::start(Version::V15).await;
    let database = server.database();
    database.sql("CREATE ROLE worker LOGIN PASSWORD 'right'");
    let by = |password: &str| {
        let text = format!("postgres://worker@127.0.0.1:{}/{}", server.port(), database.name);
        Place::parse(&text, "").unwrap().with_password(Some(password.to_owned()))
    };
    // It may come in, and may make nothing.
    let error = refused(&by("right")).await;
    assert!(matches!(error, CatalogError::NoRight { .. }), "{error}");
    assert!(error.to_string().contains("CREATE SCHEMA holdfast AUTHORIZATION"), "{error}");
    database.sql("CREATE SCHEMA holdfast AUTHORIZATION worker");
    Catalog::open(&by("right")).await.unwrap().close().await;

    server.ask_for_passwords();
    Catalog::open(&by("right")).await.unwrap().close().await;
    let error = refused(&by("wrong-secret")).await;
    assert!(matches!(error, CatalogError::NotLetIn { .. }), "{error}");
    let said = format!("{error} {error:?} {:?}", by("wrong-secret"));
    assert!(said.contains("PGPASSFILE") && !said.contains("wrong-secret"), "{said}");
    let none = Place::parse(&format!("postgres://{SUPERUSER}@127.0.0.1:{}/none", server.port()), "").unwrap();
    let error = refused(&none).await;
    assert!(matches!(error, CatalogError::NotLetIn { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_way_to_a_server_is_encrypted_to_whom_it_is_to_be() {
    let server = Server::start(Version::V15).await;
    let database = server.database();
    let authority = server.with(|cluster| {
        cluster.stop();
        let authority = cluster.encrypt();
        // Whoever does not encrypt is not let in.
        let rules = "local all all trust\nhostssl all all 127.0.0.1/32 trust\n";
        std::fs::write(cluster.data.join("pg_hba.conf"), rules).unwrap();
        cluster.start();
        authority
    });
    let by = |host: &str, more: &str| {
        let text = format!("postgres://{SUPERUSER}@{host}:{}/{}?{more}", server.port(), database.name);
        Place::parse(&text, "").unwrap()
    };
    let whole = format!("sslmode=verify-full&sslrootcert={}", authority.display());
    let catalog = Catalog::open(&by("localhost", &whole)).await.unwrap();
    catalog.remember_policy("shop", "/a", "aa", Timestamp::UNIX_EPOCH).await.unwrap();
    catalog.close().await;
    let encrypted = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE ssl AND datname = current_database()";
    let catalog = Catalog::open(&by("127.0.0.1", "")).await.unwrap();
    assert_ne!(database.sql(encrypted), "0", "encrypted where that can be had");
    catalog.close().await;
    // For another name, vouched for by nobody who is known, and in the clear.
    let other = holdfast_tests::tls::Tls::start("http://127.0.0.1:1");
    let stranger = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(stranger.path(), other.authority()).unwrap();
    let strange = format!("sslmode=verify-full&sslrootcert={}", stranger.path().display());
    for (host, more) in [
        ("127.0.0.1", &*whole),
        ("localhost", &strange),
        ("localhost", "sslmode=verify-full"),
        ("127.0.0.1", &whole.replace("full", "ca")),
    ] {
        let error = refused(&by(host, more)).await;
        assert!(matches!(error, CatalogError::Unproved { .. }), "{host} {more}: {error}");
        assert!(error.to_string().contains("sslrootcert"), "{error}");
    }
    let error = refused(&by("localhost", "sslmode=disable")).await;
    assert!(matches!(error, CatalogError::NotLetIn { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_away_is_told_with_what_to_do() {
    let server = Server::start(Version::V15).await;
    let database = server.database();
    let catalog = Catalog::open(&database.place()).await.unwrap();
    server.with(|cluster| cluster.stop());
    let error = refused(&database.place()).await;
    assert!(matches!(error, CatalogError::Away { .. }), "{error}");
    assert!(
        error.to_string().contains("see that it runs") && error.to_string().contains("no backup depends")
    );
    let error = catalog.policies().await.unwrap_err();
    assert!(matches!(error, CatalogError::Away { .. }), "{error}");
    // It comes back by itself.
    server.with(|cluster| cluster.start());
    assert!(catalog.policies().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn how_long_a_claim_holds_is_judged_by_the_servers_clock() {
    let server = Server::start(Version::V15).await;
    let catalog = Catalog::open(&server.database().place()).await.unwrap();
    // Hosts whose clocks are ten years off, in both directions.
    let real = Timestamp::now();
    let (early, late) =
        (real - SignedDuration::from_hours(90_000), real + SignedDuration::from_hours(90_000));
    let due = Due {
        policy: "shop".into(),
        activity: "run".into(),
        source: None,
        scheduled_for: real,
        labels: vec![],
        groups: vec![],
        missed: 0,
    };
    catalog.enter(&due, real).await.unwrap();
    let worker = Worker { name: "w".into(), host: "h".into(), labels: vec![] };
    let claim = catalog.claim(&worker, early, Duration::from_secs(3600)).await.unwrap().unwrap();
    assert!(catalog.take_back(late).await.unwrap().is_empty());
    assert!(catalog.renew(&claim, early, Duration::ZERO).await.unwrap());
    let back = catalog.take_back(early).await.unwrap();
    assert_eq!((back.len(), back[0].given_up), (1, false));
    catalog.seen(&worker, early).await.unwrap();
    let seen = catalog.workers().await.unwrap()[0].last_seen;
    assert!(seen.duration_since(real).abs() < SignedDuration::from_hours(1), "{seen}");
}

/// How long a claim takes beside a hundred thousand jobs is printed; that it is right is asserted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_jobs_are_no_trouble() {
    let server = Server::start(Version::V15).await;
    let database = server.database();
    let catalog = Catalog::open(&database.place()).await.unwrap().by_handed_time();
    database.sql(
        "INSERT INTO holdfast.job (policy, activity, source, scheduled_for, missed, labels, group_names, state, fence, \
         attempt, entered, ended, code, message) SELECT 'p' || (n % 50), 'run', '', n * 1000, 0, '[]', '[]', 'done', 1, 1, \
         n, n, 0, '' FROM generate_series(1, 100000) AS n",
    );
    let at = |second: i64| Timestamp::from_second(1_795_000_000 + second).unwrap();
    let worker = Worker { name: "w".into(), host: "h".into(), labels: vec!["s3".into()] };
    for number in 0..200 {
        let due = Due {
            policy: format!("p{}", number % 50),
            activity: "run".into(),
            source: None,
            scheduled_for: at(number),
            labels: vec!["s3".into()],
            groups: vec![format!("g{number}"), format!("p{}", number % 50)],
            missed: 0,
        };
        assert!(catalog.enter(&due, at(0)).await.unwrap());
    }
    let begun = Instant::now();
    for number in 0..200 {
        let claim = catalog.claim(&worker, at(500), Duration::from_secs(60)).await.unwrap().unwrap();
        assert_eq!(claim.due.scheduled_for, at(number));
        let end = catalog::JobEnd::Done { code: 0, message: String::new() };
        assert!(catalog.finish(&claim, &end, at(501)).await.unwrap());
    }
    println!("a claim and its end beside 100,000 jobs: {:?}", begun.elapsed() / 200);
    let begun = Instant::now();
    let cleaned = catalog.clean(at(-1)).await.unwrap();
    println!("100,000 jobs forgotten in {:?}", begun.elapsed());
    assert_eq!(cleaned.jobs, 100_000);
}
