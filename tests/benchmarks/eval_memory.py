"""Peak memory of `sslkit eval` over the number of images: it must not grow with them, but for the features.

python tests/benchmarks/eval_memory.py --on knn --counts 2000 20000 --out memory.json
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = 10


def write_images(root: Path, count: int, side: int) -> None:
    """Random images in class folders, on disk as PNG."""
    rng = np.random.default_rng(0)
    for number in range(count):
        path = root / f"class{number % CLASSES}" / f"{number:06}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (side // 8, side // 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((side, side)).save(path)


def measure(root: Path, words: list[str], scratch: Path) -> dict[str, float]:
    """Seconds, and MiB of the main process at its largest."""
    command = [sys.executable, "-m", "sslkit.cli", "eval", *words, "data.name=folder", f"data.root={root}"]
    environment = {**os.environ, "SSLKIT_CACHE": str(scratch / "cache")}
    started, peak = time.monotonic(), 0
    with subprocess.Popen(command, cwd=scratch, env=environment, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            peak = max(peak, peak_of(process.pid))
            time.sleep(0.02)
    assert process.returncode == 0
    return {"seconds": round(time.monotonic() - started, 1), "peak_mib": round(peak / 1024)}


def peak_of(pid: int) -> int:
    """KiB, from the kernel; 0 of a process that has just ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    found = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(found[0]) if found else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--on", default="knn")
    parser.add_argument("--counts", type=int, nargs="+", default=[2000, 20000])
    parser.add_argument("--side", type=int, default=48, help="of the images, pixels")
    parser.add_argument("--model", default="test_resnet", help="a small network of timm's")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    words = [f"timm:{given.model}", "--on", given.on, f"data.workers={given.workers}"]
    words += ["eval.resize=32", "eval.crop=32"]
    found: dict[str, dict[str, dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        for count in given.counts:
            write_images(root := scratch / str(count), count, given.side)
            passes = {
                "computed": measure(root, words, scratch),
                "from the cache": measure(root, words, scratch),
            }
            found[str(count)] = passes
            print(count, passes, flush=True)
    if given.out:
        given.out.write_text(
            json.dumps({"on": given.on, "model": given.model, "images": found}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
