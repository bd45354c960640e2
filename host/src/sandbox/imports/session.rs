//! `dormouse:agent/session`: what an agent may know of the session that it serves.
//!
//! It answers from a view that was taken when the turn began, so it waits for nothing and gives the
//! same answers when the turn is run again.

use serde_json::Value as Json;

use super::contract::session::{Host, Limits, Pattern, Usage, Value};
use crate::sandbox::guest::Guest;
use crate::session::limits::NanoUsd;
use crate::session::pattern;

impl Host for Guest {
    fn get_id(&mut self) -> wasmtime::Result<String> {
        Ok(self.turn()?.session.id.clone())
    }

    fn get_pattern(&mut self) -> wasmtime::Result<Pattern> {
        Ok(match self.turn()?.session.pattern {
            pattern::Pattern::Ephemeral => Pattern::Ephemeral,
            pattern::Pattern::LongRunning => Pattern::LongRunning,
            pattern::Pattern::Hybrid => Pattern::Hybrid,
            pattern::Pattern::SingleContainer => Pattern::SingleContainer,
        })
    }

    fn get_config(&mut self, key: String) -> wasmtime::Result<Option<Value>> {
        Ok(self.turn()?.session.config.get(&key).map(value))
    }

    fn get_limits(&mut self) -> wasmtime::Result<Limits> {
        let limits = &self.turn()?.session.limits;
        Ok(Limits {
            turns: limits.max_turns,
            cost: limits.max_budget.map(nano_usd),
            fuel: limits.max_fuel,
            fuel_per_turn: limits.max_fuel_per_turn,
            memory: limits.max_memory_bytes,
        })
    }

    fn get_usage(&mut self) -> wasmtime::Result<Usage> {
        let usage = &self.turn()?.session.usage;
        Ok(Usage {
            turns: usage.turns,
            cost: nano_usd(usage.cost),
            fuel: usage.fuel,
            input_tokens: usage.input_tokens,
            output_tokens: usage.output_tokens,
            cached_tokens: usage.cached_tokens,
        })
    }

    fn get_context(&mut self) -> wasmtime::Result<String> {
        Ok(serde_json::to_string(&self.turn()?.session.context)?)
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
}
