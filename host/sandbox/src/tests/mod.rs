//! The room as a whole: real components, compiled and run.

pub(super) mod agent;
mod caching;
mod commands;
mod corpus;
mod images;
mod imports;
mod limits;
mod uploads;
mod work;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Map;

use super::{
    Call, Code, Compiler, Grant, OutputSink, Refusal, Sandbox, SandboxOptions, SessionView,
};
use dormouse_base::clock::{Clock, ManualClock};
use dormouse_base::memory::MemoryBudget;
use dormouse_domain::limits::{Limits, Usage};
use dormouse_domain::pattern::Pattern;
use dormouse_domain::time::Timestamp;
use dormouse_domain::turn::{Part, Sender};

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
    Grant { max_memory_bytes: MEMORY, seed: [7; 32], turn: 1, attempt: 0, monotonic_ns: 0 }
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
        session: Arc::new(view()),
        output: Box::new(Nowhere),
    }
}

fn view() -> SessionView {
    SessionView {
        id: "session".to_owned(),
        agent: "agent".to_owned(),
        pattern: Pattern::Hybrid,
        config: Map::new(),
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
        },
        usage: Usage::default(),
        context: Map::new(),
    }
}

struct Nowhere;

impl OutputSink for Nowhere {
    fn text(&mut self, _: String) {}

    fn event(&mut self, _: String, _: String) {}
}
