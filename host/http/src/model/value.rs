//! The values that fields of requests take, besides strings, truth values, lists and objects.
//!
//! The message of each says what the value must be. A `Deserialize` that asks for an integer reads the
//! parameter of a query as well, which is text.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};

use crate::error::ApiError;
use dormouse::workspace::{ChangeKind, FileType};
use dormouse::{
    Bill, Change, Durability, EffectFailure, FailureCode, NanoUsd, OnBusy, Pattern, Provenance,
    Residency, ResumeFallback, ResumeObstacle, Role, ScheduleSwitch, SessionCursor, SessionField,
    SessionId, SessionOrder, SleepCause, SnapshotId, Status, StopCause, Timestamp, Visibility,
};
use dormouse_domain::agent::StartRandomness;
use dormouse_domain::egress::{EgressPolicy, EgressRule, MAX_EGRESS_RULE_BYTES};

/// The largest integer that every JSON number holds exactly.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// An integer that is not negative, also where JSON writes it as `10.0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(inline, description = "")]
pub(crate) struct Count(pub(crate) u64);

impl Count {
    /// The same, as the size of something in memory.
    pub(crate) fn size(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Count, D::Error> {
        deserializer.deserialize_u64(CountVisitor).map(Count)
    }
}

struct CountVisitor;

impl Visitor<'_> for CountVisitor {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an integer, 0 or more")
    }

    fn visit_u64<E: Error>(self, count: u64) -> Result<u64, E> {
        Ok(count)
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked against the range first"
    )]
    fn visit_f64<E: Error>(self, float: f64) -> Result<u64, E> {
        if float.fract() == 0.0 && (0.0..=EXACT).contains(&float) {
            return Ok(float as u64);
        }
        Err(E::invalid_value(Unexpected::Float(float), &self))
    }
}

/// A number of milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(from = "Count")]
#[schemars(inline, description = "")]
pub(crate) struct Millis(pub(crate) Duration);

impl From<Count> for Millis {
    fn from(Count(millis): Count) -> Millis {
        Millis(Duration::from_millis(millis))
    }
}

/// The value of a field that may be absent, `null`, or there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Nullable<T> {
    /// It is absent.
    #[default]
    Absent,
    /// It is `null`.
    Null,
    /// It is this.
    Value(T),
}

impl<T> Nullable<T> {
    /// What becomes of the field that it stands for.
    pub(crate) fn change<U>(self, read: impl FnOnce(T) -> U) -> Change<U> {
        match self {
            Nullable::Absent => Change::Keep,
            Nullable::Null => Change::Clear,
            Nullable::Value(value) => Change::Set(read(value)),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Nullable<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Nullable<T>, D::Error> {
        let value = Option::<T>::deserialize(deserializer)?;
        Ok(value.map_or(Nullable::Null, Nullable::Value))
    }
}

impl<T: JsonSchema> JsonSchema for Nullable<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        Option::<T>::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Option::<T>::json_schema(generator)
    }
}

/// An amount of US dollars.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(inline, description = "")]
pub(crate) struct Usd(#[schemars(with = "f64", range(min = 0))] pub(crate) NanoUsd);

impl<'de> Deserialize<'de> for Usd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Usd, D::Error> {
        let amount = serde_json::Value::deserialize(deserializer)?;
        let amount = amount.as_f64().and_then(NanoUsd::from_usd).map(Usd);
        amount.ok_or_else(|| D::Error::custom("must be a number of US dollars, 0 or more"))
    }
}

/// The id of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(inline, description = "")]
pub(crate) struct SnapshotName(
    #[schemars(with = "String", extend("format" = "uuid"))] pub(crate) SnapshotId,
);

impl<'de> Deserialize<'de> for SnapshotName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<SnapshotName, D::Error> {
        let parse = |text: &str| text.parse().ok().map(SnapshotName);
        deserializer.deserialize_str(Text("the id of a snapshot", parse))
    }
}

/// The id of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(inline, description = "")]
pub(crate) struct SessionName(
    #[schemars(with = "String", extend("format" = "uuid"))] pub(crate) SessionId,
);

impl<'de> Deserialize<'de> for SessionName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<SessionName, D::Error> {
        let parse = |text: &str| text.parse().ok().map(SessionName);
        deserializer.deserialize_str(Text("the id of a session", parse))
    }
}

/// Where a page of sessions has ended: what the page calls `nextCursor`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(inline, description = "")]
pub(crate) struct EndOfPage(#[schemars(with = "String")] pub(crate) SessionCursor);

impl<'de> Deserialize<'de> for EndOfPage {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<EndOfPage, D::Error> {
        let parse = |text: &str| text.parse().ok().map(EndOfPage);
        deserializer.deserialize_str(Text("the `nextCursor` of a page, as it was given", parse))
    }
}

/// A rule of what may be reached over HTTP.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(inline, description = "")]
pub(crate) struct Rule(
    #[schemars(with = "String", length(max = MAX_EGRESS_RULE_BYTES))] pub(crate) EgressRule,
);

impl Rule {
    /// The policy of these rules.
    ///
    /// # Errors
    /// There are more than a policy has.
    pub(crate) fn policy(rules: Vec<Rule>) -> Result<EgressPolicy, ApiError> {
        let policy = EgressPolicy::new(rules.into_iter().map(|Rule(rule)| rule).collect());
        policy.map_err(|error| ApiError::invalid_field("egress", format!("has too many: {error}")))
    }
}

impl<'de> Deserialize<'de> for Rule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Rule, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map(Rule).map_err(D::Error::custom)
    }
}

/// A point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(inline, description = "")]
pub(crate) struct Time(
    #[schemars(with = "String", extend("format" = "date-time"))] pub(crate) Timestamp,
);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Time, D::Error> {
        let parse = |text: &str| text.parse().ok().map(Time);
        deserializer
            .deserialize_str(Text("a time with its offset, such as 2026-01-31T09:30:00Z", parse))
    }
}

/// The schema of an id: a UUID in its one form.
pub(crate) enum Id {}

impl JsonSchema for Id {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Id".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "uuid" })
    }
}

/// The schema of the id of a conversation, which is its caller's: a string or a number.
pub(crate) enum ConversationId {}

impl JsonSchema for ConversationId {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "ConversationId".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "number"] })
    }
}

/// An enum of the domain that has a word for each of its variants.
pub(crate) trait Words: Copy + Send + Sync + 'static {
    /// All of its variants.
    const ALL: &'static [Self];

    /// The word for a variant.
    fn word(self) -> &'static str;
}

/// One of the words of an enum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Word<T>(pub(crate) T);

impl<'de, T: Words> Deserialize<'de> for Word<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Word<T>, D::Error> {
        let parse = |text: &str| T::ALL.iter().find(|one| one.word() == text).copied().map(Word);
        deserializer.deserialize_str(Text(OneOf::<T>(PhantomData), parse))
    }
}

/// Tells the words of an enum.
struct OneOf<T>(PhantomData<T>);

impl<T: Words> fmt::Display for OneOf<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<&str> = T::ALL.iter().map(|one| one.word()).collect();
        write!(f, "one of: {}", words.join(", "))
    }
}

/// Reads a string: what it must be, and the value of a text that is this.
struct Text<W, F>(W, F);

impl<T, W: fmt::Display, F: Fn(&str) -> Option<T>> Visitor<'_> for Text<W, F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        (self.1)(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }
}

impl<T: Words> JsonSchema for Word<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Word".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let words: Vec<&str> = T::ALL.iter().map(|one| one.word()).collect();
        json_schema!({ "type": "string", "enum": words })
    }
}

impl Words for Pattern {
    const ALL: &'static [Pattern] = &Pattern::ALL;

    fn word(self) -> &'static str {
        self.as_str()
    }
}

impl Words for Status {
    const ALL: &'static [Status] = &Status::ALL;

    fn word(self) -> &'static str {
        self.as_str()
    }
}

impl Words for StopCause {
    const ALL: &'static [StopCause] = &StopCause::ALL;

    fn word(self) -> &'static str {
        self.as_str()
    }
}

impl Words for ScheduleSwitch {
    const ALL: &'static [ScheduleSwitch] = &ScheduleSwitch::ALL;

    fn word(self) -> &'static str {
        self.as_str()
    }
}

impl Words for Role {
    const ALL: &'static [Role] = &Role::ALL;

    fn word(self) -> &'static str {
        self.as_str()
    }
}

impl Words for FileType {
    const ALL: &'static [FileType] = &FileType::ALL;

    fn word(self) -> &'static str {
        self.as_str()
    }
}

impl Words for ChangeKind {
    const ALL: &'static [ChangeKind] = &ChangeKind::ALL;

    fn word(self) -> &'static str {
        self.as_str()
    }
}

impl Words for Residency {
    const ALL: &'static [Residency] = &[Residency::Asleep, Residency::Waking, Residency::Resident];

    fn word(self) -> &'static str {
        self.as_str()
    }
}

/// A field to sort by; against it with a `-` before it.
impl Words for SessionOrder {
    const ALL: &'static [SessionOrder] = &SessionOrder::ALL;

    fn word(self) -> &'static str {
        match self {
            SessionOrder::Newest => "-createdAt",
            SessionOrder::Oldest => "createdAt",
            SessionOrder::MostRecentlyActive => "-lastActivityAt",
            SessionOrder::LeastRecentlyActive => "lastActivityAt",
        }
    }
}

impl Words for ResumeObstacle {
    const ALL: &'static [ResumeObstacle] = &ResumeObstacle::ALL;

    fn word(self) -> &'static str {
        self.as_str()
    }
}

impl Words for FailureCode {
    const ALL: &'static [FailureCode] = &FailureCode::ALL;

    fn word(self) -> &'static str {
        self.as_str()
    }
}

impl Words for EffectFailure {
    const ALL: &'static [EffectFailure] = &EffectFailure::ALL;

    fn word(self) -> &'static str {
        self.as_str()
    }
}

impl Words for Bill {
    const ALL: &'static [Bill] = &Bill::ALL;

    fn word(self) -> &'static str {
        self.as_str()
    }
}

impl Words for Provenance {
    const ALL: &'static [Provenance] = &[Provenance::Live, Provenance::Replayed];

    fn word(self) -> &'static str {
        self.as_str()
    }
}

impl Words for SessionField {
    const ALL: &'static [SessionField] = &SessionField::ALL;

    fn word(self) -> &'static str {
        self.as_str()
    }
}

impl Words for SleepCause {
    const ALL: &'static [SleepCause] = &SleepCause::ALL;

    fn word(self) -> &'static str {
        self.as_str()
    }
}

impl Words for StartRandomness {
    const ALL: &'static [StartRandomness] = &[StartRandomness::None, StartRandomness::Shared];

    fn word(self) -> &'static str {
        self.as_str()
    }
}

impl Words for Visibility {
    const ALL: &'static [Visibility] = &Visibility::ALL;

    fn word(self) -> &'static str {
        self.as_str()
    }
}

impl Words for Durability {
    const ALL: &'static [Durability] = &[Durability::Turn, Durability::Sleep];

    fn word(self) -> &'static str {
        self.as_str()
    }
}

impl Words for OnBusy {
    const ALL: &'static [OnBusy] = &OnBusy::ALL;

    fn word(self) -> &'static str {
        self.as_str()
    }
}

impl Words for ResumeFallback {
    const ALL: &'static [ResumeFallback] = &[ResumeFallback::Parent, ResumeFallback::Fresh];

    fn word(self) -> &'static str {
        self.as_str()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, from_value, json};

    fn count(value: Value) -> Result<u64, serde_json::Error> {
        from_value::<Count>(value).map(|Count(count)| count)
    }

    #[test]
    fn counts_may_be_written_as_floats() {
        assert_eq!(count(json!(10.0)).unwrap(), 10);
        assert_eq!(count(json!(18_446_744_073_709_551_615_u64)).unwrap(), u64::MAX);
        for value in [json!(-1), json!(1.5), json!("1"), json!(1e300), json!(true), json!([])] {
            let error = count(value.clone()).unwrap_err().to_string();
            assert!(error.ends_with(", expected an integer, 0 or more"), "{value}: {error}");
        }
    }

    #[test]
    fn amounts_below_zero_are_refused() {
        assert!(from_value::<Usd>(json!(-0.01)).is_err());
        assert!(from_value::<Usd>(json!("1")).is_err());
        assert_eq!(from_value::<Usd>(json!(0.5)).unwrap(), Usd(NanoUsd(500_000_000)));
    }

    #[test]
    fn each_way_to_know_a_cost_is_a_word_of_the_api() {
        let words: Vec<_> = Bill::ALL.map(Bill::as_str).into();
        assert_eq!(words, ["exact", "estimated", "unknown", "free", "unpriced"]);
        assert_eq!(<Bill as Words>::ALL, Bill::ALL);
    }

    #[test]
    fn words_that_are_not_known_are_answered_with_those_that_are() {
        let known = from_value::<Word<Durability>>(json!("sleep")).unwrap();
        assert_eq!(known, Word(Durability::Sleep));
        for value in [json!("never"), json!(7), json!("")] {
            let error = from_value::<Word<Durability>>(value).unwrap_err().to_string();
            assert!(error.ends_with(", expected one of: turn, sleep"), "{error}");
        }
    }
}
