//! A server that is killed in the middle of work, and started again, several times: no job is lost, and
//! none is done twice by claims that hold.

use crate::catalog::{Catalog, CatalogError, Claim, Due, JobEnd, JobState, Worker};
use crate::server::Server;
use futures::future::BoxFuture;
use holdfast_tests::postgres::Version;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Jobs, and how often the server is killed.
const JOBS: u32 = 150;
const KILLS: u32 = 4;
/// So long a claim holds: what is lost in a crash comes back soon.
const TERM: Duration = Duration::from_secs(2);

/// By which claim each job was ended, as its worker was told.
type Ended = Arc<Mutex<BTreeMap<i64, i64>>>;

fn due(number: u32) -> Due {
    Due {
        policy: format!("p{}", number % 7),
        activity: "run".into(),
        source: None,
        scheduled_for: Timestamp::from_second(1_795_000_000 + i64::from(number)).unwrap(),
        labels: vec![],
        groups: vec![],
        missed: 0,
    }
}

/// Says something until the server has an answer.
async fn until_answered<'a, T>(say: impl Fn() -> BoxFuture<'a, Result<T, CatalogError>>) -> T {
    loop {
        match say().await {
            Ok(answer) => return answer,
            Err(error) => {
                assert!(matches!(error, CatalogError::Away { .. }), "{error}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

async fn work(catalog: Catalog, me: Worker, done: Arc<AtomicU32>, ended: Ended) {
    while done.load(Ordering::Relaxed) < JOBS {
        until_answered(|| Box::pin(catalog.take_back(Timestamp::now()))).await;
        // A claim whose answer was lost is nobody's until it runs out.
        let claim = until_answered(|| Box::pin(catalog.claim(&me, Timestamp::now(), TERM))).await;
        let Some(claim) = claim else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        if finish(&catalog, &claim).await {
            let before = ended.lock().unwrap().insert(claim.job, claim.fence);
            assert_eq!(before, None, "job {} was ended twice", claim.job);
            done.fetch_add(1, Ordering::Relaxed);
        }
    }
}

async fn finish(catalog: &Catalog, claim: &Claim) -> bool {
    let end = JobEnd::Done { code: 0, message: format!("by {}", claim.fence) };
    until_answered(|| Box::pin(catalog.finish(claim, &end, Timestamp::now()))).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_loses_no_job_and_none_is_done_twice() {
    let server = Server::start(Version::V15).await;
    let place = server.database().place();
    let (done, ended) = (Arc::new(AtomicU32::new(0)), Ended::default());
    let entering = Catalog::open(&place).await.unwrap();
    let mut workers = Vec::new();
    for number in 0..4 {
        let me = Worker { name: format!("w{number}"), host: "h".into(), labels: vec![] };
        let catalog = Catalog::open(&place).await.unwrap();
        workers.push(tokio::spawn(work(catalog, me, Arc::clone(&done), Arc::clone(&ended))));
    }
    let enters = tokio::spawn(async move {
        for number in 0..JOBS {
            let due = due(number);
            until_answered(|| Box::pin(entering.enter(&due, Timestamp::now()))).await;
        }
    });
    for kill in 1..=KILLS {
        // Each time when a part more is done.
        while done.load(Ordering::Relaxed) < JOBS * kill / (KILLS + 2) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        server.with(|cluster| {
            cluster.kill();
            cluster.start();
        });
    }
    enters.await.unwrap();
    for worker in workers {
        worker.await.unwrap();
    }
    let ended = ended.lock().unwrap().clone();
    assert_eq!(ended.len(), JOBS as usize);
    let catalog = Catalog::open(&place).await.unwrap();
    for policy in 0..7 {
        for job in catalog.jobs(&format!("p{policy}"), JOBS).await.unwrap() {
            // What stands there is what the claim that holds said.
            let said = format!("by {}", ended[&job.id]);
            let right = matches!(&job.state, JobState::Ended { end: JobEnd::Done { message, .. }, .. } if *message == said);
            assert!(right, "{job:?} {said}");
        }
    }
}
