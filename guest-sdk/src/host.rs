//! The handle through which an agent reaches its host.

#[cfg(target_arch = "wasm32")]
mod component;

#[cfg(target_arch = "wasm32")]
pub(crate) use component::Backend;

#[cfg(not(target_arch = "wasm32"))]
use crate::testing::Backend;

use crate::{
    files::Files,
    log::Log,
    metrics::Metrics,
    model::Models,
    output::Output,
    peers::Peers,
    session::Session,
    timers::Timers,
    tools::HostTools,
    world::{Moment, WorldView},
};

/// The host of an agent, as one turn sees it.
///
/// Behind it stands either the component's imports or, natively, a `testing::MockHost`. The choice
/// is made at compile time and not by a trait object: a table of methods would import every
/// interface into every agent, and a component that does not import an interface cannot use it.
#[derive(Debug)]
pub struct Host {
    backend: Backend,
}

impl Host {
    pub(crate) fn new(backend: Backend) -> Self {
        Host { backend }
    }

    pub(crate) fn backend(&self) -> &Backend {
        &self.backend
    }

    /// What the agent may know of the session that it serves.
    pub fn session(&self) -> Session<'_> {
        Session::new(self)
    }

    /// Streams parts of the answer while the turn runs.
    pub fn output(&self) -> Output<'_> {
        Output::new(self)
    }

    /// Asks language models.
    pub fn model(&self) -> Models<'_> {
        Models::new(self)
    }

    /// Calls tools that the host has.
    pub fn tools(&self) -> HostTools<'_> {
        HostTools::new(self)
    }

    /// The workspace of the session: `/workspace`, and in a test the directory that it has set.
    pub fn files(&self) -> Files {
        Files::at(self.backend.workspace())
    }

    /// Wakes the agent later.
    pub fn timers(&self) -> Timers<'_> {
        Timers::new(self)
    }

    /// Writes to the agents of other sessions.
    pub fn peers(&self) -> Peers<'_> {
        Peers::new(self)
    }

    /// Samples named numbers.
    pub fn metrics(&self) -> Metrics<'_> {
        Metrics::new(self)
    }

    /// Shows the world that the agent is a member of, in a turn that this world has sent.
    ///
    /// Whoever looks at the world in another turn traps, and panics in a test.
    pub fn world<'a>(&'a self, moment: &'a Moment) -> WorldView<'a> {
        WorldView::new(self, moment)
    }

    /// Writes to the log of the session.
    pub fn log(&self) -> Log<'_> {
        Log::new(self)
    }
}
