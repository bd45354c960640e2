"""What Schemathesis does not know by itself: how a component is sent, and which paths mean something else."""

from urllib.parse import unquote

import schemathesis


@schemathesis.serializer("application/wasm")
def component(_context, value):
    """The bytes of what was generated: no component, but for the first bytes of one."""
    return b"\0asm\x0d\0\1\0" + str(value).encode("utf-8", "surrogatepass")


@schemathesis.hook
def filter_case(_context, case):
    """Whether each parameter of the path is something in it: `/sessions/` with an empty id asks for the list."""
    pairs = zip(case.path.split("/"), case.formatted_path.split("/"))
    return all(unquote(sent) not in ("", ".", "..") for declared, sent in pairs if "{" in declared)
