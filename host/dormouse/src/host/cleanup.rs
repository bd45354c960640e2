//! The removal of many sessions that nobody needs any more.

use std::time::Duration;

use futures::StreamExt;

use super::Sessions;
use crate::session::request::{Command, CommandError, Unavailable};
use dormouse_domain::access::Action;
use dormouse_domain::id::SessionId;
use dormouse_domain::pattern::Pattern;
use dormouse_domain::state::Status;
use dormouse_domain::time::Timestamp;
use dormouse_store::{Between, SessionOrder, SessionQuery};

/// The most sessions that one call removes.
pub const MAX_CLEANED_UP: usize = 500;
/// Sessions that are read at a time.
const PAGE: usize = 100;
/// Sessions that are removed at the same time.
const AT_ONCE: usize = 16;

/// Which of the caller's sessions to remove: those that were not active for some time. Those that are
/// answering a message stay.
#[derive(Clone, Debug)]
pub struct Cleanup {
    /// Only those of this status. `None`: those that are completed or terminated.
    pub status: Option<Status>,
    /// Only those of this pattern.
    pub pattern: Option<Pattern>,
    /// Only those with this label.
    pub user_id: Option<String>,
    /// How long they were not active, at least.
    pub older_than: Duration,
    /// Remove nothing, and count what would be removed.
    pub dry_run: bool,
}

/// What a cleanup has removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CleanedUp {
    /// The sessions that were removed, or would be.
    pub removed: Vec<SessionId>,
    /// Whether there may be more: one call removes 500 at most.
    pub more: bool,
}

impl Sessions {
    /// Remove those of the caller's sessions that match, of each status the longest unused first, as far as one
    /// call goes.
    ///
    /// # Errors
    /// [`CommandError`] where one could not be removed; those before it are.
    pub async fn clean_up(&self, cleanup: Cleanup) -> Result<CleanedUp, CommandError> {
        self.0.may(Action::Change)?;
        let now = self.0.inner.clock.now();
        let since = now.before(cleanup.older_than);
        let statuses = match cleanup.status {
            Some(status) => vec![status],
            None => vec![Status::Completed, Status::Terminated],
        };
        let mut found = CleanedUp::default();
        for status in statuses {
            self.find(&cleanup, status, since, &mut found).await?;
        }
        if cleanup.dry_run {
            return Ok(found);
        }
        let removals = futures::stream::iter(found.removed).map(|id| self.remove_unused(id, since));
        let removals: Vec<_> = removals.buffer_unordered(AT_ONCE).collect().await;
        let removed = removals.into_iter().filter_map(Result::transpose);
        Ok(CleanedUp { removed: removed.collect::<Result<_, _>>()?, more: found.more })
    }

    /// Add the sessions of this status that match, until there are as many as one call removes.
    async fn find(
        &self,
        cleanup: &Cleanup,
        status: Status,
        since: Timestamp,
        found: &mut CleanedUp,
    ) -> Result<(), CommandError> {
        let mut query = SessionQuery {
            // Of an admin as well: what others have is not removed in bulk.
            owner: Some(self.0.caller().clone()),
            status: Some(status),
            pattern: cleanup.pattern,
            user_id: cleanup.user_id.clone(),
            active: Between { after: None, before: Some(since) },
            order: SessionOrder::LeastRecentlyActive,
            limit: PAGE,
            ..SessionQuery::default()
        };
        loop {
            let page = self.list(query.clone()).await?;
            for info in page.sessions.into_iter().filter(|info| info.running_turn.is_none()) {
                if found.removed.len() == MAX_CLEANED_UP {
                    found.more = true;
                    return Ok(());
                }
                found.removed.push(info.session.id);
            }
            query.after = page.next;
            if query.after.is_none() {
                return Ok(());
            }
        }
    }

    /// Remove a session, if it was still not active since this time. Answers with its id where it was.
    async fn remove_unused(
        &self,
        id: SessionId,
        since: Timestamp,
    ) -> Result<Option<SessionId>, CommandError> {
        let (registry, caller) = (&self.0.inner.registry, self.0.caller().clone());
        match registry.command(id, Some(caller), Command::RemoveUnused(since)).await {
            Ok(None) => Ok(Some(id)),
            Ok(Some(_)) | Err(CommandError::Unavailable(Unavailable::NotFound(_))) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
