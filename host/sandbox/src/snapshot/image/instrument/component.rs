//! A component: its sections as they are, with instrumented core modules, and our accessors after them.

use wasm_encoder::{Component, ComponentSectionId, RawSection};
use wasmparser::{
    CanonicalFunction, CanonicalOption, ComponentAlias, ComponentExternalKind, ComponentInstance,
    ComponentOuterAliasKind, Encoding, ExternalKind, Instance, Parser, Payload, Validator,
    WasmFeatures,
};

use super::append::append;
use super::module::{self, State};
use super::{InstrumentError, RESERVED, unreadable};

/// The interface that gives the directories that a guest begins with, and has their type.
const PREOPENS: &str = "wasi:filesystem/preopens@0.2";

/// Components inside one another. What was inspected nests no deeper.
const MAX_DEPTH: usize = 32;

/// Make the state of a component accessible. The component has been inspected; the result follows the
/// same rules of the engine.
///
/// # Errors
/// The reason why it cannot be snapshotted.
pub(crate) fn instrument(bytes: &[u8], features: WasmFeatures) -> Result<Vec<u8>, InstrumentError> {
    let Instrumented { bytes, .. } = component(bytes, 0)?;
    Validator::new_with_features(features)
        .validate_all(&bytes)
        .map_err(|error| format!("its instrumented form is not valid: {error}"))?;
    Ok(bytes)
}

struct Instrumented {
    bytes: Vec<u8>,
    /// How many accessors it exports.
    accessors: u32,
}

/// Something that is defined here, and instrumented or not; or that comes from elsewhere.
pub(super) enum Definition<T> {
    Own(Result<T, InstrumentError>),
    Foreign,
}

/// The index spaces of a component, as far as we append to them, and what we need to know of them.
#[derive(Default)]
pub(super) struct Spaces {
    pub(super) types: u32,
    pub(super) functions: u32,
    pub(super) instances: u32,
    pub(super) core_functions: u32,
    pub(super) core_memories: u32,
    pub(super) modules: Vec<Definition<State>>,
    pub(super) components: Vec<Definition<u32>>,
    /// Core instances, each with its module where it is of one.
    pub(super) core_instances: Vec<Option<u32>>,
    /// Instances of components: their index, and the component.
    pub(super) nested: Vec<(u32, u32)>,
    /// The imported instance that has the type of directories.
    pub(super) directories: Option<u32>,
}

fn component(bytes: &[u8], depth: usize) -> Result<Instrumented, InstrumentError> {
    if depth > MAX_DEPTH {
        return Err("it nests too deeply".to_owned());
    }
    let mut out = Component::new();
    let mut spaces = Spaces::default();
    let mut inside = 0_usize;
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload.map_err(unreadable)?;
        if inside > 0 {
            // These are the parts of something that was copied as a whole.
            match payload {
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => inside += 1,
                Payload::End(_) => inside -= 1,
                _ => {}
            }
            continue;
        }
        match &payload {
            Payload::Version { encoding: Encoding::Module, .. } => {
                return Err("it is no component".to_owned());
            }
            Payload::ModuleSection { unchecked_range, .. } => {
                let own = bytes.get(unchecked_range.clone()).unwrap_or_default();
                let made = module::instrument(own);
                let data = made.as_ref().map_or(own, |made| made.bytes.as_slice());
                out.section(&RawSection { id: ComponentSectionId::CoreModule as u8, data });
                spaces.modules.push(Definition::Own(made.map(|made| made.state)));
                inside = 1;
            }
            Payload::ComponentSection { unchecked_range, .. } => {
                let own = bytes.get(unchecked_range.clone()).unwrap_or_default();
                let made = component(own, depth + 1);
                let data = made.as_ref().map_or(own, |made| made.bytes.as_slice());
                out.section(&RawSection { id: ComponentSectionId::Component as u8, data });
                spaces.components.push(Definition::Own(made.map(|made| made.accessors)));
                inside = 1;
            }
            other => {
                if let Some((id, range)) = other.as_section() {
                    let data = bytes.get(range).unwrap_or_default();
                    out.section(&RawSection { id, data });
                }
                spaces.count(payload)?;
            }
        }
    }
    let accessors = append(&mut out, spaces)?;
    Ok(Instrumented { bytes: out.finish(), accessors })
}

impl Spaces {
    /// Note what a section defines.
    fn count(&mut self, payload: Payload<'_>) -> Result<(), InstrumentError> {
        match payload {
            Payload::InstanceSection(section) => {
                for instance in section {
                    self.core_instances.push(match instance.map_err(unreadable)? {
                        Instance::Instantiate { module_index, .. } => Some(module_index),
                        Instance::FromExports(_) => None,
                    });
                }
            }
            Payload::ComponentInstanceSection(section) => {
                for instance in section {
                    if let ComponentInstance::Instantiate { component_index, .. } =
                        instance.map_err(unreadable)?
                    {
                        self.nested.push((self.instances, component_index));
                    }
                    self.instances += 1;
                }
            }
            Payload::ComponentAliasSection(section) => {
                for alias in section {
                    self.alias(&alias.map_err(unreadable)?);
                }
            }
            Payload::ComponentCanonicalSection(section) => {
                for function in section {
                    self.canonical(&function.map_err(unreadable)?)?;
                }
            }
            Payload::ComponentImportSection(section) => {
                for import in section {
                    let import = import.map_err(unreadable)?;
                    let kind = import.ty.kind();
                    if kind == ComponentExternalKind::Instance
                        && import.name.name.starts_with(PREOPENS)
                    {
                        self.directories = Some(self.instances);
                    }
                    self.define(kind);
                }
            }
            Payload::ComponentExportSection(section) => {
                for export in section {
                    let export = export.map_err(unreadable)?;
                    if export.name.name.starts_with(RESERVED) {
                        let name = export.name.name;
                        return Err(format!("a component exports the reserved name `{name}`"));
                    }
                    self.define(export.kind);
                }
            }
            Payload::ComponentTypeSection(section) => {
                self.types = self.types.saturating_add(section.count());
            }
            Payload::ComponentStartSection { .. } => {
                return Err("it has a component start function".to_owned());
            }
            // Core types, custom sections and the ends of things take no place that we need.
            _ => {}
        }
        Ok(())
    }

    fn define(&mut self, kind: ComponentExternalKind) {
        match kind {
            ComponentExternalKind::Type => self.types += 1,
            ComponentExternalKind::Instance => self.instances += 1,
            ComponentExternalKind::Func => self.functions += 1,
            ComponentExternalKind::Component => self.components.push(Definition::Foreign),
            ComponentExternalKind::Module => self.modules.push(Definition::Foreign),
            ComponentExternalKind::Value => {}
        }
    }

    fn alias(&mut self, alias: &ComponentAlias<'_>) {
        match alias {
            ComponentAlias::InstanceExport { kind, .. } => self.define(*kind),
            ComponentAlias::CoreInstanceExport { kind, .. } => match kind {
                ExternalKind::Func | ExternalKind::FuncExact => self.core_functions += 1,
                ExternalKind::Memory => self.core_memories += 1,
                ExternalKind::Table | ExternalKind::Global | ExternalKind::Tag => {}
            },
            ComponentAlias::Outer { kind, .. } => match kind {
                ComponentOuterAliasKind::Type => self.define(ComponentExternalKind::Type),
                ComponentOuterAliasKind::CoreModule => self.define(ComponentExternalKind::Module),
                ComponentOuterAliasKind::Component => self.define(ComponentExternalKind::Component),
                ComponentOuterAliasKind::CoreType => {}
            },
        }
    }

    fn canonical(&mut self, function: &CanonicalFunction) -> Result<(), InstrumentError> {
        let is_async = |options: &[CanonicalOption]| {
            options.iter().any(|option| {
                matches!(option, CanonicalOption::Async | CanonicalOption::Callback(_))
            })
        };
        match function {
            CanonicalFunction::Lift { options, .. } if !is_async(options) => self.functions += 1,
            CanonicalFunction::Lower { options, .. } if !is_async(options) => {
                self.core_functions += 1;
            }
            CanonicalFunction::ResourceDrop { .. } => self.core_functions += 1,
            CanonicalFunction::ResourceNew { .. } | CanonicalFunction::ResourceRep { .. } => {
                return Err("it defines resources of its own (`resource.new`)".to_owned());
            }
            // Tasks, streams, futures, threads: their state lies in the engine.
            _ => return Err("it is asynchronous".to_owned()),
        }
        Ok(())
    }
}
