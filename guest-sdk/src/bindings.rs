//! The generated bindings, seen by this crate and by the expansion of `export_agent!` only.
//!
//! There are two worlds so that an agent exports `state` only if it asks to: the section that
//! describes an export becomes part of a component when the `export!` of its world is expanded,
//! and no component needs what it does not describe. Imports come in one by one, as they are used.

// Generated code hands pointers to the host.
#![allow(unsafe_code)]
#![allow(missing_docs, unreachable_pub)]

/// The world of every agent.
pub mod handler {
    wit_bindgen::generate!({
        path: "wit",
        world: "agent",
        pub_export_macro: true,
    });
}

/// The world of populations.
pub mod population {
    wit_bindgen::generate!({
        path: "wit",
        world: "simulated-population",
        pub_export_macro: true,
    });
}

/// What `portable-agent` adds to the world of every agent.
pub mod state {
    wit_bindgen::generate!({
        path: "wit",
        inline: "
            package dormouse:sdk;

            world portable-state {
                export dormouse:agent/state@0.1.0;
            }
        ",
        world: "dormouse:sdk/portable-state",
        pub_export_macro: true,
    });
}
