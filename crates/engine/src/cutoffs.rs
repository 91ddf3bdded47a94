//! How far what removed members wrote counts, of objects that no session and no root names: what the next
//! root says of it.
//!
//! On purpose not here: who was removed, what of logs is known ([`crate::wal`]), and reading evidence.

use crate::error::{Error, ErrorKind, Result};
use crate::evidence::last_number;
use crate::repository::{Repository, get_optional};
use crate::wal::{LogCut, WalListed};
use holdfast_core::crypto::hash;
use holdfast_core::cutoff::{CutOff, CutOffs};
use holdfast_core::id::MemberId;
use holdfast_core::name;
use holdfast_core::root::Root;

/// What the root after one says, which names so many entries of members; `counting` is all there is of logs that
/// counts.
pub(crate) async fn next_cutoffs(
    repository: &Repository,
    root: &Root,
    named: u64,
    counting: &[WalListed],
) -> Result<CutOffs> {
    let removed = repository.standing().members.all_removed();
    let mut members = Vec::new();
    for (member, number) in removed.into_iter().filter(|(_, number)| *number < named) {
        let known = root.cutoffs.members.iter().find(|cut| cut.member == member);
        members.push(match known.filter(|_| number < root.members.0) {
            Some(cut) => *cut,
            None => evidence_of(repository, member).await?,
        });
    }
    members.sort_by_key(|cut| cut.member);
    let log = if members.is_empty() { None } else { LogCut::grown(&root.cutoffs, counting) };
    Ok(CutOffs { members, log })
}

/// The evidence of a member as it is.
async fn evidence_of(repository: &Repository, member: MemberId) -> Result<CutOff> {
    let Some(number) = last_number(repository, member, None).await? else {
        return Ok(CutOff { member, records: 0, last: [0; 32] });
    };
    let object = name::evidence(member, number);
    let Some(bytes) = get_optional(&**repository.store(), &object).await? else {
        let what = format!("{object} is listed and is not there: somebody deletes evidence");
        return Err(Error::new(ErrorKind::Conflict, what));
    };
    Ok(CutOff { member, records: number + 1, last: hash(&bytes) })
}
