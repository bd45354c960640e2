//! `dormouse talk`: messages to an agent, and its answers as they come.

use std::io::{self, IsTerminal};

use clap::{Arg, ArgMatches, Command};

use super::conversation::{Conversation, lines, prompt, whole_input};
use super::error::ClientError;
use super::server::Server;
use super::sessions::session_id;
use super::{option, print};
use crate::store::json_flag;

/// A session that one leaves and comes back to.
const PATTERN: &str = "hybrid";

pub(super) fn command() -> Command {
    Command::new("talk")
        .about("Talk to an agent")
        .long_about(
            "Talk to an agent: create a session, or go on with one, and print each answer as it comes. \
             Without MESSAGE, each line of the terminal is a message, until Ctrl-D; a file or a pipe is \
             one message. The id of the session goes to standard error.",
        )
        .override_usage(
            "dormouse talk [OPTIONS] [AGENT] [MESSAGE]\n       \
             dormouse talk [OPTIONS] --session <ID> [MESSAGE]",
        )
        .arg(Arg::new("agent").value_name("AGENT").help("The agent [default: that of the server]"))
        .arg(Arg::new("message").value_name("MESSAGE").help("One message"))
        .arg(
            Arg::new("session")
                .long("session")
                .value_name("ID")
                .value_parser(session_id)
                .help("Go on with this session"),
        )
        .arg(pattern())
        .arg(json_flag().help("Print the document of the answer, for programs"))
}

/// How long a new session lives.
pub(super) fn pattern() -> Arg {
    Arg::new("pattern")
        .long("pattern")
        .value_name("PATTERN")
        .default_value(PATTERN)
        .conflicts_with("session")
        .help("How long the new session lives")
}

/// What the command line says.
struct Asked<'a> {
    session: Option<&'a str>,
    agent: Option<&'a str>,
    message: Option<&'a str>,
}

impl Asked<'_> {
    fn of(given: &ArgMatches) -> Result<Asked<'_>, ClientError> {
        let session = option(given, "session");
        match (session, option(given, "agent"), option(given, "message")) {
            (None, agent, message) => Ok(Asked { session, agent, message }),
            // A session has its agent: the first word is the message.
            (Some(_), message, None) => Ok(Asked { session, agent: None, message }),
            (Some(_), _, Some(_)) => {
                let problem = "a session has its agent already: leave the agent out";
                Err(ClientError::Usage(problem.to_owned()))
            }
        }
    }
}

pub(super) async fn run(given: &ArgMatches) -> Result<(), ClientError> {
    let asked = Asked::of(given)?;
    let server = Server::of(given)?;
    let is_typed = asked.message.is_none() && io::stdin().is_terminal();
    if is_typed && given.get_flag("json") {
        let problem = "--json takes one message: as an argument, or from a file or a pipe";
        return Err(ClientError::Usage(problem.to_owned()));
    }
    // A message that is not there creates no session.
    let message = match asked.message {
        Some(message) => Some(message.to_owned()),
        None if is_typed => None,
        None => Some(whole_input()?),
    };
    if message.as_ref().is_some_and(String::is_empty) {
        return Err(ClientError::Usage("the message is empty".to_owned()));
    }
    let mut conversation = match asked.session {
        Some(id) => Conversation::go_on(&server, id).await?,
        None => {
            let pattern = option(given, "pattern").unwrap_or(PATTERN);
            Conversation::start(&server, asked.agent, pattern).await?
        }
    };
    let ended = match message {
        Some(message) if given.get_flag("json") => {
            let answer = conversation.ask(&server, &message).await?;
            return print(given, &answer, |_| String::new());
        }
        Some(message) => conversation.say(&server, &message).await,
        None => {
            eprintln!("{}; Ctrl-D ends", conversation.told());
            typed(&server, &mut conversation).await
        }
    };
    if let Some(how) = conversation.how_to_go_on(&server) {
        eprintln!("{how}");
    }
    ended
}

/// Each line is a message, until the input or the session ends. A message that is refused is told, and
/// the next one may be better.
async fn typed(server: &Server, conversation: &mut Conversation) -> Result<(), ClientError> {
    let mut lines = lines();
    prompt();
    while let Some(line) = lines.recv().await {
        say_line(server, conversation, &line?).await?;
        if conversation.is_over() {
            return Ok(());
        }
        prompt();
    }
    eprintln!();
    Ok(())
}

/// Send what the user typed. Returns an error only where no next message would do better.
pub(super) async fn say_line(
    server: &Server,
    conversation: &mut Conversation,
    line: &str,
) -> Result<(), ClientError> {
    if line.is_empty() {
        return Ok(());
    }
    match conversation.say(server, line).await {
        Err(error @ ClientError::Refused { .. }) => {
            eprintln!("dormouse: {error}");
            Ok(())
        }
        said => said,
    }
}
