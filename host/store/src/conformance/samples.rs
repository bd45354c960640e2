//! Values of every kind, for property tests.

mod journal;
mod schedule;

use std::time::Duration;

use bytes::Bytes;
use proptest::collection::{btree_map, vec};
use proptest::option::of;
use proptest::prelude::*;
use serde_json::{Map, Value};
use uuid::Uuid;

pub use self::journal::{account, attempts, effect, entry, open_turn, spending};
pub use self::schedule::{new_schedule, schedule, scheduled_work};
use crate::AgentFilter;
use dormouse_domain::access::{AccessKey, KeyId, Role};
use dormouse_domain::account::AccountId;
use dormouse_domain::agent::{
    Agent, AgentOwner, AgentRef, ComponentInfo, Digest, Export, Exports, StartRandomness,
    Statefulness, Visibility,
};
use dormouse_domain::creation::Resumption;
use dormouse_domain::egress::EgressPolicy;
use dormouse_domain::event::{Event, EventBody, EventSubject, ResumeOutcome, SleepCause};
use dormouse_domain::group::Group;
use dormouse_domain::id::{Principal, ScheduleId, SessionId, SnapshotId, TurnId};
use dormouse_domain::limits::{Limits, NanoUsd, Usage};
use dormouse_domain::mail::{Mail, Peer, Peers};
use dormouse_domain::pattern::Pattern;
use dormouse_domain::residence::Residence;
use dormouse_domain::sample::Sample;
use dormouse_domain::session::{
    BeforeUpgrade, Durability, IdleClock, LastFailure, Profile, ResumeFallback, Session,
};
use dormouse_domain::snapshot::{Chunk, DamagedSnapshot, FileChanges, GuestState, Snapshot};
use dormouse_domain::state::{Reason, Resumable, State};
use dormouse_domain::template::Template;
use dormouse_domain::time::Timestamp;
use dormouse_domain::timer::{Schedule, Timer, Timers};
use dormouse_domain::turn::{
    Failure, FailureCode, LogLevel, LogLine, LogSource, Part, Sender, StartupCost, TurnOutcome,
    TurnRecord,
};

pub fn id() -> impl Strategy<Value = Uuid> {
    any::<u128>().prop_map(Uuid::from_u128)
}

pub fn object() -> impl Strategy<Value = Map<String, Value>> {
    let value = prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    vec(("[a-z]{1,4}", value), 0..3).prop_map(Map::from_iter)
}

pub fn reference() -> impl Strategy<Value = AgentRef> {
    let parts = (owner(), "[a-c]", "[0-9]", any::<[u8; 32]>());
    parts.prop_map(|(owner, name, version, digest)| AgentRef {
        owner,
        name: name.parse().expect("it is a name"),
        version: version.parse().expect("it is a version"),
        digest: Digest(digest),
    })
}

fn owner() -> impl Strategy<Value = AgentOwner> {
    let principal = ".{1,5}".prop_map(|name| AgentOwner::Principal(Principal(name)));
    prop_oneof![Just(AgentOwner::Host), principal]
}

/// Of the agents that histories upload, and of others.
pub fn agent_filter() -> impl Strategy<Value = AgentFilter> {
    let name = proptest::sample::select(vec!["agent-0", "agent-1", "echo"]);
    let owner = proptest::sample::select(vec!["ann", "ben"]);
    let owner = owner.prop_map(|name| AgentOwner::Principal(Principal(name.to_owned())));
    let owner = prop_oneof![Just(AgentOwner::Host), owner];
    let named = (name, of(owner), of("[0-2]")).prop_map(|(name, owner, version)| {
        let version = version.map(|version| version.parse().expect("it is a version"));
        AgentFilter::Named { owner, name: name.parse().expect("it is a name"), version }
    });
    let component = (0..3_u8).prop_map(|byte| AgentFilter::Component(Digest::of(&[byte; 100])));
    prop_oneof![named, component]
}

pub fn state() -> impl Strategy<Value = State> {
    let reason = || "[a-z]{0,6}".prop_map(|word| Reason::new(&word));
    prop_oneof![
        Just(State::Initializing),
        Just(State::Active),
        Just(State::Idle),
        Just(State::Paused(Resumable::Initializing)),
        Just(State::Paused(Resumable::Active)),
        Just(State::Paused(Resumable::Idle)),
        Just(State::Completed),
        reason().prop_map(State::Stopping),
        reason().prop_map(State::Error),
        reason().prop_map(State::Terminated),
    ]
}

pub fn pattern() -> impl Strategy<Value = Pattern> {
    proptest::sample::select(Pattern::ALL.as_slice())
}

fn duration() -> impl Strategy<Value = Duration> {
    (0..100_000_u64, 0..1_000_000_000_u32).prop_map(|(s, ns)| Duration::new(s, ns))
}

fn time() -> impl Strategy<Value = Timestamp> {
    (0..10_000_000_i64).prop_map(Timestamp)
}

fn limits() -> impl Strategy<Value = Limits> {
    let counts = (of(any::<u64>()), of(any::<i64>()), of(any::<u64>()));
    let sizes = (any::<u64>(), any::<u64>(), duration());
    let times = (of(duration()), of(duration()), of(duration()));
    (counts, sizes, times).prop_map(|(counts, sizes, times)| Limits {
        max_turns: counts.0,
        max_budget: counts.1.map(NanoUsd),
        max_fuel: counts.2,
        max_fuel_per_turn: sizes.0,
        max_memory_bytes: sizes.1,
        turn_timeout: sizes.2,
        max_idle: times.0,
        max_lifetime: times.1,
        sleep_after: times.2,
        idle_grace: times.0.map(|idle| idle / 3),
        state_kept: times.1.map(|lifetime| lifetime / 2),
    })
}

/// The labels of a session, of few texts, so that some have the same.
#[derive(Clone, Debug)]
pub struct Labels {
    /// May have one twice.
    pub tags: Vec<String>,
    pub user_id: Option<String>,
    pub conversation_id: Option<Value>,
    pub thread_key: Option<String>,
    pub project_id: Option<String>,
}

impl Labels {
    /// Give a session these labels.
    pub fn put_on(self, profile: &mut Profile) {
        profile.tags = self.tags;
        profile.user_id = self.user_id;
        profile.conversation_id = self.conversation_id;
        profile.thread_key = self.thread_key;
        profile.project_id = self.project_id;
    }
}

pub fn labels() -> impl Strategy<Value = Labels> {
    let conversation = prop_oneof!["[1-2]".prop_map(Value::from), (1..3).prop_map(Value::from)];
    let single = (of("[u-w]"), of(conversation), of("[a-b]"), of("[a-b]"));
    (vec("[a-c]", 0..3), single).prop_map(
        |(tags, (user_id, conversation_id, thread_key, project_id))| Labels {
            tags,
            user_id,
            conversation_id,
            thread_key,
            project_id,
        },
    )
}

fn profile() -> impl Strategy<Value = Profile> {
    let objects = (object(), of(".{0,9}"), object());
    let fallback = prop_oneof![Just(ResumeFallback::Parent), Just(ResumeFallback::Fresh)];
    let durability = prop_oneof![Just(Durability::Turn), Just(Durability::Sleep)];
    let rules = vec("[a-c]{1,2}\\.example", 0..3);
    let saving = (durability, of(fallback), rules);
    (reference(), pattern(), limits(), labels(), objects, saving, peers()).prop_map(
        |(agent, pattern, limits, labels, objects, saving, peers)| {
            let mut profile = Profile {
                agent,
                durability: saving.0,
                resume_fallback: saving.1,
                egress: policy(&saving.2),
                pattern,
                limits,
                config: objects.0,
                conversation_id: None,
                tags: Vec::new(),
                description: objects.1,
                user_id: None,
                thread_key: None,
                project_id: None,
                metadata: objects.2,
                peers,
            };
            labels.put_on(&mut profile);
            profile
        },
    )
}

fn policy(rules: &[String]) -> EgressPolicy {
    let rules = rules.iter().map(|rule| rule.parse().expect("it is a rule")).collect();
    EgressPolicy::new(rules).expect("there are few")
}

fn timers() -> impl Strategy<Value = Timers> {
    let schedule = of(Just(Schedule::kept("0 9 * * *".to_owned())));
    let timer = (time(), schedule, ".{0,9}", any::<u64>());
    btree_map("[a-d]{1,2}", timer, 0..3).prop_map(|timers| {
        let timer = |(name, (due, schedule, message, set_in))| Timer {
            name,
            due,
            schedule,
            message,
            set_in,
        };
        Timers::kept(timers.into_iter().map(timer).collect())
    })
}

/// Who sends a turn.
pub fn sender() -> impl Strategy<Value = Sender> {
    let agent = (id(), of(".{1,9}"))
        .prop_map(|(session, name)| Sender::Agent(Peer { session: SessionId(session), name }));
    prop_oneof![
        Just(Sender::User),
        ".{1,9}".prop_map(Sender::Timer),
        ".{1,9}".prop_map(Sender::Schedule),
        agent,
    ]
}

/// What an agent sends to another.
pub fn mail() -> impl Strategy<Value = Mail> {
    (id(), time(), vec(part(), 0..3)).prop_map(|(from, sent_at, content)| Mail {
        from: SessionId(from),
        sent_at,
        content,
    })
}

fn peers() -> impl Strategy<Value = Peers> {
    btree_map("[a-d]{1,2}", id().prop_map(SessionId), 0..3).prop_map(Peers::kept)
}

pub fn session() -> impl Strategy<Value = Session> {
    let before = (reference(), of(id()), of(id())).prop_map(|(agent, head, parent)| {
        let (head, head_parent) = (head.map(SnapshotId), parent.map(SnapshotId));
        BeforeUpgrade { agent, head, head_parent, state_bytes: head.map(|_| 7) }
    });
    let names = (id(), "[p-r]", any::<u64>(), of(id()), of(id()), of(id()), of(before));
    let times = (time(), of(time()), time(), of(time()));
    let counts = (any::<[u32; 12]>(), any::<u32>(), vec("[a-z]{1,5}", 0..3));
    let said = (object(), of(object()), of(time()), of(time()), of(time()), of(failure()));
    let said = (said, timers());
    (names, state(), profile(), times, counts, said).prop_map(
        |(names, state, profile, times, (counts, failures, tools_used), (said, timers))| Session {
            id: SessionId(names.0),
            owner: Principal(names.1),
            revision: names.2,
            state,
            profile,
            account: names.5.map(|id| AccountId(SessionId(id))),
            usage: Usage {
                turns: counts[0].into(),
                uncounted: counts[9].into(),
                cost: NanoUsd(counts[1].into()),
                fuel: counts[2].into(),
                input_tokens: counts[3].into(),
                output_tokens: counts[4].into(),
                cached_tokens: counts[5].into(),
                calls: counts[10].into(),
                call_bytes: if counts[10] > 0 { counts[11].into() } else { 0 },
                // None of them leave nothing behind.
                starts: u64::from(counts[6]),
                start_fuel: if counts[6] > 0 { counts[7].into() } else { 0 },
                start_cost: NanoUsd(if counts[6] > 0 { counts[8].into() } else { 0 }),
            },
            created_at: times.0,
            started_at: times.1,
            last_activity_at: times.2,
            ended_at: times.3,
            head: names.3.map(SnapshotId),
            head_parent: names.4.map(SnapshotId),
            parent: names.5.map(SnapshotId),
            before_upgrade: names.6,
            unsaved_turns: counts[5].into(),
            consecutive_failures: failures,
            tools_used,
            context: said.0,
            checkpoint: said.1,
            idle: IdleClock { extended_until: said.2, warned_of: said.3 },
            changed_at: said.4,
            last_failure: said.5,
            state_bytes: names.3.map(|_| counts[0].into()),
            state_removed_at: said.2,
            timers,
            residence: Residence {
                woken_at: said.3,
                slept_at: said.4,
                resident: Duration::from_millis(counts[1].into()),
                is_open: counts[2].is_multiple_of(2),
            },
            group: names.3.filter(|_| counts[3].is_multiple_of(3)).map(|coordinator| Group {
                coordinator: SessionId(coordinator),
                name: counts[3].is_multiple_of(2).then(|| "ann".to_owned()),
                members: [("ann".to_owned(), Some("plays".to_owned())), ("bob".to_owned(), None)]
                    .into(),
                anew: names.4.map(SnapshotId).into_iter().collect(),
                has_ended: counts[4].is_multiple_of(2),
            }),
        },
    )
}

fn failure() -> impl Strategy<Value = LastFailure> {
    let code = proptest::sample::select(FailureCode::ALL.as_slice());
    (any::<u64>(), code, time()).prop_map(|(turn, code, at)| LastFailure { turn, code, at })
}

pub fn snapshot() -> impl Strategy<Value = Snapshot> {
    let numbers = any::<[u64; 2]>();
    let state = (any::<u32>(), vec(any::<u8>(), 0..200), vec(chunk(), 0..4));
    (id(), of(id()), numbers, any::<[u8; 32]>(), time(), state).prop_map(
        |(id, parent, numbers, agent, taken_at, (version, data, chunks))| Snapshot {
            id: SnapshotId(id),
            parent: parent.map(SnapshotId),
            turn: numbers[0],
            agent: Digest(agent),
            taken_at,
            monotonic_ns: numbers[1],
            state: match version % 2 {
                0 => GuestState::Portable { version, data: Bytes::from(data) },
                _ => GuestState::Image { data: Bytes::from(data), chunks },
            },
            files: None,
        },
    )
}

fn chunk() -> impl Strategy<Value = Chunk> {
    (any::<[u8; 32]>(), vec(any::<u8>(), 0..60)).prop_map(|(digest, data)| Chunk {
        digest: Digest(digest),
        size: u32::try_from(data.len()).expect("it is small"),
        data: Some(Bytes::from(data)),
    })
}

/// The key of the API of this number.
pub fn access_key(number: u8) -> AccessKey {
    AccessKey {
        id: KeyId([0, 0, 0, 0, 0, 0, 0, number]),
        principal: Principal("ann".to_owned()),
        role: Role::ALL[usize::from(number) % 3],
        hash: [number; 32],
        created_at: Timestamp(1),
        expires_at: (number > 0).then_some(Timestamp(9)),
        last_used_at: None,
    }
}

pub fn template() -> impl Strategy<Value = Template> {
    (".{0,9}", "[p-r]", of(".{0,9}"), reference(), snapshot(), time()).prop_map(
        |(name, owner, description, agent, snapshot, created_at)| Template {
            name,
            owner: Principal(owner),
            description,
            agent,
            snapshot,
            created_at,
        },
    )
}

fn part() -> impl Strategy<Value = Part> {
    prop_oneof![
        ".{0,20}".prop_map(Part::Text),
        ".{0,20}".prop_map(Part::Json),
        ("[a-z]{1,5}", vec(any::<u8>(), 0..40))
            .prop_map(|(media_type, data)| Part::Blob { media_type, data }),
    ]
}

fn outcome() -> impl Strategy<Value = TurnOutcome> {
    let code = proptest::sample::select(FailureCode::ALL.as_slice());
    prop_oneof![
        (vec(part(), 0..3), of(id()), any::<bool>()).prop_map(|(content, snapshot, stateless)| {
            TurnOutcome::Answered {
                content,
                snapshot: snapshot.map(SnapshotId),
                durable: snapshot.is_some() || stateless,
            }
        }),
        (code, ".{0,9}").prop_map(|(code, message)| TurnOutcome::Failed(Failure { code, message })),
    ]
}

fn line() -> impl Strategy<Value = LogLine> {
    let source = proptest::sample::select(vec![
        LogSource::Log(LogLevel::Trace),
        LogSource::Log(LogLevel::Debug),
        LogSource::Log(LogLevel::Info),
        LogSource::Log(LogLevel::Warn),
        LogSource::Log(LogLevel::Error),
        LogSource::Stdout,
        LogSource::Stderr,
    ]);
    let fields = vec(("[a-z]", "[a-z]"), 0..2);
    (source, ".{0,9}", fields).prop_map(|(source, message, fields)| LogLine {
        source,
        message,
        fields,
    })
}

fn sample() -> impl Strategy<Value = Sample> {
    let value = any::<f64>().prop_filter("it is finite", |value| value.is_finite());
    ("[a-z]{1,9}", value, time()).prop_map(|(name, value, at)| Sample { name, value, at })
}

pub fn turn() -> impl Strategy<Value = TurnRecord> {
    let numbers = (any::<u64>(), any::<u64>(), any::<i64>(), any::<u64>());
    let calls = (vec(effect(), 0..3), any::<u32>(), of(duration()));
    let times = (time(), duration(), sender());
    let noted = (vec(line(), 0..3), vec(sample(), 0..3));
    (id(), id(), numbers, vec(part(), 0..3), outcome(), times, noted, calls).prop_map(
        |(id, session, numbers, input, outcome, times, (log, samples), calls)| TurnRecord {
            id: TurnId(id),
            session: SessionId(session),
            number: numbers.0,
            sender: times.2,
            input,
            outcome,
            fuel: numbers.1,
            cost: NanoUsd(numbers.2),
            start: numbers
                .3
                .is_multiple_of(2)
                .then_some(StartupCost { fuel: numbers.3, cost: NanoUsd(numbers.2) }),
            started_at: times.0,
            duration: times.1,
            log,
            log_dropped: numbers.3,
            samples,
            effects: calls.0,
            attempts: calls.1,
            woken_in: calls.2,
        },
    )
}

pub fn event() -> impl Strategy<Value = Event> {
    let subject = prop_oneof![
        id().prop_map(|id| EventSubject::Session(SessionId(id))),
        "[a-z]@[0-9]".prop_map(EventSubject::Agent),
        any::<[u8; 8]>().prop_map(|id| EventSubject::Key(KeyId(id))),
        id().prop_map(|id| EventSubject::Schedule(ScheduleId(id))),
    ];
    (of(owner()), subject, time(), event_body())
        .prop_map(|(owner, subject, occurred_at, body)| Event { owner, subject, occurred_at, body })
}

fn event_body() -> impl Strategy<Value = EventBody> {
    let money = || (0..1_000_000_000_000_i64).prop_map(NanoUsd);
    let head = || id().prop_map(SnapshotId);
    let reason = || ".{0,9}".prop_map(|word| Reason::new(&word));
    let cause = proptest::sample::select(SleepCause::ALL.as_slice());
    let damage = (head(), of(head()))
        .prop_map(|(snapshot, newest_good)| DamagedSnapshot { snapshot, newest_good });
    let outcome = prop_oneof![
        head().prop_map(|from| Resumption::Resumed { from }.into()),
        head().prop_map(|from| Resumption::Stale { from }.into()),
        head().prop_map(|from| Resumption::Changed { from }.into()),
        Just(Resumption::NotFound.into()),
        Just(ResumeOutcome::NotOwner),
    ];
    let digest = any::<[u8; 32]>().prop_map(Digest);
    prop_oneof![
        (pattern(), reference(), of(head()), of(id())).prop_map(
            |(pattern, agent, parent, fork)| {
                let (agent, fork_of) = (agent.name, fork.map(SessionId));
                EventBody::SessionCreated { pattern, agent, parent, fork_of }
            }
        ),
        (any::<[u64; 2]>(), money()).prop_map(|([turn, fuel], cost)| EventBody::TurnCompleted {
            turn,
            fuel,
            cost
        }),
        (cause, of(any::<u64>()))
            .prop_map(|(cause, idle_minutes)| EventBody::SessionSlept { cause, idle_minutes }),
        (reason(), of(damage))
            .prop_map(|(reason, damage)| EventBody::SessionError { reason, damage }),
        (any::<u32>(), of(head()))
            .prop_map(|(count, from)| EventBody::SessionForked { count, from }),
        (".{1,5}", outcome).prop_map(|(by, outcome)| {
            EventBody::ResumeAttempted { by: Principal(by), outcome }
        }),
        digest.prop_map(|digest| EventBody::AgentUploaded { digest }),
        (".{1,5}", proptest::sample::select(Role::ALL.as_slice())).prop_map(|(principal, role)| {
            EventBody::KeyCreated { principal: Principal(principal), role }
        }),
        Just(EventBody::SessionWoken),
        any::<u64>().prop_map(|minutes_remaining| EventBody::IdleWarning { minutes_remaining }),
        head().prop_map(|head| EventBody::StateRemoved { head }),
        any::<u32>().prop_map(|count| EventBody::MailDropped { count }),
        (any::<Option<u64>>(), any::<[u64; 3]>()).prop_map(|(turn, [added, changed, removed])| {
            let changes = FileChanges { added, changed, removed };
            EventBody::WorkspaceChanged { turn, changes }
        }),
    ]
}

pub fn agent() -> impl Strategy<Value = Agent> {
    let statefulness = prop_oneof![
        Just(Statefulness::Portable),
        Just(Statefulness::Image),
        ".{0,9}".prop_map(Statefulness::Unsaved),
        Just(Statefulness::Stateless),
    ];
    let words = || vec("[a-z:/]{1,9}", 0..4);
    let answers =
        prop_oneof![Just(Export::Handler), Just(Export::Command), Just(Export::Population)];
    // Of the exports the store keeps what answers a turn, and what the statefulness says of the state.
    let called = (answers, statefulness).prop_map(|(answers, statefulness)| {
        let state = (statefulness == Statefulness::Portable).then_some(Export::State);
        (state.into_iter().chain([answers]).collect::<Exports>(), statefulness)
    });
    let visibility = proptest::sample::select(Visibility::ALL.as_slice());
    (reference(), visibility, any::<[u64; 2]>(), words(), words(), called, time()).prop_map(
        |(reference, visibility, numbers, imports, capabilities, called, uploaded_at)| Agent {
            reference,
            visibility,
            size: numbers[0],
            component: ComponentInfo {
                exports: called.0,
                imports,
                capabilities,
                statefulness: called.1,
                start_fuel: numbers[0],
                start_randomness: match numbers[1] % 2 {
                    0 => StartRandomness::None,
                    _ => StartRandomness::Shared,
                },
            },
            compile_ms: numbers[1],
            uploaded_at,
        },
    )
}
