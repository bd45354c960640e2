//! What is stored: sessions, turns and snapshots, each a function of a few numbers.
//!
//! So nothing of them is kept in memory, and whoever knows the numbers can tell what a store has to
//! return.

use std::time::Duration;

use bytes::Bytes;
use dormouse::egress::EgressPolicy;
use dormouse::{
    AgentOwner, AgentRef, Chunk, Digest, Durability, Event, EventBody, GuestState, IdleClock,
    JsonObject, Limits, NanoUsd, Part, Pattern, Peers, Principal, Profile, Residence, Sender,
    Session, SessionId, Snapshot, SnapshotId, State, Timestamp, TurnId, TurnOutcome, TurnRecord,
    Usage,
};
use dormouse_store::{NewSessionRecord, TurnCommit};
use uuid::{Builder, Uuid};

/// Bytes of a record, as the host encodes what is made here.
pub const RECORD: usize = 500;
/// Bytes of a small state, the snapshot around it not counted.
pub const STATE: usize = 2048;
/// Bytes of a turn, encoded.
pub const TURN: usize = 300;
/// Bytes of the events of a turn, encoded.
pub const EVENTS: usize = 160;

/// How long a session may be idle that has something due.
pub const IDLE: Duration = Duration::from_secs(3600);
/// Where sessions differ: so many owners, users and tags, one after the other.
pub const OWNERS: u32 = 100;
/// See [`OWNERS`].
pub const USERS: u32 = 1000;
/// See [`OWNERS`].
pub const TAGS: u32 = 50;

/// States up to this size are in one piece, as the host keeps them.
const ONE_PIECE: usize = 128 << 10;
/// Larger ones are cut into chunks of this size.
const CHUNK: usize = 64 << 10;
/// The bytes of all states are pieces of one block of this size.
const POOL: usize = 8 << 20;
/// Turns begin so long after the first session was created, in milliseconds.
const TURNS_AFTER: i64 = 2_000_000;
/// The room of a record that is filled so that it has the size that it should.
const NOTE: usize = 272;

/// One turn of one session: enough to make all that it leaves behind.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// The session: counted from 0.
    pub session: u32,
    /// The number of the turn: from 1.
    pub turn: u32,
    /// Counts all turns of all sessions, behind the sessions themselves. It names the snapshot.
    pub serial: u32,
    /// The serial of the snapshot before.
    pub previous: u32,
    /// Whether one in a hundred states is a large one.
    pub large: bool,
}

impl Step {
    /// How many bytes its state takes: one in a hundred 50 to 500 KB, if that is wanted.
    pub fn state(&self) -> usize {
        let chance = mix(self.session, self.turn);
        if self.large && chance.is_multiple_of(100) {
            50_000 + (chance >> 32) as usize % 450_000
        } else {
            STATE
        }
    }
}

/// Where all of it comes from.
#[derive(Clone, Debug)]
pub struct World {
    epoch: Timestamp,
    pool: Bytes,
    agent: AgentRef,
}

impl World {
    /// A world whose first session was created at `epoch`.
    pub fn new(epoch: Timestamp) -> World {
        let agent = AgentRef {
            owner: AgentOwner::Host,
            name: "assistant".parse().expect("it is a name"),
            version: "1".parse().expect("it is a version"),
            digest: Digest::of(b"assistant"),
        };
        World { epoch, pool: pool(), agent }
    }

    /// The name of a session.
    pub fn id(&self, session: u32) -> SessionId {
        SessionId(name(self.created_at(session), 1, session))
    }

    /// The name of the snapshot of this serial.
    pub fn snapshot_id(&self, serial: u32) -> SnapshotId {
        SnapshotId(name(self.time(serial), 2, serial))
    }

    /// Whose a session is.
    pub fn owner(&self, session: u32) -> Principal {
        Principal(format!("owner-{}", session % OWNERS))
    }

    /// When a session was created.
    pub fn created_at(&self, session: u32) -> Timestamp {
        Timestamp(self.epoch.0 + i64::from(session))
    }

    /// A session that sleeps with a state, as a fork of another one begins.
    pub fn creation(&self, session: u32) -> NewSessionRecord {
        let step = Step { session, turn: 0, serial: session, previous: session, large: false };
        let mut record = self.session(step);
        record.revision = 1;
        record.head_parent = None;
        record.last_activity_at = record.created_at;
        record.state = if is_idle(session) { State::Idle } else { State::Active };
        let mut head = self.snapshot(step);
        head.parent = None;
        NewSessionRecord { session: record.into(), head: Some(head) }
    }

    /// That it was created.
    pub fn created(&self, session: u32) -> Event {
        let NewSessionRecord { session, .. } = self.creation(session);
        let body = EventBody::SessionCreated {
            pattern: session.profile.pattern,
            agent: session.profile.agent.name.clone(),
            parent: None,
            fork_of: None,
        };
        Event::session(&session, session.created_at, body)
    }

    /// The agent of all sessions.
    pub fn agent(&self) -> &AgentRef {
        &self.agent
    }

    /// What a turn leaves behind.
    pub fn commit(&self, step: Step) -> TurnCommit {
        let (at, session) = (self.time(step.serial), self.session(step));
        let turn = self.turn(step);
        let TurnRecord { number, fuel, cost, .. } = turn;
        let completed = EventBody::TurnCompleted { turn: number, fuel, cost };
        let events = vec![
            Event::session(&session, at, EventBody::TurnStarted { turn: number }),
            Event::session(&session, at, completed),
        ];
        let snapshot = Some(self.snapshot(step));
        TurnCommit { session: session.into(), turn: turn.into(), snapshot, events }
    }

    /// So many bytes, which differ from turn to turn. Half of them are random.
    pub fn bytes(&self, session: u32, turn: u32, length: usize) -> Bytes {
        let from = mix(session, turn) as usize % (POOL - length);
        self.pool.slice(from..from + length)
    }

    fn session(&self, step: Step) -> Session {
        let Step { session, turn, .. } = step;
        let mut context = JsonObject::new();
        let word = format!("{:016x}", mix(session, turn));
        context.insert("note".to_owned(), word.repeat(NOTE / word.len()).into());
        Session {
            id: self.id(session),
            owner: self.owner(session),
            revision: u64::from(turn) + 1,
            state: State::Active,
            profile: self.profile(session),
            account: None,
            usage: Usage {
                turns: turn.into(),
                cost: NanoUsd(i64::from(turn) * 1_250),
                fuel: u64::from(turn) * 1_234_567,
                ..Usage::default()
            },
            created_at: self.created_at(session),
            started_at: (turn > 0).then(|| self.created_at(session)),
            last_activity_at: self.time(step.serial),
            ended_at: None,
            head: Some(self.snapshot_id(step.serial)),
            head_parent: Some(self.snapshot_id(step.previous)),
            parent: None,
            before_upgrade: None,
            unsaved_turns: 0,
            consecutive_failures: 0,
            tools_used: Vec::new(),
            context,
            checkpoint: None,
            idle: IdleClock::default(),
            changed_at: None,
            last_failure: None,
            state_bytes: None,
            state_removed_at: None,
            timers: dormouse::Timers::default(),
            residence: Residence::default(),
            group: None,
        }
    }

    fn profile(&self, session: u32) -> Profile {
        Profile {
            agent: self.agent.clone(),
            pattern: if is_hybrid(session) { Pattern::Hybrid } else { Pattern::LongRunning },
            limits: Limits {
                max_turns: None,
                max_budget: None,
                max_fuel: None,
                max_fuel_per_turn: 10_000_000_000,
                max_memory_bytes: 64 << 20,
                turn_timeout: Duration::from_secs(30),
                max_idle: is_hybrid(session).then_some(IDLE),
                max_lifetime: None,
                sleep_after: Some(Duration::from_secs(60)),
                idle_grace: None,
                state_kept: None,
            },
            config: JsonObject::new(),
            conversation_id: has_thread(session).then(|| session.into()),
            durability: Durability::Turn,
            resume_fallback: None,
            egress: EgressPolicy::default(),
            tags: vec![format!("tag-{}", session % TAGS)],
            description: None,
            user_id: Some(format!("user-{}", session % USERS)),
            thread_key: has_thread(session).then(|| thread(session)),
            project_id: None,
            metadata: JsonObject::new(),
            peers: Peers::default(),
        }
    }

    fn snapshot(&self, step: Step) -> Snapshot {
        let bytes = self.bytes(step.session, step.turn, step.state());
        let state = if bytes.len() <= ONE_PIECE {
            GuestState::Image { data: bytes, chunks: Vec::new() }
        } else {
            let pieces = (0..bytes.len()).step_by(CHUNK);
            let pieces = pieces.map(|from| bytes.slice(from..bytes.len().min(from + CHUNK)));
            let chunks = pieces.map(chunk).collect();
            GuestState::Image { data: bytes.slice(..64), chunks }
        };
        Snapshot {
            id: self.snapshot_id(step.serial),
            parent: Some(self.snapshot_id(step.previous)),
            turn: step.turn.into(),
            agent: self.agent.digest,
            taken_at: self.time(step.serial),
            monotonic_ns: u64::from(step.turn) * 1_000_000,
            state,
            files: None,
        }
    }

    fn turn(&self, step: Step) -> TurnRecord {
        let Step { session, turn, serial, .. } = step;
        let at = self.time(serial);
        let question = format!(
            "{turn}: what is there to see at the crossing this morning, and who is it that asks for it?"
        );
        let answer =
            format!("{turn}: at the crossing there is nothing to see, and nobody has asked. {at}");
        TurnRecord {
            id: TurnId(name(at, 3, serial)),
            session: self.id(session),
            number: turn.into(),
            sender: Sender::User,
            input: vec![Part::Text(question)],
            outcome: TurnOutcome::Answered {
                content: vec![Part::Text(answer)],
                snapshot: Some(self.snapshot_id(serial)),
                durable: true,
            },
            fuel: 1_234_567,
            cost: NanoUsd(1_250),
            start: None,
            started_at: at,
            duration: Duration::from_micros(900),
            log: Vec::new(),
            log_dropped: 0,
            samples: Vec::new(),
            effects: Vec::new(),
            attempts: 1,
            woken_in: None,
        }
    }

    /// When something happened, by its serial: 64 in a millisecond, after the sessions were created.
    fn time(&self, serial: u32) -> Timestamp {
        Timestamp(self.epoch.0 + TURNS_AFTER + i64::from(serial) / 64)
    }
}

/// Whether a session rests, as far as it was not spoken to.
pub fn is_idle(session: u32) -> bool {
    session.is_multiple_of(3)
}

/// Whether a session has a thread and a conversation, which no other has.
pub fn has_thread(session: u32) -> bool {
    session.is_multiple_of(8)
}

/// The thread of a session.
pub fn thread(session: u32) -> String {
    format!("thread-{session}")
}

/// Whether a session is a hybrid. Those have something due.
pub fn is_hybrid(session: u32) -> bool {
    !session.is_multiple_of(2)
}

/// A number that looks like chance.
pub fn mix(one: u32, other: u32) -> u64 {
    let mut x = (u64::from(one) << 32 | u64::from(other)).wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// A UUIDv7: ordered by time, as those of the host.
fn name(at: Timestamp, kind: u32, number: u32) -> Uuid {
    let mut bytes = [0; 10];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    bytes[4..].copy_from_slice(&mix(kind, number).to_be_bytes()[2..]);
    Builder::from_unix_timestamp_millis(at.0.unsigned_abs(), &bytes).into_uuid()
}

fn chunk(data: Bytes) -> Chunk {
    let size = u32::try_from(data.len()).expect("it is small");
    Chunk { digest: Digest::of(&data), size, data: Some(data) }
}

fn pool() -> Bytes {
    let text = b"{\"state\":\"idle\",\"next\":null,\"stack\":[]}";
    let mut pool = Vec::with_capacity(POOL + 64);
    let mut number = 0;
    while pool.len() < POOL {
        for _ in 0..4 {
            pool.extend_from_slice(&mix(0, number).to_le_bytes());
            number += 1;
        }
        pool.extend_from_slice(&text[..32]);
    }
    pool.truncate(POOL);
    Bytes::from(pool)
}
