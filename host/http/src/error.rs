//! The one error of the API: a status, a stable code, a sentence that says what to do, and what
//! else belongs to it.
//!
//! The body is written by the outermost layer (`frame.rs`), which knows the id of the request. What
//! is nobody's fault but the host's is logged there under that id, and told to nobody.

use std::borrow::Cow;
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value};

use super::codes::Code;
use super::model::error::ErrorBody;
use dormouse::{NotActive, Pattern, Status};
use dormouse_domain::code;

/// Seconds after which a caller may try again what was refused for want of something.
const RETRY_AFTER: &str = "1";

/// An answer that is not what was asked for.
#[derive(Clone, Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    code: &'static str,
    error: String,
    more: Map<String, Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// For the log alone.
    cause: Option<String>,
}

impl ApiError {
    /// An error of this status and code, with a sentence that says what to do.
    pub(super) fn new(
        status: StatusCode,
        code: &'static str,
        error: impl Into<String>,
    ) -> ApiError {
        debug_assert!(
            Code::is_told(code, status.as_u16()),
            "{code} does not stand in the table of codes with the status {status}"
        );
        let (more, headers) = (Map::new(), Vec::new());
        ApiError { status, code, error: error.into(), more, headers, cause: None }
    }

    /// The same, with one more field.
    pub(super) fn with(mut self, name: &str, value: impl Into<Value>) -> ApiError {
        self.more.insert(name.to_owned(), value.into());
        self
    }

    /// The same, with a header.
    pub(super) fn header(mut self, name: HeaderName, value: &'static str) -> ApiError {
        self.headers.push((name, HeaderValue::from_static(value)));
        self
    }

    /// The same, and trying again later helps.
    pub(super) fn retry_later(self) -> ApiError {
        self.header(header::RETRY_AFTER, RETRY_AFTER)
    }

    /// The same, and trying again after this time helps: whole seconds, at least one.
    pub(super) fn retry_after(mut self, wait: Duration) -> ApiError {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        self.headers.push((header::RETRY_AFTER, seconds.max(1).into()));
        self
    }

    /// A defect of the host or its machine. The cause is logged and not told.
    pub(super) fn internal(cause: impl Into<String>) -> ApiError {
        let error = "the host could not do this; its log has the reason under the requestId";
        let mut internal = ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, code::INTERNAL, error);
        internal.cause = Some(cause.into());
        internal
    }

    /// A field that is out of bounds or of another type.
    pub(super) fn invalid_field(
        field: impl Into<Cow<'static, str>>,
        problem: impl AsRef<str>,
    ) -> ApiError {
        let field = field.into();
        let error = format!("{field} {}", problem.as_ref());
        ApiError::new(StatusCode::BAD_REQUEST, code::INVALID_FIELD, error).with("field", &*field)
    }

    /// A value that its type does not take, in this field, at this place. Two fields have codes of their own.
    pub(super) fn unreadable(field: String, place: &str, problem: &str) -> ApiError {
        match field.as_str() {
            "pattern" => ApiError::invalid_pattern(),
            "status" => ApiError::invalid_status(),
            _ => {
                let error = format!("{place} {problem}");
                ApiError::new(StatusCode::BAD_REQUEST, code::INVALID_FIELD, error)
                    .with("field", field)
            }
        }
    }

    /// A field that asks for what this version does not do.
    pub(super) fn not_supported(field: &'static str) -> ApiError {
        let error = format!("{field} is not supported by this version; leave it out");
        ApiError::new(StatusCode::BAD_REQUEST, "not_supported", error).with("field", field)
    }

    /// A field that the host does not know, and that was probably meant to be another.
    pub(super) fn unknown_field(field: String, meant: String) -> ApiError {
        ApiError::unknown("field", field, meant)
    }

    /// The same, of a parameter of the query.
    pub(super) fn unknown_parameter(name: &str, meant: &str) -> ApiError {
        ApiError::unknown("parameter", name.to_owned(), meant.to_owned())
    }

    fn unknown(what: &str, field: String, meant: String) -> ApiError {
        let error = format!("there is no {what} {field}: did you mean {meant}?");
        ApiError::new(StatusCode::BAD_REQUEST, "unknown_field", error)
            .with("field", field)
            .with("meant", meant)
    }

    pub(super) fn invalid_pattern() -> ApiError {
        let valid: Vec<&str> = Pattern::ALL.iter().map(|pattern| pattern.as_str()).collect();
        ApiError::new(StatusCode::BAD_REQUEST, "invalid_pattern", "Invalid pattern")
            .with("validPatterns", valid)
    }

    pub(super) fn invalid_status() -> ApiError {
        let valid: Vec<&str> = Status::ALL.iter().map(|status| status.as_str()).collect();
        ApiError::new(StatusCode::BAD_REQUEST, "invalid_status", "Invalid status")
            .with("validStatuses", valid)
    }

    pub(super) fn session_not_found(id: &str) -> ApiError {
        ApiError::new(StatusCode::NOT_FOUND, code::SESSION_NOT_FOUND, "Session not found")
            .with("id", id)
    }

    pub(super) fn key_not_found(id: &str) -> ApiError {
        let error = "there is no such key; GET /api/keys lists those there are";
        let shown: String = id.chars().take(64).collect();
        ApiError::new(StatusCode::NOT_FOUND, "key_not_found", error).with("id", shown)
    }

    pub(super) fn schedule_not_found(id: &str) -> ApiError {
        let error = "there is no such schedule; GET /api/schedules lists those there are";
        let shown: String = id.chars().take(64).collect();
        ApiError::new(StatusCode::NOT_FOUND, "schedule_not_found", error).with("id", shown)
    }

    pub(super) fn simulation_not_found(id: &str) -> ApiError {
        let error = "there is no such simulation; GET /api/simulations lists those there are";
        let shown: String = id.chars().take(64).collect();
        ApiError::new(StatusCode::NOT_FOUND, "simulation_not_found", error).with("id", shown)
    }

    pub(super) fn experiment_not_found(id: &str) -> ApiError {
        let error = "there is no such experiment; GET /api/experiments lists those there are";
        let shown: String = id.chars().take(64).collect();
        ApiError::new(StatusCode::NOT_FOUND, "experiment_not_found", error).with("id", shown)
    }

    pub(super) fn not_active(inactive: &NotActive) -> ApiError {
        let text = inactive.to_string();
        ApiError::new(StatusCode::CONFLICT, code::NOT_ACTIVE, text)
            .with("status", inactive.status.as_str())
            .with("reason", inactive.reason.as_ref().map(|reason| reason.0.as_str()))
    }

    pub(super) fn snapshot_unusable(text: String) -> ApiError {
        ApiError::new(StatusCode::CONFLICT, code::UNUSABLE, text)
    }

    pub(super) fn shutting_down() -> ApiError {
        let error = "the host is shutting down; try again when it is back";
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, code::SHUTTING_DOWN, error).retry_later()
    }

    pub(super) fn overloaded() -> ApiError {
        let error = "the server has too many requests under way; try again later";
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", error).retry_later()
    }

    pub(super) fn out_of_memory() -> ApiError {
        let error = "the host has no memory for this now; try again later, or let its operator raise \
                     `memory-budget`";
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, code::OUT_OF_MEMORY, error).retry_later()
    }

    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    /// The sentence.
    pub(super) fn sentence(&self) -> &str {
        &self.error
    }

    pub(super) fn code(&self) -> &'static str {
        self.code
    }

    /// What the log is told besides the code.
    pub(super) fn cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }

    /// What the caller is told.
    pub(super) fn body(&self, request_id: &str) -> ErrorBody {
        ErrorBody {
            error: self.error.clone(),
            code: self.code,
            request_id: request_id.to_owned(),
            more: self.more.clone(),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.headers_mut().extend(self.headers.iter().cloned());
        response.extensions_mut().insert(self);
        response
    }
}
