//! What a copy is behind by, and a source that came to nothing.

#![expect(clippy::unwrap_used, reason = "a test")]

use super::State;
use super::status_tests::{POLICY, conditions, snapshot, stands, well};
use serde_json::{Value, json};

fn with_files(mut line: Value, files: u64) -> Value {
    line["summary"]["total_files_processed"] = files.into();
    line
}

/// The other sources, with these of the tree.
fn with(tree: Vec<Value>) -> Vec<Value> {
    [vec![snapshot(1, "shop/db", "21T02:16"), snapshot(3, "shop/media", "22T02:31")], tree].concat()
}

#[tokio::test]
async fn a_snapshot_that_was_left_out_is_missed_though_a_newer_one_is_there() {
    let (a, b) = (snapshot(2, "shop/tree", "20T02:20"), snapshot(4, "shop/tree", "21T02:20"));
    let fake = well().says("repository", "snapshots", with(vec![a.clone(), b.clone()])).says(
        "offsite",
        "snapshots",
        with(vec![b.clone()]),
    );
    for retention in ["", ", retention: { keep_daily: 30 }"] {
        let text = POLICY.replace("max_lag: 6h", &format!("max_lag: 6h{retention}"));
        let status = stands(&fake, &text).await;
        assert_eq!(status.copies[0].behind, Some(1), "{retention}");
        assert_eq!(conditions(&status), [("copy-lag", State::Warning)], "{retention}");
    }
    // What it forgot by its own rules is not missing, nor what it forgot by the rules of all.
    let text = POLICY.replace("max_lag: 6h", "max_lag: 6h, retention: { keep_last: 1 }");
    assert_eq!(stands(&fake, &text).await.copies[0].behind, Some(0));
    let text = format!("{POLICY}retention: {{ keep_last: 1 }}\n");
    assert_eq!(stands(&fake, &text).await.copies[0].behind, Some(0));
}

#[tokio::test]
async fn a_source_that_fell_to_nothing_is_told() {
    let (full, none) = (
        with_files(snapshot(2, "shop/tree", "20T02:20"), 400),
        with_files(snapshot(4, "shop/tree", "21T02:20"), 0),
    );
    let of = async |tree: Vec<Value>| {
        let lines = with(tree);
        let fake = well().says("repository", "snapshots", lines.clone()).says("offsite", "snapshots", lines);
        stands(&fake, POLICY).await
    };
    let status = of(vec![full.clone(), none.clone()]).await;
    assert_eq!(conditions(&status), [("emptied", State::Warning)]);
    let problem = &status.problems[0];
    assert!(problem.what.contains("04040404 has no file, and that of 11-20 02:20 has 400"), "{problem:?}");
    assert!(problem.to_do.ends_with("tag 04040404 --add size-accepted"), "{problem:?}");
    // Its latest is worth nothing.
    assert_eq!(problem.restore, "holdfast -r /backups/shop restore 02020202 --target DIR --dry-run");
    // Somebody says that it is right, or it never had any.
    let mut meant = none.clone();
    meant["tags"] = json!(["size-accepted"]);
    assert_eq!(conditions(&of(vec![full, meant]).await), []);
    assert_eq!(conditions(&of(vec![none]).await), []);
}
