//! Sessions and turns by their numbers.

use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use crate::{Bound, NewSessionRecord, TurnCommit};
use dormouse_domain::agent::{
    Agent, AgentOwner, AgentRef, ComponentInfo, Digest, Export, StartRandomness, Statefulness,
    Visibility,
};
use dormouse_domain::creation;
use dormouse_domain::egress::EgressPolicy;
use dormouse_domain::event::{Event, EventBody};
use dormouse_domain::id::{Principal, SessionId, SnapshotId, TurnId};
use dormouse_domain::limits::{Limits, NanoUsd, Usage};
use dormouse_domain::mail::Peers;
use dormouse_domain::pattern::Pattern;
use dormouse_domain::residence::Residence;
use dormouse_domain::session::{Durability, IdleClock, JsonObject, Profile, Session};
use dormouse_domain::snapshot::{GuestState, Snapshot};
use dormouse_domain::state::State;
use dormouse_domain::time::Timestamp;
use dormouse_domain::turn::{Part, Sender, TurnOutcome, TurnRecord};

/// So many entries, however many bytes they have.
pub fn most(entries: usize) -> Bound {
    Bound { entries, bytes: usize::MAX }
}

/// An id of its own for each number, in their order.
pub fn uuid(number: u64) -> Uuid {
    Uuid::from_u64_pair(0x0190_0000_0000_7000, number)
}

/// The id of a session that was created at this time, and is the one of this number.
pub fn session_id_at(time: Timestamp, number: u64) -> SessionId {
    let SessionId(first) = SessionId::first_of(time);
    SessionId(Uuid::from_u64_pair(first.as_u64_pair().0 | 0x7000, number))
}

/// The session of this number.
pub fn session_id(number: u64) -> SessionId {
    SessionId(uuid(number))
}

/// An agent of the host.
pub fn agent_ref(name: &str, version: &str, component: &[u8]) -> AgentRef {
    AgentRef {
        owner: AgentOwner::Host,
        name: name.parse().expect("it is a name"),
        version: version.parse().expect("it is a version"),
        digest: Digest::of(component),
    }
}

/// A session that has just been created.
pub fn session(number: u64) -> Session {
    Session {
        id: session_id(number),
        owner: Principal::local(),
        revision: 1,
        state: State::Initializing,
        profile: Profile {
            agent: agent_ref("echo", "1", b"echo"),
            pattern: Pattern::LongRunning,
            limits: Limits {
                max_turns: None,
                max_budget: None,
                max_fuel: None,
                max_fuel_per_turn: 1,
                max_memory_bytes: 1,
                turn_timeout: std::time::Duration::from_secs(1),
                max_idle: None,
                max_lifetime: None,
                sleep_after: None,
                idle_grace: None,
                state_kept: None,
            },
            config: JsonObject::new(),
            conversation_id: None,
            durability: Durability::Turn,
            resume_fallback: None,
            egress: EgressPolicy::default(),
            tags: Vec::new(),
            description: None,
            user_id: None,
            thread_key: None,
            project_id: None,
            metadata: JsonObject::new(),
            peers: Peers::default(),
        },
        usage: Usage::default(),
        account: None,
        created_at: Timestamp(0),
        started_at: None,
        last_activity_at: Timestamp(0),
        ended_at: None,
        head: None,
        head_parent: None,
        parent: None,
        before_upgrade: None,
        unsaved_turns: 0,
        consecutive_failures: 0,
        tools_used: Vec::new(),
        context: JsonObject::new(),
        checkpoint: None,
        idle: IdleClock::default(),
        changed_at: None,
        last_failure: None,
        state_bytes: None,
        state_removed_at: None,
        timers: dormouse_domain::timer::Timers::default(),
        residence: Residence::default(),
        group: None,
    }
}

/// This session alone, with nothing to start from.
pub fn new(session: Session) -> Vec<NewSessionRecord> {
    vec![NewSessionRecord { session: session.into(), head: None }]
}

/// The record after one more commit.
pub fn next(session: &Session) -> Session {
    Session { revision: session.revision + 1, ..session.clone() }
}

/// The next turn of a session, with an answer of `answer` and a head of `head` bytes.
pub fn turn(before: &Session, answer: usize, head: usize) -> TurnCommit {
    let number = before.usage.turns + 1;
    let name = before.id.0.as_u64_pair().1 << 32 | number;
    let mut session = next(before);
    session.usage.turns = number;
    session.state = State::Active;
    let snapshot = SnapshotId(uuid(name));
    let parent = session.head.replace(snapshot);
    let record = TurnRecord {
        id: TurnId(uuid(name)),
        session: session.id,
        number,
        sender: Sender::User,
        input: vec![Part::Text("hello".to_owned())],
        outcome: TurnOutcome::Answered {
            content: vec![Part::Text("x".repeat(answer))],
            snapshot: Some(snapshot),
            durable: true,
        },
        fuel: 1,
        cost: NanoUsd(1),
        start: None,
        started_at: Timestamp(1),
        duration: std::time::Duration::from_millis(1),
        log: Vec::new(),
        log_dropped: 0,
        samples: Vec::new(),
        effects: Vec::new(),
        attempts: 1,
        woken_in: None,
    };
    let snapshot = Snapshot {
        id: snapshot,
        parent,
        turn: number,
        agent: session.profile.agent.digest,
        taken_at: Timestamp(1),
        monotonic_ns: number,
        state: GuestState::Portable { version: 1, data: Bytes::from(vec![7; head]) },
        files: None,
    };
    let completed = EventBody::TurnCompleted { turn: number, fuel: 1, cost: NanoUsd(1) };
    let events = vec![event(&session, completed)];
    let (session, turn) = (Arc::new(session), Arc::new(record));
    TurnCommit { session, turn, snapshot: Some(snapshot), events }
}

/// Something that has happened to a session.
pub fn event(session: &Session, body: EventBody) -> Event {
    Event::session(session, Timestamp(1), body)
}

/// What is told of a session that has just been created.
pub fn creation_of(session: &Session) -> Event {
    creation::event(session, None)
}

/// An agent, the component of which are a hundred times this byte.
pub fn agent(owner: AgentOwner, name: &str, version: &str, component: u8) -> Agent {
    let mut reference = agent_ref(name, version, &[component; 100]);
    reference.owner = owner;
    Agent {
        reference,
        visibility: Visibility::Private,
        size: 100,
        component: ComponentInfo {
            exports: [Export::Handler].into_iter().collect(),
            imports: Vec::new(),
            capabilities: Vec::new(),
            statefulness: Statefulness::Image,
            start_fuel: 1,
            start_randomness: StartRandomness::None,
        },
        compile_ms: 1,
        uploaded_at: Timestamp(1),
    }
}
