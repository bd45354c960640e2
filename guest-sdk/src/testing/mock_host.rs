//! The host of an agent under test.

use std::{
    cell::{RefCell, RefMut},
    collections::{BTreeMap, BTreeSet, VecDeque},
    path::PathBuf,
    rc::Rc,
};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::metrics::Sample;
use super::timers::NOW;
use super::tools::MockTool;
use super::view::SeenWorld;
use super::world::{Backend, Event, LogLine, World};
use crate::{
    Agent, Host, files,
    handler::{Part, Reply, Request, Result, Sender, Turn},
    model::{self, Answer},
    session::{Limits, Pattern, Usage},
    state, tools,
    world::Moment,
};

/// A host that runs an agent's turns in a unit test.
///
/// ```
/// use dormouse_sdk::{prelude::*, testing::MockHost};
///
/// #[derive(Default)]
/// struct Greeter;
///
/// impl Agent for Greeter {
///     fn handle(&mut self, turn: &Turn, host: &Host) -> Result<Reply> {
///         host.output().text("Hello")?;
///         let greeting: String = host.session().config("greeting")?.unwrap_or("Hello".to_owned());
///         Ok(Reply::text(format!("{greeting}, {}!", turn.text())))
///     }
/// }
///
/// let mut mock = MockHost::new().with_config("greeting", "Welcome");
/// let reply = mock.turn(&mut Greeter, "Alice").unwrap();
/// assert_eq!(reply, Reply::text("Welcome, Alice!"));
/// assert_eq!(mock.streamed_text(), "Hello");
/// ```
#[derive(Debug)]
pub struct MockHost {
    host: Host,
    world: Rc<RefCell<World>>,
}

impl Default for MockHost {
    fn default() -> Self {
        MockHost::new()
    }
}

impl MockHost {
    /// A hybrid session named `session-1` without configuration, with wide limits and an empty
    /// context document.
    pub fn new() -> Self {
        let world = Rc::new(RefCell::new(World {
            id: "session-1".to_owned(),
            pattern: Pattern::Hybrid,
            config: BTreeMap::new(),
            limits: Limits {
                turns: None,
                cost: None,
                fuel: None,
                fuel_per_turn: u64::MAX,
                memory: 64 << 20,
            },
            usage: Usage::default(),
            uncounted: 0,
            context: Value::Object(serde_json::Map::new()),
            checkpoint: None,
            workspace: files::WORKSPACE.into(),
            now: NOW,
            timers: BTreeMap::new(),
            peers: BTreeSet::new(),
            sender: Sender::User,
            mail: Vec::new(),
            peer_answers: VecDeque::new(),
            output_limit: 1 << 20,
            output_used: 0,
            text: String::new(),
            events: Vec::new(),
            log: Vec::new(),
            samples: Vec::new(),
            answers: VecDeque::new(),
            requests: Vec::new(),
            tools: Vec::new(),
            seen: SeenWorld::default(),
            tool_calls: Vec::new(),
        }));
        MockHost { host: Host::new(Backend(Rc::clone(&world))), world }
    }

    /// Sets the id of the session.
    #[must_use]
    pub fn with_id(self, id: impl Into<String>) -> Self {
        self.world().id = id.into();
        self
    }

    /// Sets how the session is hosted.
    #[must_use]
    pub fn with_pattern(self, pattern: Pattern) -> Self {
        self.world().pattern = pattern;
        self
    }

    /// Sets one value of the configuration.
    ///
    /// # Panics
    ///
    /// When the value has no form in JSON.
    #[must_use]
    pub fn with_config(self, key: impl Into<String>, value: impl Serialize) -> Self {
        let value = serde_json::to_value(value).expect("a configured value has a form in JSON");
        self.world().config.insert(key.into(), value);
        self
    }

    /// Sets what the session may spend. Nothing enforces it here.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        self.world().limits = limits;
        self
    }

    /// Sets what the session has spent. Turns count on from there.
    #[must_use]
    pub fn with_usage(self, usage: Usage) -> Self {
        self.world().usage = usage;
        self
    }

    /// Sets the context document.
    ///
    /// # Panics
    ///
    /// When the document is not a JSON object.
    #[must_use]
    pub fn with_context(self, context: impl Serialize) -> Self {
        let context = serde_json::to_value(context).expect("a context has a form in JSON");
        assert!(context.is_object(), "a context is a JSON object");
        self.world().context = context;
        self
    }

    /// Sets the checkpoint.
    ///
    /// # Panics
    ///
    /// When the checkpoint is not a JSON object.
    #[must_use]
    pub fn with_checkpoint(self, checkpoint: impl Serialize) -> Self {
        let checkpoint = serde_json::to_value(checkpoint).expect("a checkpoint has a form in JSON");
        assert!(checkpoint.is_object(), "a checkpoint is a JSON object");
        self.world().checkpoint = Some(checkpoint);
        self
    }

    /// Sets the directory that is the workspace of the session: an absolute path. Without it there is none.
    #[must_use]
    pub fn with_workspace(self, directory: impl Into<PathBuf>) -> Self {
        self.world().workspace = directory.into();
        self
    }

    /// Sets how many bytes a turn may stream: 1 MiB unless it is set.
    #[must_use]
    pub fn with_output_limit(self, bytes: u64) -> Self {
        self.world().output_limit = bytes;
        self
    }

    /// Adds what a model answers next: each request takes the first that is left, whichever model it asks.
    #[must_use]
    pub fn with_answer(self, answer: Answer) -> Self {
        self.world().answers.push_back(Ok(answer));
        self
    }

    /// Adds an error that a model answers with next.
    #[must_use]
    pub fn with_model_error(self, error: model::Error) -> Self {
        self.world().answers.push_back(Err(error));
        self
    }

    /// Adds a tool of the host, and what it does with its arguments.
    #[must_use]
    pub fn with_tool(
        self,
        name: impl Into<String>,
        run: impl Fn(&Value) -> Result<tools::Answer, tools::Error> + 'static,
    ) -> Self {
        self.world().tools.push(MockTool::new(name.into(), run));
        self
    }

    /// The handle that agents get.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Has an agent answer a user's text.
    ///
    /// # Errors
    ///
    /// The agent's.
    pub fn turn<A: Agent>(&mut self, agent: &mut A, text: &str) -> Result<Reply> {
        self.send(agent, Turn::new([Part::text(text)]))
    }

    /// Has an agent answer a turn, which gets the next number and, with it, an id.
    ///
    /// What was streamed and sampled in the turn before is forgotten.
    ///
    /// # Errors
    ///
    /// The agent's.
    pub fn send<A: Agent>(&mut self, agent: &mut A, mut turn: Turn) -> Result<Reply> {
        {
            let mut world = self.world();
            world.output_used = 0;
            world.text.clear();
            world.events.clear();
            world.mail.clear();
            world.samples.clear();
            world.sender = turn.sender.clone();
            world.seen.moment = Moment::of(&turn);
            turn.number = world.usage.turns + world.uncounted + 1;
            turn.id = format!("turn-{}", turn.number);
        }
        let checkpoint = self.checkpoint();
        let answer = agent.dispatch(&turn, &self.host);
        let mut world = self.world();
        if answer.is_err() {
            world.checkpoint = checkpoint;
            world.mail.clear();
        }
        match answer {
            Err(crate::Error::Invalid(_) | crate::Error::Declined) => world.uncounted += 1,
            Ok(_) | Err(crate::Error::Failed(_)) => world.usage.turns += 1,
        }
        drop(world);
        answer
    }

    /// Asks an agent to make its state smaller.
    ///
    /// # Errors
    ///
    /// The agent's: [`crate::Error::Declined`] if it does not override [`Agent::compact`].
    pub fn compact<A: Agent>(&mut self, agent: &mut A) -> Result<Reply> {
        let mut turn = Turn::new([Part::text("compact")]);
        turn.sender = Sender::Host(Request::Compact);
        self.send(agent, turn)
    }

    /// Saves an agent's state and makes a new agent of it, as an upgrade does.
    ///
    /// # Errors
    ///
    /// When the state does not encode or decode.
    pub fn reload<A>(&self, agent: &A) -> Result<A, state::Error>
    where
        A: Agent + Serialize + DeserializeOwned,
    {
        state::restore(&state::save(agent)?)
    }

    /// The text that the agent streamed in the last turn.
    pub fn streamed_text(&self) -> String {
        self.world().text.clone()
    }

    /// The events that the agent streamed in the last turn.
    pub fn events(&self) -> Vec<Event> {
        self.world().events.clone()
    }

    /// The checkpoint, as the last turn that did not fail has left it.
    pub fn checkpoint(&self) -> Option<Value> {
        self.world().checkpoint.clone()
    }

    /// What the agent has asked models in all turns.
    pub fn model_requests(&self) -> Vec<model::Request> {
        self.world().requests.clone()
    }

    /// The tools of the host that the agent has called in all turns, with their arguments.
    pub fn tool_calls(&self) -> Vec<(String, Value)> {
        self.world().tool_calls.clone()
    }

    /// The lines that the agent logged in all turns.
    pub fn log_lines(&self) -> Vec<LogLine> {
        self.world().log.clone()
    }

    /// The numbers that the agent sampled in the last turn, also where that failed.
    pub fn samples(&self) -> Vec<Sample> {
        self.world().samples.clone()
    }

    pub(super) fn world(&self) -> RefMut<'_, World> {
        self.world.borrow_mut()
    }
}
