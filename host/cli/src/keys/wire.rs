//! Keys on the control socket, with `--json`, and as people read them.

use std::fmt::Write;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use dormouse::AccessKey;

/// What is to be done with keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "camelCase", deny_unknown_fields)]
pub(crate) enum KeyRequest {
    #[serde(rename_all = "camelCase")]
    Create {
        principal: String,
        role: String,
        /// `None`: it does not end by itself.
        expires_in_ms: Option<u64>,
    },
    List,
    Revoke {
        id: String,
    },
}

/// What has come of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum KeyAnswer {
    /// The key, with the secret that is told once.
    Created {
        #[serde(flatten)]
        key: Key,
        secret: String,
    },
    All(Vec<Key>),
    Revoked(Key),
    /// Nothing: it was not done. A sentence that says what to do.
    Refused {
        error: String,
    },
}

/// A key of the API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Key {
    id: String,
    principal: String,
    role: String,
    created_at: String,
    expires_at: Option<String>,
    last_used_at: Option<String>,
}

impl From<AccessKey> for Key {
    fn from(key: AccessKey) -> Key {
        Key {
            id: key.id.to_string(),
            principal: key.principal.0,
            role: key.role.to_string(),
            created_at: key.created_at.to_string(),
            expires_at: key.expires_at.map(|at| at.to_string()),
            last_used_at: key.last_used_at.map(|at| at.to_string()),
        }
    }
}

/// A time as it goes over the wire.
pub(super) fn millis(time: &Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The same, back.
pub(super) fn time(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

impl KeyAnswer {
    /// What there is to tell, without the name of the command.
    pub(crate) fn to_json(&self) -> serde_json::Result<String> {
        #[derive(Serialize)]
        struct Created<'a> {
            #[serde(flatten)]
            key: &'a Key,
            secret: &'a str,
        }
        match self {
            KeyAnswer::Created { key, secret } => serde_json::to_string(&Created { key, secret }),
            KeyAnswer::All(keys) => serde_json::to_string(keys),
            KeyAnswer::Revoked(key) => serde_json::to_string(key),
            KeyAnswer::Refused { .. } => serde_json::to_string(self),
        }
    }

    /// The same for people, which ends with a line feed.
    pub(crate) fn write(&self, out: &mut String) -> std::fmt::Result {
        match self {
            KeyAnswer::Created { key, secret } => write_created(out, key, secret),
            KeyAnswer::All(keys) => write_all(out, keys),
            KeyAnswer::Revoked(key) => {
                let Key { id, principal, role, .. } = key;
                writeln!(
                    out,
                    "revoked {id}, a key of {principal} ({role}): it admits nobody any more"
                )?;
                writeln!(out, "what {principal} has stays")
            }
            KeyAnswer::Refused { error } => writeln!(out, "{error}"),
        }
    }
}

fn write_created(out: &mut String, key: &Key, secret: &str) -> std::fmt::Result {
    let Key { id, principal, role, expires_at, .. } = key;
    writeln!(
        out,
        "The key of {principal}, for `Authorization: Bearer …`. It is shown only once:\n"
    )?;
    writeln!(out, "  {secret}\n")?;
    writeln!(out, "Its id is {id}, and its role {role}.")?;
    if let Some(end) = expires_at {
        writeln!(out, "It admits nobody from {end} on.")?;
    }
    writeln!(out, "As long as there is a key, each caller of the server needs one.")
}

fn write_all(out: &mut String, keys: &[Key]) -> std::fmt::Result {
    if keys.is_empty() {
        return writeln!(
            out,
            "there is no key: unless api-keys is set, everybody who reaches the server operates it"
        );
    }
    let widest = keys.iter().map(|key| key.principal.len()).max().unwrap_or(0);
    let width = widest.max("PRINCIPAL".len());
    let mut line = |columns: [&str; 6]| {
        let [id, principal, role, created, end, used] = columns;
        writeln!(out, "{id:16}  {principal:width$}  {role:6}  {created:24}  {end:24}  {used}")
    };
    line(["ID", "PRINCIPAL", "ROLE", "CREATED", "EXPIRES", "LAST USED"])?;
    for key in keys {
        let end = key.expires_at.as_deref().unwrap_or("never");
        let used = key.last_used_at.as_deref().unwrap_or("never");
        line([&key.id, &key.principal, &key.role, &key.created_at, end, used])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(principal: &str) -> Key {
        Key {
            id: "01f3a09c5be7d264".to_owned(),
            principal: principal.to_owned(),
            role: "user".to_owned(),
            created_at: "2026-01-31T09:30:00.000Z".to_owned(),
            expires_at: None,
            last_used_at: None,
        }
    }

    fn text(answer: &KeyAnswer) -> String {
        let mut out = String::new();
        answer.write(&mut out).expect("it is written to a string");
        out
    }

    #[test]
    fn keys_are_told_in_columns_and_no_key_is_no_empty_table() {
        let told = text(&KeyAnswer::All(vec![key("ann"), key("a-longer-name")]));
        let places: Vec<_> =
            told.lines().map(|line| line.find("user").or(line.find("ROLE"))).collect();
        assert_eq!(places.len(), 3);
        assert!(places.iter().all(|place| *place == places[0] && place.is_some()), "{told}");
        assert!(text(&KeyAnswer::All(Vec::new())).contains("operates it"));
    }

    #[test]
    fn a_secret_is_told_once_and_as_json_beside_its_key() {
        let created = KeyAnswer::Created { key: key("ann"), secret: "dm_secret".to_owned() };
        assert_eq!(text(&created).matches("dm_secret").count(), 1);
        let told: serde_json::Value =
            serde_json::from_str(&created.to_json().expect("it is text")).expect("it is JSON");
        assert_eq!((&told["secret"], &told["principal"]), (&"dm_secret".into(), &"ann".into()));
        let line = serde_json::to_string(&created).expect("it is text");
        assert_eq!(serde_json::from_str::<KeyAnswer>(&line).ok(), Some(created));
    }
}
