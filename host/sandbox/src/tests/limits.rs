//! What a guest may use, and what becomes of one that wants more.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};

use bytes::Bytes;

use super::agent::{self, Parts, doing};
use super::{MEMORY, call, code, grant, options, sandbox, world};
use crate::memory::OVERHEAD;
use crate::{Fault, Sandbox};
use dormouse_base::memory::MemoryBudget;

const FUEL: u64 = 10_000_000;
const LOOP: &str = "(loop br 0)";

#[tokio::test]
async fn a_call_is_answered_and_the_instance_can_be_called_again() {
    let code = code(doing("")).await;
    let mut instance = code.try_out(grant()).await.expect("it starts");
    let first = instance.run(call(FUEL), world()).await;
    let answer = first.answer.expect("it answers");
    assert_eq!((answer.content.len(), answer.complete), (0, false));
    assert!(first.trace.fuel > 0);
    let second = instance.run(call(FUEL), world()).await;
    assert!(second.answer.is_ok());
    assert_eq!(second.trace.fuel, first.trace.fuel);
    assert_eq!(instance.memory_bytes(), 65_536);
}

#[tokio::test]
async fn a_guest_that_loops_uses_all_of_its_fuel_and_is_never_called_again() {
    let code = code(doing(LOOP)).await;
    let mut instance = code.try_out(grant()).await.expect("it starts");
    let report = instance.run(call(FUEL), world()).await;
    assert_eq!(report.answer, Err(Fault::FuelExhausted));
    assert_eq!(report.trace.fuel, FUEL);
    let again = instance.run(call(FUEL), world()).await;
    assert!(matches!(again.answer, Err(Fault::Host(_))));
    assert_eq!(again.trace.fuel, 0);
}

#[tokio::test]
async fn a_call_that_needs_all_of_its_fuel_is_answered_and_one_that_needs_a_unit_more_is_not() {
    // The engine looks at the fuel where a function begins and at loops: not in what comes after.
    let after = "(i32.store (i32.const 0) (i32.add (i32.const 1) (i32.const 2)))".repeat(50);
    let parts = Parts { inner: "(func $f)", body: &format!("call $f {after}"), ..Parts::default() };
    let code = code(agent::component(parts)).await;
    let run = async |fuel| {
        let mut instance = code.try_out(grant()).await.expect("it starts");
        let report = instance.run(call(fuel), world()).await;
        (report.answer.map(drop), report.trace.fuel)
    };
    let (answered, needed) = run(FUEL).await;
    assert_eq!(answered, Ok(()));
    assert!(needed > 200, "{needed}");
    assert_eq!(run(needed).await, (Ok(()), needed));
    for less in [1, 20, 100, needed - 1] {
        let fuel = needed - less;
        assert_eq!(run(fuel).await, (Err(Fault::FuelExhausted), fuel));
    }
}

#[tokio::test]
async fn a_call_can_be_dropped_and_what_it_used_is_known() {
    let budget = MemoryBudget::new(1 << 30);
    let sandbox = Sandbox::new(options(&budget)).expect("a sandbox");
    let prepared = sandbox.prepare(Bytes::from(doing(LOOP)), None).await.expect("it is taken");
    let without_instances = budget.used();
    for _ in 0..50 {
        let mut instance = prepared.code.try_out(grant()).await.expect("it starts");
        {
            let mut run = pin!(instance.run(call(u64::MAX), world()));
            let mut context = Context::from_waker(Waker::noop());
            for _ in 0..10 {
                assert!(run.as_mut().poll(&mut context).is_pending());
            }
        }
        assert!((1..u64::MAX).contains(&instance.abandon().0.fuel));
    }
    assert_eq!(budget.used(), without_instances);
    drop((prepared, sandbox));
    assert_eq!(budget.used(), 0);
}

#[tokio::test]
async fn a_guest_that_traps_after_it_was_denied_memory_has_too_little_memory() {
    let body = "(if (i32.eq (memory.grow (i32.const 64)) (i32.const -1)) (then unreachable))";
    let code = code(doing(body)).await;
    let mut instance = code.try_out(grant()).await.expect("it starts");
    let report = instance.run(call(FUEL), world()).await;
    assert_eq!(report.answer, Err(Fault::MemoryExceeded { limit: MEMORY }));
}

#[tokio::test]
async fn a_guest_that_copes_with_little_memory_goes_on() {
    let code = code(doing("(drop (memory.grow (i32.const 64)))")).await;
    let mut instance = code.try_out(grant()).await.expect("it starts");
    assert!(instance.run(call(FUEL), world()).await.answer.is_ok());
    assert_eq!(instance.memory_bytes(), 65_536);
}

#[tokio::test]
async fn the_budget_of_the_host_is_charged_and_given_back() {
    let budget = MemoryBudget::new(4 * 65_536 + OVERHEAD);
    let sandbox = Sandbox::new(options(&budget)).expect("a sandbox");
    let body = "(if (i32.eq (memory.grow (i32.const 2)) (i32.const -1)) (then unreachable))";
    let prepared = sandbox.prepare(Bytes::from(doing(body)), None).await.expect("it is taken");
    let image = budget.used();
    assert!((1..16_384).contains(&image), "the first image of the agent is charged: {image}");
    let mut first = prepared.code.try_out(grant()).await.expect("it starts");
    assert!(first.run(call(FUEL), world()).await.answer.is_ok());
    assert_eq!(budget.used(), 3 * 65_536 + OVERHEAD + image);
    let second = prepared.code.try_out(grant()).await.expect_err("there is no memory");
    assert_eq!(second, Fault::HostOutOfMemory { needed: 65_536 + OVERHEAD });
    drop(first);
    prepared.code.try_out(grant()).await.expect("there is memory again");
}

#[tokio::test]
async fn a_guest_that_recurses_traps() {
    let parts = Parts { inner: "(func $f call $f)", body: "call $f", ..Parts::default() };
    let code = code(agent::component(parts)).await;
    let mut instance = code.try_out(grant()).await.expect("it starts");
    let fault = instance.run(call(FUEL), world()).await.answer.expect_err("it traps");
    assert_eq!(fault, Fault::Trapped("the agent trapped: call stack exhausted".to_owned()));
}

#[tokio::test]
async fn more_instances_than_there_are_places_are_told_to_wait() {
    let code = code(doing("")).await;
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(code.try_out(grant()).await.expect("there is a place"));
    }
    assert_eq!(code.try_out(grant()).await.expect_err("there is none"), Fault::Busy);
    held.pop();
    code.try_out(grant()).await.expect("there is one again");
}

#[tokio::test]
async fn an_agent_that_does_not_fit_the_pool_runs_all_the_same() {
    let tables = "(table 100000 funcref)";
    let code = code(agent::component(Parts { inner: tables, ..Parts::default() })).await;
    let mut instance = code.try_out(grant()).await.expect("it starts");
    assert!(instance.run(call(FUEL), world()).await.answer.is_ok());
    assert_eq!(instance.memory_bytes(), 65_536 + 800_000);
}

#[tokio::test]
async fn a_table_cannot_grow_beyond_what_the_instance_may_hold() {
    let parts = Parts {
        inner: "(table $t 1 funcref)",
        body: "(if (i32.ne (table.grow $t (ref.null func) (i32.const 600000)) (i32.const -1))
                 (then unreachable))",
        ..Parts::default()
    };
    let code = code(agent::component(parts)).await;
    let mut instance = code.try_out(grant()).await.expect("it starts");
    assert!(instance.run(call(FUEL), world()).await.answer.is_ok());
}

#[tokio::test]
async fn a_reply_that_points_outside_of_memory_is_a_trap_that_says_so() {
    // The list of the reply, at 12 and 16 of the result area at 8.
    let body = "(i32.store (i32.const 12) (i32.const -16))
                (i32.store (i32.const 16) (i32.const 1000))";
    let code = code(doing(body)).await;
    let mut instance = code.try_out(grant()).await.expect("it starts");
    let fault = instance.run(call(FUEL), world()).await.answer.expect_err("it is no reply");
    assert!(matches!(&fault, Fault::Trapped(why) if why.contains("out of bounds")), "{fault}");
}

#[tokio::test]
async fn a_guest_that_hands_over_too_much_at_once_is_stopped_before_it_is_read() {
    // 3,000 texts of 32 KB each, all of them the same bytes.
    let parts = Parts {
        inner: "(func $fill (local $part i32)
                  (memory.fill (i32.const 0) (i32.const 0) (i32.const 60000))
                  (loop
                    (i32.store offset=8 (local.get $part) (i32.const 0x7f7f))
                    (local.set $part (i32.add (local.get $part) (i32.const 20)))
                    (br_if 0 (i32.lt_u (local.get $part) (i32.const 60000)))))",
        body: "call $fill
               (i32.store (i32.const 60008) (i32.const 0))
               (i32.store (i32.const 60012) (i32.const 0))
               (i32.store (i32.const 60016) (i32.const 3000))
               (return (i32.const 60008))",
        ..Parts::default()
    };
    let code = code(agent::component(parts)).await;
    let mut instance = code.try_out(grant()).await.expect("it starts");
    let fault = instance.run(call(FUEL), world()).await.answer.expect_err("it is too much");
    assert!(matches!(&fault, Fault::ReplyTooLarge { .. }), "{fault}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sandbox_can_be_dropped_while_guests_run_and_inside_its_own_runtime() {
    let sandbox = sandbox();
    let code = sandbox.prepare(Bytes::from(doing(LOOP)), None).await.expect("it is taken").code;
    let (begun, wait) = tokio::sync::oneshot::channel();
    let own = sandbox.clone();
    let task = sandbox.runtime().spawn(async move {
        let mut instance = code.try_out(grant()).await.expect("it starts");
        drop(own);
        begun.send(()).expect("the test waits");
        instance.run(call(u64::MAX), world()).await
    });
    wait.await.expect("it began");
    drop(sandbox);
    assert!(task.await.expect_err("the runtime is gone").is_cancelled());
}
