//! The tools that the host has itself, for agents and the models that they ask.
//!
//! Invariants: a tool looks at its arguments before it does anything, and everything that it takes and gives has a bound.
//! Nothing here opens a connection: what goes to the web goes through `dormouse-egress`, with the rules of the operator and
//! of the session.
//!
//! Knows no session, no journal and no guest: who calls says whose call it is, which tools the session may use, and keeps
//! account of it.

#![deny(missing_docs)]

mod page;
mod task;
mod web_fetch;

pub use task::Task;
pub use web_fetch::{MAX_PAGE_BYTES, MAX_TEXT_BYTES, WebFetch};

use dormouse_base::shares::{Callers, FairSemaphore};
use dormouse_domain::model::ModelTool;
use dormouse_domain::tool::HostTool;

/// How many pages are made into text at a time. Each takes some ten milliseconds for each MiB.
const READERS: usize = 4;

/// The tools of one host.
pub struct Tools {
    /// Places for reading pages, which principals share.
    readers: FairSemaphore,
}

impl Tools {
    /// Those of a new host, where principals share by this.
    #[must_use]
    pub fn new(callers: Callers) -> Tools {
        Tools { readers: FairSemaphore::new(READERS, callers) }
    }
}

/// What a model is told of this tool. `others`: who takes tasks of the session, by name, and what for.
#[must_use]
pub fn describe<'a>(
    tool: HostTool,
    others: impl Iterator<Item = (&'a str, Option<&'a str>)> + Clone,
) -> ModelTool {
    let (description, schema) = match tool {
        HostTool::Task => (task::description(others.clone()), task::schema(others.map(|it| it.0))),
        HostTool::WebFetch => (web_fetch::DESCRIPTION.to_owned(), web_fetch::SCHEMA.to_owned()),
    };
    ModelTool { name: tool.as_str().to_owned(), description, schema }
}
