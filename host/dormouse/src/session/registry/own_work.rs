//! What the host itself queues for a session: what is due, the turns of its timers, mail that waits for it, and a turn that
//! stays open.

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tracing::Span;

use super::{DriverWas, PostedDue, Registry};
use crate::session::left_open;
use crate::session::request::{Command, CommandError, FollowedKey, QueuedMessage};
use crate::turn::output::{OutputGuard, TurnOutput};
use dormouse_base::memory::pool::Charge;
use dormouse_domain::agent::Digest;
use dormouse_domain::id::{Principal, SessionId};
use dormouse_domain::session::Session;
use dormouse_domain::turn::{IdempotencyKey, Part, Sender};

/// How long after a turn could not begin that a timer or a peer has sent, that is tried again.
const AGAIN: Duration = Duration::from_secs(30);

impl Registry {
    /// Have what is due for a session done.
    pub(crate) fn post_due(self: &Arc<Self>, id: SessionId) -> Result<PostedDue, CommandError> {
        let (_, driver, done) = self.add_command(id, None, Command::Due)?;
        Ok(match driver {
            DriverWas::Started => PostedDue::Started(done),
            DriverWas::AtWork => PostedDue::Waits(done),
        })
    }

    /// Tell the driver of a session of the mail that waits for it: each is answered behind what waits already.
    pub(crate) fn post_mail(self: &Arc<Self>, id: SessionId) {
        let waiting = self.services.mailboxes.waiting(id) as usize;
        if waiting == 0 {
            return;
        }
        // Only a host that shuts down refuses it, and the next one finds the mail.
        let _ = self.add(id, None, |inbox| {
            inbox.mail_waits(waiting);
            Ok::<(), Infallible>(())
        });
    }

    /// Whether the turn begins of the mail that the driver of this session has taken: something else may go before it.
    pub(crate) fn begin_mail(&self, id: SessionId) -> bool {
        self.shard(id).get_mut(&id).is_some_and(|entry| entry.inbox.begin_mail())
    }

    /// Have what is due for a session, and the mail that waits for it, looked at again after a while: it could not be
    /// done now.
    pub(crate) fn look_again(self: &Arc<Self>, id: SessionId) {
        if !lock_set(&self.looked_at_again).insert(id) {
            // Somebody is going to.
            return;
        }
        let (registry, clock) = (Arc::downgrade(self), self.services.clock.clone());
        self.services.sandbox.runtime().spawn(async move {
            clock.back_off(AGAIN).await;
            let Some(registry) = registry.upgrade() else { return };
            lock_set(&registry.looked_at_again).remove(&id);
            registry.post_mail(id);
            if let Err(error) = registry.post_due(id) {
                tracing::debug!(session = %id, %error, "what is due is looked at later");
            }
        });
    }

    /// Send a session a message of its own: it comes before those of others, and nobody waits for the answer.
    pub(crate) fn send_self(
        self: &Arc<Self>,
        session: &Session,
        sender: Sender,
        content: Vec<Part>,
    ) {
        let (answer, _) = oneshot::channel();
        let message = QueuedMessage {
            sender,
            content,
            key: None,
            if_revision: None,
            output: OutputGuard(TurnOutput::charged(self.services.memory.account())),
            answer,
            is_taken: true,
            mail: None,
            request: Span::none(),
            _key_use: None,
            _charge: self.messages.of(&session.owner),
        };
        // Only a host that shuts down refuses it: what was due then is due after the next start.
        let _ = self.add(session.id, None, |inbox| {
            inbox.send_self(message);
            Ok::<(), Infallible>(())
        });
    }

    /// What the message of a mail is charged to: the mail itself was paid for by the turn that has sent it.
    pub(crate) fn message_charge(&self, owner: &Principal) -> Charge {
        self.messages.of(owner)
    }

    /// Have the turn run again that is open in the store, before anything else is done with the session. Its message
    /// came with this key.
    pub(crate) fn reopen_turn(
        self: &Arc<Self>,
        id: SessionId,
        key: Option<(IdempotencyKey, Digest)>,
    ) {
        let key = key.map(|(key, request)| self.message_key(key, request));
        // Only a host that shuts down refuses it, and then the turn stays open.
        let _ = self.add(id, None, |inbox| {
            inbox.reopen_turn(key);
            Ok::<(), Infallible>(())
        });
    }

    /// The same, after this time.
    pub(crate) fn reopen_turn_in(self: &Arc<Self>, id: SessionId, wait: Duration) {
        let (registry, clock) = (Arc::downgrade(self), self.services.clock.clone());
        self.services.sandbox.runtime().spawn(async move {
            clock.back_off(wait).await;
            // A host that is gone has left the turn to the next.
            let Some(registry) = registry.upgrade() else { return };
            registry.services.left_open.tried(id);
            let key = left_open::note(&registry.services, id).await;
            if registry.services.left_open.contains(id) {
                registry.reopen_turn(id, key);
            }
        });
    }

    /// The key of the message whose turn the driver of this session has begun.
    pub(crate) fn running_key(&self, id: SessionId) -> Option<Arc<FollowedKey>> {
        self.shard(id).get(&id).and_then(|entry| entry.inbox.running_key().cloned())
    }
}

fn lock_set(set: &Mutex<HashSet<SessionId>>) -> MutexGuard<'_, HashSet<SessionId>> {
    set.lock().unwrap_or_else(PoisonError::into_inner)
}
