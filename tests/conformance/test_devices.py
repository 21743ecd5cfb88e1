"""Where code fails on another device, and where it waits for one."""

from pathlib import Path
from runpy import run_path

import torch

from sslkit.conformance.devices import Reads, works_on_another_device
from sslkit.conformance.findings import Finding, run

REAL, WITHOUT_NUMBERS = torch.device("cpu"), torch.device("meta")


def found(error: Exception, device: torch.device) -> Finding:
    def fails(where: torch.device) -> None:
        assert where == device
        raise error

    return run(lambda _: works_on_another_device(fails, [device]), "", None)


def test_what_fails_on_a_real_device_is_a_failure() -> None:
    error = RuntimeError("no kernel image")
    finding = found(error, REAL)
    assert (finding.status, finding.told[:41]) == ("failed", "on the device cpu it raised RuntimeError:")
    finding = found(error, WITHOUT_NUMBERS)
    assert (finding.status, finding.told[:15]) == ("skipped", "only a GPU can ")


def test_a_device_that_others_have_filled_tells_nothing() -> None:
    full = RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)")
    for error in (torch.OutOfMemoryError("out of memory"), full):
        finding = found(error, REAL)
        assert (finding.status, finding.told[:32]) == ("skipped", "the device cpu has too little me")


def test_what_works_on_a_real_device_works() -> None:
    """Also where the device without numbers lacks an operation; a read is told by that one alone."""

    def lacks(where: torch.device) -> None:
        if where == WITHOUT_NUMBERS:
            raise NotImplementedError("no kernel for meta")

    def reads(where: torch.device) -> None:
        torch.zeros(2, device=where).tolist()

    both = [WITHOUT_NUMBERS, REAL]
    assert run(lambda _: works_on_another_device(lacks, both), "", None).status == "passed"
    assert run(lambda _: works_on_another_device(reads, both), "", None).status == "failed"


def test_a_read_is_seen_in_a_folder_of_a_librarys_name(tmp_path: Path) -> None:
    path = tmp_path / "torch" / "mine.py"
    path.parent.mkdir()
    path.write_text("def read(x):\n    return x.item()\n")
    with Reads() as reads:
        run_path(str(path))["read"](torch.ones(()))
    assert reads.places == ["mine.py, line 2"]
