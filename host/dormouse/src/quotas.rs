//! How much one principal may have, and how often the users of a principal may send messages.
//!
//! Both are off unless they are configured. A user is the label `userId` of a session, which the principal
//! chooses: a bound for users keeps them from each other, and not the principal from anything.

use std::num::{NonZeroU32, NonZeroU64};

use dormouse_domain::id::Principal;
use dormouse_domain::limits::NanoUsd;
use dormouse_store::Expect;

/// What one principal, and one user of a principal, may have at most. `None`: there is no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quotas {
    /// Sessions of a principal, asleep or not, over or not.
    pub sessions_per_principal: Option<NonZeroU64>,
    /// Sessions with one `userId` of a principal.
    pub sessions_per_user: Option<NonZeroU64>,
    /// Money that all sessions of a principal may spend together, over their lives.
    pub budget_per_principal: Option<NanoUsd>,
    /// The same of the sessions with one `userId` of a principal. Sessions without one have no such bound.
    pub budget_per_user: Option<NanoUsd>,
    /// Messages in a minute to the sessions with one `userId` of a principal. Sessions without one have no
    /// such bound.
    pub messages_per_minute_per_user: Option<NonZeroU32>,
}

impl Quotas {
    /// What a transaction expects that adds sessions of this owner, with this user. The store compares it in
    /// the moment of the commit, so several that come at once do not pass a quota together.
    pub(crate) fn expected(&self, owner: &Principal, user: Option<&str>) -> Vec<Expect> {
        let quota = |user: Option<&str>, limit: NonZeroU64| Expect::SessionQuota {
            owner: owner.clone(),
            user: user.map(str::to_owned),
            limit: limit.get(),
        };
        let of_user =
            user.zip(self.sessions_per_user).map(|(user, limit)| quota(Some(user), limit));
        let of_owner = self.sessions_per_principal.map(|limit| quota(None, limit));
        of_user.into_iter().chain(of_owner).collect()
    }
}
