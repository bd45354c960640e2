//! Another version of the agent takes a session over.
//!
//! The old version saves its portable state, the new one takes it: in instances that belong to no
//! session, so that what goes wrong changes nothing. Only what could be saved and put back once more
//! is committed. Until the new version has answered its first turn the record remembers what it was
//! before, and a first turn that fails goes back to that (`turn/settlement`).

use std::sync::Arc;

use crate::session::request::{CommandError, Unavailable};
use crate::turn::admission;
use dormouse_domain::agent::AgentRef;
use dormouse_domain::event::{Event, EventBody, UpgradeOutcome};
use dormouse_domain::inactive::NotActive;
use dormouse_domain::session::{BeforeUpgrade, Session};
use dormouse_domain::snapshot::{GuestState, Snapshot};
use dormouse_domain::state::Status;
use dormouse_sandbox::{Fault, Saved};

use super::{Driver, GuestInstance, WakeError, history};
use crate::turn::execution::SavedGuest;

impl Driver<'_> {
    /// Let this agent take the session over, once that has been rehearsed.
    pub(super) async fn upgrade(&mut self, agent: AgentRef) -> Result<(), CommandError> {
        self.save_now().await?;
        let Some(before) = self.memory.session().cloned() else {
            return Err(Unavailable::NotFound(self.id).into());
        };
        let status = before.state.status();
        if !admission::is_open(status) && status != Status::Paused {
            return Err(NotActive::of(&before, status).into());
        }
        if before.unsaved_turns > 0 {
            return Err(CommandError::Unsaved(before.unsaved_turns));
        }
        if agent.digest == before.profile.agent.digest {
            return Err(CommandError::NotUpgraded("it has this very agent already".to_owned()));
        }
        let mut after = Session::clone(&before);
        after.profile.agent = agent;
        after.consecutive_failures = 0;
        after.before_upgrade = Some(BeforeUpgrade {
            agent: before.profile.agent.clone(),
            head: before.head,
            head_parent: before.head_parent,
            state_bytes: before.state_bytes,
        });
        // All of it is saved, and the rehearsal may need its place.
        self.drop_guest();
        let head = match before.head {
            Some(_) => Some(self.carry(&before, &after).await?),
            None => None,
        };
        after.set_head(head.as_ref());
        let body = EventBody::SessionUpgraded {
            outcome: UpgradeOutcome::Upgraded,
            from: before.profile.agent.digest,
            to: after.profile.agent.digest,
        };
        let event = Event::session(&after, self.services.clock.now(), body);
        // Only here, where nobody is waited for any more: whoever removes an agent waits for those who keep it.
        let services = Arc::clone(self.registry.services());
        let _held = services.catalog.hold().await;
        if services.catalog.referred(&after.profile.agent).await.is_err() {
            return Err(refused("the new version was removed meanwhile"));
        }
        self.commit(after, head, [event]).await?;
        Ok(())
    }

    /// The head of the new version: the state of the old one, taken by it, and saved again.
    async fn carry(&mut self, before: &Session, after: &Session) -> Result<Snapshot, CommandError> {
        let fuel = before.profile.limits.max_fuel_per_turn;
        let wake_state = self.services.store.wake_state(self.id).await?;
        let head = wake_state.and_then(|wake_state| wake_state.head);
        let head = head.ok_or_else(|| refused("its state cannot be read"))?;

        let state = if head.state == GuestState::Nothing {
            GuestState::Nothing
        } else {
            let mut old = self.rehearse(before, &head, &head.state, "the old version").await?;
            let state = old.instance.save_portable(fuel).await;
            drop(old);
            state.map_err(|fault| unsaved("old", fault))?.ok_or_else(|| {
                refused(
                    "its agent does not export `dormouse:agent/state`, and the image of one version \
                     is of no use to another",
                )
            })?
        };

        let mut new = self.rehearse(after, &head, &state, "the new version").await?;
        let unsaved = |fault| unsaved("new", fault);
        let saved = match new.instance.save().await.map_err(unsaved)? {
            Saved::State(saved) => saved,
            Saved::Held(what) => {
                return Err(refused(format!("the new version cannot sleep: {what}")));
            }
            Saved::Nothing => GuestState::Nothing,
            Saved::Never => {
                let saved = new.instance.save_portable(fuel).await.map_err(unsaved)?;
                saved.ok_or_else(|| refused("the new version cannot save its state"))?
            }
        };
        let turn = before.usage.last_turn();
        let saved = SavedGuest { state: saved, files: None };
        let (carried, _) = history::snapshot(
            (&self.services.clock, &self.services.workspaces),
            after,
            turn,
            &mut new,
            saved,
        );
        drop(new);
        // It must also wake from what was saved.
        self.rehearse(after, &carried, &carried.state, "the new version").await?;
        Ok(carried)
    }

    /// An instance in this state that belongs to no session.
    async fn rehearse(
        &mut self,
        session: &Session,
        head: &Snapshot,
        state: &GuestState,
        who: &str,
    ) -> Result<GuestInstance, CommandError> {
        match self.make(session, Some((head, state)), &mut self.command_signals()).await {
            Ok(guest) => Ok(guest),
            Err(WakeError::Guest(fault)) => {
                Err(refused(format!("{who} does not take the state: {fault}")))
            }
            Err(error) => Err(self.command_refusal(error)),
        }
    }
}

fn unsaved(which: &str, fault: Fault) -> CommandError {
    match fault {
        Fault::HostOutOfMemory { .. } => Unavailable::OutOfMemory.into(),
        fault => refused(format!("the {which} version does not save its state: {fault}")),
    }
}

fn refused(why: impl Into<String>) -> CommandError {
    CommandError::NotUpgraded(why.into())
}
