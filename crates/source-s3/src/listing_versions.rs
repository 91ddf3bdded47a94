//! The listing of all versions: page after page, ahead of whoever takes them, and each version given
//! its place among those of its object.
//!
//! Servers state whole seconds, and several versions may share one. Of what they list of an object the
//! later is older, so the order of the listing decides where times do not; and the one that is called
//! the latest comes last whatever its time. The client library gives versions and delete markers as
//! two lists, so their common order is read from the answer itself. On purpose not here: what becomes
//! of them; [`crate::listing`], which lists what is there now; servers whose pages have gaps.

use crate::listing::{Ascent, Listed, ListedVersion, Page, plain_etag};
use crate::listing_gaps::{WITH_GAPS, refuse_gaps};
use crate::source::Shared;
use aws_sdk_s3::config::interceptors::AfterDeserializationInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_sdk_s3::operation::list_object_versions::ListObjectVersionsOutput;
use aws_sdk_s3::primitives::DateTime;
use holdfast_core::entry::Time;
use holdfast_engine::source::SourceError;
use holdfast_store::{ErrorKind, StoreError};
use holdfast_store_s3::{About, Answer};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Pages that may wait to be taken.
const PAGES_AHEAD: usize = 4;
/// Versions of one page that is handed on.
const PAGE_VERSIONS: usize = 1000;
/// So often a page is asked for that breaks off, beyond what the client library tries by itself.
const ATTEMPTS: u32 = 3;
/// Versions of one object that are held until their order is known: some 5 MB.
const HELD_MAX: usize = 20_000;
/// So many pages without anything may follow each other.
const EMPTY_PAGES_MAX: u32 = 100;

/// Starts to list in the background.
pub(crate) fn start(shared: &Arc<Shared>) -> Receiver<Result<Page, SourceError>> {
    let (sender, receiver) = channel(PAGES_AHEAD);
    let lister = Arc::clone(shared);
    shared.handle.spawn(async move {
        if let Err(error) = list(&lister, &sender).await {
            // Nobody takes it any more: the run has ended.
            let _ = sender.send(Err(error)).await;
        }
    });
    receiver
}

async fn list(shared: &Shared, sender: &Sender<Result<Page, SourceError>>) -> Result<(), SourceError> {
    let (mut marker, mut empty) = (Marker::default(), 0);
    let (mut ascent, mut run) = (Ascent::default(), Run::default());
    loop {
        let answer = answer(shared, &Asked { marker: marker.clone(), ..Asked::all(shared) }).await?;
        let (more, next, has_gaps) = (answer.more, answer.next, answer.has_gaps);
        let rows = answer.rows.map_err(|what| shared.failed(what))?;
        if let (true, true, Some(end)) = (more, has_gaps, &next.key) {
            refuse_gaps(shared, &rows, (&run, marker.key.as_deref()), end).await?;
        }
        empty = if rows.is_empty() { empty + 1 } else { 0 };
        let mut listed = Page::new();
        for row in rows {
            if !row.key.starts_with(&shared.address.prefix) {
                return Err(shared.failed(&format!("lists {}, which was not asked for", row.key)));
            }
            if row.key != run.key {
                run.finish(&mut listed).map_err(|what| shared.failed(&what))?;
                if !ascent.follows(&row.key) {
                    let what = format!("goes back in its listing, or repeats itself, at {}", row.key);
                    return Err(shared.failed(&what));
                }
                run = Run::of(&row.key);
            }
            run.add(row, &mut listed).map_err(|what| shared.failed(&what))?;
        }
        if !more {
            run.finish(&mut listed).map_err(|what| shared.failed(&what))?;
        }
        if !send(sender, listed).await || !more {
            return Ok(());
        }
        if next.key.is_none() {
            return Err(shared.failed("says that there is more to list, and not how to get it"));
        }
        if next == marker || empty > EMPTY_PAGES_MAX {
            return Err(shared.failed("gives the same page of its listing again and again"));
        }
        marker = next;
    }
}

/// Hands on what is known, in pages that are not too long; false if nobody takes them any more.
async fn send(sender: &Sender<Result<Page, SourceError>>, mut listed: Page) -> bool {
    while !listed.is_empty() {
        let rest = listed.split_off(listed.len().min(PAGE_VERSIONS));
        if sender.send(Ok(listed)).await.is_err() {
            return false;
        }
        listed = rest;
    }
    true
}

/// Where a listing goes on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Marker {
    key: Option<String>,
    version: Option<String>,
}

impl Marker {
    fn after(answer: &ListObjectVersionsOutput) -> Self {
        let stated = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        Self { key: stated(&answer.next_key_marker), version: stated(&answer.next_version_id_marker) }
    }
}

/// What is asked of a server.
#[derive(Debug, Clone)]
pub(crate) struct Asked<'a> {
    /// What keys begin with.
    prefix: &'a str,
    /// Where to go on.
    marker: Marker,
    /// Also what lies behind a slash that follows the prefix.
    below_folders: bool,
}

impl<'a> Asked<'a> {
    /// What begins with a stem, and of what lies in folders only their names.
    pub(crate) fn near(stem: &'a str) -> Self {
        Self { prefix: stem, marker: Marker::default(), below_folders: false }
    }

    fn all(shared: &'a Shared) -> Self {
        Self { prefix: &shared.address.prefix, marker: Marker::default(), below_folders: true }
    }
}

/// What a server answers.
pub(crate) struct Answered {
    rows: Result<Vec<Row>, &'static str>,
    /// Folders whose contents were not asked for.
    folders: Vec<String>,
    more: bool,
    next: Marker,
    /// Its pages are not to be believed.
    has_gaps: bool,
}

impl Answered {
    fn of(output: ListObjectVersionsOutput, seen: &Seen) -> Self {
        let (more, next) = (output.is_truncated.unwrap_or(false), Marker::after(&output));
        let folders = output.common_prefixes().iter().filter_map(|folder| folder.prefix.clone()).collect();
        Self { rows: in_order(output, &seen.kinds), folders, more, next, has_gaps: seen.has_gaps }
    }

    /// Its rows, its folders, and whether there is more.
    pub(crate) fn near(self, shared: &Shared) -> Result<(Vec<Row>, Vec<String>, bool), SourceError> {
        Ok((self.rows.map_err(|what| shared.failed(what))?, self.folders, self.more))
    }
}

/// Asks whether a version of an object is listed. It takes no turn: whoever asks has one.
pub(crate) async fn is_listed(shared: &Shared, key: &str, version: &str) -> Result<bool, SourceError> {
    let mut marker = Marker::default();
    loop {
        let asked = Asked { prefix: key, marker: marker.clone(), below_folders: true };
        let Answered { rows, more, next, .. } = answer(shared, &asked).await?;
        let rows = rows.map_err(|what| shared.failed(what))?;
        let of_it = |row: &&Row| row.key == key;
        if rows.iter().filter(of_it).any(|row| row.id == version) {
            return Ok(true);
        }
        // Whatever else begins so comes after it, in either order.
        if !more || next == marker || !rows.iter().all(|row| row.key == key) {
            return Ok(false);
        }
        marker = next;
    }
}

/// Asks for a page.
pub(crate) async fn answer(shared: &Shared, asked: &Asked<'_>) -> Result<Answered, SourceError> {
    let mut attempt = 0;
    loop {
        attempt += 1;
        let look = Look::default();
        let request = shared
            .client
            .list_object_versions()
            .bucket(&shared.address.bucket)
            .set_prefix(Some(asked.prefix.to_owned()).filter(|prefix| !prefix.is_empty()))
            .set_delimiter((!asked.below_folders).then(|| "/".to_owned()))
            .set_key_marker(asked.marker.key.clone())
            .set_version_id_marker(asked.marker.version.clone());
        match request.customize().interceptor(look.clone()).send().await {
            Ok(page) => return Ok(Answered::of(page, &look.take())),
            Err(error) => {
                let answer = Answer::of(error);
                let unknown = answer.is_unknown();
                let subject = shared.subject();
                let error = answer.into_error(&About { operation: "list", subject: &subject });
                if error.kind != ErrorKind::Retry || attempt == ATTEMPTS {
                    return Err(explained(&subject, unknown, error));
                }
            }
        }
    }
}

fn explained(subject: &str, unknown: bool, error: StoreError) -> SourceError {
    let hint = match error.kind {
        _ if unknown => {
            "the server does not know versions (ListObjectVersions): back up what is there now, with \
             --versions current"
        }
        ErrorKind::Denied => {
            "check the credentials (AWS_ACCESS_KEY_ID, HOLDFAST_SOURCE_AWS_ACCESS_KEY_ID, or profile= in the \
             URL) and that they may list versions (s3:ListBucketVersions)"
        }
        ErrorKind::Unusable | ErrorKind::NotFound => {
            "check the bucket, the region and the endpoint in the URL"
        }
        _ => {
            "check that the server can be reached and knows versions (ListObjectVersions), and back up again, \
             or with --versions current"
        }
    };
    SourceError { what: format!("cannot list the versions of {subject}: {hint}"), source: Some(error.source) }
}

/// What a row of the answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RowKind {
    Version,
    DeleteMarker,
}

/// What only the answer itself tells.
#[derive(Debug, Default)]
struct Seen {
    /// Of its rows, in their order.
    kinds: Vec<RowKind>,
    has_gaps: bool,
}

/// Looks at an answer beside the client library, for the order of its rows and whose it is.
#[derive(Debug, Clone, Default)]
struct Look(Arc<Mutex<Seen>>);

impl Look {
    fn take(&self) -> Seen {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Intercept for Look {
    fn name(&self) -> &'static str {
        "Look"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _settings: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response();
        let kinds = kinds_in(response.body().bytes().unwrap_or_default());
        let has_gaps = response.headers().get("server").is_some_and(|server| server.starts_with(WITH_GAPS));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Seen { kinds, has_gaps };
        Ok(())
    }
}

/// The kinds of the rows in an answer. In the text of an element no tag can stand.
fn kinds_in(xml: &[u8]) -> Vec<RowKind> {
    let mut kinds = Vec::new();
    for tag in xml.split(|byte| *byte == b'<').skip(1) {
        let name = tag.split(|byte| matches!(byte, b'>' | b' ' | b'\t' | b'\r' | b'\n')).next();
        match name.unwrap_or_default() {
            b"Version" => kinds.push(RowKind::Version),
            b"DeleteMarker" => kinds.push(RowKind::DeleteMarker),
            _ => {}
        }
    }
    kinds
}

/// A version as it was listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub key: String,
    pub id: String,
    time: Time,
    is_latest: bool,
    is_marker: bool,
    size: u64,
    etag: String,
    class: String,
}

const INCOMPLETE: &str = "lists a version without its key, time or length";

/// The rows of an answer, in its order.
fn in_order(answer: ListObjectVersionsOutput, kinds: &[RowKind]) -> Result<Vec<Row>, &'static str> {
    let versions = answer.versions.unwrap_or_default();
    let markers = answer.delete_markers.unwrap_or_default();
    let count = |kind: RowKind| kinds.iter().filter(|one| **one == kind).count();
    if (count(RowKind::Version), count(RowKind::DeleteMarker)) != (versions.len(), markers.len()) {
        return Err("answers in a form that does not tell in which order versions come");
    }
    let (mut versions, mut markers) = (versions.into_iter(), markers.into_iter());
    let row = |kind: &RowKind| match kind {
        RowKind::Version => versions.next().and_then(|version| {
            Some(Row {
                key: version.key?,
                id: id_of(version.version_id),
                time: full_time(version.last_modified.as_ref()?),
                is_latest: version.is_latest.unwrap_or(false),
                is_marker: false,
                size: u64::try_from(version.size?).ok()?,
                etag: version.e_tag.as_deref().map(plain_etag).unwrap_or_default(),
                class: version.storage_class.map(|class| class.as_str().to_owned()).unwrap_or_default(),
            })
        }),
        RowKind::DeleteMarker => markers.next().and_then(|marker| {
            Some(Row {
                key: marker.key?,
                id: id_of(marker.version_id),
                time: full_time(marker.last_modified.as_ref()?),
                is_latest: marker.is_latest.unwrap_or(false),
                is_marker: true,
                size: 0,
                etag: String::new(),
                class: String::new(),
            })
        }),
    };
    kinds.iter().map(row).collect::<Option<Vec<_>>>().ok_or(INCOMPLETE)
}

/// A version without an id is the one that buckets have that never kept versions.
fn id_of(id: Option<String>) -> String {
    id.filter(|id| !id.is_empty()).unwrap_or_else(|| NO_ID.to_owned())
}

/// The id of what was written while a bucket kept no versions.
pub(crate) const NO_ID: &str = "null";

fn full_time(time: &DateTime) -> Time {
    Time { seconds: time.secs(), nanos: time.subsec_nanos() }
}

/// The versions of one object, until their order is known.
#[derive(Debug, Default)]
pub(crate) struct Run {
    key: String,
    /// As they were listed.
    rows: Vec<Row>,
    /// Newer ones than this were handed on already.
    handed_on: Option<Time>,
}

impl Run {
    fn of(key: &str) -> Self {
        Self { key: key.to_owned(), ..Self::default() }
    }

    /// Whether a version is among them.
    pub(crate) fn has(&self, row: &Row) -> bool {
        let is_handed_on = || self.handed_on.is_some_and(|newer| row.time > newer);
        row.key == self.key && (self.rows.iter().any(|one| one.id == row.id) || is_handed_on())
    }

    fn add(&mut self, row: Row, out: &mut Page) -> Result<(), String> {
        if self.handed_on.is_some_and(|newer| row.time > newer || row.is_latest) {
            return Err(format!("lists the many versions of {} in no order of time", self.key));
        }
        self.rows.push(row);
        if self.rows.len() >= HELD_MAX {
            self.hand_on(out)?;
        }
        Ok(())
    }

    /// Hands on all but those that share the oldest time: their places are not known yet.
    fn hand_on(&mut self, out: &mut Page) -> Result<(), String> {
        let oldest = self.rows.iter().map(|row| row.time).min().unwrap_or_default();
        let (kept, newer): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.rows).into_iter().partition(|row| row.time == oldest);
        if newer.is_empty() || kept.iter().any(|row| row.is_latest) {
            return Err(format!("lists the many versions of {} in no order of time", self.key));
        }
        self.rows = kept;
        self.handed_on = Some(oldest);
        place(newer, out)
    }

    /// No more will come.
    fn finish(&mut self, out: &mut Page) -> Result<(), String> {
        place(std::mem::take(&mut self.rows), out)
    }
}

/// Gives versions of one object, listed newest first, their places.
fn place(mut rows: Vec<Row>, out: &mut Page) -> Result<(), String> {
    rows.reverse();
    rows.sort_by_key(|row| row.time);
    if let Some(latest) = rows.iter().rposition(|row| row.is_latest) {
        let latest = rows.remove(latest);
        rows.push(latest);
    }
    let mut ids: Vec<_> = rows.iter().map(|row| row.id.as_str()).collect();
    ids.sort_unstable();
    if let Some(pair) = ids.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(format!("lists version {} of {} twice", pair[0], rows[0].key));
    }
    let last = rows.len().saturating_sub(1);
    let mut before: Option<(Time, u32)> = None;
    for (at, row) in rows.into_iter().enumerate() {
        // Only the latest may have an earlier time than the one before.
        let (time, place) = match before {
            Some((time, place)) if row.time <= time => (time, place + 1),
            _ => (row.time, 0),
        };
        before = Some((time, place));
        let is_newest = at == last && row.is_latest;
        let version = ListedVersion { id: row.id, time, place, is_marker: row.is_marker, is_newest };
        out.push(Listed {
            key: row.key,
            size: row.size,
            modified: Time { seconds: row.time.seconds, nanos: 0 },
            etag: row.etag,
            class: row.class,
            version: Some(version),
        });
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
mod tests {
    use super::*;

    fn row(id: &str, seconds: i64, is_latest: bool) -> Row {
        let time = Time { seconds, nanos: 0 };
        let (key, is_marker) = ("k".to_owned(), id.starts_with('d'));
        Row {
            key,
            id: id.to_owned(),
            time,
            is_latest,
            is_marker,
            size: 1,
            etag: String::new(),
            class: String::new(),
        }
    }

    /// Ids with time and place, oldest first, of what is listed newest first.
    fn placed(rows: &[Row]) -> Vec<(String, i64, u32)> {
        let mut out = Page::new();
        place(rows.to_vec(), &mut out).unwrap();
        let shown = |listed: Listed| {
            let version = listed.version.unwrap();
            (version.id, version.time.seconds, version.place)
        };
        out.into_iter().map(shown).collect()
    }

    fn wanted(rows: &[(&str, i64, u32)]) -> Vec<(String, i64, u32)> {
        rows.iter().map(|(id, time, place)| ((*id).to_owned(), *time, *place)).collect()
    }

    #[test]
    fn the_order_of_the_listing_decides_within_a_second() {
        let listed = [row("d4", 7, true), row("v3", 7, false), row("d2", 7, false), row("v1", 5, false)];
        assert_eq!(placed(&listed), wanted(&[("v1", 5, 0), ("d2", 7, 0), ("v3", 7, 1), ("d4", 7, 2)]));
        // What was given a place keeps it when newer ones come, and when old seconds go.
        let later = [&[row("v5", 9, true), row("d4", 7, false)], &listed[1..3]].concat();
        assert_eq!(placed(&later), wanted(&[("d2", 7, 0), ("v3", 7, 1), ("d4", 7, 2), ("v5", 9, 0)]));
    }

    #[test]
    fn the_latest_is_the_newest_whatever_its_time() {
        let listed = [row("v1", 3, true), row("v2", 8, false), row("v3", 5, false)];
        assert_eq!(placed(&listed), wanted(&[("v3", 5, 0), ("v2", 8, 0), ("v1", 8, 1)]));
        // A server that lists the oldest first, and calls none the latest.
        let listed = [row("v1", 3, false), row("v2", 8, false)];
        assert_eq!(placed(&listed), wanted(&[("v1", 3, 0), ("v2", 8, 0)]));
    }

    #[test]
    fn a_version_is_listed_once() {
        let twice = vec![row("v1", 3, true), row("v1", 3, false)];
        assert!(place(twice, &mut Page::new()).unwrap_err().contains("twice"));
    }

    #[test]
    fn of_very_many_versions_few_are_held() {
        let (mut run, mut out, mut most) = (Run::of("k"), Page::new(), 0);
        let all = 3 * HELD_MAX as i64;
        for number in (0..all).rev() {
            // Three share a second.
            run.add(row(&format!("v{number}"), number / 3, number + 1 == all), &mut out).unwrap();
            most = most.max(run.rows.len());
        }
        run.finish(&mut out).unwrap();
        assert!(most <= HELD_MAX);
        let mut places: Vec<_> = out
            .iter()
            .map(|listed| listed.version.as_ref().unwrap())
            .map(|version| (version.time, version.place, version.id.clone()))
            .collect();
        places.sort();
        let ids: Vec<_> = places.into_iter().map(|(_, _, id)| id).collect();
        assert_eq!(ids, (0..all).map(|number| format!("v{number}")).collect::<Vec<_>>());
    }

    #[test]
    fn very_many_versions_in_no_order_are_refused() {
        let add_all = |times: &mut dyn Iterator<Item = i64>| {
            let (mut run, mut out) = (Run::of("k"), Page::new());
            let mut rows =
                times.enumerate().map(|(number, time)| row(&format!("v{number}"), time, number == 0));
            rows.try_for_each(|row| run.add(row, &mut out))
        };
        let many = HELD_MAX as i64;
        assert!(add_all(&mut std::iter::repeat_n(5, HELD_MAX)).is_err());
        assert!(add_all(&mut (0..many).rev().chain([many])).is_err());
        assert!(add_all(&mut (0..many).rev().chain([0])).is_ok());
    }

    #[test]
    fn the_order_of_an_answer_is_read_from_it() {
        let xml = b"<?xml version=\"1.0\"?><ListVersionsResult xmlns=\"x\"><VersionIdMarker/><Version><Key>&lt;Version></Key>\
            <VersionId>1</VersionId></Version><DeleteMarker ><Key>k</Key></DeleteMarker><Version>\n</Version>\
            </ListVersionsResult>";
        assert_eq!(kinds_in(xml), [RowKind::Version, RowKind::DeleteMarker, RowKind::Version]);
        assert!(in_order(ListObjectVersionsOutput::builder().build(), &[RowKind::Version]).is_err());
        assert_eq!(in_order(ListObjectVersionsOutput::builder().build(), &[]), Ok(Vec::new()));
    }
}
