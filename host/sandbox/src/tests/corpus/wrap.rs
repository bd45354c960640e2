//! Core modules as components: those that need nothing are instantiated, and each of their functions that
//! takes and gives numbers is exported.

use wasm_encoder::{
    Alias, CanonicalFunctionSection, CanonicalOption, Component, ComponentAliasSection,
    ComponentExportKind, ComponentExportSection, ComponentTypeSection, ComponentValType,
    ExportKind, InstanceSection, ModuleArg, PrimitiveValType, RawSection,
};
use wasmparser::types::EntityType;
use wasmparser::{FuncType, ValType, Validator, WasmFeatures};

/// A component of this core module.
pub(super) fn component(module: &[u8], features: WasmFeatures) -> Vec<u8> {
    let mut component = Component::new();
    component.section(&RawSection { id: 1, data: module });
    let valid = Validator::new_with_features(features).validate_all(module);
    let Ok(types) = valid.as_ref().map(wasmparser::types::Types::as_ref) else {
        return component.finish();
    };
    if types.core_imports().is_none_or(|mut imports| imports.next().is_some()) {
        return component.finish();
    }
    let mut instances = InstanceSection::new();
    instances.instantiate(0, Vec::<(&str, ModuleArg)>::new());
    component.section(&instances);

    let (mut aliases, mut shapes) = (ComponentAliasSection::new(), ComponentTypeSection::new());
    let (mut lifts, mut exports) = (CanonicalFunctionSection::new(), ComponentExportSection::new());
    for (name, ty) in types.core_exports().into_iter().flatten() {
        let EntityType::Func(id) = ty else { continue };
        let Some(shape) = Shape::of(types[id].unwrap_func()) else { continue };
        let index = shapes.len();
        let mut function = shapes.function();
        function.params(shape.parameters.iter().map(|(name, ty)| (name.as_str(), *ty)));
        function.result(shape.result);
        aliases.alias(Alias::CoreInstanceExport { instance: 0, kind: ExportKind::Func, name });
        lifts.lift(index, index, Vec::<CanonicalOption>::new());
        exports.export(format!("f{index}").as_str(), ComponentExportKind::Func, index, None);
    }
    component.section(&aliases).section(&shapes).section(&lifts).section(&exports);
    component.finish()
}

/// A signature of numbers.
struct Shape {
    /// Their names are ours.
    parameters: Vec<(String, ComponentValType)>,
    result: Option<ComponentValType>,
}

impl Shape {
    fn of(function: &FuncType) -> Option<Shape> {
        let result = match function.results() {
            [] => None,
            [one] => Some(number(*one)?),
            _ => return None,
        };
        let parameters = function.params().iter().enumerate();
        let parameters = parameters.map(|(place, ty)| Some((format!("p{place}"), number(*ty)?)));
        Some(Shape { parameters: parameters.collect::<Option<_>>()?, result })
    }
}

fn number(ty: ValType) -> Option<ComponentValType> {
    Some(ComponentValType::Primitive(match ty {
        ValType::I32 => PrimitiveValType::S32,
        ValType::I64 => PrimitiveValType::S64,
        ValType::F32 => PrimitiveValType::F32,
        ValType::F64 => PrimitiveValType::F64,
        ValType::V128 | ValType::Ref(_) => return None,
    }))
}
