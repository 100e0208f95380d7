"""The servers that a benchmark measures through."""

from __future__ import annotations

from quantize_lib.benchmark.servers import SERVERS
from quantize_lib.formats import FORMATS, Format
from tools.docs.markdown import code, table


def tables() -> dict[str, str]:
    """`benchmark.servers`: what each reads, and in which version its words were read."""
    rows = []
    for server in SERVERS.values():
        reads = [code(name) for name, entry in FORMATS.items() if server.title in entry.servers]
        if server.title in Format.servers:
            reads.append("base models")
        version = f"{server.title} {server.read_in}"
        rows.append([code(server.name), code(server.program), ", ".join(reads), version])
    return {"benchmark.servers": table(["`--through`", "Program", "Reads", "Words read in"], rows)}
