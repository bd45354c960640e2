//! Why a command of a client failed, and the exit code that says so to scripts.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::Value;

use super::terminal::plain;

/// What went wrong. Each variant tells the user what to change.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    /// The command line asks for something that no server can do.
    #[error("{0}")]
    Usage(String),
    /// A file cannot be read.
    #[error("{path}: {error}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The server refused the request, or the turn failed.
    #[error("{}", told(.error, .code, .more))]
    Refused {
        /// The sentence of the server.
        error: String,
        /// The stable word of the server.
        code: String,
        /// The other fields of the answer.
        more: Value,
    },
    /// Something answers at this address, but no Dormouse server.
    #[error("what answers at {server} is not a Dormouse server: {problem}")]
    NotDormouse {
        /// The base of the server.
        server: String,
        /// What is wrong with the answer.
        problem: String,
    },
    /// No server answers.
    #[error(
        "no server answers at {server} ({cause}): start one with `dormouse serve`, or name another \
         with --server or DORMOUSE_SERVER"
    )]
    Unreachable {
        /// The base of the server.
        server: String,
        /// What the system said.
        cause: String,
    },
    /// The connection ended before the answer did.
    #[error("the connection to {server} was lost: {cause}")]
    Lost {
        /// The base of the server.
        server: String,
        /// What the system said, or how to go on.
        cause: String,
    },
    /// Standard output or input failed.
    #[error("{0}")]
    Terminal(#[from] io::Error),
}

impl ClientError {
    /// The stable word of the server, where the server refused the request.
    pub(super) fn code(&self) -> Option<&str> {
        match self {
            ClientError::Refused { code, .. } => Some(code),
            ClientError::Usage(_)
            | ClientError::File { .. }
            | ClientError::NotDormouse { .. }
            | ClientError::Unreachable { .. }
            | ClientError::Lost { .. }
            | ClientError::Terminal(_) => None,
        }
    }

    /// 1: the server said no. 2: the command line is wrong. 3: there is no server.
    pub(super) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            ClientError::Refused { .. }
            | ClientError::NotDormouse { .. }
            | ClientError::Terminal(_) => 1,
            ClientError::Usage(_) | ClientError::File { .. } => 2,
            ClientError::Unreachable { .. } | ClientError::Lost { .. } => 3,
        })
    }

    /// Whether nobody reads the output any more, as in `dormouse events | head`.
    pub(super) fn is_closed_pipe(&self) -> bool {
        matches!(self, ClientError::Terminal(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

/// The sentence and the code of the server, with each list that the answer has besides: the valid words,
/// the missing imports.
fn told(error: &str, code: &str, more: &Value) -> String {
    let mut told = format!("{} ({})", plain(error), plain(code));
    for (name, value) in more.as_object().into_iter().flatten() {
        let words: Option<Vec<&str>> =
            value.as_array().map(|all| all.iter().filter_map(Value::as_str).collect());
        if let Some(words) = words.filter(|words| !words.is_empty()) {
            told.push_str(&format!("; {}: {}", plain(name), plain(&words.join(", "))));
        }
    }
    if code == "unauthorized" {
        told.push_str("; here: with --key or DORMOUSE_KEY");
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_refusal_names_its_code_and_the_words_that_are_valid() {
        let refused = ClientError::Refused {
            error: "Invalid \u{1b}[31mpattern".to_owned(),
            code: "invalid_pattern".to_owned(),
            more: json!({ "validPatterns": ["ephemeral", "hybrid"], "turn": 3 }),
        };
        assert_eq!(
            refused.to_string(),
            "Invalid \u{fffd}[31mpattern (invalid_pattern); validPatterns: ephemeral, hybrid"
        );
    }
}
