//! Whether each journal is whole, belongs to a turn that is open, and has its session; and what a repair makes of it.

use std::collections::BTreeMap;

use super::super::super::disk::ReadExtent;
use super::super::super::upkeep::audit::Audit;
use super::super::super::upkeep::repair::Repairer;
use super::{JournalRow, entry, input, open, row_of, rows};
use crate::StoreError;
use crate::upkeep::{Problem, UpkeepError};
use dormouse_domain::id::SessionId;

/// What an audit has seen of journals, and what a repair is to do.
#[derive(Default)]
struct Seen {
    journals: BTreeMap<SessionId, SeenJournal>,
    /// Journals that are of no use.
    stray: Vec<SessionId>,
    /// Rows that are not there, and have to be known to be lost.
    missing: Vec<Vec<u8>>,
}

/// What has been seen of one.
#[derive(Default)]
struct SeenJournal {
    /// The number of the open turn.
    number: Option<u64>,
    has_input: bool,
    /// The last entry without a gap before it.
    entries: u32,
    has_gap: bool,
    /// Whether a row is damaged or has been set aside: then nothing more is told of it.
    is_damaged: bool,
    owner: Owner,
}

/// What is known of the session that a journal belongs to.
#[derive(Clone, Copy, Default)]
enum Owner {
    /// There is none.
    #[default]
    Missing,
    /// It is there, with the number of its last turn.
    Session(u64),
    /// Its record is damaged, or it is being removed.
    Unknown,
}

fn seen(audit: &mut Audit, id: SessionId) -> &mut SeenJournal {
    audit.seen::<Seen>().journals.entry(id).or_default()
}

/// Take note of a row, and of an open turn its number.
pub(super) fn see(audit: &mut Audit, id: SessionId, row: JournalRow, number: Option<u64>) {
    let journal = seen(audit, id);
    match row {
        JournalRow::Attempts => {}
        JournalRow::Entry(seq) if seq == journal.entries + 1 => journal.entries = seq,
        JournalRow::Entry(_) => journal.has_gap = true,
        JournalRow::Input => journal.has_input = true,
        JournalRow::Open => journal.number = number,
    }
}

/// Take note of a row that is damaged, or has been set aside.
pub(super) fn lose(audit: &mut Audit, key: &[u8]) {
    if let Some((id, _)) = row_of(key) {
        seen(audit, id).is_damaged = true;
    }
}

/// Take note of a session, with the number of its last turn.
pub(in super::super) fn has_session(audit: &mut Audit, id: SessionId, last_turn: u64) {
    owned(audit, id, Owner::Session(last_turn));
}

/// Take note of a session that is being removed, or whose record is damaged.
pub(in super::super) fn has_remains(audit: &mut Audit, id: SessionId) {
    owned(audit, id, Owner::Unknown);
}

/// Journals come before sessions. Few sessions have one.
fn owned(audit: &mut Audit, id: SessionId, owner: Owner) {
    if let Some(journal) = audit.seen::<Seen>().journals.get_mut(&id) {
        journal.owner = owner;
    }
}

/// Compare what has been seen.
pub(super) fn compare(audit: &mut Audit) {
    for (id, journal) in std::mem::take(&mut audit.seen::<Seen>().journals) {
        let mut tell = |problem, what: &str| {
            audit.add(problem, None, format!("session/{id}/open-turn: {what}"));
        };
        match (journal.owner, journal.number) {
            (Owner::Unknown, _) => {}
            (Owner::Missing, _) => {
                tell(Problem::Stray, "there is no such session");
                audit.seen::<Seen>().stray.push(id);
            }
            (Owner::Session(last), Some(number)) if number <= last => {
                tell(Problem::Stray, "the turn is over");
                audit.seen::<Seen>().stray.push(id);
            }
            (Owner::Session(_), number) if !journal.is_damaged => {
                let lost = [
                    number.is_none().then(|| ("it is not there", open(id).to_vec())),
                    (!journal.has_input)
                        .then(|| ("what was sent to the turn is not there", input(id).to_vec())),
                    journal.has_gap.then(|| {
                        let missing = entry(id, journal.entries + 1).to_vec();
                        ("an entry of its journal is not there", missing)
                    }),
                ];
                for (what, key) in lost.into_iter().flatten() {
                    audit.add(Problem::Missing, None, format!("session/{id}/open-turn: {what}"));
                    audit.seen::<Seen>().missing.push(key);
                }
            }
            (Owner::Session(_), _) => {}
        }
    }
}

/// Remove what is of no use. What is lost is set aside as nothing, so that whoever reads the journal learns it.
pub(super) fn repair(repairer: &mut Repairer<'_>) -> Result<(), UpkeepError> {
    let Some(seen) = repairer.found::<Seen>() else { return Ok(()) };
    for id in &seen.stray {
        let keys = repairer.disk.walk(&rows(*id), ReadExtent::Front);
        let keys = keys.map(|entry| entry.map(|(key, _)| key));
        for key in keys.collect::<Result<Vec<_>, StoreError>>()? {
            repairer.remove(&key);
        }
    }
    for key in &seen.missing {
        repairer.set_aside(key, bytes::Bytes::new());
    }
    Ok(())
}
