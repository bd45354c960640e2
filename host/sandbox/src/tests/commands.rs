//! Components that export `wasi:cli/run`, of WebAssembly text: what they are taken for, and how they
//! come to their end.

use super::agent::{self, Parts, assemble};
use super::{call, grant, refusal, sandbox, world};
use crate::fault::GuestFailure;
use crate::{AgentAnswer, Fault, GuestResult, Refusal, Saved};
use dormouse_domain::agent::{ComponentKind, Export, Statefulness};
use dormouse_domain::turn::Part;

/// What exports `run` in this version, with a body that leaves 0 or 1 on the stack.
fn exported(version: &str, body: &str) -> String {
    format!(
        r#"(core module $program
            (import "host" "exit" (func $exit (param i32)))
            (func (export "run") (result i32) {body}))
          (import "wasi:cli/exit@0.2.12" (instance $wasi
            (export "exit-with-code" (func (param "status-code" u8)))))
          (core func $exit (canon lower (func $wasi "exit-with-code")))
          (core instance $host (export "exit" (func $exit)))
          (core instance $started (instantiate $program (with "host" (instance $host))))
          (func $run (result (result)) (canon lift (core func $started "run")))
          (instance $entry (export "run" (func $run)))
          (export "wasi:cli/run@{version}" (instance $entry))"#
    )
}

fn command(version: &str, body: &str) -> Vec<u8> {
    assemble(&format!("(component {})", exported(version, body)))
}

async fn report(body: &str) -> GuestResult {
    let prepared =
        sandbox().prepare(command("0.2.3", body).into(), None).await.expect("it is taken");
    let mut instance = prepared.code.try_out(grant()).await.expect("it starts");
    let report = instance.run(call(1_000_000), world()).await;
    if report.answer.is_ok() {
        assert_eq!(instance.save().await, Ok(Saved::Nothing));
        // It runs once.
        assert!(matches!(instance.run(call(1_000_000), world()).await.answer, Err(Fault::Host(_))));
    }
    report
}

#[tokio::test]
async fn what_exports_run_in_any_version_of_wasi_0_2_is_a_command() {
    for version in ["0.2.0", "0.2.3", "0.2.12", "0.2.99"] {
        let prepared = sandbox().prepare(command(version, "i32.const 0").into(), None).await;
        let prepared = prepared.expect("it is taken");
        assert_eq!(prepared.component.exports.kind(), Some(ComponentKind::Command), "{version}");
        assert_eq!(prepared.component.statefulness, Statefulness::Stateless);
        assert_eq!(prepared.component.imports, ["wasi:cli/exit@0.2.12"]);
    }
    for version in ["0.1.0", "0.3.0", "0.2.0-rc-2023-12-05"] {
        assert_eq!(refusal(command(version, "i32.const 0")).await, Refusal::NoHandler, "{version}");
    }
}

#[tokio::test]
async fn what_exports_a_handler_as_well_is_an_agent() {
    let outer = exported("0.2.0", "i32.const 0");
    let both = agent::component(Parts { outer: &outer, ..Parts::default() });
    let prepared = sandbox().prepare(both.into(), None).await.expect("it is taken");
    assert!(
        prepared.component.exports.kind() == Some(ComponentKind::Agent)
            && prepared.component.exports.has(Export::Command)
    );
    assert_eq!(prepared.component.statefulness, Statefulness::Image);
}

#[tokio::test]
async fn what_can_serve_previews_alone_is_told_that_there_are_none_yet() {
    let serves = r#"(component
        (core module $m (func (export "handle")))
        (core instance $i (instantiate $m))
        (func $handle (canon lift (core func $i "handle")))
        (instance $h (export "handle" (func $handle)))
        (export "wasi:http/incoming-handler@0.2.4" (instance $h)))"#;
    let refused = refusal(assemble(serves)).await;
    assert_eq!(refused, Refusal::OnlyPreviews);
    assert!(refused.to_string().contains("previews are not served yet"), "{refused}");
}

#[tokio::test]
async fn a_run_of_another_type_is_refused() {
    let other = r#"(component
        (core module $m (func (export "run") (result i32) i32.const 0))
        (core instance $i (instantiate $m))
        (func $run (result u32) (canon lift (core func $i "run")))
        (instance $r (export "run" (func $run)))
        (export "wasi:cli/run@0.2.0" (instance $r)))"#;
    let refused = refusal(assemble(other)).await;
    assert!(matches!(&refused, Refusal::WrongSignature(why) if why.contains("wasi:cli/run")));
    let empty = r#"(component (instance $r) (export "wasi:cli/run@0.2.0" (instance $r)))"#;
    assert!(matches!(refusal(assemble(empty)).await, Refusal::WrongSignature(_)));
}

#[tokio::test]
async fn a_command_that_returns_well_or_exits_with_zero_has_answered() {
    for body in ["i32.const 0", "i32.const 0 call $exit unreachable"] {
        let content = vec![Part::Text(String::new())];
        assert_eq!(
            report(body).await.answer,
            Ok(AgentAnswer { content, complete: true }),
            "{body}"
        );
    }
}

#[tokio::test]
async fn a_command_that_returns_an_error_or_exits_with_another_status_has_failed() {
    for (body, status) in [
        ("i32.const 1", 1),
        ("i32.const 1 call $exit unreachable", 1),
        ("i32.const 77 call $exit unreachable", 77),
    ] {
        let why = format!("the command exited with status {status}");
        let failed = Err(Fault::Failed(GuestFailure::Failed(why)));
        assert_eq!(report(body).await.answer, failed, "{body}");
    }
    let trapped = report("unreachable").await.answer;
    assert!(matches!(trapped, Err(Fault::Trapped(_))), "{trapped:?}");
    let endless = report("(loop (br 0)) unreachable").await;
    assert_eq!((endless.answer, endless.trace.fuel), (Err(Fault::FuelExhausted), 1_000_000));
}
