"""What can go wrong, by who has to act: the exit codes and the exceptions that carry them.

The codes follow BSD's sysexits where one fits, because batch systems and people already read them so. A
driver (the local runner, a Kubernetes Job's podFailurePolicy) decides by the code alone whether another
attempt makes sense; `darwinmerge.pipeline.retry` is that decision.
"""

import errno
import re
from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of every `darwin` process. None but OK may ever be taken for a result."""

    OK = 0  # the work asked for is done
    FAILED = 1  # the experiment ended without a child (every candidate was rejected, say)
    BAD_INPUT = 65  # a parent, a data set or a stored file is not what it must be; a person must act
    STORE_UNREACHABLE = 69  # the store did not answer; try again
    INTERNAL = 70  # a defect of ours, or an accelerator that fails; try again a few times, then report it
    OUT_OF_MEMORY = 71  # try again, with more memory
    OUT_OF_DISK = 73  # try again, with more disk
    INTERRUPTED = 75  # asked to stop, stopped cleanly; the same command goes on
    VERSION_SKEW = 76  # driver and worker disagree on what a task is; use one version for both
    EVALUATOR_FAILED = 77  # the benchmark's code failed on a model; a second time rejects the model
    BAD_CONFIGURATION = 78  # the manifest or the command line; a person must act


class DarwinError(Exception):
    """An error whose message names the thing, the place and the remedy; shown without a traceback."""

    code = ExitCode.INTERNAL


class BadConfiguration(DarwinError):
    """The manifest or the command line asks for something that can't be done."""

    code = ExitCode.BAD_CONFIGURATION


class BadInput(DarwinError):
    """A parent, a data set or a stored file is not what it must be."""

    code = ExitCode.BAD_INPUT


class VersionSkew(DarwinError):
    """A task's id is not the one that this version computes."""

    code = ExitCode.VERSION_SKEW


class EvaluatorFailed(DarwinError):
    """The benchmark's own code failed while it asked or scored a model."""

    code = ExitCode.EVALUATOR_FAILED


class Interrupted(DarwinError):
    """Somebody asked this process to stop, and it did so between two pieces of work."""

    code = ExitCode.INTERRUPTED


class StoreUnreachable(DarwinError):
    """The store did not answer."""

    code = ExitCode.STORE_UNREACHABLE


class OutOfDisk(DarwinError):
    """The disk is full."""

    code = ExitCode.OUT_OF_DISK


FULL = (errno.ENOSPC, errno.EDQUOT)
_FULL_TEXT = re.compile("no space left on device|disk quota exceeded|not enough disk space", re.IGNORECASE)
_MEMORY_TEXT = re.compile(
    "out of memory|can(no|')t allocate memory|_STATUS_ALLOC_FAILED|free memory on device|no available memory",
    re.IGNORECASE,
)
_DEVICE_TEXT = re.compile(r"\b(CUDA|cuDNN|HIP|NCCL|MPS|XPU)( \w+)? error\b|\bNo CUDA GPUs\b", re.IGNORECASE)


def machine_fault(error: BaseException) -> ExitCode | None:
    """The code of an error whose cause is the machine: its memory, its disk, its accelerator; None for any other.

    No such error says anything about a model. Libraries have no types of their own for most of them (torch's CPU
    allocator raises RuntimeError, vLLM ValueError), so that texts count as well, and so do the errors that led to one.
    """
    for cause in causes(error):
        text, kind = str(cause), type(cause).__name__
        if isinstance(cause, MemoryError) or kind == "OutOfMemoryError" or _MEMORY_TEXT.search(text):
            return ExitCode.OUT_OF_MEMORY
        if (isinstance(cause, OSError) and cause.errno in FULL) or _FULL_TEXT.search(text):
            return ExitCode.OUT_OF_DISK
        if kind == "AcceleratorError" or _DEVICE_TEXT.search(text):
            return ExitCode.INTERNAL
    return None


def causes(error: BaseException) -> list[BaseException]:
    """An error, and those that led to it, the nearest first."""
    found: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in found:
        found.append(cause)
        cause = cause.__cause__
    return found
