//! What the API is configured with.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use super::cors::Origin;
use dormouse::{Access, Principal, Role};
use dormouse_base::telemetry::Metrics;
use dormouse_domain::access::is_principal;

/// What the API is configured with. Every value has a default.
#[derive(Clone, Debug)]
pub struct ApiOptions {
    /// Keys that are configured, besides those that the host keeps ([`dormouse::Keys`]). Where there are
    /// neither, everybody that reaches the server may call, as [`Principal::local`], and operates the host.
    pub keys: Vec<ApiKey>,
    /// Whether a caller needs a key also where there is none: then nobody can call until the first is
    /// created. For servers that others can reach.
    pub needs_keys: bool,
    /// How many requests one principal may send in a minute, over all its keys. `None`: as many as it likes.
    pub max_requests_per_minute: Option<NonZeroU32>,
    /// Names that this server answers to besides those of the loopback: `example.org` for any
    /// port, or `example.org:8080`.
    pub allowed_hosts: Vec<String>,
    /// Origins of web pages that may call this server, besides its own.
    pub allowed_origins: Vec<Origin>,
    /// The most bytes of a JSON body.
    pub max_body: usize,
    /// How long a client may take to send a JSON body; an upload may take ten times that.
    pub body_timeout: Duration,
    /// Requests under way at a time, open streams included; one more is answered `503`.
    pub max_requests: usize,
    /// Connections at a time. One more takes the place of the client that has left the server waiting
    /// for the longest; where all clients wait for the server, it is served what operators ask for, and
    /// nothing else.
    pub max_connections: usize,
    /// How long a client may take to send the head of a request, and from its connection to the first
    /// one.
    pub head_timeout: Duration,
    /// How long a connection without a request stays open: longer than proxies keep theirs, or they
    /// would send requests to one that is being closed.
    pub keep_alive: Duration,
    /// How often an open stream that has nothing to say says so.
    pub heartbeat: Duration,
    /// How long a client may take to read the next piece of an answer (64 KiB, or one event of a
    /// stream) before it is disconnected.
    pub stall_timeout: Duration,
    /// How long requests and streams may go on once the server shuts down.
    pub drain: Duration,
    /// What `/metrics` shows. `None`: nothing is collected.
    pub metrics: Option<Metrics>,
}

impl Default for ApiOptions {
    fn default() -> ApiOptions {
        ApiOptions {
            keys: Vec::new(),
            needs_keys: false,
            max_requests_per_minute: None,
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            max_body: 10 * 1024 * 1024,
            body_timeout: Duration::from_secs(30),
            max_requests: 4_096,
            max_connections: 10_000,
            head_timeout: Duration::from_secs(15),
            keep_alive: Duration::from_secs(75),
            heartbeat: Duration::from_secs(15),
            stall_timeout: Duration::from_secs(30),
            drain: Duration::from_secs(5),
            metrics: None,
        }
    }
}

/// A key of the configuration: the principal that it stands for, its role, and the BLAKE3 hash of it. Keys
/// are random, so a plain hash tells nothing. As text: `name:hash`, or `name:hash:role`.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    access: Access,
    hash: [u8; 32],
}

impl ApiKey {
    /// This key, for this principal, of the role *user*.
    #[must_use]
    pub fn new(principal: Principal, key: &str) -> ApiKey {
        let hash = *blake3::hash(key.as_bytes()).as_bytes();
        ApiKey { access: Access::user(principal), hash }
    }

    /// The same with this role.
    #[must_use]
    pub fn role(mut self, role: Role) -> ApiKey {
        self.access.role = role;
        self
    }

    /// The principal that calls with it.
    #[must_use]
    pub fn principal(&self) -> &Principal {
        &self.access.principal
    }

    /// What the caller with this key may do. Compares it with all keys, in the same time whichever fits.
    pub(super) fn find<'a>(keys: &'a [ApiKey], key: &str) -> Option<&'a Access> {
        let hash = *blake3::hash(key.as_bytes()).as_bytes();
        let (mut found, mut place) = (Choice::from(0), 0_u64);
        for (candidate, at) in keys.iter().zip(0_u64..) {
            let same = candidate.hash.ct_eq(&hash);
            place.conditional_assign(&at, same);
            found |= same;
        }
        let place = usize::try_from(place).ok()?;
        bool::from(found).then(|| keys.get(place)).flatten().map(|key| &key.access)
    }
}

/// `name:hash` or `name:hash:role`, which is how it is configured.
impl fmt::Display for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Access { principal, role } = &self.access;
        write!(f, "{principal}:{}", blake3::Hash::from_bytes(self.hash).to_hex())?;
        match role {
            Role::User => Ok(()),
            Role::Reader | Role::Admin => write!(f, ":{role}"),
        }
    }
}

/// Without the hash, which has no place in a log.
impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKey({})", self.access.principal)
    }
}

/// The text is no key of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a key is written as name:hash or name:hash:role, with 1 to 64 characters of a-z A-Z 0-9 . _ -, 64 \
     hexadecimal digits, and reader, user or admin; `dormouse key` makes one"
)]
pub struct InvalidKey;

impl FromStr for ApiKey {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<ApiKey, InvalidKey> {
        let (name, hash) = text.split_once(':').ok_or(InvalidKey)?;
        let (hash, role) = match hash.split_once(':') {
            Some((hash, role)) => (hash, Role::from_word(role).ok_or(InvalidKey)?),
            None => (hash, Role::User),
        };
        if !is_principal(name) {
            return Err(InvalidKey);
        }
        let hash = *blake3::Hash::from_hex(hash).map_err(|_| InvalidKey)?.as_bytes();
        Ok(ApiKey { access: Access { principal: Principal(name.to_owned()), role }, hash })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str, key: &str) -> ApiKey {
        ApiKey::new(Principal(name.to_owned()), key)
    }

    #[test]
    fn a_key_finds_its_principal_and_any_other_text_none() {
        let keys = [key("ann", "one"), key("ben", "two"), key("cat", "three")];
        let user = |name: &str| Access::user(Principal(name.to_owned()));
        assert_eq!(ApiKey::find(&keys, "one"), Some(&user("ann")));
        assert_eq!(ApiKey::find(&keys, "three"), Some(&user("cat")));
        assert_eq!(ApiKey::find(&keys, "four"), None);
        assert_eq!(ApiKey::find(&[], "one"), None);
    }

    #[test]
    fn a_key_reads_back_from_its_text() {
        let made = key("ann", "secret");
        assert_eq!(made.to_string().split(':').count(), 2);
        assert_eq!(made.to_string().parse(), Ok(made.clone()));
        let admin = made.role(Role::Admin);
        assert!(admin.to_string().ends_with(":admin"));
        let unknown = format!("{admin}s");
        assert_eq!(admin.to_string().parse(), Ok(admin));
        for text in ["", "ann", "ann:", ":00", "a b:00", "ann:zz", &unknown] {
            assert_eq!(text.parse::<ApiKey>(), Err(InvalidKey), "{text}");
        }
    }
}
