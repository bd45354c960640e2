//! The events of a stream (`text/event-stream`), one after the other as they come.

use reqwest::Response;
use serde_json::Value;

use super::error::ClientError;
use super::server::cause;

/// The most bytes of one line. The largest reply of an agent is smaller, however it is escaped.
const MAX_LINE: usize = 64 << 20;

/// A stream that the server sends.
pub(super) struct Events {
    response: Response,
    server: String,
    /// What has come and is not read yet.
    read: Vec<u8>,
    /// How much of it has no end of a line.
    searched: usize,
}

/// One event.
#[derive(Debug, PartialEq)]
pub(super) struct ServerEvent {
    /// What to name as `Last-Event-ID`, to go on after this event.
    pub(super) id: String,
    /// What happened.
    pub(super) data: Value,
}

impl Events {
    pub(super) fn of(response: Response, server: String) -> Events {
        Events { response, server, read: Vec::new(), searched: 0 }
    }

    /// The next event; `None` at the end of the stream.
    pub(super) async fn next(&mut self) -> Result<Option<ServerEvent>, ClientError> {
        let mut event = Pending::default();
        while let Some(line) = self.line().await? {
            if let Some((id, data)) = event.take(&line) {
                let data = serde_json::from_str(&data).map_err(|error| self.not_dormouse(error))?;
                return Ok(Some(ServerEvent { id, data }));
            }
        }
        Ok(None)
    }

    /// The next line, without its end.
    async fn line(&mut self) -> Result<Option<String>, ClientError> {
        loop {
            let end = self.read[self.searched..].iter().position(|byte| *byte == b'\n');
            if let Some(end) = end.map(|end| self.searched + end) {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                self.searched = 0;
                let line = std::str::from_utf8(&line[..end]);
                return match line {
                    Ok(line) => Ok(Some(line.trim_end_matches('\r').to_owned())),
                    Err(error) => Err(self.not_dormouse(error)),
                };
            }
            self.searched = self.read.len();
            if self.searched > MAX_LINE {
                return Err(self.not_dormouse("an event of the stream is too long"));
            }
            match self.response.chunk().await {
                Ok(Some(chunk)) => self.read.extend_from_slice(&chunk),
                Ok(None) => return Ok(None),
                Err(error) => {
                    let (server, cause) = (self.server.clone(), cause(&error));
                    return Err(ClientError::Lost { server, cause });
                }
            }
        }
    }

    fn not_dormouse(&self, problem: impl ToString) -> ClientError {
        ClientError::NotDormouse { server: self.server.clone(), problem: problem.to_string() }
    }
}

/// An event of which lines may be missing.
#[derive(Default)]
struct Pending {
    id: String,
    data: Option<String>,
}

impl Pending {
    /// Take the next line: an empty one ends an event that has data.
    fn take(&mut self, line: &str) -> Option<(String, String)> {
        if line.is_empty() {
            return self.data.take().map(|data| (std::mem::take(&mut self.id), data));
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => value.clone_into(&mut self.id),
            "data" => match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            },
            // A comment, or a field that says nothing to this client.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_its_id_and_its_data_and_comments_are_passed_over() {
        let mut pending = Pending::default();
        for line in [": alive", "", "id: 7", "event: x", "data: {", "data:}"] {
            assert_eq!(pending.take(line), None, "{line}");
        }
        assert_eq!(pending.take(""), Some(("7".to_owned(), "{\n}".to_owned())));
        assert_eq!(pending.take(""), None);
    }
}
