//! Stable words of errors that several errors have: the same through the library and over HTTP.
//!
//! A word stays what it is from version to version, so that programs and tests can go by it.

/// What is told of a defect of the host: its log says more.
pub const INTERNAL: &str = "internal";
/// There is no such session.
pub const SESSION_NOT_FOUND: &str = "session_not_found";
/// There is no such agent, or the caller cannot name it.
pub const AGENT_NOT_FOUND: &str = "agent_not_found";
/// The session is over, about to end, or in error.
pub const NOT_ACTIVE: &str = "session_not_active";
/// The host has no memory now.
pub const OUT_OF_MEMORY: &str = "out_of_memory";
/// The host is shutting down.
pub const SHUTTING_DOWN: &str = "shutting_down";
/// A field is out of its bounds, or of another type.
pub const INVALID_FIELD: &str = "invalid_field";
/// This host does not read the state of the session.
pub const UNUSABLE: &str = "snapshot_unusable";
/// What was asked for belongs to another owner.
pub const NOT_OWNER: &str = "not_owner";
/// The role of the caller does not allow it.
pub const FORBIDDEN: &str = "forbidden";
/// It was done as often as it may be in a minute.
pub const RATE_LIMITED: &str = "rate_limited";
/// There is as much of it as there may be.
pub const QUOTA_EXCEEDED: &str = "quota_exceeded";
/// The session has another revision than the caller expects.
pub const PRECONDITION_FAILED: &str = "precondition_failed";
/// A turn runs or waits, and what was asked for does not wait for its end.
pub const TURN_IN_PROGRESS: &str = "turn_in_progress";
/// The idempotency key came with another request before.
pub const IDEMPOTENCY_KEY_REUSED: &str = "idempotency_key_reused";
