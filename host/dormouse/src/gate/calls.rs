//! Calls of models: which provider is asked, for how much money, how often, and what is written down of it.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::task::AbortOnDropHandle;

use super::purse::NotReserved;
use super::size::{size_of_content, size_of_error, size_of_request, tokens_of_request};
use super::{Asked, Gate, Outside, push};
use crate::turn::admission::Shortage;
use crate::turn::output::TurnOutput;
use dormouse_base::clock::Clock;
use dormouse_base::shares::FairPermit;
use dormouse_domain::effect::{EffectError, ModelCall};
use dormouse_domain::id::Principal;
use dormouse_domain::journal::{
    Bill, EffectOutcome, EffectRecord, EffectTarget, MAX_EFFECT_ATTEMPTS,
};
use dormouse_domain::limits::NanoUsd;
use dormouse_domain::model::{ModelAnswer, ModelError, ModelRequest, TokenUsage};
use dormouse_model::{Breaker, CALL_TIMEOUT, CallFailure, Charge, ModelRoute, Shown};

/// How long to wait before the next attempt, where the provider does not say: this, and twice as long each time.
const BACK_OFF: Duration = Duration::from_millis(500);
/// A provider that wants to be left alone for longer is not waited for: the agent is told.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// How long a call waits for its place among those of its provider, and for money that others hold.
const LONGEST_QUEUE: Duration = Duration::from_secs(60);

/// The most tokens of an answer, where nobody says.
pub(crate) const DEFAULT_TOKENS: u32 = 8_192;

/// One attempt, once it is over.
pub(crate) struct Attempt {
    pub(crate) asked: Asked,
    /// Whether the call can be made again.
    pub(crate) may_repeat: bool,
}

impl Attempt {
    /// How long to wait before the next one, where so many were made. `None`: there is none.
    pub(crate) fn next_in(&self, made: usize) -> Option<Duration> {
        let error = self.asked.as_ref().err().filter(|_| self.may_repeat)?;
        let is_last = made >= MAX_EFFECT_ATTEMPTS as usize;
        let wait = retry_after(error).unwrap_or(BACK_OFF * (1 << (made.max(1) - 1).min(8)));
        (!is_last && wait <= LONGEST_WAIT).then_some(wait)
    }
}

impl Gate {
    /// Ask the model that is named, as often as it takes and may be. An outer error ends the call of the guest.
    pub(super) async fn ask_model(&mut self, call: &ModelCall) -> Result<Asked, EffectError> {
        let route = match self.outside.models.route(&call.request.model) {
            Ok(route) => route,
            Err(error) => {
                return Ok(self.refuse(call, None, ModelError::NotAllowed(error.to_string())));
            }
        };
        if route.price.is_none() && self.purse.is_bounded() {
            let (model, provider) = (&route.model, route.provider.name());
            let error = format!(
                "nobody knows the price of the model `{model}` of `{provider}`, and the session has a budget; the \
                 operator sets the price in `prices`"
            );
            return Ok(self.refuse(call, Some(&route), ModelError::NotAllowed(error)));
        }
        let bytes = size_of_request(&call.request);
        self.pay_for_what_was_lost();
        loop {
            let made = self.journal.calls().len();
            if made >= MAX_EFFECT_ATTEMPTS as usize {
                return Ok(Err(ModelError::UnknownOutcome));
            }
            let attempt = match self.attempt(call, &route, bytes).await? {
                Ok(attempt) => attempt,
                Err(refusal) => return Ok(self.refuse(call, Some(&route), refusal)),
            };
            let Some(wait) = attempt.next_in(made + 1) else { return Ok(attempt.asked) };
            metrics::counter!("dormouse_model_retries_total").increment(1);
            self.journal.note_ended().await?;
            self.outside.clock.back_off(wait).await;
        }
    }

    /// Whose money is short for a call that was not made when the turn was run before, as it is now.
    pub(super) fn shortage_of(&self, call: &ModelCall, fuel: u64) -> Shortage {
        let ModelRequest { model, max_tokens, .. } = &call.request;
        let Ok(route) = self.outside.models.route(model) else { return Shortage::Held };
        let tokens = tokens_of_request(&call.request, &route.model);
        self.purse.shortage(&route.price.unwrap_or_default(), tokens, *max_tokens, fuel)
    }

    /// Make one attempt. An inner error: it was not made.
    async fn attempt(
        &mut self,
        call: &ModelCall,
        route: &ModelRoute,
        bytes: u64,
    ) -> Result<Result<Attempt, ModelError>, EffectError> {
        let (_, fuel) = self.journal.place();
        let price = route.price.unwrap_or_default();
        let wanted = call.request.max_tokens;
        let clock = &self.outside.clock;
        let patience = clock.sleep_until(clock.now().after(LONGEST_QUEUE));
        let tokens = tokens_of_request(&call.request, &route.model);
        let reserved = match self.purse.reserve(&price, tokens, wanted, fuel, patience).await {
            Ok(reserved) => reserved,
            Err(NotReserved { why, shortage }) => {
                self.shortage = Some(shortage);
                return Ok(Err(ModelError::BudgetExceeded(why)));
            }
        };
        // The agent has made do with less.
        self.shortage = None;
        let place = match self.outside.place(&self.session.owner, route).await {
            Ok(place) => place,
            Err(error) => {
                self.purse.settle(reserved.amount, NanoUsd(0));
                return Ok(Err(error));
            }
        };
        let mut line = self.line(target(call, Some(route)), bytes);
        (line.cost, line.bill) = (reserved.amount, Bill::Unknown);
        let attempt = self.begin_attempt(&line).await?;
        let before = self.forwarded;
        let request = request_for(call, route, reserved.max_tokens);
        let forward = call.forward.then(|| (self.output.clone(), self.forwarded));
        let called = self.outside.call(request, route, forward).await;
        let called = called.map(|(answered, forwarded)| {
            self.forwarded = forwarded.unwrap_or(before);
            answered
        });
        line.duration = attempt.end();
        let (answered, defect) = match called {
            Ok(answered) => (answered, None),
            Err(defect) => (Err(in_the_dark("the host has a defect")), Some(defect)),
        };
        let has_forwarded = self.forwarded > before;
        place.end(if defect.is_some() { Shown::Nothing } else { Shown::by(&answered) });
        let attempt = judge(&mut line, answered, (route, reserved.amount), has_forwarded);
        self.purse.settle(reserved.amount, line.cost);
        self.end_attempt(line);
        defect.map_or(Ok(Ok(attempt)), Err)
    }

    /// Ask nobody, and say why.
    fn refuse(&mut self, call: &ModelCall, route: Option<&ModelRoute>, why: ModelError) -> Asked {
        self.refuse_effect(target(call, route), why.failure());
        Err(why)
    }
}

impl Outside {
    /// Wait for a place among the calls of the provider, unless it is known not to work.
    pub(crate) async fn place(
        &self,
        owner: &Principal,
        route: &ModelRoute,
    ) -> Result<Place, ModelError> {
        let clock = &self.clock;
        let until = clock.now().after(LONGEST_QUEUE);
        let places = self.places.of(route.provider.name(), route.max_calls, owner);
        let permit = tokio::select! {
            permit = places.wait(owner) => permit,
            () = clock.sleep_until(until) => {
                return Err(ModelError::Overloaded { retry_after: None });
            }
        };
        let admitted = route.breaker.admit(clock.monotonic());
        admitted.map_err(|open| ModelError::Overloaded { retry_after: Some(open.retry_after) })?;
        let (breaker, clock) = (route.breaker.clone(), clock.clone());
        Ok(Place { _permit: permit, breaker, clock, shown: Shown::Nothing })
    }

    /// Make the call, on the runtime that serves connections: that of the guests has other work. The text of the answer goes to
    /// this output, which has had so many bytes, where there is one: how many it has then. An outer error: the host has a defect,
    /// of which the provider knows nothing.
    pub(crate) async fn call(
        &self,
        request: ModelRequest,
        route: &ModelRoute,
        mut forward: Option<(TurnOutput, usize)>,
    ) -> Result<(Result<ModelAnswer, CallFailure>, Option<usize>), EffectError> {
        let (provider, clock) = (Arc::clone(&route.provider), self.clock.clone());
        let fault = self.faults.model_call(provider.name());
        let asking = async move {
            let timeout = clock.sleep_until(clock.now().after(CALL_TIMEOUT));
            let mut take = |piece: &str| {
                if let Some((output, forwarded)) = &mut forward {
                    push(output, forwarded, piece);
                }
            };
            let asked = async {
                match fault {
                    None => provider.ask(Arc::new(request), &mut take).await,
                    Some(fault) => Err(fault.failure().await),
                }
            };
            let answered = tokio::select! {
                biased;
                answered = asked => answered,
                () = timeout => Err(in_the_dark("it does not answer in time")),
            };
            (answered, forward.map(|(_, forwarded)| forwarded))
        };
        let asking = AbortOnDropHandle::new(self.connections.spawn(asking));
        match asking.await {
            Ok(answered) => Ok(answered),
            Err(error) if error.is_panic() => {
                let defect = format!("asking the provider `{}` panicked", route.provider.name());
                Err(EffectError::Host(defect))
            }
            Err(_) => Ok((Err(in_the_dark("the host was shut down")), None)),
        }
    }
}

/// The request of a call, as it goes to its provider.
pub(crate) fn request_for(
    call: &ModelCall,
    route: &ModelRoute,
    max_tokens: Option<u32>,
) -> ModelRequest {
    let mut request = call.request.clone();
    request.model.clone_from(&route.model);
    request.max_tokens = max_tokens;
    request
}

/// Which model is asked, and whose it is.
pub(crate) fn target(call: &ModelCall, route: Option<&ModelRoute>) -> EffectTarget {
    EffectTarget::Model {
        provider: route.map_or_else(String::new, |route| route.provider.name().to_owned()),
        model: route.map_or(&call.request.model, |route| &route.model).clone(),
        tokens: TokenUsage::default(),
    }
}

/// Say what came of a call, for which so much was reserved, in its line of the ledger and to the guest.
pub(crate) fn judge(
    line: &mut EffectRecord,
    answered: Result<ModelAnswer, CallFailure>,
    (route, reserved): (&ModelRoute, NanoUsd),
    is_forwarded: bool,
) -> Attempt {
    let bill = |usage: Option<TokenUsage>| match (usage, route.price) {
        (Some(usage), Some(price)) => {
            let cost = price.cost(&usage);
            (usage, cost, if cost.0 == 0 { Bill::Free } else { Bill::Exact })
        }
        (usage, None) => (usage.unwrap_or_default(), NanoUsd(0), Bill::Unpriced),
        (None, Some(price)) => {
            let bill = if price.is_free() { Bill::Free } else { Bill::Estimated };
            (TokenUsage::default(), reserved, bill)
        }
    };
    match answered {
        Ok(answer) => {
            let tokens;
            (tokens, line.cost, line.bill) = bill(answer.usage);
            note_tokens(line, tokens);
            line.outcome = EffectOutcome::Answered;
            line.received = size_of_content(&answer.content);
            Attempt { asked: Ok(answer), may_repeat: false }
        }
        Err(CallFailure { error, charge }) => {
            let is_refused = charge == Charge::Nothing;
            match charge {
                Charge::Nothing | Charge::NotReached => {
                    (line.cost, line.bill) = (NanoUsd(0), Bill::Free);
                }
                Charge::Unknown if reserved.0 == 0 => line.bill = Bill::Free,
                Charge::Unknown => line.bill = Bill::Unknown,
                // It may have gone on after it was heard of last.
                Charge::AtLeast(tokens) => {
                    note_tokens(line, tokens);
                    line.bill = Bill::Estimated;
                }
            }
            // What nobody has seen, nobody misses: the call can be made again.
            let error = match error {
                ModelError::Interrupted { .. } if !is_forwarded => {
                    ModelError::Unavailable("the answer broke off".to_owned())
                }
                error => error,
            };
            line.outcome = EffectOutcome::Failed(error.failure());
            line.received = size_of_error(&error);
            let may_repeat = !is_forwarded
                && match &error {
                    ModelError::RateLimited { .. } | ModelError::Overloaded { .. } => is_refused,
                    ModelError::Unavailable(_) => true,
                    ModelError::Invalid(_)
                    | ModelError::ContextTooLong(_)
                    | ModelError::BudgetExceeded(_)
                    | ModelError::NotAllowed(_)
                    | ModelError::Refused(_)
                    | ModelError::Interrupted { .. }
                    | ModelError::UnknownOutcome => false,
                };
            Attempt { asked: Err(error), may_repeat }
        }
    }
}

fn note_tokens(line: &mut EffectRecord, taken: TokenUsage) {
    match &mut line.target {
        EffectTarget::Model { tokens, .. } => *tokens = taken,
        EffectTarget::Tool { .. } | EffectTarget::Http { .. } | EffectTarget::Ask { .. } => {}
    }
}

/// A place for a call among those of its provider.
pub(crate) struct Place {
    _permit: FairPermit,
    breaker: Breaker,
    clock: Clock,
    /// What the call has shown.
    shown: Shown,
}

impl Place {
    /// The call is over.
    pub(crate) fn end(mut self, shown: Shown) {
        self.shown = shown;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.breaker.note(self.clock.monotonic(), self.shown);
    }
}

/// Nobody knows what has become of a call.
pub(crate) fn in_the_dark(why: &str) -> CallFailure {
    CallFailure { error: ModelError::Unavailable(why.to_owned()), charge: Charge::Unknown }
}

/// When the provider wants to be asked again.
fn retry_after(error: &ModelError) -> Option<Duration> {
    match error {
        ModelError::RateLimited { retry_after } | ModelError::Overloaded { retry_after } => {
            *retry_after
        }
        _ => None,
    }
}
