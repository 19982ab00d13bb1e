"""Progress of long work: live bars with rate and time left in a terminal, plain lines elsewhere."""

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column


class Report:
    """Tells a person how far the runs are; on standard error, so that standard output holds results only.

    Attributes:
        every: seconds between two plain lines.
    """

    every = 10.0

    def __init__(self, total: int, device: str = ""):
        self.total, self.device = total, device
        self.started = self.printed = time.monotonic()
        self.finished = 0
        self.console = Console(stderr=True, highlight=False)
        self.bars: Progress | None = None

    def __enter__(self) -> "Report":
        if self.device:
            print(f"{self.total} runs on {self.device}", file=sys.stderr)
        if self.console.is_terminal:
            # Whatever a name is like, steps and time left fit into 80 columns.
            columns = (
                TextColumn("{task.description}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")),
                BarColumn(bar_width=10),
                MofNCompleteColumn(),
                TimeRemainingColumn(compact=True, elapsed_when_finished=True),
                TextColumn("{task.fields[rate]}", table_column=Column(max_width=24, no_wrap=True)),
            )
            self.bars = Progress(*columns, console=self.console, expand=True)
            self.bars.start()
            self.overall = self.bars.add_task("all runs", total=self.total, rate="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bars:
            self.bars.stop()

    def begin(self, name: str, done: int, steps: int) -> None:
        """A run, or a group of runs trained as one program, starts at step `done` of `steps`; now it compiles."""
        self.name, self.steps = name, steps
        self.since: float | None = None
        if self.bars:
            self.current = self.bars.add_task(name, total=steps, completed=done, rate="compiling")
        else:
            self._line(f"{name}: compiling")

    def update(self, done: int, text: str) -> None:
        """The current run has done `done` steps; `text` says how it does."""
        if self.since is None:  # the first call compiled, and says nothing of the rate
            self.since, self.first, rate, left = time.monotonic(), done, "", ""
        else:
            pace = max(done - self.first, 1) / max(time.monotonic() - self.since, 1e-9)
            rate, left = f"{pace:.0f} steps/s  ", f"{(self.steps - done) / pace:.0f} s left  "
        if self.bars:
            self.bars.update(self.current, completed=done, rate=f"{rate}{text}")
        elif time.monotonic() - self.printed > self.every or done == self.steps:
            self._line(f"{self.name}: step {done}/{self.steps}  {rate}{left}{text}")

    def end(self) -> None:
        """The current runs are trained."""
        if self.bars:
            self.bars.remove_task(self.current)

    def finish(self, runs: int) -> None:
        """`runs` more runs are measured and on disk."""
        self.finished += runs
        if self.bars:
            self.bars.update(self.overall, completed=self.finished)
        elif time.monotonic() - self.printed > self.every:  # runs with few steps report nothing else
            self._line(f"{runs} more finished")

    def _line(self, text: str) -> None:
        self.printed = time.monotonic()
        elapsed = self.printed - self.started
        left = f", {elapsed / self.finished * (self.total - self.finished):.0f} s left" if self.finished else ""
        print(f"[{self.finished}/{self.total} runs, {elapsed:.0f} s{left}] {text}", file=sys.stderr, flush=True)
