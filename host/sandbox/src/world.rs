//! The world of a call: the one gate between a guest and what lies outside of its instance.
//!
//! Whatever a guest learns from outside while it is called, and whatever it does there, goes through
//! the [`World`] that its caller hands in; random bytes follow from the grant of the instance. So a
//! caller decides what a guest sees: a session that is served, a turn that is run again, a simulation.
//!
//! Invariants: the sandbox owns a world for exactly as long as a call lasts, and gives it back with the
//! result of the call or, where the future of the call was dropped, with
//! [`Instance::abandon`](crate::Instance::abandon). An import borrows the world from the store of its
//! instance, and so it may wait for the world: a future that is dropped in the middle of that leaves the
//! world where it was.

use std::any::Any;
use std::pin::Pin;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::view::View;
use dormouse_domain::effect::{Effect, EffectAnswer, EffectError};
use dormouse_domain::id::SessionId;
use dormouse_domain::journal::Salt;
use dormouse_domain::limits::{Limits, Usage};
use dormouse_domain::mail::Peers;
use dormouse_domain::model::ModelTool;
use dormouse_domain::pattern::Pattern;
use dormouse_domain::time::Timestamp;
use dormouse_domain::timer::Timers;
use dormouse_domain::turn::{Delta, Part};

/// An effect under way. It borrows the world, and leaves it where it was when it is dropped.
pub type EffectFuture<'w> =
    Pin<Box<dyn Future<Output = Result<EffectReply, EffectError>> + Send + 'w>>;

/// What a guest may know and do in one call. No method blocks: the guest runs on the thread that asks.
///
/// A caller that needs its own type back converts a `Box<dyn World>` to a `Box<dyn Any>` first.
pub trait World: Any + Send {
    /// What the agent may know of its session. The same for all of the call.
    fn session(&self) -> SessionView<'_>;

    /// The checkpoint of the session: the one that was set last, in this call or before it.
    fn checkpoint(&self) -> Option<&Map<String, Value>>;

    /// Take a new checkpoint. The host writes it with `MAX_DOCUMENT` bytes at most.
    fn set_checkpoint(&mut self, checkpoint: Map<String, Value>);

    /// The timers of the session, with what this call has changed.
    fn timers(&self) -> &Timers;

    /// The same, to be changed. What is changed is kept if the call succeeds.
    fn timers_mut(&mut self) -> &mut Timers;

    /// The tools of the host that the agent may use. The same for all of the call, in the same order.
    fn tools(&self) -> Vec<ModelTool>;

    /// Whether the session names servers that may have more: which, [`Effect::ListTools`] tells.
    fn has_tool_servers(&self) -> bool;

    /// Who the agent may write to, besides the sender of the turn.
    fn peers(&self) -> &Peers;

    /// The session that the agent calls so, if it may write to it.
    fn addressed(&self, address: &str) -> Option<SessionId>;

    /// Send a mail with the end of the call, if it succeeds: to whoever the agent calls so. The mail has the bounds that
    /// mails have.
    ///
    /// # Errors
    /// It is not sent.
    fn send(&mut self, to: String, content: Vec<Part>) -> SendFuture<'_>;

    /// What the agent sees of the simulated world that it is a member of. `None`: it is a member of none.
    fn view(&self) -> Option<Arc<dyn View>> {
        None
    }

    /// What the wall clock of the guest says.
    fn now(&mut self) -> Timestamp;

    /// What the monotonic clock of the guest says, in nanoseconds. It never goes back within a call, and
    /// begins with no less than [`Instance::monotonic_ns`](crate::Instance::monotonic_ns) says before.
    fn monotonic_ns(&mut self) -> u64;

    /// Take a piece of what the turn streams. All pieces of a call together carry
    /// `MAX_OUTPUT_BYTES` at most.
    fn emit(&mut self, delta: Delta);

    /// What the random bytes are drawn with from here on, where the call is made again: from the begin of the
    /// call, or from the effect that was answered last, to the next. `None`: something new.
    fn salt(&mut self) -> Option<Salt>;

    /// Ask the outside world for something, and wait for the answer.
    ///
    /// A future that is dropped may have had its effect; the world keeps account of it.
    fn effect(&mut self, effect: Effect, so_far: SoFar) -> EffectFuture<'_>;
}

/// The way of a mail to its place.
pub type SendFuture<'a> = Pin<Box<dyn Future<Output = Result<(), NotSent>> + Send + 'a>>;

/// Why a mail is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotSent {
    /// The agent knows nobody by that name, or the session is gone.
    UnknownPeer,
    /// The turn has sent as many as it may.
    TooMany,
    /// The mails of the turn would hold more than they may.
    TooLarge,
    /// The mailbox has no room.
    MailboxFull,
    /// The session has ended.
    Ended,
}

/// What a guest has done in its call when it asks for an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SoFar {
    /// The fuel that it has used.
    pub fuel: u64,
    /// What its random bytes were drawn with since the begin of the call, or the effect before; `None`: it has
    /// drawn none.
    pub salt: Option<Salt>,
}

/// The answer to an effect.
#[derive(Clone, Debug, PartialEq)]
pub struct EffectReply {
    /// What the guest is told.
    pub answer: EffectAnswer,
    /// The fuel that it may use from here on, at most. `None`: what it has.
    pub fuel_left: Option<u64>,
}

impl std::fmt::Debug for dyn World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").finish_non_exhaustive()
    }
}

/// What an agent may know of its session, when a turn begins.
#[derive(Clone, Copy, Debug)]
pub struct SessionView<'a> {
    /// Its id.
    pub id: &'a str,
    /// The number of the turn.
    pub turn: u64,
    /// The name of its agent.
    pub agent: &'a str,
    /// How it is hosted.
    pub pattern: Pattern,
    /// Its configuration.
    pub config: &'a Map<String, Value>,
    /// What it may spend.
    pub limits: &'a Limits,
    /// What it has spent.
    pub usage: Usage,
    /// Its context document.
    pub context: &'a Map<String, Value>,
}
