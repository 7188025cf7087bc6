"""Progress on the terminal: a line for each arm, with simulated days, impressions a second and the time left."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

_REFRESH_SECONDS = 0.1


class _Speed(ProgressColumn):
    """Impressions a second of the stage that is running."""

    def render(self, task: Task) -> Text:
        impressions, elapsed = task.fields["impressions"], perf_counter() - task.fields["since"]
        if not impressions or elapsed <= 0:
            return Text("")
        return Text(f"{impressions / elapsed / 1000:,.0f}k/s", style="dim")


class StudyProgress:
    """Shows stages as they run; silent where the console is not a terminal."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.fields[who]:<16}"),
            TextColumn("{task.description:<15}"),
            BarColumn(bar_width=12),
            TextColumn("{task.fields[where]:>15}"),
            TimeRemainingColumn(compact=True),
            _Speed(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}
        self._finished: set[str] = set()

    def __enter__(self) -> StudyProgress:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def update(self, who: str, stage: str, done: float, total: float, impressions: int) -> None:
        """Tell how far a stage has come; `impressions` are those since last told."""
        if who in self._finished:  # a message that came late
            return
        where = f"day {done:.1f} of {total:.3g}" if impressions else f"{done:g} of {total:g}"
        task_id = self._tasks.get(who)
        if task_id is None:
            task_id = self._progress.add_task(
                stage, total=total, who=who, where=where, impressions=0, since=perf_counter()
            )
            self._tasks[who] = task_id
        task = next(t for t in self._progress.tasks if t.id == task_id)
        if task.description != stage:
            # Fields that `reset` is not given are gone.
            self._progress.reset(
                task.id, total=total, description=stage, who=who, where=where, impressions=0, since=perf_counter()
            )
        self._progress.update(
            task.id,
            completed=max(task.completed, done),
            where=where,
            impressions=task.fields["impressions"] + impressions,
        )

    def finish(self, who: str) -> None:
        """The line of someone who is done goes away."""
        self._finished.add(who)
        task_id = self._tasks.pop(who, None)
        if task_id is not None:
            self._progress.remove_task(task_id)


def throttled(update: Callable[[str, str, float, float, int], None]) -> Callable[[str, str, float, float, int], None]:
    """Pass on at most ten updates a second and stage, adding up the impressions in between."""
    last: dict[tuple[str, str], float] = {}
    pending: dict[tuple[str, str], int] = {}

    def tell(who: str, stage: str, done: float, total: float, impressions: int) -> None:
        key, now = (who, stage), perf_counter()
        pending[key] = pending.get(key, 0) + impressions
        if now - last.get(key, 0.0) >= _REFRESH_SECONDS or done >= total:
            update(who, stage, done, total, pending.pop(key))
            last[key] = now

    return tell
