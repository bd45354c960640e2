//! What a component is, before anything compiles it.
//!
//! Compilation cannot be stopped once it runs, so everything that makes it long or large is bounded
//! here first; and what cannot work for want of an import or an export is refused with the name of
//! it. Inspection is linear in the size of the component. It takes bytes from strangers: it must
//! not panic, recurse by their nesting, or allocate by their word.

use wasmparser::component_types::{ComponentEntityType, ComponentItem};
use wasmparser::types::TypesRef;
use wasmparser::{
    Encoding, FuncValidator, FuncValidatorAllocations, FunctionBody, Parser, Payload, ValidPayload,
    Validator, ValidatorResources, WasmFeatures,
};

use super::entry::{HANDLER, RUN};
use super::imports;
use super::refusal::Refusal;
use crate::agent::AgentKind;

/// Components and modules inside one another.
const MAX_NESTING: usize = 16;
/// Core modules and components in all.
const MAX_MODULES: u64 = 512;
/// Functions in all. CPython with its libraries has about 30,000.
const MAX_FUNCTIONS: u64 = 250_000;
/// The code of one function, in bytes. The largest of CPython has about 100 KB.
const MAX_BODY: u64 = 1 << 20;
/// Blocks in one another within a function. A `match` of as many arms makes as many.
const MAX_BLOCKS: u64 = 10_000;
/// The locals of one function.
const MAX_LOCALS: u64 = 20_000;
/// Types in all, of modules and components.
const MAX_TYPES: u64 = 200_000;
/// Everything else that a section counts, in all: imports, exports, globals, segments, aliases, ….
const MAX_ITEMS: u64 = 1_000_000;

/// What kind of component this is, of those that the host can compile and link, by these rules of the
/// engine.
///
/// # Errors
/// A [`Refusal`] of any kind but those of the compiler.
pub(super) fn inspect(
    bytes: &[u8],
    limit: u64,
    features: WasmFeatures,
) -> Result<AgentKind, Refusal> {
    if bytes.len() as u64 > limit {
        return Err(Refusal::TooLarge { limit });
    }
    if !bytes.starts_with(b"\0asm") {
        return Err(Refusal::NotWasm);
    }
    if Parser::is_core_wasm(bytes) {
        return Err(Refusal::CoreModule);
    }
    let mut inspection = Inspection::new(features);
    for payload in Parser::new(0).parse_all(bytes) {
        inspection.payload(&payload.map_err(malformed)?)?;
    }
    inspection.finish()
}

struct Inspection {
    validator: Validator,
    allocations: FuncValidatorAllocations,
    counts: Counts,
    nesting: usize,
    imports: Vec<String>,
    exports: Exports,
    missing: Vec<String>,
}

/// What the outermost component exports, of what makes it something.
#[derive(Default)]
struct Exports {
    handler: bool,
    run: bool,
    incoming_handler: bool,
}

#[derive(Default)]
struct Counts {
    modules: u64,
    functions: u64,
    types: u64,
    items: u64,
}

impl Inspection {
    fn new(features: WasmFeatures) -> Inspection {
        Inspection {
            validator: Validator::new_with_features(features),
            allocations: FuncValidatorAllocations::default(),
            counts: Counts::default(),
            nesting: 0,
            imports: Vec::new(),
            exports: Exports::default(),
            missing: Vec::new(),
        }
    }

    /// Bound what this payload says it has, then validate it.
    fn payload(&mut self, payload: &Payload<'_>) -> Result<(), Refusal> {
        self.bound(payload)?;
        self.note_names(payload)?;
        match self.validator.payload(payload).map_err(malformed)? {
            ValidPayload::Ok => {}
            ValidPayload::Parser(_) => {
                self.nesting += 1;
                bound("levels of nesting", self.nesting as u64, MAX_NESTING as u64)?;
            }
            ValidPayload::Func(function, body) => {
                bound_body(&body)?;
                let allocations = std::mem::take(&mut self.allocations);
                let mut validator = function.into_validator(allocations);
                validate(&mut validator, &body)?;
                self.allocations = validator.into_allocations();
            }
            ValidPayload::End(types) => match self.nesting.checked_sub(1) {
                Some(outer) => self.nesting = outer,
                None => self.missing = missing(&self.imports, types.as_ref()),
            },
        }
        Ok(())
    }

    fn bound(&mut self, payload: &Payload<'_>) -> Result<(), Refusal> {
        let counts = &mut self.counts;
        match payload {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => {
                add("modules", &mut counts.modules, 1, MAX_MODULES)
            }
            Payload::FunctionSection(section) => {
                add("functions", &mut counts.functions, section.count(), MAX_FUNCTIONS)
            }
            Payload::TypeSection(section) => {
                add("types", &mut counts.types, section.count(), MAX_TYPES)
            }
            Payload::CoreTypeSection(section) => {
                add("types", &mut counts.types, section.count(), MAX_TYPES)
            }
            Payload::ComponentTypeSection(section) => {
                add("types", &mut counts.types, section.count(), MAX_TYPES)
            }
            Payload::ComponentStartSection { .. } => Err(Refusal::Malformed(
                "it has a component start function, which the host does not support".to_owned(),
            )),
            other => match items(other) {
                Some(count) => add("items in its sections", &mut counts.items, count, MAX_ITEMS),
                None => Ok(()),
            },
        }
    }

    /// Remember what the outermost component imports and exports.
    fn note_names(&mut self, payload: &Payload<'_>) -> Result<(), Refusal> {
        if self.nesting > 0 {
            return Ok(());
        }
        match payload {
            Payload::Version { encoding: Encoding::Module, .. } => Err(Refusal::CoreModule),
            Payload::ComponentImportSection(section) => {
                for import in section.clone() {
                    self.imports.push(import.map_err(malformed)?.name.name.to_owned());
                }
                Ok(())
            }
            Payload::ComponentExportSection(section) => {
                for export in section.clone() {
                    self.exports.note(export.map_err(malformed)?.name.name);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn finish(self) -> Result<AgentKind, Refusal> {
        let kind = self.exports.kind()?;
        if !self.missing.is_empty() {
            return Err(Refusal::MissingImports(self.missing));
        }
        Ok(kind)
    }
}

impl Exports {
    fn note(&mut self, name: &str) {
        let is = |known| imports::compatible(name) == imports::compatible(known);
        self.handler |= name == HANDLER;
        self.run |= is(RUN);
        self.incoming_handler |= is("wasi:http/incoming-handler@0.2.0");
    }

    fn kind(&self) -> Result<AgentKind, Refusal> {
        match self {
            Exports { handler: true, .. } => Ok(AgentKind::Agent),
            Exports { run: true, .. } => Ok(AgentKind::Command),
            Exports { incoming_handler: true, .. } => Err(Refusal::OnlyPreviews),
            Exports { .. } => Err(Refusal::NoHandler),
        }
    }
}

/// How many items a section has, where it is one that is not bounded by itself.
fn items(payload: &Payload<'_>) -> Option<u32> {
    Some(match payload {
        Payload::ImportSection(section) => section.count(),
        Payload::TableSection(section) => section.count(),
        Payload::MemorySection(section) => section.count(),
        Payload::TagSection(section) => section.count(),
        Payload::GlobalSection(section) => section.count(),
        Payload::ExportSection(section) => section.count(),
        Payload::ElementSection(section) => section.count(),
        Payload::DataSection(section) => section.count(),
        Payload::InstanceSection(section) => section.count(),
        Payload::ComponentInstanceSection(section) => section.count(),
        Payload::ComponentAliasSection(section) => section.count(),
        Payload::ComponentCanonicalSection(section) => section.count(),
        Payload::ComponentImportSection(section) => section.count(),
        Payload::ComponentExportSection(section) => section.count(),
        // Payloads of the parser without a count, or counted elsewhere.
        _ => return None,
    })
}

/// Of these imports, those that the host does not have. An instance of nothing but types asks for
/// nothing.
fn missing(names: &[String], types: TypesRef<'_>) -> Vec<String> {
    let is_missing = |name: &&String| {
        let item: Option<&ComponentItem> = types.component_item_for_import(name);
        match item.map(|item| item.ty) {
            Some(ComponentEntityType::Type { .. }) | None => false,
            Some(ComponentEntityType::Instance(instance)) => {
                let only_types = types[instance]
                    .exports
                    .values()
                    .all(|export| matches!(export.ty, ComponentEntityType::Type { .. }));
                !only_types && !imports::is_known(name)
            }
            Some(
                ComponentEntityType::Module(_)
                | ComponentEntityType::Func(_)
                | ComponentEntityType::Value(_)
                | ComponentEntityType::Component(_),
            ) => true,
        }
    };
    names.iter().filter(is_missing).cloned().collect()
}

fn bound_body(body: &FunctionBody<'_>) -> Result<(), Refusal> {
    let range = body.range();
    bound("bytes in one function", (range.end - range.start) as u64, MAX_BODY)?;
    let mut locals = 0;
    for group in body.get_locals_reader().map_err(malformed)? {
        let (count, _) = group.map_err(malformed)?;
        add("locals in one function", &mut locals, count, MAX_LOCALS)?;
    }
    Ok(())
}

/// Validate a function, and bound how deep its blocks nest: the compiler's time grows faster than
/// that depth.
fn validate(
    validator: &mut FuncValidator<ValidatorResources>,
    body: &FunctionBody<'_>,
) -> Result<(), Refusal> {
    let mut reader = body.get_binary_reader();
    validator.read_locals(&mut reader).map_err(malformed)?;
    while !reader.eof() {
        let at = reader.original_position();
        reader
            .visit_operator(&mut validator.visitor(at))
            .and_then(|valid| valid)
            .map_err(malformed)?;
        let depth = u64::from(validator.control_stack_height());
        bound("blocks in one another", depth, MAX_BLOCKS)?;
    }
    let end = reader.original_position();
    reader.finish_expression(&validator.visitor(end)).map_err(malformed)
}

fn add(what: &'static str, sum: &mut u64, count: u32, limit: u64) -> Result<(), Refusal> {
    *sum += u64::from(count);
    bound(what, *sum, limit)
}

fn bound(what: &'static str, count: u64, limit: u64) -> Result<(), Refusal> {
    if count > limit { Err(Refusal::TooComplex { what, limit }) } else { Ok(()) }
}

fn malformed(error: wasmparser::Error) -> Refusal {
    let mut why = error.to_string();
    if why.contains("component model async feature") {
        why.push_str(
            "; agents are synchronous: build it for WASI 0.2 (componentize-qjs: `--sync`)",
        );
    }
    Refusal::Malformed(super::fault::bounded(why))
}
