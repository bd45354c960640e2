//! `dormouse dev`: talk to an agent while it is written. Each change of its file is uploaded as a version
//! of its own, and the session goes on with that version where the agent allows it.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::{Arg, ArgMatches, Command};
use serde_json::json;

use super::agents::{component, file, name, named, read};
use super::conversation::{Conversation, lines, prompt};
use super::error::ClientError;
use super::option;
use super::server::Server;
use super::sessions::session_id;
use super::talk::{pattern, say_line};
use dormouse::Digest;

/// How often the file is looked at. A change counts when the file is the same twice in a row, because a
/// compiler writes it in pieces.
const LOOK: Duration = Duration::from_millis(300);

/// How many digits of the digest of a component are in its version.
const DIGITS: usize = 8;

pub(super) fn command() -> Command {
    Command::new("dev")
        .about("Upload an agent whenever its file changes, and talk to it meanwhile")
        .long_about(
            "Upload an agent, talk to it as `dormouse talk` does, and upload it again whenever its file \
             changes, as the version dev-DIGEST. The session goes on with the new version where the \
             agent saves its state by itself (`export_agent!(…, portable)`); otherwise a new session \
             starts. Each line is a message, until Ctrl-D.",
        )
        .arg(component())
        .arg(name())
        .arg(
            Arg::new("session")
                .long("session")
                .value_name("ID")
                .value_parser(session_id)
                .help("Go on with this session"),
        )
        .arg(pattern())
}

pub(super) async fn run(given: &ArgMatches) -> Result<(), ClientError> {
    let path = file(given);
    let name = named(given, &path)?;
    let server = Server::of(given)?;
    let pattern = option(given, "pattern").unwrap_or_default().to_owned();
    let conversation = match option(given, "session") {
        Some(id) => Some(Conversation::go_on(&server, id).await?),
        None => None,
    };
    // A file that is not there is a mistake at the start, and later a compiler at work.
    let first = read(&path).await?;
    let mut development = Development { server, name, pattern, conversation };
    development.deploy(first.clone()).await?;
    let ended = development.work(Watch::new(path, &first)).await;
    if let Some(conversation) = &development.conversation
        && let Some(how) = conversation.how_to_go_on(&development.server)
    {
        eprintln!("{how}");
    }
    ended
}

/// An agent at work, and the conversation with it.
struct Development {
    server: Server,
    name: String,
    pattern: String,
    conversation: Option<Conversation>,
}

impl Development {
    /// Send each line, and deploy each change, until the input ends.
    async fn work(&mut self, mut watch: Watch) -> Result<(), ClientError> {
        let mut lines = lines();
        prompt();
        loop {
            tokio::select! {
                line = lines.recv() => match line {
                    Some(line) => self.say(&line?).await?,
                    None => return Ok(()),
                },
                component = watch.changed() => self.redeploy(component).await?,
            }
            prompt();
        }
    }

    async fn say(&mut self, line: &str) -> Result<(), ClientError> {
        if let Some(conversation) = &mut self.conversation {
            say_line(&self.server, conversation, line).await?;
        }
        // The next message needs a session that takes it.
        if self.conversation.as_ref().is_some_and(Conversation::is_over) {
            eprintln!("the next version of {} starts a new session", self.name);
        }
        Ok(())
    }

    /// Deploy a change. An agent that is refused is told, and the next change may be better.
    async fn redeploy(&mut self, component: Vec<u8>) -> Result<(), ClientError> {
        match self.deploy(component).await {
            Err(error @ ClientError::Refused { .. }) => {
                eprintln!("dormouse: {error}");
                Ok(())
            }
            deployed => deployed,
        }
    }

    /// Upload a component, and go on with it.
    async fn deploy(&mut self, component: Vec<u8>) -> Result<(), ClientError> {
        let version = version_of(&component);
        self.server.upload(&self.name, &version, component).await?;
        let agent = format!("{}@{version}", self.name);
        let goes_on = match self.conversation.as_ref().filter(|current| !current.is_over()) {
            Some(current) => self.upgraded(current, &agent).await?,
            None => None,
        };
        let conversation = match goes_on {
            Some(conversation) => conversation,
            None => Conversation::start(&self.server, Some(&agent), &self.pattern).await?,
        };
        eprintln!("{}; Ctrl-D ends", conversation.told());
        self.conversation = Some(conversation);
        Ok(())
    }

    /// The same session with another version of its agent; `None` where the agent does not allow it.
    async fn upgraded(
        &self,
        current: &Conversation,
        agent: &str,
    ) -> Result<Option<Conversation>, ClientError> {
        let Some(id) = current.session() else { return Ok(None) };
        let path = format!("/api/sessions/{id}/upgrade");
        match self.server.post(&path, &json!({ "agent": agent })).await {
            Ok(_) => Conversation::go_on(&self.server, id).await.map(Some),
            Err(error @ ClientError::Refused { .. }) => {
                eprintln!("session {id} keeps its version: {error}; a new session starts");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// The version under which a component is uploaded: the same bytes are the same version.
fn version_of(component: &[u8]) -> String {
    let mut digest = Digest::of(component).to_string();
    digest.truncate(DIGITS);
    format!("dev-{digest}")
}

/// What tells one state of a file from another without reading it.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: SystemTime,
    length: u64,
}

/// Waits for changes of a file.
struct Watch {
    path: PathBuf,
    /// The file when it was last looked at; `None` where it was not there.
    seen: Option<Stamp>,
    /// The file when it was last read.
    read: Option<Stamp>,
    digest: Digest,
}

impl Watch {
    /// Wait for what differs from these bytes.
    fn new(path: PathBuf, bytes: &[u8]) -> Watch {
        Watch { path, seen: None, read: None, digest: Digest::of(bytes) }
    }

    /// The bytes of the file, once they are others.
    async fn changed(&mut self) -> Vec<u8> {
        loop {
            let now = self.stamp().await;
            if now.is_some() && now == self.seen && now != self.read {
                // A file that vanishes meanwhile is looked at again.
                if let Ok(bytes) = read(&self.path).await {
                    self.read = now;
                    let digest = Digest::of(&bytes);
                    if digest != self.digest {
                        self.digest = digest;
                        return bytes;
                    }
                }
            }
            self.seen = now;
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn stamp(&self) -> Option<Stamp> {
        let found = tokio::fs::metadata(&self.path).await.ok()?;
        Some(Stamp { modified: found.modified().ok()?, length: found.len() })
    }
}
