//! One turn of a command: a program that exports `wasi:cli/run` and knows nothing of the host.
//!
//! It runs from its start to its end with the prompt as its input and, where it is short, as its argument.
//! What it prints is the reply; how it exits says whether there is one.

use std::sync::Arc;

use wasmtime::Store;
use wasmtime_wasi::I32Exit;
use wasmtime_wasi::p2::bindings::exports::wasi::cli::run;

use super::call::{Answer, Call, MAX_OUTPUT_BYTES};
use super::fault::{Fault, GuestFailure, bounded};
use super::guest::{Guest, Turn};
use super::imports::output::TurnOutput;
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
) -> Result<Answer, Fault> {
    let Call { content, session, output, .. } = call;
    if content.iter().any(|part| matches!(part, Part::Blob { .. })) {
        let why = "the agent is a command, which reads text; send it no other parts";
        return Err(Fault::Failed(GuestFailure::Invalid(why.to_owned())));
    }
    let prompt = text_of(&content);
    let environment = environment::of(&session.config)
        .map_err(|error| Fault::Failed(GuestFailure::Invalid(bounded(error.to_string()))))?;
    let mut arguments = vec![session.agent.clone()];
    if prompt.len() <= MAX_ARGUMENT {
        arguments.push(prompt.clone());
    }
    let output = TurnOutput::new(output);
    let printed = Printed::new(output.clone());
    store.data_mut().enter(Program {
        arguments,
        environment,
        input: prompt,
        output: printed.clone(),
    });
    store.data_mut().turn = Some(Turn { session: Arc::clone(&session), output });

    let returned = program.call_run(&mut *store).await;
    if printed.is_too_much() {
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
        Ok(Answer { content: vec![printed.finish()], complete: true })
    } else {
        Err(Fault::Failed(GuestFailure::Failed(failed(status, store))))
    }
}

fn failed(status: i32, store: &mut Store<Guest>) -> String {
    let what = format!("the command exited with status {status}");
    bounded(match store.data_mut().log.lock().last_words() {
        Some(words) => format!("{words} ({what})"),
        None => what,
    })
}
