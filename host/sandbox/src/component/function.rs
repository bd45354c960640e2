//! The body of a function: bounded and validated.

use wasmparser::{FuncValidator, FunctionBody, ModuleArity, Operator, ValidatorResources};

use super::malformed;
use super::work::{WorkCount, add, bound};
use crate::refusal::Refusal;

/// The code of one function, in bytes. The largest of CPython has about 100 KB.
const MAX_BODY: u64 = 1 << 20;
/// Blocks in one another within a function. A `match` of as many arms makes as many.
const MAX_BLOCKS: u64 = 10_000;
/// The locals of one function.
const MAX_LOCALS: u64 = 20_000;

/// Bound what the compiler would have to do for this function, then validate it.
pub(super) fn check(
    validator: &mut FuncValidator<ValidatorResources>,
    body: &FunctionBody<'_>,
    work: &mut WorkCount,
) -> Result<(), Refusal> {
    let range = body.range();
    bound("bytes in one function", (range.end - range.start) as u64, MAX_BODY)?;
    let mut locals = 0;
    for group in body.get_locals_reader().map_err(malformed)? {
        let (count, _) = group.map_err(malformed)?;
        add("locals in one function", &mut locals, u64::from(count), MAX_LOCALS)?;
    }
    let deepest = validate(validator, body, work)?;
    // Parameters are locals, too.
    work.carry(u64::from(validator.len_locals()), deepest)
}

/// Validate a function. Returns how deep its blocks nest: the time of the compiler grows with it.
fn validate(
    validator: &mut FuncValidator<ValidatorResources>,
    body: &FunctionBody<'_>,
    work: &mut WorkCount,
) -> Result<u64, Refusal> {
    validator.read_locals(&mut body.get_binary_reader()).map_err(malformed)?;
    let mut operators = body.get_operators_reader().map_err(malformed)?;
    let mut deepest = 0;
    while !operators.eof() {
        let at = operators.original_position();
        let operator = operators.read().map_err(malformed)?;
        work.move_values(moved(&operator, validator))?;
        validator.op(at, &operator).map_err(malformed)?;
        let depth = u64::from(validator.control_stack_height());
        bound("blocks in one another", depth, MAX_BLOCKS)?;
        deepest = deepest.max(depth);
    }
    operators.finish().map_err(malformed)?;
    Ok(deepest)
}

/// How many values this instruction takes and gives, where its types decide on that: two bytes can move
/// two thousand values, and a table of branches as many for each of its entries.
fn moved(operator: &Operator<'_>, module: &impl ModuleArity) -> u64 {
    let times = match operator {
        Operator::BrTable { targets } => u64::from(targets.len()) + 1,
        Operator::Block { .. }
        | Operator::Loop { .. }
        | Operator::If { .. }
        | Operator::Else
        | Operator::End
        | Operator::Br { .. }
        | Operator::BrIf { .. }
        | Operator::Return
        | Operator::Call { .. }
        | Operator::CallIndirect { .. }
        | Operator::ReturnCall { .. }
        | Operator::ReturnCallIndirect { .. } => 1,
        // A few, whatever their operands.
        _ => return 0,
    };
    // What names something that is not there is refused by the validator.
    let (taken, given) = operator.operator_arity(module).unwrap_or_default();
    times.saturating_mul(u64::from(taken) + u64::from(given))
}
