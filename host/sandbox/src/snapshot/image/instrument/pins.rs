//! Handles that a core module asks for once and keeps.
//!
//! For each import that gives such a handle there is a function that remembers it in a global; for
//! each that drops one, a function that lets pinned handles be. `pin` takes all handles at once,
//! right after the module was instantiated, always in the same order: so they have the same numbers
//! in each instance. Where that traps, because what answers is not the host, it is not called
//! (`unpinned`).
//!
//! The directories that a guest begins with come as a list, for which the guest has to make room: so `pin` cannot
//! ask for them. The host hands them in instead, one a call of `pin-directory`. Whatever the guest asks for later, it is
//! told these handles, and the fresh ones are dropped.

use std::collections::HashMap;

use wasm_encoder::{BlockType, Function, MemArg, ValType};

/// The signature of an import, where it is one that is pinned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Shape {
    /// `() -> i32`
    Get,
    /// `(i32)`
    Drop,
    /// `(i32) -> i32`
    Subscribe,
    /// Anything else.
    Other,
}

/// An imported function.
pub(super) struct Import<'a> {
    pub(super) index: u32,
    pub(super) module: &'a str,
    pub(super) name: &'a str,
    pub(super) shape: Shape,
}

/// Where the module ends and the pins begin.
#[derive(Clone, Copy)]
pub(super) struct Ends {
    pub(super) types: u32,
    pub(super) functions: u32,
    pub(super) globals: u32,
}

/// What is added to a module, in order.
pub(super) struct Pins {
    /// Types: parameters and results, all of them `i32`.
    pub(super) types: Vec<(u32, u32)>,
    /// Functions: the type of each and its body.
    pub(super) functions: Vec<(u32, Function)>,
    /// Globals: mutable ones of type `i32`, zero at first, one a handle.
    pub(super) globals: u32,
    /// Calls of these imports go to these functions instead.
    pub(super) calls: HashMap<u32, u32>,
    /// The function that takes all handles.
    pub(super) pin: Option<u32>,
    /// The function that takes a directory.
    pub(super) pin_directory: Option<u32>,
    /// The globals that hold directories.
    pub(super) directories: Vec<u32>,
}

/// What kind of handle an import gives.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Input,
    Output,
    Network,
    Pollable,
    Directory,
}

/// Interfaces and functions that give the same thing each time.
const GETTERS: [(&str, &str, Kind); 4] = [
    ("wasi:cli/stdin@0.2", "get-stdin", Kind::Input),
    ("wasi:cli/stdout@0.2", "get-stdout", Kind::Output),
    ("wasi:cli/stderr@0.2", "get-stderr", Kind::Output),
    ("wasi:sockets/instance-network@0.2", "instance-network", Kind::Network),
];
const SUBSCRIBERS: [(&str, Kind); 2] = [
    ("[method]input-stream.subscribe", Kind::Input),
    ("[method]output-stream.subscribe", Kind::Output),
];
const DROPS: [(&str, &str, Kind); 5] = [
    ("wasi:io/streams@0.2", "[resource-drop]input-stream", Kind::Input),
    ("wasi:io/streams@0.2", "[resource-drop]output-stream", Kind::Output),
    ("wasi:sockets/network@0.2", "[resource-drop]network", Kind::Network),
    ("wasi:io/poll@0.2", "[resource-drop]pollable", Kind::Pollable),
    ("wasi:filesystem/types@0.2", "[resource-drop]descriptor", Kind::Directory),
];
const STREAMS: &str = "wasi:io/streams@0.2";
/// What gives the directories: `(i32)`, where the list of them goes. Its shape is that of a drop.
const DIRECTORIES: (&str, &str) = ("wasi:filesystem/preopens@0.2", "get-directories");

/// How many directories a guest begins with.
pub(in super::super) const DIRECTORY_COUNT: usize = 2;

/// Handles of one module, and imports that do one thing to them: what is added is a product of both. A
/// module that has more is left alone; real ones have four and one.
const MAX_EACH: usize = 16;

/// Types of what is added, by their place.
const TYPES: [(u32, u32); 4] = [(0, 1), (1, 0), (1, 1), (0, 0)];

/// What pins the handles of a module with these imports, which has so many memories. `None` where there are none.
pub(super) fn pins(imports: &[Import<'_>], memories: u32, ends: Ends) -> Option<Pins> {
    let find = |module: &str, name: &str, shape: Shape| -> Vec<u32> {
        let wanted = imports.iter().filter(|import| {
            import.module.starts_with(module) && import.name == name && import.shape == shape
        });
        wanted.map(|import| import.index).collect()
    };
    let subscribers = SUBSCRIBERS.iter().map(|(name, _)| (STREAMS, *name, Shape::Subscribe));
    let drops = DROPS.iter().map(|(module, name, _)| (*module, *name, Shape::Drop));
    if subscribers
        .chain(drops)
        .any(|(module, name, shape)| find(module, name, shape).len() > MAX_EACH)
    {
        return None;
    }
    let mut next_global = ends.globals;
    let mut global = || {
        next_global += 1;
        next_global - 1
    };

    // The handles: what gives each, and the global that it is kept in.
    let mut handles: Vec<(Kind, u32, u32)> = Vec::new();
    for (module, name, kind) in GETTERS {
        for import in find(module, name, Shape::Get) {
            handles.push((kind, import, global()));
        }
    }
    // What drops a fresh handle, and the globals of the pinned ones.
    let directories = match (
        find(DIRECTORIES.0, DIRECTORIES.1, Shape::Drop).as_slice(),
        find(DROPS[4].0, DROPS[4].1, Shape::Drop).as_slice(),
    ) {
        ([import], [drop, ..]) if memories == 1 => {
            Some((*import, *drop, std::array::from_fn(|_| global())))
        }
        _ => None,
    };
    if (handles.is_empty() && directories.is_none()) || handles.len() > MAX_EACH {
        return None;
    }
    // One pollable for each of those streams: the import, and pairs of stream and pollable.
    let mut pollables: Vec<(u32, Vec<(u32, u32)>)> = Vec::new();
    for (name, kind) in SUBSCRIBERS {
        for import in find(STREAMS, name, Shape::Subscribe) {
            let streams = handles.iter().filter(|(of, _, _)| *of == kind);
            let pairs: Vec<_> = streams.map(|(_, _, stream)| (*stream, global())).collect();
            if !pairs.is_empty() {
                pollables.push((import, pairs));
            }
        }
    }
    let protected = |kind: Kind| -> Vec<u32> {
        let pollables = pollables.iter().flat_map(|(_, pairs)| pairs.iter().map(|(_, own)| *own));
        match kind {
            Kind::Pollable => pollables.collect(),
            Kind::Directory => {
                directories.iter().flat_map(|(_, _, pinned): &(u32, u32, Pinned)| *pinned).collect()
            }
            Kind::Input | Kind::Output | Kind::Network => {
                let same = handles.iter().filter(|(of, _, _)| *of == kind);
                same.map(|(_, _, handle)| *handle).collect()
            }
        }
    };

    let mut functions = Vec::new();
    let mut calls = HashMap::new();
    let mut add = |ty: u32, body: Function| {
        functions.push((ends.types + ty, body));
        ends.functions + u32::try_from(functions.len()).unwrap_or(u32::MAX) - 1
    };
    let mut pin = Function::new([]);
    for (_, import, handle) in &handles {
        let getter = add(0, getter(*import, *handle));
        calls.insert(*import, getter);
        pin.instructions().call(getter).drop();
    }
    for (import, pairs) in &pollables {
        let subscriber = add(2, subscriber(*import, pairs));
        calls.insert(*import, subscriber);
        for (stream, _) in pairs {
            pin.instructions().global_get(*stream).call(subscriber).drop();
        }
    }
    for (module, name, kind) in DROPS {
        for import in find(module, name, Shape::Drop) {
            calls.insert(import, add(1, dropper(import, &protected(kind))));
        }
    }
    let pin_directory = directories.map(|(import, drop, pinned)| {
        calls.insert(import, add(1, lister(import, drop, &pinned)));
        add(1, taker(&pinned))
    });
    let directories = protected(Kind::Directory);
    pin.instructions().end();
    let pin = (!handles.is_empty()).then(|| add(3, pin));
    let globals = next_global - ends.globals;
    let types = TYPES.to_vec();
    Some(Pins { types, functions, globals, calls, pin, pin_directory, directories })
}

/// The globals of the pinned directories, in the order of the list.
type Pinned = [u32; DIRECTORY_COUNT];

/// `(i32)`: the list of the directories, with the pinned handles in place of fresh ones, as far as there are any.
fn lister(import: u32, drop: u32, pinned: &Pinned) -> Function {
    const ELEMENT: u64 = 12;
    let at = |offset| MemArg { offset, align: 2, memory_index: 0 };
    let mut body = Function::new([]);
    let mut code = body.instructions();
    code.local_get(0).call(import);
    for (place, handle) in (0_u64..).zip(pinned) {
        let place_of = |code: &mut wasm_encoder::InstructionSink<'_>| {
            code.local_get(0).i32_load(at(0));
        };
        code.i32_const(i32::try_from(place).unwrap_or(i32::MAX))
            .local_get(0)
            .i32_load(at(4))
            .i32_lt_u()
            .global_get(*handle)
            .i32_const(0)
            .i32_ne()
            .i32_and()
            .if_(BlockType::Empty);
        place_of(&mut code);
        code.i32_load(at(place * ELEMENT)).call(drop);
        place_of(&mut code);
        code.global_get(*handle).i32_store(at(place * ELEMENT)).end();
    }
    code.end();
    body
}

/// `(i32)`: keeps the handle of a directory, behind those that were kept before.
fn taker(pinned: &Pinned) -> Function {
    let mut body = Function::new([]);
    let mut code = body.instructions();
    for handle in pinned {
        code.global_get(*handle)
            .i32_eqz()
            .if_(BlockType::Empty)
            .local_get(0)
            .global_set(*handle)
            .return_()
            .end();
    }
    code.unreachable().end();
    body
}

/// `() -> i32`: the handle, asked for where it is not there yet. No handle is zero.
fn getter(import: u32, handle: u32) -> Function {
    let mut body = Function::new([]);
    body.instructions()
        .global_get(handle)
        .i32_eqz()
        .if_(BlockType::Empty)
        .call(import)
        .global_set(handle)
        .end()
        .global_get(handle)
        .end();
    body
}

/// `(i32) -> i32`: the pinned pollable of a pinned stream, or a new one of any other.
fn subscriber(import: u32, pairs: &[(u32, u32)]) -> Function {
    let mut body = Function::new([]);
    let mut code = body.instructions();
    for (stream, pollable) in pairs {
        code.local_get(0)
            .global_get(*stream)
            .i32_eq()
            .if_(BlockType::Empty)
            .global_get(*pollable)
            .i32_eqz()
            .if_(BlockType::Empty)
            .local_get(0)
            .call(import)
            .global_set(*pollable)
            .end()
            .global_get(*pollable)
            .return_()
            .end();
    }
    code.local_get(0).call(import).end();
    body
}

/// `(i32)`: drops a handle, unless it is one of these.
fn dropper(import: u32, protected: &[u32]) -> Function {
    let mut body = Function::new([]);
    let mut code = body.instructions();
    for handle in protected {
        code.local_get(0).global_get(*handle).i32_eq().if_(BlockType::Empty).return_().end();
    }
    code.local_get(0).call(import).end();
    body
}

/// The value types of a signature of this many `i32`.
pub(super) fn numbers(count: u32) -> impl ExactSizeIterator<Item = ValType> {
    std::iter::repeat_n(ValType::I32, usize::try_from(count).unwrap_or(0))
}
