//! One member that is a session: its state between turns, and a turn.

use std::sync::Arc;

use serde::Serialize;
use uuid::Uuid;

use super::surroundings::{SeenMember, Surroundings};
use super::{SessionFrame, SessionTick, SessionTurn, TimerFrame, hash_of};
use crate::recording::RecordedCall;
use crate::world::letters::{self, Letter, ToldPart, WORLD};
use crate::world::make::InstancePlace;
use crate::world::memory::SharedAccount;
use dormouse_domain::id::SessionId;
use dormouse_domain::limits::Usage;
use dormouse_domain::mail::Peer;
use dormouse_domain::session::JsonObject;
use dormouse_domain::simulation::Member;
use dormouse_domain::snapshot::GuestState;
use dormouse_domain::time::Timestamp;
use dormouse_domain::timer::{Schedule, Timer, Timers};
use dormouse_domain::turn::{Part, Sender};
use dormouse_sandbox::{AgentAnswer, Call, Fault, Grant, GuestResult, Instance, Saved};

/// The end of time: no turn of a member has less.
const NEVER: Timestamp = Timestamp(253_402_300_799_999);

/// A member that is a session.
pub(crate) struct SessionMember {
    pub(super) number: Member,
    id: SessionId,
    /// What of its configuration is another than the specification says.
    configured: Option<Arc<JsonObject>>,
    turns: u64,
    /// Tokens that models have read, have written, and have read from their caches, for it.
    tokens: [u64; 3],
    checkpoint: Option<JsonObject>,
    /// How many bytes the checkpoint and the timers take.
    kept_bytes: usize,
    timers: Timers,
    /// Where it may be in memory.
    place: Option<InstancePlace>,
    instance: Option<Instance>,
    /// Its state behind its last turn, where that was saved.
    state: Option<GuestState>,
}

/// What the configuration of a member was changed from, and to.
pub(super) type Configured = (Option<Arc<JsonObject>>, Arc<JsonObject>);

/// What a member is told with a tick.
#[derive(Serialize)]
struct Told<'t> {
    tick: u64,
    role: &'t str,
    member: Member,
    roles: Vec<&'t str>,
    mail: Vec<ToldMail<'t>>,
    /// Mails beyond what a member is told of in one tick.
    dropped: usize,
    effects: Vec<ToldEffect<'t>>,
    timers: Vec<ToldTimer<'t>>,
}

#[derive(Serialize)]
struct ToldMail<'t> {
    from: String,
    content: Vec<ToldPart<'t>>,
}

#[derive(Serialize)]
struct ToldEffect<'t> {
    kind: &'t str,
    role: &'t str,
    from: Option<Member>,
    value: Option<f64>,
}

#[derive(Serialize)]
struct ToldTimer<'t> {
    name: &'t str,
    message: &'t str,
}

impl SessionMember {
    pub(super) fn new(number: Member, id: SessionId) -> SessionMember {
        SessionMember {
            number,
            id,
            configured: None,
            turns: 0,
            tokens: [0; 3],
            checkpoint: None,
            kept_bytes: 0,
            timers: Timers::default(),
            place: None,
            instance: None,
            state: None,
        }
    }

    /// Whether it has a place in memory.
    pub(super) fn is_resident(&self) -> bool {
        self.place.is_some()
    }

    pub(super) fn take_place(&mut self, place: InstancePlace) {
        self.place = Some(place);
    }

    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        self.timers.next().is_some_and(|next| next <= now)
    }

    /// From its next turn on these values are others. `last` is what another member was changed from, and to: who was as that one
    /// is as that one again, and shares it.
    pub(super) fn configure(&mut self, config: &JsonObject, last: &mut Option<Configured>) {
        let is_same =
            |own: &Option<Arc<JsonObject>>, other: &Option<Arc<JsonObject>>| match (own, other) {
                (None, None) => true,
                (Some(own), Some(other)) => Arc::ptr_eq(own, other),
                (Some(_), None) | (None, Some(_)) => false,
            };
        let after = match last {
            Some((before, after)) if is_same(before, &self.configured) => after.clone(),
            _ => {
                let mut changed = self.configured.as_deref().cloned().unwrap_or_default();
                changed.extend(config.clone());
                let after = Arc::new(changed);
                *last = Some((self.configured.clone(), after.clone()));
                after
            }
        };
        self.configured = Some(after);
    }

    /// What it takes in memory beside its instance, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        let state = self.state.as_ref().map_or(0, GuestState::size);
        (size_of::<SessionMember>() + state + self.kept_bytes) as u64
    }

    /// Its turn in this tick, in which it publishes under these names.
    pub(super) async fn take_turn(
        mut self,
        tick: &Arc<SessionTick>,
    ) -> (SessionMember, Result<SessionTurn, Fault>) {
        let turn = self.turn(tick).await;
        (self, turn)
    }

    async fn turn(&mut self, tick: &Arc<SessionTick>) -> Result<SessionTurn, Fault> {
        let mut instance = match self.instance.take() {
            Some(instance) => instance,
            None => self.wake(tick).await?,
        };
        self.state = None;
        let world = Peer { session: SessionId(Uuid::nil()), name: Some(WORLD.to_owned()) };
        let content = vec![Part::Json(self.told(tick))];
        let call = self.call(tick, Sender::Agent(world), content);
        let surroundings = Surroundings::new(tick.clone(), self.number, self.seen(tick));
        let GuestResult { answer, trace, world } = instance.run(call, Box::new(surroundings)).await;
        let AgentAnswer { content, complete } = answer?;
        instance.measure().await?;
        instance.rest();
        self.instance = Some(instance);
        let world: Box<dyn std::any::Any> = world;
        let world: Box<Surroundings> =
            world.downcast().expect("an instance gives back the world that it was given");
        let done = world.done();
        self.turns += 1;
        if done.is_changed {
            (self.checkpoint, self.timers) = (done.checkpoint, done.timers);
            self.weigh();
        }
        // From here on the world keeps what the instance has paid for.
        let letters = done.letters.iter().map(Letter::bytes).sum::<u64>();
        let calls = done.calls.iter().map(RecordedCall::bytes).sum::<u64>();
        let charged = tick.memory.charge(letters + calls);
        charged.map_err(|needed| Fault::HostOutOfMemory { needed })?;
        for (total, more) in self.tokens.iter_mut().zip(done.tokens) {
            *total = total.saturating_add(more);
        }
        if complete {
            // It acts no more.
            (self.instance, self.place) = (None, None);
        }
        let mut published = Vec::new();
        for sample in trace.samples {
            if let Some(place) = tick.names.iter().position(|name| *name == sample.name) {
                published.push((place, sample.value));
            }
        }
        Ok(SessionTurn {
            member: self.number,
            hash: hash_of(&done.calls, &done.letters, &content, complete),
            letters: done.letters,
            calls: done.calls,
            published,
            is_complete: complete,
            fuel: trace.fuel,
        })
    }

    /// A call of its agent in this tick.
    fn call(&self, tick: &SessionTick, sender: Sender, content: Vec<Part>) -> Call {
        Call {
            id: tick.chance.turn_of(tick.role, self.number, tick.at).to_string(),
            number: self.turns + 1,
            attempt: 0,
            sender,
            content,
            deadline: NEVER,
            fuel: tick.fuel,
        }
    }

    /// Prepare to ask it something of which nothing is left: another instance with its state answers.
    ///
    /// # Errors
    /// There can be no such instance.
    pub(super) async fn interview(
        &mut self,
        question: Vec<Part>,
        tick: &Arc<SessionTick>,
    ) -> Result<Interview, Fault> {
        if !self.save(&tick.memory).await? {
            let why = "it holds something open, so that nobody has its state";
            return Err(Fault::Host(why.to_owned()));
        }
        let instance = self.wake(tick).await?;
        let call = self.call(tick, Sender::User, question);
        let surroundings = Surroundings::new(tick.clone(), self.number, self.seen(tick));
        Ok(Interview { instance, call, surroundings })
    }

    /// Its instance, as it was behind its last turn.
    async fn wake(&mut self, tick: &SessionTick) -> Result<Instance, Fault> {
        let grant = Grant {
            max_memory_bytes: tick.max_memory_bytes,
            seed: tick.chance.of_member(tick.role, self.number),
            turn: self.turns + 1,
            attempt: 0,
            now: tick.now,
            monotonic_ns: tick.monotonic_ns,
            files: None,
        };
        let mut instance = tick.code.instantiate_in_world(grant, tick.budget.account()).await?;
        if let Some(state) = &self.state {
            instance.restore(state, tick.fuel).await?;
        }
        Ok(instance)
    }

    /// What its agent may know of it when a turn begins.
    fn seen(&self, tick: &SessionTick) -> SeenMember {
        let [input_tokens, output_tokens, cached_tokens] = self.tokens;
        SeenMember {
            id: self.id,
            config: tick.base.of(self.number, self.configured.as_deref()),
            usage: Usage {
                turns: self.turns,
                input_tokens,
                output_tokens,
                cached_tokens,
                ..Usage::default()
            },
            checkpoint: self.checkpoint.clone(),
            timers: self.timers.clone(),
        }
    }

    /// What it is told with a tick, as JSON. Its timers that are due have sent that.
    fn told(&mut self, tick: &SessionTick) -> String {
        let own = (tick.role, self.number);
        let name =
            |(role, member): (u32, Member)| format!("{}/{member}", tick.roles[role as usize].name);
        let own = &tick.letters[letters::of(&tick.letters, own)];
        let fit = letters::fit(own);
        let mail = own[..fit].iter().map(|letter| ToldMail {
            from: letter.from.map_or_else(|| WORLD.to_owned(), name),
            content: letter.content.iter().map(letters::LetterPart::told).collect(),
        });
        let mut effects = Vec::new();
        for inbox in &tick.arrivals[tick.role as usize] {
            let by = &tick.roles[inbox.by as usize];
            for place in inbox.places(self.number..self.number + 1) {
                let value =
                    (!inbox.values.is_empty()).then(|| inbox.values.as_slice().number(place));
                effects.push(ToldEffect {
                    kind: by.kinds.get(inbox.kind as usize).map_or("", |kind| &kind.name),
                    role: &by.name,
                    from: inbox.from.get(place).copied(),
                    value,
                });
            }
        }
        let mut due = Vec::new();
        while let Some(timer) = self.timers.due(tick.now) {
            let (name, message) = (timer.name.clone(), timer.message.clone());
            self.timers.take(&name, tick.now);
            due.push((name, message));
        }
        let timers = due.iter().map(|(name, message)| ToldTimer { name, message });
        let told = Told {
            tick: tick.at,
            role: &tick.roles[tick.role as usize].name,
            member: self.number,
            roles: tick.roles.iter().map(|role| role.name.as_str()).collect(),
            mail: mail.collect(),
            dropped: own.len() - fit,
            effects,
            timers: timers.collect(),
        };
        // All of it has a form in JSON: effects are numbers.
        serde_json::to_string(&told).unwrap_or_default()
    }

    /// Leave its place in memory to others. `None`: it holds something open, and cannot.
    ///
    /// # Errors
    /// Its state could not be saved.
    pub(super) async fn leave(
        &mut self,
        memory: &SharedAccount,
    ) -> Result<Option<InstancePlace>, Fault> {
        if !self.save(memory).await? {
            return Ok(None);
        }
        self.instance = None;
        Ok(self.place.take())
    }

    /// Save its state, where it is not saved yet. Whether it could be.
    async fn save(&mut self, memory: &SharedAccount) -> Result<bool, Fault> {
        let Some(instance) = &mut self.instance else { return Ok(true) };
        if self.state.is_some() {
            return Ok(true);
        }
        let state = match instance.save_whole().await? {
            Saved::State(state) => Some(state),
            Saved::Nothing => None,
            Saved::Held(what) => {
                tracing::debug!(what, "the state of a member cannot be saved now");
                return Ok(false);
            }
            Saved::Never => return Ok(false),
        };
        let bytes = state.as_ref().map_or(0, GuestState::size) as u64;
        memory.charge(bytes).map_err(|needed| Fault::HostOutOfMemory { needed })?;
        instance.stored();
        instance.rest();
        self.state = state;
        Ok(true)
    }

    /// As it is kept, with what it publishes. `None`: it holds something open.
    ///
    /// # Errors
    /// Its state could not be saved.
    pub(super) async fn frame(
        &mut self,
        values: Vec<f64>,
        memory: &SharedAccount,
    ) -> Result<Option<SessionFrame>, Fault> {
        if !self.save(memory).await? {
            return Ok(None);
        }
        let text = |document: &JsonObject| serde_json::to_string(document).unwrap_or_default();
        let timer = |timer: &Timer| TimerFrame {
            name: timer.name.clone(),
            due: timer.due.0,
            schedule: timer.schedule.as_ref().map(|schedule| schedule.as_str().to_owned()),
            message: timer.message.clone(),
            set_in: timer.set_in,
        };
        Ok(Some(SessionFrame {
            turns: self.turns,
            config: self.configured.as_deref().map(text),
            checkpoint: self.checkpoint.as_ref().map(text),
            timers: self.timers.all().iter().map(timer).collect(),
            tokens: self.tokens,
            values,
            state: self.state.clone(),
        }))
    }

    /// It is as it was kept.
    ///
    /// # Errors
    /// What was kept is damaged.
    pub(super) fn restore(&mut self, frame: SessionFrame) -> Result<(), String> {
        let document = |text: String| {
            serde_json::from_str::<JsonObject>(&text).map_err(|error| error.to_string())
        };
        self.configured = frame.config.map(document).transpose()?.map(Arc::new);
        self.checkpoint = frame.checkpoint.map(document).transpose()?;
        let timer = |timer: TimerFrame| Timer {
            name: timer.name,
            due: Timestamp(timer.due),
            schedule: timer.schedule.map(Schedule::kept),
            message: timer.message,
            set_in: timer.set_in,
        };
        self.timers = Timers::kept(frame.timers.into_iter().map(timer).collect());
        (self.turns, self.tokens, self.state) = (frame.turns, frame.tokens, frame.state);
        self.weigh();
        Ok(())
    }

    /// Find out what its checkpoint and its timers take.
    fn weigh(&mut self) {
        let checkpoint = self.checkpoint.as_ref().map(serde_json::to_vec);
        let checkpoint = checkpoint.and_then(Result::ok).map_or(0, |text| text.len());
        let timer = |timer: &Timer| size_of::<Timer>() + timer.name.len() + timer.message.len();
        self.kept_bytes = checkpoint + self.timers.all().iter().map(timer).sum::<usize>();
    }
}

/// A question to a member.
pub(super) struct Interview {
    instance: Instance,
    call: Call,
    surroundings: Surroundings,
}

impl Interview {
    /// What the member replies.
    ///
    /// # Errors
    /// It does not.
    pub(super) async fn replied(mut self) -> Result<Vec<Part>, Fault> {
        let GuestResult { answer, .. } =
            self.instance.run(self.call, Box::new(self.surroundings)).await;
        Ok(answer?.content)
    }
}
