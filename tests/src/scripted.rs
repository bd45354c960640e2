//! Agents in JavaScript and Python, as `agents/build` has built them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use dormouse_test_guests::TestGuest;

/// Where they are built.
const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/agents");

/// In JavaScript, with QuickJS.
pub const QUICKJS: &str = "notepad-quickjs";
/// The notepads, each a file of `target/agents`.
pub const NAMES: [&str; 3] = [QUICKJS, "notepad-starlingmonkey", "notepad-python"];
/// Agents that watch pages of the web, by a tool of the host and a timer.
pub const MONITORS: [&str; 3] = ["monitor-quickjs", "monitor-starlingmonkey", "monitor-python"];
/// An agent that asks models, in JavaScript, with QuickJS,
pub const CHAT_QUICKJS: &str = "chat-quickjs";
/// with StarlingMonkey,
pub const CHAT_STARLINGMONKEY: &str = "chat-starlingmonkey";
/// and in Python.
pub const CHAT_PYTHON: &str = "chat-python";
/// The population `epidemic` in JavaScript, with StarlingMonkey.
pub const EPIDEMIC_STARLINGMONKEY: &str = "epidemic-starlingmonkey";
/// An agent that fetches, in JavaScript, with StarlingMonkey.
pub const FETCHES_STARLINGMONKEY: &str = "fetches-starlingmonkey";
/// In Python, with stubs that trap in the place of WASI. It answers with all that it was ever told, and
/// asks for the time when it is told `time`.
pub const STUBBED: &str = "remembers-stubbed";

/// One of them.
///
/// # Errors
/// It has not been built. Says how to.
pub fn scripted(name: &'static str) -> Result<TestGuest, String> {
    /// What was read. It stays in memory, as the other guests do.
    static READ: Mutex<BTreeMap<&str, &[u8]>> = Mutex::new(BTreeMap::new());

    let mut read = READ.lock().unwrap_or_else(PoisonError::into_inner);
    let bytes = match read.get(name) {
        Some(bytes) => bytes,
        None => {
            let path = Path::new(DIRECTORY).join(name).with_extension("wasm");
            let bytes = std::fs::read(&path)
                .map_err(|error| format!("{}: {error}; run `agents/build`", path.display()))?;
            read.entry(name).or_insert(bytes.leak())
        }
    };
    Ok(TestGuest { name, version: "1", bytes })
}
