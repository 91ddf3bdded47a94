//! Which part of a snapshot is restored where all of it would be too much.
//!
//! Parts are folders and files, picked at random, so that drill after drill every part has its turn.
//! How large one is says a rehearsed restore, which reads no content. On purpose not here: restoring.

use super::Subject;
use super::restored::{bare, number, words};
use crate::hands::{Answer, Hands};
use crate::policy::units::Size;
use holdfast_engine::proof::{Cause, Finding};
use serde_json::Value;

/// So many questions are asked at most: each is a process.
const QUESTIONS_MAX: usize = 40;
/// So many names of a folder are looked at.
const NAMES_MAX: usize = 1000;

/// Where a size is measured in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Measure {
    /// What is fetched from the repository.
    Fetched,
    /// What is restored.
    Restored,
}

/// How large something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    /// Bytes that are fetched.
    pub(super) fetched: u64,
    /// Bytes that are restored.
    pub(super) restored: u64,
}

impl Extent {
    const fn by(self, measure: Measure) -> u64 {
        match measure {
            Measure::Fetched => self.fetched,
            Measure::Restored => self.restored,
        }
    }
}

/// Parts, and how many bytes they have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parts {
    /// Paths in the snapshot.
    pub(super) paths: Vec<String>,
    /// Their size when they are restored.
    pub(super) bytes: u64,
}

/// How large a snapshot is, or a path in it.
pub(super) async fn extent(
    hands: &dyn Hands,
    subject: Subject<'_>,
    snapshot: &str,
) -> Result<Extent, Answer> {
    let mut words = words(snapshot, subject.scratch.join("rehearsed"));
    words.push("--dry-run".into());
    let answer = hands.verb(bare(subject, words, None)).await.map_err(|why| stated(&why))?;
    if answer.line("summary").is_none() {
        return Err(answer);
    }
    let bytes = |field: &str| number(&answer, "summary", field);
    Ok(Extent { fetched: bytes("bytes_fetched"), restored: bytes("bytes_restored") })
}

/// A verb that could not even be started, as if it had said so itself.
fn stated(why: &str) -> Answer {
    let line = serde_json::json!({ "message_type": "exit_error", "message": why, "code": 2 });
    Answer { code: 2, problems: vec![line], ..Answer::default() }
}

/// Picks parts that together are not larger than `most`.
pub(super) async fn pick(
    hands: &dyn Hands,
    subject: Subject<'_>,
    (id, paths): (&str, &[String]),
    most: u64,
    measure: Measure,
) -> Result<Parts, Finding> {
    let seed = hands.random();
    let mut open = shuffled(paths.to_vec(), seed);
    let (mut parts, mut left, mut least) = (Parts { paths: Vec::new(), bytes: 0 }, most, u64::MAX);
    let mut asked = 0;
    while let Some(path) = open.pop() {
        if asked >= QUESTIONS_MAX || left < most / 4 {
            break;
        }
        asked += 1;
        let failed = |answer: Answer| cannot(&answer.failure());
        let extent = extent(hands, subject, &format!("{id}:{path}")).await.map_err(failed)?;
        let size = extent.by(measure);
        if size <= left {
            left -= size;
            parts.bytes += extent.restored;
            parts.paths.push(path);
            continue;
        }
        asked += 1;
        match below(hands, subject, id, &path).await {
            Ok(Some(names)) => open.extend(shuffled(names, seed)),
            Ok(None) => least = least.min(size),
            Err(why) => return Err(why),
        }
    }
    if parts.paths.is_empty() {
        let what = match least {
            u64::MAX => format!("no part of it has at most {}", Size(most)),
            least => format!(
                "no part of it has at most {}; the least that was found has {}",
                Size(most),
                Size(least)
            ),
        };
        return Err(cannot(&(what, "allow more: drill.max_download".into())));
    }
    parts.paths.sort();
    Ok(parts)
}

fn cannot((what, next): &(String, String)) -> Finding {
    let what = format!("a part could not be picked: {what}");
    Finding { cause: Cause::Environment, what, next: next.clone() }
}

/// What lies in a folder; none if it is no folder.
async fn below(
    hands: &dyn Hands,
    subject: Subject<'_>,
    id: &str,
    path: &str,
) -> Result<Option<Vec<String>>, Finding> {
    let words = vec!["ls".into(), format!("{id}:{path}").into()];
    let nothing = |why: String| cannot(&(why, String::new()));
    let answer = hands.verb(bare(subject, words, None)).await.map_err(nothing)?;
    if !answer.is_ok() {
        return Err(cannot(&answer.failure()));
    }
    let is_folder = |line: &Value| line["path"] == path && line["type"] == "dir";
    if !answer.all("node").any(is_folder) {
        return Ok(None);
    }
    // A path that is no text cannot be asked for again.
    let is_text = |line: &&Value| line["path"] != path && line["path_base64"].is_null();
    let nodes = answer.all("node").filter(is_text);
    Ok(Some(nodes.filter_map(|line| line["path"].as_str().map(str::to_owned)).take(NAMES_MAX).collect()))
}

/// In an order that the seed decides.
fn shuffled(mut paths: Vec<String>, seed: u64) -> Vec<String> {
    let place = |path: &String| {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes());
        hasher.update(path.as_bytes());
        *hasher.finalize().as_bytes()
    };
    paths.sort_by_cached_key(place);
    paths
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::super::fake::{Fake, Stage, ok};
    use super::*;
    use serde_json::json;

    /// `/srv` has two folders: `a` with 3 and 4, `b` with 50 in one file.
    fn tree() -> Fake {
        let sizes =
            [("/srv", 57), ("/srv/a", 7), ("/srv/a/1", 3), ("/srv/a/2", 4), ("/srv/b", 50), ("/srv/b/1", 50)];
        Fake::new(move |call| {
            let words: Vec<_> = call.words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
            let path = words[1].split_once(':').unwrap().1.to_owned();
            if words[0] == "restore" {
                let (_, size) = sizes.iter().find(|(name, _)| *name == path).unwrap();
                return ok(vec![
                    json!({ "message_type": "summary", "bytes_restored": size, "bytes_fetched": size }),
                ]);
            }
            let depth = |text: &str| text.matches('/').count();
            let inside = |name: &str| {
                name == path || name.starts_with(&format!("{path}/")) && depth(name) == depth(&path) + 1
            };
            let kind = |name: &str| if name.ends_with(['1', '2']) { "file" } else { "dir" };
            let nodes = sizes.iter().filter(|(name, _)| inside(name));
            ok(nodes
                .map(|(name, _)| json!({ "message_type": "node", "path": name, "type": kind(name) }))
                .collect())
        })
    }

    async fn picked(most: u64, seed: u64) -> Result<Parts, Finding> {
        let fake = tree().with_random(seed);
        let stage = Stage::files(&["/srv"]);
        pick(&fake, stage.subject(), ("3f", &["/srv".into()]), most, Measure::Fetched).await
    }

    #[tokio::test]
    async fn parts_fit_and_change() {
        let whole = picked(57, 0).await.unwrap();
        assert_eq!((whole.paths, whole.bytes), (vec!["/srv".to_owned()], 57));
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..40 {
            let parts = picked(50, seed).await.unwrap();
            assert!(parts.bytes <= 50 && parts.bytes > 0, "{parts:?}");
            seen.insert(parts.paths);
        }
        assert!(seen.len() >= 2, "each has its turn: {seen:?}");
        let small = picked(7, 1).await.unwrap();
        assert_eq!(small.paths, ["/srv/a"]);
        let none = picked(2, 1).await.unwrap_err();
        assert!(none.what.contains("2B") && none.what.contains("3B"), "{none:?}");
    }
}
