//! Schemas in words.

use serde_json::Value;

/// A row for each field of an object: its name, its type, whether it is needed, and what it is.
pub(super) fn fields(schema: &Value) -> Vec<Vec<String>> {
    let required = schema["required"].as_array();
    let is_needed = |name: &str| required.is_some_and(|all| all.iter().any(|it| it == name));
    let fields = schema["properties"].as_object().into_iter().flatten();
    let row = |(name, field): (&String, &Value)| {
        let must = if is_needed(name) { "needed" } else { "" };
        let description = field["description"].as_str().unwrap_or_default().replace('\n', " ");
        vec![format!("`{name}`"), type_of(field), must.to_owned(), description + &bounds(field)]
    };
    fields.map(row).collect()
}

/// A type, in words.
pub(super) fn type_of(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
        return format!("[{name}](#{})", name.to_lowercase());
    }
    if let Some(word) = schema["const"].as_str() {
        return format!("`{word}`");
    }
    if schema["enum"].is_array() {
        let words: Vec<_> = words(schema).iter().map(|word| format!("`{word}`")).collect();
        return words.join(", ") + if is_nullable(schema) { " or `null`" } else { "" };
    }
    for keyword in ["anyOf", "oneOf"] {
        if let Some(each) = schema[keyword].as_array() {
            return each.iter().map(type_of).collect::<Vec<_>>().join(" or ");
        }
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => return "any JSON".to_owned(),
    };
    let types: Vec<String> = types.into_iter().map(|name| named(name, schema)).collect();
    types.join(" or ")
}

/// The words of an enumeration.
pub(super) fn words(schema: &Value) -> Vec<&str> {
    schema["enum"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

fn is_nullable(schema: &Value) -> bool {
    schema["enum"].as_array().is_some_and(|words| words.iter().any(Value::is_null))
}

fn named(name: &str, schema: &Value) -> String {
    match (name, schema["format"].as_str()) {
        ("string", Some("uuid")) => "id".to_owned(),
        ("string", Some("date-time")) => "time".to_owned(),
        ("array", _) => format!("list of {}", type_of(&schema["items"])),
        ("object", _) if schema["additionalProperties"].is_object() => {
            format!("object with values of {}", type_of(&schema["additionalProperties"]))
        }
        ("boolean", _) => "`true` or `false`".to_owned(),
        ("null", _) => "`null`".to_owned(),
        (name, _) => name.to_owned(),
    }
}

/// What a schema says of bounds and of the default.
fn bounds(schema: &Value) -> String {
    let told = [
        ("minimum", "At least"),
        ("maximum", "At most"),
        ("maxLength", "Characters at most:"),
        ("maxItems", "Entries at most:"),
        ("default", "Default:"),
    ];
    let told = told.into_iter().filter_map(|(keyword, words)| {
        let value = schema.get(keyword).filter(|value| !value.is_null())?;
        // Of no number that is not negative this says anything.
        (value != 0 || keyword != "minimum").then(|| format!(" {words} `{value}`."))
    });
    told.collect()
}
