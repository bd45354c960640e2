//! Scripts that the offline model follows.
//!
//! ```text
//! #script
//! call Read {"path": "a.txt"}
//! ---
//! think That was short.
//! say It says hello.
//! ```
//! What follows the line `#script` is the script. Each answer ends at a line `---`, and is given in its turn:
//! the first to the message that has the script, the second once the tools have returned that the first has
//! asked for, and so on; after the last the model says `done`. A line is
//!
//! | line | what the answer has |
//! | --- | --- |
//! | `say TEXT` | a line of text |
//! | `call TOOL JSON` | a call of a tool |
//! | `think TEXT` | a block of thinking |
//! | `stop max-tokens`, `stop refusal` | the reason to end here |
//! | `fail overloaded`, `fail rate-limited`, `fail unavailable`, `fail context-too-long` | none: the call fails |
//!
//! A line that is none of these is an error of whoever wrote it, and the call fails with `invalid`.

use super::{Said, bound};
use crate::parts::is_object;
use dormouse_domain::model::{ModelContent, ModelError, StopReason, Thinking, ToolCall};

const BEGIN: &str = "#script";
const NEXT: &str = "---";
/// What a part of an answer takes beside its text, in bytes.
const PIECE: usize = 128;

/// The most of a line that is told, in bytes.
const MAX_TOLD_BYTES: usize = 500;

/// A script, as it was written.
pub(super) struct Script<'a>(&'a str);

impl<'a> Script<'a> {
    /// The script in this text, where there is one.
    pub(super) fn of(text: &'a str) -> Option<Script<'a>> {
        let mut at = 0;
        for line in text.split_inclusive('\n') {
            at += line.len();
            if line.trim() == BEGIN {
                return Some(Script(&text[at..]));
            }
        }
        None
    }

    /// The answer of this number, from 0.
    pub(super) fn answer(&self, number: usize) -> Result<Said, ModelError> {
        let mut lines = self.0.lines().map(str::trim).filter(|line| !line.is_empty());
        for _ in 0..number {
            while lines.next().is_some_and(|line| line != NEXT) {}
        }
        let mut said = Said { content: Vec::new(), stop: StopReason::End };
        let mut bytes = 0;
        for line in lines.take_while(|line| *line != NEXT) {
            let parts = said.content.len();
            follow(&mut said, line, (number, parts))?;
            bytes += line.len() + PIECE * (said.content.len() - parts);
            bound(bytes)?;
        }
        if said.content.is_empty() {
            said.content.push(ModelContent::Text("done".to_owned()));
        }
        Ok(said)
    }
}

fn follow(said: &mut Said, line: &str, place: (usize, usize)) -> Result<(), ModelError> {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    let rest = rest.trim();
    match word {
        "say" => match said.content.last_mut() {
            Some(ModelContent::Text(text)) => {
                text.push('\n');
                text.push_str(rest);
            }
            _ => said.content.push(ModelContent::Text(rest.to_owned())),
        },
        "call" => {
            let (name, arguments) = rest.split_once(' ').unwrap_or((rest, "{}"));
            if !is_object(arguments) {
                return Err(unknown(line));
            }
            let id = format!("call_{}_{}", place.0, place.1);
            let (name, arguments) = (name.to_owned(), arguments.trim().to_owned());
            said.content.push(ModelContent::ToolCall(ToolCall { id, name, arguments }));
            said.stop = StopReason::ToolUse;
        }
        "think" => {
            let block = serde_json::json!({ "type": "thinking", "thinking": rest }).to_string();
            said.content.push(ModelContent::Thinking(Thinking { text: rest.to_owned(), block }));
        }
        "stop" => said.stop = stop(rest).ok_or_else(|| unknown(line))?,
        "fail" => return Err(failure(rest).ok_or_else(|| unknown(line))?),
        _ => return Err(unknown(line)),
    }
    Ok(())
}

fn stop(word: &str) -> Option<StopReason> {
    match word {
        "max-tokens" => Some(StopReason::MaxTokens),
        "refusal" => Some(StopReason::Refusal),
        _ => None,
    }
}

fn failure(word: &str) -> Option<ModelError> {
    let why = || "the script says so".to_owned();
    match word {
        "overloaded" => Some(ModelError::Overloaded { retry_after: None }),
        "rate-limited" => Some(ModelError::RateLimited { retry_after: None }),
        "unavailable" => Some(ModelError::Unavailable(why())),
        "context-too-long" => Some(ModelError::ContextTooLong(why())),
        _ => None,
    }
}

fn unknown(line: &str) -> ModelError {
    let end = line.floor_char_boundary(MAX_TOLD_BYTES);
    let line = &line[..end];
    ModelError::Invalid(format!("the offline model does not understand `{line}` in its script"))
}
