//! What members have asked language models, and what these have answered: so that a world comes to the same again without
//! asking anybody.
//!
//! A world that is run again is answered by (member, tick, number of the call), and has to ask the same: otherwise it is not the
//! world that was recorded. A fork is answered by (member, request, how often it has asked that since), so that whoever still
//! asks the same gets the same answer, whenever it asks; whoever does not asks live.

pub(crate) mod form;

use std::collections::{BTreeMap, HashMap};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dormouse_domain::effect::ModelCall;
use dormouse_domain::limits::NanoUsd;
use dormouse_domain::model::{ModelAnswer, ModelContent, ModelError};
use dormouse_domain::simulation::{CallPlace, Member, Role, Tick};

pub use form::{read_calls, write_calls};

/// The hash of a request: [`Effect::digest`](dormouse_domain::effect::Effect::digest).
pub type RequestDigest = [u8; 32];

/// One call of a member, and its answer.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordedCall {
    /// Which call it is.
    pub place: CallPlace,
    /// What was asked.
    pub request: RequestDigest,
    /// What the member was told.
    pub answer: Result<ModelAnswer, ModelError>,
    /// What the answer has cost whoever asked for it first.
    pub cost: NanoUsd,
    /// Whether it was asked for in this world. Otherwise the world that it was forked from has the answer.
    pub is_own: bool,
}

impl RecordedCall {
    /// About what it takes in memory, in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let text = |content: &ModelContent| match content {
            ModelContent::Text(text) => text.len(),
            ModelContent::Image { data, .. } => data.len(),
            ModelContent::ToolCall(call) => call.name.len() + call.arguments.len(),
            ModelContent::ToolResult(result) => result.content.len(),
            ModelContent::Thinking(thinking) => thinking.text.len() + thinking.block.len(),
        };
        let answer = match &self.answer {
            Ok(answer) => answer.content.iter().map(text).sum::<usize>(),
            Err(error) => error.to_string().len(),
        };
        (size_of::<RecordedCall>() + answer) as u64
    }

    /// The tokens that it has read and written.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        let usage = self.answer.as_ref().ok().and_then(|answer| answer.usage);
        usage.map_or(0, |usage| usage.all_input().saturating_add(usage.output))
    }
}

/// What a language model has answered, and what that has cost.
#[derive(Clone, Debug, PartialEq)]
pub struct LiveAnswer {
    /// The answer, or why the request cannot have one: whoever asks the same again is told the same.
    pub answer: Result<ModelAnswer, ModelError>,
    /// What it has cost.
    pub cost: NanoUsd,
}

/// An answer under way.
pub type Asking<'a> = Pin<Box<dyn Future<Output = Result<LiveAnswer, String>> + Send + 'a>>;

/// Whoever answers for language models while a world goes on.
pub trait Models: Send + Sync {
    /// Answer this call, whose request has this hash. The answer is durable before it is told, where the world is kept.
    ///
    /// # Errors
    /// There is no answer now, and the world has to stand still. The text says why.
    fn ask<'a>(&'a self, at: CallPlace, request: RequestDigest, call: &'a ModelCall) -> Asking<'a>;
}

/// Whoever has asked what.
type Asked = (Role, Member, RequestDigest);

/// Where the answers of a world come from.
pub struct Answers {
    live: Option<Arc<dyn Models>>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// Those of ticks that are run again: whoever asks for something else is not who was recorded.
    recorded: BTreeMap<CallPlace, RecordedCall>,
    /// No other answers are given before this tick.
    strict_until: Tick,
    /// Those of a tick that was not run to its end. Where something was done to the world since, others may be asked for.
    open: BTreeMap<CallPlace, RecordedCall>,
    /// Those of the world that this one was forked from, since then, in the order of their ticks.
    inherited: HashMap<Asked, Vec<LiveAnswer>>,
    /// How often each member has asked what since the fork.
    asked: HashMap<Asked, usize>,
}

impl std::fmt::Debug for Answers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answers").field("is_live", &self.live.is_some()).finish_non_exhaustive()
    }
}

impl Answers {
    /// Those that these models give. `None`: nobody is asked, and a world whose members ask for what is not recorded stands still.
    #[must_use]
    pub fn new(live: Option<Arc<dyn Models>>) -> Answers {
        Answers { live, known: Mutex::default() }
    }

    /// With what this world has recorded of ticks that are run again, which are those before this one: nothing else is answered
    /// there.
    #[must_use]
    pub fn recorded(self, calls: impl IntoIterator<Item = RecordedCall>, until: Tick) -> Answers {
        {
            let mut known = self.known();
            known.recorded.extend(calls.into_iter().map(|call| (call.place, call)));
            known.strict_until = until;
        }
        self
    }

    /// With what was answered in a tick that was not run to its end.
    #[must_use]
    pub fn open(self, calls: impl IntoIterator<Item = RecordedCall>) -> Answers {
        self.known().open.extend(calls.into_iter().map(|call| (call.place, call)));
        self
    }

    /// With what the world that this one was forked from has asked since. `own` are the calls that this one has made since then, and
    /// before the first tick that it gets to run.
    #[must_use]
    pub fn inherited(
        self,
        calls: impl IntoIterator<Item = RecordedCall>,
        own: impl IntoIterator<Item = (CallPlace, RequestDigest)>,
    ) -> Answers {
        {
            let mut known = self.known();
            for RecordedCall { place, request, answer, cost, .. } in calls {
                let of = known.inherited.entry((place.role, place.member, request)).or_default();
                of.push(LiveAnswer { answer, cost });
            }
            for (place, request) in own {
                *known.asked.entry((place.role, place.member, request)).or_default() += 1;
            }
        }
        self
    }

    /// Answer this call.
    ///
    /// # Errors
    /// There is no answer now: the world has to stand still.
    pub(crate) async fn answer(
        &self,
        place: CallPlace,
        request: RequestDigest,
        call: &ModelCall,
    ) -> Result<RecordedCall, NoAnswer> {
        if let Some(call) = self.known().take(place, request)? {
            return Ok(call);
        }
        let is_strict = place.at < self.known().strict_until;
        let Some(live) = self.live.as_ref().filter(|_| !is_strict) else {
            return Err(NoAnswer::Differs(format!(
                "{} asks a model for something that is not recorded",
                named(place)
            )));
        };
        let LiveAnswer { answer, cost } =
            live.ask(place, request, call).await.map_err(NoAnswer::NotNow)?;
        Ok(RecordedCall { place, request, answer, cost, is_own: true })
    }

    /// A tick that was recorded is over. Who has not asked for what was recorded of it.
    pub(crate) fn left_of(&self, at: Tick) -> Option<String> {
        let known = self.known();
        let (place, _) = known.recorded.first_key_value().filter(|(place, _)| place.at <= at)?;
        Some(format!("{} does not ask a model, as was recorded", named(*place)))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NoAnswer {
    /// It is not what was recorded. Says who asks.
    Differs(String),
    /// There is none now. Says why.
    NotNow(String),
}

impl Known {
    /// The answer to this call, where it is known.
    fn take(
        &mut self,
        place: CallPlace,
        request: RequestDigest,
    ) -> Result<Option<RecordedCall>, NoAnswer> {
        let asked = (place.role, place.member, request);
        if let Some(call) = self.recorded.remove(&place) {
            if call.request == request {
                self.count(asked);
                return Ok(Some(call));
            }
            let differs = format!("{} asks a model for something else than recorded", named(place));
            self.recorded.insert(place, call);
            return Err(NoAnswer::Differs(differs));
        }
        if place.at < self.strict_until {
            return Ok(None);
        }
        let before = self.count(asked);
        if let Some(call) = self.open.remove(&place)
            && call.request == request
        {
            return Ok(Some(call));
        }
        let known = self.inherited.get(&asked).and_then(|answers| answers.get(before));
        let known = known.cloned();
        let call = |LiveAnswer { answer, cost }| RecordedCall {
            place,
            request,
            answer,
            cost,
            is_own: false,
        };
        Ok(known.map(call))
    }

    /// Somebody asks for something. How often it has before, since the fork: 0 where there was none.
    fn count(&mut self, asked: Asked) -> usize {
        if self.inherited.is_empty() {
            return 0;
        }
        let number = self.asked.entry(asked).or_default();
        std::mem::replace(number, *number + 1)
    }
}

fn named(place: CallPlace) -> String {
    let CallPlace { at, role, member, number } = place;
    format!("in tick {at} member {member} of role {role} (call {number})")
}

#[cfg(test)]
mod tests;
