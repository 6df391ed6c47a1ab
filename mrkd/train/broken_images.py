"""Report images that cannot be read, in the run directory and in the terminal."""

from mrkd.data.dataset import ImageDataset
from mrkd.distributed.gather import all_gather_names
from mrkd.runs.run import BROKEN, RunDirectory
from mrkd.system.files import read_json, write_json
from mrkd.system.output import say


class BrokenImages:
    """Reports the broken images of a training set.

    Args:
        dataset: of this process.
        run: where they are listed.
        writes: whether this process writes.
    """

    def __init__(self, dataset: ImageDataset, run: RunDirectory, *, writes: bool) -> None:
        self.dataset, self.run, self.writes = dataset, run, writes
        self.last_reported = 0

    def recall(self) -> None:
        """Read the broken images that a resumed stream had found before; for images in memory all are known."""
        path = self.run.path / BROKEN
        if self.dataset.streamed and path.is_file():
            self.dataset.broken.extend(read_json(path))
            self.last_reported = len(self.dataset.broken)

    def report(self) -> None:
        """Write and print the names of all broken images if there are more than at the last time."""
        streamed = self.dataset.streamed
        names = all_gather_names(self.dataset.broken) if streamed else self.dataset.broken
        if self.writes and len(names) > self.last_reported:
            self.last_reported = len(names)
            self.run.check_held()
            write_json(self.run.path / BROKEN, list(names))
            done = "replaced by others of their batch" if streamed else "skipped"
            say(f"{len(names)} broken images were {done}: {self.run.path / BROKEN}")
