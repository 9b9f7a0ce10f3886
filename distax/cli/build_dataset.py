"""`distax build-dataset`: CSIST-100K, or sequences, as a TFDS dataset on disk."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from distax.runtime.errors import unknown


@dataclass(frozen=True)
class BuildDataset:
    """Build a dataset on disk: simulated anew, or CSIST-100K read from the published files."""

    name: Annotated[str, tyro.conf.Positional] = "simulated"
    """CSIST-100K: simulated (80,000, 10,000 and 10,000 images), released, or a simulated one of
    another seed and other sizes of train, validation and test, such as
    simulated_seed1_800_100_100; with or without csist100k/ before it. Sequences of 20 frames as in
    SeqCSIST: seqcsist/simulated (3,500, 750 and 750 sequences), or another size such as
    seqcsist/simulated_seed1_80_10_10."""
    data_dir: Path = Path("data")
    """Folder to build it in."""
    manual_dir: Path | None = None
    """For released: the folder with train/, val/ and test/ of the published dataset."""

    def run(self) -> None:
        """Build it and say where and how much."""
        from distax.datasets import csist100k, seqcsist

        dataset, _, config = self.name.rpartition("/")
        known = {"csist100k": (csist100k, "images"), "seqcsist": (seqcsist, "sequences")}
        if dataset and dataset not in known:
            raise unknown("dataset", dataset, known)
        module, records = known[dataset or "csist100k"]
        folder = module.build(config, self.data_dir, self.manual_dir)
        for split in ("train", "validation", "test"):
            source = module.open_split(config, split, self.data_dir)
            print(f"{folder}: {split}, {len(source)} {records}")
