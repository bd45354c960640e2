//! What the errors of the protocol and of its transports mean to whoever has asked.

use std::io;
use std::time::Duration;

use rmcp::service::{ClientInitializeError, ServiceError};
use rmcp::transport::DynamicTransportError;
use rmcp::transport::streamable_http_client::StreamableHttpError;

use crate::error::{McpError, told};
use crate::refused;
use dormouse_egress::{Arrival, EgressError, EgressFailure};

/// When it is worth while to ask a server again that was not available for the first time.
const RETRY: Duration = Duration::from_secs(1);
/// The longest that a server may send its callers away.
const LONGEST_RETRY: Duration = Duration::from_secs(3_600);

pub(crate) fn unavailable(server: &str, problem: impl Into<String>) -> McpError {
    McpError::Unavailable { server: server.to_owned(), problem: problem.into(), retry_after: RETRY }
}

/// The process cannot be started. Which program it is, is the operator's.
pub(crate) fn not_started(server: &str, error: &io::Error) -> McpError {
    tracing::warn!(server, %error, "the process of an MCP server cannot be started");
    unavailable(server, "its process cannot be started")
}

/// The server was not ready.
pub(crate) fn of_start(server: &str, error: ClientInitializeError) -> McpError {
    match error {
        ClientInitializeError::TransportError { error, .. } => match of_transport(server, &error) {
            // No tool was called: nothing can have happened that matters.
            McpError::Broken { problem, .. } | McpError::Protocol { problem, .. } => {
                unavailable(server, problem)
            }
            other => other,
        },
        ClientInitializeError::JsonRpcError(error) => {
            let problem = refused::error(server, &error).to_string();
            unavailable(server, problem)
        }
        ClientInitializeError::ConnectionClosed(_) => {
            unavailable(server, "it ended before it was ready")
        }
        _ => unavailable(server, "it does not speak the protocol"),
    }
}

/// A request has no answer.
pub(crate) fn of_request(server: &str, error: ServiceError) -> McpError {
    let broken =
        |problem: &str| McpError::Broken { server: server.to_owned(), problem: problem.to_owned() };
    match error {
        ServiceError::McpError(error) => refused::error(server, &error),
        ServiceError::TransportSend(error) => of_transport(server, &error),
        ServiceError::UnexpectedResponse | ServiceError::InputRequiredRoundsExceeded { .. } => {
            McpError::Protocol {
                server: server.to_owned(),
                problem: "its answer is none to what it was asked, or asks for something itself"
                    .to_owned(),
            }
        }
        _ => broken("it closed the connection"),
    }
}

fn of_transport(server: &str, error: &DynamicTransportError) -> McpError {
    let server = server.to_owned();
    let broken = |problem: String| McpError::Broken { server: server.clone(), problem };
    match error.error.downcast_ref::<StreamableHttpError<EgressFailure>>() {
        Some(StreamableHttpError::Client(failure)) => match failure.arrival {
            Arrival::NotSent if is_of_owner(&failure.error) => {
                McpError::Busy { retry_after: RETRY }
            }
            Arrival::NotSent => {
                McpError::Unavailable { server, problem: failure.to_string(), retry_after: RETRY }
            }
            Arrival::MayHaveArrived => broken(failure.to_string()),
        },
        Some(StreamableHttpError::HttpStatus(status)) => {
            let problem = format!("HTTP {}", status.status);
            let seconds = status.retry_after.as_deref().and_then(|it| it.parse().ok());
            let retry_after = Duration::from_secs(seconds.unwrap_or(1)).clamp(RETRY, LONGEST_RETRY);
            match status.status {
                // These servers say that they have not begun.
                429 | 503 => McpError::Unavailable { server, problem, retry_after },
                _ => broken(problem),
            }
        }
        Some(StreamableHttpError::UnexpectedServerResponse(problem)) => {
            McpError::Protocol { server, problem: told(problem) }
        }
        Some(StreamableHttpError::UnexpectedContentType(_)) => McpError::Protocol {
            server,
            problem: "its answer is neither JSON nor a stream of events".to_owned(),
        },
        Some(_) => broken("its HTTP session ended".to_owned()),
        None => broken("it does not read what it is sent, or has ended".to_owned()),
    }
}

/// Whether a request was not sent because of what its owner has on its way, and not because of its server.
fn is_of_owner(error: &EgressError) -> bool {
    matches!(error, EgressError::Busy | EgressError::OutOfMemory)
}
