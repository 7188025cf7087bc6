"""Where each benchmark's ratios are written down: `benchmarks/history/NAME.jsonl`, one line a run."""

from __future__ import annotations

import json
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "history"


def record(benchmark: str, ratios: dict[str, float], folder: Path = FOLDER, **size: int) -> None:
    """Append a run: when, of which commit, on what, how large, and its ratios to limits of the same run.

    Args:
        benchmark: names the file.
        ratios: by name; what they are ratios of is the benchmark's to say.
        folder: of the files.
        size: such as users and items.
    """
    line = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": machine(),
        **size,
        "ratios": {name: round(ratio, 4) for name, ratio in ratios.items()},
    }
    folder.mkdir(exist_ok=True)
    with (folder / f"{benchmark}.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")


def commit() -> str:
    """The commit that was measured, with a + where the working tree differs from it; `unknown` outside a checkout."""
    git = ["git", "-C", str(FOLDER.parent)]
    try:
        head = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True).stdout
        changes = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no", "--", ":!history"],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head.strip() + ("+" if changes.strip() else "")


def machine() -> str:
    """In words: processor, system, Python and numpy."""
    names = [line.split(":")[1].strip() for line in cpu_lines() if line.startswith("model name")]
    processor = f"{len(names)} x {names[0]}" if names else platform.machine()
    return f"{processor}, {platform.system()}, Python {platform.python_version()}, numpy {version('numpy')}"


def cpu_lines() -> list[str]:
    """What Linux says of the processors; nothing elsewhere."""
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []
