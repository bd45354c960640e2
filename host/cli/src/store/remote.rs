//! Asking the host that has the data directory open.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::super::control;
use super::wire::{UpkeepAnswer, UpkeepRequest};

/// Why nobody has answered.
#[derive(Debug)]
pub(super) enum RemoteError {
    /// Nobody listens.
    Nobody,
    /// Speaking to the host failed.
    Io(io::Error),
}

impl From<io::Error> for RemoteError {
    fn from(error: io::Error) -> RemoteError {
        RemoteError::Io(error)
    }
}

/// Ask, and wait for as long as it takes.
pub(super) fn ask(data_dir: &Path, request: &UpkeepRequest) -> Result<UpkeepAnswer, RemoteError> {
    let door = control::ControlSocket::of(data_dir)?;
    let mut stream = match UnixStream::connect(door.path()) {
        Err(error)
            if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) =>
        {
            return Err(RemoteError::Nobody);
        }
        connected => connected?,
    };
    stream.set_write_timeout(Some(control::PEER_TIMEOUT))?;
    let line = serde_json::to_string(request).map_err(|_| {
        io::Error::new(ErrorKind::InvalidInput, "the path of the backup must be Unicode")
    })?;
    stream.write_all(line.as_bytes())?;
    stream.write_all(b"\n")?;
    let mut answer = String::new();
    BufReader::new(stream.take(control::MAX_ANSWER)).read_line(&mut answer)?;
    let ended = || io::Error::other("the host ended, or closed the connection, before it answered");
    if !answer.ends_with('\n') {
        return Err(ended().into());
    }
    let unknown = |_| io::Error::other("the host is of another version: run the command of that");
    Ok(serde_json::from_str(&answer).map_err(unknown)?)
}
