//! Workspaces as their users see them: what they do, what they cost, and what damage does to them.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cost;
mod damage;
mod differences;
mod form;
mod handles;
mod host;
mod lists;
mod model;
mod paths;
mod quotas;
mod subtrees;
mod support;
