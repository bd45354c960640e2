//! What a client changes of the record of a session, and what the host notes in it. Each is one commit.

use std::time::Duration;

use crate::session::request::CommandError;
use crate::turn::admission;
use dormouse_domain::event::{Event, EventBody};
use dormouse_domain::inactive::NotActive;
use dormouse_domain::patch::{self, LimitsPatch, SessionPatch, StatusChange};
use dormouse_domain::session::Session;
use dormouse_domain::state::Status;
use dormouse_domain::time::Timestamp;

use super::Driver;

impl Driver<'_> {
    /// Change what a patch names.
    pub(super) async fn change(&mut self, mut patch: SessionPatch) -> Result<(), CommandError> {
        let before = self.record()?;
        patch.check_revision(&before)?;
        match patch.status {
            // It is put to sleep, so its state is saved first.
            Some(StatusChange::Idle) => self.save_now().await?,
            Some(StatusChange::Active) => self.check_head(&before).await?,
            Some(
                StatusChange::Paused
                | StatusChange::Completed
                | StatusChange::Terminated
                | StatusChange::Crashed,
            )
            | None => {}
        }
        let defaults = &self.services.options.limits;
        let before = self.record()?;
        let named = patch.limits;
        let patched = patch.apply(&before, defaults, self.services.clock.now())?;
        self.commit_patched(patched, &named).await
    }

    /// Put off the end of the idle limit, until so long after now or for the whole limit.
    pub(super) async fn extend(&mut self, by: Option<Duration>) -> Result<(), CommandError> {
        let session = self.record()?;
        let status = session.state.status();
        if !admission::is_open(status) && status != Status::Paused {
            return Err(NotActive::of(&session, status).into());
        }
        let patched = patch::extend(&session, by, self.services.clock.now())?;
        self.commit_patched(patched, &LimitsPatch::default()).await
    }

    /// Tell, once, that the idle limit will be reached.
    pub(super) async fn warn_of_idling(
        &mut self,
        end: Timestamp,
        now: Timestamp,
    ) -> Result<(), CommandError> {
        // What was not saved with its turn is saved while there is time. What cannot be saved is told in the logs of its turns.
        if let Err(error) = self.save_now().await {
            tracing::debug!(session = %self.id, %error, "a session is warned and not saved");
        }
        let before = self.record()?;
        let mut after = Session::clone(&before);
        after.idle.warned_of = Some(end);
        let minutes_remaining = end.since(now).as_secs().div_ceil(60);
        let body = EventBody::IdleWarning { minutes_remaining };
        let event = Event::session(&after, now, body);
        Ok(self.commit(after, None, [event]).await?)
    }
}
