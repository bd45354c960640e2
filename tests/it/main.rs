//! The whole host in this process, with real guests, a real store and a clock turned by hand.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod adapted;
mod agents;
mod commands;
mod conversation;
mod crowd;
mod deadlines;
mod documents;
mod ends;
mod fetches;
mod follow;
mod fuzz;
mod groups;
mod history;
mod hostile;
mod http;
mod images;
mod limits;
mod memory;
mod misbehaviour;
mod models;
mod names;
mod peers;
mod pressure;
mod random;
mod residency;
mod restart;
mod retention;
mod samples;
mod schedules;
mod scripting;
mod settling;
mod simulations;
mod streaming;
mod tidy;
mod timers;
mod tools;
mod transparency;
mod upgrades;
mod waiting;
mod workspaces;
