//! What a component is, before anything compiles it.
//!
//! Compilation cannot be stopped once it runs, so everything that makes it long or large is bounded
//! here first; and what cannot work for want of an import or an export is refused with the name of
//! it. It takes bytes from strangers: it must not panic, recurse by their nesting, or allocate by their
//! word.
//!
//! Two things are bounded: what stands in the component, counted here, and the work that it asks for, which
//! is more than linear in it: `work` has the bounds, `scope` counts what is done for types and instances,
//! `function` what is done for code. All of it is counted before it is done.

mod function;
mod scope;
mod work;

use wasmparser::component_types::{ComponentEntityType, ComponentItem};
use wasmparser::types::TypesRef;
use wasmparser::{
    Encoding, FuncValidatorAllocations, Parser, Payload, ValidPayload, Validator, WasmFeatures,
};

use super::compile::MAX_NAMES;
use super::entry::{HANDLER, INCOMING_HANDLER, POPULATION, RUN};
use super::imports;
use super::refusal::Refusal;
use super::snapshot::STATE;
use dormouse_domain::agent::{Export, Exports};
use scope::Scopes;
#[cfg(test)]
pub(super) use work::WorkCount;
use work::{add, bound};

/// Components and modules inside one another.
const MAX_NESTING: usize = 16;
/// Core modules and components in all.
const MAX_MODULES: u64 = 512;
/// Functions in all. CPython with its libraries has about 30,000.
const MAX_FUNCTIONS: u64 = 250_000;
/// Types in all, of modules and components.
const MAX_TYPES: u64 = 200_000;
/// Everything else that a section counts, in all: imports, exports, globals, segments, aliases, ….
const MAX_ITEMS: u64 = 1_000_000;

/// Whether this can be a component at all, from its size and its first bytes.
///
/// # Errors
/// [`Refusal::TooLarge`], [`Refusal::NotWasm`] and [`Refusal::CoreModule`].
pub(super) fn look(bytes: &[u8], limit: u64) -> Result<(), Refusal> {
    if bytes.len() as u64 > limit {
        return Err(Refusal::TooLarge { limit });
    }
    if !bytes.starts_with(b"\0asm") {
        return Err(Refusal::NotWasm);
    }
    if Parser::is_core_wasm(bytes) {
        return Err(Refusal::CoreModule);
    }
    Ok(())
}

/// What this component exports that the host can call, where the host can compile and link it by these
/// rules of the engine.
///
/// # Errors
/// A [`Refusal`] of any kind but those of the compiler.
pub(super) fn inspect(bytes: &[u8], features: WasmFeatures) -> Result<Exports, Refusal> {
    read(bytes, features)?.finish()
}

/// How much work a component is, whatever it exports.
#[cfg(test)]
pub(super) fn measure(bytes: &[u8], features: WasmFeatures) -> Result<work::WorkCount, Refusal> {
    Ok(read(bytes, features)?.scopes.work())
}

fn read(bytes: &[u8], features: WasmFeatures) -> Result<Inspection<'_>, Refusal> {
    look(bytes, u64::MAX)?;
    let mut inspection = Inspection::new(bytes, features);
    for payload in Parser::new(0).parse_all(bytes) {
        inspection.payload(&payload.map_err(malformed)?)?;
    }
    Ok(inspection)
}

struct Inspection<'a> {
    scopes: Scopes<'a>,
    validator: Validator,
    allocations: FuncValidatorAllocations,
    counts: Counts,
    nesting: usize,
    imports: Vec<String>,
    exports: Exports,
    missing: Vec<String>,
}

#[derive(Default)]
struct Counts {
    modules: u64,
    functions: u64,
    types: u64,
    items: u64,
}

impl<'a> Inspection<'a> {
    fn new(bytes: &'a [u8], features: WasmFeatures) -> Inspection<'a> {
        Inspection {
            scopes: Scopes::new(bytes),
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
    fn payload(&mut self, payload: &Payload<'a>) -> Result<(), Refusal> {
        self.bound(payload)?;
        self.scopes.payload(payload)?;
        self.note_names(payload)?;
        match self.validator.payload(payload).map_err(malformed)? {
            ValidPayload::Ok => {}
            ValidPayload::Parser(_) => {
                self.nesting += 1;
                bound("levels of nesting", self.nesting as u64, MAX_NESTING as u64)?;
            }
            ValidPayload::Func(function, body) => {
                let allocations = std::mem::take(&mut self.allocations);
                let mut validator = function.into_validator(allocations);
                function::check(&mut validator, &body, &mut self.scopes.work)?;
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
                add("functions", &mut counts.functions, u64::from(section.count()), MAX_FUNCTIONS)
            }
            Payload::TypeSection(section) => {
                add("types", &mut counts.types, u64::from(section.count()), MAX_TYPES)
            }
            Payload::CoreTypeSection(section) => {
                add("types", &mut counts.types, u64::from(section.count()), MAX_TYPES)
            }
            Payload::ComponentTypeSection(section) => {
                add("types", &mut counts.types, u64::from(section.count()), MAX_TYPES)
            }
            Payload::ComponentStartSection { .. } => Err(Refusal::Malformed(
                "it has a component start function, which the host does not support".to_owned(),
            )),
            other => match items(other) {
                Some(count) => {
                    add("items in its sections", &mut counts.items, u64::from(count), MAX_ITEMS)
                }
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
                    let export = exported(export.map_err(malformed)?.name.name);
                    self.exports = export.into_iter().fold(self.exports, Exports::with);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn finish(self) -> Result<Exports, Refusal> {
        let exports = self.exports;
        if exports.kind().is_none() {
            let previews = exports.has(Export::IncomingHandler);
            return Err(if previews { Refusal::OnlyPreviews } else { Refusal::NoHandler });
        }
        if !self.missing.is_empty() {
            return Err(Refusal::MissingImports(self.missing));
        }
        Ok(exports)
    }
}

/// What an export of this name is, where the host can call it.
fn exported(name: &str) -> Option<Export> {
    let is = |known| imports::compatible(name) == imports::compatible(known);
    match name {
        HANDLER => Some(Export::Handler),
        STATE => Some(Export::State),
        POPULATION => Some(Export::Population),
        _ if is(RUN) => Some(Export::Command),
        _ if is(INCOMING_HANDLER) => Some(Export::IncomingHandler),
        _ => None,
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
    let missing = names.iter().filter(is_missing).take(MAX_NAMES);
    missing.map(|name| super::fault::bounded(name.clone())).collect()
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
