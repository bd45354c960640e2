//! However a turn ends, its world comes back, and what was streamed can be read from it.

use std::future::pending;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use super::*;
use crate::turn::admission::{self, Standing};
use crate::turn::output::TurnOutput;
use dormouse_base::clock::{Clock, ManualClock};
use dormouse_base::memory::MemoryBudget;
use dormouse_domain::agent::{AgentOwner, AgentRef, Digest};
use dormouse_domain::creation::{self, DefaultLimits, NewSession};
use dormouse_domain::effect::{Effect, EffectError};
use dormouse_domain::id::{Principal, SessionId};
use dormouse_domain::journal::Salt;
use dormouse_domain::limits::{FuelPrice, NanoUsd};
use dormouse_domain::mail::Peers;
use dormouse_domain::model::ModelTool;
use dormouse_domain::session::{JsonObject, Session};
use dormouse_domain::time::Timestamp;
use dormouse_domain::timer::Timers;
use dormouse_domain::turn::{Delta, Part, Sender};
use dormouse_sandbox::{
    self as sandbox, Compiler, EffectFuture, NotSent, Sandbox, SandboxOptions, SendFuture,
    SessionView, SoFar,
};
use dormouse_test_guests::{TRAPS_WHEN_TOLD, TestGuest, WAITS_FOR_THE_CLOCK};

const MEMORY: u64 = 256 << 20;

async fn instance(guest: TestGuest) -> Instance {
    let memory = MemoryBudget::new(1 << 30);
    let sandbox = Sandbox::new(SandboxOptions {
        max_instances: 2,
        max_memory_bytes: MEMORY,
        max_component_bytes: 64 << 20,
        guest_threads: 1,
        memory: memory.clone(),
        clock: Clock::manual(&ManualClock::new()),
        compiler: Compiler::InProcess,
        cache: None,
    });
    let prepared = sandbox.expect("a sandbox").prepare(Bytes::from_static(guest.bytes), None).await;
    let grant = sandbox::Grant {
        max_memory_bytes: MEMORY,
        seed: [7; 32],
        turn: 1,
        attempt: 0,
        now: Timestamp(0),
        monotonic_ns: 0,
        files: None,
    };
    let code = prepared.expect("it is taken").code;
    code.instantiate(grant, memory.account()).await.expect("it starts")
}

fn session() -> Arc<Session> {
    let agent = AgentRef {
        owner: AgentOwner::Host,
        name: "agent".parse().expect("a name"),
        version: "1".parse().expect("a version"),
        digest: Digest::of(b"agent"),
    };
    let (new, id) = (NewSession::agent("agent"), SessionId(Uuid::from_u128(7)));
    let limits = DefaultLimits::default();
    let session = creation::fresh(new, id, Principal::local(), agent, None, &limits, Timestamp(0));
    Arc::new(session.expect("the limits are within bounds"))
}

/// A world whose clock stands, and which answers no effects.
struct TestWorld {
    timers: Timers,
    session: Arc<Session>,
    output: TurnOutput,
}

impl World for TestWorld {
    fn session(&self) -> SessionView<'_> {
        SessionView {
            id: "session",
            turn: 1,
            agent: "agent",
            pattern: self.session.profile.pattern,
            config: &self.session.profile.config,
            limits: &self.session.profile.limits,
            usage: self.session.usage,
            context: &self.session.context,
        }
    }

    fn checkpoint(&self) -> Option<&JsonObject> {
        None
    }

    fn set_checkpoint(&mut self, _: JsonObject) {}

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
        &self.session.profile.peers
    }

    fn addressed(&self, _: &str) -> Option<SessionId> {
        None
    }

    fn send(&mut self, _: String, _: Vec<Part>) -> SendFuture<'_> {
        Box::pin(std::future::ready(Err(NotSent::UnknownPeer)))
    }

    fn now(&mut self) -> Timestamp {
        Timestamp(0)
    }

    fn monotonic_ns(&mut self) -> u64 {
        0
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

/// A turn that says this, in a world whose clock stands.
fn turn(text: &str, output: &TurnOutput) -> TurnCall<'static, TestWorld> {
    let session = session();
    let price = FuelPrice(NanoUsd(0));
    let grant = admission::admit(&session, Standing::own(&session), price, Timestamp(0))
        .expect("it may run");
    let durability = session.profile.durability;
    TurnCall {
        call: Call {
            id: "turn".to_owned(),
            number: 1,
            attempt: 0,
            sender: Sender::User,
            content: vec![Part::Text(text.to_owned())],
            deadline: grant.deadline,
            fuel: u64::MAX,
        },
        world: Box::new(TestWorld { session, output: output.clone(), timers: Timers::default() }),
        grant,
        durability,
        host_memory: &|| MEMORY,
    }
}

/// Everything that the world of a turn that is over has streamed.
async fn streamed(world: Box<TestWorld>) -> Vec<Delta> {
    world.output.end();
    let mut deltas = Vec::new();
    while let Some(delta) = world.output.get(deltas.len()).await {
        deltas.push(delta);
    }
    deltas
}

fn three_words() -> Vec<Delta> {
    ["one ", "two ", "three "].map(|word| Delta::Text(word.to_owned())).to_vec()
}

#[tokio::test]
async fn a_turn_that_is_cut_off_says_why_and_gives_its_world_back() {
    for (cut, code) in [
        (Cancellation::Killed, FailureCode::TurnKilled),
        (Cancellation::Interrupted, FailureCode::TurnInterrupted),
        (Cancellation::TimedOut, FailureCode::TurnTimeout),
    ] {
        let mut instance = instance(WAITS_FOR_THE_CLOCK).await;
        let output = TurnOutput::default();
        let cut = async {
            output.get(2).await;
            cut
        };
        let result = run(&mut instance, turn("wait", &output), cut).await;
        assert_eq!(result.result.expect_err("it was cut off").code, code);
        assert!(result.fuel > 0 && result.start_fuel.is_some() && result.lacks.is_none());
        assert_eq!(streamed(result.world).await, three_words());
    }
}

#[tokio::test]
async fn a_turn_whose_future_is_dropped_leaves_its_world_in_the_instance() {
    let mut instance = instance(WAITS_FOR_THE_CLOCK).await;
    let output = TurnOutput::default();
    {
        let run = pin!(run(&mut instance, turn("wait", &output), pending()));
        tokio::select! {
            biased;
            _ = run => panic!("the clock stands"),
            _ = output.get(2) => {}
        }
    }
    let (trace, world) = instance.abandon();
    assert!(trace.fuel > 0);
    assert_eq!(streamed(typed(world.expect("the call was begun"))).await, three_words());
}

#[tokio::test]
async fn a_turn_that_traps_gives_its_world_back_and_one_that_is_answered_does() {
    let mut instance = instance(TRAPS_WHEN_TOLD).await;
    let output = TurnOutput::default();
    let answered = run(&mut instance, turn("hello", &output), pending()).await;
    let answer = answered.result.expect("it is answered");
    assert!(answer.durable && answer.saved.is_some());
    assert!(streamed(answered.world).await.is_empty());
    let trapped = run(&mut instance, turn("trap", &output), pending()).await;
    assert_eq!(trapped.result.expect_err("it traps").code, FailureCode::AgentTrapped);
    assert!(streamed(trapped.world).await.is_empty());
}
