//! What a turn may spend: by the session's own limits, or by those of the account that it shares.

use std::sync::Arc;

use super::Driver;
use crate::accounts::{AccountKey, Hold};
use crate::gate::purse::Purse;
use crate::gate::time::EffectTime;
use crate::session::left_open::HeldOpen;
use crate::session::request::{CommandError, SendError, Unavailable};
use crate::turn::admission::{self, Standing, TurnDenied, TurnGrant};
use dormouse_domain::account::{self, AccountChange, Amounts, LimitsChange};
use dormouse_domain::limits::{Limit, NanoUsd};
use dormouse_domain::patch::{LimitsPatch, Patched};
use dormouse_domain::session::Session;
use dormouse_domain::state::{Cause, Move};
use dormouse_domain::time::Timestamp;
use dormouse_store::{StoreError, Transaction};

/// A turn that may run.
pub(super) struct Admitted {
    pub(super) grant: TurnGrant,
    /// What its session may spend, and has spent.
    pub(super) standing: Standing,
    pub(super) purse: Purse,
}

impl Driver<'_> {
    /// Give the session an account that others can share: with its limits, and with what it has spent.
    pub(super) async fn share_account(&mut self) -> Result<(), CommandError> {
        let before = self.record()?;
        if before.account.is_some() {
            return Ok(());
        }
        let account = account::own(&before);
        let mut after = Session::clone(&before);
        after.account = Some(account.id);
        let opening = |after: Arc<Session>, events| {
            Transaction::update(after, None, events).and(Transaction::new_account(account))
        };
        Ok(self.commit_as(opening, after, None).await?)
    }

    /// Commit a patch: limits of money and fuel of a session that shares an account are the account's. Those that are
    /// `named` are written even where the session's own record has them already: another session may have changed
    /// them since.
    pub(super) async fn commit_patched(
        &mut self,
        patched: Option<Patched>,
        named: &LimitsPatch,
    ) -> Result<(), CommandError> {
        let before = self.record()?;
        let after = patched.as_ref().map_or(&*before, |patched| &patched.session);
        let after = &after.profile.limits;
        let limits = LimitsChange {
            money: named.max_budget.is_named().then_some(after.max_budget),
            fuel: named.max_fuel.is_named().then_some(after.max_fuel),
        };
        match (before.account, patched) {
            (Some(account), patched) if !limits.is_none() => {
                let hold = self.services.accounts.hold(AccountKey::Family(account)).await?;
                let _changing = hold.changing().await;
                let change = AccountChange { limits, ..AccountChange::default() };
                match patched {
                    Some(Patched { session, events }) => {
                        let changing = |after: Arc<Session>, events| {
                            let update = Transaction::update(after, None, events);
                            update.and(Transaction::change_account(account, change))
                        };
                        self.commit_as(changing, session, events).await?;
                    }
                    None => {
                        let change = Transaction::change_account(account, change);
                        self.services.store.commit(change).await?;
                    }
                }
                hold.changed(change);
            }
            (_, Some(Patched { session, events })) => self.commit(session, None, events).await?,
            (_, None) => return Ok(()),
        }
        self.drop_guest_at_rest();
        Ok(())
    }

    /// Decide what a turn may spend that begins now. Where others hold what it needs of an account, it waits for
    /// that, for as long as the turn has time.
    pub(super) async fn admit(
        &mut self,
        session: &Arc<Session>,
        now: Timestamp,
    ) -> Result<Admitted, SendError> {
        let price = self.services.options.rules.price;
        self.group_admits(session)??;
        let holds = self.services.accounts.hold_for(session).await?;
        let standing = standing(session, &holds);
        let grant = admission::admit(session, standing, price, now);
        let is_lent = holds.iter().any(Hold::is_lent);
        let grant = match (grant, session.account) {
            // Some of it is free again once they go on.
            (Err(TurnDenied::BudgetExceeded(_) | TurnDenied::FuelExceeded(_)), Some(_))
                if is_lent =>
            {
                return Err(TurnDenied::BudgetHeld.into());
            }
            // Nobody has ended it yet: others have spent what there was.
            (Err(TurnDenied::BudgetExceeded(limit)), Some(_)) => {
                self.make_move(Move::Terminate(Cause::BudgetExceeded.into())).await?;
                return Err(TurnDenied::BudgetExceeded(limit).into());
            }
            (Err(TurnDenied::FuelExceeded(limit)), Some(_)) => {
                self.make_move(Move::Terminate(Cause::FuelExhausted.into())).await?;
                return Err(TurnDenied::FuelExceeded(limit).into());
            }
            (grant, _) => grant?,
        };
        if holds.is_empty() {
            let purse = Purse::new(price, grant.fuel, own_money(session, standing), holds);
            return Ok(Admitted { grant, standing, purse });
        }
        self.share(session, holds, now).await
    }

    /// Hold of each account what a turn may use of fuel.
    async fn share(
        &mut self,
        session: &Session,
        holds: Vec<Hold>,
        now: Timestamp,
    ) -> Result<Admitted, SendError> {
        let price = self.services.options.rules.price;
        loop {
            let standing = standing(session, &holds);
            let mut grant = admission::admit(session, standing, price, now)?;
            for hold in &holds {
                let (left, max) = (hold.standing().affordable(price), hold.standing().limits.money);
                if let (Some(left), Some(max)) = (left, max)
                    && left < grant.fuel
                {
                    (grant.fuel, grant.fuel_limit) = (left, limit_of(hold.account(), max));
                }
            }
            if grant.fuel == 0 {
                return Err(TurnDenied::BudgetExceeded(grant.fuel_limit).into());
            }
            let needed = Amounts { money: price.cost(grant.fuel), fuel: grant.fuel };
            let before = self.registry.note_waiting(self.id, grant.deadline);
            let mut cancel = self.turn_signals(session, grant.deadline, EffectTime::default());
            let held = cancel.bound(hold_all(&holds, needed)).await;
            self.registry.note_waited(self.id, before);
            match held {
                Ok(Ok(())) => {
                    let own = own_money(session, standing);
                    let purse = Purse::new(price, grant.fuel, own, holds);
                    return Ok(Admitted { grant, standing, purse });
                }
                // Others have spent of it meanwhile: less may do.
                Ok(Err(before)) if before.hold_has_changed(&holds) => {}
                Err(_) if self.services.liveness.is_closed() => {
                    return Err(Unavailable::ShuttingDown.into());
                }
                Ok(Err(_)) | Err(_) => return Err(TurnDenied::BudgetHeld.into()),
            }
        }
    }

    /// What the turn may spend that is run again with so much fuel: nobody asks whether there is as much.
    pub(super) async fn readmit(
        &mut self,
        session: &Session,
        fuel: u64,
        now: Timestamp,
    ) -> Result<Admitted, StoreError> {
        let price = self.services.options.rules.price;
        let HeldOpen { holds, calls } = self.services.left_open.take(self.id);
        // The session may share an account only since then.
        let is_of_family = |hold: &Hold| matches!(hold.account(), AccountKey::Family(_));
        let is_whole =
            !holds.is_empty() && session.account.is_some() == holds.iter().any(is_of_family);
        let holds = if is_whole { holds } else { self.services.accounts.hold_for(session).await? };
        let needed = Amounts { money: price.cost(fuel) + calls, fuel };
        for hold in &holds {
            hold.take(needed.minus(hold.held()));
        }
        let standing = standing(session, &holds);
        let own = own_money(session, standing);
        let grant = admission::reopened(session, fuel, now);
        let purse = Purse::new(price, fuel, own, holds);
        Ok(Admitted { grant, standing, purse })
    }
}

/// What a session may spend and has spent: with its family where it has one, and otherwise alone.
fn standing(session: &Session, holds: &[Hold]) -> Standing {
    let family = holds.iter().find(|hold| matches!(hold.account(), AccountKey::Family(_)));
    family.map_or_else(|| Standing::own(session), Hold::standing)
}

/// The limit that an account has.
fn limit_of(account: &AccountKey, max: NanoUsd) -> Limit {
    match account {
        AccountKey::Family(_) => Limit::Budget(max),
        AccountKey::User(..) => Limit::UserBudget(max),
        AccountKey::Principal(_) => Limit::PrincipalBudget(max),
    }
}

/// What is left of a session's own budget, and its limit. `None`: it has none, or its family's takes its place.
fn own_money(session: &Session, standing: Standing) -> Option<(NanoUsd, NanoUsd)> {
    match session.account {
        Some(_) => None,
        None => standing.money_left().zip(standing.limits.money),
    }
}

/// An account had not as much, and stood so.
struct NotHeld {
    place: usize,
    standing: Standing,
}

impl NotHeld {
    fn hold_has_changed(&self, holds: &[Hold]) -> bool {
        holds.get(self.place).is_some_and(|hold| hold.standing() != self.standing)
    }
}

/// Hold so much of all accounts, or nothing of any.
async fn hold_all(holds: &[Hold], needed: Amounts) -> Result<(), NotHeld> {
    for (place, hold) in holds.iter().enumerate() {
        let standing = hold.standing();
        if hold.more(needed).await.is_err() {
            for held in holds.iter().take(place) {
                held.keep(Amounts::default());
            }
            return Err(NotHeld { place, standing });
        }
    }
    Ok(())
}
