//! Who answers what members of a world ask language models: providers, within what the world and its owner may spend.
//!
//! Invariants: of a world that is kept, a call is noted before its first byte leaves the host, and its answer before the member is
//! told: so a crash in the middle of a tick pays nobody twice. How much is left to spend changes no request, only whether it is
//! made. Where there is no answer, the world stands still, and no member learns of it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, OnceCell};

use super::KnownWorld;
use crate::accounts::{Accounts, Hold};
use crate::gate::Outside;
use crate::gate::calls::{Attempt, DEFAULT_TOKENS, Place, in_the_dark, judge, request_for, target};
use crate::gate::ledger::{count, new_line};
use crate::gate::size::{size_of_request, tokens_of_request};
use dormouse_domain::account::{AccountChange, Amounts};
use dormouse_domain::effect::ModelCall;
use dormouse_domain::id::{Principal, SimulationId};
use dormouse_domain::limits::NanoUsd;
use dormouse_domain::model::{ModelAnswer, ModelError};
use dormouse_domain::price::TokenPrice;
use dormouse_domain::simulation::{CallPlace, PauseCause};
use dormouse_model::{ModelRoute, Shown};
use dormouse_simulation::spec::Budget;
use dormouse_simulation::{
    Asking, LiveAnswer, Models, RecordedCall, RequestDigest, read_calls, write_calls,
};
use dormouse_store::{Store, StoreError, Transaction, WorldRow};

/// How long a provider that is known not to work is waited for.
const LONGEST_SILENCE: Duration = Duration::from_secs(120);

/// Answers what members of one world ask, while it runs.
pub(crate) struct WorldModels {
    outside: Arc<Outside>,
    accounts: Arc<Accounts>,
    owner: Principal,
    /// Where calls are noted. `None`: the world is not kept.
    notes: Option<(Arc<dyn Store>, SimulationId)>,
    limit: Option<NanoUsd>,
    max_tokens: Option<u64>,
    state: Mutex<State>,
    /// Something was given back, or the world is to stand still.
    changed: Notify,
    /// What keeps the account of the owner open as long as the world runs: what its calls have cost is known there.
    account: OnceCell<Option<Hold>>,
    /// What the world has spent in all, for whoever asks.
    told: Option<Arc<KnownWorld>>,
}

#[derive(Default)]
struct State {
    spent: NanoUsd,
    /// Of calls that are under way.
    reserved: NanoUsd,
    tokens: u64,
    under_way: usize,
    /// What calls of the tick that was not run to its end have cost: those that were cut off, and those that were answered.
    open: HashMap<CallPlace, NanoUsd>,
    stopped: Option<(PauseCause, String)>,
}

/// What is known of a call that no log has yet.
pub(super) enum CallNote {
    /// It has left, and this is what it and the attempts before have cost at most.
    Begun(NanoUsd),
    /// It is answered.
    Answered(Box<RecordedCall>),
}

impl CallNote {
    fn encode(&self) -> Bytes {
        match self {
            CallNote::Begun(cost) => [&[0][..], &cost.0.to_le_bytes()].concat().into(),
            CallNote::Answered(call) => {
                let mut line = vec![1];
                // Writing to memory does not fail.
                let _ = write_calls([&**call], &mut line);
                line.into()
            }
        }
    }

    /// From what is kept. `None`: it is damaged.
    pub(super) fn decode(kept: &[u8]) -> Option<CallNote> {
        match kept.split_first()? {
            (0, cost) => Some(CallNote::Begun(NanoUsd(i64::from_le_bytes(cost.try_into().ok()?)))),
            (1, line) => Some(CallNote::Answered(Box::new(read_calls(line).ok()?.pop()?))),
            _ => None,
        }
    }
}

/// What a world has spent before it runs.
#[derive(Default)]
pub(super) struct SpentBefore {
    pub(super) cost: NanoUsd,
    pub(super) tokens: u64,
    /// What calls have cost of the tick that was not run to its end.
    pub(super) open: HashMap<CallPlace, NanoUsd>,
}

impl WorldModels {
    pub(crate) fn new(
        (outside, accounts): (Arc<Outside>, Arc<Accounts>),
        owner: Principal,
        budget: Budget,
    ) -> WorldModels {
        WorldModels {
            outside,
            accounts,
            owner,
            notes: None,
            // What is no amount was refused before.
            limit: budget.usd.map(|usd| NanoUsd::from_usd(usd).unwrap_or_default()),
            max_tokens: budget.tokens,
            state: Mutex::default(),
            changed: Notify::new(),
            account: OnceCell::new(),
            told: None,
        }
    }

    /// Of a world that is kept, which has spent so much.
    pub(super) fn kept(
        self,
        store: Arc<dyn Store>,
        known: Arc<KnownWorld>,
        before: SpentBefore,
    ) -> WorldModels {
        let SpentBefore { cost, tokens, open } = before;
        let spent = cost + open.values().copied().sum();
        known.note_spent(spent);
        let state = State { spent, tokens, open, ..State::default() };
        let notes = Some((store, known.id));
        WorldModels { notes, state: Mutex::new(state), told: Some(known), ..self }
    }

    /// Make no call from now on, for this reason: those that are under way come to their ends. The first reason counts.
    pub(super) fn stop(&self, cause: PauseCause, why: impl Into<String>) {
        self.state().stopped.get_or_insert_with(|| (cause, why.into()));
        self.changed.notify_waiters();
    }

    /// Why no calls are made any more, where that is so.
    pub(super) fn stopped(&self) -> Option<(PauseCause, String)> {
        self.state().stopped.clone()
    }

    /// What its calls have cost.
    pub(crate) fn spent(&self) -> NanoUsd {
        self.state().spent
    }

    /// Wait until no call is under way.
    pub(super) async fn at_rest(&self) {
        loop {
            let changed = self.changed.notified();
            if self.state().under_way == 0 {
                return;
            }
            changed.await;
        }
    }

    /// Wait until no more calls are made. Why that is.
    async fn until_stopped(&self) -> String {
        loop {
            let changed = self.changed.notified();
            if let Some((_, why)) = self.stopped() {
                return why;
            }
            changed.await;
        }
    }

    /// Wait for this, unless no more calls are made before it is there.
    async fn unless_stopped<T>(&self, wait: impl Future<Output = T>) -> Result<T, String> {
        tokio::select! {
            biased;
            why = self.until_stopped() => Err(why),
            done = wait => Ok(done),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stop, and say so to whoever asks.
    fn give_up(&self, cause: PauseCause, why: impl Into<String>) -> String {
        self.stop(cause, why);
        self.stopped().map(|(_, why)| why).unwrap_or_default()
    }

    async fn answer(
        &self,
        place: CallPlace,
        request: RequestDigest,
        call: &ModelCall,
    ) -> Result<LiveAnswer, String> {
        let _under_way = UnderWay::begin(self)?;
        let route = self.outside.models.route(&call.request.model);
        let route = route.map_err(|error| self.give_up(PauseCause::Model, error.to_string()))?;
        // Whatever was noted of it before is of no use any more, but for what it has cost.
        let mut lost = self.state().open.remove(&place).unwrap_or_default();
        let mut made = 0;
        loop {
            let attempt = self.attempt(place, call, &route, lost, made).await?;
            made += 1;
            let answer = match attempt {
                Tried::Answered(answer, cost) => LiveAnswer { answer, cost: lost + cost },
                Tried::Failed(attempt, cost) => {
                    lost += cost;
                    let wait = attempt.next_in(made);
                    if let Some(wait) = wait {
                        metrics::counter!("dormouse_model_retries_total").increment(1);
                        let backed_off = self.unless_stopped(self.outside.clock.back_off(wait));
                        if backed_off.await.is_ok() {
                            continue;
                        }
                    }
                    // What it has cost is known, whatever becomes of it.
                    let noted = self.note(place, &CallNote::Begun(lost)).await;
                    let why = attempt.asked.err().map(|error| error.to_string());
                    let why = noted.err().map(|error| error.to_string()).or(why);
                    return Err(self.give_up(PauseCause::Model, why.unwrap_or_default()));
                }
            };
            let LiveAnswer { answer: told, cost } = answer.clone();
            let call = RecordedCall { place, request, answer: told, cost, is_own: true };
            let noted = self.note(place, &CallNote::Answered(Box::new(call))).await;
            noted.map_err(|error| self.give_up(PauseCause::Host, error.to_string()))?;
            return Ok(answer);
        }
    }

    /// Make one attempt, behind those that have cost so much.
    async fn attempt(
        &self,
        place: CallPlace,
        call: &ModelCall,
        route: &ModelRoute,
        lost: NanoUsd,
        made: usize,
    ) -> Result<Tried, String> {
        let max_tokens = call.request.max_tokens.unwrap_or(DEFAULT_TOKENS);
        let tokens = tokens_of_request(&call.request, &route.model);
        let price = self.price_of(route).await?;
        let amount = price.most(tokens, max_tokens);
        let reserved =
            Reserved::wait(self, if price.is_free() { NanoUsd(0) } else { amount }).await?;
        let at_provider = self.place_at_provider(route).await?;
        let noted = self.note(place, &CallNote::Begun(lost + reserved.amount)).await;
        noted.map_err(|error| self.give_up(PauseCause::Host, error.to_string()))?;
        let sent = size_of_request(&call.request);
        let clock = &self.outside.clock;
        let mut line = new_line(target(call, Some(route)), made, clock, sent);
        let since = clock.monotonic();
        let request = request_for(call, route, Some(max_tokens));
        let (answered, is_well) = match self.outside.call(request, route, None).await {
            Ok((answered, _)) => (answered, true),
            Err(_) => (Err(in_the_dark("the host has a defect")), false),
        };
        line.duration = clock.monotonic().saturating_sub(since);
        at_provider.end(if is_well { Shown::by(&answered) } else { Shown::Nothing });
        let attempt = judge(&mut line, answered, (route, reserved.amount), false);
        count(&line);
        let taken = line.tokens();
        let cost = u64::try_from(line.cost.0).unwrap_or(0);
        metrics::counter!("dormouse_spent_nano_usd_total", "kind" => "model").increment(cost);
        reserved.settle(line.cost, taken.all_input().saturating_add(taken.output));
        Ok(match attempt.asked {
            Ok(answer) => Tried::Answered(Ok(answer), line.cost),
            // Whoever asks for the same is told the same.
            Err(
                error @ (ModelError::Invalid(_)
                | ModelError::Refused(_)
                | ModelError::ContextTooLong(_)),
            ) => Tried::Answered(Err(error), line.cost),
            Err(error) => {
                let attempt = Attempt { asked: Err(error), may_repeat: attempt.may_repeat };
                Tried::Failed(attempt, line.cost)
            }
        })
    }

    /// Wait for a place among the calls of the provider, however many others wait. One that is known not to work is waited for a
    /// while.
    async fn place_at_provider(&self, route: &ModelRoute) -> Result<Place, String> {
        let clock = &self.outside.clock;
        let until = clock.now().after(LONGEST_SILENCE);
        loop {
            let place = self.unless_stopped(self.outside.place(&self.owner, route)).await?;
            let error = match place {
                Ok(place) => return Ok(place),
                Err(error) => error,
            };
            match &error {
                // There was none yet.
                ModelError::Overloaded { retry_after: None } => {}
                ModelError::Overloaded { retry_after: Some(wait) } if clock.now() < until => {
                    self.unless_stopped(clock.back_off(*wait)).await?;
                }
                error => return Err(self.give_up(PauseCause::Model, error.to_string())),
            }
        }
    }

    /// What the owner may spend. `None`: as much as it likes.
    async fn account(&self) -> Result<Option<Hold>, String> {
        let open = || self.accounts.hold_of_principal(&self.owner);
        let failed = |error: StoreError| self.give_up(PauseCause::Host, error.to_string());
        self.account.get_or_try_init(open).await.map_err(failed)?;
        open().await.map_err(failed)
    }

    /// What the model costs.
    async fn price_of(&self, route: &ModelRoute) -> Result<TokenPrice, String> {
        if let Some(price) = route.price {
            return Ok(price);
        }
        if self.limit.is_none() && self.account().await?.is_none() {
            return Ok(TokenPrice::default());
        }
        let (model, provider) = (&route.model, route.provider.name());
        Err(self.give_up(
            PauseCause::Money,
            format!(
                "nobody knows the price of the model `{model}` of `{provider}`, and the world has a budget; the operator \
                 sets the price in `prices`"
            ),
        ))
    }

    /// Note this of a call: it is durable then.
    async fn note(&self, place: CallPlace, note: &CallNote) -> Result<(), StoreError> {
        let Some((store, id)) = &self.notes else { return Ok(()) };
        let row = (WorldRow::Call(*id, place), Some(note.encode()));
        store.commit(Transaction::worlds([row])).await
    }
}

impl Models for WorldModels {
    fn ask<'a>(&'a self, at: CallPlace, request: RequestDigest, call: &'a ModelCall) -> Asking<'a> {
        Box::pin(self.answer(at, request, call))
    }
}

/// What has come of an attempt, and what it has cost.
enum Tried {
    Answered(Result<ModelAnswer, ModelError>, NanoUsd),
    Failed(Attempt, NanoUsd),
}

/// A call under way.
struct UnderWay<'m>(&'m WorldModels);

impl UnderWay<'_> {
    fn begin(models: &WorldModels) -> Result<UnderWay<'_>, String> {
        let mut state = models.state();
        if let Some((_, why)) = &state.stopped {
            return Err(why.clone());
        }
        state.under_way += 1;
        Ok(UnderWay(models))
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.state().under_way -= 1;
        self.0.changed.notify_waiters();
    }
}

/// What is reserved for an attempt, of what the world and its owner may spend.
struct Reserved<'m> {
    models: &'m WorldModels,
    amount: NanoUsd,
    hold: Option<Hold>,
    is_settled: bool,
}

impl Reserved<'_> {
    /// Reserve so much. Waits where other calls of the world hold what is missing.
    async fn wait(models: &WorldModels, amount: NanoUsd) -> Result<Reserved<'_>, String> {
        let mut own = Reserved::of_world(models, amount).await?;
        if amount.0 == 0 {
            return Ok(own);
        }
        let hold = models.account().await?;
        if let Some(hold) = &hold
            && let more = hold.more(Amounts { money: amount, fuel: 0 })
            && models.unless_stopped(more).await?.is_err()
        {
            let why = format!(
                "a call may cost {}, and less is left of what its owner may spend",
                amount.as_usd()
            );
            return Err(models.give_up(PauseCause::Money, why));
        }
        own.hold = hold;
        Ok(own)
    }

    async fn of_world(models: &WorldModels, amount: NanoUsd) -> Result<Reserved<'_>, String> {
        loop {
            let changed = models.changed.notified();
            {
                let mut state = models.state();
                if let Some((_, why)) = &state.stopped {
                    return Err(why.clone());
                }
                if let Some(max) = models.max_tokens.filter(|max| state.tokens >= *max) {
                    drop(state);
                    let why = format!(
                        "its calls of models have taken the {max} tokens of its budget; give it more, and resume it"
                    );
                    return Err(models.give_up(PauseCause::Tokens, why));
                }
                let left = models.limit.map(|limit| limit - state.spent);
                match left {
                    Some(left) if amount > left => {
                        drop(state);
                        let why = format!(
                            "a call may cost {}, and {} is left of its budget; give it more, and resume it",
                            amount.as_usd(),
                            left.as_usd().max(0.0)
                        );
                        return Err(models.give_up(PauseCause::Money, why));
                    }
                    // Other calls hold what is missing, and cost less, perhaps.
                    Some(left) if state.reserved + amount > left => {}
                    Some(_) | None => {
                        state.reserved += amount;
                        return Ok(Reserved { models, amount, hold: None, is_settled: false });
                    }
                }
            }
            changed.await;
        }
    }

    /// It has cost this, and has taken so many tokens.
    fn settle(mut self, cost: NanoUsd, tokens: u64) {
        self.is_settled = true;
        {
            let mut state = self.models.state();
            state.reserved = state.reserved - self.amount;
            state.spent += cost;
            state.tokens = state.tokens.saturating_add(tokens);
            if let Some(known) = &self.models.told {
                known.note_spent(state.spent);
            }
        }
        if let Some(hold) = &self.hold {
            let spent = Amounts { money: cost, fuel: 0 };
            hold.changed(AccountChange { spent, ..AccountChange::default() });
        }
        self.models.changed.notify_waiters();
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        if !self.is_settled {
            let mut state = self.models.state();
            state.reserved = state.reserved - self.amount;
            drop(state);
            self.models.changed.notify_waiters();
        }
    }
}
