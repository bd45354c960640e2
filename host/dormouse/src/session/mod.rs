//! What is done to a session, and the one task that may change it. What a session *is*, and the pure
//! rules of its life, is in the crate `dormouse-domain`.
//!
//! - [`request`]: what can be asked of a session, and what comes back.
//! - `answering`: which language model answers its agent.
//! - `asks`: who waits for whom, and how a question to another session becomes a turn of it.
//! - `idempotency`: what a message with an idempotency key has led to.
//! - `inbox`: what waits for a session, and what each arrival does to the turn in progress; pure.
//! - `registry`: finds or starts the driver of a session. Look-up-or-start and
//!   remove-when-idle are one critical section, so that two drivers never meet.
//! - `services`: what the drivers use: the store, the sandbox, the clock, memory, and what follows.
//! - `driver`: the only mutator of a session. It lives while there is work, with or without an
//!   instance, and commits before it tells anybody. Without memory or a permit for an instance it waits
//!   in the fair queue.
//! - `residents`: idle instances, kept while memory allows; the longest idle goes first.
//! - `slept`: tells of sleeps in the background. `settling`: whether anything is left to be done.
//! - `delivery`: tells sessions of the mail that waits for them when a host starts.
//! - `members`: creates the members of groups, and has sessions stand still while their group changes as one.
//! - `left_open`: turns that are open in the store, and that no driver runs.
//! - `provided`: what the host has for a session.
//! - `liveness`: whether the host takes work, and whether a task of it has died.
//! - `timekeeper`: sees to it that what is due happens, without walking the sessions.
//! - `expiry`: removes what is too old of what is kept for a time only.

pub mod answering;
pub(crate) mod asks;
pub(crate) mod delivery;
pub(crate) mod driver;
pub(crate) mod expiry;
pub(crate) mod idempotency;
pub(crate) mod inbox;
pub(crate) mod left_open;
pub(crate) mod liveness;
pub(crate) mod members;
pub mod provided;
pub(crate) mod registry;
pub mod request;
pub(crate) mod residents;
pub(crate) mod schedules;
pub(crate) mod services;
pub(crate) mod settling;
pub(crate) mod slept;
pub(crate) mod timekeeper;
