//! The catalog: what comes back, several at once, files that are none.

#![expect(clippy::unwrap_used, reason = "a test")]

use super::base::ask;
use super::jobs::fitting;
use super::{Catalog, CatalogError, Due, JobEnd, Place, Run, RunEnd, Worker};
use jiff::Timestamp;
use std::path::Path;

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

fn folder() -> (tempfile::TempDir, Place) {
    let folder = tempfile::tempdir().unwrap();
    let path = Place::File(folder.path().join("new/catalog.db"));
    (folder, path)
}

/// Writes from a connection of its own.
async fn write(path: Place, number: i64) {
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
    Catalog::open(&path.to_owned().into()).await.unwrap_err()
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
    catalog.base.execute(&ask("INSERT INTO @holdfast_catalog VALUES (7)")).await.unwrap();
    catalog.close().await;
    let error = Catalog::open(&path).await.unwrap_err();
    assert!(matches!(error, CatalogError::Later { version: 7, .. }), "{error}");
    assert!(error.to_string().contains("newer version of holdfast"), "{error}");

    let (_other, path) = self::folder();
    let catalog = Catalog::open(&path).await.unwrap();
    for text in ["DROP TABLE holdfast_catalog", "CREATE TABLE theirs (x)"] {
        catalog.base.execute(&ask(text)).await.unwrap();
    }
    catalog.close().await;
    let error = Catalog::open(&path).await.unwrap_err();
    assert!(matches!(error, CatalogError::NotOurs { .. }), "{error}");
}

#[tokio::test]
async fn a_catalog_that_breaks_while_it_is_open_is_told() {
    let (_folder, path) = folder();
    let catalog = Catalog::open(&path).await.unwrap();
    catalog.base.execute(&ask("DROP TABLE run")).await.unwrap();
    let error = catalog.begin(&run(None, 1)).await.unwrap_err();
    assert!(error.to_string().contains("catalog.db"), "{error}");
}

#[tokio::test]
async fn one_of_the_version_before_is_brought_up_to_date_with_what_is_in_it() {
    let (_folder, path) = folder();
    let catalog = Catalog::open(&path).await.unwrap();
    catalog.begin(&run(None, 1)).await.unwrap();
    for table in ["job", "job_label", "job_group", "taken", "worker", "alert", "delivery", "silence", "ways"]
    {
        catalog.base.execute(&ask(format!("DROP TABLE {table}"))).await.unwrap();
    }
    catalog.base.execute(&ask("DELETE FROM holdfast_catalog WHERE version > 1")).await.unwrap();
    catalog.close().await;
    let catalog = Catalog::open(&path).await.unwrap();
    assert_eq!(catalog.runs("shop", 9).await.unwrap().len(), 1);
    assert!(catalog.jobs("shop", 9).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_look_makes_no_catalog() {
    let (_folder, path) = folder();
    assert!(Catalog::open_if_there(&path).await.unwrap().is_none());
    assert!(!matches!(&path, Place::File(file) if file.exists()));
    Catalog::open(&path).await.unwrap().close().await;
    assert!(Catalog::open_if_there(&path).await.unwrap().is_some());
}

/// How long it takes is printed; how it is done is asserted.
#[tokio::test]
async fn a_claim_does_not_look_through_what_has_ended() {
    let (_folder, path) = folder();
    let catalog = Catalog::open(&path).await.unwrap();
    let many = "INSERT INTO @job (policy, activity, source, scheduled_for, missed, labels, group_names, state, fence, \
                attempt, entered, ended, code, message) \
                WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 100000) \
                SELECT 'p' || (n % 50), 'run', '', n, 0, '[]', '[]', 'done', 1, 1, n, n, 0, '' FROM numbers";
    assert_eq!(catalog.base.execute(&ask(many)).await.unwrap(), 100_000);
    let worker = Worker { name: "w".into(), host: "h".into(), labels: vec!["s3".into()] };
    let plan = catalog.all(&fitting(&worker).explained(), |row| row.text("detail")).await.unwrap();
    assert!(plan.iter().any(|step| step.contains("job_free")), "{plan:?}");
    assert!(!plan.iter().any(|step| step.starts_with("SCAN") && !step.contains("INDEX")), "{plan:?}");
    for number in 0..50 {
        let due = Due {
            policy: format!("p{number}"),
            activity: "run".into(),
            source: None,
            scheduled_for: at(number),
            labels: vec!["s3".into()],
            groups: vec![format!("g{number}")],
            missed: 0,
        };
        assert!(catalog.enter(&due, at(0)).await.unwrap());
    }
    let begun = std::time::Instant::now();
    for number in 0..50 {
        let claim =
            catalog.claim(&worker, at(500), std::time::Duration::from_secs(60)).await.unwrap().unwrap();
        assert_eq!(claim.due.scheduled_for, at(number));
        let end = JobEnd::Done { code: 0, message: String::new() };
        assert!(catalog.finish(&claim, &end, at(501)).await.unwrap());
    }
    eprintln!("a claim and its end beside 100,000 jobs: {:?}", begun.elapsed() / 50);
    let begun = std::time::Instant::now();
    assert_eq!(catalog.clean(at(-1)).await.unwrap().jobs, 100_000);
    eprintln!("100,000 jobs forgotten in {:?}", begun.elapsed());
}

#[tokio::test]
async fn one_that_others_brought_up_to_date_or_emptied_is_not_used_any_more() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = Catalog::open(&Place::File(dir.path().join("catalog"))).await.unwrap();
    catalog.is_as_known().await.unwrap();
    catalog.base.execute(&ask("INSERT INTO @holdfast_catalog (version) VALUES (99)")).await.unwrap();
    let error = catalog.is_as_known().await.unwrap_err();
    assert!(matches!(error, CatalogError::Later { version: 99, .. }), "{error}");
    catalog.base.execute(&ask("DELETE FROM @holdfast_catalog")).await.unwrap();
    assert!(matches!(catalog.is_as_known().await.unwrap_err(), CatalogError::Damaged { .. }));
}
