//! What the agent of a member may know and do in its turn: its world is the simulated one, and models answer from the
//! recording or live. Nothing else outside of the world can be reached.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use super::SessionTick;
use crate::recording::{NoAnswer, RecordedCall};
use crate::view::SeenBy;
use crate::world::letters::{Letter, LetterPart, WORLD};
use dormouse_domain::ask::AskError;
use dormouse_domain::effect::{Effect, EffectAnswer, EffectError};
use dormouse_domain::id::SessionId;
use dormouse_domain::journal::Salt;
use dormouse_domain::limits::{Limits, Usage};
use dormouse_domain::mail::{self, MAX_PEERS, MAX_SENDS, MAX_SENT_BYTES, Peers};
use dormouse_domain::model::{ModelAnswer, ModelTool};
use dormouse_domain::pattern::Pattern;
use dormouse_domain::session::JsonObject;
use dormouse_domain::simulation::{CallPlace, Member, Role};
use dormouse_domain::time::Timestamp;
use dormouse_domain::timer::Timers;
use dormouse_domain::tool::{ToolError, ToolListing};
use dormouse_domain::turn::{Delta, Part};
use dormouse_sandbox::{
    EffectFuture, EffectReply, NotSent, SendFuture, SessionView, SoFar, View, World,
};

/// The most calls of models that a member makes in a tick.
const MAX_CALLS: u32 = 10_000;

/// What the agent of a member may know and do in one turn.
pub(super) struct Surroundings {
    tick: Arc<SessionTick>,
    member: Member,
    id: String,
    config: JsonObject,
    limits: Limits,
    usage: Usage,
    checkpoint: Option<JsonObject>,
    timers: Timers,
    /// Whether the checkpoint or the timers may be others than before.
    is_changed: bool,
    peers: Peers,
    letters: Vec<Letter>,
    sent_bytes: u64,
    calls: Vec<RecordedCall>,
    tokens: [u64; 3],
}

/// What the agent of a member may know of that when its turn begins.
pub(super) struct SeenMember {
    pub(super) id: SessionId,
    pub(super) config: JsonObject,
    pub(super) usage: Usage,
    pub(super) checkpoint: Option<JsonObject>,
    pub(super) timers: Timers,
}

/// What is left of it once the turn is over.
pub(super) struct Done {
    /// Whether the checkpoint or the timers may be others than before.
    pub(super) is_changed: bool,
    pub(super) checkpoint: Option<JsonObject>,
    pub(super) timers: Timers,
    pub(super) letters: Vec<Letter>,
    pub(super) calls: Vec<RecordedCall>,
    pub(super) tokens: [u64; 3],
}

static NO_CONTEXT: LazyLock<JsonObject> = LazyLock::new(JsonObject::new);

impl Surroundings {
    pub(super) fn new(tick: Arc<SessionTick>, member: Member, seen: SeenMember) -> Surroundings {
        let SeenMember { id, config, usage, checkpoint, timers } = seen;
        let limits = Limits {
            max_turns: None,
            max_budget: None,
            max_fuel: None,
            max_fuel_per_turn: tick.fuel,
            max_memory_bytes: tick.max_memory_bytes,
            turn_timeout: Duration::MAX,
            max_idle: None,
            idle_grace: None,
            max_lifetime: None,
            sleep_after: None,
            state_kept: None,
        };
        Surroundings {
            peers: peers_of(&tick, member),
            tick,
            member,
            id: id.to_string(),
            config,
            limits,
            usage,
            checkpoint,
            timers,
            is_changed: false,
            letters: Vec::new(),
            sent_bytes: 0,
            calls: Vec::new(),
            tokens: [0; 3],
        }
    }

    pub(super) fn done(self) -> Done {
        let Surroundings { checkpoint, timers, is_changed, letters, calls, tokens, .. } = self;
        Done { checkpoint, timers, is_changed, letters, calls, tokens }
    }

    /// The member that is called so.
    fn member_called(&self, address: &str) -> Option<(Role, Member)> {
        let (role, member) = address.rsplit_once('/')?;
        let member: Member = member.parse().ok()?;
        let place = self.tick.roles.iter().position(|own| own.name == role)?;
        let role = &self.tick.roles[place];
        (role.are_sessions && member < role.size).then_some((place as Role, member))
    }

    fn post(&mut self, to: &str, content: Vec<Part>) -> Result<(), NotSent> {
        let to = self.member_called(to).ok_or(NotSent::UnknownPeer)?;
        let ended = self.tick.roles[to.0 as usize].ended.as_deref();
        if ended.is_some_and(|ended| ended.get(to.1 as usize) == Some(&true)) {
            return Err(NotSent::Ended);
        }
        if self.letters.len() >= MAX_SENDS as usize {
            return Err(NotSent::TooMany);
        }
        let bytes = self.sent_bytes + mail::weight(&content);
        if bytes > MAX_SENT_BYTES {
            return Err(NotSent::TooLarge);
        }
        self.sent_bytes = bytes;
        let from = Some((self.tick.role, self.member));
        let content = content.into_iter().map(LetterPart::from).collect();
        self.letters.push(Letter { from, to, content });
        Ok(())
    }

    async fn answer(&mut self, effect: Effect) -> Result<EffectAnswer, EffectError> {
        let call = match &effect {
            Effect::Model(call) => call,
            Effect::Tool(_) => {
                let why = "a member of a world uses no tools of the host".to_owned();
                return Ok(EffectAnswer::Tool(Err(ToolError::NotAllowed(why))));
            }
            Effect::ListTools => {
                let none = ToolListing { tools: Vec::new(), unavailable: Vec::new() };
                return Ok(EffectAnswer::ToolList(none));
            }
            Effect::Ask(_) => {
                let why = "in a world nobody is asked, because the answer would depend on who acts first: send a mail";
                return Ok(EffectAnswer::Ask(Err(AskError::Unavailable(why.to_owned()))));
            }
            // The sandbox has told the guest that nothing is sent from here.
            Effect::Http(_) => return Err(EffectError::NoWorld),
        };
        let number = u32::try_from(self.calls.len()).unwrap_or(u32::MAX);
        if number >= MAX_CALLS {
            let why = format!("a member calls models {MAX_CALLS} times in a tick at most");
            return Err(EffectError::TooMany(why));
        }
        let (at, role, member) = (self.tick.at, self.tick.role, self.member);
        let place = CallPlace { at, role, member, number };
        let answered = self.tick.answers.answer(place, effect.digest().0, call).await;
        let call = answered.map_err(|error| match error {
            NoAnswer::Differs(what) => EffectError::Diverged(what),
            NoAnswer::NotNow(why) => EffectError::Host(why),
        })?;
        if let Ok(ModelAnswer { usage: Some(usage), .. }) = &call.answer {
            let [input, output, cached] = &mut self.tokens;
            *input = input.saturating_add(usage.uncached_input());
            *output = output.saturating_add(usage.output);
            *cached = cached.saturating_add(usage.cache_read);
        }
        let answer = call.answer.clone();
        self.calls.push(call);
        Ok(EffectAnswer::Model(answer))
    }
}

/// Who stands next to a member, by address: as many as an agent has peers.
fn peers_of(tick: &SessionTick, member: Member) -> Peers {
    let role = &tick.roles[tick.role as usize];
    let view = SeenBy { world: tick.seen.clone(), role: tick.role };
    let neighbours = view.neighbours(member).unwrap_or_default().iter().take(MAX_PEERS);
    let peer = |neighbour: &Member| {
        (format!("{}/{neighbour}", role.name), tick.chance.id_of(tick.role, *neighbour))
    };
    Peers::kept(neighbours.map(peer).collect::<BTreeMap<_, _>>())
}

impl World for Surroundings {
    fn session(&self) -> SessionView<'_> {
        SessionView {
            id: &self.id,
            turn: self.usage.turns + 1,
            agent: &self.tick.agent,
            pattern: Pattern::LongRunning,
            config: &self.config,
            limits: &self.limits,
            usage: self.usage,
            context: &NO_CONTEXT,
        }
    }

    fn checkpoint(&self) -> Option<&JsonObject> {
        self.checkpoint.as_ref()
    }

    fn set_checkpoint(&mut self, checkpoint: JsonObject) {
        self.checkpoint = Some(checkpoint);
        self.is_changed = true;
    }

    fn timers(&self) -> &Timers {
        &self.timers
    }

    fn timers_mut(&mut self) -> &mut Timers {
        self.is_changed = true;
        &mut self.timers
    }

    fn tools(&self) -> Vec<ModelTool> {
        Vec::new()
    }

    fn has_tool_servers(&self) -> bool {
        false
    }

    fn peers(&self) -> &Peers {
        &self.peers
    }

    fn addressed(&self, address: &str) -> Option<SessionId> {
        let (role, member) = self.member_called(address)?;
        Some(self.tick.chance.id_of(role, member))
    }

    fn send(&mut self, to: String, content: Vec<Part>) -> SendFuture<'_> {
        let sent = if to == WORLD { Err(NotSent::Ended) } else { self.post(&to, content) };
        Box::pin(std::future::ready(sent))
    }

    fn view(&self) -> Option<Arc<dyn View>> {
        Some(Arc::new(SeenBy { world: self.tick.seen.clone(), role: self.tick.role }))
    }

    fn now(&mut self) -> Timestamp {
        self.tick.now
    }

    fn monotonic_ns(&mut self) -> u64 {
        self.tick.monotonic_ns
    }

    fn emit(&mut self, _: Delta) {}

    fn salt(&mut self) -> Option<Salt> {
        let number = self.calls.len() as u64;
        Some(self.tick.chance.salt_of(self.tick.role, self.member, self.tick.at, number))
    }

    fn effect(&mut self, effect: Effect, _: SoFar) -> EffectFuture<'_> {
        Box::pin(async move {
            let answer = self.answer(effect).await?;
            Ok(EffectReply { answer, fuel_left: None })
        })
    }
}
