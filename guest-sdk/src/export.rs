//! The exports of a component, in terms of the one agent that it contains.

mod population;

use std::{
    cell::RefCell,
    io::{self, Write},
    thread::LocalKey,
    time::{Duration, SystemTime},
};

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Agent, Host,
    bindings::{
        handler::exports::dormouse::agent::handler as wire,
        state::exports::dormouse::agent::state as state_wire,
    },
    handler::{Blob, Error, Json, Part, Reply, Request, Sender, Turn},
    host, state,
};

pub use population::ExportedPopulation;

/// Where a component keeps its agent. Empty until the first call.
pub type Slot<A> = LocalKey<RefCell<Option<A>>>;

/// A component that contains an agent.
pub trait Exported: 'static {
    /// The agent.
    type Agent: Agent;

    /// Where it is kept. A function, because only the expansion of the macro, which knows the type,
    /// can declare the variable.
    fn slot() -> &'static Slot<Self::Agent>;
}

/// A component that exports the state of its agent besides.
pub trait ExportedState: Exported<Agent: Serialize + DeserializeOwned> {}

impl<E: Exported> wire::Guest for E {
    fn handle(turn: wire::Turn) -> Result<wire::Reply, wire::Failure> {
        let turn = Turn::from(turn);
        let host = Host::new(host::Backend);
        let answer = E::slot().with_borrow_mut(|slot| {
            let agent = slot.get_or_insert_with(Default::default);
            agent.dispatch(&turn, &host).map(wire::Reply::from).map_err(wire::Failure::from)
        });
        end_line();
        answer
    }
}

impl<E: ExportedState> state_wire::Guest for E {
    fn save() -> Result<state_wire::Saved, state_wire::Error> {
        let saved = E::slot().with_borrow_mut(|slot| {
            let agent = slot.get_or_insert_with(Default::default);
            let saved = state::save(agent).map_err(state_wire::Error::from)?;
            Ok(state_wire::Saved { version: saved.version, data: saved.data })
        });
        end_line();
        saved
    }

    fn restore(saved: state_wire::Saved) -> Result<(), state_wire::Error> {
        let saved = state::Saved { version: saved.version, data: saved.data };
        let agent = state::restore(&saved).map_err(state_wire::Error::from)?;
        E::slot().set(Some(agent));
        Ok(())
    }
}

/// Hands over what was printed without the end of a line. It would stay in the memory of the component
/// else, be copied with it into forks, and come out in the log of a later turn.
fn end_line() {
    // The standard output of a component never fails.
    let _ = io::stdout().flush();
}

impl From<wire::Turn> for Turn {
    fn from(turn: wire::Turn) -> Self {
        let deadline = SystemTime::UNIX_EPOCH
            .checked_add(Duration::from_millis(turn.deadline))
            // Only a deadline beyond all clocks is out of range, which is no deadline at all.
            .unwrap_or(SystemTime::UNIX_EPOCH + Duration::from_secs(u32::MAX.into()));
        Turn {
            id: turn.id,
            number: turn.number,
            sender: turn.sender.into(),
            content: turn.content.into_iter().map(Part::from).collect(),
            deadline,
            fuel: turn.fuel,
        }
    }
}

impl From<wire::Sender> for Sender {
    fn from(sender: wire::Sender) -> Self {
        match sender {
            wire::Sender::User => Sender::User,
            wire::Sender::Agent(id) => Sender::Agent(id),
            wire::Sender::Timer(name) => Sender::Timer(name),
            wire::Sender::Host(wire::Request::Compact) => Sender::Host(Request::Compact),
        }
    }
}

impl From<wire::Part> for Part {
    fn from(part: wire::Part) -> Self {
        match part {
            wire::Part::Text(text) => Part::Text(text),
            wire::Part::Json(document) => Part::Json(Json::from_text(document)),
            wire::Part::Blob(blob) => {
                Part::Blob(Blob { media_type: blob.media_type, data: blob.data })
            }
        }
    }
}

impl From<Part> for wire::Part {
    fn from(part: Part) -> Self {
        match part {
            Part::Text(text) => wire::Part::Text(text),
            Part::Json(json) => wire::Part::Json(json.into_text()),
            Part::Blob(blob) => {
                wire::Part::Blob(wire::Blob { media_type: blob.media_type, data: blob.data })
            }
        }
    }
}

impl From<Reply> for wire::Reply {
    fn from(reply: Reply) -> Self {
        wire::Reply {
            content: reply.content.into_iter().map(wire::Part::from).collect(),
            complete: reply.complete,
        }
    }
}

impl From<Error> for wire::Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Invalid(message) => wire::Failure::Invalid(message),
            Error::Declined => wire::Failure::Declined,
            Error::Failed(message) => wire::Failure::Failed(message),
        }
    }
}

impl From<state::Error> for state_wire::Error {
    fn from(error: state::Error) -> Self {
        match error {
            state::Error::UnsupportedVersion(version) => {
                state_wire::Error::UnsupportedVersion(version)
            }
            state::Error::Invalid(reason) => state_wire::Error::Invalid(reason),
        }
    }
}
