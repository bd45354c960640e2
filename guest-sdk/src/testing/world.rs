//! What a mock host holds and records. Shared by the mock and the handle that agents get.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, VecDeque},
    path::PathBuf,
    rc::Rc,
    time::SystemTime,
};

use serde_json::Value;

use super::Mail;
use super::metrics::Sample;
use super::tools::MockTool;
use super::view::SeenWorld;
use crate::{
    handler::{Part, Sender},
    log::Level,
    model::{self, Answer, Request},
    output, peers,
    session::{CheckpointError, Limits, Pattern, Usage},
    timers::Timer,
};

/// The most bytes of a checkpoint, as each host has it.
const MAX_CHECKPOINT: usize = 64 * 1024;

/// An event that an agent streamed.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its name.
    pub name: String,
    /// Its data.
    pub data: Value,
}

/// A line that an agent logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// How much it matters.
    pub level: Level,
    /// The message.
    pub message: String,
    /// The named values, in the order in which they were given.
    pub fields: Vec<(String, String)>,
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) id: String,
    pub(super) pattern: Pattern,
    pub(super) config: BTreeMap<String, Value>,
    pub(super) limits: Limits,
    pub(super) usage: Usage,
    /// Turns that had a number and did not count.
    pub(super) uncounted: u64,
    pub(super) context: Value,
    pub(super) checkpoint: Option<Value>,
    pub(super) workspace: PathBuf,
    pub(super) now: SystemTime,
    pub(super) timers: BTreeMap<String, Timer>,
    /// The names of the peers of the session.
    pub(super) peers: BTreeSet<String>,
    /// Who has sent the turn that runs.
    pub(super) sender: Sender,
    /// What the turn has sent to peers.
    pub(super) mail: Vec<Mail>,
    /// What peers answer next, the first first.
    pub(super) peer_answers: VecDeque<Result<Vec<Part>, peers::Error>>,
    pub(super) output_limit: u64,
    pub(super) output_used: u64,
    pub(super) text: String,
    pub(super) events: Vec<Event>,
    pub(super) log: Vec<LogLine>,
    /// What the turn has sampled.
    pub(super) samples: Vec<Sample>,
    /// What models answer next, the first first.
    pub(super) answers: VecDeque<Result<Answer, model::Error>>,
    /// What models were asked.
    pub(super) requests: Vec<Request>,
    pub(super) tools: Vec<MockTool>,
    /// The simulated world that the agent is a member of.
    pub(super) seen: SeenWorld,
    /// What tools were called with.
    pub(super) tool_calls: Vec<(String, Value)>,
}

impl World {
    fn spend_output(&mut self, bytes: usize) -> Result<(), output::Error> {
        let used = self.output_used + bytes as u64;
        if used > self.output_limit {
            return Err(output::Error::TooLarge(self.output_limit));
        }
        self.output_used = used;
        Ok(())
    }
}

/// The host as an agent under test sees it.
#[derive(Clone, Debug)]
pub(crate) struct Backend(pub(super) Rc<RefCell<World>>);

impl Backend {
    pub(crate) fn id(&self) -> String {
        self.0.borrow().id.clone()
    }

    pub(crate) fn pattern(&self) -> Pattern {
        self.0.borrow().pattern
    }

    pub(crate) fn config(&self, key: &str) -> Result<Option<Value>, serde_json::Error> {
        Ok(self.0.borrow().config.get(key).cloned())
    }

    pub(crate) fn limits(&self) -> Limits {
        self.0.borrow().limits
    }

    pub(crate) fn usage(&self) -> Usage {
        self.0.borrow().usage
    }

    pub(crate) fn context(&self) -> String {
        self.0.borrow().context.to_string()
    }

    pub(crate) fn checkpoint(&self) -> Option<String> {
        self.0.borrow().checkpoint.as_ref().map(Value::to_string)
    }

    pub(crate) fn set_checkpoint(&self, checkpoint: &str) -> Result<(), CheckpointError> {
        if checkpoint.len() > MAX_CHECKPOINT {
            return Err(CheckpointError::TooLarge(MAX_CHECKPOINT as u64));
        }
        match serde_json::from_str(checkpoint) {
            Ok(object @ Value::Object(_)) => self.0.borrow_mut().checkpoint = Some(object),
            Ok(_) => return Err(CheckpointError::Invalid("it is not an object".to_owned())),
            Err(error) => return Err(CheckpointError::Invalid(error.to_string())),
        }
        Ok(())
    }

    pub(crate) fn workspace(&self) -> PathBuf {
        self.0.borrow().workspace.clone()
    }

    pub(crate) fn ask_model(&self, request: &Request) -> Result<Answer, model::Error> {
        let answer = {
            let mut world = self.0.borrow_mut();
            world.requests.push(request.clone());
            let none = "the test has given the mock no answer for this request";
            world.answers.pop_front().unwrap_or(Err(model::Error::Unavailable(none.to_owned())))?
        };
        if request.forward {
            // As in a host, what no longer fits into the stream is missing there alone.
            let _ = self.stream_text(&answer.text());
        }
        Ok(answer)
    }

    pub(crate) fn stream_text(&self, delta: &str) -> Result<(), output::Error> {
        let mut world = self.0.borrow_mut();
        world.spend_output(delta.len())?;
        world.text.push_str(delta);
        Ok(())
    }

    pub(crate) fn stream_event(&self, name: &str, data: &str) -> Result<(), output::Error> {
        let value = serde_json::from_str(data)
            .map_err(|error| output::Error::Invalid(error.to_string()))?;
        let mut world = self.0.borrow_mut();
        world.spend_output(name.len() + data.len())?;
        world.events.push(Event { name: name.to_owned(), data: value });
        Ok(())
    }

    pub(crate) fn log(&self, level: Level, message: &str, fields: &[(String, String)]) {
        self.0.borrow_mut().log.push(LogLine {
            level,
            message: message.to_owned(),
            fields: fields.to_vec(),
        });
    }
}
