//! What `wit/` says, as Rust. Private to this room: the rest of the host sees its own types.
//!
//! The wider world is bound, so that both sets of exports have a name; each is looked up by itself.
#![allow(unreachable_pub, reason = "generated")]

wasmtime::component::bindgen!({
    path: "../../wit",
    world: "portable-agent",
    imports: { default: trappable },
    exports: { default: async },
    // What goes to a guest is borrowed: a message or a state is copied once, into its memory.
    ownership: Borrowing { duplicate_if_necessary: true },
});

/// The world of populations, which shares nothing with that of agents but its package.
pub(crate) mod simulated {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "simulated-population",
        imports: { default: trappable },
        exports: { default: async },
        // As above: a column is copied once, into the memory of the guest.
        ownership: Borrowing { duplicate_if_necessary: true },
    });
}
