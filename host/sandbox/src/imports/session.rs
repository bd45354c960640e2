//! `dormouse:agent/session`: what an agent may know of the session that it serves.
//!
//! The world of the call answers with a view that stays the same for all of the call, but for the checkpoint that
//! the guest sets itself; so this waits for nothing and gives the same answers when the turn is run again.

use serde_json::Value as Json;
use wasmtime::StoreContextMut;

use super::contract::session::{CheckpointError, Limits, Pattern, Usage, Value};
use super::interface::{HostWork, Interface};
use super::price;
use super::text::GuestText;
use crate::fuel::charge;
use crate::guest::Guest;
use dormouse_domain::creation::MAX_DOCUMENT;
use dormouse_domain::json;
use dormouse_domain::limits::NanoUsd;
use dormouse_domain::pattern;
use dormouse_domain::session::{JsonObject, bytes_of};

/// The longest key that is looked for, in bytes: a configuration has no more in all.
const MAX_KEY: usize = 64 << 10;

/// Link the interface.
pub(super) fn link(interface: &mut Interface<'_>) -> wasmtime::Result<()> {
    interface.simple("get-id", 0, |guest, (): ()| Ok((guest.turn()?.session().id.to_owned(),)))?;
    interface.simple("get-pattern", 0, |guest, (): ()| {
        Ok((match guest.turn()?.session().pattern {
            pattern::Pattern::Ephemeral => Pattern::Ephemeral,
            pattern::Pattern::LongRunning => Pattern::LongRunning,
            pattern::Pattern::Hybrid => Pattern::Hybrid,
            pattern::Pattern::SingleContainer => Pattern::SingleContainer,
        },))
    })?;
    interface.simple("get-limits", 0, |guest, (): ()| Ok((limits(guest)?,)))?;
    interface.simple("get-usage", 0, |guest, (): ()| Ok((usage(guest)?,)))?;
    interface.metered("get-config", get_config)?;
    interface.metered("get-context", get_context)?;
    interface.metered("get-checkpoint", get_checkpoint)?;
    interface.metered("set-checkpoint", set_checkpoint)
}

fn limits(guest: &mut Guest) -> wasmtime::Result<Limits> {
    let limits = guest.turn()?.session().limits;
    Ok(Limits {
        turns: limits.max_turns,
        cost: limits.max_budget.map(nano_usd),
        fuel: limits.max_fuel,
        fuel_per_turn: limits.max_fuel_per_turn,
        memory: limits.max_memory_bytes,
    })
}

fn usage(guest: &mut Guest) -> wasmtime::Result<Usage> {
    let usage = guest.turn()?.session().usage;
    Ok(Usage {
        turns: usage.turns,
        cost: nano_usd(usage.cost),
        fuel: usage.fuel,
        input_tokens: usage.input_tokens,
        output_tokens: usage.output_tokens,
        cached_tokens: usage.cached_tokens,
    })
}

fn get_config(
    mut store: StoreContextMut<'_, Guest>,
    (key,): (GuestText,),
) -> HostWork<'_, (Option<Value>,)> {
    Box::pin(async move {
        if key.len() > MAX_KEY {
            return Ok((None,));
        }
        charge(&mut store, price::of(key.len(), price::BYTE)).await?;
        let key = key.read(&store)?.into_owned();
        let found = store.data_mut().turn()?.session().config.get(&key).map(value);
        // What a configuration may hold bounds what was made for it.
        let bytes = match &found {
            Some(Value::Text(text)) => price::of(text.len(), price::BYTE),
            Some(Value::Json(json)) => price::of(json.len(), price::JSON_BYTE),
            Some(Value::Null | Value::Boolean(_) | Value::Integer(_) | Value::Number(_)) | None => {
                0
            }
        };
        charge(&mut store, bytes).await?;
        Ok((found,))
    })
}

fn get_context(mut store: StoreContextMut<'_, Guest>, (): ()) -> HostWork<'_, (String,)> {
    Box::pin(async move {
        let context = serde_json::to_string(store.data_mut().turn()?.session().context)?;
        // What a context document may hold bounds what was made of it.
        charge(&mut store, price::of(context.len(), price::JSON_BYTE)).await?;
        Ok((context,))
    })
}

fn get_checkpoint(
    mut store: StoreContextMut<'_, Guest>,
    (): (),
) -> HostWork<'_, (Option<String>,)> {
    Box::pin(async move {
        let checkpoint = store.data_mut().turn()?.checkpoint();
        let checkpoint = checkpoint.map(serde_json::to_string).transpose()?;
        // What a checkpoint may hold bounds what was made of it.
        let bytes = checkpoint.as_ref().map_or(0, String::len);
        charge(&mut store, price::of(bytes, price::JSON_BYTE)).await?;
        Ok((checkpoint,))
    })
}

fn set_checkpoint(
    mut store: StoreContextMut<'_, Guest>,
    (checkpoint,): (GuestText,),
) -> HostWork<'_, (Result<(), CheckpointError>,)> {
    Box::pin(async move {
        if checkpoint.len() > MAX_DOCUMENT {
            return Ok((Err(TOO_LARGE),));
        }
        charge(&mut store, price::of(checkpoint.len(), price::JSON_KEPT_BYTE)).await?;
        let text = checkpoint.read(&store)?.into_owned();
        let checkpoint = if text.len() <= SMALL {
            read_checkpoint(&text)
        } else {
            tokio::task::spawn_blocking(move || read_checkpoint(&text)).await?
        };
        let turn = store.data_mut().turn()?;
        Ok((checkpoint.map(|checkpoint| turn.set_checkpoint(checkpoint)),))
    })
}

/// A checkpoint of so many bytes is read at once, on the thread that the guest runs on.
const SMALL: usize = 4 << 10;

const TOO_LARGE: CheckpointError = CheckpointError::TooLarge(MAX_DOCUMENT as u64);

/// A checkpoint has the bounds that clients have, who may set it as well: as the host writes it, which may
/// take more bytes than it came with (`1E5` becomes `100000.0`).
fn read_checkpoint(text: &str) -> Result<JsonObject, CheckpointError> {
    let invalid = |error: &dyn std::fmt::Display| CheckpointError::Invalid(error.to_string());
    json::check(text).map_err(|error| invalid(&error))?;
    match serde_json::from_str(text).map_err(|error| invalid(&error))? {
        Json::Object(object) if bytes_of(&object) > MAX_DOCUMENT => Err(TOO_LARGE),
        Json::Object(object) => Ok(object),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Array(_) => {
            Err(invalid(&"it is not an object"))
        }
    }
}

fn nano_usd(amount: NanoUsd) -> u64 {
    u64::try_from(amount.0).unwrap_or(0)
}

fn value(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Boolean(*value),
        Json::Number(number) => match number.as_i64() {
            Some(integer) => Value::Integer(integer),
            // Beyond 64 bits with a sign: as near as a float comes.
            None => Value::Number(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::Text(text.clone()),
        Json::Array(_) | Json::Object(_) => Value::Json(json.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_kind_of_json_has_its_kind_of_value() {
        assert!(matches!(value(&json!(null)), Value::Null));
        assert!(matches!(value(&json!(true)), Value::Boolean(true)));
        assert!(matches!(value(&json!(-7)), Value::Integer(-7)));
        assert!(matches!(value(&json!(0.5)), Value::Number(half) if half == 0.5));
        assert!(matches!(value(&json!(u64::MAX)), Value::Number(large) if large > 1e19));
        assert!(matches!(value(&json!("a")), Value::Text(text) if text == "a"));
        assert!(matches!(value(&json!({"a": [1]})), Value::Json(text) if text == r#"{"a":[1]}"#));
    }

    #[test]
    fn a_checkpoint_is_an_object_within_the_bounds_that_a_client_has() {
        let read = |text: &str| read_checkpoint(text).map(|checkpoint| bytes_of(&checkpoint));
        assert_eq!(read(r#" {"step": 3} "#).ok(), Some(r#"{"step":3}"#.len()));
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(100), "]".repeat(100));
        for text in ["", "[]", "7", "{", "null", r#"{"a": 1e999}"#, r#"{"a": "\ud800"}"#, &deep] {
            assert!(matches!(read(text), Err(CheckpointError::Invalid(_))), "{text}");
        }
        let grows = format!("{{\"a\":[{}0]}}", "1E5,".repeat(MAX_DOCUMENT / 5));
        assert!(grows.len() < MAX_DOCUMENT);
        assert!(matches!(read(&grows), Err(CheckpointError::TooLarge(_))));
    }
}
