//! What can be asked of a session, and what comes back.
//!
//! A [`QueuedMessage`] becomes a turn; a [`Command`] changes the session in another way. Both wait in the
//! inbox of the session, each with a channel for its answer.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::oneshot;
use tracing::Span;

use crate::turn::admission::TurnDenied;
use crate::turn::output::{OutputGuard, TurnOutput};
use crate::turn::settlement::TakenMail;
use dormouse_base::memory::pool::Charge;
use dormouse_domain::agent::{AgentRef, Digest};
use dormouse_domain::message::OnBusy;
use dormouse_domain::turn::{IdempotencyKey, Part, Sender, TurnOutcome, TurnRecord};
use dormouse_store::StoreError;

use super::idempotency::KeyUse;
use super::inbox::{MessageDenied, MessageKey, QueueFull};
use super::members::Hold;
use super::provided::Provided;
use crate::workspaces::{FileError, FilesChange};
use dormouse_domain::access::Forbidden;
use dormouse_domain::creation::InvalidField;
use dormouse_domain::event::SleepCause;
use dormouse_domain::group::MemberOfGroup;
use dormouse_domain::id::{SessionId, SnapshotId};
use dormouse_domain::inactive::NotActive;
use dormouse_domain::patch::{PatchError, SessionPatch};
use dormouse_domain::residence::Residence;
use dormouse_domain::session::{Residency, Session};
use dormouse_domain::snapshot::DamagedSnapshot;
use dormouse_domain::state::{Cause, InvalidTransition, Move, Reason, Status};
use dormouse_domain::time::Timestamp;

/// The most bytes of one message, all parts together.
pub const MAX_MESSAGE: usize = 1024 * 1024;
/// The most parts of one message.
pub const MAX_PARTS: usize = 100;
/// The most characters of a reason that a caller gives.
pub const MAX_REASON: usize = 200;

const NO_ROOM: &str = "the host has no memory or place for one more instance; try again later, or let its \
                       operator raise `memory-budget`, `max-residents` or `max-residents-per-user`";

/// Why the host can do nothing with a session now, whatever it is asked for.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Unavailable {
    /// There is no such session.
    #[error("Session not found")]
    NotFound(SessionId),
    /// The state that the session would go on from is damaged.
    #[error(transparent)]
    Damaged(#[from] DamagedSnapshot),
    /// This host cannot read the state of the session. Nothing was changed.
    #[error("the session cannot be woken by this version of the host: {0}")]
    Unusable(String),
    /// The host has had no memory or no place for one more instance, for as long as one may wait;
    /// nothing was changed.
    #[error("{}", NO_ROOM)]
    OutOfMemory,
    /// The host is shutting down, or the session was removed while the message or the command waited.
    #[error("the host is shutting down")]
    ShuttingDown,
    /// The store did not do it, or could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The host has a defect, or the agent is gone.
    #[error("the host could not do it: {0}")]
    Host(String),
}

impl From<StoreError> for SendError {
    fn from(error: StoreError) -> SendError {
        Unavailable::from(error).into()
    }
}

impl From<StoreError> for CommandError {
    fn from(error: StoreError) -> CommandError {
        Unavailable::from(error).into()
    }
}

impl From<DamagedSnapshot> for CommandError {
    fn from(damaged: DamagedSnapshot) -> CommandError {
        Unavailable::from(damaged).into()
    }
}

/// Why a message got no reply. Each error has a [`code`](SendError::code), the stable word that the HTTP API
/// answers with.
///
/// ```
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use dormouse::{Host, NewSession};
///
/// let host = Host::builder().in_memory().build().await?;
/// let starving = NewSession { max_fuel_per_turn: Some(10), ..NewSession::agent("counter") };
/// let session = host.sessions().create(starving).await?;
/// let error = session.send("hello").await.expect_err("ten units of fuel are not enough");
/// assert_eq!(error.code(), "fuel_exhausted");
/// # host.shut_down().await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, thiserror::Error)]
pub enum SendError {
    /// The host can do nothing with the session now. No turn was begun.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// No turn was begun.
    #[error(transparent)]
    Denied(#[from] TurnDenied),
    /// Too many messages wait for this session.
    #[error(
        "the queue of the session is full: {0} messages wait; try again when some are answered"
    )]
    QueueFull(usize),
    /// A turn is in progress or messages wait, and the message was not to wait
    /// ([`OnBusy::Reject`](crate::OnBusy::Reject)). Has the number of the turn that runs. Nothing was begun.
    #[error("the session is busy with another message; send this one again when that is answered")]
    Busy(Option<u64>),
    /// The idempotency key came with another message before, to this session or to another one of the caller.
    /// Nothing was recorded.
    #[error(
        "this idempotency key was sent with another message, to session {0}; send each message with a key of \
         its own"
    )]
    IdempotencyKeyReused(SessionId),
    /// The message has led to this turn, which is not kept any more. Nothing was begun.
    #[error("the message was handled before, by turn {0}, which is not kept any more")]
    TurnGone(u64),
    /// The session had another revision than the message was meant for when its turn came. Has the revision.
    /// Nothing was begun.
    #[error(
        "the session has changed since the revision that the message was meant for: it is {0} now"
    )]
    PreconditionFailed(u64),
    /// The messages of this principal that are not answered yet, over all its sessions, take as much of
    /// the host's memory as one principal may have now. Nothing was begun.
    #[error(
        "your messages that are not answered yet take as much memory as one principal may have now; send \
         this one again when some are answered"
    )]
    ShareSpent,
    /// The turn was begun and failed. It is recorded, and what it cost is spent.
    #[error("{}", describe(.0))]
    Failed(Box<FinishedTurn>),
    /// The message has no parts, too many, or too many bytes.
    #[error("a message has 1 to {} parts and {} bytes at most", MAX_PARTS, MAX_MESSAGE)]
    TooLarge,
    /// The caller is a reader. Nothing was begun.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// The user that the session is labelled with has sent as many messages as it may in a minute. Nothing
    /// was begun.
    #[error(
        "the user of this session has sent as many messages as a user may in a minute; send this one again \
         in {} seconds", seconds(.0)
    )]
    RateLimited(Duration),
    /// A part of the message is not what it says. Nothing was begun.
    #[error(transparent)]
    Invalid(#[from] InvalidField),
}

impl SendError {
    /// Why the inbox of this session does not take a message.
    pub(crate) fn of(denied: MessageDenied, session: SessionId) -> SendError {
        match denied {
            MessageDenied::QueueFull(QueueFull { waiting }) => SendError::QueueFull(waiting),
            MessageDenied::Busy(turn) => SendError::Busy(turn),
            MessageDenied::KeyReused => SendError::IdempotencyKeyReused(session),
            MessageDenied::RateLimited(wait) => SendError::RateLimited(wait),
        }
    }
}

/// Whole seconds, never fewer than these.
fn seconds(wait: &Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

fn describe(ended: &FinishedTurn) -> &str {
    match &ended.turn.outcome {
        TurnOutcome::Failed(failure) => &failure.message,
        TurnOutcome::Answered { .. } => "the turn was answered",
    }
}

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The host can do nothing with the session now.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The state of the session does not allow it.
    #[error(transparent)]
    InvalidTransition(#[from] InvalidTransition),
    /// Its state would be lost: no snapshot holds it.
    #[error(
        "the session cannot do this now: no snapshot holds its state since {0} turn(s); the log of its last \
         turn says why"
    )]
    Unsaved(u64),
    /// It is over, about to end, or in error.
    #[error(transparent)]
    NotActive(#[from] NotActive),
    /// A turn runs or waits, and it would end on another state.
    #[error("a turn of the session is running; try again when it is over")]
    TurnInProgress,
    /// No snapshot of the session has this name, or retention has removed it.
    #[error("the session has no snapshot {0}; GET its /snapshots lists those it has")]
    NoSnapshot(SnapshotId),
    /// No snapshot of the session that is kept has the files of this commit.
    #[error(
        "no snapshot of the session that is kept has the files of the commit {0}; GET its /snapshots?commits=true"
    )]
    NoCommit(String),
    /// The snapshot is of another version of the agent.
    #[error(
        "the snapshot is of another version of the agent ({0}); fork it, or upgrade the session to that version first"
    )]
    OtherAgent(Digest),
    /// The new agent did not take the session over. The session is as it was.
    #[error("the session was not upgraded: {0}")]
    NotUpgraded(String),
    /// The agent could not take its saved state back.
    #[error("the agent could not be woken: {0}")]
    Guest(String),
    /// The caller is a reader.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// A field would be out of its bounds. Nothing was changed.
    #[error(transparent)]
    Invalid(#[from] InvalidField),
    /// The session has another revision than the one that its caller has seen. Nothing was changed.
    #[error("the session was changed meanwhile: it is at revision {0} now; read it again")]
    OtherRevision(u64),
    /// Its state was removed at this time, because nobody had used it for as long as it is kept, so there is
    /// nothing to start from.
    #[error("the state of the session was removed at {0}, because nobody had used it for so long")]
    StateRemoved(Timestamp),
    /// It is a member of a group, and does this only with all of it.
    #[error(transparent)]
    MemberOfGroup(#[from] MemberOfGroup),
    /// Nothing is kept of the member of this name from the time that its group is to go back to.
    #[error("nothing is kept of the member `{0}` from that time; go back to a later snapshot")]
    MemberStateGone(String),
    /// A file is not what was asked for, or the workspace is full. Nothing was changed.
    #[error(transparent)]
    Files(#[from] FileError),
    /// Too many commands wait for this session.
    #[error("too many requests wait for this session; try again later")]
    QueueFull,
}

impl From<PatchError> for CommandError {
    fn from(error: PatchError) -> CommandError {
        match error {
            PatchError::Invalid(error) => CommandError::Invalid(error),
            PatchError::InvalidTransition(error) => CommandError::InvalidTransition(error),
            PatchError::OtherRevision(revision) => CommandError::OtherRevision(revision),
        }
    }
}

/// A turn that was answered or has failed, with the session after it.
#[derive(Clone, Debug)]
pub struct FinishedTurn {
    /// The turn.
    pub turn: TurnRecord,
    /// The session after it.
    pub session: Arc<Session>,
    /// Whether the instance is in memory after it.
    pub residency: Residency,
    /// What the host has for it.
    pub provided: Provided,
    /// Whether an earlier message with the same idempotency key has begun the turn. The session is then as it
    /// is now.
    pub replayed: bool,
}

/// A session as it is seen from outside: the committed record, and what the host knows of it in memory.
#[derive(Clone, Debug)]
pub struct SessionInfo {
    /// The record as it was last committed.
    pub session: Arc<Session>,
    /// Where the guest state is.
    pub residency: Residency,
    /// What the host has for it.
    pub provided: Provided,
    /// When the session had an instance, the one that it has included. Where nobody has noted the end of one,
    /// because the host had ended, it is taken to have ended when the session was last active.
    pub residence: Residence,
    /// The number of the turn that runs, if one does.
    pub running_turn: Option<u64>,
    /// The tool of the host that this turn waits for, if it waits for one.
    pub current_tool: Option<String>,
    /// How many mails wait in its mailbox, that of the turn that runs included.
    pub mail_waiting: u32,
    /// A caller has asked the session to stop: it has stopped, or will when its turn is over.
    pub abort_requested: bool,
    /// A caller has asked the session to end at once, also inside a turn.
    pub force_kill_requested: bool,
}

impl SessionInfo {
    /// A session of which no turn runs and for which nothing waits.
    #[must_use]
    pub fn at_rest(session: Arc<Session>, residency: Residency, provided: Provided) -> SessionInfo {
        let cause = session.state.reason().and_then(Reason::cause);
        let (has_instance, at) = (residency == Residency::Resident, session.last_activity_at);
        SessionInfo {
            residency,
            provided,
            residence: session.residence.told(has_instance, at, at),
            running_turn: None,
            current_tool: None,
            mail_waiting: 0,
            abort_requested: matches!(cause, Some(Cause::Stopped | Cause::ForceKilled)),
            force_kill_requested: cause == Some(Cause::ForceKilled),
            session,
        }
    }

    /// Where the session is in its life: `stopping` also while the turn still runs after which it ends.
    #[must_use]
    pub fn status(&self) -> Status {
        let status = self.session.state.status();
        if self.abort_requested && !status.is_final() { Status::Stopping } else { status }
    }
}

/// A command to a driver: anything but a turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Drop the instance, once its state is saved. Says what for.
    Sleep(SleepCause),
    /// The same because a caller asks for it, but for a coordinator: its members sleep before it does.
    SleepAlone,
    /// Make the instance.
    Wake,
    /// Make this move. What it does to the running turn, the inbox decides.
    Move(Move),
    /// Save what no snapshot holds yet. The instance stays.
    Save,
    /// Go back to this snapshot.
    Rewind(SnapshotId),
    /// Take messages again, from this snapshot on where one is named.
    Resume(Option<SnapshotId>),
    /// Let this agent take the session over.
    Upgrade(AgentRef),
    /// Change what the patch names.
    Change(Box<SessionPatch>),
    /// Change files.
    ChangeFiles(FilesChange),
    /// Put off the end of the idle limit, until so long after now or for the whole limit.
    Extend(Option<Duration>),
    /// Do what is due.
    Due,
    /// Remove the session if it was not active since this time.
    RemoveUnused(Timestamp),
    /// Give the session an account that others can share, where it has none.
    Share,
    /// Stand still, with all that there is saved, until nobody holds the session any more.
    Hold(Hold),
    /// Remove the session, and with a coordinator its members.
    Delete,
}

/// The bytes that a message takes besides its parts, at most: its place in the inbox, the channels of
/// its answer, and the driver of its session, which waits as well: 11 KiB, measured.
const MESSAGE: usize = 12 << 10;

/// The most that one message takes of the host's memory, in bytes.
pub(crate) const MAX_WEIGHT: u64 = weight(MAX_PARTS, MAX_MESSAGE);

const fn weight(parts: usize, bytes: usize) -> u64 {
    (MESSAGE + parts * size_of::<Part>() + bytes) as u64
}

/// A message that is to be sent.
pub(crate) struct NewMessage {
    pub(crate) sender: Sender,
    pub(crate) content: Vec<Part>,
    /// The idempotency key, with the digest of the request.
    pub(crate) key: Option<(IdempotencyKey, Digest)>,
    pub(crate) on_busy: OnBusy,
    /// The revision that the session must have when the turn begins.
    pub(crate) if_revision: Option<u64>,
    /// The session, where the message interrupts and its user may send so many in a minute.
    pub(crate) rated: Option<Arc<Session>>,
}

/// How the sender of a message gets its answer.
pub(crate) enum AnswerSource {
    /// From the driver of the session.
    Driver(oneshot::Receiver<Result<FinishedTurn, SendError>>, TurnOutput),
    /// From the store, once the turn of an earlier message with the same key is over.
    Followed(Arc<FollowedKey>),
}

/// The turn of a message with an idempotency key, for those who send that message again.
pub(crate) struct FollowedTurn {
    /// What it streams. It ends when the turn is recorded, or will never be.
    pub(crate) output: TurnOutput,
    /// Why no turn was recorded.
    pub(crate) refusal: OnceLock<SendError>,
}

/// The key of a message to a session, with its turn.
pub(crate) type FollowedKey = MessageKey<FollowedTurn>;

/// A message that waits to be answered, with the channel of its answer.
pub(crate) struct QueuedMessage {
    pub(crate) sender: Sender,
    pub(crate) content: Vec<Part>,
    pub(crate) key: Option<Arc<FollowedKey>>,
    /// The revision that the session must have when the turn begins.
    pub(crate) if_revision: Option<u64>,
    pub(crate) output: OutputGuard,
    pub(crate) answer: oneshot::Sender<Result<FinishedTurn, SendError>>,
    /// Whether it was taken from what its user may send in a minute.
    pub(crate) is_taken: bool,
    /// The mail that it is, which goes with the commit of its turn.
    pub(crate) mail: Option<TakenMail>,
    /// The request that it came with, for the log.
    pub(crate) request: Span,
    /// No message with the same key waits for another session.
    pub(crate) _key_use: Option<KeyUse>,
    /// The memory that the message takes; released with it.
    pub(crate) _charge: Charge,
}

impl QueuedMessage {
    /// The bytes that a message takes of the host's memory until it is answered.
    pub(crate) fn weight(content: &[Part]) -> u64 {
        weight(content.len(), content.iter().map(Part::len).sum())
    }
}

/// The result of a command: the session after it, and none where it was removed.
pub(crate) type CommandResult = Result<Option<Arc<Session>>, CommandError>;

/// Where the sender of a command waits for what comes of it.
pub(crate) struct CommandReply {
    /// The channel that tells it.
    pub(crate) answer: oneshot::Sender<CommandResult>,
    /// The request that it came with, for the log.
    pub(crate) request: Span,
}
