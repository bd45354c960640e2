//! The generated file of constants.

use std::{
    fmt::{self, Write},
    fs,
    path::Path,
};

use crate::{Error, Guest};

pub(crate) fn write(out_dir: &Path, struct_name: &str, guests: &[Guest]) -> Result<(), Error> {
    let path = out_dir.join("guests.rs");
    let text = render(struct_name, guests).expect("writing into a string does not fail");
    fs::write(&path, text).map_err(|source| Error::File { path, source })
}

fn render(struct_name: &str, guests: &[Guest]) -> Result<String, fmt::Error> {
    let mut text = String::new();
    for guest in guests {
        let Guest { name, version, path } = guest;
        let constant = name.to_uppercase();
        write!(
            text,
            "/// The component `{name}`.\n\
             pub const {constant}: {struct_name} = {struct_name} {{\n    \
             name: {name:?},\n    version: {version:?},\n    bytes: include_bytes!({path:?}),\n}};\n\n",
        )?;
    }
    writeln!(text, "/// Every component, by name.")?;
    writeln!(text, "pub const ALL: &[{struct_name}] = &[")?;
    for guest in guests {
        writeln!(text, "    {},", guest.name.to_uppercase())?;
    }
    writeln!(text, "];")?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_are_named_as_their_guests() {
        let guest = Guest {
            name: "loops_forever".to_owned(),
            version: "1.2.3".to_owned(),
            path: "/somewhere/loops_forever.wasm".into(),
        };
        let text = render("TestGuest", &[guest]).unwrap();
        assert!(text.contains("pub const LOOPS_FOREVER: TestGuest = TestGuest {"));
        assert!(text.contains("version: \"1.2.3\""));
        assert!(text.contains("include_bytes!(\"/somewhere/loops_forever.wasm\")"));
        assert!(text.ends_with("pub const ALL: &[TestGuest] = &[\n    LOOPS_FOREVER,\n];\n"));
    }
}
