//! The environment of a command: `env` of the session's configuration, an object of strings. Pure.
//!
//! Programs that were built for WASI 0.1 get it through an adapter, which traps where it takes more than
//! the adapter has room for. So it is bounded when a session is created; what is stored is taken as it
//! is.

use serde_json::Value;

use dormouse_domain::creation::InvalidField;
use dormouse_domain::session::JsonObject;

/// The most that all variables may take, in bytes: each with its name, its value, and the two signs that
/// C puts between and behind them.
const MAX_BYTES: usize = 1024;

/// Whether this configuration gives an environment that a new session may have.
///
/// # Errors
/// As for `of`, or there is too much of it.
pub fn check(config: &JsonObject) -> Result<(), InvalidField> {
    let bytes: usize = of(config)?.iter().map(|(name, value)| name.len() + value.len() + 2).sum();
    if bytes > MAX_BYTES {
        let problem = format!(
            "takes {bytes} bytes, with two more for each variable; {MAX_BYTES} may be, because \
             programs that were built for WASI 0.1 have no room for more: hand over the rest in the \
             message"
        );
        return Err(InvalidField::new("config.env", problem));
    }
    Ok(())
}

/// The variables that this configuration gives, by name. None, where it has no `env`.
///
/// # Errors
/// `env` is not an object of strings, or something in it cannot be in an environment.
pub(crate) fn of(config: &JsonObject) -> Result<Vec<(String, String)>, InvalidField> {
    let invalid = |problem: String| InvalidField::new("config.env", problem);
    let variables = match config.get("env") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Object(variables)) => variables,
        Some(_) => return Err(invalid("must be an object of strings".to_owned())),
    };
    let variable = |(name, value): (&String, &Value)| {
        let Value::String(value) = value else {
            return Err(invalid(format!("must be an object of strings; '{name}' is none")));
        };
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(invalid(format!(
                "has the name '{}'; a name has a character at least, no `=` and no NUL",
                name.escape_debug()
            )));
        }
        if value.contains('\0') {
            return Err(invalid(format!("has a NUL in the value of '{name}'")));
        }
        Ok((name.clone(), value.clone()))
    };
    variables.iter().map(variable).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn env(value: Value) -> Result<Vec<(String, String)>, InvalidField> {
        let Value::Object(config) = json!({ "env": value, "other": 1 }) else { unreachable!() };
        of(&config)
    }

    #[test]
    fn an_object_of_strings_is_an_environment() {
        let expected = vec![("A".to_owned(), "1=2".to_owned()), ("b".to_owned(), String::new())];
        assert_eq!(env(json!({ "A": "1=2", "b": "" })), Ok(expected));
        assert_eq!(env(Value::Null), Ok(Vec::new()));
        assert_eq!(of(&JsonObject::new()), Ok(Vec::new()));
    }

    #[test]
    fn what_a_program_may_have_no_room_for_is_refused_at_creation_alone() {
        let config = |length: usize| {
            let Value::Object(config) = json!({ "env": { "A": "x".repeat(length), "B": "" } })
            else {
                unreachable!()
            };
            config
        };
        assert_eq!(check(&config(MAX_BYTES - 6)), Ok(()));
        let error = check(&config(MAX_BYTES - 5)).expect_err("it is too long");
        assert!(error.field == "config.env" && error.problem.contains("1024"), "{error:?}");
        assert!(of(&config(MAX_BYTES)).is_ok(), "a session that was created before goes on");
    }

    #[test]
    fn what_is_no_environment_is_refused_by_name() {
        for value in
            [json!([]), json!("A=1"), json!({ "A": 1 }), json!({ "": "x" }), json!({ "A=": "x" })]
        {
            let error = env(value).expect_err("it is none");
            assert_eq!(error.field, "config.env");
        }
        assert!(env(json!({ "A": "\0" })).is_err() && env(json!({ "\0": "" })).is_err());
    }
}
