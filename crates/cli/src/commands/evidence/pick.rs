//! Which record is meant, and what its text says as far as any record says it.
//!
//! On purpose not here: the fields of a drill; the scheduler reads them.

use super::super::access::ACCESS;
use crate::engine::Repository;
use crate::engine::evidence::{EvidenceBook, EvidenceRecord};
use crate::fault::Fault;
use crate::ink::escape;
use holdfast_core::name::{self, Place};
use serde_json::Value;
use std::collections::BTreeSet;
use std::ffi::OsStr;

/// The kind of record that a drill leaves.
pub(super) const DRILL: &str = "drill";
/// The kind of record that says what was done about another.
pub(super) const NOTE: &str = "note";
/// The kind of record that says what the evidence of an erased domain held.
pub(super) const INHERITED: &str = "inherited";

/// A record with its text taken apart, as far as it is JSON.
#[derive(Debug, Clone)]
pub(super) struct Told<'a> {
    /// The record.
    pub(super) record: &'a EvidenceRecord,
    /// What it says; null where it is no JSON.
    pub(super) value: Value,
    /// Whether its author could have opened what it is about.
    pub(super) may_prove: bool,
}

impl<'a> Told<'a> {
    pub(super) fn of(record: &'a EvidenceRecord, may_prove: bool) -> Self {
        Self { record, value: serde_json::from_slice(&record.text).unwrap_or_default(), may_prove }
    }

    /// Whether it says, as a whole or of any source, that something came back.
    fn claims_a_proof(&self) -> bool {
        let of_source = |source: &Value| source["verdict"] == "pass" || source["reached"].as_str().is_some();
        let sources = self.value["sources"].as_array();
        self.text("verdict") == "pass" || sources.is_some_and(|all| all.iter().any(of_source))
    }

    /// A field that is a text; empty where there is none.
    pub(super) fn text(&self, field: &str) -> &str {
        self.value[field].as_str().unwrap_or_default()
    }

    fn is_drill(&self) -> bool {
        self.record.kind == DRILL
    }

    /// Whether it says that a drill began.
    pub(super) fn is_beginning(&self) -> bool {
        self.record.kind == ACCESS && self.text("verb") == "drill" && self.text("step") == "begin"
    }

    /// Whether it and another are the beginning and the end of one drill, in whichever order.
    pub(super) fn is_of_one_drill_with(&self, other: &Self) -> bool {
        let pairs = |began: &Self, ended: &Self| {
            let is_one = began.is_beginning() && ended.is_drill();
            is_one && began.record.member == ended.record.member && began.text("drill") == ended.text("id")
        };
        pairs(self, other) || pairs(other, self)
    }

    /// Whether a note is about a record.
    pub(super) fn is_note_of(&self, record: &EvidenceRecord) -> bool {
        self.record.kind == NOTE && self.text("of") == record.name
    }
}

/// All records, oldest first, each with its text taken apart. That something came back is believed
/// only of who could have opened it: a writer's record of that, of any source, is left out.
pub(super) fn all<'a>(book: &'a EvidenceBook, repository: &Repository) -> Vec<Told<'a>> {
    let told = |record: &'a EvidenceRecord| Told::of(record, repository.may_restore(record.member));
    let is_false = |told: &Told<'_>| told.is_drill() && !told.may_prove && told.claims_a_proof();
    book.records().into_iter().map(told).filter(|told| !is_false(told)).collect()
}

/// Leaves out that drills began whose end is there: that says it.
pub(super) fn without_ended(told: Vec<Told<'_>>) -> Vec<Told<'_>> {
    let ids = |one: &Told<'_>, field: &str| (one.record.member, one.text(field).to_owned());
    let ended: BTreeSet<_> = told.iter().filter(|one| one.is_drill()).map(|one| ids(one, "id")).collect();
    told.into_iter().filter(|one| !one.is_beginning() || !ended.contains(&ids(one, "drill"))).collect()
}

/// Leaves those of a policy: records that name it, and notes about such.
pub(super) fn of_policy<'a>(told: Vec<Told<'a>>, policy: &str) -> Vec<Told<'a>> {
    let names: Vec<String> =
        told.iter().filter(|one| one.text("policy") == policy).map(|one| one.record.name.clone()).collect();
    let is_about = |one: &Told<'_>| {
        one.text("policy") == policy
            || one.record.kind == NOTE && names.iter().any(|name| name == one.text("of"))
    };
    told.into_iter().filter(is_about).collect()
}

/// Finds the record that a word means: `latest` is the latest drill.
pub(super) fn one<'a, 'b>(told: &'b [Told<'a>], word: &OsStr) -> Result<&'b Told<'a>, Fault> {
    let word = word.to_string_lossy();
    if word == "latest" {
        return told.iter().rev().find(|one| one.is_drill()).ok_or_else(|| {
            Fault::failed("there is no record of a drill", "see what there is: holdfast evidence show")
        });
    }
    let is_name = matches!(name::parse(&word), Some(Place::Evidence(..)));
    let fits = |one: &&Told<'_>| {
        if is_name { one.record.name == word } else { !word.is_empty() && one.text("id").starts_with(&*word) }
    };
    let found: Vec<_> = told.iter().filter(fits).collect();
    match found[..] {
        [one] => Ok(one),
        [] => {
            let what = format!("there is no record {} that is sound", escape(word.as_bytes()));
            Err(Fault::failed(
                what,
                "see what there is: holdfast evidence show; what is wrong: holdfast evidence verify",
            ))
        }
        _ => {
            let names: Vec<_> = found.iter().map(|one| one.record.name.as_str()).collect();
            let what =
                format!("`{}` could mean several records:\n{}", escape(word.as_bytes()), names.join("\n"));
            Err(Fault::usage(what, "write more of the id, or the name of one of them"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Code;
    use holdfast_core::entry::Time;
    use holdfast_core::id::MemberId;

    fn record(number: u64, kind: &str, text: &str) -> EvidenceRecord {
        let member = MemberId([1; 16]);
        EvidenceRecord {
            name: name::evidence(member, number),
            member,
            number,
            hash: [0; 32],
            time: Time { seconds: number.cast_signed(), nanos: 0 },
            kind: kind.into(),
            text: text.as_bytes().to_vec(),
        }
    }

    #[test]
    fn a_word_means_one_record() {
        let of_first = format!("{{\"of\":\"{}\"}}", name::evidence(MemberId([1; 16]), 0));
        let records = [
            record(0, DRILL, "{\"id\":\"ab01\",\"policy\":\"shop\"}"),
            record(1, DRILL, "{\"id\":\"ab02\",\"policy\":\"mail\"}"),
            record(2, "missed", "{\"policy\":\"shop\"}"),
            record(3, NOTE, &of_first),
            record(4, "other", "no JSON"),
        ];
        let told: Vec<_> = records.iter().map(|record| Told::of(record, true)).collect();
        let found = |told: &[Told<'_>], word: &str| {
            one(told, OsStr::new(word)).map(|one| one.record.number).map_err(|fault| fault.code)
        };
        assert_eq!(found(&told, "latest"), Ok(1));
        assert_eq!(found(&told, "ab01"), Ok(0));
        assert_eq!(found(&told, &records[4].name), Ok(4));
        assert_eq!(found(&told, "ab"), Err(Code::Usage));
        for word in ["", "cd", "evidence/x"] {
            assert_eq!(found(&told, word), Err(Code::Failed), "{word}");
        }
        let shop = of_policy(told.clone(), "shop");
        let numbers: Vec<_> = shop.iter().map(|one| one.record.number).collect();
        assert_eq!((numbers, found(&shop, "latest")), (vec![0, 2, 3], Ok(0)));
        assert_eq!(found(&of_policy(told, "none"), "latest"), Err(Code::Failed));
    }

    #[test]
    fn that_a_drill_began_is_a_line_of_its_own_until_its_end_is_there() {
        let begin = |id: &str| format!("{{\"verb\":\"drill\",\"step\":\"begin\",\"drill\":\"{id}\"}}");
        let kept = "{\"verb\":\"drill\",\"step\":\"kept\",\"drill\":\"a\"}";
        let mut records = [
            record(0, ACCESS, &begin("a")),
            record(1, ACCESS, &begin("killed")),
            record(2, ACCESS, kept),
            record(3, DRILL, "{\"id\":\"a\"}"),
            record(4, ACCESS, &begin("")),
        ];
        let told = |records: &[EvidenceRecord]| -> Vec<u64> {
            let told = records.iter().map(|record| Told::of(record, true)).collect();
            without_ended(told).iter().map(|one| one.record.number).collect()
        };
        assert_eq!(told(&records), [1, 2, 3, 4]);
        let all: Vec<_> = records.iter().map(|record| Told::of(record, true)).collect();
        assert!(all[0].is_of_one_drill_with(&all[3]) && all[3].is_of_one_drill_with(&all[0]));
        assert!(!all[1].is_of_one_drill_with(&all[3]) && !all[2].is_of_one_drill_with(&all[3]));
        // Another member's word ends nobody's drill.
        records[3].member = MemberId([2; 16]);
        assert_eq!(told(&records), [0, 1, 2, 3, 4]);
    }
}
