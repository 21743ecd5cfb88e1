"""What a method must keep to so that a run can be stopped and gone on with."""

from pathlib import Path
from tempfile import TemporaryDirectory

from sslkit.conformance.findings import demand, few
from sslkit.conformance.method_kit import MethodKit, differing, state_of
from sslkit.conformance.snapshot import changed, unsaved
from sslkit.train import checkpoint

MEND = (
    "keep what changes in a buffer (register_buffer, changed in place) or a parameter, or compute it from"
    " progress"
)


def everything_is_in_state_dict(kit: MethodKit) -> None:
    """From one step to the next nothing changes that a checkpoint does not hold."""
    method = kit.build()
    trainer = kit.trainer(method)
    kit.step(trainer)  # what is kept at the first step and stays, such as a mask, may be made anew
    before = unsaved(method)
    for _ in range(2):
        kit.step(trainer)
    wrong = changed(before, unsaved(method))
    demand(not wrong, f"{few(wrong)} changes from step to step, but is not in state_dict(): {MEND}")


def resume_is_exact(kit: MethodKit) -> None:
    """From a real checkpoint a new instance goes on with the same losses, bit for bit."""
    method = kit.build()
    trainer = kit.trainer(method)
    kit.step(trainer)
    before = unsaved(method)
    kit.step(trainer)
    suspects = changed(before, unsaved(method))
    again = kit.trainer(kit.build(seed=1))
    with TemporaryDirectory() as folder:
        checkpoint.load(again.state, checkpoint.save(trainer.state, Path(folder), keep=1))
    lost = differing(state_of(trainer.method), state_of(again.method))
    demand(not lost, f"load_state_dict does not bring back {few(lost)}: do not override it, {MEND}")
    for _ in range(2):
        wanted, got = kit.step(trainer), kit.step(again)
        demand(
            got == wanted,
            f"after a resume the loss is {got:.7g} instead of {wanted:.7g}: {_blamed(suspects)}: {MEND}",
        )
    wrong = differing(state_of(trainer.method), state_of(again.method))
    demand(
        not wrong,
        f"after a resume and two steps {few(wrong)} is another than without: {_blamed(suspects)}: {MEND}",
    )


def _blamed(suspects: list[str]) -> str:
    if not suspects:
        return "some state is not in state_dict()"
    return f"some state is not in state_dict(), it seems {few(suspects)}"
