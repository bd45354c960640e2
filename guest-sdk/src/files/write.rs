//! `Write`: a file with this content, in the place of the last.

use std::fs;

use serde::Deserialize;
use serde_json::json;

use super::{
    Files, MAX_FILE,
    content::replace,
    path::{failure, is_directory},
};
use crate::{Error, Result, model::Tool};

/// The tool, as a model is told of it.
pub(super) fn tool() -> Tool {
    let description = format!(
        "Writes a file, in the place of what was there, and makes the directories above it. At most {} MiB. To change a part \
         of a file, use Edit.",
        MAX_FILE >> 20
    );
    let schema = json!({
        "type": "object",
        "properties": {
            "file_path": { "type": "string", "description": "The path of the file." },
            "content": { "type": "string", "description": "All that the file is to have." },
        },
        "required": ["file_path", "content"],
    });
    Tool::new("Write", description, schema)
}

/// The arguments.
#[derive(Deserialize)]
pub(super) struct Write {
    file_path: String,
    content: String,
}

impl Write {
    pub(super) fn run(self, files: &Files) -> Result<String> {
        let path = files.resolve(&self.file_path)?;
        if path.is_dir() {
            return Err(is_directory(&path));
        }
        let is_new = !path.exists();
        if let Some(above) = path.parent() {
            fs::create_dir_all(above).map_err(|error| match error.kind() {
                // One of them is a file.
                std::io::ErrorKind::AlreadyExists => Error::failed(format!(
                    "`{}` is a file, and can have no file below it",
                    above.display()
                )),
                _ => failure(&path, &error),
            })?;
        }
        replace(&path, self.content.as_bytes())?;
        let (verb, bytes) = (if is_new { "is written" } else { "is replaced" }, self.content.len());
        Ok(format!("`{}` {verb}: {bytes} bytes.", path.display()))
    }
}
