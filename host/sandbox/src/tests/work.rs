//! Components that are small and ask for much work: each is refused before it is done.

use wasm_encoder::{Alias, ComponentAliasSection, ComponentOuterAliasKind, InstanceType};
use wasm_encoder::{
    CodeSection, Component, ComponentInstanceSection, ComponentTypeRef, ComponentTypeSection,
    EntityType, ExportKind, Function, FunctionSection, ImportSection, InstanceSection, Module,
    ModuleArg, ModuleSection, NestedComponentSection, TypeSection, ValType,
};

use super::refusal;
use crate::Refusal;
use crate::component::{WorkCount, measure};
use crate::engine;

/// How much work this component is, or why it is refused.
fn measured(component: &[u8]) -> Result<WorkCount, Refusal> {
    let features = engine::compiler().expect("an engine").get_wasm_features();
    measure(component, features)
}

fn too_much(measured: Result<WorkCount, Refusal>) -> String {
    match measured {
        Err(Refusal::TooComplex { what, .. }) => what.into_owned(),
        other => panic!("{other:?}"),
    }
}

/// A module with this many imports of a function by the name of nothing.
fn importer(imports: u32) -> Module {
    let (mut types, mut section) = (TypeSection::new(), ImportSection::new());
    types.ty().function([], []);
    for number in 0..imports {
        section.import("m", &number.to_string(), EntityType::Function(0));
    }
    let mut module = Module::new();
    module.section(&types).section(&section);
    module
}

/// A module that exports so many functions by those names.
fn exporter(exports: u32) -> Module {
    let (mut types, mut functions) = (TypeSection::new(), FunctionSection::new());
    let (mut code, mut section) = (CodeSection::new(), wasm_encoder::ExportSection::new());
    types.ty().function([], []);
    functions.function(0);
    let mut body = Function::new([]);
    body.instructions().end();
    code.function(&body);
    for number in 0..exports {
        section.export(&number.to_string(), ExportKind::Func, 0);
    }
    let mut module = Module::new();
    module.section(&types).section(&functions).section(&section).section(&code);
    module
}

/// So many components, each of which instantiates the same module so often, with so many imports.
fn instantiates(components: u32, times: u32, imports: u32) -> Vec<u8> {
    let mut inner = Component::new();
    let mut aliases = ComponentAliasSection::new();
    for index in 0..2 {
        aliases.alias(Alias::Outer { kind: ComponentOuterAliasKind::CoreModule, count: 1, index });
    }
    let mut instances = InstanceSection::new();
    instances.instantiate::<_, &str>(0, []);
    for _ in 0..times {
        instances.instantiate(1, [("m", ModuleArg::Instance(0))]);
    }
    inner.section(&aliases).section(&instances);
    let mut outer = Component::new();
    outer.section(&ModuleSection(&exporter(imports)));
    outer.section(&ModuleSection(&importer(imports)));
    for _ in 0..components {
        outer.section(&NestedComponentSection(&inner));
    }
    outer.finish()
}

#[test]
fn imports_are_counted_in_each_instance_that_has_them() {
    let one = measured(&instantiates(1, 1, 1_000)).expect("it is little");
    let ten = measured(&instantiates(1, 10, 1_000)).expect("it is little");
    // The argument and a thousand imports, for each of nine instances more.
    assert_eq!(ten.type_steps - one.type_steps, 9 * 1_001);
    let five = measured(&instantiates(5, 10, 1_000)).expect("it is little");
    assert!(five.type_steps - ten.type_steps >= 4 * 10 * 1_001, "{five:?}");
    // Components that nobody instantiates cost no instance anything.
    assert_eq!(five.size, one.size);
}

#[tokio::test]
async fn a_module_with_many_imports_is_not_instantiated_a_million_times() {
    let component = instantiates(500, 990, 60_000);
    assert!(component.len() < 5 << 20, "{}", component.len());
    assert_eq!(too_much(measured(&component)), "parts of its instances");
    let refused = refusal(instantiates(20, 900, 2_000)).await;
    assert!(matches!(refused, Refusal::TooComplex { .. }), "{refused}");
}

/// Components that each instantiate the one before twice. The innermost instantiates nothing.
fn doubling(levels: u32) -> Vec<u8> {
    let mut component = Component::new();
    for level in 0..levels {
        let mut instances = ComponentInstanceSection::new();
        for _ in 0..2 {
            instances.instantiate::<_, &str>(0, []);
        }
        let mut next = Component::new();
        next.section(&NestedComponentSection(&component));
        if level > 0 {
            next.section(&instances);
        } else {
            let none = ComponentInstanceSection::new();
            next.section(&none);
        }
        component = next;
    }
    component.finish()
}

#[test]
fn instances_are_counted_as_often_as_what_they_are_in_is_instantiated() {
    for levels in 2..12 {
        let work = measured(&doubling(levels)).expect("it is little");
        assert_eq!(work.size.instances, (1 << levels) - 2, "{levels} levels");
    }
    assert_eq!(too_much(measured(&doubling(13))), "instances");
}

/// Types of instances that each export two instances of the one before.
fn doubling_types(levels: u32, imports: u32) -> Vec<u8> {
    let mut types = ComponentTypeSection::new();
    types.instance(&InstanceType::new());
    for level in 1..levels {
        let mut ty = InstanceType::new();
        ty.alias(Alias::Outer { kind: ComponentOuterAliasKind::Type, count: 1, index: level - 1 });
        for name in ["a", "b"] {
            ty.export(name, ComponentTypeRef::Instance(0));
        }
        types.instance(&ty);
    }
    let mut section = wasm_encoder::ComponentImportSection::new();
    for number in 0..imports {
        let name = format!("i{number}");
        section.import(name.as_str(), ComponentTypeRef::Instance(levels - 1));
    }
    let mut component = Component::new();
    component.section(&types).section(&section);
    component.finish()
}

#[test]
fn the_parts_of_a_type_are_counted_wherever_it_is_named() {
    let some = |imports| measured(&doubling_types(12, imports));
    let (one, two) = (some(1).expect("little"), some(2).expect("little"));
    // An instance of two, of two, …, and of nothing.
    assert_eq!(two.type_steps - one.type_steps, (1 << 12) - 1);
    assert_eq!(too_much(some(10_000)), "steps to check its types");
}

#[test]
fn what_a_component_is_handed_over_is_not_instantiated() {
    let text = r#"(component
        (component $takes
            (import "c" (component $given))
            (instance (instantiate $given))))"#;
    let refused = measured(&wat::parse_str(text).expect("it parses"));
    assert!(
        matches!(&refused, Err(Refusal::Malformed(why)) if why.contains("handed")),
        "{refused:?}"
    );
}

/// A module with one function of this body, whose type has so many parameters and results.
fn function(width: usize, body: impl FnOnce(&mut wasm_encoder::InstructionSink<'_>)) -> Vec<u8> {
    let mut types = TypeSection::new();
    types.ty().function(vec![ValType::I32; width], vec![ValType::I32; width]);
    let mut functions = FunctionSection::new();
    functions.function(0);
    let mut written = Function::new([]);
    body(&mut written.instructions());
    let mut code = CodeSection::new();
    code.function(&written);
    let mut module = Module::new();
    module.section(&types).section(&functions).section(&code);
    let mut component = Component::new();
    component.section(&ModuleSection(&module));
    component.finish()
}

#[test]
fn the_values_that_calls_and_branches_move_are_counted() {
    let calls = |count: usize| {
        function(1_000, |code| {
            (0..1_000).for_each(|local| {
                code.local_get(local);
            });
            (0..count).for_each(|_| {
                code.call(0);
            });
            code.end();
        })
    };
    let (one, ten) = (measured(&calls(1)).expect("little"), measured(&calls(10)).expect("little"));
    assert_eq!(ten.moves - one.moves, 9 * 2_000);
    assert_eq!(too_much(measured(&calls(400_000))), "values that its calls and branches move");

    let table = function(1_000, |code| {
        (0..1_000).for_each(|local| {
            code.local_get(local);
        });
        code.i32_const(0).br_table(vec![0; 500_000], 0).end();
    });
    assert_eq!(too_much(measured(&table)), "values that its calls and branches move");
}

#[test]
fn locals_are_counted_with_the_blocks_that_carry_them() {
    let deep = |blocks: usize| {
        function(900, |code| {
            (0..blocks).for_each(|_| {
                code.loop_(wasm_encoder::BlockType::Empty);
            });
            (0..blocks).for_each(|_| {
                code.end();
            });
            code.unreachable().end();
        })
    };
    let work = measured(&deep(99)).expect("it is little");
    assert!(work.carries >= 900 * 100, "{work:?}");
    let many = vec![deep(9_900); 6].into_iter().map(|one| one[8..].to_vec());
    let many = [b"\0asm\x0d\0\x01\0".to_vec(), many.collect::<Vec<_>>().concat()].concat();
    assert_eq!(too_much(measured(&many)), "locals in blocks in one another");
}

#[tokio::test]
async fn types_inside_one_another_are_refused_before_they_are_read() {
    for levels in [20, 9_000, 300_000] {
        let content = [[0x42, 0x01, 0x01].repeat(levels), vec![0x42, 0x00]].concat();
        let count = [vec![1], content].concat();
        let mut component = Component::new();
        let id = wasm_encoder::ComponentSectionId::Type as u8;
        component.section(&wasm_encoder::RawSection { id, data: &count });
        let refused = refusal(component.finish()).await;
        assert!(matches!(refused, Refusal::TooComplex { .. }), "{levels} levels: {refused}");
    }
}

#[test]
fn what_is_known_of_real_agents_is_far_below_the_bounds() {
    let features = engine::compiler().expect("an engine").get_wasm_features();
    for agent in dormouse_agents::ALL {
        let work = measure(agent.bytes, features).expect("it is taken");
        println!("{}: {work:?}", agent.name);
        assert!(work.type_steps < 50_000 && work.size.instances < 100, "{}: {work:?}", agent.name);
        assert!(work.size.parts < 20_000 && work.moves < 5_000_000, "{}: {work:?}", agent.name);
        assert!(work.carries < 1_000_000, "{}: {work:?}", agent.name);
    }
}
