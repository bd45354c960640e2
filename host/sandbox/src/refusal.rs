//! Why a component was not taken. Each says what its author can do.

use std::borrow::Cow;

use dormouse_domain::code;

/// What was uploaded cannot be hosted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is larger than the host takes.
    #[error(
        "the component is larger than {limit} bytes; strip its debug information (`strip = true`), or \
         build it with `opt-level = \"s\"`"
    )]
    TooLarge {
        /// The most that it may have, in bytes.
        limit: u64,
    },
    /// It is no WebAssembly.
    #[error("this is not a WebAssembly component: it does not begin with `\\0asm`")]
    NotWasm,
    /// It is a core module.
    #[error(
        "this is a core module, not a component: build it for `wasm32-wasip2`, or wrap it with \
         `wasm-tools component new`"
    )]
    CoreModule,
    /// It is damaged, or uses what the host does not support.
    #[error("the component is not valid: {0}")]
    Malformed(String),
    /// It would take too long to compile.
    #[error(
        "the component has more than {limit} {what}, which is more than the host compiles; make it \
         smaller or split it"
    )]
    TooComplex {
        /// What there is too much of.
        what: Cow<'static, str>,
        /// The most that there may be.
        limit: u64,
    },
    /// It exports nothing that the host can call.
    #[error(
        "the component exports neither `dormouse:agent/handler@0.1.0` nor `wasi:cli/run@0.2` nor \
         `dormouse:agent/population@0.1.0`: implement the world `dormouse:agent/agent`, build a program with a \
         `main` for `wasm32-wasip2`, or for simulations implement the world `dormouse:agent/simulated-population`"
    )]
    NoHandler,
    /// It answers HTTP alone.
    #[error(
        "the component exports `wasi:http/incoming-handler` alone, which is for previews, and previews \
         are not served yet: export `dormouse:agent/handler@0.1.0` or `wasi:cli/run@0.2` as well"
    )]
    OnlyPreviews,
    /// It exports something of that name, but not of that type.
    #[error("an export does not have the type that its interface gives it: {0}")]
    WrongSignature(String),
    /// It imports what the host does not have.
    #[error(
        "the host does not have what the component imports: {}; build it without them",
        .0.join(", ")
    )]
    MissingImports(Vec<String>),
    /// The compiler refused it.
    #[error("the component does not compile: {0}")]
    CompileFailed(String),
    /// The compiler took too long.
    #[error("the component takes more than {seconds} s to compile; make it smaller")]
    CompileTimeout {
        /// How long it may take.
        seconds: u64,
    },
    /// The compiler took too much memory.
    #[error("the component takes more than {limit} bytes of memory to compile; make it smaller")]
    CompileMemory {
        /// The most that it may take, in bytes.
        limit: u64,
    },
    /// It compiles, but does not start.
    #[error("the agent does not start: {0}")]
    DoesNotStart(String),
    /// It uses too much fuel to start.
    #[error(
        "the agent uses more than {limit} units of fuel to start, which it does again each time that a \
         session wakes; do the work in the first turn, or when the component is built (`componentize-py` \
         and `componentize-js` initialise the interpreter then, `wizer` any other program)"
    )]
    StartTooLong {
        /// The most that it may use.
        limit: u64,
    },
    /// Too many components of the same principal wait to be compiled. Trying later helps.
    #[error("{limit} of your components wait to be compiled; try again when one of them is done")]
    QueueFull {
        /// How many may wait.
        limit: usize,
    },
    /// The host shuts down. Trying again when it is back helps.
    #[error("the host is shutting down; try again when it is back")]
    ShuttingDown,
    /// Too many components at a time. Trying later helps.
    #[error("the host is busy with other components; try again later")]
    Busy,
    /// Anything else that is not the component's fault.
    #[error("the component could not be prepared: {0}")]
    Host(String),
}

impl Refusal {
    /// The stable word for it, as the API has it.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Refusal::TooLarge { .. } => "component_too_large",
            Refusal::NotWasm | Refusal::CoreModule => "not_a_component",
            Refusal::Malformed(_) => "invalid_component",
            Refusal::TooComplex { .. } => "too_complex",
            Refusal::NoHandler | Refusal::OnlyPreviews => "not_an_agent",
            Refusal::WrongSignature(_) => "wrong_signature",
            Refusal::MissingImports(_) => "missing_imports",
            Refusal::CompileFailed(_) => "compile_failed",
            Refusal::CompileTimeout { .. } => "compile_timeout",
            Refusal::CompileMemory { .. } => "compile_memory",
            Refusal::DoesNotStart(_) => "does_not_start",
            Refusal::StartTooLong { .. } => "start_too_long",
            Refusal::QueueFull { .. } => "too_many_uploads",
            Refusal::ShuttingDown => code::SHUTTING_DOWN,
            Refusal::Busy => "busy",
            Refusal::Host(_) => code::INTERNAL,
        }
    }
}
