//! One turn of a session: whether it may run, what it may spend, what is streamed, and what it
//! leaves behind. What is kept of it is in the crate `dormouse-domain`.
//!
//! [`admission`] and [`settlement`] are pure: record in, decision or commit out. The driver of the
//! session calls the guest between the two.

pub(crate) mod admission;
pub mod output;
pub(crate) mod settlement;
