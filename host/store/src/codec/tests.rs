//! Every record survives the disk, and nothing damaged passes unnoticed.

use bytes::Bytes;
use minicbor::Encoder;
use proptest::prelude::*;

use super::*;
use crate::conformance::samples;
use crate::label::Grouping;
use crate::statistics::Spent;
use dormouse_domain::agent::{AgentOwner, Digest, StartRandomness, Visibility};
use dormouse_domain::deadline;
use dormouse_domain::egress::EgressPolicy;
use dormouse_domain::event::{Event, EventBody, EventSubject, SleepCause};
use dormouse_domain::id::{Principal, SessionId};
use dormouse_domain::journal::OpenTurn;
use dormouse_domain::limits::NanoUsd;
use dormouse_domain::mail::Peers;
use dormouse_domain::residence::Residence;
use dormouse_domain::session::{Durability, IdleClock};
use dormouse_domain::snapshot::{GuestState, Snapshot};
use dormouse_domain::time::Timestamp;
use dormouse_domain::timer::Timers;
use dormouse_domain::turn::Sender;

const KEY: &[u8] = b"s0123";

fn read(key: &[u8], sealed: &[u8]) -> Result<Vec<u8>, CodecError> {
    unseal(RecordKind::Session, key, sealed).map(Cow::into_owned)
}

/// The same row with more fields than the `known` ones that this version has.
fn with_two_more_fields(row: &[u8], known: u64) -> Vec<u8> {
    let mut decoder = minicbor::Decoder::new(row);
    let fields = decoder.array().expect("a row is an array").expect("of known length");
    let mut longer = Encoder::new(Vec::new());
    longer.array(known + 2).expect("it can be written");
    longer.writer_mut().extend_from_slice(&row[decoder.position()..]);
    // Absent fields at the end are not written at all.
    for _ in fields..known {
        longer.null().expect("it can be written");
    }
    longer.str("what comes next").expect("it can be written");
    longer.map(1).and_then(|map| map.u8(1)?.u8(2)).expect("it can be written");
    longer.into_writer()
}

/// The same row without its last fields.
fn with_fields(row: &[u8], kept: u64) -> Vec<u8> {
    let mut decoder = minicbor::Decoder::new(row);
    decoder.array().expect("a row is an array");
    let start = decoder.position();
    for _ in 0..kept {
        decoder.skip().expect("there are more fields");
    }
    let mut shorter = Encoder::new(Vec::new());
    shorter.array(kept).expect("it can be written");
    shorter.writer_mut().extend_from_slice(&row[start..decoder.position()]);
    shorter.into_writer()
}

/// The snapshot as its row has it.
fn without_state(mut snapshot: Snapshot) -> Snapshot {
    snapshot.state = match snapshot.state {
        GuestState::Portable { version, .. } => {
            GuestState::Portable { version, data: Bytes::new() }
        }
        GuestState::Image { .. } => GuestState::Image { data: Bytes::new(), chunks: Vec::new() },
        GuestState::Nothing => GuestState::Nothing,
    };
    snapshot
}

proptest! {
    #[test]
    fn a_session_is_read_as_it_was_written(session in samples::session()) {
        let (front, body) = (encode_front(&session), encode_body(&session));
        prop_assert_eq!(decode_session(&front, &body), Ok(session));
    }

    #[test]
    fn the_front_of_a_session_is_enough_for_its_deadline_and_for_the_index(session in samples::session()) {
        let front = decode_front(&encode_front(&session)).expect("it decodes");
        prop_assert_eq!(deadline::next(&front), deadline::next(&session));
        prop_assert_eq!(front.state.status(), session.state.status());
        prop_assert_eq!(Spent::of(&front), Spent::of(&session));
        prop_assert_eq!(&front.profile.tags, &session.profile.tags);
        let grouping = decode_front_with_grouping(&encode_front(&session)).map(|front| front.1);
        prop_assert_eq!(grouping, Ok(Grouping::of(&session)));
    }

    #[test]
    fn a_turn_is_read_as_it_was_written(turn in samples::turn()) {
        prop_assert_eq!(decode_turn(&encode_turn(&turn)), Ok(turn));
    }

    #[test]
    fn an_open_turn_and_its_journal_are_read_as_they_were_written(
        turn in samples::open_turn(),
        entry in samples::entry(),
        attempts in samples::attempts(),
    ) {
        prop_assert_eq!(decode_entry(&encode_entry(&entry)), Ok(entry));
        prop_assert_eq!(decode_attempts(&encode_attempts(attempts)), Ok(attempts));
        prop_assert_eq!(decode_input(&encode_input(&turn.input)), Ok(turn.input.clone()));
        let without_input = decode_open_turn(&encode_open_turn(&turn));
        prop_assert_eq!(without_input, Ok(OpenTurn { input: Vec::new(), ..turn }));
    }

    #[test]
    fn a_snapshot_is_read_as_it_was_written_but_for_its_state(snapshot in samples::snapshot()) {
        let bytes = Bytes::from(encode_snapshot(&snapshot));
        let summary = decode_summary(&bytes).expect("it decodes");
        prop_assert_eq!((summary.id, summary.turn), (snapshot.id, snapshot.turn));
        prop_assert_eq!(summary.size, snapshot.state.size() as u64);
        prop_assert_eq!(decode_snapshot(&bytes), Ok(without_state(snapshot)));
    }

    #[test]
    fn the_list_of_chunks_is_read_as_it_was_written(snapshot in samples::snapshot()) {
        let GuestState::Image { mut chunks, .. } = snapshot.state else { return Ok(()) };
        chunks.iter_mut().for_each(|chunk| chunk.data = None);
        let list = encode_chunks(&chunks);
        prop_assert_eq!(decode_chunks(&list), Ok(chunks));
        if let [_, shorter @ ..] = list.as_slice() {
            prop_assert!(decode_chunks(shorter).is_err());
        }
    }

    #[test]
    fn a_template_is_read_as_it_was_written_but_for_its_snapshot(template in samples::template()) {
        let bytes = encode_template(&template);
        prop_assert_eq!(decode_template(&bytes, template.snapshot.clone()), Ok(template));
    }

    #[test]
    fn an_event_is_read_as_it_was_written(event in samples::event()) {
        prop_assert_eq!(decode_event(&encode_event(&event)), Ok(event));
    }

    #[test]
    fn an_agent_is_read_as_it_was_written(agent in samples::agent()) {
        prop_assert_eq!(decode_agent(&encode_agent(&agent)), Ok(agent));
    }

    #[test]
    fn fields_of_a_later_host_are_passed_over(
        session in samples::session(),
        turn in samples::turn(),
        snapshot in samples::snapshot(),
        event in samples::event(),
        entry in samples::entry(),
        mail in samples::mail(),
    ) {
        let outline = Bytes::from(with_two_more_fields(&encode_snapshot(&snapshot), 11));
        prop_assert_eq!(decode_snapshot(&outline), Ok(without_state(snapshot)));
        let front = with_two_more_fields(&encode_front(&session), 22);
        let body = with_two_more_fields(&encode_body(&session), 33);
        prop_assert_eq!(decode_session(&front, &body), Ok(session));
        prop_assert_eq!(decode_turn(&with_two_more_fields(&encode_turn(&turn), 19)), Ok(turn));
        prop_assert_eq!(decode_entry(&with_two_more_fields(&encode_entry(&entry), 11)), Ok(entry));
        prop_assert_eq!(decode_mail(&with_two_more_fields(&encode_mail(&mail), 3)), Ok(mail));
        prop_assert_eq!(decode_event(&with_two_more_fields(&encode_event(&event), 5)), Ok(event));
    }

    #[test]
    fn optional_fields_that_an_earlier_host_did_not_write_are_none(
        mut session in samples::session(),
        mut turn in samples::turn(),
        mut agent in samples::agent(),
    ) {
        // No other sender was known then.
        turn.sender = Sender::User;
        let earlier = decode_turn(&with_fields(&encode_turn(&turn), 12));
        turn.start = None;
        (turn.effects, turn.attempts, turn.woken_in) = (Vec::new(), 1, None);
        turn.samples = Vec::new();
        prop_assert_eq!(earlier, Ok(turn));
        let earlier = decode_agent(&with_fields(&encode_agent(&agent), 9));
        agent.visibility = Visibility::default();
        agent.component.start_fuel = 0;
        agent.component.start_randomness = StartRandomness::None;
        prop_assert_eq!(earlier, Ok(agent));

        let front = with_fields(&encode_front(&session), 11);
        let body = with_fields(&encode_body(&session), 10);
        session.ended_at = None;
        session.checkpoint = None;
        session.idle = IdleClock::default();
        session.changed_at = None;
        session.last_failure = None;
        session.state_bytes = None;
        session.state_removed_at = None;
        session.residence = Residence::default();
        session.timers = Timers::default();
        session.usage.uncounted = 0;
        (session.usage.calls, session.usage.call_bytes) = (0, 0);
        session.account = None;
        session.group = None;
        session.head = None;
        session.head_parent = None;
        session.parent = None;
        session.before_upgrade = None;
        session.profile.durability = Durability::Turn;
        session.profile.resume_fallback = None;
        session.profile.egress = EgressPolicy::default();
        session.context.clear();
        (session.usage.starts, session.usage.start_fuel) = (0, 0);
        session.usage.start_cost = NanoUsd(0);
        session.profile.config.clear();
        session.profile.metadata.clear();
        session.profile.peers = Peers::default();
        session.profile.conversation_id = None;
        session.profile.description = None;
        session.profile.thread_key = None;
        session.profile.project_id = None;
        prop_assert_eq!(decode_session(&front, &body), Ok(session));
    }

    #[test]
    fn a_changed_byte_is_noticed(
        payload in proptest::collection::vec(any::<u8>(), 0..300),
        at in any::<proptest::sample::Index>(),
        bits in 1..=255_u8,
    ) {
        let mut sealed = seal(KEY, &[&payload]);
        prop_assert_eq!(read(KEY, &sealed), Ok(payload));
        let at = at.index(sealed.len());
        sealed[at] ^= bits;
        prop_assert_eq!(read(KEY, &sealed), Err(CodecError::Checksum));
    }

    #[test]
    fn a_value_that_is_cut_short_or_goes_on_is_noticed(
        payload in proptest::collection::vec(any::<u8>(), 0..300),
        more in proptest::collection::vec(any::<u8>(), 1..20),
        kept in any::<proptest::sample::Index>(),
    ) {
        let sealed = seal(KEY, &[&payload]);
        let longer = [&sealed[..], &more].concat();
        prop_assert_eq!(read(KEY, &longer), Err(CodecError::Checksum));
        let shorter = &sealed[..kept.index(sealed.len())];
        prop_assert_eq!(read(KEY, shorter), Err(CodecError::Checksum));
    }

    #[test]
    fn bytes_that_are_no_rows_are_refused_without_a_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let _ = (decode_session(&bytes, &bytes), decode_turn(&bytes), decode_event(&bytes));
        let _ = (decode_agent(&bytes), decode_snapshot(&Bytes::from(bytes.clone())));
        let _ = (decode_summary(&bytes), decode_chunks(&bytes));
        let _ = unseal(RecordKind::Session, KEY, &seal_as(2, KEY, &[&bytes]));
        let _ = read(KEY, &bytes);
    }

    #[test]
    fn changed_rows_are_read_or_refused_without_a_panic(
        turn in samples::turn(),
        session in samples::session(),
        template in samples::template(),
        event in samples::event(),
        entry in samples::entry(),
        open in samples::open_turn(),
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let change = |mut row: Vec<u8>| {
            for (at, byte) in &changes {
                let at = at.index(row.len());
                row[at] = *byte;
            }
            row
        };
        let outline = Bytes::from(change(encode_snapshot(&template.snapshot)));
        let _ = (decode_snapshot(&outline), decode_summary(&outline));
        let _ = decode_template(&change(encode_template(&template)), template.snapshot);
        let _ = decode_turn(&change(encode_turn(&turn)));
        let _ = decode_event(&change(encode_event(&event)));
        let _ = decode_entry(&change(encode_entry(&entry)));
        let _ = decode_open_turn(&change(encode_open_turn(&open)));
        let _ = decode_input(&change(encode_input(&open.input)));
        let _ = decode_session(&change(encode_front(&session)), &change(encode_body(&session)));
    }
}

#[test]
fn a_value_under_another_key_is_noticed() {
    let sealed = seal(b"s0123", &[b"4value"]);
    assert_eq!(read(b"s0124", &sealed), Err(CodecError::Checksum));
    // Also where the two together are the same bytes.
    let sealed_longer_key = seal(b"s01234", &[b"value"]);
    assert_ne!(sealed[1..OVERHEAD], sealed_longer_key[1..OVERHEAD]);
}

#[test]
fn a_value_of_a_newer_format_says_so() {
    let sealed = seal_as(VERSION + 1, KEY, &[b"value"]);
    let error = read(KEY, &sealed).expect_err("it is refused");
    assert_eq!(error, CodecError::Newer(VERSION + 1));
    assert!(error.to_string().contains("written by a newer Dormouse"), "{error}");
}

/// An event as hosts wrote it before events had owners: the subject is the number of its kind, and
/// what that has.
fn earlier_event(
    kind: &str,
    subject: u32,
    about: impl FnOnce(&mut Encoder<Vec<u8>>),
    payload: &str,
) -> Vec<u8> {
    let mut row = Encoder::new(Vec::new());
    let head = row.array(4).and_then(|row| row.str(kind)?.array(2)?.u32(subject));
    head.expect("it can be written");
    about(&mut row);
    row.i64(7).and_then(|row| row.bytes(payload.as_bytes())).expect("it can be written");
    row.into_writer()
}

#[test]
fn events_of_the_release_of_november_and_those_after_it_without_owners_are_read() {
    let id = uuid::Uuid::from_u128(5);
    let session = |row: &mut Encoder<Vec<u8>>| {
        row.array(1).and_then(|row| row.bytes(id.as_bytes())).map(drop).expect("it can be written");
    };
    let read = decode_event(&earlier_event("session.slept", 0, session, r#"{"cause":"places"}"#));
    let (occurred_at, subject) = (Timestamp(7), EventSubject::Session(SessionId(id)));
    let body = EventBody::SessionSlept { cause: SleepCause::Places, idle_minutes: None };
    assert_eq!(read, Ok(Event { owner: None, subject, occurred_at, body }));

    let digest = Digest([0x11; 32]);
    let payload = format!(r#"{{"digest":"{digest}"}}"#);
    let body = EventBody::AgentDeleted { digest };
    let of_november = |row: &mut Encoder<Vec<u8>>| {
        row.array(1).and_then(|row| row.str("mine@1")).map(drop).expect("it can be written");
    };
    let read = decode_event(&earlier_event("agent.deleted", 1, of_november, &payload));
    let subject = EventSubject::Agent("mine@1".to_owned());
    assert_eq!(read, Ok(Event { owner: None, subject, occurred_at, body: body.clone() }));

    let with_owner = |row: &mut Encoder<Vec<u8>>| {
        let about = row.array(2).and_then(|row| row.str("ann/mine@1")?.array(2)?.u32(1));
        about.and_then(|row| row.array(1)?.str("ann")).map(drop).expect("it can be written");
    };
    let read = decode_event(&earlier_event("agent.deleted", 1, with_owner, &payload));
    let owner = Some(AgentOwner::Principal(Principal("ann".to_owned())));
    let subject = EventSubject::Agent("ann/mine@1".to_owned());
    assert_eq!(read, Ok(Event { owner, subject, occurred_at, body }));
}

#[test]
fn an_event_whose_payload_is_not_of_its_kind_says_so() {
    let session = |row: &mut Encoder<Vec<u8>>| {
        row.array(1).and_then(|row| row.bytes(&[5; 16])).map(drop).expect("it can be written");
    };
    let read = decode_event(&earlier_event("session.slept", 0, session, r#"{"cause":"moon"}"#));
    let expected =
        "it does not decode: 'cause' of an event 'session.slept' is missing or of no use";
    assert_eq!(read.expect_err("there is no such cause").to_string(), expected);
}
