"""Argo CD's health check of a DarwinMerge, run as Argo CD runs it: Lua 5.1, `obj` and next to no library."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lupa.lua51 import LuaRuntime

HEALTH = Path(__file__).parents[1] / "examples" / "gitops" / "argocd" / "health" / "health.lua"
ABSENT = ("string", "math", "io", "os", "debug", "coroutine", "require", "dofile", "loadfile", "print")

# What the check says of a phase; kstatus, which Flux asks, says of most that the resource is as it was applied.
OF_PHASE = {
    "Complete": "Healthy",
    "Failed": "Degraded",
    "Stalled": "Degraded",
    "Suspended": "Suspended",
    "Queued": "Suspended",
}


def health(document: Mapping[str, Any]) -> tuple[str, str]:
    """What it says of an object: a status of Argo CD's, and a message."""
    lua = LuaRuntime(unpack_returned_tuples=True, register_eval=False, register_builtins=False)
    for name in ABSENT:
        lua.globals()[name] = None
    lua.globals()["obj"] = lua.table_from(document, recursive=True)
    found = lua.execute(HEALTH.read_text())
    return str(found["status"]), str(found["message"])


def expected(document: Mapping[str, Any]) -> str:
    """What it shall say, by the phase that people see."""
    status = document.get("status") or {}
    if status.get("observedGeneration", -1) < document["metadata"]["generation"]:
        return "Progressing"
    return OF_PHASE.get(status["phase"], "Progressing")
