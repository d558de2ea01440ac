"""Which errors are the machine's own, and what they are to a driver."""

import errno
import os

import pytest
import torch

from darwinmerge.errors import BadInput, ExitCode, OutOfDisk, machine_fault
from darwinmerge.pipeline.worker import exit_code


def caused(cause: BaseException) -> Exception:
    """An error that another one led to, which its own text doesn't tell."""
    error = RuntimeError("an error occurred while generating the data set")
    error.__cause__ = cause
    return error


FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
FAULTS: list[tuple[Exception, ExitCode]] = [
    (MemoryError(), ExitCode.OUT_OF_MEMORY),
    (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), ExitCode.OUT_OF_MEMORY),
    (OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)), ExitCode.OUT_OF_MEMORY),
    (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"), ExitCode.OUT_OF_MEMORY),
    (ValueError("Free memory on device (1.4/47.4 GiB) on startup is less than desired"), ExitCode.OUT_OF_MEMORY),
    (ValueError("No available memory for the cache blocks."), ExitCode.OUT_OF_MEMORY),
    (FULL, ExitCode.OUT_OF_DISK),
    (OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)), ExitCode.OUT_OF_DISK),
    (OSError("Not enough disk space. Needed: 3 GiB"), ExitCode.OUT_OF_DISK),
    (caused(FULL), ExitCode.OUT_OF_DISK),
    (torch.AcceleratorError("an illegal memory access was encountered"), ExitCode.INTERNAL),
    (RuntimeError("CUDA error: an illegal memory access was encountered"), ExitCode.INTERNAL),
    (RuntimeError("CUDA driver error: unknown error"), ExitCode.INTERNAL),
    (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), ExitCode.INTERNAL),
    (RuntimeError("No CUDA GPUs are available"), ExitCode.INTERNAL),
]


@pytest.mark.parametrize(("error", "code"), FAULTS, ids=lambda value: f"{value}"[:40])
def test_a_fault_of_the_machine_is_told_by_type_text_or_cause(error: Exception, code: ExitCode) -> None:
    assert machine_fault(error) == code
    assert exit_code(error) == code


def test_torch_has_no_type_of_its_own_for_memory_that_it_does_not_get() -> None:
    with pytest.raises(RuntimeError) as found:
        torch.empty(1 << 55)
    assert machine_fault(found.value) == ExitCode.OUT_OF_MEMORY


@pytest.mark.parametrize(
    "error",
    [
        IndexError("index 3 is out of bounds"),
        KeyError("memory"),
        RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)"),
        FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)),
    ],
    ids=repr,
)
def test_no_other_error_is(error: Exception) -> None:
    assert machine_fault(error) is None
    assert exit_code(error) == ExitCode.INTERNAL


def test_an_error_of_ours_says_itself_what_it_is() -> None:
    assert exit_code(OutOfDisk("full")) == ExitCode.OUT_OF_DISK
    assert exit_code(BadInput("a data set that speaks of memory: out of memory")) == ExitCode.BAD_INPUT
