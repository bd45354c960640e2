//! What patches make of a record.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::creation::examples::session;
use crate::state::State;

const NOW: Timestamp = Timestamp(77);

fn object(value: Value) -> JsonObject {
    let Value::Object(object) = value else { panic!("tests write objects") };
    object
}

fn apply(before: &Session, patch: SessionPatch) -> Result<Option<Patched>, PatchError> {
    patch.apply(before, &DefaultLimits::default(), NOW)
}

fn status(status: StatusChange) -> SessionPatch {
    SessionPatch { status: Some(status), ..SessionPatch::default() }
}

fn context(change: DocumentChange) -> SessionPatch {
    SessionPatch { context: change, ..SessionPatch::default() }
}

/// The examples of RFC 7396, appendix A, of which the target is an object.
#[test]
fn documents_are_merged_as_the_standard_says() {
    for (target, patch, merged) in [
        (json!({"a":"b"}), json!({"a":"c"}), json!({"a":"c"})),
        (json!({"a":"b"}), json!({"b":"c"}), json!({"a":"b","b":"c"})),
        (json!({"a":"b"}), json!({"a":null}), json!({})),
        (json!({"a":"b","b":"c"}), json!({"a":null}), json!({"b":"c"})),
        (json!({"a":["b"]}), json!({"a":"c"}), json!({"a":"c"})),
        (json!({"a":"c"}), json!({"a":["b"]}), json!({"a":["b"]})),
        (json!({"a":{"b":"c"}}), json!({"a":{"b":"d","c":null}}), json!({"a":{"b":"d"}})),
        (json!({"a":[{"b":"c"}]}), json!({"a":[1]}), json!({"a":[1]})),
        (json!({"e":null}), json!({"a":1}), json!({"e":null,"a":1})),
        (json!({}), json!({"a":{"bb":{"ccc":null}}}), json!({"a":{"bb":{}}})),
    ] {
        let mut document = object(target.clone());
        merge(&mut document, object(patch.clone()));
        assert_eq!(Value::Object(document), merged, "{target} {patch}");
    }
}

#[test]
fn members_are_replaced_whole_and_others_stay() {
    let mut before = session();
    before.context = object(json!({"a": {"b": 1}, "c": 2}));
    let change = DocumentChange::Members(object(json!({"a": {"d": null}, "e": 3})));
    let after = apply(&before, context(change)).unwrap().unwrap().session.context;
    assert_eq!(after, object(json!({"a": {"d": null}, "c": 2, "e": 3})));
    let large = object(json!({ "a": "x".repeat(MAX_DOCUMENT) }));
    assert!(apply(&before, context(DocumentChange::Members(large))).is_err());
}

#[test]
fn a_patch_names_the_fields_that_it_has_changed_in_one_event() {
    let before = session();
    let patch = SessionPatch {
        egress: Some("GET a.example".parse().unwrap()),
        tags: Some(vec!["a".to_owned(), "a".to_owned()]),
        description: Change::Set("what for".to_owned()),
        context: DocumentChange::Merge(object(json!({"a": 1}))),
        checkpoint: DocumentChange::Merge(object(json!({"step": 3}))),
        status: Some(StatusChange::Paused),
        ..SessionPatch::default()
    };
    let Patched { session: after, events } = apply(&before, patch).unwrap().unwrap();
    assert_eq!((after.profile.tags.len(), after.changed_at), (1, Some(NOW)));
    assert_eq!(after.checkpoint, Some(object(json!({"step": 3}))));
    let bodies: Vec<EventBody> = events.into_iter().map(|event| event.body).collect();
    let fields = vec![
        SessionField::Status,
        SessionField::Egress,
        SessionField::Tags,
        SessionField::Description,
        SessionField::Context,
        SessionField::Checkpoint,
    ];
    let update = SessionUpdate::Fields { fields, status: Status::Paused };
    assert_eq!(bodies, [EventBody::SessionPaused, EventBody::SessionUpdated(update)]);
}

#[test]
fn a_patch_that_changes_nothing_leaves_no_event() {
    let mut before = session();
    before.context = object(json!({"a": 1}));
    for patch in [
        SessionPatch::default(),
        context(DocumentChange::Merge(object(json!({"a": 1, "b": null})))),
        status(StatusChange::Active),
        SessionPatch { checkpoint: DocumentChange::Clear, ..SessionPatch::default() },
    ] {
        assert!(apply(&before, patch).unwrap().is_none());
    }
}

#[test]
fn a_patch_for_another_revision_is_refused() {
    let before = session();
    let check =
        |revision| SessionPatch { revision, ..SessionPatch::default() }.check_revision(&before);
    assert_eq!(check(Some(7)), Err(PatchError::OtherRevision(before.revision)));
    assert_eq!((check(Some(before.revision)), check(None)), (Ok(()), Ok(())));
}

#[test]
fn what_is_out_of_bounds_is_named() {
    let deep = (0..MAX_DEPTH).fold(json!(1), |inner, _| json!({ "a": inner }));
    let field = |patch| match apply(&session(), patch).unwrap_err() {
        PatchError::Invalid(error) => error.field,
        error => panic!("{error}"),
    };
    let large = object(json!({ "a": "x".repeat(MAX_DOCUMENT) }));
    assert_eq!(field(context(DocumentChange::Merge(large.clone()))), "context");
    assert_eq!(field(context(DocumentChange::Replace(large))), "context");
    assert_eq!(field(context(DocumentChange::Merge(object(json!({ "a": deep }))))), "context");
    assert!(apply(&session(), context(DocumentChange::Merge(object(deep)))).is_ok());
    let tags = Some(vec![String::new()]);
    assert_eq!(field(SessionPatch { tags, ..SessionPatch::default() }), "tags");
    let limits = LimitsPatch { max_turns: Change::Set(0), ..LimitsPatch::default() };
    assert_eq!(field(SessionPatch { limits, ..SessionPatch::default() }), "maxTurns");
    let conversation_id = Change::Set(json!([]));
    let patch = SessionPatch { conversation_id, ..SessionPatch::default() };
    assert_eq!(field(patch), "conversationId");
}

#[test]
fn limits_are_raised_lowered_and_lifted() {
    let mut before = session();
    before.profile.limits.max_turns = Some(3);
    let limits = LimitsPatch {
        max_turns: Change::Clear,
        max_idle: Change::Set(Duration::from_secs(9)),
        turn_timeout: Change::Clear,
        ..LimitsPatch::default()
    };
    let patch = SessionPatch { limits, ..SessionPatch::default() };
    let limits = apply(&before, patch).unwrap().unwrap().session.profile.limits;
    assert_eq!((limits.max_turns, limits.max_idle), (None, Some(Duration::from_secs(9))));
    assert_eq!(limits.turn_timeout, DefaultLimits::default().turn_timeout);
}

#[test]
fn a_client_moves_a_session_as_far_as_its_state_allows() {
    let mut active = session();
    active.state = State::Active;
    let moved = |before: &Session, to| apply(before, status(to)).unwrap().unwrap().session;
    assert_eq!(moved(&active, StatusChange::Idle).state, State::Idle);
    let crashed = moved(&active, StatusChange::Crashed);
    assert_eq!(crashed.state, State::Error(Cause::Crashed.into()));
    assert_eq!(moved(&crashed, StatusChange::Active).state, State::Active);
    let completed = moved(&active, StatusChange::Completed);
    assert_eq!((completed.state.status(), completed.ended_at), (Status::Completed, Some(NOW)));
    assert!(apply(&completed, status(StatusChange::Completed)).unwrap().is_none());
    let refused = apply(&completed, status(StatusChange::Paused)).unwrap_err();
    assert!(matches!(refused, PatchError::InvalidTransition(_)));
}

fn document() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![Just(Value::Null), any::<u8>().prop_map(Value::from)];
    leaf.prop_recursive(3, 12, 3, |inner| {
        proptest::collection::btree_map("[abc]", inner, 0..3)
            .prop_map(|map| Value::Object(map.into_iter().collect()))
    })
}

proptest! {
    #[test]
    fn a_patch_that_is_merged_twice_changes_nothing_more(target in document(), patch in document()) {
        let (Value::Object(mut target), Value::Object(patch)) = (target, patch) else { return Ok(()) };
        merge(&mut target, patch.clone());
        let once = target.clone();
        merge(&mut target, patch);
        prop_assert_eq!(target, once);
    }
}
