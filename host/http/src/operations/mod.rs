//! What no type says of the routes: a name, a sentence, the codes of errors. A file a resource, a function a
//! handler, under the name of the handler.

pub(super) mod agents;
pub(super) mod containers;
pub(super) mod conversations;
pub(super) mod docs;
pub(super) mod experiments;
pub(super) mod git;
pub(super) mod health;
pub(super) mod history;
pub(super) mod keys;
pub(super) mod lifecycle;
pub(super) mod messages;
pub(super) mod schedules;
pub(super) mod sessions;
pub(super) mod simulations;
pub(super) mod snapshots;
pub(super) mod templates;
pub(super) mod workspace;
