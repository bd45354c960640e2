//! What `wit/` says, as Rust. Private to this room: the rest of the host sees its own types.
//!
//! Both sets of exports are bound, so that each has a name; each is looked up by itself. `view` is bound with the world of
//! populations alone, and linked by hand for both.
#![allow(unreachable_pub, reason = "generated")]

wasmtime::component::bindgen!({
    path: "../../wit",
    inline: "
        package dormouse:host;

        world agents {
            import dormouse:agent/session@0.1.0;
            import dormouse:agent/output@0.1.0;
            import dormouse:agent/log@0.1.0;
            import dormouse:agent/metrics@0.1.0;
            import dormouse:agent/model@0.1.0;
            import dormouse:agent/tools@0.1.0;
            import dormouse:agent/timers@0.1.0;
            import dormouse:agent/peers@0.1.0;

            export dormouse:agent/handler@0.1.0;
            export dormouse:agent/state@0.1.0;
        }
    ",
    world: "dormouse:host/agents",
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
