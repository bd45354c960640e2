//! Whether each account has as many members as there are sessions that name it; and what a repair makes of one.

use std::collections::BTreeMap;

use super::super::super::disk::{Disk, ReadExtent};
use super::super::super::engine::{Batch, Class};
use super::super::super::keys;
use super::super::super::upkeep::audit::Audit;
use super::super::super::upkeep::repair;
use super::super::sessions::{self, SessionCell};
use super::{ACCOUNT, account, decode, encode};
use crate::codec::{self, RecordKind};
use crate::upkeep::{Problem, UpkeepError};
use dormouse_domain::account::{Account, AccountId, AccountLimits, Amounts};
use dormouse_domain::session::Session;

/// What an audit has seen of accounts.
#[derive(Default)]
struct Seen(BTreeMap<AccountId, SeenAccount>);

#[derive(Default)]
struct SeenAccount {
    row: SeenRow,
    sessions: u64,
}

/// What has been seen of the row of an account.
#[derive(Clone, Copy, Default)]
enum SeenRow {
    #[default]
    Missing,
    Damaged,
    Members(u64),
}

fn seen(audit: &mut Audit, id: AccountId) -> &mut SeenAccount {
    audit.seen::<Seen>().0.entry(id).or_default()
}

/// Take note of an account.
pub(super) fn see(audit: &mut Audit, account: &Account) {
    seen(audit, account.id).row = SeenRow::Members(account.members);
}

/// Take note of one that is damaged: told once is enough.
pub(super) fn lose(audit: &mut Audit, id: AccountId) {
    seen(audit, id).row = SeenRow::Damaged;
}

/// Take note of a session.
pub(in super::super) fn has_session(audit: &mut Audit, session: &Session) {
    if let Some(id) = session.account {
        seen(audit, id).sessions += 1;
    }
}

/// Compare what has been seen.
pub(super) fn compare(audit: &mut Audit) {
    for (id, SeenAccount { row, sessions }) in std::mem::take(audit.seen::<Seen>()).0 {
        let key = keys::describe(&account(id));
        match row {
            SeenRow::Missing => {
                let what = format!("{key}: it is not there, and {sessions} sessions name it");
                audit.add(Problem::Missing, None, what);
            }
            SeenRow::Members(members) if members != sessions => {
                let what =
                    format!("{key}: it has {members} members, and {sessions} sessions name it");
                audit.add(Problem::Miscounted, None, what);
            }
            SeenRow::Members(_) | SeenRow::Damaged => {}
        }
    }
}

/// Give each account the sessions that name it. One that cannot be read is made of these: it has the limits of the
/// first, and has spent what they have. What others have spent that were removed is lost.
pub(super) fn recount(disk: &Disk) -> Result<(), UpkeepError> {
    let counted = from_sessions(disk)?;
    let mut batch = Batch::default();
    let mut known = BTreeMap::new();
    for entry in disk.walk(&[ACCOUNT], ReadExtent::Whole) {
        let (key, value) = entry?;
        let read = value.and_then(|value| decode(&key, &value).ok());
        match read.filter(|account| counted.contains_key(&account.id)) {
            Some(account) => drop(known.insert(account.id, account)),
            None => batch.delete(key),
        }
    }
    for (id, made) in counted {
        let account = match known.remove(&id) {
            Some(known) if known.members == made.members => continue,
            Some(known) => Account { members: made.members, ..known },
            None => made,
        };
        batch.put(Class::Inline, self::account(id).to_vec(), encode(&account));
    }
    if batch.is_empty() { Ok(()) } else { repair::write(disk, batch) }
}

/// What the sessions say that name accounts.
fn from_sessions(disk: &Disk) -> Result<BTreeMap<AccountId, Account>, UpkeepError> {
    let mut accounts = BTreeMap::new();
    for entry in disk.walk(&[keys::SESSION], ReadExtent::Front) {
        let (key, Some(front)) = entry? else { continue };
        let front = sessions::read_front(&front).and_then(codec::decode_front);
        let Ok(front) = front else { continue };
        let Some(id) = front.account else { continue };
        let session = whole(disk, &key).unwrap_or(front);
        let limits = &session.profile.limits;
        let account = accounts.entry(id).or_insert_with(|| Account {
            id,
            owner: session.owner.clone(),
            limits: AccountLimits { money: limits.max_budget, fuel: limits.max_fuel },
            spent: Amounts::default(),
            members: 0,
        });
        account.members += 1;
        let spent = Amounts { money: session.usage.cost, fuel: session.usage.fuel };
        account.spent = account.spent.plus(spent);
    }
    Ok(accounts)
}

/// A record, where all of it can be read: its fuel is not in its front.
fn whole(disk: &Disk, key: &[u8]) -> Option<Session> {
    let sealed = disk.get(key).ok()??;
    let value = codec::unseal(RecordKind::Session, key, &sealed).ok()?;
    let cell = SessionCell::read(&value.into_owned().into()).ok()?;
    codec::decode_session(&cell.front, &cell.body).ok()
}
