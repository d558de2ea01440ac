"""Why a task can't be loaded, by who has to act: most often its data set, which comes from a hub, isn't there."""

import re

from darwinmerge.errors import (
    BadConfiguration,
    BadInput,
    DarwinError,
    ExitCode,
    OutOfDisk,
    StoreUnreachable,
    causes,
    machine_fault,
)
from darwinmerge.hub_errors import AGAIN

# Of `datasets` and whatever it reads with, by name: builtins, httpx2, aiohttp and requests each have some of these.
_TRANSPORT = frozenset({"ConnectionError", "TimeoutError", "TransportError", "ClientConnectionError", "Timeout"})
_OFFLINE = re.compile("Offline ?Mode", re.IGNORECASE)


def unloadable(task: str, error: Exception) -> DarwinError | None:
    """What to say of an error that lm-eval met in loading a task; None where it is the machine's, which says it all."""
    said = f"{type(error).__name__}: {error}"
    fault = machine_fault(error)
    if fault == ExitCode.OUT_OF_DISK:
        return OutOfDisk(
            f"task {task}: no room for its data set: {said}; make room where HF_HOME is, or set it elsewhere"
        )
    if fault:
        return None
    if any(_OFFLINE.search(f"{type(cause).__name__} {cause}") for cause in causes(error)):
        return BadConfiguration(
            f"task {task}: its data set isn't on this machine, and the environment switches the hub off: {said}; unset "
            "HF_HUB_OFFLINE and HF_DATASETS_OFFLINE, or name files of this machine in the task"
        )
    if any(map(_passes, causes(error))):
        return StoreUnreachable(f"task {task}: the place of its data set doesn't answer: {said}")
    return BadInput(f"task {task}: lm-eval can't load it: {said}")


def _passes(error: BaseException) -> bool:
    """Whether it is trouble on the way to a data set, or an answer that passes by itself."""
    response = getattr(error, "response", None)
    if response is not None:
        return getattr(response, "status_code", None) in AGAIN
    return not _TRANSPORT.isdisjoint(kind.__name__ for kind in type(error).__mro__)
