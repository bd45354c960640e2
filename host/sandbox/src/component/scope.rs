//! What a component names, and how large each of it is.
//!
//! The validator compares types part by part wherever one is imported, exported or handed over, and the
//! compiler instantiates a component anew wherever one is instantiated. Both are a product of numbers that
//! stand in the component, so here each index gets a size, and each use of it is counted as so many steps.
//!
//! This reads what the validator is about to read, in the same order, and takes time and memory in
//! proportion to the bytes alone: what is named twice is shared. It checks nothing but sizes. An index or a
//! name that is not there has size 1 here, and is refused by the validator.

use std::collections::HashMap;
use std::rc::Rc;

use wasmparser::{
    CanonicalFunction, ComponentAlias, ComponentDefinedType, ComponentExport,
    ComponentExternalKind, ComponentFuncType, ComponentInstance, ComponentOuterAliasKind,
    ComponentType, ComponentTypeDeclaration, ComponentTypeRef, ComponentValType, CoreType,
    Instance, InstanceTypeDeclaration, ModuleTypeDeclaration, Payload, TypeBounds,
};

use super::work::{Size, WorkCount, bound};
use super::{MAX_NESTING, malformed};
use crate::refusal::Refusal;

/// Places in one type section where a type of a component or of an instance may begin within another. The
/// parser descends at each, so they are counted before it reads.
const MAX_INNER_TYPES: u64 = 10_000;

/// Everything that an index can mean.
#[derive(Clone)]
struct Item<'a> {
    /// The parts of its type, each counted wherever it is named. At least 1.
    parts: u64,
    /// What an instance, or an instance of a component, exports. Empty for everything else.
    exports: Rc<Exports<'a>>,
    /// What it takes to instantiate a module or a component. `None`: it is neither, or not known.
    size: Option<Size>,
}

type Exports<'a> = HashMap<&'a str, (ComponentExternalKind, Item<'a>)>;

impl Item<'_> {
    fn of(parts: u64) -> Self {
        Item { parts: parts.max(1), exports: Rc::default(), size: None }
    }
}

/// The index spaces of a component, or of the type of one, or of the type of an instance.
#[derive(Default)]
struct Scope<'a> {
    core_types: Vec<Item<'a>>,
    modules: Vec<Item<'a>>,
    types: Vec<Item<'a>>,
    functions: Vec<Item<'a>>,
    instances: Vec<Item<'a>>,
    components: Vec<Item<'a>>,
    exports: Exports<'a>,
    /// The parts of what it imports and exports.
    parts: u64,
    size: Size,
}

/// How much a core module has.
#[derive(Default)]
struct Module {
    /// Imports and exports.
    links: u64,
    /// Those, and everything else that takes room in each instance.
    all: u64,
}

/// What is being read: components inside one another, and the types of such.
pub(super) struct Scopes<'a> {
    bytes: &'a [u8],
    scopes: Vec<Scope<'a>>,
    /// The core module that is being read, where one is.
    module: Option<Module>,
    pub(super) work: WorkCount,
}

impl<'a> Scopes<'a> {
    /// For an upload of these bytes.
    pub(super) fn new(bytes: &'a [u8]) -> Scopes<'a> {
        Scopes { bytes, scopes: Vec::new(), module: None, work: WorkCount::default() }
    }

    /// Count what the validator and the compiler do for this part of an upload.
    ///
    /// # Errors
    /// [`Refusal::TooComplex`] where that is too much, and [`Refusal::Malformed`].
    pub(super) fn payload(&mut self, payload: &Payload<'a>) -> Result<(), Refusal> {
        match payload {
            Payload::Version { encoding: wasmparser::Encoding::Module, .. } => {
                self.module = Some(Module::default());
                Ok(())
            }
            Payload::Version { encoding: wasmparser::Encoding::Component, .. } => {
                self.scopes.push(Scope::default());
                Ok(())
            }
            Payload::End(_) => {
                self.end();
                Ok(())
            }
            Payload::ImportSection(section) => {
                // One group may import many things.
                self.module_links(section.clone().into_imports().count() as u64);
                Ok(())
            }
            Payload::ExportSection(section) => {
                self.module_links(u64::from(section.count()));
                Ok(())
            }
            Payload::FunctionSection(section) => self.module_has(section.count()),
            Payload::TableSection(section) => self.module_has(section.count()),
            Payload::MemorySection(section) => self.module_has(section.count()),
            Payload::GlobalSection(section) => self.module_has(section.count()),
            Payload::TagSection(section) => self.module_has(section.count()),
            Payload::ElementSection(section) => self.module_has(section.count()),
            Payload::DataSection(section) => self.module_has(section.count()),
            Payload::CoreTypeSection(section) => {
                for ty in section.clone() {
                    self.core_type(&ty.map_err(malformed)?)?;
                }
                Ok(())
            }
            Payload::ComponentTypeSection(section) => {
                let bytes = self.bytes.get(section.range()).unwrap_or_default();
                bound("types of components in one section", inner_types(bytes), MAX_INNER_TYPES)?;
                for ty in section.clone() {
                    self.define(&ty.map_err(malformed)?)?;
                }
                Ok(())
            }
            Payload::InstanceSection(section) => {
                for instance in section.clone() {
                    self.core_instance(&instance.map_err(malformed)?)?;
                }
                Ok(())
            }
            Payload::ComponentInstanceSection(section) => {
                for instance in section.clone() {
                    self.instance(instance.map_err(malformed)?)?;
                }
                Ok(())
            }
            Payload::ComponentAliasSection(section) => {
                for alias in section.clone() {
                    self.alias(&alias.map_err(malformed)?)?;
                }
                Ok(())
            }
            Payload::ComponentCanonicalSection(section) => {
                for function in section.clone() {
                    self.canonical(&function.map_err(malformed)?)?;
                }
                Ok(())
            }
            Payload::ComponentImportSection(section) => {
                for import in section.clone() {
                    self.import(&import.map_err(malformed)?.ty)?;
                }
                Ok(())
            }
            Payload::ComponentExportSection(section) => {
                for export in section.clone() {
                    self.export(&export.map_err(malformed)?)?;
                }
                Ok(())
            }
            // What is left names nothing of components.
            _ => Ok(()),
        }
    }

    /// What has been counted so far, with the size of the outermost component.
    #[cfg(test)]
    pub(super) fn work(&self) -> WorkCount {
        let size = self.scopes.first().map_or_else(Size::default, |outermost| outermost.size);
        WorkCount { size, ..self.work }
    }

    fn module_links(&mut self, count: u64) {
        if let Some(module) = &mut self.module {
            module.links = module.links.saturating_add(count);
            module.all = module.all.saturating_add(count);
        }
    }

    fn module_has(&mut self, count: u32) -> Result<(), Refusal> {
        if let Some(module) = &mut self.module {
            module.all = module.all.saturating_add(u64::from(count));
        }
        Ok(())
    }

    /// The module or the component that is being read is over.
    fn end(&mut self) {
        if let Some(Module { links, all }) = self.module.take() {
            let size = Some(Size { instances: 1, parts: all });
            self.top().modules.push(Item { size, ..Item::of(links) });
        } else if self.scopes.len() > 1
            && let Some(scope) = self.scopes.pop()
        {
            let size = Some(scope.size);
            let component = Item { size, ..scope.close() };
            self.top().components.push(component);
        }
    }

    fn top(&mut self) -> &mut Scope<'a> {
        if self.scopes.is_empty() {
            self.scopes.push(Scope::default());
        }
        let last = self.scopes.len() - 1;
        &mut self.scopes[last]
    }

    /// The item that a type of an import or an export means.
    fn referred(&mut self, ty: &ComponentTypeRef) -> Item<'a> {
        let scope = self.top();
        match ty {
            ComponentTypeRef::Module(index) => at(&scope.core_types, *index),
            ComponentTypeRef::Func(index)
            | ComponentTypeRef::Type(TypeBounds::Eq(index))
            | ComponentTypeRef::Instance(index)
            | ComponentTypeRef::Component(index) => at(&scope.types, *index),
            ComponentTypeRef::Value(ty) => Item::of(scope.value(ty)),
            ComponentTypeRef::Type(TypeBounds::SubResource) => Item::of(1),
        }
    }

    fn import(&mut self, ty: &ComponentTypeRef) -> Result<(), Refusal> {
        let item = Item { size: None, ..self.referred(ty) };
        self.work.check_types(item.parts)?;
        let scope = self.top();
        scope.parts = scope.parts.saturating_add(item.parts);
        scope.size.part(1)?;
        scope.push(ty.kind(), item);
        Ok(())
    }

    fn export(&mut self, export: &ComponentExport<'a>) -> Result<(), Refusal> {
        let mut item = self.top().get(export.kind, export.index);
        self.work.check_types(item.parts)?;
        if let Some(ty) = &export.ty {
            let size = item.size;
            item = Item { size, ..self.referred(ty) };
            self.work.check_types(item.parts)?;
        }
        self.top().size.part(1)?;
        self.top().export(export.name.name, export.kind, item);
        Ok(())
    }

    fn core_type(&mut self, ty: &CoreType<'a>) -> Result<(), Refusal> {
        let parts = match ty {
            CoreType::Rec(group) => {
                let count = group.types().len();
                let types = std::iter::repeat_with(|| Item::of(1)).take(count);
                self.top().core_types.extend(types);
                return self.work.check_types(count as u64);
            }
            CoreType::Module(declarations) => {
                let links = declarations.iter().filter(|declaration| {
                    matches!(
                        declaration,
                        ModuleTypeDeclaration::Export { .. } | ModuleTypeDeclaration::Import(_)
                    )
                });
                self.work.check_types(declarations.len() as u64)?;
                links.count() as u64
            }
        };
        self.top().core_types.push(Item::of(parts));
        Ok(())
    }

    /// Define a type in the scope that is being read.
    fn define(&mut self, ty: &ComponentType<'a>) -> Result<(), Refusal> {
        let item = match ty {
            ComponentType::Defined(ty) => self.direct(defined(ty))?,
            ComponentType::Func(ComponentFuncType { params, result, .. }) => {
                let values = params.iter().map(|(_, ty)| Some(*ty)).chain([*result]);
                self.direct(values)?
            }
            ComponentType::Resource { .. } => self.direct([None])?,
            ComponentType::Component(declarations) => self.within(|scopes| {
                declarations.iter().try_for_each(|declaration| match declaration {
                    ComponentTypeDeclaration::CoreType(ty) => scopes.core_type(ty),
                    ComponentTypeDeclaration::Type(ty) => scopes.define(ty),
                    ComponentTypeDeclaration::Alias(alias) => scopes.alias(alias),
                    ComponentTypeDeclaration::Export { name, ty } => scopes.declare(name.name, ty),
                    ComponentTypeDeclaration::Import(import) => scopes.import(&import.ty),
                })
            })?,
            ComponentType::Instance(declarations) => self.within(|scopes| {
                declarations.iter().try_for_each(|declaration| match declaration {
                    InstanceTypeDeclaration::CoreType(ty) => scopes.core_type(ty),
                    InstanceTypeDeclaration::Type(ty) => scopes.define(ty),
                    InstanceTypeDeclaration::Alias(alias) => scopes.alias(alias),
                    InstanceTypeDeclaration::Export { name, ty } => scopes.declare(name.name, ty),
                })
            })?,
        };
        self.top().types.push(item);
        Ok(())
    }

    /// A type of these values, or of names alone.
    fn direct(
        &mut self,
        values: impl IntoIterator<Item = Option<ComponentValType>>,
    ) -> Result<Item<'a>, Refusal> {
        let (mut parts, mut count) = (1_u64, 1);
        for value in values {
            let of_value = value.map_or(1, |value| self.top().value(&value));
            parts = parts.saturating_add(of_value);
            count += 1;
        }
        self.work.check_types(count)?;
        Ok(Item::of(parts))
    }

    /// The type of what these declarations declare, in a scope of its own.
    fn within(
        &mut self,
        declare: impl FnOnce(&mut Self) -> Result<(), Refusal>,
    ) -> Result<Item<'a>, Refusal> {
        bound("levels of nesting", self.scopes.len() as u64, MAX_NESTING as u64 + 1)?;
        self.scopes.push(Scope::default());
        self.work.check_types(1)?;
        declare(self)?;
        let scope = self.scopes.pop().unwrap_or_default();
        Ok(scope.close())
    }

    fn declare(&mut self, name: &'a str, ty: &ComponentTypeRef) -> Result<(), Refusal> {
        let item = Item { size: None, ..self.referred(ty) };
        self.work.check_types(item.parts)?;
        self.top().export(name, ty.kind(), item);
        Ok(())
    }

    fn core_instance(&mut self, instance: &Instance<'_>) -> Result<(), Refusal> {
        let (links, size) = match instance {
            Instance::Instantiate { module_index, args } => {
                let module = at(&self.top().modules, *module_index);
                self.work.check_types(args.len() as u64)?;
                (module.parts, module.size)
            }
            Instance::FromExports(exports) => (exports.len() as u64, None),
        };
        self.work.check_types(links)?;
        self.top().size.add(size.unwrap_or(Size { instances: 1, parts: links }))
    }

    fn instance(&mut self, instance: ComponentInstance<'a>) -> Result<(), Refusal> {
        match instance {
            ComponentInstance::Instantiate { component_index, args } => {
                let component = at(&self.top().components, component_index);
                self.work.check_types(component.parts)?;
                for arg in &args {
                    let parts = self.top().get(arg.kind, arg.index).parts;
                    self.work.check_types(parts)?;
                }
                let Some(size) = component.size else {
                    return Err(Refusal::Malformed(
                        "it instantiates a component that is handed to it or comes out of an \
                         instance, which the host does not support: put the component itself there"
                            .to_owned(),
                    ));
                };
                let scope = self.top();
                scope.size.add(Size { instances: 1, parts: args.len() as u64 })?;
                scope.size.add(size)?;
                scope.instances.push(Item { size: None, ..component });
            }
            ComponentInstance::FromExports(exports) => {
                let mut made = Scope::default();
                for export in &exports {
                    let item = self.top().get(export.kind, export.index);
                    self.work.check_types(item.parts)?;
                    made.export(export.name.name, export.kind, item);
                }
                let links = exports.len() as u64;
                self.top().size.add(Size { instances: 1, parts: links })?;
                self.top().instances.push(made.close());
            }
        }
        Ok(())
    }

    fn alias(&mut self, alias: &ComponentAlias<'a>) -> Result<(), Refusal> {
        self.work.check_types(1)?;
        self.top().size.part(1)?;
        match alias {
            ComponentAlias::InstanceExport { kind, instance_index, name } => {
                let instance = at(&self.top().instances, *instance_index);
                let found = instance.exports.get(name).filter(|(found, _)| found == kind);
                let item = found.map_or_else(|| Item::of(1), |(_, item)| item.clone());
                self.top().push(*kind, Item { size: None, ..item });
            }
            ComponentAlias::CoreInstanceExport { .. } => {}
            ComponentAlias::Outer { kind, count, index } => {
                let outward = usize::try_from(*count).ok();
                let scope = outward
                    .and_then(|outward| self.scopes.len().checked_sub(outward.checked_add(1)?))
                    .and_then(|place| self.scopes.get(place));
                let item = scope.map_or_else(
                    || Item::of(1),
                    |scope| match kind {
                        ComponentOuterAliasKind::CoreModule => at(&scope.modules, *index),
                        ComponentOuterAliasKind::CoreType => at(&scope.core_types, *index),
                        ComponentOuterAliasKind::Type => at(&scope.types, *index),
                        ComponentOuterAliasKind::Component => at(&scope.components, *index),
                    },
                );
                let scope = self.top();
                match kind {
                    ComponentOuterAliasKind::CoreModule => scope.modules.push(item),
                    ComponentOuterAliasKind::CoreType => scope.core_types.push(item),
                    ComponentOuterAliasKind::Type => scope.types.push(item),
                    ComponentOuterAliasKind::Component => scope.components.push(item),
                }
            }
        }
        Ok(())
    }

    fn canonical(&mut self, function: &CanonicalFunction) -> Result<(), Refusal> {
        let parts = match function {
            CanonicalFunction::Lift { type_index, .. } => {
                let ty = at(&self.top().types, *type_index);
                let parts = ty.parts;
                self.top().functions.push(ty);
                parts
            }
            CanonicalFunction::Lower { func_index, .. } => {
                at(&self.top().functions, *func_index).parts
            }
            // These are of the size of their immediates.
            _ => 1,
        };
        self.work.check_types(parts)?;
        // What is lifted and lowered is compiled with its types, in each instance anew.
        self.top().size.part(parts)
    }
}

impl<'a> Scope<'a> {
    fn space(&self, kind: ComponentExternalKind) -> Option<&[Item<'a>]> {
        Some(match kind {
            ComponentExternalKind::Module => &self.modules,
            ComponentExternalKind::Func => &self.functions,
            ComponentExternalKind::Type => &self.types,
            ComponentExternalKind::Instance => &self.instances,
            ComponentExternalKind::Component => &self.components,
            ComponentExternalKind::Value => return None,
        })
    }

    fn get(&self, kind: ComponentExternalKind, index: u32) -> Item<'a> {
        self.space(kind).map_or_else(|| Item::of(1), |space| at(space, index))
    }

    fn push(&mut self, kind: ComponentExternalKind, item: Item<'a>) {
        match kind {
            ComponentExternalKind::Module => self.modules.push(item),
            ComponentExternalKind::Func => self.functions.push(item),
            ComponentExternalKind::Type => self.types.push(item),
            ComponentExternalKind::Instance => self.instances.push(item),
            ComponentExternalKind::Component => self.components.push(item),
            ComponentExternalKind::Value => {}
        }
    }

    /// Export something. It gets an index once more by that.
    fn export(&mut self, name: &'a str, kind: ComponentExternalKind, item: Item<'a>) {
        self.parts = self.parts.saturating_add(item.parts);
        self.push(kind, item.clone());
        self.exports.insert(name, (kind, Item { size: None, ..item }));
    }

    /// What it is for those who name it.
    fn close(self) -> Item<'a> {
        Item { parts: self.parts.saturating_add(1), exports: Rc::new(self.exports), size: None }
    }

    /// The parts of a value of this type.
    fn value(&self, ty: &ComponentValType) -> u64 {
        match ty {
            ComponentValType::Primitive(_) => 1,
            ComponentValType::Type(index) => at(&self.types, *index).parts,
        }
    }
}

fn at<'a>(space: &[Item<'a>], index: u32) -> Item<'a> {
    let found = usize::try_from(index).ok().and_then(|index| space.get(index));
    found.cloned().unwrap_or_else(|| Item::of(1))
}

/// In how many places of a section of types that of a component or of an instance may begin within
/// another: a declaration of a type, and which kind of type.
fn inner_types(section: &[u8]) -> u64 {
    section.windows(2).filter(|pair| matches!(pair, [0x01, 0x41 | 0x42])).count() as u64
}

/// The values that a type is made of; `None` for a name without a value.
fn defined(ty: &ComponentDefinedType<'_>) -> Vec<Option<ComponentValType>> {
    match ty {
        ComponentDefinedType::Record(fields) => fields.iter().map(|(_, ty)| Some(*ty)).collect(),
        ComponentDefinedType::Variant(cases) => cases.iter().map(|case| case.ty).collect(),
        ComponentDefinedType::Tuple(types) => types.iter().map(|ty| Some(*ty)).collect(),
        ComponentDefinedType::Flags(names) | ComponentDefinedType::Enum(names) => {
            vec![None; names.len()]
        }
        ComponentDefinedType::Map(key, value) => vec![Some(*key), Some(*value)],
        ComponentDefinedType::Result { ok, err } => vec![*ok, *err],
        ComponentDefinedType::List(ty)
        | ComponentDefinedType::FixedLengthList(ty, _)
        | ComponentDefinedType::Option(ty) => vec![Some(*ty)],
        ComponentDefinedType::Future(ty) | ComponentDefinedType::Stream(ty) => vec![*ty],
        ComponentDefinedType::Primitive(_)
        | ComponentDefinedType::Own(_)
        | ComponentDefinedType::Borrow(_) => vec![None],
    }
}
