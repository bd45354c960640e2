//! What is held of the accounts that are open, and who waits for more of them. Pure but for the answers to those
//! who wait.
//!
//! Invariant: where somebody waits for an account, somebody who holds some of it goes on, or waits for another
//! account of which that is true. So nobody waits for ever, whatever accounts the holders wait for.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use tokio::sync::oneshot;

use super::AccountKey;
use crate::turn::admission::Standing;
use dormouse_domain::account::{AccountChange, AccountLimits, Amounts};
use dormouse_domain::limits::NanoUsd;

/// Whoever holds something of accounts: a turn holds some of several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Holder(u64);

/// An account has not as much, or not before others give something back who wait themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Short {
    /// What there is: what nobody holds, or where that is not it, what is not spent.
    pub(crate) left: Amounts,
    /// Whether there would be as much if all others gave back what they hold.
    pub(crate) is_held: bool,
}

/// What becomes of a wait.
pub(super) type Answer = Result<(), Short>;

/// All accounts of which somebody holds something, or is about to.
#[derive(Default)]
pub(super) struct OpenAccounts {
    accounts: HashMap<AccountKey, OpenAccount>,
    /// Who waits, and for which account: for one at a time.
    waiting: HashMap<Holder, AccountKey>,
    next: u64,
}

struct OpenAccount {
    standing: Standing,
    holds: BTreeMap<Holder, Amounts>,
    line: VecDeque<Waiter>,
    /// Who waits for the answer of another turn, with what it has spent until then: that counts as spent meanwhile.
    lent: BTreeMap<Holder, Amounts>,
}

struct Waiter {
    holder: Holder,
    more: Amounts,
    answer: oneshot::Sender<Answer>,
}

impl OpenAccounts {
    /// Somebody who holds nothing yet.
    pub(super) fn holder(&mut self) -> Holder {
        self.next += 1;
        Holder(self.next)
    }

    /// Open an account that stands so.
    pub(super) fn open(&mut self, key: AccountKey, standing: Standing) {
        let (holds, line, lent) = (BTreeMap::new(), VecDeque::new(), BTreeMap::new());
        self.accounts.insert(key, OpenAccount { standing, holds, line, lent });
    }

    /// Begin to hold nothing of an account. Answers with whether it is open.
    pub(super) fn join(&mut self, key: &AccountKey, holder: Holder) -> bool {
        let account = self.accounts.get_mut(key);
        account.map(|account| account.holds.insert(holder, Amounts::default())).is_some()
    }

    /// Hold nothing more of an account. It is closed with the last.
    pub(super) fn leave(&mut self, key: &AccountKey, holder: Holder) {
        let Some(account) = self.accounts.get_mut(key) else { return };
        account.end_loan(holder);
        account.holds.remove(&holder);
        self.serve(key);
        if self.accounts.get(key).is_some_and(|account| account.holds.is_empty()) {
            self.accounts.remove(key);
        }
    }

    /// What an account may spend and has spent, whatever is held.
    pub(super) fn standing(&self, key: &AccountKey) -> Standing {
        self.account(key).standing
    }

    /// What somebody holds of an account.
    pub(super) fn held(&self, key: &AccountKey, holder: Holder) -> Amounts {
        self.account(key).held(holder)
    }

    /// What nobody holds of an account. `None`: there is no limit.
    pub(super) fn free(&self, key: &AccountKey) -> AccountLimits {
        self.account(key).free()
    }

    /// Hold so much more, whether there is as much or not.
    pub(super) fn take(&mut self, key: &AccountKey, holder: Holder, more: Amounts) {
        self.account_mut(key).add(holder, more);
    }

    /// Somebody does nothing until another turn has answered. Of what it holds, this is spent; the rest is free for
    /// others meanwhile.
    pub(super) fn lend(&mut self, key: &AccountKey, holder: Holder, spent: Amounts) {
        let account = self.account_mut(key);
        account.end_loan(holder);
        let kept = account.held(holder).least(spent);
        account.holds.insert(holder, Amounts::default());
        account.lent.insert(holder, kept);
        account.standing.spent = account.standing.spent.plus(kept);
        self.serve(key);
    }

    /// Whether somebody waits for the answer of another turn.
    pub(super) fn is_lent(&self, key: &AccountKey) -> bool {
        !self.account(key).lent.is_empty()
    }

    /// It goes on, and holds so much again, as far as the others have left it.
    pub(super) fn take_back(&mut self, key: &AccountKey, holder: Holder, wanted: Amounts) {
        let account = self.account_mut(key);
        account.end_loan(holder);
        let more = wanted.minus(account.held(holder)).least(account.free().amounts());
        account.add(holder, more);
    }

    /// Hold so much more: at once, or once what this answers with says so.
    ///
    /// # Errors
    /// There will not be as much.
    pub(super) fn ask(
        &mut self,
        key: &AccountKey,
        holder: Holder,
        more: Amounts,
    ) -> Result<Option<oneshot::Receiver<Answer>>, Short> {
        let account = self.account_mut(key);
        if account.line.is_empty() && fits(more, account.free()) {
            account.add(holder, more);
            return Ok(None);
        }
        if !fits(more, account.reach(holder)) {
            return Err(account.spent(holder));
        }
        let (answer, told) = oneshot::channel();
        account.line.push_back(Waiter { holder, more, answer });
        self.waiting.insert(holder, key.clone());
        self.serve(key);
        Ok(Some(told))
    }

    /// Wait no more.
    pub(super) fn leave_line(&mut self, key: &AccountKey, holder: Holder) {
        self.account_mut(key).line.retain(|waiter| waiter.holder != holder);
        self.waiting.remove(&holder);
        self.serve(key);
    }

    /// Give back all but so much of an account.
    pub(super) fn keep(&mut self, key: &AccountKey, holder: Holder, amounts: Amounts) {
        if let Some(held) = self.account_mut(key).holds.get_mut(&holder) {
            *held = held.least(amounts);
        }
        self.serve(key);
    }

    /// What somebody held of an account is spent, so much of it.
    pub(super) fn changed(&mut self, key: &AccountKey, holder: Holder, change: AccountChange) {
        let account = self.account_mut(key);
        account.end_loan(holder);
        account.standing.spent = account.standing.spent.plus(change.spent);
        account.standing.limits = account.standing.limits.changed(change);
        if let Some(held) = account.holds.get_mut(&holder) {
            *held = Amounts::default();
        }
        self.serve(key);
    }

    /// Serve those who wait for an account, in order, as far as there is enough.
    fn serve(&mut self, key: &AccountKey) {
        while let Some((place, answer)) = self.next_served(key) {
            let account = self.account_mut(key);
            let Some(Waiter { holder, more, answer: told }) = account.line.remove(place) else {
                return;
            };
            // Who has stopped waiting in this moment gets nothing.
            if told.send(answer).is_ok() && answer.is_ok() {
                account.add(holder, more);
            }
            self.waiting.remove(&holder);
        }
    }

    /// Who is served next, by the place in line, and with what. `None`: they go on waiting.
    fn next_served(&self, key: &AccountKey) -> Option<(usize, Answer)> {
        let account = self.accounts.get(key)?;
        let first = account.line.front()?;
        let free = account.free();
        if fits(first.more, free) {
            return Some((0, Ok(())));
        }
        if !fits(first.more, account.reach(first.holder)) {
            return Some((0, Err(account.spent(first.holder))));
        }
        if self.somebody_goes_on(key) {
            return None;
        }
        // Nobody gives anything back before one of those is served who hold something.
        let holds = |waiter: &Waiter| account.held(waiter.holder) != Amounts::default();
        let place = |wanted: &dyn Fn(&Waiter) -> bool| account.line.iter().position(wanted);
        if let Some(place) = place(&|waiter| holds(waiter) && fits(waiter.more, free)) {
            return Some((place, Ok(())));
        }
        let place = place(&holds).unwrap_or(account.line.len() - 1);
        Some((place, Err(Short { left: free.amounts(), is_held: true })))
    }

    /// Whether somebody who holds some of this account goes on, or waits for an account where somebody does.
    fn somebody_goes_on(&self, key: &AccountKey) -> bool {
        let (mut seen, mut ahead) = (HashSet::from([key]), vec![key]);
        while let Some(account) = ahead.pop().and_then(|key| self.accounts.get(key)) {
            let holders = account.holds.iter().filter(|(_, held)| **held != Amounts::default());
            for (holder, _) in holders {
                match self.waiting.get(holder) {
                    None => return true,
                    Some(other) if seen.insert(other) => ahead.push(other),
                    Some(_) => {}
                }
            }
        }
        false
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.accounts.is_empty()
    }

    fn account(&self, key: &AccountKey) -> &OpenAccount {
        self.accounts.get(key).expect("an account is open as long as somebody has a hold of it")
    }

    fn account_mut(&mut self, key: &AccountKey) -> &mut OpenAccount {
        let account = self.accounts.get_mut(key);
        account.expect("an account is open as long as somebody has a hold of it")
    }
}

impl OpenAccount {
    fn held(&self, holder: Holder) -> Amounts {
        self.holds.get(&holder).copied().unwrap_or_default()
    }

    /// What counted as spent while its holder waited is held again.
    fn end_loan(&mut self, holder: Holder) {
        if let Some(kept) = self.lent.remove(&holder) {
            self.standing.spent = self.standing.spent.minus(kept);
            self.add(holder, kept);
        }
    }

    /// What nobody holds. `None`: there is no limit.
    fn free(&self) -> AccountLimits {
        self.less(self.holds.values().fold(Amounts::default(), |sum, held| sum.plus(*held)))
    }

    /// What one could hold more if all others gave back what they hold.
    fn reach(&self, holder: Holder) -> AccountLimits {
        self.less(self.held(holder))
    }

    fn less(&self, held: Amounts) -> AccountLimits {
        let Standing { limits, spent } = self.standing;
        let gone = spent.plus(held);
        AccountLimits {
            money: limits.money.map(|max| NanoUsd((max - gone.money).0.max(0))),
            fuel: limits.fuel.map(|max| max.saturating_sub(gone.fuel)),
        }
    }

    /// There is not as much, whatever others hold.
    fn spent(&self, holder: Holder) -> Short {
        Short { left: self.reach(holder).amounts(), is_held: false }
    }

    fn add(&mut self, holder: Holder, more: Amounts) {
        if let Some(held) = self.holds.get_mut(&holder) {
            *held = held.plus(more);
        }
    }
}

fn fits(amounts: Amounts, left: AccountLimits) -> bool {
    left.money.is_none_or(|left| amounts.money <= left)
        && left.fuel.is_none_or(|left| amounts.fuel <= left)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use dormouse_domain::account::AccountId;
    use dormouse_domain::id::{Principal, SessionId};
    use uuid::Uuid;

    const TURNS: usize = 6;
    /// The limit of each account.
    const LIMITS: [i64; 4] = [100, 60, 90, 120];

    /// What a turn does, of which account, with how much.
    #[derive(Clone, Copy, Debug)]
    enum Deed {
        Ask,
        Keep,
        Spend,
        Lend,
        TakeBack,
        StopWaiting,
        End,
    }

    fn any_step() -> impl Strategy<Value = (usize, usize, Deed, i64)> {
        let deed = prop_oneof![
            6 => Just(Deed::Ask), 1 => Just(Deed::Keep), 1 => Just(Deed::Spend),
            2 => Just(Deed::Lend), 2 => Just(Deed::TakeBack),
            1 => Just(Deed::StopWaiting), 1 => Just(Deed::End),
        ];
        (0..TURNS, 0..LIMITS.len(), deed, 0..70_i64)
    }

    fn money(money: i64) -> Amounts {
        Amounts { money: NanoUsd(money), fuel: 0 }
    }

    fn key(number: usize) -> AccountKey {
        match number {
            0 => AccountKey::Principal(Principal::local()),
            n => AccountKey::Family(AccountId(SessionId(Uuid::from_u128(n as u128)))),
        }
    }

    fn standing(limit: i64) -> Standing {
        let limits = AccountLimits { money: Some(NanoUsd(limit)), fuel: None };
        Standing { limits, spent: Amounts::default() }
    }

    proptest! {
        #[test]
        fn whatever_turns_ask_for_somebody_goes_on_and_nothing_is_held_twice(
            steps in prop::collection::vec(any_step(), 1..120),
        ) {
            let mut open = OpenAccounts::default();
            let mut turns: Vec<Holder> = (0..TURNS).map(|_| open.holder()).collect();
            for (number, limit) in LIMITS.into_iter().enumerate() {
                open.open(key(number), standing(limit));
                for turn in &turns {
                    open.join(&key(number), *turn);
                }
            }
            let mut answers = HashMap::new();
            for (turn, account, deed, amount) in steps {
                let (turn, account) = (&mut turns[turn], key(account));
                let waits = open.waiting.get(turn).cloned();
                match (deed, waits) {
                    (Deed::Ask | Deed::Keep | Deed::Spend, None)
                        if open.account(&account).lent.contains_key(turn) => {}
                    (Deed::Lend, None) => open.lend(&account, *turn, money(amount)),
                    (Deed::TakeBack, None) => open.take_back(&account, *turn, money(amount)),
                    (Deed::Ask, None) => {
                        if let Ok(Some(answer)) = open.ask(&account, *turn, money(amount)) {
                            answers.insert(*turn, answer);
                        }
                    }
                    (Deed::Keep, None) => open.keep(&account, *turn, money(amount)),
                    (Deed::Spend, None) => {
                        let spent = open.held(&account, *turn).least(money(1));
                        let change = AccountChange { spent, ..AccountChange::default() };
                        open.changed(&account, *turn, change);
                    }
                    (Deed::StopWaiting, Some(account)) => {
                        drop(answers.remove(turn));
                        open.leave_line(&account, *turn);
                    }
                    (Deed::End, waits) => {
                        drop(answers.remove(turn));
                        if let Some(account) = waits {
                            open.leave_line(&account, *turn);
                        }
                        let next = open.holder();
                        for number in 0..LIMITS.len() {
                            open.join(&key(number), next);
                            open.leave(&key(number), *turn);
                        }
                        *turn = next;
                    }
                    (
                        Deed::Ask | Deed::Keep | Deed::Spend | Deed::Lend | Deed::TakeBack,
                        Some(_),
                    )
                    | (Deed::StopWaiting, None) => {}
                }
                for number in 0..LIMITS.len() {
                    let account = open.account(&key(number));
                    prop_assert!(account.line.is_empty() || open.somebody_goes_on(&key(number)));
                    let held = account.holds.values().map(|held| held.money.0).sum::<i64>();
                    let Standing { limits, spent } = account.standing;
                    prop_assert!(Some(NanoUsd(held + spent.money.0)) <= limits.money);
                }
                answers.retain(|turn, answer| {
                    // Who is not told waits, and who waits is not told.
                    answer.try_recv().is_err() == open.waiting.contains_key(turn)
                        && open.waiting.contains_key(turn)
                });
                prop_assert_eq!(answers.len(), open.waiting.len());
            }
        }
    }
}
