//! The catalog: what comes back, several at once, files that are none.

#![expect(clippy::unwrap_used, reason = "a test")]

use super::{Catalog, CatalogError, Run, RunEnd};
use jiff::Timestamp;
use std::path::{Path, PathBuf};

fn at(second: i64) -> Timestamp {
    Timestamp::new(1_795_000_000 + second, 7).unwrap()
}

fn run(source: Option<&str>, second: i64) -> Run {
    Run {
        policy: "shop".into(),
        source: source.map(Into::into),
        activity: "backup".into(),
        started: at(second),
    }
}

fn end(second: i64, code: u8) -> RunEnd {
    let message = if code == 0 { String::new() } else { format!("failed with {code}") };
    RunEnd { ended: at(second), code, message, snapshot: (code == 0).then(|| "3f2a".to_owned()) }
}

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new/catalog.db");
    (folder, path)
}

#[tokio::test]
async fn what_is_remembered_comes_back() {
    let (_folder, path) = folder();
    let catalog = Catalog::open(&path).await.unwrap();
    catalog.remember_policy("shop", "/etc/a.yaml", "aa", at(0)).await.unwrap();
    catalog.remember_policy("shop", "/etc/b.yaml", "bb", at(9)).await.unwrap();
    let first = catalog.begin(&run(Some("db"), 1)).await.unwrap();
    catalog.end(first, &end(2, 0)).await.unwrap();
    let second = catalog.begin(&run(Some("db"), 3)).await.unwrap();
    catalog.end(second, &end(4, 3)).await.unwrap();
    let third = catalog.begin(&run(Some("db"), 5)).await.unwrap();
    catalog.begin(&run(None, 6)).await.unwrap();
    catalog.close().await;

    let catalog = Catalog::open(&path).await.unwrap();
    let policies = catalog.policies().await.unwrap();
    assert_eq!(policies.len(), 1);
    assert_eq!((&*policies[0].file, &*policies[0].hash), ("/etc/b.yaml", "bb"));
    assert_eq!((policies[0].first_seen, policies[0].last_seen), (at(0), at(9)));
    let runs = catalog.runs("shop", 2).await.unwrap();
    assert_eq!(runs.iter().map(|ran| &ran.run).collect::<Vec<_>>(), [&run(None, 6), &run(Some("db"), 5)]);
    let last = catalog.last("shop", Some("db"), "backup").await.unwrap();
    assert_eq!(last.good.unwrap().end, Some(end(2, 0)));
    assert_eq!(last.failed.unwrap().end, Some(end(4, 3)));
    assert_eq!(last.open.unwrap().id, third);
    assert_eq!(catalog.last("shop", Some("db"), "drill").await.unwrap(), super::Last::default());
    assert!(catalog.last("shop", None, "backup").await.unwrap().open.is_some());
    assert!(catalog.forget_policy("shop").await.unwrap() && !catalog.forget_policy("shop").await.unwrap());
    assert_eq!(catalog.runs("shop", 9).await.unwrap().len(), 4);
}

#[tokio::test]
async fn drills_are_remembered_once_and_newest_first() {
    let (_folder, path) = folder();
    let catalog = Catalog::open(&path).await.unwrap();
    let record = |id: &str, second: i64, version: u32| {
        serde_json::json!({
            "version": version, "id": id, "policy": "shop", "policy_hash": "aa", "host": "h", "user": "u",
            "program": "0.1.0", "started": at(second), "ended": at(second + 1), "from": "repository",
            "url": "/r", "key": "owner", "level": "full", "sources": [], "objectives": [], "scratch": [],
            "verdict": "pass", "code": 0,
        })
        .to_string()
    };
    for text in [record("a", 1, 1), record("b", 2, 1), record("a", 3, 1), record("c", 4, 99)] {
        catalog.remember_drill(&text).await.unwrap();
    }
    let drills = catalog.drills("shop").await.unwrap();
    assert_eq!(drills.iter().map(|record| record.id.as_str()).collect::<Vec<_>>(), ["b", "a"]);
    assert_eq!(drills[1].started, at(1));
    let error = catalog.remember_drill("{}").await.unwrap_err();
    assert!(matches!(error, CatalogError::NoRecord { .. }), "{error}");
}

/// Writes from a connection of its own.
async fn write(path: PathBuf, number: i64) {
    let catalog = Catalog::open(&path).await.unwrap();
    for round in 0..50 {
        let id = catalog.begin(&run(Some("db"), number * 1000 + round)).await.unwrap();
        catalog.end(id, &end(round, 0)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_make_it_and_write_at_once() {
    // Who makes it is another one each time.
    for _ in 0..20 {
        let (_folder, path) = folder();
        let makers: Vec<_> = (0..4)
            .map(|_| {
                tokio::spawn({
                    let path = path.clone();
                    async move { Catalog::open(&path).await.map(drop) }
                })
            })
            .collect();
        for maker in makers {
            maker.await.unwrap().unwrap();
        }
    }
    let (_folder, path) = folder();
    let all: Vec<_> = (0..4).map(|number| tokio::spawn(write(path.clone(), number))).collect();
    for one in all {
        one.await.unwrap();
    }
    let catalog = Catalog::open(&path).await.unwrap();
    let runs = catalog.runs("shop", 1000).await.unwrap();
    assert_eq!(runs.len(), 200);
    assert!(runs.iter().all(|ran| ran.end.is_some()));
}

async fn refused(path: &Path) -> CatalogError {
    Catalog::open(path).await.unwrap_err()
}

#[tokio::test]
async fn files_that_are_no_catalog_are_refused_by_name_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let junk = folder.path().join("junk.db");
    let bytes = b"this is no database, and longer than the header of one would be: ".repeat(100);
    std::fs::write(&junk, &bytes).unwrap();
    let error = refused(&junk).await;
    assert!(matches!(error, CatalogError::Damaged { .. }), "{error}");
    assert!(error.to_string().contains("junk.db") && error.to_string().contains("no backup depends"));
    assert_eq!(std::fs::read(&junk).unwrap(), bytes);

    let error = refused(folder.path()).await;
    assert!(matches!(error, CatalogError::OutOfReach { .. }), "{error}");
    let error = refused(&junk.join("below a file")).await;
    assert!(matches!(error, CatalogError::OutOfReach { .. }), "{error}");

    let (_other, path) = self::folder();
    let catalog = Catalog::open(&path).await.unwrap();
    sqlx::query("INSERT INTO holdfast_catalog VALUES (7)").execute(&catalog.pool).await.unwrap();
    catalog.close().await;
    let error = refused(&path).await;
    assert!(matches!(error, CatalogError::Later { version: 7, .. }), "{error}");
    assert!(error.to_string().contains("newer version of holdfast"), "{error}");

    let (_other, path) = self::folder();
    let catalog = Catalog::open(&path).await.unwrap();
    for text in ["DROP TABLE holdfast_catalog", "CREATE TABLE theirs (x)"] {
        sqlx::query(text).execute(&catalog.pool).await.unwrap();
    }
    catalog.close().await;
    let error = refused(&path).await;
    assert!(matches!(error, CatalogError::NotOurs { .. }), "{error}");
}

#[tokio::test]
async fn a_catalog_that_breaks_while_it_is_open_is_told() {
    let (_folder, path) = folder();
    let catalog = Catalog::open(&path).await.unwrap();
    sqlx::query("DROP TABLE run").execute(&catalog.pool).await.unwrap();
    let error = catalog.begin(&run(None, 1)).await.unwrap_err();
    assert!(error.to_string().contains("catalog.db"), "{error}");
}

#[test]
fn places() {
    assert_eq!(Catalog::place("/var/lib/catalog.db").unwrap(), PathBuf::from("/var/lib/catalog.db"));
    assert_eq!(Catalog::place("sqlite:///var/c.db").unwrap(), PathBuf::from("/var/c.db"));
    assert_eq!(Catalog::place("sqlite://c.db").unwrap(), PathBuf::from("c.db"));
    for text in ["postgres://me:secret@db/holdfast", "postgresql://db", "mysql://x", "sqlite://"] {
        let error = Catalog::place(text).unwrap_err().to_string();
        assert!(error.contains("not supported") && !error.contains("secret"), "{error}");
    }
}
