//! What operators ask for, and what there is.

use crate::codes::Code;
use crate::operation::{Content, Operation, Tag};

pub(crate) fn root() -> Operation {
    Operation::new(Tag::Server, "getRoot", "Tells what there is.").fails(&[Code::Overloaded])
}

pub(crate) fn alive() -> Operation {
    Operation::new(Tag::Server, "getHealth", "Tells that the server answers.")
}

pub(crate) fn ready() -> Operation {
    Operation::new(Tag::Server, "getReadiness", "Tells whether the server takes work.").fails(&[
        Code::HostFailed,
        Code::ShuttingDown,
        Code::TimekeeperBehind,
    ])
}

pub(crate) fn metrics() -> Operation {
    Operation::new(Tag::Server, "getMetrics", "Tells the numbers of the host, for Prometheus.")
        .answers_with(200, Content::Text("text/plain"))
        .fails(&[Code::NotFound])
}
