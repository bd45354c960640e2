//! A JSON object as a request holds it, read field by field, so that what is wrong is named.

use std::time::Duration;

use serde_json::{Number, Value};

use crate::api::error::ApiError;
use crate::session::id::SnapshotId;
use crate::session::limits::NanoUsd;
use crate::session::record::Object;

/// The largest integer that every JSON number holds exactly.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// The fields of a request, or of an object in it. `null` is as good as absent.
#[derive(Default)]
pub(in crate::api) struct Fields {
    object: Object,
    /// What stands before the names of these fields in messages: `config.` or nothing.
    prefix: &'static str,
}

impl Fields {
    /// The fields of a whole body.
    pub(in crate::api) fn new(object: Object) -> Fields {
        Fields { object, prefix: "" }
    }

    /// The fields of an object within a body, which is named for messages.
    pub(in crate::api) fn within(prefix: &'static str, object: Object) -> Fields {
        Fields { object, prefix }
    }

    /// Whether there is such a field, of any type.
    pub(in crate::api) fn has(&self, name: &str) -> bool {
        self.object.get(name).is_some_and(|value| !value.is_null())
    }

    /// A value of any type, which is taken out.
    pub(in crate::api) fn any(&mut self, name: &str) -> Option<Value> {
        self.object.remove(name).filter(|value| !value.is_null())
    }

    /// A string, which is taken out.
    pub(in crate::api) fn text(&mut self, name: &'static str) -> Result<Option<String>, ApiError> {
        match self.any(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.invalid(name, "must be a string")),
        }
    }

    /// One of these words, which is taken out.
    pub(in crate::api) fn word<T: Copy>(
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
    pub(in crate::api) fn snapshot(&mut self) -> Result<Option<SnapshotId>, ApiError> {
        let name = "snapshotId";
        let Some(id) = self.text(name)? else { return Ok(None) };
        id.parse().map(Some).map_err(|_| self.invalid(name, "must be the id of a snapshot"))
    }

    /// A truth value, which is taken out.
    pub(in crate::api) fn flag(&mut self, name: &'static str) -> Result<Option<bool>, ApiError> {
        match self.any(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(_) => Err(self.invalid(name, "must be true or false")),
        }
    }

    /// An object, which is taken out. Absent: empty.
    pub(in crate::api) fn object(&mut self, name: &'static str) -> Result<Object, ApiError> {
        match self.any(name) {
            None => Ok(Object::new()),
            Some(Value::Object(object)) => Ok(object),
            Some(_) => Err(self.invalid(name, "must be an object")),
        }
    }

    /// A list of strings, which is taken out. Absent: empty.
    pub(in crate::api) fn texts(&mut self, name: &'static str) -> Result<Vec<String>, ApiError> {
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

    /// An integer that is not negative.
    pub(in crate::api) fn count(&self, name: &'static str) -> Result<Option<u64>, ApiError> {
        let problem = "must be an integer, 0 or more";
        match self.object.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Number(number)) => match whole(number) {
                Some(count) => Ok(Some(count)),
                None => Err(self.invalid(name, problem)),
            },
            Some(_) => Err(self.invalid(name, problem)),
        }
    }

    /// A number of milliseconds.
    pub(in crate::api) fn millis(&self, name: &'static str) -> Result<Option<Duration>, ApiError> {
        Ok(self.count(name)?.map(Duration::from_millis))
    }

    /// An amount of US dollars.
    pub(in crate::api) fn money(&self, name: &'static str) -> Result<Option<NanoUsd>, ApiError> {
        let problem = "must be a number of US dollars, 0 or more";
        let amount = match self.object.get(name) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::Number(number)) => number.as_f64().and_then(NanoUsd::from_usd),
            Some(_) => None,
        };
        amount.map(Some).ok_or_else(|| self.invalid(name, problem))
    }

    fn invalid(&self, name: &str, problem: &str) -> ApiError {
        ApiError::invalid_field(format!("{}{name}", self.prefix), problem)
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
        Fields::new(object)
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
        let fields = fields(json!({ "a": 10.0, "b": null, "c": 18_446_744_073_709_551_615_u64 }));
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
}
