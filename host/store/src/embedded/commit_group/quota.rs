//! How many sessions an owner has, and a user of an owner, with those that the group adds and removes.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::commit::EncodedWrite;
use super::CommitGroup;
use crate::StoreError;
use crate::label::{LabelKey, LabelKind};
use dormouse_domain::id::Principal;

/// What a group changes of these numbers.
#[derive(Default)]
pub(super) struct Counts {
    owners: HashMap<Arc<str>, i64>,
    users: HashMap<LabelKey, i64>,
}

impl Counts {
    /// A session of this owner comes or goes.
    pub(super) fn owner(&mut self, owner: &Arc<str>, by: i64) {
        *self.owners.entry(Arc::clone(owner)).or_default() += by;
    }

    /// A session of this user comes or goes.
    pub(super) fn user(&mut self, user: Option<LabelKey>, by: i64) {
        if let Some(user) = user {
            *self.users.entry(user).or_default() += by;
        }
    }
}

impl CommitGroup<'_> {
    /// Whether an owner, or a user of an owner, has at most so many sessions together with those that
    /// these changes add.
    pub(in super::super) fn expect_within_quota(
        &self,
        owner: &Principal,
        user: Option<&str>,
        limit: u64,
        changes: &[EncodedWrite],
    ) -> Result<(), StoreError> {
        let label = user.map(|user| LabelKey::new(&owner.0, LabelKind::User, user));
        let is_counted = |change: &&EncodedWrite| match change {
            EncodedWrite::Session(record, _) => {
                record.revision == 1
                    && **record.facts.owner() == *owner.0
                    && (label.is_none() || label == record.facts.user())
            }
            EncodedWrite::RemoveState(_)
            | EncodedWrite::Slept(..)
            | EncodedWrite::ResumeTried(..)
            | EncodedWrite::Turn(..)
            | EncodedWrite::LargeTurn(..)
            | EncodedWrite::OpenTurn(_)
            | EncodedWrite::Journal(..)
            | EncodedWrite::CloseTurn(_)
            | EncodedWrite::Mail { .. }
            | EncodedWrite::TakeMail(..)
            | EncodedWrite::DropMail(_)
            | EncodedWrite::NewAccount(_)
            | EncodedWrite::ChangeAccount(..)
            | EncodedWrite::RemoveSession(_)
            | EncodedWrite::Template(_)
            | EncodedWrite::RemoveTemplate(..)
            | EncodedWrite::Agent(..)
            | EncodedWrite::RemoveAgent(_)
            | EncodedWrite::Row(..)
            | EncodedWrite::Rows(_)
            | EncodedWrite::Expire(..)
            | EncodedWrite::ForgetKeys(..) => false,
        };
        let added = changes.iter().filter(is_counted).count() as u64;
        let change = match label {
            None => self.counts.owners.get(owner.0.as_str()),
            Some(label) => self.counts.users.get(&label),
        };
        let durable = self.shared.index().session_count(owner, user);
        let all = durable.saturating_add(added).saturating_add_signed(*change.unwrap_or(&0));
        if all > limit { Err(StoreError::QuotaReached { limit }) } else { Ok(()) }
    }
}
