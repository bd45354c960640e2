//! Answers that stand in the place of those that no parser may see: errors of the protocol, with codes of the host.

use rmcp::model::{ErrorCode, ErrorData, RequestId, ServerJsonRpcMessage};

use crate::error::{McpError, told};
use crate::scan::Refusal;

/// Codes that neither JSON-RPC nor MCP has given away. A server that sends one says of its own answer that it is refused.
const TOO_LARGE: i32 = -31_901;
const OUT_OF_MEMORY: i32 = -31_902;
const UNREADABLE: i32 = -31_903;

/// The answer to this request.
pub(crate) fn refused(refusal: Refusal, id: RequestId) -> ServerJsonRpcMessage {
    let code = match refusal {
        Refusal::TooLarge | Refusal::TooComplex => TOO_LARGE,
        Refusal::OutOfMemory => OUT_OF_MEMORY,
        Refusal::Unreadable => UNREADABLE,
    };
    ServerJsonRpcMessage::error(ErrorData::new(ErrorCode(code), "", None), Some(id))
}

/// What an error of the protocol says.
pub(crate) fn error(server: &str, error: &ErrorData) -> McpError {
    let server = server.to_owned();
    match error.code.0 {
        TOO_LARGE => McpError::TooLarge { server },
        OUT_OF_MEMORY => McpError::OutOfMemory { server },
        UNREADABLE => McpError::Protocol {
            server,
            problem: "its answer is not one of the protocol".to_owned(),
        },
        code => McpError::Refused { server, code, message: told(&error.message) },
    }
}
