"""Test sets of real frames, which are scored and never trained on."""

from dataclasses import dataclass
from pathlib import Path

from cosmicgate.data.cache import LazyLabelledFrame, save_labelled
from cosmicgate.data.datamodule import TestSet
from cosmicgate.data.sources import FlaggedCutouts, FramesWithTruth, InjectedHits
from cosmicgate.io.atomic import remove_stale_temp_files
from cosmicgate.io.messages import with_progress


@dataclass(frozen=True)
class RealTest:
    """A test set of real frames, for ``evaluate.py``; training on it is refused.

    Attributes
    ----------
    root : str
        Cache folder.
    frames : FlaggedCutouts, FramesWithTruth or InjectedHits
        The frames that are scored.
    name : str
        Name of the data configuration, for messages.
    """

    root: str
    frames: FlaggedCutouts | FramesWithTruth | InjectedHits
    name: str

    def prepare_data(self) -> None:
        """Make the frames that are missing on disk."""
        remove_stale_temp_files(self._folder)
        missing = [lazy for lazy in self.frames.lazy_labelled_frames() if not self._folder_of(lazy).is_dir()]
        for lazy in with_progress(missing, self.frames.name, "made"):
            frame, truth, facts = lazy.build()
            save_labelled(frame, truth, facts, self._folder_of(lazy))

    def prepare_test(self) -> None:
        """Make the frames that are missing on disk: all are test frames."""
        self.prepare_data()

    def test_sets(self) -> list[TestSet]:
        """List the one test set that is scored."""
        folders = tuple(self._folder_of(lazy) for lazy in self.frames.lazy_labelled_frames())
        cameras = self.frames.cameras if isinstance(self.frames, FramesWithTruth) else ()
        return [TestSet(self.frames.name, self.frames.data_origin, folders, cameras=cameras)]

    @property
    def _folder(self) -> Path:
        return Path(self.root).expanduser() / self.frames.name

    def _folder_of(self, lazy: LazyLabelledFrame) -> Path:
        return self._folder / f"{lazy.name}-{lazy.key}"
