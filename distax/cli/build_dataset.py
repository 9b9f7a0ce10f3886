"""`distax build-dataset`: CSIST-100K or SeqCSIST as a TFDS dataset on disk."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from distax.cli.options import default
from distax.runtime.errors import DistaxError, unknown
from distax.runtime.terminal import say


@dataclass(frozen=True)
class BuildDataset:
    """Build a dataset on disk: simulated, or read from the published files.

    Attributes:
      name: Name of the dataset: simulated (80,000 / 10,000 / 10,000 images for training, validation
        and test), released (the published images), or, after seqcsist/, simulated (3,500 / 750 /
        750 sequences of 20 frames) or released. Another seed and sizes:
        simulated_seed1_800_100_100 is seed 1 with 800, 100 and 100 records; the same form follows
        seqcsist/. The prefix csist100k/ may be given or left out. csist100k or seqcsist alone is
        the simulated one.
      released: Build the released dataset: seqcsist --released is seqcsist/released.
      data_dir: Folder in which the dataset is built.
      manual_dir: Folder of the published dataset, with train/, val/ and test/, or for SeqCSIST with
        track_5000_20/. Needed for released.
    """

    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")] = "csist100k"
    released: bool = False
    data_dir: Path = Path("data")
    manual_dir: Annotated[Path | None, default("none")] = None

    def run(self) -> None:
        """Builds the dataset and prints the folder and size of each split.

        Raises:
          DistaxError: the dataset's name is unknown, the published files are missing or unusable,
            or the dataset cannot be built or read.
        """
        from distax.datasets import csist100k, seqcsist

        known = {"csist100k": (csist100k, "images"), "seqcsist": (seqcsist, "sequences")}
        dataset, _, config = self.name.rpartition("/")
        if not dataset and config in known:
            dataset, config = config, ""
        if dataset and dataset not in known:
            raise unknown("dataset", dataset, known)
        if self.released and config not in ("", "released"):
            raise DistaxError(
                f"{self.name} is not the released dataset; leave --released or the name out"
            )
        config = config or ("released" if self.released else "simulated")
        module, records = known[dataset or "csist100k"]
        folder = module.build(config, self.data_dir, self.manual_dir)
        for split in ("train", "validation", "test"):
            source = module.open_split(config, split, self.data_dir)
            say(f"{folder}: {split}, {len(source)} {records}")
