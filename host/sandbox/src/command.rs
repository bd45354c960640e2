//! One turn of a command: a program that exports `wasi:cli/run` and knows nothing of the host.
//!
//! It runs from its start to its end with the prompt as its input and, where it is short, as its argument.
//! What it prints is the reply; how it exits says whether there is one.

use wasmtime::Store;
use wasmtime_wasi::I32Exit;
use wasmtime_wasi::p2::bindings::exports::wasi::cli::run;

use super::call::{AgentAnswer, Call, MAX_OUTPUT_BYTES};
use super::fault::{Fault, GuestFailure, bounded};
use super::guest::Guest;
use super::imports::wasi::{Printed, Program};
use crate::environment;
use dormouse_domain::turn::{Part, text_of};

/// The longest prompt that is an argument as well, in bytes. Programs that were built for WASI 0.1 get their
/// arguments through an adapter, which traps where they take more than it has room for: the least that was
/// seen to was 2,569 bytes in all, the name included.
const MAX_ARGUMENT: usize = 1024;

/// Run this program. Its instance is of no use afterwards.
pub(super) async fn run(
    program: &run::Guest,
    store: &mut Store<Guest>,
    call: Call,
) -> Result<AgentAnswer, Fault> {
    let with = start(store.data_mut(), &call.content)?;
    let entered = store.data_mut().enter(with);
    entered.map_err(|error| Fault::Host(format!("{error:#}")))?;

    let returned = program.call_run(&mut *store).await;
    if store.data().has_printed_too_much() {
        return Err(Fault::ReplyTooLarge { limit: MAX_OUTPUT_BYTES });
    }
    let status = match returned {
        Ok(Ok(())) => 0,
        Ok(Err(())) => 1,
        Err(error) => match error.downcast_ref::<I32Exit>() {
            Some(exit) => exit.0,
            None => return Err(store.data_mut().fault(&error)),
        },
    };
    if status == 0 {
        Ok(AgentAnswer { content: store.data_mut().finish_printed(), complete: true })
    } else {
        Err(Fault::Failed(GuestFailure::Failed(failed(status, store))))
    }
}

/// What a command is started with in the turn that was begun.
fn start(guest: &mut Guest, content: &[Part]) -> Result<Program, Fault> {
    let invalid = |why: String| Fault::Failed(GuestFailure::Invalid(why));
    if content.iter().any(|part| matches!(part, Part::Blob { .. })) {
        let why = "the agent is a command, which reads text; send it no other parts";
        return Err(invalid(why.to_owned()));
    }
    let input = text_of(content);
    let turn = guest.turn().map_err(|error| Fault::Host(format!("{error:#}")))?;
    let session = turn.session();
    let environment =
        environment::of(session.config).map_err(|error| invalid(bounded(error.to_string())))?;
    let mut arguments = vec![session.agent.to_owned()];
    if input.len() <= MAX_ARGUMENT {
        arguments.push(input.clone());
    }
    Ok(Program { arguments, environment, input, output: Printed::default() })
}

fn failed(status: i32, store: &mut Store<Guest>) -> String {
    let what = format!("the command exited with status {status}");
    bounded(match store.data_mut().log.lock().last_words() {
        Some(words) => format!("{words} ({what})"),
        None => what,
    })
}
