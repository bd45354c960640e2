//! Dormouse as a library. Run an example with `cargo run -p dormouse-examples --example embed`.
