"""Targets as columns of plain numbers, as tables on disk hold them.

Columns of images hold a value for each image. Columns of targets hold the values of all targets one
after the other, and `count` says how many belong to each image: no padding is stored.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped

from distax.imaging.targets import CREDIBLE_LEVELS, Targets
from distax.metrics import RADII
from distax.unmixer import without_targets

TARGET_COLUMNS: dict[str, tuple[str, tuple[int, ...]]] = {
    "row": ("position", (0,)),
    "column": ("position", (1,)),
    "intensity": ("intensity", ()),
    "score": ("score", ()),
    "row_variance": ("covariance", (0, 0)),
    "column_variance": ("covariance", (1, 1)),
    "row_column_covariance": ("covariance", (0, 1)),
    "intensity_std": ("intensity_std", ()),
    **{
        f"hit_probability_{round(100 * radius):02d}": ("hit_probability", (place,))
        for place, radius in enumerate(RADII)
    },
    **{
        f"credible_radius_{round(100 * level)}": ("credible_radius", (place,))
        for place, level in enumerate(CREDIBLE_LEVELS)
    },
}
"""Field of `Targets` and the index within a target, for each column of targets."""
IMAGE_COLUMNS = {"count_probability": np.float32, "misfit": np.float32, "trusted": np.bool_}
"""Columns of images, which are fields of `Targets`, with the types of their values."""
_INNER = {
    "position": (2,),
    "covariance": (2, 2),
    "hit_probability": (len(RADII),),
    "credible_radius": (len(CREDIBLE_LEVELS),),
}
"""Shape of a target's value, for fields that hold more than a number."""


@dataclass(frozen=True)
class Columns:
    """Answers to images as columns.

    Attributes:
      count: number of targets of each image.
      of_targets: values of all targets, by the names of `TARGET_COLUMNS`.
      of_images: values of the images, by the names of `IMAGE_COLUMNS`.
      problems: reasons why images could not be unmixed, by their indices. They have no targets.
    """

    count: Int[np.ndarray, " N"]
    of_targets: Mapping[str, Float[np.ndarray, " targets"]]
    of_images: Mapping[str, Shaped[np.ndarray, " N"]]
    problems: Mapping[int, str]

    def __len__(self) -> int:
        return len(self.count)

    @classmethod
    def of(cls, found: Targets, problems: Mapping[int, str]) -> "Columns":
        """Makes columns of targets `[N, K]`.

        Args:
          found: the targets as NumPy arrays.
          problems: reasons why images could not be unmixed, by their indices.
        """
        bad = np.isin(np.arange(len(found.mask)), list(problems))
        mask = np.asarray(found.mask) & ~bad[:, None]
        of_targets = {
            name: np.asarray(value)[(mask, *place)]
            for name, (field, place) in TARGET_COLUMNS.items()
            if (value := getattr(found, field)) is not None
        }
        of_images = {
            name: np.asarray(value)
            for name in IMAGE_COLUMNS
            if (value := getattr(found, name)) is not None
        }
        if "trusted" in of_images:
            of_images["trusted"] = of_images["trusted"] & ~bad
        return cls(mask.sum(axis=-1), of_targets, of_images, problems)

    @classmethod
    def joined(cls, parts: Sequence["Columns"]) -> "Columns":
        """Joins the columns of consecutive images of one method."""
        starts = np.cumsum([0, *map(len, parts)]).tolist()
        return cls(
            count=np.concatenate([part.count for part in parts]),
            of_targets=_joined([part.of_targets for part in parts]),
            of_images=_joined([part.of_images for part in parts]),
            problems={
                start + image: problem
                for start, part in zip(starts, parts, strict=False)
                for image, problem in part.problems.items()
            },
        )

    @property
    def ends(self) -> Int[np.ndarray, " ends"]:
        """Index of each image's first target among all targets; last, the number of targets."""
        return np.concatenate([[0], np.cumsum(self.count)])

    def targets(self) -> Targets:
        """Converts to Targets `[N, K]`, padded with zeros to the largest number in an image.

        An image that could not be unmixed has no targets, and is not trusted.
        """
        slots = max(int(self.count.max(initial=0)), 1)
        mask = np.arange(slots) < self.count[:, None]
        fields: dict[str, Any] = dict(self.of_images)
        for name, values in self.of_targets.items():
            field, place = TARGET_COLUMNS[name]
            shape = (*mask.shape, *_INNER.get(field, ()))
            padded = fields.setdefault(field, np.zeros(shape, np.float32))
            padded[(mask, *place)] = values
        if "covariance" in fields:
            fields["covariance"][..., 1, 0] = fields["covariance"][..., 0, 1]
        bad = np.isin(np.arange(len(mask)), list(self.problems))
        return without_targets(Targets(mask=mask, **fields), bad)


def _joined(parts: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
