//! A key of the API as admins see it.

use schemars::JsonSchema;
use serde::Serialize;

use super::value::{Time, Word};
use dormouse::{AccessKey, CreatedKey, Role};

/// A key, without its secret.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Key")]
pub(crate) struct KeyBody {
    id: String,
    principal: String,
    #[schemars(with = "Word<Role>")]
    role: &'static str,
    #[schemars(with = "Time")]
    created_at: String,
    /// `null`: it does not end by itself.
    #[schemars(with = "Option<Time>")]
    expires_at: Option<String>,
    /// `null`: nobody has called with it yet.
    #[schemars(with = "Option<Time>")]
    last_used_at: Option<String>,
}

impl From<AccessKey> for KeyBody {
    fn from(key: AccessKey) -> KeyBody {
        KeyBody {
            id: key.id.to_string(),
            principal: key.principal.0,
            role: key.role.as_str(),
            created_at: key.created_at.to_string(),
            expires_at: key.expires_at.map(|at| at.to_string()),
            last_used_at: key.last_used_at.map(|at| at.to_string()),
        }
    }
}

/// A key that was created, with the secret that is told once.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "CreatedKey")]
pub(crate) struct CreatedKeyBody {
    #[serde(flatten)]
    key: KeyBody,
    secret: String,
}

impl From<CreatedKey> for CreatedKeyBody {
    fn from(created: CreatedKey) -> CreatedKeyBody {
        let secret = created.secret.as_str().to_owned();
        CreatedKeyBody { key: created.key.into(), secret }
    }
}

/// All keys, the oldest first.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct KeyList {
    pub(crate) keys: Vec<KeyBody>,
    pub(crate) count: usize,
}
