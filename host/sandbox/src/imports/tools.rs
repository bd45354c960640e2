//! `dormouse:agent/tools`: what the host can do for an agent.
//!
//! A thin lift: arguments are read and checked, the world of the call knows which tools there are and has them called, the
//! answer is handed over.

use std::time::Duration;

use wasmtime::StoreContextMut;

use super::contract::model::Tool;
use super::contract::tools::{Answer, Blob, Content, Error, Unavailable};
use super::interface::{HostWork, Interface};
use super::text::GuestText;
use super::{effect, price};
use crate::fuel::charge;
use crate::guest::Guest;
use dormouse_domain::effect::Effect;
use dormouse_domain::json;
use dormouse_domain::model::ModelTool;
use dormouse_domain::tool::{MAX_ARGUMENTS, MAX_TOOL_NAME, ToolAnswer, ToolError, ToolRequest};
use dormouse_domain::turn::Part;

/// The most bytes of JSON that are checked where the guest runs: what takes longer is checked on a thread that
/// may block.
const SMALL: usize = 64 << 10;

/// Link the interface.
pub(super) fn link(interface: &mut Interface<'_>) -> wasmtime::Result<()> {
    interface.metered("list", list)?;
    interface.metered("call", call)
}

fn list(mut store: StoreContextMut<'_, Guest>, (): ()) -> HostWork<'_, (Vec<Tool>,)> {
    Box::pin(async move {
        let turn = store.data_mut().turn()?;
        let (mut tools, has_servers) = (turn.tools(), turn.has_tool_servers());
        if has_servers {
            let answer = effect::ask(&mut store, Effect::ListTools).await?;
            let listing = answer.of_tool_list().map_err(wasmtime::Error::new)?;
            for why in listing.unavailable {
                store.data_mut().log.lock().warn(why);
            }
            tools.extend(listing.tools.into_iter().map(|it| it.tool));
        }
        let bytes =
            tools.iter().map(|tool| tool.name.len() + tool.description.len() + tool.schema.len());
        let bytes = bytes.sum();
        let cost = price::of(tools.len(), price::FIELD) + price::of(bytes, price::BYTE);
        charge(&mut store, cost).await?;
        Ok((tools.into_iter().map(lower_tool).collect(),))
    })
}

fn call(
    mut store: StoreContextMut<'_, Guest>,
    (name, arguments): (GuestText, GuestText),
) -> HostWork<'_, (Result<Answer, Error>,)> {
    Box::pin(async move {
        let request = match read(&mut store, &name, &arguments).await? {
            Ok(request) => request,
            Err(error) => return Ok((Err(error),)),
        };
        let answer = effect::ask(&mut store, Effect::Tool(request)).await?;
        let answered = answer.of_tool().map_err(wasmtime::Error::new)?;
        // The arguments are gone; what is handed over takes memory until the guest has it.
        store.data_mut().memory.keep(0);
        let (parts, bytes) = size(&answered);
        store.data_mut().memory.hold(bytes as u64).map_err(wasmtime::Error::new)?;
        charge(&mut store, price::of(parts, price::FIELD) + price::of(bytes, price::BYTE)).await?;
        Ok((answered.map(lower).map_err(lower_error),))
    })
}

/// A call, checked.
async fn read(
    store: &mut StoreContextMut<'_, Guest>,
    name: &GuestText,
    arguments: &GuestText,
) -> wasmtime::Result<Result<ToolRequest, Error>> {
    if name.len() > MAX_TOOL_NAME {
        return Ok(Err(Error::Unknown));
    }
    if arguments.len() > MAX_ARGUMENTS {
        let problem = format!("the arguments of a tool have at most {MAX_ARGUMENTS} bytes");
        return Ok(Err(Error::Invalid(problem)));
    }
    // In UTF-8 a text may have three times as many bytes as it has units in the guest.
    let most = 3 * (name.len() + arguments.len());
    store.data_mut().memory.hold(most as u64).map_err(wasmtime::Error::new)?;
    charge(store, price::of(name.len(), price::BYTE)).await?;
    let name = name.read(&*store)?.into_owned();
    if name.len() > MAX_TOOL_NAME {
        return Ok(Err(Error::Unknown));
    }
    charge(store, price::of(arguments.len(), price::JSON_BYTE)).await?;
    let arguments = arguments.read(&*store)?.into_owned();
    let check = |arguments: String| object(&arguments).map(|()| arguments);
    let checked = if arguments.len() <= SMALL {
        check(arguments)
    } else {
        tokio::task::spawn_blocking(move || check(arguments)).await?
    };
    Ok(checked.map(|arguments| ToolRequest { name, arguments }).map_err(Error::Invalid))
}

fn object(text: &str) -> Result<(), String> {
    json::check(text).map_err(|error| format!("the arguments are no JSON document: {error}"))?;
    // It is well formed: its first character tells what it is.
    match text.trim_start().starts_with('{') {
        true => Ok(()),
        false => Err("the arguments are no JSON object".to_owned()),
    }
}

/// How much is handed over: parts, and bytes.
fn size(answered: &Result<ToolAnswer, ToolError>) -> (usize, usize) {
    match answered {
        Ok(answer) => (1 + answer.content.len(), answer.content.iter().map(Part::len).sum()),
        Err(error) => (1, error.to_string().len()),
    }
}

fn lower_tool(tool: ModelTool) -> Tool {
    let ModelTool { name, description, schema } = tool;
    Tool { name, description, schema }
}

fn lower(answer: ToolAnswer) -> Answer {
    let content = answer.content.into_iter().map(|part| match part {
        Part::Text(text) => Content::Text(text),
        Part::Json(text) => Content::Json(text),
        Part::Blob { media_type, data } => Content::Blob(Blob { media_type, data }),
    });
    Answer { content: content.collect(), is_error: answer.is_error }
}

fn lower_error(error: ToolError) -> Error {
    match error {
        ToolError::NotAllowed(why) => Error::NotAllowed(why),
        ToolError::Unknown(_) => Error::Unknown,
        ToolError::Invalid(why) => Error::Invalid(why),
        ToolError::Unavailable { why, retry_after } => Error::Unavailable(Unavailable {
            reason: why,
            retry_after: retry_after.map(milliseconds),
        }),
        ToolError::TimedOut(why) => Error::TimedOut(why),
        ToolError::TooLarge(why) => Error::TooLarge(why),
        ToolError::BudgetExceeded(why) => Error::BudgetExceeded(why),
        ToolError::UnknownOutcome => Error::UnknownOutcome,
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
