//! The world of a turn of a session: its record, the host's clock, and the stream of the turn.

use std::sync::Arc;
use std::time::Duration;

use crate::turn::output::TurnOutput;
use dormouse_base::clock::Clock;
use dormouse_domain::effect::{Effect, EffectError};
use dormouse_domain::journal::Salt;
use dormouse_domain::limits::Usage;
use dormouse_domain::session::{JsonObject, Session};
use dormouse_domain::time::Timestamp;
use dormouse_domain::turn::Delta;
use dormouse_sandbox::{EffectFuture, SessionView, SoFar, World};

/// The world of the guest of a session while it answers one message: all that it may know and do.
pub(crate) struct SessionWorld {
    session: Arc<Session>,
    id: String,
    agent: String,
    usage: Usage,
    clock: Clock,
    /// What the host's monotonic clock said when the turn began,
    origin: Duration,
    /// and what the guest's said then, in nanoseconds.
    monotonic_ns: u64,
    pub(super) output: TurnOutput,
    /// The checkpoint that the guest has set.
    checkpoint: Option<JsonObject>,
}

impl SessionWorld {
    /// For a turn of this session that streams to this output, and begins when the guest's monotonic clock
    /// says this, in nanoseconds.
    pub(crate) fn new(
        session: Arc<Session>,
        clock: Clock,
        monotonic_ns: u64,
        output: TurnOutput,
    ) -> SessionWorld {
        SessionWorld {
            id: session.id.to_string(),
            agent: session.profile.agent.name.to_string(),
            usage: told(session.usage),
            session,
            origin: clock.monotonic(),
            clock,
            monotonic_ns,
            output,
            checkpoint: None,
        }
    }

    /// The checkpoint that the guest has set.
    pub(crate) fn into_checkpoint(self) -> Option<JsonObject> {
        self.checkpoint
    }

    /// Whether the guest has streamed anything.
    pub(crate) fn has_streamed(&self) -> bool {
        self.output.has_deltas()
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

    fn now(&mut self) -> Timestamp {
        self.clock.now()
    }

    fn monotonic_ns(&mut self) -> u64 {
        let elapsed = self.clock.monotonic().saturating_sub(self.origin);
        let elapsed = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
        self.monotonic_ns.saturating_add(elapsed)
    }

    fn emit(&mut self, delta: Delta) {
        self.output.push(delta);
    }

    fn salt(&mut self) -> Option<Salt> {
        None
    }

    fn effect(&mut self, _: Effect, _: SoFar) -> EffectFuture<'_> {
        Box::pin(async { Err(EffectError::NoWorld) })
    }
}
