//! Components that ask for more work than they have bytes.
//!
//! Each is made of kinds of things that multiply: components in one another, instances, imports, exports,
//! aliases, types; and in code functions, blocks, branches, locals, segments and names.

#![expect(clippy::unwrap_used, reason = "sizes are small, and a test that cannot go on fails")]

use crate::fuzz::Random;
use wasm_encoder::{
    Alias, BlockType, CodeSection, Component, ComponentAliasSection, ComponentExportKind,
    ComponentExportSection, ComponentImportSection, ComponentInstanceSection,
    ComponentOuterAliasKind, ComponentSectionId, ComponentTypeRef, ComponentTypeSection,
    ComponentValType, ConstExpr, DataSection, ElementSection, Elements, Encode, EntityType,
    ExportKind, ExportSection, Function, FunctionSection, GlobalSection, GlobalType, ImportSection,
    InstanceSection, InstanceType, InstructionSink, MemorySection, MemoryType, Module, ModuleArg,
    ModuleSection, NestedComponentSection, PrimitiveValType, RawSection, TypeSection, ValType,
};

/// How much there is of what multiplies.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    components: u32,
    levels: u32,
    instances: u32,
    links: u32,
    width: u32,
    blocks: u32,
    functions: u32,
}

type Kind = (&'static str, fn(Sizes) -> Component);

const KINDS: [Kind; 14] = [
    ("modules in components", modules_in_components),
    ("components in components", components_in_components),
    ("imports of large types", imports_of_large_types),
    ("exports of large instances", exports_of_large_instances),
    ("types in types", types_in_types),
    ("aliases of aliases", aliases_of_aliases),
    ("instances handed over", instances_handed_over),
    ("tiny functions", tiny_functions),
    ("wide calls", wide_calls),
    ("wide tables of branches", wide_branches),
    ("deep blocks and many locals", deep_blocks),
    ("globals in instances", globals_in_instances),
    ("segments", segments),
    ("names", names),
];

/// A component of one of these kinds, small or large, and what it is.
#[must_use]
pub fn component(random: &mut Random) -> (String, Vec<u8>) {
    let mut size = |most: usize| {
        // As often small as large.
        let most = if random.one_in(2) { most } else { most.div_ceil(30) };
        u32::try_from(1 + random.below(most)).unwrap()
    };
    let sizes = Sizes {
        components: size(500),
        levels: size(20),
        instances: size(990),
        links: size(60_000),
        width: size(1_000),
        blocks: size(12_000),
        functions: size(100_000),
    };
    let (name, make) = *random.pick(&KINDS);
    (format!("{name}, {sizes:?}"), make(sizes).finish())
}

/// The largest of each kind.
pub fn worst() -> impl Iterator<Item = (&'static str, Vec<u8>)> {
    let sizes = Sizes {
        components: 500,
        levels: 16,
        instances: 990,
        links: 60_000,
        width: 1_000,
        blocks: 9_000,
        functions: 200_000,
    };
    KINDS.iter().map(move |(name, make)| (*name, make(sizes).finish()))
}

/// This agent, with a module that takes the compiler long.
#[must_use]
pub fn slow(agent: &[u8]) -> Vec<u8> {
    let module = code(0, 60_000, |code| {
        for n in 0..60 {
            code.i32_const(n).i32_const(n).i32_load(memory(0)).i32_add();
            code.i32_const(0).i32_load(memory(4)).i32_div_u().drop();
        }
        code.end();
    });
    let mut component = Component::new();
    component.section(&ModuleSection(&module));
    [agent, &component.finish()[8..]].concat()
}

fn memory(offset: u64) -> wasm_encoder::MemArg {
    wasm_encoder::MemArg { offset, align: 2, memory_index: 0 }
}

/// A module of so many functions with this body, each with so many parameters and results.
fn code(width: u32, count: u32, body: impl Fn(&mut InstructionSink<'_>)) -> Module {
    code_with_locals(width, count, 0, body)
}

fn code_with_locals(
    width: u32,
    count: u32,
    locals: u32,
    body: impl Fn(&mut InstructionSink<'_>),
) -> Module {
    let width = usize::try_from(width).unwrap();
    let mut types = TypeSection::new();
    types.ty().function(vec![ValType::I32; width], vec![ValType::I32; width]);
    let mut functions = FunctionSection::new();
    let mut memories = MemorySection::new();
    memories.memory(MemoryType {
        minimum: 1,
        maximum: None,
        memory64: false,
        shared: false,
        page_size_log2: None,
    });
    let mut code = CodeSection::new();
    let mut written = Function::new([(locals, ValType::I32)]);
    body(&mut written.instructions());
    for _ in 0..count {
        functions.function(0);
        code.function(&written);
    }
    let mut module = Module::new();
    module.section(&types).section(&functions).section(&memories).section(&code);
    module
}

fn in_component(module: &Module, count: u32) -> Component {
    let mut component = Component::new();
    for _ in 0..count {
        component.section(&ModuleSection(module));
    }
    component
}

/// A module that imports, and one that exports, so many functions.
fn linked(links: u32) -> [Module; 2] {
    let (mut types, mut imports) = (TypeSection::new(), ImportSection::new());
    types.ty().function([], []);
    let (mut functions, mut code) = (FunctionSection::new(), CodeSection::new());
    functions.function(0);
    let mut body = Function::new([]);
    body.instructions().end();
    code.function(&body);
    let mut exports = ExportSection::new();
    for number in 0..links {
        imports.import("m", &number.to_string(), EntityType::Function(0));
        exports.export(&number.to_string(), ExportKind::Func, 0);
    }
    let (mut importer, mut exporter) = (Module::new(), Module::new());
    importer.section(&types).section(&imports);
    exporter.section(&types).section(&functions).section(&exports).section(&code);
    [importer, exporter]
}

fn outer(kind: ComponentOuterAliasKind, index: u32) -> Alias<'static> {
    Alias::Outer { kind, count: 1, index }
}

fn modules_in_components(sizes: Sizes) -> Component {
    let mut inner = Component::new();
    let mut aliases = ComponentAliasSection::new();
    for index in 0..2 {
        aliases.alias(outer(ComponentOuterAliasKind::CoreModule, index));
    }
    let mut instances = InstanceSection::new();
    instances.instantiate::<_, &str>(1, []);
    for _ in 0..sizes.instances {
        instances.instantiate(0, [("m", ModuleArg::Instance(0))]);
    }
    inner.section(&aliases).section(&instances);
    let mut component = Component::new();
    for module in &linked(sizes.links) {
        component.section(&ModuleSection(module));
    }
    for _ in 0..sizes.components {
        component.section(&NestedComponentSection(&inner));
    }
    component
}

fn components_in_components(sizes: Sizes) -> Component {
    let mut component = Component::new();
    for _ in 0..sizes.levels {
        let mut instances = ComponentInstanceSection::new();
        for _ in 0..sizes.instances {
            instances.instantiate::<_, &str>(0, []);
        }
        let mut next = Component::new();
        next.section(&NestedComponentSection(&component)).section(&instances);
        component = next;
    }
    component
}

/// Types of instances that each export some of the one before.
fn growing_types(levels: u32, each: u32) -> ComponentTypeSection {
    let mut types = ComponentTypeSection::new();
    types.instance(&InstanceType::new());
    for level in 1..levels {
        let mut ty = InstanceType::new();
        ty.alias(outer(ComponentOuterAliasKind::Type, level - 1));
        for number in 0..each {
            ty.export(format!("e{number}").as_str(), ComponentTypeRef::Instance(0));
        }
        types.instance(&ty);
    }
    types
}

fn imports_of_large_types(sizes: Sizes) -> Component {
    let (levels, mut imports) = (sizes.levels, ComponentImportSection::new());
    for number in 0..sizes.instances {
        let name = format!("i{number}");
        imports.import(name.as_str(), ComponentTypeRef::Instance(levels - 1));
    }
    let mut component = Component::new();
    component.section(&growing_types(levels, 2)).section(&imports);
    component
}

fn exports_of_large_instances(sizes: Sizes) -> Component {
    let (mut imports, mut exports) = (ComponentImportSection::new(), ComponentExportSection::new());
    imports.import("i", ComponentTypeRef::Instance(sizes.levels - 1));
    for number in 0..sizes.instances {
        let name = format!("e{number}");
        exports.export(name.as_str(), ComponentExportKind::Instance, 0, None);
    }
    let mut component = Component::new();
    component.section(&growing_types(sizes.levels, 2)).section(&imports).section(&exports);
    component
}

fn types_in_types(sizes: Sizes) -> Component {
    let levels = usize::try_from(sizes.links).unwrap();
    // One type: an instance that declares a type of an instance that declares …
    let data = [vec![1], [0x42, 0x01, 0x01].repeat(levels), vec![0x42, 0x00]].concat();
    let mut component = Component::new();
    component.section(&RawSection { id: ComponentSectionId::Type as u8, data: &data });
    component
}

fn aliases_of_aliases(sizes: Sizes) -> Component {
    let mut aliases = ComponentAliasSection::new();
    for number in 0..sizes.links {
        aliases.alias(Alias::InstanceExport {
            instance: number,
            kind: ComponentExportKind::Instance,
            name: "e0",
        });
    }
    let mut imports = ComponentImportSection::new();
    imports.import("i", ComponentTypeRef::Instance(sizes.levels - 1));
    let mut component = Component::new();
    component.section(&growing_types(sizes.levels, 2)).section(&imports).section(&aliases);
    component
}

fn instances_handed_over(sizes: Sizes) -> Component {
    let mut inner = Component::new();
    let mut takes = ComponentImportSection::new();
    takes.import("i", ComponentTypeRef::Instance(sizes.levels - 1));
    inner.section(&growing_types(sizes.levels, 2)).section(&takes);
    let mut imports = ComponentImportSection::new();
    imports.import("i", ComponentTypeRef::Instance(sizes.levels - 1));
    let mut instances = ComponentInstanceSection::new();
    for _ in 0..sizes.instances {
        instances.instantiate(0, [("i", ComponentExportKind::Instance, 0)]);
    }
    let mut component = Component::new();
    component
        .section(&growing_types(sizes.levels, 2))
        .section(&imports)
        .section(&NestedComponentSection(&inner))
        .section(&instances);
    component
}

fn tiny_functions(sizes: Sizes) -> Component {
    in_component(
        &code(0, sizes.functions, |code| {
            code.end();
        }),
        1,
    )
}

/// Put so many numbers on the stack.
fn push(code: &mut InstructionSink<'_>, count: u32) {
    for _ in 0..count {
        code.i32_const(0);
    }
}

fn wide_calls(sizes: Sizes) -> Component {
    let module = code(sizes.width, 4, |code| {
        push(code, sizes.width);
        for _ in 0..sizes.links {
            code.call(0);
        }
        code.end();
    });
    in_component(&module, sizes.components.div_ceil(50))
}

fn wide_branches(sizes: Sizes) -> Component {
    let module = code(sizes.width, 4, |code| {
        push(code, sizes.width + 1);
        let targets = vec![0; usize::try_from(sizes.links).unwrap()];
        code.br_table(targets, 0).end();
    });
    in_component(&module, sizes.components.div_ceil(50))
}

fn deep_blocks(sizes: Sizes) -> Component {
    let locals = sizes.width * 15;
    let module = code_with_locals(0, 4, locals, |code| {
        for _ in 0..sizes.blocks {
            code.loop_(BlockType::Empty);
        }
        for local in 0..locals {
            code.local_get(local).local_set(local);
        }
        for _ in 0..sizes.blocks {
            code.i32_const(0).br_if(0).end();
        }
        code.end();
    });
    in_component(&module, sizes.components.div_ceil(50))
}

fn globals_in_instances(sizes: Sizes) -> Component {
    let mut globals = GlobalSection::new();
    for _ in 0..sizes.links {
        let ty = GlobalType { val_type: ValType::I32, mutable: true, shared: false };
        globals.global(ty, &ConstExpr::i32_const(0));
    }
    let mut module = Module::new();
    module.section(&globals);
    let mut instances = InstanceSection::new();
    for _ in 0..sizes.instances {
        instances.instantiate::<_, &str>(0, []);
    }
    let mut component = in_component(&module, 1);
    component.section(&instances);
    component
}

fn segments(sizes: Sizes) -> Component {
    let (mut data, mut elements) = (DataSection::new(), ElementSection::new());
    for _ in 0..sizes.links {
        data.passive([]);
        elements.passive(Elements::Functions((&[]).into()));
    }
    let mut module = Module::new();
    module.section(&elements).section(&data);
    in_component(&module, sizes.components.div_ceil(10))
}

fn names(sizes: Sizes) -> Component {
    let mut types = ComponentTypeSection::new();
    let name = |number: u32| format!("n{number}-{}", "long-".repeat(20)) + "name";
    let names: Vec<String> = (0..sizes.width).map(name).collect();
    let number = ComponentValType::Primitive(PrimitiveValType::U32);
    for _ in 0..sizes.components {
        types.defined_type().record(names.iter().map(|name| (name.as_str(), number)));
    }
    let mut component = Component::new();
    component.section(&types);
    // Names that tools leave behind, which nobody needs.
    let mut custom = Vec::new();
    "component-name".encode(&mut custom);
    custom.resize(1 << 20, 0xff);
    component.section(&RawSection { id: ComponentSectionId::CoreCustom as u8, data: &custom });
    component
}
