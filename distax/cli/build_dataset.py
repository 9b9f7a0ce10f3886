"""`distax build-dataset`: CSIST-100K as a TFDS dataset on disk."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro


@dataclass(frozen=True)
class BuildDataset:
    """Build CSIST-100K on disk: simulated anew, or read from the published files."""

    name: Annotated[Literal["simulated", "released"], tyro.conf.Positional] = "simulated"
    """Which of the two."""
    data_dir: Path | None = None
    """Where to build it; TFDS's own folder without it."""
    manual_dir: Path | None = None
    """For `released`: the folder with train/, val/ and test/ of the published dataset."""

    def run(self) -> None:
        """Build and say where."""
        from distax.datasets import csist100k

        builder = csist100k.build(self.name, self.data_dir, self.manual_dir)
        sizes = ", ".join(
            f"{name} {info.num_examples}" for name, info in builder.info.splits.items()
        )
        print(f"{builder.data_dir}: {sizes} images")
