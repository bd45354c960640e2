//! Just enough of the binary format of WebAssembly to break it.

use super::Random;

const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";
const MODULE: &[u8] = b"\0asm\x01\0\0\0";

/// A number in LEB128.
pub(super) fn leb(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(number & 0x7f).unwrap();
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

/// A section of this id.
pub(super) fn section(id: u8, content: &[u8]) -> Vec<u8> {
    [&[id][..], &leb(content.len() as u64), content].concat()
}

/// A component of these sections.
pub(super) fn component(sections: &[Vec<u8>]) -> Vec<u8> {
    [COMPONENT, &sections.concat()].concat()
}

/// A core module of these sections.
pub(super) fn module(sections: &[Vec<u8>]) -> Vec<u8> {
    [MODULE, &sections.concat()].concat()
}

/// The sections of a well-formed component or module, headers included.
pub(super) fn sections(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut sections = Vec::new();
    let mut at = MODULE.len();
    while at < bytes.len() {
        let (mut size, mut shift, mut end) = (0, 0, at + 1);
        loop {
            let byte = bytes[end];
            size |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            end += 1;
            if byte & 0x80 == 0 {
                break;
            }
        }
        end += size;
        sections.push(bytes[at..end].to_vec());
        at = end;
    }
    sections
}

/// Components inside one another.
pub(super) fn nested(levels: usize) -> Vec<u8> {
    (0..levels).fold(component(&[]), |inner, _| component(&[section(4, &inner)]))
}

/// A component with a module of this many functions that do nothing.
pub(super) fn many_functions(count: usize) -> Vec<u8> {
    let types = section(1, &[1, 0x60, 0, 0]);
    let functions = section(3, &[leb(count as u64), vec![0; count]].concat());
    let code = section(10, &[leb(count as u64), [2, 0, 0x0b].repeat(count)].concat());
    component(&[section(1, &module(&[types, functions, code]))])
}

/// A component with a module of one function that opens this many blocks.
pub(super) fn deep_function(blocks: usize) -> Vec<u8> {
    let body = [vec![0], [2, 0x40].repeat(blocks), vec![0x0b; blocks + 1]].concat();
    let code = section(10, &[leb(1), leb(body.len() as u64), body].concat());
    let types = section(1, &[1, 0x60, 0, 0]);
    component(&[section(1, &module(&[types, section(3, &[1, 0]), code]))])
}

/// A component whose type section holds options of options, this deep.
pub(super) fn deep_type(levels: usize) -> Vec<u8> {
    let mut content = leb(levels as u64);
    for level in 0..levels as u64 {
        // `option<…>` of the type before, the first of a `u8`.
        content.push(0x6b);
        if level == 0 {
            content.push(0x7d);
            continue;
        }
        // The format has a signed number here: one more group of bits where the sign would be set.
        let mut index = leb(level - 1);
        let last = index.len() - 1;
        if index[last] & 0x40 != 0 {
            index[last] |= 0x80;
            index.push(0);
        }
        content.extend(index);
    }
    component(&[section(7, &content)])
}

/// The same component with more sections at its end.
pub(super) fn extended(whole: &[u8], more: &[u8]) -> Vec<u8> {
    [whole, &more[COMPONENT.len()..]].concat()
}

/// A component that says it has four billion of something and has none.
pub(super) fn liar(id: u8) -> Vec<u8> {
    component(&[section(id, &leb(u64::from(u32::MAX)))])
}

/// A component, broken somewhere.
pub(super) fn broken(random: &mut Random, whole: &[u8]) -> Vec<u8> {
    match random.below(8) {
        0 => whole[..random.below(whole.len())].to_vec(),
        1 | 2 => {
            let mut bytes = whole.to_vec();
            for _ in 0..=random.below(8) {
                let at = random.below(bytes.len());
                bytes[at] = random.byte();
            }
            bytes
        }
        3 => {
            // Where the structure is, not the code.
            let mut bytes = whole.to_vec();
            for _ in 0..=random.below(4) {
                let end = bytes.len().min(4096);
                let at = if random.one_in(2) {
                    random.below(end)
                } else {
                    bytes.len() - 1 - random.below(end)
                };
                bytes[at] ^= 1 << random.below(8);
            }
            bytes
        }
        4 => {
            let (size, header) = (random.below(2000), *random.pick(&[COMPONENT, MODULE]));
            [header, &random.bytes(size)].concat()
        }
        5 => {
            let mut all = sections(whole);
            random.shuffle(&mut all);
            component(&all)
        }
        6 => {
            let mut all = sections(whole);
            for _ in 0..=random.below(3) {
                let copy = random.pick(&all).clone();
                all.insert(random.below(all.len() + 1), copy);
            }
            component(&all)
        }
        _ => {
            let mut all = sections(whole);
            for _ in 0..=random.below(3) {
                all.remove(random.below(all.len()));
            }
            component(&all)
        }
    }
}
