//! The world of a turn of a session: its record, its stream, and the gate to what lies outside.

use std::borrow::Cow;
use std::sync::Arc;

use crate::gate::{Gate, GateEnd};
use crate::turn::output::TurnOutput;
use crate::turn::settlement::StartedTurn;
use dormouse_domain::effect::Effect;
use dormouse_domain::id::SessionId;
use dormouse_domain::journal::Salt;
use dormouse_domain::limits::Usage;
use dormouse_domain::mail::Peers;
use dormouse_domain::model::ModelTool;
use dormouse_domain::session::{JsonObject, Session};
use dormouse_domain::time::Timestamp;
use dormouse_domain::timer::Timers;
use dormouse_domain::turn::{Delta, Part, Sender};
use dormouse_sandbox::{EffectFuture, NotSent, SendFuture, SessionView, SoFar, World};

/// The world of the guest of a session while it answers one message: all that it may know and do.
pub(crate) struct SessionWorld {
    session: Arc<Session>,
    id: String,
    agent: String,
    usage: Usage,
    gate: Gate,
    output: TurnOutput,
    /// The checkpoint that the guest has set.
    checkpoint: Option<JsonObject>,
    /// The timers of the session, without the one that has sent the turn.
    timers: Timers,
    /// Who has sent what the turn answers.
    sender: Sender,
    /// Who the guest may write to, where that is not what the profile says.
    peers: Option<Peers>,
}

/// What is left of a world once its turn is over.
pub(crate) struct WorldEnd {
    /// The checkpoint that the guest has set.
    pub(crate) checkpoint: Option<JsonObject>,
    /// The timers of the session, as the guest has left them.
    pub(crate) timers: Timers,
    pub(crate) gate: GateEnd,
}

impl SessionWorld {
    /// For this turn of this session, which streams to this output, and reaches the outside through this gate.
    pub(crate) fn new(
        session: Arc<Session>,
        begun: &StartedTurn,
        gate: Gate,
        output: TurnOutput,
    ) -> SessionWorld {
        SessionWorld {
            timers: begun.timers(&session),
            peers: match session.peers() {
                Cow::Owned(peers) => Some(peers),
                Cow::Borrowed(_) => None,
            },
            id: session.id.to_string(),
            agent: session.profile.agent.name.to_string(),
            usage: told(session.usage),
            session,
            gate,
            output,
            checkpoint: None,
            sender: begun.sender.clone(),
        }
    }

    /// What is left of it once the turn is over.
    pub(crate) fn end(self) -> WorldEnd {
        let SessionWorld { checkpoint, timers, gate, .. } = self;
        WorldEnd { checkpoint, timers, gate: gate.end() }
    }
}

/// The part of this usage that an agent may know: nothing that depends on how often its session has slept.
fn told(mut usage: Usage) -> Usage {
    usage.cost = usage.cost - std::mem::take(&mut usage.start_cost);
    (usage.starts, usage.start_fuel) = (0, 0);
    usage
}

impl World for SessionWorld {
    fn session(&self) -> SessionView<'_> {
        SessionView {
            id: &self.id,
            turn: self.session.usage.next_turn(),
            agent: &self.agent,
            pattern: self.session.profile.pattern,
            config: &self.session.profile.config,
            limits: &self.session.profile.limits,
            usage: self.usage,
            context: &self.session.context,
        }
    }

    fn checkpoint(&self) -> Option<&JsonObject> {
        self.checkpoint.as_ref().or(self.session.checkpoint.as_ref())
    }

    fn set_checkpoint(&mut self, checkpoint: JsonObject) {
        self.checkpoint = Some(checkpoint);
    }

    fn timers(&self) -> &Timers {
        &self.timers
    }

    fn timers_mut(&mut self) -> &mut Timers {
        &mut self.timers
    }

    fn tools(&self) -> Vec<ModelTool> {
        self.gate.tools()
    }

    fn has_tool_servers(&self) -> bool {
        self.gate.has_tool_servers()
    }

    fn peers(&self) -> &Peers {
        self.peers.as_ref().unwrap_or(&self.session.profile.peers)
    }

    fn addressed(&self, address: &str) -> Option<SessionId> {
        self.peers().addressed(address, &self.sender)
    }

    fn send(&mut self, to: String, content: Vec<Part>) -> SendFuture<'_> {
        Box::pin(async move {
            let to = self.addressed(&to).ok_or(NotSent::UnknownPeer)?;
            self.gate.send(to, content).await
        })
    }

    fn now(&mut self) -> Timestamp {
        self.gate.now()
    }

    fn monotonic_ns(&mut self) -> u64 {
        self.gate.monotonic_ns()
    }

    fn emit(&mut self, delta: Delta) {
        self.output.push(delta);
    }

    fn salt(&mut self) -> Option<Salt> {
        self.gate.salt()
    }

    fn effect(&mut self, effect: Effect, so_far: SoFar) -> EffectFuture<'_> {
        Box::pin(self.gate.effect(effect, so_far))
    }
}
