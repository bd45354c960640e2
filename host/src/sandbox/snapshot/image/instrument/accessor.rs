//! The core module that reads and writes the state of other core instances.
//!
//! For each memory: `size` in pages; `read`, the whole of it as a list; `grow`; `write`, a list that goes
//! to where `seek` points. For all globals together: `get` and `set` by number, as 64 bits.
//!
//! A list is returned through its address and length in memory, and there is no memory that is not
//! the agent's. So `read` keeps the eight bytes at address 0 in a global of its own, and `post`, which
//! the engine calls after it has taken the list, puts them back. What the host then reads through the
//! list is the memory as the agent left it. A memory of no pages has no such bytes: the host asks
//! for the size first, and reads nothing.
//!
//! A list that is written is placed by `realloc`, which answers with the place that was sought: so
//! the engine copies the bytes straight to where they belong.

use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, EntityType, ExportKind, ExportSection, Function,
    FunctionSection, GlobalSection, GlobalType, ImportSection, MemArg, MemoryType, Module,
    TypeSection, ValType,
};

use super::name;

/// A core instance with state, and what its accessor needs to know of it.
pub(super) struct Source<'a> {
    /// What the instance is called in the imports of the accessor.
    pub(super) instance: String,
    pub(super) memories: &'a [(String, MemoryType)],
    pub(super) globals: &'a [(String, ValType)],
    pub(super) handles: &'a [String],
}

/// Names of functions that are not called from outside.
pub(super) const REALLOC: &str = "realloc";
pub(super) const POST: &str = "post";

// Types, by their place in the section.
const TO_NUMBER: u32 = 0; // () -> i32
const NUMBER_TO_NUMBER: u32 = 1; // (i32) -> i32
const OF_NUMBER: u32 = 2; // (i32)
const OF_LIST: u32 = 3; // (i32, i32)
const REALLOCATES: u32 = 4; // (i32, i32, i32, i32) -> i32
const GETS: u32 = 5; // (i32) -> i64
const SETS: u32 = 6; // (i32, i64)

/// The accessor of these instances.
pub(super) fn accessor(sources: &[Source<'_>]) -> Vec<u8> {
    let mut accessor = Accessor::default();
    let (mut memories, mut globals) = (0, Vec::new());
    for source in sources {
        for (name, ty) in source.memories {
            accessor.imports.import(&source.instance, name, *ty);
            memories += 1;
        }
    }
    let variable = |val_type| GlobalType { val_type, mutable: true, shared: false };
    for source in sources {
        for (name, ty) in source.globals {
            accessor.imports.import(&source.instance, name, EntityType::Global(variable(*ty)));
            globals.push(*ty);
        }
    }
    let before = globals.len();
    for source in sources {
        for name in source.handles {
            let ty = EntityType::Global(variable(ValType::I32));
            accessor.imports.import(&source.instance, name, ty);
            globals.push(ValType::I32);
        }
    }
    let count = u32::try_from(globals.len()).unwrap_or(u32::MAX);
    let pinned = u32::try_from(globals.len() - before).unwrap_or(u32::MAX);
    let (cursor, kept) = (count, count + 1);
    accessor.globals.global(variable(ValType::I32), &ConstExpr::i32_const(0));
    accessor.globals.global(variable(ValType::I64), &ConstExpr::i64_const(0));

    accessor.function(name::SEEK, OF_NUMBER, |code| {
        code.local_get(0).global_set(cursor);
    });
    accessor.function(REALLOC, REALLOCATES, |code| {
        code.global_get(cursor).global_get(cursor).local_get(3).i32_add().global_set(cursor);
    });
    accessor.function(name::GLOBALS, TO_NUMBER, |code| {
        code.i32_const(count.cast_signed());
    });
    accessor.function(name::PINNED, TO_NUMBER, |code| {
        code.i32_const(pinned.cast_signed());
    });
    accessor.by_number(name::GET, GETS, &globals, |code, index, ty| {
        code.global_get(index);
        match ty {
            ValType::I32 => code.i64_extend_i32_u(),
            ValType::F32 => code.i32_reinterpret_f32().i64_extend_i32_u(),
            ValType::F64 => code.i64_reinterpret_f64(),
            ValType::I64 | ValType::V128 | ValType::Ref(_) => code,
        };
    });
    accessor.by_number(name::SET, SETS, &globals, |code, index, ty| {
        code.local_get(1);
        match ty {
            ValType::I32 => code.i32_wrap_i64(),
            ValType::F32 => code.i32_wrap_i64().f32_reinterpret_i32(),
            ValType::F64 => code.f64_reinterpret_i64(),
            ValType::I64 | ValType::V128 | ValType::Ref(_) => code,
        };
        code.global_set(index);
    });
    for memory in 0..memories {
        accessor.memory(memory, kept);
    }
    accessor.finish()
}

#[derive(Default)]
struct Accessor {
    imports: ImportSection,
    functions: FunctionSection,
    globals: GlobalSection,
    exports: ExportSection,
    code: CodeSection,
    count: u32,
}

type Code<'a> = wasm_encoder::InstructionSink<'a>;

impl Accessor {
    fn function(&mut self, name: &str, ty: u32, write: impl FnOnce(&mut Code<'_>)) {
        let mut body = Function::new([]);
        let mut code = body.instructions();
        write(&mut code);
        code.end();
        self.functions.function(ty);
        self.code.function(&body);
        self.exports.export(name, ExportKind::Func, self.count);
        self.count += 1;
    }

    /// A function that does something to the global of a number, and traps where there is none.
    fn by_number(
        &mut self,
        name: &str,
        ty: u32,
        globals: &[ValType],
        write: impl Fn(&mut Code<'_>, u32, ValType),
    ) {
        let count = u32::try_from(globals.len()).unwrap_or(u32::MAX);
        self.function(name, ty, |code| {
            for _ in 0..=count {
                code.block(BlockType::Empty);
            }
            code.local_get(0).br_table((0..count).collect::<Vec<_>>(), count).end();
            for (index, ty) in (0..).zip(globals) {
                write(code, index, *ty);
                code.return_().end();
            }
            code.unreachable();
        });
    }

    fn memory(&mut self, memory: u32, kept: u32) {
        let at = |offset| MemArg { offset, align: 2, memory_index: memory };
        self.function(&name::of("size", memory), TO_NUMBER, |code| {
            code.memory_size(memory);
        });
        self.function(&name::of("read", memory), TO_NUMBER, |code| {
            code.i32_const(0).i64_load(at(0)).global_set(kept);
            // From address 0 on, and as long as it is. The result, at address 0 as well.
            code.i32_const(0).i32_const(0).i32_store(at(0));
            code.i32_const(0).memory_size(memory).i32_const(16).i32_shl().i32_store(at(4));
            code.i32_const(0);
        });
        self.function(&name::of(POST, memory), OF_NUMBER, |code| {
            code.i32_const(0).global_get(kept).i64_store(at(0));
        });
        self.function(&name::of("grow", memory), NUMBER_TO_NUMBER, |code| {
            code.local_get(0).memory_grow(memory);
        });
        self.function(&name::of("write", memory), OF_LIST, |_| {});
    }

    fn finish(self) -> Vec<u8> {
        use ValType::{I32, I64};
        let mut types = TypeSection::new();
        types.ty().function([], [I32]);
        types.ty().function([I32], [I32]);
        types.ty().function([I32], []);
        types.ty().function([I32, I32], []);
        types.ty().function([I32, I32, I32, I32], [I32]);
        types.ty().function([I32], [I64]);
        types.ty().function([I32, I64], []);
        let mut module = Module::new();
        module
            .section(&types)
            .section(&self.imports)
            .section(&self.functions)
            .section(&self.globals)
            .section(&self.exports)
            .section(&self.code);
        module.finish()
    }
}
