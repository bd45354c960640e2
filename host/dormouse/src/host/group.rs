//! A group that is forked: it stands still meanwhile, and each fork of its coordinator gets forks of its members.

use std::sync::Arc;

use super::history::ForkError;
use super::session::SessionHandle;
use crate::catalog::{AgentError, Catalog};
use crate::session::members::{HeldSession, MemberThen, member_at};
use crate::session::request::CommandError;
use dormouse_base::clock::Clock;
use dormouse_domain::agent::AgentRef;
use dormouse_domain::group;
use dormouse_domain::id::SnapshotId;
use dormouse_domain::session::Session;
use dormouse_domain::snapshot::Snapshot;
use dormouse_domain::state::{Cause, Reason};
use dormouse_domain::time::Timestamp;
use dormouse_store::{NewSessionRecord, SnapshotDetail};

/// The group of a session that is forked, which stands still until this is dropped. Of one that stands alone, nothing.
#[derive(Default)]
pub(super) struct HeldGroup {
    members: Vec<ForkedMember>,
    coordinator: Option<HeldSession>,
    _held: Vec<HeldSession>,
}

/// A member, and where its forks start.
struct ForkedMember {
    session: Arc<Session>,
    head: Option<Snapshot>,
    agent: AgentRef,
}

impl HeldGroup {
    /// The coordinator as it stands still. `None`: the session stands alone.
    pub(super) fn coordinator(&self) -> Option<&Arc<Session>> {
        self.coordinator.as_ref().map(|held| &held.session)
    }

    /// How many members each fork gets.
    pub(super) fn members(&self) -> usize {
        self.members.len()
    }

    /// What the documents of the members of one fork take, in bytes.
    pub(super) fn document_bytes(&self) -> usize {
        self.members.iter().map(|member| member.session.document_bytes()).sum()
    }

    /// Find the agents of the members. They are kept where they are by whoever calls this.
    pub(super) async fn find_agents(&mut self, catalog: &Catalog) -> Result<(), AgentError> {
        for ForkedMember { session, head, agent } in &mut self.members {
            let referred = &session.profile.agent;
            let digest = head.as_ref().map_or(referred.digest, |head| head.agent);
            *agent = catalog.of_snapshot(digest, referred, &session.owner).await?.reference;
        }
        Ok(())
    }

    /// What the members of one fork start from.
    pub(super) fn heads(&self, clock: &Clock) -> Vec<Option<Snapshot>> {
        let again = |head: &Snapshot| head.again(SnapshotId(clock.new_id()), clock.now());
        self.members.iter().map(|member| member.head.as_ref().map(again)).collect()
    }

    /// The members of this fork of the coordinator, which start from these, each with the member that it is a fork of.
    pub(super) fn forked(
        &self,
        fork: &Session,
        heads: Vec<Option<Snapshot>>,
        now: Timestamp,
    ) -> impl Iterator<Item = (NewSessionRecord, &Session)> {
        self.members.iter().zip(heads).filter_map(move |(member, head)| {
            let ForkedMember { session, agent, .. } = member;
            let forked = group::forked_member(session, fork, head.as_ref(), agent.clone(), now)?;
            Some((NewSessionRecord { session: Arc::new(forked), head }, &**session))
        })
    }
}

/// Whether a member has ended before its group: in a fork, it is a new one when somebody needs it.
fn has_ended_alone(member: &Session) -> bool {
    let with_its_group = member.state.reason().and_then(Reason::cause) == Some(Cause::GroupEnded);
    member.state.status().is_final() && !with_its_group
}

impl SessionHandle {
    /// Have the group of this session stand still, to be forked from this snapshot of its coordinator, or from where it
    /// is.
    pub(super) async fn hold_group(
        &self,
        session: &Session,
        from: Option<SnapshotId>,
    ) -> Result<HeldGroup, ForkError> {
        let Some(group) = session.group.as_ref().filter(|group| group.is_coordinator()) else {
            return Ok(HeldGroup::default());
        };
        let coordinator = self.registry().hold(self.id, false).await?;
        let held = self.registry().hold_members(group, false).await?;
        let mut members = Vec::new();
        for HeldSession { session, .. } in &held {
            if !has_ended_alone(session) {
                let (session, agent) = (Arc::clone(session), session.profile.agent.clone());
                let head = self.head_of_member(&session, from).await?;
                members.push(ForkedMember { session, head, agent });
            }
        }
        Ok(HeldGroup { members, coordinator: Some(coordinator), _held: held })
    }

    /// What the fork of a member starts from, where its coordinator's starts from this snapshot.
    async fn head_of_member(
        &self,
        member: &Session,
        from: Option<SnapshotId>,
    ) -> Result<Option<Snapshot>, CommandError> {
        let store = &self.host.inner.store;
        let head = match from {
            None => member.head,
            Some(from) => match member_at(&**store, member, from).await? {
                MemberThen::At(at) => Some(at),
                MemberThen::Fresh => None,
            },
        };
        let Some(head) = head else { return Ok(None) };
        let kept = store.snapshot(head, SnapshotDetail::Metadata).await?;
        Ok(Some(kept.ok_or(CommandError::NoSnapshot(head))?.snapshot))
    }
}
