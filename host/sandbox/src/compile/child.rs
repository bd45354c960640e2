//! The child's side: `dormouse compile`.

use std::io::{Read, Write};
use std::process::ExitCode;

use rustix::process::{
    Resource, Rlimit, Signal, getrlimit, set_parent_process_death_signal, setrlimit,
};

use super::frame;
use super::make::{STACK, make};
use crate::engine;
use crate::refusal::Refusal;

/// Processor time that a compilation may take.
pub(super) const MAX_CPU_SECONDS: u64 = 120;
/// Memory that a compilation may take, in bytes.
pub(super) const MAX_MEMORY: u64 = 4 << 30;
/// Address space: more, because threads and allocators reserve what they do not use.
const MAX_ADDRESS_SPACE: u64 = 16 << 30;
/// A component that is larger was refused before.
const MAX_INPUT: u64 = 1 << 30;

/// Compile the component on standard input, write what came of it to standard output, and end.
///
/// Limits itself before it reads a byte. A component that is refused is an answer like any other; where
/// there is none, there is one line on standard error.
#[must_use]
pub fn compile_child() -> ExitCode {
    let result = limit().and_then(|()| answer(std::io::stdin().lock(), std::io::stdout().lock()));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // A single line, whatever the error is made of.
            let line: Vec<&str> = error.split_whitespace().collect();
            // Nobody may be there to read it; the exit code says the same.
            let _ = writeln!(std::io::stderr(), "{}", line.join(" "));
            ExitCode::FAILURE
        }
    }
}

fn limit() -> Result<(), String> {
    let failed = |error| format!("limits cannot be set: {error}");
    // A host that is killed has no time to kill its children.
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(failed)?;
    // The kernel's warning at the first limit of time tells our parent why we end.
    let limits = [
        (Resource::Cpu, MAX_CPU_SECONDS, MAX_CPU_SECONDS + 5),
        (Resource::Data, MAX_MEMORY, MAX_MEMORY),
        (Resource::As, MAX_ADDRESS_SPACE, MAX_ADDRESS_SPACE),
        (Resource::Core, 0, 0),
    ];
    for (resource, current, most) in limits {
        let maximum = getrlimit(resource).maximum.map_or(most, |maximum| maximum.min(most));
        let limit = Rlimit { current: Some(current.min(maximum)), maximum: Some(maximum) };
        setrlimit(resource, limit).map_err(failed)?;
    }
    Ok(())
}

fn answer(from: impl Read, mut to: impl Write) -> Result<(), String> {
    let mut component = Vec::new();
    from.take(MAX_INPUT).read_to_end(&mut component).map_err(|error| error.to_string())?;
    let engine = engine::compiler().map_err(|error| error.to_string())?;
    let made = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK);
        let made = thread.spawn_scoped(scope, || make(&component, &engine))?.join();
        // What a panic says is on standard error, and for nobody but us.
        let panicked = |_| Err(Refusal::Host("the compiler has panicked".to_owned()));
        std::io::Result::Ok(made.unwrap_or_else(panicked))
    });
    let made = made.map_err(|error| error.to_string())?;
    let mut write = |bytes: &[u8]| to.write_all(bytes).map_err(|error| error.to_string());
    write(&frame::head(&made)?)?;
    if let Ok(compiled) = &made {
        write(&compiled.code)?;
    }
    to.flush().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_is_answered_with_its_compiled_form_or_with_what_is_wrong() {
        let answered = |component: &[u8]| {
            let mut written = Vec::new();
            answer(component, &mut written).expect("it answers");
            frame::read(written).expect("it is an answer")
        };
        let component = crate::tests::agent::doing("");
        assert!(!answered(&component).expect("it compiles").code.is_empty());
        assert_eq!(answered(b"no component"), Err(Refusal::NotWasm));
        let empty = wat::parse_str("(component)").expect("it parses");
        assert_eq!(answered(&empty), Err(Refusal::NoHandler));
    }
}
