"""What a finished Pod's status means to its driver: a message with results, or an attempt and whose fault its end is.

The kubelet knows best why a container ended, then whoever disrupted it, then the container itself. Exit code 0
without a valid message is never a result.
"""

import json
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import ValidationError

from darwinmerge.errors import ExitCode
from darwinmerge.experiment.types import Frozen
from darwinmerge.pipeline.local import death
from darwinmerge.pipeline.orders import Message
from darwinmerge_operator.job import CONTAINER

Reason = Literal[
    "Done", "OOMKilled", "OutOfDisk", "Evicted", "DisruptionTarget", "NotAdmitted", "ExitCode", "Malformed"
]


class Ending(Frozen):
    """How a pod ended."""

    reason: Reason
    exit: ExitCode  # for `darwinmerge.pipeline.retry`; OK with `Done` only
    text: str  # for people
    message: Message | None = None  # what the pod told, results of orders before a failure included


def ending(pod: Mapping[str, Any]) -> Ending | None:
    """How a pod ended, from the pod as the API server gives it; None: it hasn't ended."""
    status = pod.get("status", {})
    if status.get("phase") not in ("Succeeded", "Failed"):
        return None
    terminated = worker_state(pod).get("terminated") or {}
    message = _message(terminated.get("message", ""))
    reason, code, text = _why(status, terminated, message)
    return Ending(reason=reason, exit=code, text=text, message=message)


def worker_state(pod: Mapping[str, Any]) -> Mapping[str, Any]:
    """The state of the worker's container; a cluster may have added others. Empty: it has none yet."""
    containers = pod.get("status", {}).get("containerStatuses") or []
    return next((one.get("state", {}) for one in containers if one["name"] == CONTAINER), {})


def _why(
    status: Mapping[str, Any], terminated: Mapping[str, Any], message: Message | None
) -> tuple[Reason, ExitCode, str]:
    code = terminated.get("exitCode")
    if status["phase"] == "Succeeded":
        if message and not message.failed:
            return "Done", ExitCode.OK, ""
        if version := _another_version(terminated.get("message", "")):
            return "Malformed", ExitCode.VERSION_SKEW, f"the worker's message is of version {version}; use one version"
        return "Malformed", ExitCode.INTERNAL, f"the pod ended well, but its message says: {_words(terminated)}"
    if terminated.get("reason") == "OOMKilled":
        return "OOMKilled", ExitCode.OUT_OF_MEMORY, "the container needed more than its memory limit; raise it"
    told = status.get("message", "")
    disrupted = [c for c in status.get("conditions", []) if c["type"] == "DisruptionTarget" and c["status"] == "True"]
    if status.get("reason") == "Evicted":
        # its own limit, not the node's distress: it would come again, and only there a kubelet says so in these words
        if not disrupted and "exceed" in told:
            return "OutOfDisk", ExitCode.OUT_OF_DISK, told
        return "Evicted", ExitCode.INTERRUPTED, told
    if disrupted:
        return "DisruptionTarget", ExitCode.INTERRUPTED, disrupted[0].get("message", "")
    if not terminated and (refusal := status.get("reason")):  # its node's, before anything of ours ran there
        return "NotAdmitted", ExitCode.INTERRUPTED, f"{refusal}: {told}".rstrip(": ")
    if not code:
        return "Malformed", ExitCode.INTERNAL, told or "the pod failed, and says nothing of its container"
    if message and message.failed and message.failed.exit == code:
        return "ExitCode", message.failed.exit, message.failed.message
    known, text = death(128 - code if code > 128 else code, _words(terminated))
    return "ExitCode", known, text


def _message(text: str) -> Message | None:
    try:
        return Message.model_validate_json(text)
    except ValidationError:
        return None


def _another_version(text: str) -> str:
    """The version of a message, where it isn't ours."""
    try:
        version = json.loads(text)["version"]
    except (ValueError, KeyError, TypeError):
        return ""
    return "" if version == Message().version else str(version)


def _words(terminated: Mapping[str, Any]) -> str:
    """The last line of what the pod left."""
    lines = terminated.get("message", "").strip().splitlines()
    return lines[-1][:600] if lines else "nothing"
