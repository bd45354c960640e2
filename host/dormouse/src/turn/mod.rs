//! One turn of a session: whether it may run, what it may spend, what is streamed, and what it
//! leaves behind. What is kept of it is in the crate `dormouse-domain`.
//!
//! [`admission`] and [`settlement`] are pure: record in, decision or commit out. Between the two,
//! [`execution`] calls the guest in a [`world`].

pub(crate) mod admission;
pub(crate) mod execution;
pub mod output;
pub(crate) mod settlement;
pub(crate) mod world;
