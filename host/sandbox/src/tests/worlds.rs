//! The world of a call: it comes back however the call ends, with what the guest has done to it, and what
//! it says is what the guest sees.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};

use super::imports::{Function, TEXT, calling};
use super::{STEP, call, code, grant, returned, world};
use crate::Fault;
use dormouse_domain::turn::Delta;

const FUEL: u64 = 10_000_000;
/// Stream two bytes, which are zero, and then a third.
const STREAMS: &str = "(call $f (i32.const 0) (i32.const 2) (i32.const 64))
                       (call $f (i32.const 0) (i32.const 1) (i32.const 64))";
const LOOP: &str = "(loop br 0)";

const MONOTONIC: Function<'_> = Function {
    interface: "wasi:clocks/monotonic-clock@0.2.12",
    items: r#"(export "now" (func (result u64)))"#,
    name: "now",
    signature: "(result i64)",
};

fn streamed() -> Vec<Delta> {
    vec![Delta::Text("\0\0".to_owned()), Delta::Text("\0".to_owned())]
}

#[tokio::test]
async fn the_world_of_a_call_that_returns_comes_back_with_what_was_streamed() {
    for (end, fault) in [
        ("", None),
        ("unreachable", Some("wasm `unreachable` instruction executed")),
        (LOOP, Some("all the fuel")),
    ] {
        let code = code(calling(&TEXT, &format!("{STREAMS} {end}"))).await;
        let mut instance = code.try_out(grant()).await.expect("it starts");
        let result = instance.run(call(FUEL), world()).await;
        let told = result.answer.err().map(|fault| fault.to_string());
        assert_eq!(told.is_some(), fault.is_some(), "{told:?}");
        assert!(told.unwrap_or_default().contains(fault.unwrap_or_default()));
        assert_eq!(returned(result.world).deltas, streamed());
        assert!(instance.abandon().1.is_none(), "the result has it");
    }
}

#[tokio::test]
async fn the_world_of_a_call_whose_future_is_dropped_lies_in_the_instance() {
    let code = code(calling(&TEXT, &format!("{STREAMS} {LOOP}"))).await;
    for polls in [0, 10] {
        let mut instance = code.try_out(grant()).await.expect("it starts");
        {
            let mut run = pin!(instance.run(call(u64::MAX >> 1), world()));
            let mut context = Context::from_waker(Waker::noop());
            for _ in 0..polls {
                assert!(run.as_mut().poll(&mut context).is_pending());
            }
        }
        let (trace, world) = instance.abandon();
        assert_eq!(trace.fuel > 0, polls > 0);
        let deltas = returned(world.expect("a call was begun")).deltas;
        assert_eq!(deltas, if polls > 0 { streamed() } else { Vec::new() });
        let again = instance.run(call(FUEL), super::world()).await;
        assert!(matches!(again.answer, Err(Fault::Host(_))), "it is poisoned");
    }
}

#[tokio::test]
async fn a_call_that_the_instance_refuses_gives_its_world_back() {
    let code = code(calling(&TEXT, "unreachable")).await;
    let mut instance = code.try_out(grant()).await.expect("it starts");
    assert!(instance.run(call(FUEL), world()).await.answer.is_err());
    let refused = instance.run(call(FUEL), world()).await;
    assert!(matches!(refused.answer, Err(Fault::Host(_))));
    assert!(returned(refused.world).deltas.is_empty());
}

#[tokio::test]
async fn the_monotonic_clock_of_a_call_is_that_of_its_world_and_goes_on_from_there() {
    // Two looks, which are a step apart: else it traps.
    let step = STEP.as_nanos();
    let body = format!(
        "(if (i64.ne (i64.sub (i64.mul (call $f) (i64.const -1)) (i64.mul (call $f) (i64.const -1)))
           (i64.const {step})) (then unreachable))"
    );
    let code = code(calling(&MONOTONIC, &body)).await;
    let mut instance = code.try_out(grant()).await.expect("it starts");
    assert_eq!(instance.monotonic_ns(), 0);
    let result = instance.run(call(FUEL), world()).await;
    assert_eq!(result.answer.map(drop), Ok(()));
    let world = returned(result.world);
    assert_eq!(u128::from(world.monotonic_ns), 2 * step);
    assert_eq!(u128::from(instance.monotonic_ns()), 2 * step);
}
