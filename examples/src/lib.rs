//! Dormouse as a library, and as a server. Run an example with
//! `cargo run -p dormouse-examples --example embed`.

/// The blocks of the README in Rust: compiled, and those with a `main` run.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
