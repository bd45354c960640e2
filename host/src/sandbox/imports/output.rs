//! `dormouse:agent/output`: parts of the answer while the turn runs.
//!
//! What one turn streams is bounded here, before the sink sees it, so that a sink may keep all of
//! it. An event counts its name and its document.

use serde::de::IgnoredAny;

use super::contract::output::{Error, Host};
use crate::sandbox::call::MAX_OUTPUT_BYTES;
use crate::sandbox::guest::{Guest, Turn};

/// What each piece counts besides its bytes, so that empty ones are not without end.
const PIECE: u64 = 16;

impl Host for Guest {
    fn text(&mut self, delta: String) -> wasmtime::Result<Result<(), Error>> {
        let turn = self.turn()?;
        Ok(count(turn, delta.len()).map(|()| turn.output.text(delta)))
    }

    fn event(&mut self, name: String, data: String) -> wasmtime::Result<Result<(), Error>> {
        let turn = self.turn()?;
        if let Err(error) = serde_json::from_str::<IgnoredAny>(&data) {
            return Ok(Err(Error::Invalid(error.to_string())));
        }
        Ok(count(turn, name.len() + data.len()).map(|()| turn.output.event(name, data)))
    }
}

fn count(turn: &mut Turn, bytes: usize) -> Result<(), Error> {
    let streamed = turn.streamed.saturating_add(bytes as u64).saturating_add(PIECE);
    if streamed > MAX_OUTPUT_BYTES {
        return Err(Error::TooLarge(MAX_OUTPUT_BYTES));
    }
    turn.streamed = streamed;
    Ok(())
}
