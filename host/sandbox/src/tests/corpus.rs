//! The corpus: components that other people wrote, from the tests of the packages that
//! `tests/corpus/Cargo.toml` names. Each is instrumented or refused for a reason that we know, and where
//! it runs at all, it does the same in three forms: as it is, instrumented, and asleep between its calls.

mod packages;
mod run;
mod wrap;

use std::collections::BTreeMap;

use wasmparser::{Parser, Validator, WasmFeatures};

use crate::engine;
use crate::snapshot::instrument;
use packages::Text;
use run::Forms;

/// How the reasons begin for which a component is refused, or what stands in them. All that
/// `instrument` lists, and no other: above all not that its own result is not valid.
const REASONS: [&str; 8] = [
    "it changes tables or segments while it runs",
    "it has a mutable global of type",
    "it has a memory that is shared, of 64 bits or of other pages",
    "it defines resources of its own",
    "it is asynchronous",
    "it instantiates a module that is not its own",
    "it instantiates a component that is not its own",
    "it has a component start function",
];

/// What is larger is instrumented only: to compile it would take minutes.
const MAX_RUN: usize = 1 << 20;

/// What became of the corpus, in numbers.
#[derive(Debug, Default)]
struct Counts {
    /// Components, and core modules that were made one.
    all: usize,
    /// Of them those that the engine does not take, for what they use.
    foreign: usize,
    instrumented: usize,
    refused: BTreeMap<&'static str, usize>,
    /// Ran in all forms: instances that were made, and calls of theirs, with those that trapped.
    instances: usize,
    calls: usize,
    traps: usize,
    /// Calls after which the session could not sleep.
    held: usize,
}

#[tokio::test]
async fn what_other_people_wrote_is_instrumented_and_does_what_it_did() {
    let forms = Forms::new();
    let features = engine::compiler().expect("an engine").get_wasm_features();
    let (mut counts, mut flaws) = (Counts::default(), Vec::new());
    for Text { place, bytes } in packages::texts() {
        let component =
            if Parser::is_component(&bytes) { bytes } else { wrap::component(&bytes, features) };
        counts.all += 1;
        let instrumented = instrument(&component, features);
        if !is_valid(&component, features) {
            counts.foreign += 1;
            if instrumented.is_ok() {
                flaws.push(format!("{place}: it was not valid, and became so"));
            }
            continue;
        }
        match instrumented {
            Ok(instrumented) => {
                counts.instrumented += 1;
                if !is_valid(&instrumented, features) {
                    flaws.push(format!("{place}: it is not valid any more"));
                }
                if component.len() <= MAX_RUN {
                    let ran = forms.run(&component, &instrumented, &mut counts).await;
                    flaws.extend(ran.err().map(|flaw| format!("{place}: {flaw}")));
                }
            }
            Err(reason) => match REASONS.iter().find(|known| reason.starts_with(**known)) {
                Some(known) => *counts.refused.entry(known).or_default() += 1,
                None => flaws.push(format!("{place}: it is refused: {reason}")),
            },
        }
    }
    println!("{counts:#?}");
    assert!(flaws.is_empty(), "{}", flaws.join("\n"));
    // Less would mean that it is not looked at, not that it is sound.
    assert!(counts.instrumented >= 1_000 && counts.calls >= 4_000, "{counts:?}");
    assert!(counts.refused.len() >= 4, "{counts:?}");
}

fn is_valid(bytes: &[u8], features: WasmFeatures) -> bool {
    Validator::new_with_features(features).validate_all(bytes).is_ok()
}
