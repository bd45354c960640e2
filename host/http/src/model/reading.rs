//! A JSON object as a request holds it, read into types, so that what is wrong is named.
//!
//! The fields that a type has are known from its `Deserialize` alone ([`names_of`]). A body is read into
//! one such type, or into several of which each takes its own fields ([`Body`]). The names that no type
//! has taken are unknown: the near miss of a known name is refused, and the answer tells the others.

use std::borrow::Cow;
use std::fmt::Display;

use serde::Deserializer;
use serde::de::value::{Error as NoStruct, MapDeserializer};
use serde::de::{DeserializeOwned, Error, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::Value;
use serde_path_to_error::{Path, Segment};

use super::ignored::Ignored;
use crate::error::ApiError;
use dormouse::JsonObject;
use dormouse_domain::spelling::near_miss;

/// The most fields of an object. Each unknown name is compared with all known ones, and that is what
/// takes time. A configuration whose bytes are in their bounds has fewer.
const MAX_FIELDS: usize = 10_000;

/// The body of a request, as a type. A type that derives `Deserialize` is one; a type that is made of
/// several such types takes each of them.
pub(crate) trait Body: Sized + Send + 'static {
    /// Take the fields of this body out of the object that the reader holds.
    ///
    /// # Errors
    /// A field has a value that its type does not take, or asks for what this version does not do.
    fn read(reader: &mut FieldReader<'_>) -> Result<Self, ApiError>;
}

impl<T: DeserializeOwned + Send + 'static> Body for T {
    fn read(reader: &mut FieldReader<'_>) -> Result<T, ApiError> {
        reader.take()
    }
}

/// Read a whole body. Returns the names that it has and the host does not know as well.
///
/// # Errors
/// Those of [`Body::read`]; or a name is a near miss of a known one, or belongs into an object of the body;
/// or there are too many names.
pub(crate) fn read<T: Body>(object: JsonObject) -> Result<(T, Ignored), ApiError> {
    let mut reader = FieldReader::within("", Cow::Owned(object));
    let body = T::read(&mut reader)?;
    Ok((body, reader.finish()?))
}

/// The fields of a request, or of an object in it. `null` is as good as absent.
pub(crate) struct FieldReader<'a> {
    /// A type takes its fields out of an object that belongs to the reader, and copies those of another.
    object: Cow<'a, JsonObject>,
    /// What stands before the names of these fields in messages: `config.` or nothing.
    prefix: &'static str,
    /// The names of the fields of all types that were read.
    known: Vec<&'static str>,
    /// Names that are known in an object of the request, with the name of that object before them.
    inner: Vec<String>,
}

impl FieldReader<'_> {
    fn within<'a>(prefix: &'static str, object: Cow<'a, JsonObject>) -> FieldReader<'a> {
        FieldReader { object, prefix, known: Vec::new(), inner: Vec::new() }
    }

    /// Take the fields of this type out of the object.
    ///
    /// # Errors
    /// A field has a value that its type does not take.
    pub(crate) fn take<T: DeserializeOwned>(&mut self) -> Result<T, ApiError> {
        self.take_where(|value| !value.is_null())
    }

    /// The same for a type that knows `null` from what is absent.
    ///
    /// # Errors
    /// A field has a value that its type does not take.
    pub(crate) fn take_with_nulls<T: DeserializeOwned>(&mut self) -> Result<T, ApiError> {
        self.take_where(|_| true)
    }

    fn take_where<T: DeserializeOwned>(
        &mut self,
        is_given: impl Fn(&Value) -> bool,
    ) -> Result<T, ApiError> {
        let names = names_of::<T>();
        self.known.extend(names);
        let given = names.iter().filter_map(|name| Some((*name, self.value(name)?)));
        let given = MapDeserializer::new(given.filter(|(_, value)| is_given(value)));
        serde_path_to_error::deserialize::<_, T>(given)
            .map_err(|error| unreadable(self.prefix, error.path(), error.inner()))
    }

    fn value(&mut self, name: &str) -> Option<Value> {
        match &mut self.object {
            Cow::Owned(object) => object.remove(name),
            Cow::Borrowed(object) => object.get(name).cloned(),
        }
    }

    /// Read an object that the request has under the name `prefix`, which ends with a dot. Names that no
    /// type knows may stand in it. Its known names are misplaced outside of it.
    ///
    /// # Errors
    /// Those of [`read`].
    pub(crate) fn inner<T: Body>(
        &mut self,
        prefix: &'static str,
        object: &JsonObject,
    ) -> Result<T, ApiError> {
        let mut inner = FieldReader::within(prefix, Cow::Borrowed(object));
        let body = T::read(&mut inner)?;
        self.inner.extend(inner.known.iter().map(|name| inner.full_name(name)));
        self.inner.extend(inner.inner.iter().map(|name| inner.full_name(name)));
        inner.finish()?;
        Ok(body)
    }

    /// All types have been read. Returns the names that are left.
    fn finish(self) -> Result<Ignored, ApiError> {
        if self.object.len() > MAX_FIELDS {
            let name = self.prefix.strip_suffix('.').unwrap_or("body");
            let problem = format!("may have {MAX_FIELDS} fields at most");
            return Err(ApiError::invalid_field(name, problem));
        }
        let given = self.object.iter().filter(|(_, value)| !value.is_null());
        let unknown = given.filter(|(name, _)| !self.known.contains(&name.as_str()));
        let mut ignored = Ignored::default();
        for (name, _) in unknown {
            if let Some(meant) = self.meant(name) {
                return Err(ApiError::unknown_field(self.full_name(name), meant));
            }
            ignored.push(name);
        }
        Ok(ignored)
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
}

/// The answer to a value that its type does not take. It names the field that holds the value, and the
/// place of the value in that field.
pub(super) fn unreadable(prefix: &str, path: &Path, error: &impl Display) -> ApiError {
    let field = match path.iter().next() {
        Some(Segment::Map { key }) => key.as_str(),
        Some(Segment::Seq { .. } | Segment::Enum { .. } | Segment::Unknown) | None => "",
    };
    let place = format!("{prefix}{path}");
    ApiError::unreadable(format!("{prefix}{field}"), &place, &problem(&error.to_string()))
}

/// What is wrong with a value, from the message of serde: `invalid type: …, expected a string`.
fn problem(message: &str) -> String {
    let Some((_, expected)) = message.rsplit_once(", expected ") else {
        return message.to_owned();
    };
    let expected = match expected {
        "a boolean" => "true or false",
        "a sequence" => "a list",
        "a map" => "an object",
        expected => expected,
    };
    format!("must be {expected}")
}

/// The names of the fields of a struct, as its `Deserialize` knows them.
pub(crate) fn names_of<T: DeserializeOwned>() -> &'static [&'static str] {
    let mut names: &'static [&'static str] = &[];
    // It gives no value, so this fails once it has the names.
    drop(T::deserialize(Names(&mut names)));
    names
}

/// The names of all fields that a body may have. Those of an object in it stand behind its own name.
#[cfg(test)]
pub(super) fn names_of_body<T: Body>() -> Vec<String> {
    let mut reader = FieldReader::within("", Cow::Owned(JsonObject::new()));
    // What has to be there is asked for by handlers.
    assert!(T::read(&mut reader).is_ok(), "a body with nothing in it can be read");
    reader.known.into_iter().map(str::to_owned).chain(reader.inner).collect()
}

/// Notes which fields a struct asks for.
struct Names<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Names<'_> {
    type Error = NoStruct;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, NoStruct> {
        *self.0 = fields;
        Err(NoStruct::custom("only its names are wanted"))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, NoStruct> {
        Err(NoStruct::custom("this is no struct"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::value::Count;
    use serde::Deserialize;
    use serde_json::json;

    #[derive(Debug, Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Outer {
        max_turns: Option<Count>,
        tags: Vec<String>,
        streaming: Option<bool>,
        config: JsonObject,
    }

    #[derive(Debug, Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Inner {
        resume_session_id: Option<String>,
        max_turns: Option<Count>,
    }

    /// A body of two types, the second of which stands in an object of the first.
    #[derive(Debug)]
    struct Both(Outer);

    impl Body for Both {
        fn read(reader: &mut FieldReader<'_>) -> Result<Both, ApiError> {
            let outer: Outer = reader.take()?;
            reader.inner::<Inner>("config.", &outer.config)?;
            Ok(Both(outer))
        }
    }

    fn read_both(value: Value) -> Result<(Both, Ignored), ApiError> {
        let Value::Object(object) = value else { panic!("tests write objects") };
        read(object)
    }

    #[test]
    fn the_names_of_a_type_are_those_that_it_reads() {
        assert_eq!(names_of::<Outer>(), ["maxTurns", "tags", "streaming", "config"]);
        assert!(names_of::<String>().is_empty());
    }

    #[test]
    fn a_value_of_another_type_is_refused_by_the_name_of_its_field() {
        for (body, field, sentence) in [
            (json!({ "maxTurns": -1 }), "maxTurns", "maxTurns must be an integer, 0 or more"),
            (json!({ "tags": "one" }), "tags", "tags must be a list"),
            (json!({ "tags": ["a", 1] }), "tags", "tags[1] must be a string"),
            (json!({ "streaming": 1 }), "streaming", "streaming must be true or false"),
            (json!({ "config": [] }), "config", "config must be an object"),
            (
                json!({ "config": { "maxTurns": "7" } }),
                "config.maxTurns",
                "config.maxTurns must be an integer, 0 or more",
            ),
        ] {
            let error = read_both(body).unwrap_err();
            assert_eq!(error.code(), "invalid_field");
            let body = error.body("r");
            assert_eq!((&body.more["field"], body.error.as_str()), (&json!(field), sentence));
        }
    }

    #[test]
    fn null_is_absent() {
        let body = json!({ "maxTurns": null, "tags": null, "config": null, "other": null });
        let (Both(outer), ignored) = read_both(body).unwrap();
        assert!(outer.max_turns.is_none() && outer.tags.is_empty() && ignored.is_empty());
    }

    #[test]
    fn a_near_miss_of_a_known_name_is_refused_and_other_unknown_names_are_told() {
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
            let error = read_both(body).unwrap_err();
            assert_eq!(error.code(), "unknown_field");
            let body = error.body("r");
            assert_eq!(body.error, format!("there is no field {field}: did you mean {meant}?"));
            assert_eq!((&body.more["field"], &body.more["meant"]), (&json!(field), &json!(meant)));
        }
        let (_, ignored) = read_both(json!({ "models": [], "x": 1, "y": null })).unwrap();
        assert_eq!(ignored.names(), ["models", "x"]);
        let known = json!({ "maxTurns": 3, "config": { "model": "m" } });
        assert!(read_both(known).unwrap().1.is_empty());
    }

    #[test]
    fn a_body_and_an_object_in_it_have_a_bounded_number_of_fields() {
        let fields = |count: usize| -> JsonObject {
            (0..count).map(|number| (format!("{number:x}"), json!(0))).collect()
        };
        let within = |count| json!({ "config": fields(count) });
        assert!(read_both(Value::Object(fields(MAX_FIELDS))).is_ok());
        assert!(read_both(within(MAX_FIELDS)).is_ok());
        for (body, field) in
            [(Value::Object(fields(MAX_FIELDS + 1)), "body"), (within(MAX_FIELDS + 1), "config")]
        {
            let error = read_both(body).unwrap_err();
            assert_eq!(
                (error.code(), &error.body("r").more["field"]),
                ("invalid_field", &json!(field))
            );
        }
    }
}
