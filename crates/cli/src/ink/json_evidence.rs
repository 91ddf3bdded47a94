//! The JSON lines of `evidence`, as `JSON.md` describes them.
//!
//! On purpose not here: the fields of a record, which go out as they are stored.

use super::moment::rfc3339;
use crate::engine::Inherited;
use crate::engine::evidence::{EvidenceBook, EvidenceChain, EvidenceProblem, EvidenceRecord};
use holdfast_core::entry::Time;
use holdfast_core::id::hex;
use serde::Serialize;
use serde_json::Value;

/// What drills found of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct ProofField {
    /// `pass`, `fail`, `inconclusive`; `never`; `unknown` if nobody can tell.
    verdict: String,
    /// When that was written down.
    time: Option<String>,
    /// The level up to which everything was looked at.
    level: Option<String>,
    /// The name of the record.
    record: Option<String>,
}

impl ProofField {
    /// There is no record of one, in a word that says why.
    pub(crate) fn without(verdict: &str) -> Self {
        Self { verdict: verdict.to_owned(), time: None, level: None, record: None }
    }

    /// What a record says.
    pub(crate) fn new(verdict: &str, time: Time, level: Option<&str>, record: &str) -> Self {
        Self {
            verdict: verdict.to_owned(),
            time: Some(rfc3339(time)),
            level: level.map(str::to_owned),
            record: Some(record.to_owned()),
        }
    }
}

/// A record.
#[derive(Debug, Serialize)]
pub(crate) struct EvidenceLine<'a> {
    message_type: &'static str,
    name: &'a str,
    member: String,
    number: u64,
    time: String,
    kind: &'a str,
    hash: String,
    record: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

impl<'a> EvidenceLine<'a> {
    /// `value` is its text as JSON; null where it is none.
    pub(crate) fn new(record: &'a EvidenceRecord, value: &'a Value) -> Self {
        let value = value.is_object().then_some(value);
        Self {
            message_type: "evidence",
            name: &record.name,
            member: record.member.to_string(),
            number: record.number,
            time: rfc3339(record.time),
            kind: &record.kind,
            hash: hex(&record.hash),
            record: value,
            text: value.is_none().then(|| String::from_utf8_lossy(&record.text).into_owned()),
        }
    }
}

/// A chain of records.
#[derive(Debug, Serialize)]
pub(crate) struct ChainLine {
    message_type: &'static str,
    member: String,
    removed: bool,
    records: usize,
    problems: usize,
    head: Option<String>,
}

impl From<&EvidenceChain> for ChainLine {
    fn from(chain: &EvidenceChain) -> Self {
        Self {
            message_type: "evidence_chain",
            member: chain.member.to_string(),
            removed: chain.removed.is_some(),
            records: chain.records.len(),
            problems: chain.problems.len(),
            head: chain.head().map(|mark| mark.to_string()),
        }
    }
}

/// What is kept of a chain of a domain that was erased.
#[derive(Debug, Serialize)]
pub(crate) struct InheritedLine<'a> {
    message_type: &'static str,
    domain: &'a str,
    repository: &'a str,
    member: Option<&'a str>,
    first: u64,
    next: u64,
    accesses: usize,
    pub(crate) head: Option<String>,
    unread: Option<&'a str>,
}

impl<'a> From<&'a Inherited> for InheritedLine<'a> {
    fn from(told: &'a Inherited) -> Self {
        let end = told.member.as_ref().zip(told.head.as_ref()).zip(told.next.checked_sub(1));
        Self {
            message_type: "evidence_inherited",
            domain: &told.domain,
            repository: &told.repository,
            member: told.member.as_deref(),
            first: told.first,
            next: told.next,
            accesses: told.accesses.len(),
            head: end.map(|((member, hash), number)| format!("{member}:{number}:{hash}")),
            unread: told.unread.as_deref(),
        }
    }
}

/// A record that is not as it should be.
#[derive(Debug, Serialize)]
pub(crate) struct EvidenceProblemLine<'a> {
    message_type: &'static str,
    name: &'a str,
    problem: &'static str,
    message: String,
}

impl<'a> From<&'a EvidenceProblem> for EvidenceProblemLine<'a> {
    fn from(problem: &'a EvidenceProblem) -> Self {
        Self {
            message_type: "evidence_problem",
            name: &problem.name,
            problem: problem.amiss.word(),
            message: problem.amiss.to_string(),
        }
    }
}

/// What `evidence verify` found.
#[derive(Debug, Serialize)]
pub(crate) struct EvidenceSummary {
    message_type: &'static str,
    chains: usize,
    records: usize,
    problems: usize,
    as_noted: usize,
}

impl EvidenceSummary {
    pub(crate) fn new(book: &EvidenceBook, problems: usize, as_noted: usize) -> Self {
        let records = book.chains.iter().map(|chain| chain.records.len()).sum();
        Self { message_type: "summary", chains: book.chains.len(), records, problems, as_noted }
    }
}

/// A note was appended.
#[derive(Debug, Serialize)]
pub(crate) struct NotedLine<'a> {
    pub(crate) message_type: &'static str,
    pub(crate) name: &'a str,
    pub(crate) of: &'a str,
}
