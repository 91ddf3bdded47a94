//! Tests of what sessions leave. On purpose not here: bytes that are promised, which the vectors hold.

#![expect(clippy::unwrap_used, reason = "a test")]
use super::*;
use crate::crypto::KEM_CIPHERTEXT_BYTES;
use crate::id::ObjectId;
use crate::keys::{WrappedSecret, member_header};
use crate::name::PackClass;
use crate::object::{Object, ObjectType};

pub(crate) fn summary() -> Summary {
    Summary {
        stream: StreamId([1; 16]),
        host: "host".into(),
        kind: "files".into(),
        label: "/srv".into(),
        paths: vec![b"/srv/\xff".to_vec()],
        tags: vec!["a".into(), "b".into()],
        start: Time { seconds: 5, nanos: 6 },
        end: Time { seconds: 7, nanos: 8 },
        counts: Counts { files: 1, bytes: 2, ..Counts::default() },
        incomplete: true,
        problems: 1,
        root: ChunkId([9; 32]),
        space: KeySpace::Paths,
        parent: Some(SessionId([2; 16])),
        supersedes: vec![SessionId([3; 16])],
        origin: None,
        log: None,
        said_by: None,
        unknown: vec![Tag { id: 0x0777, bytes: b"later".to_vec() }],
    }
}

fn header(object_type: ObjectType) -> Header {
    member_header(object_type, RepositoryId([1; 16]), ObjectId([2; 16]), MemberId([3; 16]), [4; 16])
}

#[test]
fn begin_and_pins_come_back() {
    let key = Secret::new([1; 32]);
    let process = Process { machine: [2; 16], boot: [3; 16], number: 4, start: 5 };
    let begin = Begin { stream: StreamId([1; 16]), process, started: Time { seconds: 1, nanos: 2 } };
    let signer = Signer::from_seed(Secret::new([6; 32]));
    let bytes = begin.encode(&header(ObjectType::Begin), &key, &signer);
    let object = Object::parse(&bytes).unwrap();
    object.verify(&signer.public()).unwrap();
    assert_eq!(Begin::decode(&object.header, object.body, &key).unwrap(), begin);
    let pack = |ordinal| PackId {
        member: MemberId([1; 16]),
        session: SessionId([2; 16]),
        class: PackClass::Data,
        ordinal,
    };
    let pins = Pins { snapshots: vec![SessionId([1; 16])], packs: vec![pack(1), pack(2)] };
    let bytes = pins.encode(&header(ObjectType::Pins), &key, &signer);
    let object = Object::parse(&bytes).unwrap();
    object.verify(&signer.public()).unwrap();
    assert_eq!(Pins::decode(&object.header, object.body, &key).unwrap(), pins);
}

#[test]
fn a_parent_of_another_length_is_refused() {
    let mut bytes = Summary { unknown: vec![], ..summary() }.encode();
    let at = bytes.len() - 20;
    bytes[at..at + 4].copy_from_slice(&17u32.to_le_bytes());
    bytes.push(0);
    assert_eq!(Summary::decode(&bytes), Err(FormatError::Malformed("a parent")));
}

#[test]
fn what_a_snapshot_needs_of_a_log_comes_back() {
    let log = LogSpan { system: 7, timeline: 2, first: 3, last: 1 << 33, segment_bytes: 16 << 20 };
    let needs = Summary { log: Some(log), ..summary() };
    assert_eq!(Summary::decode(&needs.encode()).unwrap(), needs);
    let bytes = Summary { unknown: vec![Tag { id: TAG_LOG, bytes: vec![4; 37] }], ..summary() }.encode();
    assert!(Summary::decode(&bytes).is_err());
}

#[test]
fn whose_words_a_summary_is_comes_back() {
    let said = SaidBy { member: MemberId([6; 16]), received: Time { seconds: -7, nanos: 8 } };
    let passed_on = Summary { said_by: Some(said), ..summary() };
    assert_eq!(Summary::decode(&passed_on.encode()).unwrap(), passed_on);
    for length in [27, 29] {
        let odd = Tag { id: TAG_SAID_BY, bytes: vec![0; length] };
        assert!(Summary::decode(&Summary { unknown: vec![odd], ..summary() }.encode()).is_err());
    }
}

#[test]
fn a_copy_names_its_origin() {
    let origin = Origin { repository: RepositoryId([4; 16]), snapshot: SessionId([5; 16]) };
    let copy = Summary { origin: Some(origin), ..summary() };
    assert_eq!(Summary::decode(&copy.encode()).unwrap(), copy);
    let short = Tag { id: TAG_ORIGIN, bytes: vec![4; 31] };
    let bytes = Summary { unknown: vec![short], ..summary() }.encode();
    assert!(Summary::decode(&bytes).is_err());
}

#[test]
fn a_summary_comes_back_however_much_it_shrinks() {
    let (k_ref, signer) = (Secret::new([1; 32]), Signer::from_seed(Secret::new([3; 32])));
    let head = header(ObjectType::End);
    let session = SessionRow {
        member: MemberId([3; 16]),
        session: SessionId([2; 16]),
        key_epoch: 0,
        data: None,
        meta: None,
    };
    for count in [10_u32, 3_000, 10_000, 200_000] {
        let path = |number| format!("/srv/www/customers/{number:08}/public/index.html").into_bytes();
        let paths: Vec<Vec<u8>> = (0..count).map(path).collect();
        let label = String::from_utf8(paths.join(&b':')).unwrap();
        // And one that shrinks by more than any reader believes.
        let label = if count == 10 { "x".repeat(15 << 20) } else { label };
        let stated = Summary { paths, label, ..summary() };
        let published = Published { deltas: 1, pins: 2 };
        let details = Details::default();
        let commit = Commit::new(stated, session.clone(), &details, &head, &k_ref, [5; 32], published);
        let end = End::Commit(Box::new(commit));
        let bytes = end.encode(&head, &k_ref, &signer);
        let object = Object::parse(&bytes).unwrap();
        assert_eq!(End::decode(&object.header, object.body, &k_ref).unwrap(), end, "{count} paths");
    }
}

#[test]
fn ends_come_back_and_details_need_their_own_secret() {
    let (k_ref, meta, signer) =
        (Secret::new([1; 32]), Secret::new([2; 32]), Signer::from_seed(Secret::new([3; 32])));
    let wrap = WrappedSecret {
        commitment: [1; 32],
        recipient: [2; 8],
        ciphertext: vec![3; KEM_CIPHERTEXT_BYTES],
        sealed: [4; 48],
    };
    let session = SessionRow {
        member: MemberId([3; 16]),
        session: SessionId([2; 16]),
        key_epoch: 0,
        data: Some(wrap.clone()),
        meta: Some(wrap),
    };
    let details = Details {
        version: "0.1.0".into(),
        command: "backup /srv".into(),
        problems: vec![RecordedProblem { path: b"/srv/\xff".to_vec(), what: "denied".into() }],
        source_record: vec![1, 2],
        facts: vec![("rows".into(), "7".into())],
    };
    let head = header(ObjectType::End);
    let commit =
        Commit::new(summary(), session, &details, &head, &meta, [5; 32], Published { deltas: 1, pins: 2 });
    let end = End::Commit(Box::new(commit));
    let bytes = end.encode(&head, &k_ref, &signer);
    let object = Object::parse(&bytes).unwrap();
    object.verify(&signer.public()).unwrap();
    let again = End::decode(&object.header, object.body, &k_ref).unwrap();
    assert_eq!(again, end);
    let (member, session) = (MemberId([3; 16]), SessionId([2; 16]));
    let name = SessionName { epoch: 0, member, session };
    assert_eq!(again.check_author(&head, &name), Ok(()));
    let (other, misplaced) = (MemberId([9; 16]), Err(FormatError::Misplaced("its author")));
    assert_eq!(again.check_author(&Header { member: other, ..head.clone() }, &name), misplaced);
    for name in [SessionName { member: other, ..name }, SessionName { session: SessionId([9; 16]), ..name }] {
        assert_eq!(again.check_author(&head, &name), misplaced);
    }
    let End::Commit(commit) = again else { panic!("a commit") };
    assert_eq!(commit.open_details(&object.header, &meta).unwrap(), details);
    assert!(commit.open_details(&object.header, &k_ref).is_err());

    let abort = End::Abort { reason: "its process is gone".into() };
    let bytes = abort.encode(&head, &k_ref, &signer);
    let object = Object::parse(&bytes).unwrap();
    assert_eq!(End::decode(&object.header, object.body, &k_ref).unwrap(), abort);
}
