//! `dormouse:agent/session`: what an agent may know of the session that it serves.
//!
//! The world of the call answers with a view that stays the same for all of the call, so this waits for
//! nothing and gives the same answers when the turn is run again.

use serde_json::Value as Json;
use wasmtime::StoreContextMut;

use super::contract::session::{Limits, Pattern, Usage, Value};
use super::interface::{HostWork, Interface};
use super::price;
use super::text::GuestText;
use crate::fuel::charge;
use crate::guest::Guest;
use dormouse_domain::limits::NanoUsd;
use dormouse_domain::pattern;

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
    interface.metered("get-context", get_context)
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
}
