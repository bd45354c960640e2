//! What an agent gets and gives: turns, their parts, replies and failures.

mod content;
mod error;
mod reply;
mod turn;

pub(crate) use content::joined_text;
pub use content::{Blob, Json, Part};
pub use error::{Error, Result};
pub use reply::Reply;
pub use turn::{Request, Sender, Turn};
