//! Builds the fixtures as components.

use std::error::Error;
use std::path::Path;

use dormouse_guest_build::Guests;
use wasi_preview1_component_adapter_provider as adapter;
use wit_component::ComponentEncoder;

/// A program for WASI 0.1.
const PROGRAM: &str = "programs/prints_what_it_gets.wat";

fn main() -> Result<(), Box<dyn Error>> {
    Guests::of_examples("test-guest-fixtures").emit("TestGuest");
    println!("cargo::rerun-if-changed={PROGRAM}");
    let component = adapted(&wat::parse_file(PROGRAM)?)?;
    let directory = std::env::var_os("OUT_DIR").ok_or("there is no OUT_DIR")?;
    std::fs::write(Path::new(&directory).join("prints_what_it_gets.wasm"), component)?;
    Ok(())
}

/// The component that compilers for WASI 0.1 make of this module, with the adapter of wasmtime.
fn adapted(module: &[u8]) -> Result<Vec<u8>, Box<dyn Error>> {
    let name = adapter::WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME;
    let mut encoder = ComponentEncoder::default()
        .module(module)?
        .adapter(name, adapter::WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER)?
        .validate(true);
    Ok(encoder.encode()?)
}
