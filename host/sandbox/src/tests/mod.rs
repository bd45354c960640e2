//! The room as a whole: real components, compiled and run.

pub(super) mod agent;
mod caching;
mod commands;
mod corpus;
mod images;
mod imports;
mod limits;
mod model;
mod uploads;
mod work;
mod worlds;

use std::any::Any;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Map, Value};

use super::{
    Call, Code, Compiler, EffectFuture, EffectReply, Grant, NotSent, Refusal, Sandbox,
    SandboxOptions, SendFuture, SessionView, SoFar, World,
};
use dormouse_base::clock::{Clock, ManualClock};
use dormouse_base::memory::MemoryBudget;
use dormouse_domain::effect::{Effect, EffectError};
use dormouse_domain::id::SessionId;
use dormouse_domain::journal::Salt;
use dormouse_domain::limits::{Limits, Usage};
use dormouse_domain::mail::Peers;
use dormouse_domain::model::ModelTool;
use dormouse_domain::pattern::Pattern;
use dormouse_domain::session::JsonObject;
use dormouse_domain::time::Timestamp;
use dormouse_domain::timer::Timers;
use dormouse_domain::turn::{Delta, Part, Sender};

/// The most memory that an instance may have in these tests.
const MEMORY: u64 = 4 << 20;

fn options(memory: &MemoryBudget) -> SandboxOptions {
    SandboxOptions {
        max_instances: 4,
        max_memory_bytes: MEMORY,
        max_component_bytes: 1 << 20,
        guest_threads: 1,
        memory: memory.clone(),
        clock: Clock::manual(&ManualClock::new()),
        compiler: Compiler::InProcess,
        cache: None,
    }
}

fn sandbox() -> Sandbox {
    Sandbox::new(options(&MemoryBudget::new(1 << 30))).expect("a sandbox")
}

async fn code(component: Vec<u8>) -> Arc<Code> {
    sandbox().prepare(Bytes::from(component), None).await.expect("it is taken").code
}

async fn refusal(component: Vec<u8>) -> Refusal {
    sandbox().prepare(Bytes::from(component), None).await.expect_err("it is refused")
}

fn grant() -> Grant {
    Grant {
        max_memory_bytes: MEMORY,
        seed: [7; 32],
        turn: 1,
        attempt: 0,
        now: Timestamp(0),
        monotonic_ns: 0,
        files: None,
    }
}

fn call(fuel: u64) -> Call {
    Call {
        id: "turn".to_owned(),
        number: 1,
        attempt: 0,
        sender: Sender::User,
        content: vec![Part::Text("hello".to_owned())],
        deadline: Timestamp::NEVER,
        fuel,
    }
}

/// A world that keeps what is streamed, and whose clocks go on by a step with each look.
struct TestWorld {
    timers: Timers,
    peers: Peers,
    document: Map<String, Value>,
    limits: Limits,
    now: Timestamp,
    monotonic_ns: u64,
    deltas: Vec<Delta>,
    checkpoint: Option<JsonObject>,
    /// What was asked,
    effects: Vec<(Effect, SoFar)>,
    /// and what is answered to it in turn: nothing ever, where nothing is left.
    replies: VecDeque<Result<EffectReply, EffectError>>,
    /// The salts of the segments of the call, in turn. Those that are left out are new.
    salts: VecDeque<Option<Salt>>,
}

/// How far the clocks of a [`TestWorld`] go on with each look.
const STEP: Duration = Duration::from_secs(60);

fn world() -> Box<TestWorld> {
    Box::new(TestWorld {
        timers: Timers::default(),
        peers: Peers::default(),
        document: Map::new(),
        limits: Limits {
            max_turns: None,
            max_budget: None,
            max_fuel: None,
            max_fuel_per_turn: 1,
            max_memory_bytes: MEMORY,
            turn_timeout: Duration::from_secs(1),
            max_idle: None,
            max_lifetime: None,
            sleep_after: None,
            idle_grace: None,
            state_kept: None,
        },
        now: Timestamp(0),
        monotonic_ns: 0,
        deltas: Vec::new(),
        checkpoint: None,
        effects: Vec::new(),
        replies: VecDeque::new(),
        salts: VecDeque::new(),
    })
}

/// The world of a call that is over.
fn returned(world: Box<dyn World>) -> TestWorld {
    let world: Box<dyn Any> = world;
    *world.downcast().expect("it is the world that was handed in")
}

impl World for TestWorld {
    fn session(&self) -> SessionView<'_> {
        SessionView {
            id: "session",
            turn: 1,
            agent: "agent",
            pattern: Pattern::Hybrid,
            config: &self.document,
            limits: &self.limits,
            usage: Usage::default(),
            context: &self.document,
        }
    }

    fn checkpoint(&self) -> Option<&JsonObject> {
        self.checkpoint.as_ref()
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
        Vec::new()
    }

    fn has_tool_servers(&self) -> bool {
        false
    }

    fn peers(&self) -> &Peers {
        &self.peers
    }

    fn addressed(&self, address: &str) -> Option<SessionId> {
        self.peers.named(address)
    }

    fn send(&mut self, _: String, _: Vec<Part>) -> SendFuture<'_> {
        Box::pin(std::future::ready(Err(NotSent::UnknownPeer)))
    }

    fn now(&mut self) -> Timestamp {
        self.now = self.now.after(STEP);
        self.now
    }

    fn monotonic_ns(&mut self) -> u64 {
        self.monotonic_ns += u64::try_from(STEP.as_nanos()).expect("small");
        self.monotonic_ns
    }

    fn emit(&mut self, delta: Delta) {
        self.deltas.push(delta);
    }

    fn salt(&mut self) -> Option<Salt> {
        self.salts.pop_front().flatten()
    }

    fn effect(&mut self, effect: Effect, so_far: SoFar) -> EffectFuture<'_> {
        self.effects.push((effect, so_far));
        match self.replies.pop_front() {
            Some(reply) => Box::pin(std::future::ready(reply)),
            None => Box::pin(std::future::pending()),
        }
    }
}
