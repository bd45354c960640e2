//! Repositories as a stock git sees them: what it clones and fetches, against the trees that it is made of.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod clones;
mod costs;
mod faults;
mod fetches;
mod garbage;
mod hostile;
mod ids;
mod large;
mod partial;
mod server;
mod support;
