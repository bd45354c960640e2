//! A JSON object as a request holds it, read field by field, so that what is wrong is named.
//!
//! A handler takes out each field that it knows. What is left then is unknown: [`Fields::finish`]
//! refuses the near miss of a known name, and hands on the other names, for the answer to tell.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Number, Value};

use crate::error::ApiError;
use dormouse::{NanoUsd, Object, SnapshotId};
use dormouse_base::memory::pool::Charge;
use dormouse_domain::spelling::near_miss;

/// The largest integer that every JSON number holds exactly.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Unknown fields that an answer names at most, and the characters of each.
const MAX_IGNORED: usize = 32;
const MAX_NAME: usize = 64;

/// The fields of a request, or of an object in it. `null` is as good as absent.
#[derive(Default)]
pub(crate) struct Fields {
    object: Object,
    /// What a whole body takes of the host's memory.
    _charge: Option<Charge>,
    /// What stands before the names of these fields in messages: `config.` or nothing.
    prefix: &'static str,
    /// The names that were asked for.
    known: Vec<&'static str>,
    /// Names that are known in an object of the request, with the name of that before them.
    inner: Vec<String>,
}

/// The names of fields that the host does not know and has ignored, for the answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(crate) struct Ignored(Vec<String>);

impl Ignored {
    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// An answer, and the fields of its request that were ignored.
#[derive(Debug, Serialize)]
pub(crate) struct Answered<T> {
    #[serde(flatten)]
    pub(crate) answer: T,
    /// Absent where all fields are known.
    #[serde(skip_serializing_if = "Ignored::is_empty")]
    pub(crate) ignored: Ignored,
}

impl Fields {
    /// The fields of a whole body, with what they take of the host's memory.
    pub(crate) fn charged(object: Object, charge: Charge) -> Fields {
        Fields { object, _charge: Some(charge), ..Fields::default() }
    }

    /// The fields of an object within a body, which is named for messages.
    pub(crate) fn within(prefix: &'static str, object: Object) -> Fields {
        Fields { object, prefix, ..Fields::default() }
    }

    /// All fields that are known have been taken out. Returns the names of the others.
    ///
    /// # Errors
    /// A name is a near miss of a known one, or belongs into an object of the request.
    pub(crate) fn finish(self) -> Result<Ignored, ApiError> {
        let unknown = self.object.iter().filter(|(_, value)| !value.is_null());
        let mut ignored = Vec::new();
        for (name, _) in unknown {
            if let Some(meant) = self.meant(name) {
                return Err(ApiError::unknown_field(self.full_name(name), meant));
            }
            if ignored.len() < MAX_IGNORED {
                ignored.push(name.chars().take(MAX_NAME).collect());
            }
        }
        Ok(Ignored(ignored))
    }

    /// An object of the request has been read: what is known in it is misplaced here.
    pub(crate) fn note_inner(&mut self, inner: &Fields) {
        self.inner.extend(inner.known.iter().map(|name| inner.full_name(name)));
    }

    /// What the caller meant by this unknown name.
    fn meant(&self, unknown: &str) -> Option<String> {
        if let Some(known) = near_miss(unknown, self.known.iter().copied()) {
            return Some(self.full_name(known));
        }
        let inner = self.inner.iter().map(|name| name.rsplit('.').next().unwrap_or(name));
        let name = near_miss(unknown, inner)?;
        self.inner.iter().find(|inner| inner.rsplit('.').next() == Some(name)).cloned()
    }

    fn full_name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// A value of any type, which is taken out.
    pub(crate) fn any(&mut self, name: &'static str) -> Option<Value> {
        self.known.push(name);
        self.object.remove(name).filter(|value| !value.is_null())
    }

    /// A string, which is taken out.
    pub(crate) fn text(&mut self, name: &'static str) -> Result<Option<String>, ApiError> {
        match self.any(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.invalid(name, "must be a string")),
        }
    }

    /// One of these words, which is taken out.
    pub(crate) fn word<T: Copy>(
        &mut self,
        name: &'static str,
        all: &[T],
        text_of: fn(T) -> &'static str,
    ) -> Result<Option<T>, ApiError> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let words: Vec<&str> = all.iter().map(|one| text_of(*one)).collect();
        let found = all.iter().copied().find(|one| text_of(*one) == text);
        let problem = || format!("must be one of: {}", words.join(", "));
        found.map(Some).ok_or_else(|| self.invalid(name, &problem()))
    }

    /// The id of a snapshot in `snapshotId`, which is taken out.
    pub(crate) fn snapshot(&mut self) -> Result<Option<SnapshotId>, ApiError> {
        let name = "snapshotId";
        let Some(id) = self.text(name)? else { return Ok(None) };
        id.parse().map(Some).map_err(|_| self.invalid(name, "must be the id of a snapshot"))
    }

    /// A truth value, which is taken out.
    pub(crate) fn flag(&mut self, name: &'static str) -> Result<Option<bool>, ApiError> {
        match self.any(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(_) => Err(self.invalid(name, "must be true or false")),
        }
    }

    /// An object, which is taken out. Absent: empty.
    pub(crate) fn object(&mut self, name: &'static str) -> Result<Object, ApiError> {
        match self.any(name) {
            None => Ok(Object::new()),
            Some(Value::Object(object)) => Ok(object),
            Some(_) => Err(self.invalid(name, "must be an object")),
        }
    }

    /// A list of strings, which is taken out. Absent: empty.
    pub(crate) fn texts(&mut self, name: &'static str) -> Result<Vec<String>, ApiError> {
        let items = match self.any(name) {
            None => return Ok(Vec::new()),
            Some(Value::Array(items)) => items,
            Some(_) => return Err(self.invalid(name, "must be a list of strings")),
        };
        let text = |item| match item {
            Value::String(text) => Ok(text),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::Array(_)
            | Value::Object(_) => Err(self.invalid(name, "must be a list of strings")),
        };
        items.into_iter().map(text).collect()
    }

    /// An integer that is not negative, which is taken out.
    pub(crate) fn count(&mut self, name: &'static str) -> Result<Option<u64>, ApiError> {
        let problem = "must be an integer, 0 or more";
        match self.any(name) {
            None => Ok(None),
            Some(Value::Number(number)) => match whole(&number) {
                Some(count) => Ok(Some(count)),
                None => Err(self.invalid(name, problem)),
            },
            Some(_) => Err(self.invalid(name, problem)),
        }
    }

    /// A number of milliseconds, which is taken out.
    pub(crate) fn millis(&mut self, name: &'static str) -> Result<Option<Duration>, ApiError> {
        Ok(self.count(name)?.map(Duration::from_millis))
    }

    /// An amount of US dollars, which is taken out.
    pub(crate) fn money(&mut self, name: &'static str) -> Result<Option<NanoUsd>, ApiError> {
        let problem = "must be a number of US dollars, 0 or more";
        let amount = match self.any(name) {
            None => return Ok(None),
            Some(Value::Number(number)) => number.as_f64().and_then(NanoUsd::from_usd),
            Some(_) => None,
        };
        amount.map(Some).ok_or_else(|| self.invalid(name, problem))
    }

    fn invalid(&self, name: &str, problem: &str) -> ApiError {
        ApiError::invalid_field(self.full_name(name), problem)
    }
}

/// A JSON number as an integer, also where it is written as `10.0`.
fn whole(number: &Number) -> Option<u64> {
    let float = || number.as_f64().filter(|float| float.fract() == 0.0);
    number.as_u64().or_else(|| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked against the range first"
        )]
        float().filter(|float| (0.0..=EXACT).contains(float)).map(|float| float as u64)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fields(value: Value) -> Fields {
        let Value::Object(object) = value else { panic!("tests write objects") };
        Fields::within("", object)
    }

    #[test]
    fn numbers_that_are_no_counts_are_refused_by_name() {
        for value in [json!(-1), json!(1.5), json!("1"), json!(1e300), json!(true), json!([])] {
            let error = fields(json!({ "maxTurns": value })).count("maxTurns").unwrap_err();
            assert_eq!(error.code(), "invalid_field");
            assert_eq!(error.body("r").more["field"], "maxTurns", "{value}");
        }
    }

    #[test]
    fn counts_may_be_written_as_floats_and_null_is_absent() {
        let mut fields =
            fields(json!({ "a": 10.0, "b": null, "c": 18_446_744_073_709_551_615_u64 }));
        assert_eq!(fields.count("a").unwrap(), Some(10));
        assert_eq!(fields.count("b").unwrap(), None);
        assert_eq!(fields.count("c").unwrap(), Some(u64::MAX));
        assert_eq!(fields.count("d").unwrap(), None);
    }

    #[test]
    fn amounts_below_zero_are_refused() {
        assert!(fields(json!({ "maxBudgetUsd": -0.01 })).money("maxBudgetUsd").is_err());
        let half = fields(json!({ "maxBudgetUsd": 0.5 })).money("maxBudgetUsd").unwrap();
        assert_eq!(half, Some(NanoUsd(500_000_000)));
    }

    #[test]
    fn fields_of_an_object_are_named_with_it() {
        let mut object = Object::new();
        object.insert("maxTurns".to_owned(), json!(-1));
        let error = Fields::within("config.", object).count("maxTurns").unwrap_err();
        assert_eq!(error.body("r").more["field"], "config.maxTurns");
    }

    #[test]
    fn a_near_miss_of_a_known_name_is_refused_and_other_unknown_names_are_told() {
        let left = |value: Value| {
            let mut fields = fields(value);
            let inner = fields.object("config").unwrap();
            let mut inner = Fields::within("config.", inner);
            inner.text("resumeSessionId").unwrap();
            fields.note_inner(&inner);
            inner.finish()?;
            fields.count("maxTurns").unwrap();
            fields.finish()
        };
        for (body, field, meant) in [
            (json!({ "maxTurnz": 3 }), "maxTurnz", "maxTurns"),
            (json!({ "max_turns": 3 }), "max_turns", "maxTurns"),
            (json!({ "resumeSessionId": "x" }), "resumeSessionId", "config.resumeSessionId"),
            (
                json!({ "config": { "resumeSessionID": "x" } }),
                "config.resumeSessionID",
                "config.resumeSessionId",
            ),
        ] {
            let error = left(body).unwrap_err();
            assert_eq!(error.code(), "unknown_field");
            let body = error.body("r");
            assert_eq!(body.error, format!("there is no field {field}: did you mean {meant}?"));
            assert_eq!((&body.more["field"], &body.more["meant"]), (&json!(field), &json!(meant)));
        }
        assert_eq!(left(json!({ "models": [], "x": 1, "y": null })).unwrap().0, ["models", "x"]);
        assert!(left(json!({ "maxTurns": 3, "config": { "model": "m" } })).unwrap().is_empty());
    }

    #[test]
    fn of_many_unknown_names_and_long_ones_a_part_is_told() {
        let many: Object =
            (0..1000).map(|n| (format!("{n}{}", "x".repeat(999)), json!(1))).collect();
        let Ignored(names) = Fields::within("", many).finish().unwrap();
        assert_eq!(names.len(), MAX_IGNORED);
        assert!(names.iter().all(|name| name.len() == MAX_NAME));
    }
}
