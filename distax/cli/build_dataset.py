"""`distax build-dataset`: CSIST-100K as a TFDS dataset on disk."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro


@dataclass(frozen=True)
class BuildDataset:
    """Build CSIST-100K on disk: simulated anew, or read from the published files."""

    name: Annotated[str, tyro.conf.Positional] = "simulated"
    """simulated (80,000, 10,000 and 10,000 images), released, or a simulated one of another seed
    and other sizes of train, validation and test, such as simulated_seed1_800_100_100."""
    data_dir: Path = Path("data")
    """Folder to build it in."""
    manual_dir: Path | None = None
    """For released: the folder with train/, val/ and test/ of the published dataset."""

    def run(self) -> None:
        """Build it and say where and how much."""
        from distax.datasets import csist100k

        folder = csist100k.build(self.name, self.data_dir, self.manual_dir)
        for split in ("train", "validation", "test"):
            source = csist100k.open_split(self.name, split, self.data_dir)
            print(f"{folder}: {split}, {len(source)} images")
