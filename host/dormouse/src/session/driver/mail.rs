//! Mail becomes turns: each in the order in which it came, and each once.
//!
//! A mail lies in the store until the commit of the turn that has taken it. So a driver that is told of mail looks there
//! for the one that has waited the longest, and finds none where that was taken or dropped before. Mail of a session that
//! takes no messages now stays where it is; that of a session which has ended is dropped.

use tokio::sync::oneshot;
use tracing::Span;

use super::{Driver, WakeError};
use crate::session::request::{FinishedTurn, QueuedMessage, SendError, Unavailable};
use crate::turn::admission;
use crate::turn::output::{OutputGuard, TurnOutput};
use crate::turn::settlement::TakenMail;
use dormouse_domain::event::{Event, EventBody};
use dormouse_domain::turn::Sender;
use dormouse_store::Transaction;
use dormouse_store::read::StoredMail;

impl Driver<'_> {
    /// Answer the mail that has waited the longest, if there is one.
    pub(super) async fn mail(&mut self) {
        match self.next_mail().await {
            Ok(Some(message)) if self.registry.begin_mail(self.id) => self.message(message).await,
            Ok(_) => self.registry.note_turn_over(self.id),
            Err(error) => {
                self.mail_waits_on(&error);
                self.registry.note_turn_over(self.id);
            }
        }
    }

    /// The turn of a mail has come to this. One that could not begin is tried again later.
    pub(super) fn after_mail(&self, result: &Result<FinishedTurn, SendError>) {
        match result {
            Ok(_) | Err(SendError::Failed(_)) => {}
            Err(error) => self.mail_waits_on(error),
        }
    }

    fn mail_waits_on(&self, error: &SendError) {
        if self.services.liveness.is_closed() {
            // The next host finds it.
            return;
        }
        let ended = self.memory.session().is_some_and(|it| it.state.status().is_final());
        if ended {
            self.registry.post_mail(self.id);
            return;
        }
        tracing::warn!(session = %self.id, %error, "mail waits: its turn could not begin");
        self.registry.look_again(self.id);
    }

    /// The message that the first mail is. `None`: there is none, or the session takes none now.
    async fn next_mail(&mut self) -> Result<Option<QueuedMessage>, SendError> {
        if self.services.left_open.contains(self.id) {
            // It may have taken the first mail.
            self.open_turn(None).await?;
        }
        let session = match self.load_record().await {
            Ok(session) => session.clone(),
            Err(WakeError::NotFound) => {
                self.drop_mail().await?;
                return Ok(None);
            }
            Err(error) => return Err(self.refusal(error)),
        };
        let status = session.state.status();
        if status.is_final() {
            self.drop_mail().await?;
            return Ok(None);
        }
        if !admission::is_open(status) || self.group_admits(&session)?.is_err() {
            return Ok(None);
        }
        let Some(StoredMail { number, weight, mail }) =
            self.services.store.first_mail(self.id).await?
        else {
            return Ok(None);
        };
        let taken = TakenMail { number, weight };
        let Some(mail) = mail else {
            self.drop_damaged(taken).await?;
            return Ok(None);
        };
        let (answer, _) = oneshot::channel();
        Ok(Some(QueuedMessage {
            sender: Sender::Agent(session.peers().peer(mail.from)),
            content: mail.content,
            key: None,
            if_revision: None,
            output: OutputGuard(TurnOutput::charged(self.services.memory.account())),
            answer,
            is_taken: true,
            mail: Some(taken),
            request: Span::none(),
            _key_use: None,
            _charge: self.registry.message_charge(&session.owner),
        }))
    }

    /// Drop all mail of a session that has ended, or is gone.
    async fn drop_mail(&mut self) -> Result<(), Unavailable> {
        let count = self.services.mailboxes.waiting(self.id);
        if count == 0 {
            return Ok(());
        }
        let events = self.mail_dropped(count);
        self.services.store.commit(Transaction::drop_mail(self.id, events)).await?;
        self.services.mailboxes.dropped(self.id);
        Ok(())
    }

    /// Drop a mail that cannot be read: those behind it come next.
    async fn drop_damaged(&mut self, mail: TakenMail) -> Result<(), Unavailable> {
        let mut drop = Transaction::take_mail(self.id, mail.number);
        drop.events = self.mail_dropped(1);
        self.services.store.commit(drop).await?;
        self.services.mailboxes.taken(self.id, mail.weight);
        Ok(())
    }

    fn mail_dropped(&self, count: u32) -> Vec<Event> {
        let (now, body) = (self.services.clock.now(), EventBody::MailDropped { count });
        let event = self.memory.session().map(|session| Event::session(session, now, body));
        event.into_iter().collect()
    }
}
