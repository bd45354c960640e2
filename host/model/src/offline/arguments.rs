//! What the offline model gives a tool: the JSON object in the text of the user, or the text itself.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::bound;
use crate::parts::is_object;
use dormouse_domain::model::{ModelError, ModelTool};

/// The JSON object in the text, or the text as each argument that has to be there and may be a text.
pub(super) fn of(tool: &ModelTool, asked: &str) -> Result<String, ModelError> {
    if let (Some(start), Some(end)) = (asked.find('{'), asked.rfind('}'))
        && let Some(object) = asked.get(start..=end)
        && is_object(object)
    {
        return Ok(object.to_owned());
    }
    let schema: Schema<'_> = serde_json::from_str(&tool.schema).unwrap_or_default();
    let required: HashSet<&str> = schema.required.iter().map(|name| &**name).collect();
    let is_text = |name: &&str| schema.properties.get(*name).is_some_and(|it| is_text(it));
    let arguments: BTreeMap<&str, &str> =
        required.into_iter().filter(is_text).map(|name| (name, asked)).collect();
    bound(arguments.iter().map(|(name, text)| name.len() + text.len()).sum())?;
    let arguments = serde_json::json!(arguments).to_string();
    bound(arguments.len())?;
    Ok(arguments)
}

/// What is read of the schema of a tool.
#[derive(Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
struct Schema<'a> {
    properties: HashMap<Cow<'a, str>, &'a RawValue>,
    required: Vec<Cow<'a, str>>,
}

fn is_text(property: &RawValue) -> bool {
    #[derive(Deserialize)]
    struct Property<'a> {
        #[serde(borrow, rename = "type")]
        kind: Option<&'a RawValue>,
    }

    let property: Option<Property<'_>> = serde_json::from_str(property.get()).ok();
    property.and_then(|property| property.kind).is_some_and(|kind| kind.get() == "\"string\"")
}
