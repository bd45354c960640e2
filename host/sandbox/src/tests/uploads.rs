//! What is taken, what is refused, and what the refusal says.

use super::agent::{self, Parts, assemble, doing};
use super::{refusal, sandbox};
use crate::Refusal;
use dormouse_domain::agent::{Digest, Statefulness};

fn is_too_complex(refusal: &Refusal, expected: &str) -> bool {
    matches!(refusal, Refusal::TooComplex { what, .. } if what == expected)
}

#[tokio::test]
async fn what_is_known_of_an_agent_is_told() {
    let component = doing("");
    let digest = Digest::of(&component);
    let prepared = sandbox().prepare(component.into(), None).await.expect("it is taken");
    assert_eq!(prepared.digest, digest);
    assert_eq!(prepared.component.imports, Vec::<String>::new());
    assert_eq!(prepared.component.capabilities, Vec::<String>::new());
    assert_eq!(prepared.component.statefulness, Statefulness::Image);
    assert!(!prepared.from_cache);
}

#[tokio::test]
async fn an_interface_of_which_only_types_are_imported_is_no_capability() {
    let outer = r#"
        (import "dormouse:agent/model@0.1.0" (instance (type $u8 u8) (export "t" (type (eq $u8)))))"#;
    let component = agent::component(Parts { outer, ..Parts::default() });
    let prepared = sandbox().prepare(component.into(), None).await.expect("it is taken");
    assert_eq!(prepared.component.imports, ["dormouse:agent/model@0.1.0"]);
    assert_eq!(prepared.component.capabilities, Vec::<String>::new());
}

#[tokio::test]
async fn what_is_no_component_is_told_what_it_is() {
    assert_eq!(refusal(Vec::new()).await, Refusal::NotWasm);
    assert_eq!(refusal(b"#!/bin/sh".to_vec()).await, Refusal::NotWasm);
    assert_eq!(refusal(assemble("(module)")).await, Refusal::CoreModule);
    assert!(matches!(refusal(b"\0asm".to_vec()).await, Refusal::Malformed(_)));
    assert_eq!(refusal(assemble("(component)")).await, Refusal::NoHandler);
    let zeros = vec![0; 100 << 20];
    assert_eq!(refusal(zeros).await, Refusal::TooLarge { limit: 1 << 20 });
}

#[tokio::test]
async fn an_agent_that_takes_long_to_start_is_refused_with_the_limit() {
    let starting = |times: u64| {
        let inner = format!(
            "(func $s (local $n i64)
               (loop
                 (local.set $n (i64.add (local.get $n) (i64.const 1)))
                 (br_if 0 (i64.lt_u (local.get $n) (i64.const {times})))))
             (start $s)"
        );
        agent::component(Parts { inner: &inner, ..Parts::default() })
    };
    // Seven units each time around.
    let prepared = sandbox().prepare(starting(10_000).into(), None).await.expect("it is taken");
    assert!(
        (50_000..100_000).contains(&prepared.component.start_fuel),
        "{}",
        prepared.component.start_fuel
    );
    let refused = refusal(starting(u64::MAX)).await;
    let Refusal::StartTooLong { limit } = refused else { panic!("{refused}") };
    assert!(refused.to_string().contains(&limit.to_string()), "{refused}");
}

#[tokio::test]
async fn a_component_for_another_abi_is_told_which_one_to_build_for() {
    let cancels = r#"(core func (canon task.cancel))"#;
    let refused = refusal(agent::component(Parts { outer: cancels, ..Parts::default() })).await;
    let Refusal::Malformed(why) = refused else { panic!("{refused}") };
    assert!(why.contains("`task.cancel`") && why.contains("build it for WASI 0.2"), "{why}");
}

#[tokio::test]
async fn each_missing_import_is_named() {
    let outer = r#"
        (import "wasi:keyvalue/store@0.2.0" (instance (export "handle" (func))))
        (import "wasi:io/poll@0.2.0" (instance))
        (import "dormouse:agent/dreams@0.1.0" (instance (export "call" (func))))
        (import "types-only" (instance (type $u8 u8) (export "t" (type (eq $u8)))))
        (import "a-function" (func))"#;
    let refused = refusal(agent::component(Parts { outer, ..Parts::default() })).await;
    let missing = ["wasi:keyvalue/store@0.2.0", "dormouse:agent/dreams@0.1.0", "a-function"];
    assert_eq!(refused, Refusal::MissingImports(missing.map(str::to_owned).to_vec()));
}

#[tokio::test]
async fn a_function_that_our_interface_does_not_have_is_named_too() {
    let outer = r#"(import "dormouse:agent/log@0.1.0" (instance (export "shout" (func))))"#;
    let refused = refusal(agent::component(Parts { outer, ..Parts::default() })).await;
    let Refusal::MissingImports(missing) = refused else { panic!("{refused}") };
    assert!(missing[0].contains("dormouse:agent/log@0.1.0") && missing[0].contains("shout"));
}

#[tokio::test]
async fn exports_of_another_type_are_refused() {
    let handler = r#"(component
        (core module $m (func (export "handle")))
        (core instance $i (instantiate $m))
        (func $handle (canon lift (core func $i "handle")))
        (instance $h (export "handle" (func $handle)))
        (export "dormouse:agent/handler@0.1.0" (instance $h)))"#;
    let refused = refusal(assemble(handler)).await;
    assert!(
        matches!(&refused, Refusal::WrongSignature(why) if why.contains("handle")),
        "{refused}"
    );

    let empty =
        r#"(component (instance $h) (export "dormouse:agent/handler@0.1.0" (instance $h)))"#;
    assert!(matches!(refusal(assemble(empty)).await, Refusal::WrongSignature(_)));
}

#[tokio::test]
async fn an_agent_that_does_not_start_is_refused() {
    let inner = "(func $f unreachable) (start $f)";
    let refused = refusal(agent::component(Parts { inner, ..Parts::default() })).await;
    assert!(matches!(&refused, Refusal::DoesNotStart(why) if why.contains("unreachable")));

    let inner = "(memory $large 1000)";
    let refused = refusal(agent::component(Parts { inner, ..Parts::default() })).await;
    assert!(matches!(&refused, Refusal::DoesNotStart(why) if why.contains("memory")), "{refused}");
}

#[tokio::test]
async fn what_would_take_long_to_compile_is_refused_before() {
    let deep = format!("{}{}", "(component ".repeat(40), ")".repeat(40));
    assert!(matches!(refusal(assemble(&deep)).await, Refusal::TooComplex { .. }));

    let many = format!("(component {})", "(core module)".repeat(600));
    assert!(is_too_complex(&refusal(assemble(&many)).await, "modules"));

    let wide = format!("(func (local {}))", "i32 ".repeat(30_000));
    let refused = refusal(agent::component(Parts { inner: &wide, ..Parts::default() })).await;
    assert!(is_too_complex(&refused, "locals in one function"));
}

#[tokio::test]
async fn what_the_engine_does_not_support_is_refused() {
    for inner in
        ["(memory $wide i64 1)", "(memory $shared 1 2 shared)", "(type $s (struct))", "(tag $t)"]
    {
        let refused = refusal(agent::component(Parts { inner, ..Parts::default() })).await;
        assert!(matches!(refused, Refusal::Malformed(_)), "{inner}: {refused}");
    }
}

#[tokio::test]
async fn damaged_components_are_refused_and_never_panic() {
    let sandbox = sandbox();
    let sound = doing("(drop (memory.grow (i32.const 1)))");
    let features = super::super::engine::compiler().expect("an engine").get_wasm_features();
    let inspect = |bytes: &[u8]| super::super::component::inspect(bytes, features);
    inspect(&sound).expect("it is sound");
    for length in 0..sound.len() {
        let cut = inspect(&sound[..length]);
        // Only the names of things come last: without them it is as sound as before.
        assert!(cut.is_err() || length > sound.len() / 2, "cut at {length}");
    }
    // A simple generator is random enough here, and the same each time.
    let mut random = 1_u64;
    let mut next = |below: usize| {
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(random >> 33).expect("31 bits") % below
    };
    let mut taken = 0;
    for _ in 0..5_000 {
        let mut bytes = sound.clone();
        for _ in 0..=next(3) {
            let place = next(bytes.len());
            bytes[place] = u8::try_from(next(256)).expect("a byte");
        }
        if inspect(&bytes).is_ok() && taken < 40 {
            taken += 1;
            // What passes must compile, or be refused in order.
            let prepared = sandbox.prepare(bytes.into(), None).await;
            assert!(!matches!(prepared, Err(Refusal::Host(_))), "{:?}", prepared.err());
        }
    }
    for length in [8, 100, 10_000] {
        let mut noise = b"\0asm\x0d\0\x01\0".to_vec();
        noise.extend((0..length).map(|_| u8::try_from(next(256)).expect("a byte")));
        assert!(inspect(&noise).is_err());
    }
}

#[tokio::test]
async fn a_component_with_subtypes_of_functions_is_refused_and_ends_nobody() {
    let inner = r#"
        (type $wide (sub (func)))
        (type $narrow (sub $wide (func)))
        (table funcref (elem $called))
        (func $called (type $narrow))
        (func $calls (call_indirect (type $wide) (i32.const 0)))"#;
    let component = agent::component(Parts { inner, body: "(call $calls)", ..Parts::default() });
    let refusal = refusal(component).await;
    assert!(matches!(&refusal, Refusal::Malformed(why) if why.contains("gc")), "{refusal}");
}
