//! What stands at the end of an instrumented component: the accessor of its own state, and the export of
//! those of the components inside it.

use wasm_encoder::{
    Alias, CanonicalFunctionSection, CanonicalOption, Component, ComponentAliasSection,
    ComponentExportKind, ComponentExportSection, ComponentInstanceSection, ComponentSectionId,
    ComponentTypeSection, ComponentValType, ExportKind, InstanceSection, ModuleArg,
    PrimitiveValType, RawSection,
};

use super::accessor::{self, LISTS, POST, POST_LOOK, REALLOC, Source};
use super::component::{Definition, Spaces};
use super::module::State;
use super::{InstrumentError, access_name, name};

/// Memories and mutable globals of all core instances of one component.
const MAX_ITEMS: usize = 20_000;

/// Append what makes the state of this component and of those inside accessible. Returns how many
/// accessors it exports.
pub(super) fn append(out: &mut Component, mut spaces: Spaces) -> Result<u32, InstrumentError> {
    let mut states: Vec<(u32, State)> = Vec::new();
    let mut items = 0_usize;
    for (instance, module) in (0..).zip(&spaces.core_instances) {
        let Some(module) = module else { continue };
        match usize::try_from(*module).ok().and_then(|module| spaces.modules.get(module)) {
            Some(Definition::Own(Ok(state))) if state.is_empty() => {}
            Some(Definition::Own(Ok(state))) => {
                // Before it is copied: a small module can be instantiated a thousand times.
                items = items.saturating_add(state.memories.len() + state.globals.len());
                if items > MAX_ITEMS {
                    let reason = "memories and mutable globals in its instances";
                    return Err(format!("it has more than {MAX_ITEMS} {reason}"));
                }
                states.push((instance, state.clone()));
            }
            Some(Definition::Own(Err(reason))) => return Err(reason.clone()),
            Some(Definition::Foreign) | None => {
                return Err("it instantiates a module that is not its own".to_owned());
            }
        }
    }
    let mut accessors = 0;
    if !states.is_empty() {
        append_accessor(out, &mut spaces, &states)?;
        accessors = 1;
    }
    let (mut aliases, mut exports) = (ComponentAliasSection::new(), ComponentExportSection::new());
    let own = accessors;
    for (instance, nested) in &spaces.nested {
        let count = match usize::try_from(*nested).ok().and_then(|at| spaces.components.get(at)) {
            Some(Definition::Own(Ok(count))) => *count,
            Some(Definition::Own(Err(reason))) => return Err(reason.clone()),
            Some(Definition::Foreign) | None => {
                return Err("it instantiates a component that is not its own".to_owned());
            }
        };
        for number in 0..count {
            aliases.alias(Alias::InstanceExport {
                instance: *instance,
                kind: ComponentExportKind::Instance,
                name: &access_name(number),
            });
            let aliased = spaces.instances + accessors - own;
            exports.export(
                access_name(accessors).as_str(),
                ComponentExportKind::Instance,
                aliased,
                None,
            );
            accessors += 1;
        }
    }
    if accessors > own {
        out.section(&aliases).section(&exports);
    }
    Ok(accessors)
}

/// Append the accessor of these core instances and export it.
fn append_accessor(
    out: &mut Component,
    spaces: &mut Spaces,
    states: &[(u32, State)],
) -> Result<(), InstrumentError> {
    let sources: Vec<Source<'_>> = states
        .iter()
        .map(|(instance, state)| Source {
            instance: instance.to_string(),
            memories: &state.memories,
            globals: &state.globals,
            handles: &state.handles,
            directories: &state.directories,
        })
        .collect();
    let module = accessor::accessor(&sources);
    out.section(&RawSection { id: ComponentSectionId::CoreModule as u8, data: &module });
    let number = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
    let instance = number(spaces.core_instances.len());
    let mut instances = InstanceSection::new();
    let arguments: Vec<_> =
        states.iter().map(|(at, _)| (at.to_string(), ModuleArg::Instance(*at))).collect();
    instances.instantiate(number(spaces.modules.len()), arguments);
    out.section(&instances);

    let mut lifts = Lifts::new(spaces);
    let first = states.iter().flat_map(|(_, state)| &state.memories).map(|(_, ty)| ty);
    let looked_at = accessor::looked_at(first);
    for (name, ty) in [
        (name::SEEK, Type::Seeks),
        (name::GLOBALS, Type::ToNumber),
        (name::PINNED, Type::ToNumber),
        (name::SET, Type::Sets),
    ] {
        let function = lifts.core_function(instance, name);
        lifts.lift(name.to_owned(), function, ty, Vec::new());
    }
    if looked_at.is_none() {
        let function = lifts.core_function(instance, name::GET);
        lifts.lift(name::GET.to_owned(), function, Type::Gets, Vec::new());
    }
    let realloc = lifts.core_function(instance, REALLOC);
    let memories = states
        .iter()
        .flat_map(|(at, state)| state.memories.iter().map(move |(name, _)| (*at, name.as_str())));
    for (number, (at, export)) in (0..).zip(memories) {
        let memory = lifts.core_memory(at, export);
        let post = lifts.core_function(instance, &name::of(POST, number));
        if looked_at == Some(number) {
            let name = name::of(name::LOOK, number);
            let function = lifts.core_function(instance, &name);
            let post = lifts.core_function(instance, POST_LOOK);
            let options = vec![CanonicalOption::Memory(memory), CanonicalOption::PostReturn(post)];
            lifts.lift(name, function, Type::Looks, options);
        }
        for (name, ty, options) in [
            ("grow", Type::NumberToNumber, Vec::new()),
            (
                "read",
                Type::ToList,
                vec![CanonicalOption::Memory(memory), CanonicalOption::PostReturn(post)],
            ),
            (
                "write",
                Type::OfLists,
                vec![CanonicalOption::Memory(memory), CanonicalOption::Realloc(realloc)],
            ),
        ] {
            let name = name::of(name, number);
            let function = lifts.core_function(instance, &name);
            lifts.lift(name, function, ty, options);
        }
    }
    let pins = states.iter().filter_map(|(at, state)| Some((*at, state.pin.as_deref()?)));
    for (number, (at, pin)) in (0..).zip(pins) {
        let function = lifts.core_function(at, pin);
        lifts.lift(name::of("pin", number), function, Type::Plain, Vec::new());
    }
    let takers =
        states.iter().filter_map(|(at, state)| Some((*at, state.pin_directory.as_deref()?)));
    for (number, (at, taker)) in (0..).zip(takers) {
        // Where its component has the type of its directories otherwise, it is not asked to take any.
        if lifts.directory.is_some() {
            let function = lifts.core_function(at, taker);
            let name = name::of(name::PIN_DIRECTORY, number);
            lifts.lift(name, function, Type::OfDirectory, Vec::new());
        }
    }
    lifts.finish(out);
    // The instance and its export.
    spaces.instances += 2;
    Ok(())
}

/// Types of functions, by their place behind those of lists and tuples.
#[derive(Clone, Copy)]
enum Type {
    Seeks = 3,
    ToNumber = 4,
    NumberToNumber = 5,
    ToList = 6,
    OfLists = 7,
    Looks = 8,
    Gets = 9,
    Sets = 10,
    Plain = 11,
    OfDirectory = 13,
}

/// Functions of core instances, on their way to be exported by the component.
struct Lifts<'s> {
    spaces: &'s mut Spaces,
    aliases: ComponentAliasSection,
    canonical: CanonicalFunctionSection,
    exports: Vec<(String, ComponentExportKind, u32)>,
    /// The type of a directory.
    directory: Option<u32>,
}

impl Lifts<'_> {
    fn new(spaces: &mut Spaces) -> Lifts<'_> {
        let mut aliases = ComponentAliasSection::new();
        let directory = spaces.directories.map(|instance| {
            let (kind, name) = (ComponentExportKind::Type, "descriptor");
            aliases.alias(Alias::InstanceExport { instance, kind, name });
            spaces.types += 1;
            spaces.types - 1
        });
        let (canonical, exports) = (CanonicalFunctionSection::new(), Vec::new());
        Lifts { spaces, aliases, canonical, exports, directory }
    }

    fn core_function(&mut self, instance: u32, name: &str) -> u32 {
        self.aliases.alias(Alias::CoreInstanceExport { instance, kind: ExportKind::Func, name });
        self.spaces.core_functions += 1;
        self.spaces.core_functions - 1
    }

    fn core_memory(&mut self, instance: u32, name: &str) -> u32 {
        self.aliases.alias(Alias::CoreInstanceExport { instance, kind: ExportKind::Memory, name });
        self.spaces.core_memories += 1;
        self.spaces.core_memories - 1
    }

    fn lift(&mut self, name: String, function: u32, ty: Type, options: Vec<CanonicalOption>) {
        self.canonical.lift(function, self.spaces.types + ty as u32, options);
        self.exports.push((name, ComponentExportKind::Func, self.spaces.functions));
        self.spaces.functions += 1;
    }

    fn finish(self, out: &mut Component) {
        const NUMBER: ComponentValType = ComponentValType::Primitive(PrimitiveValType::U32);
        const BITS: ComponentValType = ComponentValType::Primitive(PrimitiveValType::U64);
        const BYTE: ComponentValType = ComponentValType::Primitive(PrimitiveValType::U8);
        let of_ours = |number: u32| ComponentValType::Type(self.spaces.types + number);
        let (bytes, values, both) = (of_ours(0), of_ours(1), of_ours(2));
        let named = |what: &'static str| (0..LISTS).map(move |list| format!("{what}{list}"));
        let mut types = ComponentTypeSection::new();
        types.defined_type().list(BYTE);
        types.defined_type().list(BITS);
        types.defined_type().tuple([values, bytes]);
        // In the order of `Type`.
        let none: [(&str, ComponentValType); 0] = [];
        let seeks: Vec<_> = named("offset").map(|name| (name, NUMBER)).collect();
        let lists: Vec<_> = named("bytes").map(|name| (name, bytes)).collect();
        types.function().params(seeks.iter().map(|(name, ty)| (name.as_str(), *ty))).result(None);
        types.function().params(none).result(Some(NUMBER));
        types.function().params([("pages", NUMBER)]).result(Some(NUMBER));
        types.function().params(none).result(Some(bytes));
        types.function().params(lists.iter().map(|(name, ty)| (name.as_str(), *ty))).result(None);
        types.function().params([("group", NUMBER)]).result(Some(both));
        types.function().params([("index", NUMBER)]).result(Some(BITS));
        types.function().params([("index", NUMBER), ("bits", BITS)]).result(None);
        types.function().params(none).result(None);
        if let Some(directory) = self.directory {
            types.defined_type().own(directory);
            types.function().params([("directory", of_ours(12))]).result(None);
        }
        let mut instance = ComponentInstanceSection::new();
        let items = self.exports.iter().map(|(name, kind, at)| (name.as_str(), *kind, *at));
        instance.export_items(items);
        let mut exports = ComponentExportSection::new();
        let name = access_name(0);
        let index = self.spaces.instances;
        exports.export(name.as_str(), ComponentExportKind::Instance, index, None);
        out.section(&self.aliases)
            .section(&types)
            .section(&self.canonical)
            .section(&instance)
            .section(&exports);
    }
}
