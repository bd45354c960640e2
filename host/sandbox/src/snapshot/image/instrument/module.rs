//! A core module: what state it has, and the same module with that state exported.
//!
//! What is found here decides what is added; `rewrite` adds it.

use wasmparser::{
    CompositeInnerType, ElementItems, ExternalKind, FuncType, FunctionBody, Import as RawImport,
    Operator, Parser, Payload, TypeRef,
};

use super::pins::{self, Ends, Import, Shape};
use super::rewrite::{FUNCTION, GLOBAL, MEMORY, additions, rewrite};
use super::{InstrumentError, RESERVED, unreadable};

/// A module with its state exported.
pub(super) struct Module {
    pub(super) bytes: Vec<u8>,
    pub(super) state: State,
}

/// The state of a module: names of its exports of our making, with their types.
#[derive(Clone, Default)]
pub(super) struct State {
    pub(super) memories: Vec<(String, wasm_encoder::MemoryType)>,
    pub(super) globals: Vec<(String, wasm_encoder::ValType)>,
    /// The globals that hold pinned handles,
    pub(super) handles: Vec<String>,
    /// and those of directories.
    pub(super) directories: Vec<String>,
    /// The function that pins them.
    pub(super) pin: Option<String>,
    /// The function that takes directories.
    pub(super) pin_directory: Option<String>,
}

impl State {
    /// Whether there is nothing to save.
    pub(super) fn is_empty(&self) -> bool {
        self.memories.is_empty()
            && self.globals.is_empty()
            && self.pin.is_none()
            && self.pin_directory.is_none()
    }
}

/// Export the state of this module.
pub(super) fn instrument(bytes: &[u8]) -> Result<Module, InstrumentError> {
    let facts = Facts::of(bytes)?;
    let pins =
        if facts.escapes { None } else { pins::pins(&facts.imports, facts.memories, facts.ends()) };
    let mut state = facts.state.clone();
    let mut exports = facts.exports.clone();
    if let Some(pins) = &pins {
        for index in facts.globals..facts.globals + pins.globals {
            let name = format!("{RESERVED}h{index}");
            exports.push((name.clone(), GLOBAL, index));
            if pins.directories.contains(&index) {
                state.directories.push(name);
            } else {
                state.handles.push(name);
            }
        }
        let mut export = |what: &str, function: Option<u32>| {
            let name = format!("{RESERVED}{what}");
            function.map(|function| {
                exports.push((name.clone(), FUNCTION, function));
                name
            })
        };
        state.pin = export("pin", pins.pin);
        state.pin_directory = export("pin-directory", pins.pin_directory);
    }
    if exports.is_empty() {
        return Ok(Module { bytes: bytes.to_vec(), state });
    }
    let bytes = rewrite(bytes, additions(&exports, pins.as_ref()), pins.as_ref())?;
    Ok(Module { bytes, state })
}

/// What is known of a module before it is written again.
#[derive(Default)]
struct Facts<'a> {
    shapes: Vec<Shape>,
    imports: Vec<Import<'a>>,
    functions: u32,
    globals: u32,
    memories: u32,
    state: State,
    exports: Vec<(String, u8, u32)>,
    /// An import that could be pinned is used otherwise than by a call.
    escapes: bool,
}

impl<'a> Facts<'a> {
    fn of(bytes: &'a [u8]) -> Result<Facts<'a>, InstrumentError> {
        let mut facts = Facts::default();
        for payload in Parser::new(0).parse_all(bytes) {
            facts.payload(payload.map_err(unreadable)?)?;
        }
        Ok(facts)
    }

    fn ends(&self) -> Ends {
        let types = u32::try_from(self.shapes.len()).unwrap_or(u32::MAX);
        Ends { types, functions: self.functions, globals: self.globals }
    }

    fn payload(&mut self, payload: Payload<'a>) -> Result<(), InstrumentError> {
        match payload {
            Payload::TypeSection(section) => {
                for group in section {
                    for ty in group.map_err(unreadable)?.into_types() {
                        self.shapes.push(match &ty.composite_type.inner {
                            CompositeInnerType::Func(function) => shape(function),
                            CompositeInnerType::Array(_)
                            | CompositeInnerType::Struct(_)
                            | CompositeInnerType::Cont(_) => Shape::Other,
                        });
                    }
                }
            }
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    self.import(import.map_err(unreadable)?);
                }
            }
            Payload::FunctionSection(section) => {
                self.functions = self.functions.saturating_add(section.count());
            }
            Payload::MemorySection(section) => {
                for memory in section {
                    self.memory(memory.map_err(unreadable)?)?;
                }
            }
            Payload::GlobalSection(section) => {
                for global in section {
                    let global = global.map_err(unreadable)?;
                    self.global(global.ty)?;
                    let mut operators = global.init_expr.get_operators_reader();
                    while !operators.eof() {
                        self.escape(&operators.read().map_err(unreadable)?);
                    }
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    let export = export.map_err(unreadable)?;
                    if export.name.starts_with(RESERVED) {
                        return Err(format!(
                            "a module exports the reserved name `{}`",
                            export.name
                        ));
                    }
                    if matches!(export.kind, ExternalKind::Func | ExternalKind::FuncExact) {
                        self.escapes |= self.could_be_pinned(export.index);
                    }
                }
            }
            Payload::StartSection { func, .. } => self.escapes |= self.could_be_pinned(func),
            Payload::ElementSection(section) => {
                for element in section {
                    self.items(element.map_err(unreadable)?.items)?;
                }
            }
            Payload::CodeSectionEntry(body) => refuse_changes(&body)?,
            // Everything else is neither state nor moved.
            _ => {}
        }
        Ok(())
    }

    fn import(&mut self, import: RawImport<'a>) {
        match import.ty {
            TypeRef::Func(ty) | TypeRef::FuncExact(ty) => {
                let shape = usize::try_from(ty).ok().and_then(|ty| self.shapes.get(ty));
                self.imports.push(Import {
                    index: self.functions,
                    module: import.module,
                    name: import.name,
                    shape: shape.copied().unwrap_or(Shape::Other),
                });
                self.functions += 1;
            }
            TypeRef::Memory(_) => self.memories += 1,
            TypeRef::Global(_) => self.globals += 1,
            TypeRef::Table(_) | TypeRef::Tag(_) => {}
        }
    }

    fn memory(&mut self, memory: wasmparser::MemoryType) -> Result<(), InstrumentError> {
        if memory.shared || memory.memory64 || memory.page_size_log2.is_some() {
            return Err("it has a memory that is shared, of 64 bits or of other pages".to_owned());
        }
        let name = format!("{RESERVED}m{}", self.memories);
        self.exports.push((name.clone(), MEMORY, self.memories));
        self.memories += 1;
        self.state.memories.push((
            name,
            wasm_encoder::MemoryType {
                minimum: memory.initial,
                maximum: memory.maximum,
                memory64: false,
                shared: false,
                page_size_log2: None,
            },
        ));
        Ok(())
    }

    fn global(&mut self, global: wasmparser::GlobalType) -> Result<(), InstrumentError> {
        let index = self.globals;
        self.globals += 1;
        if !global.mutable {
            return Ok(());
        }
        let ty = match global.content_type {
            wasmparser::ValType::I32 => wasm_encoder::ValType::I32,
            wasmparser::ValType::I64 => wasm_encoder::ValType::I64,
            wasmparser::ValType::F32 => wasm_encoder::ValType::F32,
            wasmparser::ValType::F64 => wasm_encoder::ValType::F64,
            other @ (wasmparser::ValType::V128 | wasmparser::ValType::Ref(_)) => {
                return Err(format!("it has a mutable global of type {other}"));
            }
        };
        let name = format!("{RESERVED}g{index}");
        self.exports.push((name.clone(), GLOBAL, index));
        self.state.globals.push((name, ty));
        Ok(())
    }

    fn items(&mut self, items: ElementItems<'_>) -> Result<(), InstrumentError> {
        match items {
            ElementItems::Functions(functions) => {
                for function in functions {
                    self.escapes |= self.could_be_pinned(function.map_err(unreadable)?);
                }
            }
            ElementItems::Expressions(_, expressions) => {
                for expression in expressions {
                    let expression = expression.map_err(unreadable)?;
                    let mut operators = expression.get_operators_reader();
                    while !operators.eof() {
                        self.escape(&operators.read().map_err(unreadable)?);
                    }
                }
            }
        }
        Ok(())
    }

    /// Note a constant that refers to a function.
    fn escape(&mut self, operator: &Operator<'_>) {
        if let Operator::RefFunc { function_index } = operator {
            self.escapes |= self.could_be_pinned(*function_index);
        }
    }

    fn could_be_pinned(&self, function: u32) -> bool {
        let import = usize::try_from(function).ok().and_then(|index| self.imports.get(index));
        import.is_some_and(|import| import.module.starts_with("wasi:"))
    }
}

fn shape(function: &FuncType) -> Shape {
    use wasmparser::ValType::I32;
    match (function.params(), function.results()) {
        ([], [I32]) => Shape::Get,
        ([I32], []) => Shape::Drop,
        ([I32], [I32]) => Shape::Subscribe,
        _ => Shape::Other,
    }
}

/// Refuse instructions that change what no accessor can read.
fn refuse_changes(body: &FunctionBody<'_>) -> Result<(), InstrumentError> {
    let mut operators = body.get_operators_reader().map_err(unreadable)?;
    while !operators.eof() {
        let instruction = match operators.read().map_err(unreadable)? {
            Operator::TableSet { .. } => "table.set",
            Operator::TableGrow { .. } => "table.grow",
            Operator::TableFill { .. } => "table.fill",
            Operator::TableCopy { .. } => "table.copy",
            Operator::TableInit { .. } => "table.init",
            Operator::ElemDrop { .. } => "elem.drop",
            Operator::DataDrop { .. } => "data.drop",
            // What is left changes memories and globals, which are saved, or nothing.
            _ => continue,
        };
        return Err(format!("it changes tables or segments while it runs (`{instruction}`)"));
    }
    Ok(())
}
