//! The core module that reads and writes the state of other core instances.
//!
//! Its *values* are the sizes of all memories, in pages, and the bits of all globals, those of pinned
//! handles last. `look` answers with some of them and a whole memory, so that one call reads all of an
//! ordinary agent. For each memory: `read`, the whole of it as a list; `grow`; `write`, lists that go
//! to where `seek` points. `set` sets a global by its number, as 64 bits.
//!
//! A list is returned through its address and length in memory, and there is no memory that is not
//! the agent's. So `look` and `read` keep the bytes from address 0 on that they need in globals of
//! their own, and `post`, which the engine calls after it has taken the lists, puts them back. What the
//! host then reads through the list of bytes is the memory as the agent left it. Values are taken
//! at once. A memory of no pages has no such bytes: `look` takes one that has a page from its start,
//! and where there is none `get` answers with one value at a time; the host knows all sizes before it
//! calls `read`.
//!
//! A list that is written is placed by `realloc`, which answers with the places that were sought, one
//! after the other: so the engine copies the bytes straight to where they belong.

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
    pub(super) directories: &'a [String],
}

/// Names of functions that are not called from outside.
pub(super) const REALLOC: &str = "realloc";
pub(super) const POST: &str = "post";
pub(super) const POST_LOOK: &str = "post-look";

/// Values that `look` answers with at once, and those that follow in the next group.
pub(in super::super) const GROUP: usize = 64;
/// Lists that are written at once.
pub(in super::super) const LISTS: u32 = 4;
/// Where `look` puts values: behind the addresses and lengths of its two lists.
const VALUES: u32 = 16;

// Types, by their place in the section.
const TO_NUMBER: u32 = 0; // () -> i32
const NUMBER_TO_NUMBER: u32 = 1; // (i32) -> i32
const OF_NUMBER: u32 = 2; // (i32)
const OF_LISTS: u32 = 3; // (i32, i32), for each list
const SEEKS: u32 = 4; // (i32), for each list
const REALLOCATES: u32 = 5; // (i32, i32, i32, i32) -> i32
const GETS: u32 = 6; // (i32) -> i64
const SETS: u32 = 7; // (i32, i64)

/// A number that the host may ask for.
#[derive(Clone, Copy)]
enum Value {
    Size(u32),
    Global(u32, ValType),
}

/// The memory that `look` answers with, by its number: the first that has a page from its start.
pub(super) fn looked_at<'a>(memories: impl IntoIterator<Item = &'a MemoryType>) -> Option<u32> {
    let mut memories = (0..).zip(memories);
    memories.find(|(_, memory)| memory.minimum > 0).map(|(number, _)| number)
}

/// The accessor of these instances.
pub(super) fn accessor(sources: &[Source<'_>]) -> Vec<u8> {
    let mut accessor = Accessor::default();
    let (mut values, mut globals) = (Vec::new(), Vec::new());
    let memories = || sources.iter().flat_map(|source| source.memories);
    for source in sources {
        for (name, ty) in source.memories {
            accessor.imports.import(&source.instance, name, *ty);
            values.push(Value::Size(number(values.len())));
        }
    }
    let memory_count = number(values.len());
    let variable = |val_type| GlobalType { val_type, mutable: true, shared: false };
    for source in sources {
        for (name, ty) in source.globals {
            accessor.imports.import(&source.instance, name, EntityType::Global(variable(*ty)));
            globals.push(*ty);
        }
    }
    let ordinary = globals.len();
    // Directories last: states that were saved before there were any do not know them.
    let handles =
        sources.iter().flat_map(|source| source.handles.iter().map(move |it| (source, it)));
    let directories =
        sources.iter().flat_map(|source| source.directories.iter().map(move |it| (source, it)));
    for (source, name) in handles.chain(directories) {
        let ty = EntityType::Global(variable(ValType::I32));
        accessor.imports.import(&source.instance, name, ty);
        globals.push(ValType::I32);
    }
    values.extend((0..).zip(&globals).map(|(index, ty)| Value::Global(index, *ty)));
    let cursor = number(globals.len());
    for _ in 0..LISTS {
        accessor.globals.global(variable(ValType::I32), &ConstExpr::i32_const(0));
    }
    let kept = cursor + LISTS;
    let words = VALUES / 8 + number(values.len().min(GROUP));
    for _ in 0..words {
        accessor.globals.global(variable(ValType::I64), &ConstExpr::i64_const(0));
    }

    accessor.function(name::SEEK, SEEKS, |code| {
        for list in 0..LISTS {
            code.local_get(list).global_set(cursor + list);
        }
    });
    accessor.function(REALLOC, REALLOCATES, |code| {
        code.global_get(cursor);
        for list in 1..LISTS {
            code.global_get(cursor + list).global_set(cursor + list - 1);
        }
    });
    accessor.function(name::GLOBALS, TO_NUMBER, |code| {
        code.i32_const(cursor.cast_signed());
    });
    accessor.function(name::PINNED, TO_NUMBER, |code| {
        code.i32_const((cursor - number(ordinary)).cast_signed());
    });
    match looked_at(memories().map(|(_, ty)| ty)) {
        Some(memory) => accessor.look(memory, &values, kept, words),
        None => accessor.by_number(name::GET, GETS, &values, |code, value| {
            get(code, *value);
        }),
    }
    let globals: Vec<_> = (0..).zip(globals).collect();
    accessor.by_number(name::SET, SETS, &globals, |code, (index, ty)| {
        code.local_get(1);
        match ty {
            ValType::I32 => code.i32_wrap_i64(),
            ValType::F32 => code.i32_wrap_i64().f32_reinterpret_i32(),
            ValType::F64 => code.f64_reinterpret_i64(),
            ValType::I64 | ValType::V128 | ValType::Ref(_) => code,
        };
        code.global_set(*index);
    });
    for memory in 0..memory_count {
        accessor.memory(memory, kept);
    }
    accessor.finish()
}

/// Put a value on the stack, as 64 bits.
fn get(code: &mut Code<'_>, value: Value) {
    match value {
        Value::Size(memory) => code.memory_size(memory).i64_extend_i32_u(),
        Value::Global(index, ValType::I32) => code.global_get(index).i64_extend_i32_u(),
        Value::Global(index, ValType::F32) => {
            code.global_get(index).i32_reinterpret_f32().i64_extend_i32_u()
        }
        Value::Global(index, ValType::F64) => code.global_get(index).i64_reinterpret_f64(),
        Value::Global(index, ValType::I64 | ValType::V128 | ValType::Ref(_)) => {
            code.global_get(index)
        }
    };
}

fn number(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
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

    /// A function that does something with the item of a number, and traps where there is none.
    fn by_number<T>(
        &mut self,
        name: &str,
        ty: u32,
        items: &[T],
        write: impl Fn(&mut Code<'_>, &T),
    ) {
        let count = number(items.len());
        self.function(name, ty, |code| {
            for _ in 0..=count {
                code.block(BlockType::Empty);
            }
            code.local_get(0).br_table((0..count).collect::<Vec<_>>(), count).end();
            for item in items {
                write(code, item);
                code.return_().end();
            }
            code.unreachable();
        });
    }

    /// `(group) -> (values, bytes)`: values of a group and this whole memory.
    fn look(&mut self, memory: u32, values: &[Value], kept: u32, words: u32) {
        let at = |offset| MemArg { offset: u64::from(offset), align: 2, memory_index: memory };
        let groups: Vec<_> = values.chunks(GROUP).collect();
        let count = number(groups.len());
        self.function(&name::of(name::LOOK, memory), NUMBER_TO_NUMBER, |code| {
            for word in 0..words {
                code.i32_const(0).i64_load(at(word * 8)).global_set(kept + word);
            }
            // One for each group, one for a group that there is not, and one for the end.
            for _ in 0..count + 2 {
                code.block(BlockType::Empty);
            }
            code.local_get(0).br_table((0..count).collect::<Vec<_>>(), count).end();
            for (number_of_group, group) in (0..).zip(&groups) {
                for (place, value) in (0..).zip(*group) {
                    code.i32_const(0);
                    get(code, *value);
                    code.i64_store(at(VALUES + place * 8));
                }
                code.i32_const(0).i32_const(number(group.len()).cast_signed()).i32_store(at(4));
                code.br(count - number_of_group).end();
            }
            code.unreachable().end();
            code.i32_const(0).i32_const(VALUES.cast_signed()).i32_store(at(0));
            write_bytes(code, memory, 8);
            code.i32_const(0);
        });
        self.function(POST_LOOK, OF_NUMBER, |code| {
            for word in 0..words {
                code.i32_const(0).global_get(kept + word).i64_store(at(word * 8));
            }
        });
    }

    fn memory(&mut self, memory: u32, kept: u32) {
        let at = MemArg { offset: 0, align: 2, memory_index: memory };
        self.function(&name::of("read", memory), TO_NUMBER, |code| {
            code.i32_const(0).i64_load(at).global_set(kept);
            write_bytes(code, memory, 0);
            code.i32_const(0);
        });
        self.function(&name::of(POST, memory), OF_NUMBER, |code| {
            code.i32_const(0).global_get(kept).i64_store(at);
        });
        self.function(&name::of("grow", memory), NUMBER_TO_NUMBER, |code| {
            code.local_get(0).memory_grow(memory);
        });
        self.function(&name::of("write", memory), OF_LISTS, |_| {});
    }

    fn finish(self) -> Vec<u8> {
        use ValType::{I32, I64};
        let mut types = TypeSection::new();
        types.ty().function([], [I32]);
        types.ty().function([I32], [I32]);
        types.ty().function([I32], []);
        types.ty().function([I32; 2 * LISTS as usize], []);
        types.ty().function([I32; LISTS as usize], []);
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

/// Write to this offset that the whole memory is a list: from address 0 on, and as long as it is.
fn write_bytes(code: &mut Code<'_>, memory: u32, offset: u64) {
    let at = |offset| MemArg { offset, align: 2, memory_index: memory };
    code.i32_const(0).i32_const(0).i32_store(at(offset));
    code.i32_const(0).memory_size(memory).i32_const(16).i32_shl().i32_store(at(offset + 4));
}
