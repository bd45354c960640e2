//! Random histories of a store.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::Index;
use uuid::Uuid;

use super::samples;
use crate::{AgentFilter, Between, SessionOrder, WorldRow};
use dormouse_domain::account::{Account, AccountChange};
use dormouse_domain::agent::{AgentOwner, Digest};
use dormouse_domain::id::{ExperimentId, Principal, SimulationId, WorldPartId};
use dormouse_domain::journal::{JournalEntry, OpenTurn, TurnAttempts};
use dormouse_domain::mail::Mail;
use dormouse_domain::pattern::Pattern;
use dormouse_domain::schedule::{ScheduledWork, SessionSchedule};
use dormouse_domain::session::{JsonObject, Session};
use dormouse_domain::simulation::CallPlace;
use dormouse_domain::snapshot::{Chunk, GuestState, ResumeTrial, Snapshot};
use dormouse_domain::state::State;
use dormouse_domain::time::Timestamp;

/// One step of a random history. Sessions are picked among those that were ever created.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// With a quota of sessions of its owner, or of its user.
    Create {
        session: Box<Session>,
        quota: Option<u64>,
        of_user: bool,
    },
    Turn {
        at: Index,
        answer: usize,
        head: Option<Contents>,
        state: State,
    },
    Update {
        at: Index,
        state: State,
        context: JsonObject,
        active: i64,
        drop_head: bool,
        labels: Option<samples::Labels>,
        cost: i64,
    },
    /// To go back to one of the snapshots of a session, and whether it may come back from there.
    Rewind {
        at: Index,
        to: Index,
        pin: bool,
    },
    /// Sessions that start from a snapshot of one, or from a template.
    Fork {
        at: Index,
        of: Index,
        count: u64,
    },
    Warm {
        name: u8,
        count: u64,
    },
    Template {
        at: Index,
        of: Index,
        name: u8,
    },
    DropTemplate(u8),
    /// To go on from a snapshot of a session.
    Resume {
        at: Index,
        of: Index,
        trial: ResumeTrial,
    },
    /// To remove the state of a session, or to try that with a head.
    RemoveState {
        at: Index,
        state: State,
    },
    /// To note that a session sleeps, which had an instance between these times.
    Slept {
        at: Index,
        woken: i64,
        slept: i64,
    },
    Delete(Index),
    /// To remove a session, and to do something else at the same time.
    DeleteBeside {
        at: Index,
        of: Index,
        beside: Beside,
    },
    Stale(Index),
    Query {
        query: Picks,
        offset: usize,
        limit: usize,
    },
    Statistics(Picks),
    Due {
        now: i64,
        limit: usize,
    },
    Rows {
        at: Index,
        after: u64,
        limit: usize,
    },
    Events {
        after: u64,
        limit: usize,
    },
    /// A turn of each of these sessions, in one transaction.
    Tick(Vec<Index>),
    /// A new session and a stale record, in one transaction.
    Half {
        at: Index,
        last: bool,
    },
    /// An agent whose version follows from its component.
    Upload {
        owner: AgentOwner,
        name: u8,
        component: u8,
    },
    Publish(Index),
    RemoveAgent(Index),
    /// A message with an idempotency key, which may be forgotten first.
    Message {
        at: Index,
        owner: bool,
        key: u8,
        forget: bool,
    },
    /// A key of the API, which is new, used or revoked.
    Key {
        number: u8,
        used: i64,
        revoke: bool,
    },
    /// Rows of simulated worlds are kept, of these sizes, or removed, in one transaction.
    World(BTreeMap<WorldRow, Option<usize>>),
    /// A schedule, which is new, has run, does something else from now on or is removed.
    Schedule {
        number: u8,
        record: Box<SessionSchedule>,
        work: Option<Box<ScheduledWork>>,
        remove: bool,
    },
    Journal {
        at: Index,
        step: JournalStep,
    },
    /// A session shares an account that is named for another, or for itself.
    Share {
        at: Index,
        with: Index,
        account: Account,
    },
    Spend {
        at: Index,
        change: AccountChange,
    },
    Mail {
        at: Index,
        step: MailStep,
    },
    Reopen {
        close: bool,
    },
}

/// What is done with the mailbox of a session.
#[derive(Clone, Debug)]
pub(super) enum MailStep {
    /// These are sent in one transaction, and some of them come to the session picked here.
    Send(Vec<Mail>, Index),
    /// The first mail is taken, or one that is not there; with another that is sent at the same time.
    Take {
        missing: bool,
        beside: Option<Mail>,
    },
    Drop,
}

/// What is done with the journal of a session.
#[derive(Clone, Debug)]
pub(super) enum JournalStep {
    Open(Box<OpenTurn>, TurnAttempts),
    Attempts(TurnAttempts),
    /// The next entry, or the last one anew.
    Entry(Box<JournalEntry>, bool),
    Close,
}

/// What is done while a session is removed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Beside {
    /// One of its snapshots is read.
    Reader,
    /// Sessions are created with the state of one of its snapshots.
    Writer,
    /// The store is copied.
    Copy,
}

/// What a snapshot holds.
#[derive(Clone, Debug)]
pub(super) struct Contents {
    pub(super) data: usize,
    pub(super) chunks: Vec<u16>,
    /// Whether what the head has already comes without its data.
    pub(super) lean: bool,
}

/// Few different chunks, so that sessions share some; or many, of which others have most.
pub(super) fn contents() -> impl Strategy<Value = Contents> {
    let few = proptest::collection::vec(0..12_u16, 0..5);
    let changed = proptest::collection::vec((any::<Index>(), 900..903_u16), 0..3);
    let many = (100..102_u16, prop_oneof![17..40_u16, 250..300_u16], changed).prop_map(
        |(first, count, changed)| {
            let mut chunks: Vec<u16> = (first..first + count).collect();
            for (at, new) in changed {
                let at = at.index(chunks.len());
                chunks[at] = new;
            }
            chunks
        },
    );
    let chunks = prop_oneof![3 => few, 2 => many];
    (size(), chunks, any::<bool>()).prop_map(|(data, chunks, lean)| Contents { data, chunks, lean })
}

pub(super) fn state_of(contents: &Contents) -> GuestState {
    let data = Bytes::from(vec![7; contents.data]);
    if contents.chunks.is_empty() {
        return GuestState::Portable { version: 1, data };
    }
    let chunk = |number: &u16| {
        let length = if *number < 12 { 1000 * usize::from(*number) } else { 4 };
        let data = vec![number.to_le_bytes()[0]; length];
        let size = u32::try_from(length).expect("it is small");
        Chunk { digest: Digest::of(&number.to_le_bytes()), size, data: Some(data.into()) }
    };
    GuestState::Image { data, chunks: contents.chunks.iter().map(chunk).collect() }
}

/// The same without the data of those chunks that `known` has.
pub(super) fn lean(mut state: GuestState, known: Option<&Snapshot>) -> GuestState {
    let Some(GuestState::Image { chunks: known, .. }) = known.map(|known| &known.state) else {
        return state;
    };
    if let GuestState::Image { chunks, .. } = &mut state {
        for chunk in chunks {
            if known.iter().any(|known| known.digest == chunk.digest) {
                chunk.data = None;
            }
        }
    }
    state
}

/// What lists and statistics are asked for.
#[derive(Clone, Debug)]
pub(super) struct Picks {
    pub(super) owner: Option<String>,
    pub(super) pattern: Option<Pattern>,
    pub(super) status: Option<State>,
    pub(super) tags: Vec<String>,
    /// Those that are picked of these.
    pub(super) labels: samples::Labels,
    pub(super) without_user: bool,
    pub(super) agent: Option<AgentFilter>,
    pub(super) created: Between,
    pub(super) active: Between,
    pub(super) order: SessionOrder,
}

/// Mostly small, and around every bound at which a value moves to a file.
pub(super) fn size() -> impl Strategy<Value = usize> {
    prop_oneof![
        6 => 0..500_usize,
        1 => 15_000..17_000_usize,
        1 => 23_000..26_000_usize,
        1 => Just(100_000_usize),
    ]
}

pub(super) fn picks() -> impl Strategy<Value = Picks> {
    let labels = prop_oneof![
        2 => Just(samples::Labels {
            tags: Vec::new(),
            user_id: None,
            conversation_id: None,
            thread_key: None,
            project_id: None,
        }),
        1 => samples::labels(),
    ];
    let states = (weighted(0.3, samples::pattern()), weighted(0.3, samples::state()));
    let tags = prop_oneof![2 => Just(Vec::new()), 1 => proptest::collection::vec("[a-d]", 1..3)];
    let agent = weighted(0.2, samples::agent_filter());
    let times = (between(), between());
    let order = proptest::sample::select(SessionOrder::ALL.as_slice());
    let labels = (labels, proptest::bool::weighted(0.2));
    (weighted(0.5, "[p-r]"), states, tags, labels, agent, times, order).prop_map(
        |(owner, (pattern, status), tags, labels, agent, (created, active), order)| Picks {
            owner,
            pattern,
            status,
            tags,
            labels: labels.0,
            without_user: labels.1,
            agent,
            created,
            active,
            order,
        },
    )
}

fn between() -> impl Strategy<Value = Between> {
    let time = || weighted(0.15, (-1..10_000_000_i64).prop_map(Timestamp));
    (time(), time()).prop_map(|(after, before)| Between { after, before })
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let at = any::<Index>;
    let state = samples::state;
    let limit = || 0..12_usize;
    prop_oneof![
        4 => (samples::session(), weighted(0.2, 0..4_u64), any::<bool>()).prop_map(
            |(session, quota, of_user)| Step::Create { session: Box::new(session), quota, of_user }
        ),
        8 => (at(), size(), weighted(0.8, contents()), state())
            .prop_map(|(at, answer, head, state)| Step::Turn { at, answer, head, state }),
        4 => (
            (at(), state(), samples::object(), 0..10_000_000_i64),
            (proptest::bool::weighted(0.1), weighted(0.6, samples::labels()), 0..1_000_i64),
        )
            .prop_map(|((at, state, context, active), (drop_head, labels, cost))| {
                Step::Update { at, state, context, active, drop_head, labels, cost }
            }),
        2 => (at(), at(), any::<bool>()).prop_map(|(at, to, pin)| Step::Rewind { at, to, pin }),
        2 => (at(), at(), 0..4_u64).prop_map(|(at, of, count)| Step::Fork { at, of, count }),
        1 => (0..3_u8, 0..4_u64).prop_map(|(name, count)| Step::Warm { name, count }),
        2 => (at(), at(), 0..3_u8).prop_map(|(at, of, name)| Step::Template { at, of, name }),
        1 => (0..3_u8).prop_map(Step::DropTemplate),
        2 => (at(), state()).prop_map(|(at, state)| Step::RemoveState { at, state }),
        2 => (at(), 0..9_i64, 0..9_i64)
            .prop_map(|(at, woken, slept)| Step::Slept { at, woken, slept }),
        2 => (at(), at(), trial()).prop_map(|(at, of, trial)| Step::Resume { at, of, trial }),
        1 => at().prop_map(Step::Delete),
        2 => (at(), at(), beside())
            .prop_map(|(at, of, beside)| Step::DeleteBeside { at, of, beside }),
        1 => at().prop_map(Step::Stale),
        4 => (picks(), 0..6_usize, limit())
            .prop_map(|(query, offset, limit)| Step::Query { query, offset, limit }),
        2 => picks().prop_map(Step::Statistics),
        2 => (0..50_000_000_i64, limit()).prop_map(|(now, limit)| Step::Due { now, limit }),
        2 => (at(), 0..5_u64, limit())
            .prop_map(|(at, after, limit)| Step::Rows { at, after, limit }),
        2 => (0..40_u64, limit()).prop_map(|(after, limit)| Step::Events { after, limit }),
        2 => proptest::collection::vec(at(), 0..4).prop_map(Step::Tick),
        1 => (at(), any::<bool>()).prop_map(|(at, last)| Step::Half { at, last }),
        2 => (owner(), 0..2_u8, 0..3_u8)
            .prop_map(|(owner, name, component)| Step::Upload { owner, name, component }),
        1 => at().prop_map(Step::Publish),
        1 => at().prop_map(Step::RemoveAgent),
        2 => (at(), any::<bool>(), 0..3_u8, proptest::bool::weighted(0.2))
            .prop_map(|(at, owner, key, forget)| Step::Message { at, owner, key, forget }),
        2 => (0..3_u8, 0..9_i64, proptest::bool::weighted(0.3))
            .prop_map(|(number, used, revoke)| Step::Key { number, used, revoke }),
        3 => (
            (0..3_u8, proptest::bool::weighted(0.2)),
            samples::schedule(),
            weighted(0.5, samples::scheduled_work()),
        )
            .prop_map(|((number, remove), record, work)| Step::Schedule {
                number,
                record: Box::new(record),
                work: work.map(Box::new),
                remove,
            }),
        3 => proptest::collection::btree_map(world_row(), weighted(0.7, 0..400_000_usize), 1..4)
            .prop_map(Step::World),
        6 => (at(), journal_step()).prop_map(|(at, step)| Step::Journal { at, step }),
        2 => (at(), at(), samples::account())
            .prop_map(|(at, with, account)| Step::Share { at, with, account }),
        6 => (at(), mail_step()).prop_map(|(at, step)| Step::Mail { at, step }),
        2 => (at(), samples::spending()).prop_map(|(at, change)| Step::Spend { at, change }),
        1 => any::<bool>().prop_map(|close| Step::Reopen { close }),
    ]
}

/// Few places of calls, in their order. A store that compares the parts of a place in another order, or the bytes of a number
/// from the other end, has these places in another order.
pub(super) const CALL_PLACES: [CallPlace; 5] = [
    call_place(1, 1, 1, 1),
    call_place(1, 1, 1, 256),
    call_place(1, 1, 256, 1),
    call_place(1, 256, 1, 1),
    call_place(256, 1, 1, 1),
];

const fn call_place(at: u64, role: u32, member: u32, number: u32) -> CallPlace {
    CallPlace { at, role, member, number }
}

/// A call is picked more often than another row: there are many places, and a history has to keep and remove the same call.
fn world_row() -> impl Strategy<Value = WorldRow> {
    let id = || (0..3_u128).prop_map(|number| SimulationId(Uuid::from_u128(number)));
    let place = proptest::sample::select(CALL_PLACES.to_vec());
    prop_oneof![
        1 => id().prop_map(WorldRow::Record),
        1 => (id(), 0..9_u64).prop_map(|(id, last)| WorldRow::Ticks(id, last)),
        1 => (0..3_u128).prop_map(|number| WorldRow::Part(WorldPartId(Uuid::from_u128(number)))),
        2 => (id(), place).prop_map(|(id, place)| WorldRow::Call(id, place)),
        1 => (id(), 0..9_u64).prop_map(|(id, last)| WorldRow::Calls(id, last)),
        1 => (0..3_u128).prop_map(|number| WorldRow::Experiment(ExperimentId(Uuid::from_u128(number)))),
    ]
}

fn journal_step() -> impl Strategy<Value = JournalStep> {
    prop_oneof![
        2 => (samples::open_turn(), samples::attempts())
            .prop_map(|(turn, attempts)| JournalStep::Open(Box::new(turn), attempts)),
        1 => samples::attempts().prop_map(JournalStep::Attempts),
        3 => (samples::entry(), any::<bool>())
            .prop_map(|(entry, again)| JournalStep::Entry(Box::new(entry), again)),
        1 => Just(JournalStep::Close),
    ]
}

fn mail_step() -> impl Strategy<Value = MailStep> {
    prop_oneof![
        3 => (proptest::collection::vec(samples::mail(), 1..4), any::<Index>())
            .prop_map(|(mails, other)| MailStep::Send(mails, other)),
        3 => (proptest::bool::weighted(0.2), weighted(0.3, samples::mail()))
            .prop_map(|(missing, beside)| MailStep::Take { missing, beside }),
        1 => Just(MailStep::Drop),
    ]
}

fn beside() -> impl Strategy<Value = Beside> {
    proptest::sample::select(vec![Beside::Reader, Beside::Writer, Beside::Copy])
}

fn trial() -> impl Strategy<Value = ResumeTrial> {
    let all = [ResumeTrial::Resumed, ResumeTrial::Refused, ResumeTrial::Damaged];
    proptest::sample::select(all.to_vec())
}

fn owner() -> impl Strategy<Value = AgentOwner> {
    let named = |name: &str| AgentOwner::Principal(Principal(name.to_owned()));
    proptest::sample::select(vec![AgentOwner::Host, named("ann"), named("ben")])
}
