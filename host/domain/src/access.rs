//! Who may do what: principals, the keys that they show, and the roles of these keys.
//!
//! Each session, agent and template belongs to a [`Principal`]. A caller shows a key; the key says which
//! principal calls, and its role what that caller may do ([`Role`]). All keys of one principal share
//! everything that the principal has.
//!
//! The secret of a key is `dm_<id>_<random>`: the id finds the key with one look-up, and what is kept of the
//! secret is a hash alone. The random part has more than 240 random bits, so a plain hash tells nothing of it.

use std::fmt;
use std::str::FromStr;

use crate::code;
use crate::creation::InvalidField;
use crate::id::Principal;
use crate::time::Timestamp;

/// What stands before the id in the secret of a key.
const PREFIX: &str = "dm_";

/// The most keys that there may be. They are all in memory.
pub const MAX_KEYS: usize = 10_000;

/// The most characters of the name of a principal.
const MAX_NAME: usize = 64;

/// The name of a key: 16 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub [u8; 8]);

impl KeyId {
    /// The key that a secret says that it is of. Whether it is, [`AccessKey::admits`] tells.
    #[must_use]
    pub fn of_secret(secret: &str) -> Option<KeyId> {
        let (id, _) = secret.strip_prefix(PREFIX)?.split_once('_')?;
        id.parse().ok()
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// A text is no id of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the id of a key has 16 hexadecimal digits, such as 01f3a09c5be7d264")]
pub struct InvalidKeyId;

impl FromStr for KeyId {
    type Err = InvalidKeyId;

    /// The one way to write an id: lower case.
    fn from_str(text: &str) -> Result<KeyId, InvalidKeyId> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if text.len() != 16 || !text.bytes().all(is_digit) {
            return Err(InvalidKeyId);
        }
        u64::from_str_radix(text, 16).map(|id| KeyId(id.to_be_bytes())).map_err(|_| InvalidKeyId)
    }
}

/// What the caller with a key may do. Each role may do what the one before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Read what the principal of the key has: each `GET` of the API, and nothing that changes anything.
    Reader,
    /// Create, change and remove what the principal has, and send messages to its sessions.
    User,
    /// Read, change and remove what every principal has, and create, list and revoke keys. What an admin
    /// creates belongs to the principal of the key.
    Admin,
}

impl Role {
    /// All of them.
    pub const ALL: [Role; 3] = [Role::Reader, Role::User, Role::Admin];

    /// The stable word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Reader => "reader",
            Role::User => "user",
            Role::Admin => "admin",
        }
    }

    /// The role of this word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|role| role.as_str() == word)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a caller wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Read what the caller has.
    Read,
    /// Create, change or remove something, or send a message.
    Change,
    /// Read, change or remove what others have.
    SeeAll,
    /// Create, list or revoke keys.
    ManageKeys,
}

impl Action {
    /// The least role that may do this.
    #[must_use]
    pub fn needs(self) -> Role {
        match self {
            Action::Read => Role::Reader,
            Action::Change => Role::User,
            Action::SeeAll | Action::ManageKeys => Role::Admin,
        }
    }
}

/// The role of the caller does not allow what it asked for: nothing was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this needs a key of the role {needed}, and the caller's key has the role {has}")]
pub struct Forbidden {
    /// The least role that may do it.
    pub needed: Role,
    /// The role of the caller.
    pub has: Role,
}

impl Forbidden {
    /// The stable word for it.
    #[must_use]
    pub fn code(&self) -> &'static str {
        code::FORBIDDEN
    }
}

/// Who calls, and what that caller may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// The owner of what the caller creates.
    pub principal: Principal,
    /// What the caller may do.
    pub role: Role,
}

impl Access {
    /// A principal that may do everything with what it has.
    #[must_use]
    pub fn user(principal: Principal) -> Access {
        Access { principal, role: Role::User }
    }

    /// Whoever operates the host: `local`, as an admin.
    #[must_use]
    pub fn operator() -> Access {
        Access { principal: Principal::local(), role: Role::Admin }
    }

    /// Whether the caller may do this.
    ///
    /// # Errors
    /// [`Forbidden`] names the role that may.
    pub fn may(&self, action: Action) -> Result<(), Forbidden> {
        let (needed, has) = (action.needs(), self.role);
        if has >= needed { Ok(()) } else { Err(Forbidden { needed, has }) }
    }

    /// Whether the caller may see what belongs to this principal.
    #[must_use]
    pub fn sees(&self, owner: &Principal) -> bool {
        self.only().is_none_or(|own| own == owner)
    }

    /// The one principal whose things the caller sees. `None`: the caller sees those of all.
    #[must_use]
    pub fn only(&self) -> Option<&Principal> {
        match self.role {
            Role::Reader | Role::User => Some(&self.principal),
            Role::Admin => None,
        }
    }
}

/// A key to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewKey {
    /// Who calls with it: the owner of what that caller creates. Several keys may have one principal.
    pub principal: String,
    /// What that caller may do.
    pub role: Role,
    /// From when on it admits nobody. `None`: it does not end by itself.
    pub expires_at: Option<Timestamp>,
}

impl NewKey {
    /// A key of the role *user* for this principal, which does not end by itself.
    #[must_use]
    pub fn of(principal: impl Into<String>) -> NewKey {
        NewKey { principal: principal.into(), role: Role::User, expires_at: None }
    }

    /// The same with this role.
    #[must_use]
    pub fn role(self, role: Role) -> NewKey {
        NewKey { role, ..self }
    }

    /// The key, once it has a name and a secret.
    ///
    /// # Errors
    /// [`InvalidField`]: the principal has no name that a principal can have, or the end of the key has
    /// come.
    pub fn made(
        self,
        id: KeyId,
        secret: &Secret,
        now: Timestamp,
    ) -> Result<AccessKey, InvalidField> {
        if !is_principal(&self.principal) {
            let problem = "must have 1 to 64 characters of a-z A-Z 0-9 . _ -";
            return Err(InvalidField::new("principal", problem));
        }
        if self.expires_at.is_some_and(|end| end <= now) {
            return Err(InvalidField::new("expiresAt", "must be a time to come"));
        }
        Ok(AccessKey {
            id,
            principal: Principal(self.principal),
            role: self.role,
            hash: secret.hash(),
            created_at: now,
            expires_at: self.expires_at,
            last_used_at: None,
        })
    }
}

/// A key of the API, as it is kept: without its secret.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessKey {
    /// Its name.
    pub id: KeyId,
    /// Who calls with it.
    pub principal: Principal,
    /// What that caller may do.
    pub role: Role,
    /// The BLAKE3 hash of the secret.
    pub hash: [u8; 32],
    /// When it was created.
    pub created_at: Timestamp,
    /// From when on it admits nobody.
    pub expires_at: Option<Timestamp>,
    /// When somebody called with it last, to the minute.
    pub last_used_at: Option<Timestamp>,
}

/// Without the hash, which has no place in a log.
impl fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AccessKey({} of {}, {})", self.id, self.principal, self.role)
    }
}

impl AccessKey {
    /// Whether this secret is that of the key, and the key is in force at this time. The hashes are compared
    /// in the same time wherever they differ.
    #[must_use]
    pub fn admits(&self, secret: &str, now: Timestamp) -> bool {
        let fits = blake3::hash(secret.as_bytes()) == blake3::Hash::from_bytes(self.hash);
        fits && !self.has_expired(now)
    }

    /// Whether the time of the key is over.
    #[must_use]
    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|end| end <= now)
    }

    /// Who calls with it.
    #[must_use]
    pub fn access(&self) -> Access {
        Access { principal: self.principal.clone(), role: self.role }
    }
}

/// The secret of a key. Whoever has it calls as the principal of the key: it is shown once, and kept
/// nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The secret of the key of this id, from these random bytes.
    #[must_use]
    pub fn new(id: KeyId, random: [[u8; 16]; 2]) -> Secret {
        let [one, other] = random.map(u128::from_be_bytes);
        Secret(format!("{PREFIX}{id}_{one:032x}{other:032x}"))
    }

    /// As the caller sends it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What is kept of it.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        *blake3::hash(self.0.as_bytes()).as_bytes()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Whether a principal can have this name: 1 to 64 characters of `a-z A-Z 0-9 . _ -`.
#[must_use]
pub fn is_principal(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    (1..=MAX_NAME).contains(&name.len()) && name.chars().all(allowed)
}

/// Whether callers can manage keys at this time, where these are all: with the key of an admin, or, where
/// there is no key, without one.
pub fn are_manageable<'a>(keys: impl IntoIterator<Item = &'a AccessKey>, now: Timestamp) -> bool {
    let mut keys = keys.into_iter().peekable();
    keys.peek().is_none() || keys.any(|key| key.role == Role::Admin && !key.has_expired(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u8, role: Role, expires_at: Option<Timestamp>) -> (AccessKey, Secret) {
        let id = KeyId([number; 8]);
        let secret = Secret::new(id, [[number; 16]; 2]);
        let key = AccessKey {
            id,
            principal: Principal("ann".to_owned()),
            role,
            hash: secret.hash(),
            created_at: Timestamp(0),
            expires_at,
            last_used_at: None,
        };
        (key, secret)
    }

    #[test]
    fn a_secret_names_its_key_and_admits_with_no_other() {
        let (key, secret) = self::key(7, Role::User, None);
        let (other, _) = self::key(8, Role::User, None);
        assert_eq!(secret.as_str().len(), 3 + 16 + 1 + 64);
        assert_eq!(KeyId::of_secret(secret.as_str()), Some(key.id));
        assert!(key.admits(secret.as_str(), Timestamp(1)));
        assert!(!other.admits(secret.as_str(), Timestamp(1)));
        assert!(!key.admits(&secret.as_str()[..83], Timestamp(1)));
        for text in ["", "dm_", "dm_07_x", "0707070707070707_x", "dm_070707070707070G_x"] {
            assert_eq!(KeyId::of_secret(text), None, "{text}");
        }
        assert_eq!(key.id.to_string().parse(), Ok(key.id));
        assert!("0707070707070A07".parse::<KeyId>().is_err(), "there is one way to write an id");
    }

    #[test]
    fn a_key_admits_until_it_expires() {
        let (key, secret) = self::key(7, Role::User, Some(Timestamp(5)));
        assert!(key.admits(secret.as_str(), Timestamp(4)));
        assert!(!key.admits(secret.as_str(), Timestamp(5)));
    }

    #[test]
    fn each_role_may_do_what_it_says_and_a_refusal_names_the_role_that_may() {
        let may = |role, action| Access { role, ..Access::operator() }.may(action);
        for (action, needed) in [
            (Action::Read, Role::Reader),
            (Action::Change, Role::User),
            (Action::SeeAll, Role::Admin),
            (Action::ManageKeys, Role::Admin),
        ] {
            for has in Role::ALL {
                let expected = if has >= needed { Ok(()) } else { Err(Forbidden { needed, has }) };
                assert_eq!(may(has, action), expected);
            }
        }
    }

    #[test]
    fn an_admin_alone_sees_what_others_have() {
        let ann = || Principal("ann".to_owned());
        for role in Role::ALL {
            let access = Access { principal: ann(), role };
            assert!(access.sees(&ann()));
            assert_eq!(access.sees(&Principal::local()), role == Role::Admin);
        }
    }

    #[test]
    fn somebody_can_manage_keys_while_an_admin_has_one_or_nobody_has() {
        let key = |role, end| self::key(1, role, end).0;
        let manageable = |keys: &[AccessKey]| are_manageable(keys, Timestamp(5));
        assert!(manageable(&[]));
        assert!(!manageable(&[key(Role::User, None), key(Role::Reader, None)]));
        assert!(manageable(&[key(Role::User, None), key(Role::Admin, None)]));
        assert!(manageable(&[key(Role::Admin, Some(Timestamp(6)))]));
        assert!(!manageable(&[key(Role::Admin, Some(Timestamp(5)))]));
    }

    #[test]
    fn no_log_has_a_secret_or_its_hash() {
        let (key, secret) = self::key(7, Role::Admin, None);
        assert_eq!(
            format!("{key:?} {secret:?}"),
            "AccessKey(0707070707070707 of ann, admin) Secret"
        );
    }

    #[test]
    fn a_principal_has_a_short_and_plain_name() {
        for name in ["a", "Ann-1.2_3", &"x".repeat(64)] {
            assert!(is_principal(name), "{name}");
        }
        for name in ["", "a b", "a/b", "a:b", "ä", &"x".repeat(65)] {
            assert!(!is_principal(name), "{name}");
        }
    }
}
