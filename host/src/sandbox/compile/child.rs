//! The child's side: `dormouse compile`.

use std::io::{Read, Write};
use std::process::ExitCode;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::super::engine;

/// Processor time that a compilation may take.
pub(super) const MAX_CPU_SECONDS: u64 = 120;
/// Memory that a compilation may take, in bytes.
pub(super) const MAX_MEMORY: u64 = 4 << 30;
/// Address space: more, because threads and allocators reserve what they do not use.
const MAX_ADDRESS_SPACE: u64 = 16 << 30;
/// A component that is larger was refused before.
const MAX_INPUT: u64 = 1 << 30;

/// Compile the component on standard input, write its compiled form to standard output, and end.
///
/// Limits itself before it reads a byte. On failure there is one line on standard error.
#[must_use]
pub fn compile_child() -> ExitCode {
    let result = limit().and_then(|()| compile(std::io::stdin().lock(), std::io::stdout().lock()));
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
        setrlimit(resource, limit).map_err(|error| format!("limits cannot be set: {error}"))?;
    }
    Ok(())
}

fn compile(from: impl Read, mut to: impl Write) -> Result<(), String> {
    let mut component = Vec::new();
    from.take(MAX_INPUT).read_to_end(&mut component).map_err(|error| error.to_string())?;
    let engine = engine::compiler().map_err(|error| error.to_string())?;
    let compiled = engine.precompile_component(&component).map_err(|error| format!("{error:#}"))?;
    to.write_all(&compiled).and_then(|()| to.flush()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_becomes_its_compiled_form() {
        let mut compiled = Vec::new();
        let component = wat::parse_str("(component)").expect("it parses");
        compile(&component[..], &mut compiled).expect("it compiles");
        assert!(!compiled.is_empty());
        assert!(compile(&b"no component"[..], &mut Vec::new()).is_err());
    }
}
