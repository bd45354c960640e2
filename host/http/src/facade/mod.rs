//! Façades: the same sessions by the paths and the names of other systems, so that their clients move over
//! unmodified. Thin: what is asked is said in the terms of the host, and what it answers in those of the
//! client.

pub(super) mod containers;
pub(super) mod conversations;

use std::time::Duration;

/// How long a session of a façade may go without a message, unless its creator says otherwise.
const FACADE_IDLE: Duration = dormouse_domain::creation::THREAD_IDLE;
