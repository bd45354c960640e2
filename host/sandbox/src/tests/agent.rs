//! Agents in WebAssembly text: just enough of the contract, and a body.

/// What stands in a component besides the usual.
#[derive(Clone, Copy, Default)]
pub(super) struct Parts<'a> {
    /// Items of the component, before the core module is instantiated.
    pub(super) outer: &'a str,
    /// Arguments of the core module.
    pub(super) with: &'a str,
    /// Imports of the core module: they come first.
    pub(super) imports: &'a str,
    /// Other items of the core module.
    pub(super) inner: &'a str,
    /// The instructions of `handle`. Afterwards it answers with an empty reply.
    pub(super) body: &'a str,
}

/// An agent whose `handle` runs these instructions and then answers with an empty reply.
pub(crate) fn doing(body: &str) -> Vec<u8> {
    component(Parts { body, ..Parts::default() })
}

/// An agent of these parts.
pub(super) fn component(parts: Parts<'_>) -> Vec<u8> {
    assemble(&text(parts))
}

/// The same, as text: a component by the name of `$agent`.
pub(super) fn text(parts: Parts<'_>) -> String {
    let Parts { outer, with, imports, inner, body } = parts;
    format!(
        r#"(component $agent
          {outer}
          (core module $m
            {imports}
            (memory (export "memory") 1)
            (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024)
            {inner}
            (func (export "handle")
              (param i32 i32 i64 i32 i32 i32 i32 i32 i64 i64) (result i32)
              {body}
              i32.const 8))
          (core instance $i (instantiate $m {with}))
          {types}
          (func $handle (param "turn" $turn) (result (result $reply (error $failure)))
            (canon lift (core func $i "handle") (memory (core memory $i "memory"))
              (realloc (core func $i "realloc"))))
          {exported})"#,
        types = types(),
        exported = exported(),
    )
}

/// Any component.
pub(super) fn assemble(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

const TYPES: [(&str, &str); 7] = [
    ("blob", r#"(record (field "media-type" string) (field "data" (list u8)))"#),
    ("part", r#"(variant (case "text" string) (case "json" string) (case "blob" $blob))"#),
    ("request", r#"(enum "compact")"#),
    (
        "sender",
        r#"(variant (case "user") (case "agent" string) (case "timer" string)
            (case "host" $request))"#,
    ),
    (
        "turn",
        r#"(record (field "id" string) (field "number" u64) (field "sender" $sender)
            (field "content" (list $part)) (field "deadline" u64) (field "fuel" u64))"#,
    ),
    ("reply", r#"(record (field "content" (list $part)) (field "complete" bool))"#),
    ("failure", r#"(variant (case "invalid" string) (case "declined") (case "failed" string))"#),
];

fn types() -> String {
    TYPES.iter().map(|(name, ty)| format!("(type ${name} {ty})\n")).collect()
}

/// The instance that a handler is exported as: types need names there, so a component wraps it.
fn exported() -> String {
    let (mut imported, mut named, mut with) = (String::new(), String::new(), String::new());
    for (name, ty) in TYPES {
        imported += &format!("(type $d-{name} {ty})");
        imported += &format!("(import \"t-{name}\" (type ${name} (eq $d-{name})))\n");
        // An exported type may be made of exported types only.
        named += &format!("(type $x-{name} {})", ty.replace('$', "$e-"));
        named += &format!("(export $e-{name} \"{name}\" (type $x-{name}))\n");
        with += &format!("(with \"t-{name}\" (type ${name}))\n");
    }
    format!(
        r#"(component $c
          {imported}
          (import "f" (func $f (param "turn" $turn) (result (result $reply (error $failure)))))
          {named}
          (export "handle" (func $f)
            (func (param "turn" $e-turn) (result (result $e-reply (error $e-failure))))))
        (instance $h (instantiate $c (with "f" (func $handle)) {with}))
        (export "dormouse:agent/handler@0.1.0" (instance $h))"#
    )
}
