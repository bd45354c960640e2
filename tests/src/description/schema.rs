//! Checks a JSON document against a schema, as far as the description of the API makes use of JSON Schema
//! 2020-12. A keyword that is not known here fails the check: nothing is passed over.
//!
//! A crate that knows all of JSON Schema changes the features of crates that the engine of the guests is made of, so
//! that each tester compiles that twice. `tests/schemathesis` has its own implementation, which knows everything.

use serde_json::{Map, Value};

/// Whether a document is as the schema says, which stands in this description.
///
/// # Errors
/// What is wrong, with its place in the document.
pub(super) fn check(description: &Value, schema: &Value, document: &Value) -> Result<(), String> {
    Checker { description }.at("", schema, document)
}

struct Checker<'a> {
    description: &'a Value,
}

impl Checker<'_> {
    /// Check the value at this place.
    fn at(&self, place: &str, schema: &Value, value: &Value) -> Result<(), String> {
        let keywords = match schema {
            Value::Bool(true) => return Ok(()),
            Value::Object(keywords) => keywords,
            _ => return Err(format!("{place}: nothing may stand here")),
        };
        for (keyword, of) in keywords {
            let problem = match keyword.as_str() {
                "description" | "title" | "default" | "required" => None,
                "$ref" => {
                    let path = of.as_str().unwrap_or_default().trim_start_matches('#');
                    let named = self.description.pointer(path).expect("the type is there");
                    self.at(place, named, value)?;
                    None
                }
                "type" => (!is_of_type(of, value)).then(|| format!("is not of the type {of}")),
                "enum" => {
                    let is_one = of.as_array().is_some_and(|words| words.contains(value));
                    (!is_one).then(|| format!("is none of {of}"))
                }
                "const" => (of != value).then(|| format!("is not {of}")),
                "format" => (!has_format(of, value)).then(|| format!("is no {of}")),
                "minimum" => {
                    let (least, number) = (of.as_f64(), value.as_f64());
                    (number < least && number.is_some()).then(|| format!("is less than {of}"))
                }
                "maximum" => (value.as_f64() > of.as_f64()).then(|| format!("is more than {of}")),
                "items" => self.items(place, of, value)?,
                "properties" => self.object(place, keywords, value)?,
                "additionalProperties" if keywords.contains_key("properties") => None,
                "additionalProperties" => self.others(place, of, value)?,
                "allOf" => {
                    each(of).try_for_each(|one| self.at(place, one, value))?;
                    None
                }
                "anyOf" | "oneOf" => self.one_of(place, keyword, of, value),
                unknown => panic!("{unknown} is a keyword that the check does not know"),
            };
            if let Some(problem) = problem {
                return Err(format!("{place}: {value} {problem}"));
            }
        }
        Ok(())
    }

    fn items(&self, place: &str, of: &Value, value: &Value) -> Result<Option<String>, String> {
        for (number, item) in each(value).enumerate() {
            self.at(&format!("{place}/{number}"), of, item)?;
        }
        Ok(None)
    }

    /// The fields of an object: those that it has to have, those that it may have, and the others.
    fn object(
        &self,
        place: &str,
        keywords: &Map<String, Value>,
        value: &Value,
    ) -> Result<Option<String>, String> {
        let Value::Object(fields) = value else { return Ok(None) };
        let required = keywords.get("required").map(each).into_iter().flatten();
        if let Some(missing) =
            required.filter_map(Value::as_str).find(|name| !fields.contains_key(*name))
        {
            return Err(format!("{place}: {missing} is missing"));
        }
        let known = &keywords["properties"];
        for (name, field) in fields {
            let place = format!("{place}/{name}");
            match (known.get(name), keywords.get("additionalProperties")) {
                (Some(schema), _) | (None, Some(schema)) => self.at(&place, schema, field)?,
                (None, None) => {}
            }
        }
        Ok(None)
    }

    /// The fields of an object that has no known ones.
    fn others(&self, place: &str, of: &Value, value: &Value) -> Result<Option<String>, String> {
        for (name, field) in value.as_object().into_iter().flatten() {
            self.at(&format!("{place}/{name}"), of, field)?;
        }
        Ok(None)
    }

    /// How many of several schemas a value fits: of `oneOf` exactly one.
    fn one_of(&self, place: &str, keyword: &str, of: &Value, value: &Value) -> Option<String> {
        let checked: Vec<_> = each(of).map(|one| self.at(place, one, value)).collect();
        match checked.iter().filter(|it| it.is_ok()).count() {
            0 => {
                let problems: Vec<_> = checked.into_iter().filter_map(Result::err).collect();
                Some(format!("fits no form:\n  {}", problems.join("\n  ")))
            }
            1 => None,
            several => (keyword == "oneOf").then(|| format!("fits {several} forms")),
        }
    }
}

fn each(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn is_of_type(of: &Value, value: &Value) -> bool {
    let is = |name: &Value| match name.as_str().unwrap_or_default() {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "number" => value.is_number(),
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        unknown => panic!("{unknown} is a type that the check does not know"),
    };
    match of {
        Value::Array(names) => names.iter().any(is),
        name => is(name),
    }
}

fn has_format(of: &Value, value: &Value) -> bool {
    match (of.as_str().unwrap_or_default(), value) {
        ("uuid", Value::String(text)) => text.len() == 36 && text.matches('-').count() == 4,
        // With milliseconds, and in UTC.
        ("date-time", Value::String(text)) => {
            text.len() == 24 && text.ends_with('Z') && text.as_bytes()[10] == b'T'
        }
        ("uuid" | "date-time", _) => true,
        ("uint" | "uint8" | "uint16" | "uint32" | "uint64" | "int64" | "double", _) => true,
        (unknown, _) => panic!("{unknown} is a format that the check does not know"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_field_that_is_not_described_or_missing_or_of_another_type_is_found() {
        let description = json!({ "types": { "Pet": {
            "type": "object",
            "properties": { "name": { "type": "string" }, "age": { "type": ["integer", "null"] } },
            "required": ["name"],
            "additionalProperties": false,
        } } });
        let schema = json!({ "type": "array", "items": { "$ref": "#/types/Pet" } });
        let checked = |document: Value| check(&description, &schema, &document);
        assert_eq!(
            checked(json!([{ "name": "a", "age": null }, { "name": "b", "age": 7 }])),
            Ok(())
        );
        for wrong in [
            json!({}),
            json!([{ "age": 1 }]),
            json!([{ "name": "a", "age": 0.5 }]),
            json!([{ "name": "a", "color": "red" }]),
        ] {
            assert!(checked(wrong.clone()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_value_fits_one_of_several_forms() {
        let words = json!({ "oneOf": [{ "const": "a" }, { "enum": ["a", "b"] }] });
        let checked = |document: Value| check(&json!({}), &words, &document).is_ok();
        assert!(checked(json!("b")) && !checked(json!("a")) && !checked(json!("c")));
    }
}
