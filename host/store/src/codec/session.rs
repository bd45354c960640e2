//! The record of a session, in two rows.
//!
//! The *front* holds what the indexes and the deadlines are made of, so that opening the store
//! decodes nothing else; the *body* holds the rest. Of long labels in the body the front has the keys.

mod fields;

use minicbor::{CborLen, Decode, Encode};

use self::fields::{LabelRow, LimitsRow, PatternRow, ResidenceRow, SpentRow, StateRow};
use super::{CodecError, DigestRow, IdRow, JsonRow, from_cbor, to_cbor};
use crate::label::{Grouping, LabelKey};
use dormouse_domain::account::AccountId;
use dormouse_domain::agent::{AgentOwner, AgentRef, Digest};
use dormouse_domain::egress::EgressPolicy;
use dormouse_domain::group::Group;
use dormouse_domain::id::{Principal, SessionId, SnapshotId};
use dormouse_domain::limits::{NanoUsd, Usage};
use dormouse_domain::mail::Peers;
use dormouse_domain::residence::Residence;
use dormouse_domain::session::{
    BeforeUpgrade, Durability, IdleClock, JsonObject, LastFailure, Profile, ResumeFallback, Session,
};
use dormouse_domain::time::Timestamp;
use dormouse_domain::timer::{Schedule, Timer, Timers};
use dormouse_domain::turn::FailureCode;

/// The front of this record.
pub(crate) fn encode_front(session: &Session) -> Vec<u8> {
    let (profile, grouping) = (&session.profile, Grouping::of(session));
    to_cbor(&FrontRow {
        id: session.id.0.into(),
        revision: session.revision,
        owner: &session.owner.0,
        state: StateRow::of(&session.state),
        agent: AgentRefRow::of(&profile.agent),
        pattern: PatternRow::of(profile.pattern),
        limits: LimitsRow::of(&profile.limits),
        tags: profile.tags.iter().map(String::as_str).collect(),
        user_id: profile.user_id.as_deref(),
        created_at: session.created_at.0,
        last_activity_at: session.last_activity_at.0,
        ended_at: session.ended_at.map(|at| at.0),
        head: session.head.map(|head| head.0.into()),
        before_upgrade: session.before_upgrade.as_ref().map(|before| BeforeUpgradeRow {
            agent: AgentRefRow::of(&before.agent),
            head: before.head.map(|head| head.0.into()),
            head_parent: before.head_parent.map(|parent| parent.0.into()),
            state_bytes: before.state_bytes,
        }),
        thread: grouping.thread.map(LabelRow::of),
        conversation: grouping.conversation.map(LabelRow::of),
        project: grouping.project.map(LabelRow::of),
        spent: SpentRow::of(&session.usage),
        idle: IdleRow::of(session.idle),
        account: session.account.map(|AccountId(first)| first.0.into()),
        timer_due: session.timers.next().map(|at| at.0),
        group: session.group.as_ref().map(GroupRow::of),
    })
}

/// The body of this record.
pub(crate) fn encode_body(session: &Session) -> Vec<u8> {
    let (profile, usage) = (&session.profile, &session.usage);
    to_cbor(&BodyRow {
        turns: usage.turns,
        cost: usage.cost.0,
        fuel: usage.fuel,
        input_tokens: usage.input_tokens,
        output_tokens: usage.output_tokens,
        cached_tokens: usage.cached_tokens,
        starts: (usage.starts > 0).then_some(StartsRow {
            count: usage.starts,
            fuel: usage.start_fuel,
            cost: usage.start_cost.0,
        }),
        started_at: session.started_at.map(|at| at.0),
        unsaved_turns: session.unsaved_turns,
        consecutive_failures: session.consecutive_failures,
        tools_used: session.tools_used.iter().map(String::as_str).collect(),
        context: JsonRow::of_object(&session.context),
        config: JsonRow::of_object(&profile.config),
        conversation_id: profile.conversation_id.as_ref().map(JsonRow::of),
        description: profile.description.as_deref(),
        thread_key: profile.thread_key.as_deref(),
        project_id: profile.project_id.as_deref(),
        metadata: JsonRow::of_object(&profile.metadata),
        durability: DurabilityRow::of(profile.durability),
        resume_fallback: profile.resume_fallback.map(ResumeFallbackRow::of),
        parent: session.parent.map(|parent| parent.0.into()),
        head_parent: session.head_parent.map(|parent| parent.0.into()),
        uncounted: (usage.uncounted > 0).then_some(usage.uncounted),
        checkpoint: session.checkpoint.as_ref().map(JsonRow::of_any_object),
        changed_at: session.changed_at.map(|at| at.0),
        last_failure: session.last_failure.as_ref().map(LastFailureRow::of),
        state_bytes: session.state_bytes,
        state_removed_at: session.state_removed_at.map(|at| at.0),
        residence: ResidenceRow::of(session.residence),
        calls: (usage.calls > 0)
            .then_some(CallsRow { count: usage.calls, bytes: usage.call_bytes }),
        timers: Some(session.timers.all())
            .filter(|timers| !timers.is_empty())
            .map(|timers| timers.iter().map(TimerRow::of).collect()),
        egress: Some(profile.egress.rules())
            .filter(|rules| !rules.is_empty())
            .map(|rules| rules.iter().map(ToString::to_string).collect()),
        peers: Some(profile.peers.all())
            .filter(|peers| !peers.is_empty())
            .map(|peers| peers.iter().map(PeerRow::of).collect()),
    })
}

/// The body of a record that has noted this residence. No document of the record is read for it.
pub(crate) fn note_residence(body: &[u8], note: Residence) -> Result<Vec<u8>, CodecError> {
    let mut row = from_cbor::<BodyRow<'_>>(body)?;
    let known = row.residence.map_or_else(Residence::default, ResidenceRow::residence);
    row.residence = ResidenceRow::of(known.noted(note));
    Ok(to_cbor(&row))
}

/// The record with this front, and nothing of its body but what it has spent: enough for deadlines.
pub(crate) fn decode_front(front: &[u8]) -> Result<Session, CodecError> {
    from_cbor::<FrontRow<'_>>(front)?.session()
}

/// The same, and the labels that the body has: enough for the index.
pub(crate) fn decode_front_with_grouping(front: &[u8]) -> Result<(Session, Grouping), CodecError> {
    let row = from_cbor::<FrontRow<'_>>(front)?;
    let key = |row: &Option<LabelRow>| row.as_ref().map(|row| LabelKey(row.0));
    let grouping = Grouping {
        thread: key(&row.thread),
        conversation: key(&row.conversation),
        project: key(&row.project),
    };
    Ok((row.session()?, grouping))
}

/// The record of this front and body.
pub(crate) fn decode_session(front: &[u8], body: &[u8]) -> Result<Session, CodecError> {
    let mut session = decode_front(front)?;
    from_cbor::<BodyRow<'_>>(body)?.complete(&mut session)?;
    Ok(session)
}

#[derive(Encode, Decode, CborLen)]
struct FrontRow<'a> {
    #[n(0)]
    id: IdRow,
    #[n(1)]
    revision: u64,
    #[b(2)]
    owner: &'a str,
    #[b(3)]
    state: StateRow<'a>,
    #[b(4)]
    agent: AgentRefRow<'a>,
    #[n(5)]
    pattern: PatternRow,
    #[n(6)]
    limits: LimitsRow,
    #[b(7)]
    tags: Vec<&'a str>,
    #[b(8)]
    user_id: Option<&'a str>,
    #[n(9)]
    created_at: i64,
    #[n(10)]
    last_activity_at: i64,
    #[n(11)]
    ended_at: Option<i64>,
    #[n(12)]
    head: Option<IdRow>,
    #[b(13)]
    before_upgrade: Option<BeforeUpgradeRow<'a>>,
    #[n(14)]
    thread: Option<LabelRow>,
    #[n(15)]
    conversation: Option<LabelRow>,
    #[n(16)]
    project: Option<LabelRow>,
    /// Absent: nothing.
    #[n(17)]
    spent: Option<SpentRow>,
    /// Absent: nothing has become of its idle limit.
    #[n(18)]
    idle: Option<IdleRow>,
    /// Absent: it spends on its own.
    #[n(19)]
    account: Option<IdRow>,
    /// When its next timer is due. Absent: it has none.
    #[n(20)]
    timer_due: Option<i64>,
    /// Absent: it stands alone.
    #[b(21)]
    group: Option<GroupRow<'a>>,
}

/// The group that it belongs to.
#[derive(Encode, Decode, CborLen)]
struct GroupRow<'a> {
    #[n(0)]
    coordinator: IdRow,
    /// Absent: it is the coordinator.
    #[b(1)]
    name: Option<&'a str>,
    #[b(2)]
    members: Vec<MemberRow<'a>>,
    #[n(3)]
    has_ended: bool,
    /// Absent: never.
    #[n(4)]
    anew: Option<Vec<IdRow>>,
}

/// A member of a group.
#[derive(Encode, Decode, CborLen)]
struct MemberRow<'a> {
    #[b(0)]
    name: &'a str,
    #[b(1)]
    description: Option<&'a str>,
}

impl GroupRow<'_> {
    fn of(group: &Group) -> GroupRow<'_> {
        GroupRow {
            coordinator: group.coordinator.0.into(),
            name: group.name.as_deref(),
            members: group.members.iter().map(MemberRow::of).collect(),
            has_ended: group.has_ended,
            anew: Some(&group.anew)
                .filter(|anew| !anew.is_empty())
                .map(|anew| anew.iter().map(|at| at.0.into()).collect()),
        }
    }

    fn group(self) -> Group {
        Group {
            coordinator: SessionId(self.coordinator.into()),
            name: self.name.map(str::to_owned),
            members: self.members.into_iter().map(MemberRow::member).collect(),
            has_ended: self.has_ended,
            anew: self.anew.into_iter().flatten().map(|at| SnapshotId(at.into())).collect(),
        }
    }
}

impl MemberRow<'_> {
    fn of<'a>((name, description): (&'a String, &'a Option<String>)) -> MemberRow<'a> {
        MemberRow { name, description: description.as_deref() }
    }

    fn member(self) -> (String, Option<String>) {
        (self.name.to_owned(), self.description.map(str::to_owned))
    }
}

#[derive(Encode, Decode, CborLen)]
struct BodyRow<'a> {
    #[n(0)]
    turns: u64,
    #[n(1)]
    cost: i64,
    #[n(2)]
    fuel: u64,
    #[n(3)]
    input_tokens: u64,
    #[n(4)]
    output_tokens: u64,
    #[n(5)]
    cached_tokens: u64,
    #[n(6)]
    started_at: Option<i64>,
    #[n(7)]
    unsaved_turns: u64,
    #[n(8)]
    consecutive_failures: u32,
    #[b(9)]
    tools_used: Vec<&'a str>,
    #[n(10)]
    context: Option<JsonRow>,
    #[n(11)]
    config: Option<JsonRow>,
    #[n(12)]
    conversation_id: Option<JsonRow>,
    #[b(13)]
    description: Option<&'a str>,
    #[b(14)]
    thread_key: Option<&'a str>,
    #[b(15)]
    project_id: Option<&'a str>,
    #[n(16)]
    metadata: Option<JsonRow>,
    /// Absent: the default.
    #[n(17)]
    durability: Option<DurabilityRow>,
    #[n(18)]
    resume_fallback: Option<ResumeFallbackRow>,
    #[n(19)]
    parent: Option<IdRow>,
    #[n(20)]
    head_parent: Option<IdRow>,
    /// Absent: none.
    #[n(21)]
    uncounted: Option<u64>,
    /// Absent: none were counted.
    #[n(22)]
    starts: Option<StartsRow>,
    #[n(23)]
    checkpoint: Option<JsonRow>,
    #[n(24)]
    changed_at: Option<i64>,
    #[b(25)]
    last_failure: Option<LastFailureRow<'a>>,
    /// Absent: it was not counted, or there is no head.
    #[n(26)]
    state_bytes: Option<u64>,
    #[n(27)]
    state_removed_at: Option<i64>,
    /// Absent: none is known.
    #[n(28)]
    residence: Option<ResidenceRow>,
    /// Absent: none.
    #[n(29)]
    calls: Option<CallsRow>,
    /// Absent: none.
    #[b(30)]
    timers: Option<Vec<TimerRow<'a>>>,
    /// Absent: none.
    #[n(31)]
    egress: Option<Vec<String>>,
    /// Absent: none.
    #[b(32)]
    peers: Option<Vec<PeerRow<'a>>>,
}

/// A session that its agent may write to.
#[derive(Encode, Decode, CborLen)]
pub(super) struct PeerRow<'a> {
    #[b(0)]
    name: &'a str,
    #[n(1)]
    session: IdRow,
}

impl PeerRow<'_> {
    pub(super) fn of<'a>((name, session): (&'a String, &SessionId)) -> PeerRow<'a> {
        PeerRow { name, session: session.0.into() }
    }

    pub(super) fn peer(self) -> (String, SessionId) {
        (self.name.to_owned(), SessionId(self.session.into()))
    }
}

/// When its agent wants to be woken.
#[derive(Encode, Decode, CborLen)]
struct TimerRow<'a> {
    #[b(0)]
    name: &'a str,
    #[n(1)]
    due: i64,
    #[b(2)]
    schedule: Option<&'a str>,
    #[b(3)]
    message: &'a str,
    #[n(4)]
    set_in: u64,
}

impl TimerRow<'_> {
    fn of(timer: &Timer) -> TimerRow<'_> {
        let Timer { name, due, schedule, message, set_in } = timer;
        let schedule = schedule.as_ref().map(Schedule::as_str);
        TimerRow { name, due: due.0, schedule, message, set_in: *set_in }
    }

    fn timer(self) -> Timer {
        Timer {
            name: self.name.to_owned(),
            due: Timestamp(self.due),
            schedule: self.schedule.map(|text| Schedule::kept(text.to_owned())),
            message: self.message.to_owned(),
            set_in: self.set_in,
        }
    }
}

/// What has become of the idle limit of a session.
#[derive(Encode, Decode, CborLen)]
struct IdleRow {
    #[n(0)]
    extended_until: Option<i64>,
    #[n(1)]
    warned_of: Option<i64>,
}

/// The last turn that failed.
#[derive(Encode, Decode, CborLen)]
struct LastFailureRow<'a> {
    #[n(0)]
    turn: u64,
    /// The stable word.
    #[b(1)]
    code: &'a str,
    #[n(2)]
    at: i64,
}

/// What was started for a session.
#[derive(Encode, Decode, CborLen)]
struct StartsRow {
    #[n(0)]
    count: u64,
    #[n(1)]
    fuel: u64,
    #[n(2)]
    cost: i64,
}

/// What was called for a session.
#[derive(Encode, Decode, CborLen)]
struct CallsRow {
    #[n(0)]
    count: u64,
    #[n(1)]
    bytes: u64,
}

#[derive(Encode, Decode, CborLen)]
struct BeforeUpgradeRow<'a> {
    #[b(0)]
    agent: AgentRefRow<'a>,
    #[n(1)]
    head: Option<IdRow>,
    #[n(2)]
    head_parent: Option<IdRow>,
    #[n(3)]
    state_bytes: Option<u64>,
}

/// What is not the default.
#[derive(Encode, Decode, CborLen)]
#[cbor(index_only)]
enum DurabilityRow {
    #[n(1)]
    Sleep,
}

#[derive(Encode, Decode, CborLen)]
#[cbor(index_only)]
enum ResumeFallbackRow {
    #[n(0)]
    Parent,
    #[n(1)]
    Fresh,
}

/// A reference to an agent. Agents themselves are kept under it too.
#[derive(Encode, Decode, CborLen)]
pub(super) struct AgentRefRow<'a> {
    #[b(0)]
    name: &'a str,
    #[b(1)]
    version: &'a str,
    #[n(2)]
    digest: DigestRow,
    /// The principal that uploaded it. Absent: it is the host's, or in a layout before 4 whoever's the
    /// only agent of this name and version is (`embedded::owners`).
    #[b(3)]
    owner: Option<&'a str>,
}

impl FrontRow<'_> {
    fn session(self) -> Result<Session, CodecError> {
        Ok(Session {
            id: SessionId(self.id.into()),
            owner: Principal(self.owner.to_owned()),
            revision: self.revision,
            state: self.state.state(),
            profile: Profile {
                agent: self.agent.reference()?,
                pattern: self.pattern.pattern(),
                limits: self.limits.limits(),
                config: JsonObject::new(),
                conversation_id: None,
                durability: Durability::default(),
                resume_fallback: None,
                egress: EgressPolicy::default(),
                tags: self.tags.into_iter().map(str::to_owned).collect(),
                description: None,
                user_id: self.user_id.map(str::to_owned),
                thread_key: None,
                project_id: None,
                metadata: JsonObject::new(),
                peers: Peers::default(),
            },
            usage: self.spent.map_or_else(Usage::default, SpentRow::usage),
            account: self.account.map(|first| AccountId(SessionId(first.into()))),
            created_at: Timestamp(self.created_at),
            started_at: None,
            last_activity_at: Timestamp(self.last_activity_at),
            ended_at: self.ended_at.map(Timestamp),
            head: self.head.map(|head| SnapshotId(head.into())),
            parent: None,
            head_parent: None,
            before_upgrade: self.before_upgrade.map(BeforeUpgradeRow::before).transpose()?,
            unsaved_turns: 0,
            consecutive_failures: 0,
            tools_used: Vec::new(),
            context: JsonObject::new(),
            checkpoint: None,
            idle: self.idle.map_or_else(IdleClock::default, IdleRow::clock),
            changed_at: None,
            last_failure: None,
            state_bytes: None,
            state_removed_at: None,
            timers: Timers::due_at(self.timer_due.map(Timestamp)),
            residence: Residence::default(),
            group: self.group.map(GroupRow::group),
        })
    }
}

fn egress(rules: Vec<String>) -> Result<EgressPolicy, CodecError> {
    let rules = rules.iter().map(|rule| rule.parse()).collect::<Result<_, _>>();
    let policy = rules.and_then(EgressPolicy::new);
    policy.map_err(|error| CodecError::Malformed(error.to_string()))
}

impl BodyRow<'_> {
    fn complete(self, session: &mut Session) -> Result<(), CodecError> {
        let starts = self.starts.unwrap_or(StartsRow { count: 0, fuel: 0, cost: 0 });
        let calls = self.calls.unwrap_or(CallsRow { count: 0, bytes: 0 });
        session.usage = Usage {
            starts: starts.count,
            start_fuel: starts.fuel,
            start_cost: NanoUsd(starts.cost),
            turns: self.turns,
            uncounted: self.uncounted.unwrap_or(0),
            cost: NanoUsd(self.cost),
            fuel: self.fuel,
            input_tokens: self.input_tokens,
            output_tokens: self.output_tokens,
            cached_tokens: self.cached_tokens,
            calls: calls.count,
            call_bytes: calls.bytes,
        };
        session.started_at = self.started_at.map(Timestamp);
        session.unsaved_turns = self.unsaved_turns;
        session.consecutive_failures = self.consecutive_failures;
        session.tools_used = self.tools_used.into_iter().map(str::to_owned).collect();
        session.context = JsonRow::object(self.context.as_ref())?;
        let profile = &mut session.profile;
        profile.config = JsonRow::object(self.config.as_ref())?;
        profile.conversation_id = self.conversation_id.map(|row| row.value()).transpose()?;
        profile.description = self.description.map(str::to_owned);
        profile.thread_key = self.thread_key.map(str::to_owned);
        profile.project_id = self.project_id.map(str::to_owned);
        profile.metadata = JsonRow::object(self.metadata.as_ref())?;
        let peers = self.peers.into_iter().flatten().map(PeerRow::peer);
        profile.peers = Peers::kept(peers.collect());
        profile.durability = DurabilityRow::durability(self.durability.as_ref());
        profile.resume_fallback = self.resume_fallback.map(ResumeFallbackRow::fallback);
        profile.egress = egress(self.egress.unwrap_or_default())?;
        session.checkpoint =
            self.checkpoint.as_ref().map(|row| JsonRow::object(Some(row))).transpose()?;
        session.changed_at = self.changed_at.map(Timestamp);
        session.last_failure = self.last_failure.map(LastFailureRow::failure).transpose()?;
        session.state_bytes = self.state_bytes;
        session.state_removed_at = self.state_removed_at.map(Timestamp);
        let timers = self.timers.into_iter().flatten();
        session.timers = Timers::kept(timers.map(TimerRow::timer).collect());
        session.residence = self.residence.map_or_else(Residence::default, ResidenceRow::residence);
        session.parent = self.parent.map(|parent| SnapshotId(parent.into()));
        session.head_parent = self.head_parent.map(|parent| SnapshotId(parent.into()));
        Ok(())
    }
}

impl BeforeUpgradeRow<'_> {
    fn before(self) -> Result<BeforeUpgrade, CodecError> {
        Ok(BeforeUpgrade {
            agent: self.agent.reference()?,
            head: self.head.map(|head| SnapshotId(head.into())),
            head_parent: self.head_parent.map(|parent| SnapshotId(parent.into())),
            state_bytes: self.state_bytes,
        })
    }
}

impl IdleRow {
    fn of(idle: IdleClock) -> Option<IdleRow> {
        let IdleClock { extended_until, warned_of } = idle;
        (idle != IdleClock::default()).then(|| IdleRow {
            extended_until: extended_until.map(|at| at.0),
            warned_of: warned_of.map(|at| at.0),
        })
    }

    fn clock(self) -> IdleClock {
        IdleClock {
            extended_until: self.extended_until.map(Timestamp),
            warned_of: self.warned_of.map(Timestamp),
        }
    }
}

impl LastFailureRow<'_> {
    fn of(failure: &LastFailure) -> LastFailureRow<'_> {
        let LastFailure { turn, code, at } = failure;
        LastFailureRow { turn: *turn, code: code.as_str(), at: at.0 }
    }

    fn failure(self) -> Result<LastFailure, CodecError> {
        let code = FailureCode::ALL.into_iter().find(|code| code.as_str() == self.code);
        let unknown = || CodecError::Malformed(format!("there is no failure '{}'", self.code));
        let code = code.ok_or_else(unknown)?;
        Ok(LastFailure { turn: self.turn, code, at: Timestamp(self.at) })
    }
}

impl DurabilityRow {
    fn of(durability: Durability) -> Option<DurabilityRow> {
        match durability {
            Durability::Turn => None,
            Durability::Sleep => Some(DurabilityRow::Sleep),
        }
    }

    fn durability(row: Option<&DurabilityRow>) -> Durability {
        match row {
            None => Durability::Turn,
            Some(DurabilityRow::Sleep) => Durability::Sleep,
        }
    }
}

impl ResumeFallbackRow {
    fn of(fallback: ResumeFallback) -> ResumeFallbackRow {
        match fallback {
            ResumeFallback::Parent => ResumeFallbackRow::Parent,
            ResumeFallback::Fresh => ResumeFallbackRow::Fresh,
        }
    }

    fn fallback(self) -> ResumeFallback {
        match self {
            ResumeFallbackRow::Parent => ResumeFallback::Parent,
            ResumeFallbackRow::Fresh => ResumeFallback::Fresh,
        }
    }
}

impl AgentRefRow<'_> {
    pub(super) fn of(agent: &AgentRef) -> AgentRefRow<'_> {
        AgentRefRow {
            name: agent.name.as_str(),
            version: agent.version.as_str(),
            digest: DigestRow(agent.digest.0),
            owner: agent.owner.principal().map(|owner| owner.0.as_str()),
        }
    }

    pub(super) fn reference(self) -> Result<AgentRef, CodecError> {
        let malformed =
            |e: dormouse_domain::agent::InvalidName| CodecError::Malformed(e.to_string());
        let owner = |owner: &str| AgentOwner::Principal(Principal(owner.to_owned()));
        Ok(AgentRef {
            owner: self.owner.map_or(AgentOwner::Host, owner),
            name: self.name.parse().map_err(malformed)?,
            version: self.version.parse().map_err(malformed)?,
            digest: Digest(self.digest.0),
        })
    }
}
