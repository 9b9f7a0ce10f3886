from dataclasses import dataclass, field
from typing import ClassVar, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distax import DistaxError
from distax.runtime.fields import check_fields


@runtime_checkable
class Named(Protocol):
    name: ClassVar[str]


class Part:
    name: ClassVar[str] = "part"


@dataclass(frozen=True)
class Config:
    size: int = 3
    limit: float | None = None
    bounds: tuple[float, float] = (0.0, 1.0)
    steps: tuple[float, ...] = ()
    part: str | Named = "part"
    flag: bool = False
    other: dict[str, int] = field(default_factory=dict)
    kind: ClassVar[str] = "config"

    def __post_init__(self):
        check_fields(self, arrays=("limit", "bounds"))


def test_numbers_become_python_s_own():
    config = Config(
        size=np.int64(4),
        limit=jnp.array(2),
        bounds=(np.float32(0.5), 3),
        steps=(np.array(1), 2),
    )
    assert config == Config(size=4, limit=2.0, bounds=(0.5, 3.0), steps=(1.0, 2.0))
    numbers = (config.size, config.limit, *config.bounds, *config.steps)
    assert [type(number) for number in numbers] == [int, *5 * [float]]


def test_values_of_the_annotated_types_stay():
    part = Part()
    config = Config(part=part, flag=True, other={"a": 1})
    assert (config.part, config.flag, config.other) == (part, True, {"a": 1})


def test_arrays_and_traced_numbers_stay_only_in_the_named_fields():
    batch = np.array([1.0, 2.0])
    assert Config(limit=batch).limit is batch
    assert jax.jit(lambda limit: Config(limit=limit, bounds=(0, limit)).bounds[1])(2.0) == 2
    with pytest.raises(DistaxError, match="steps must be a finite number, got array"):
        Config(steps=(batch,))
    with pytest.raises(DistaxError, match="steps must be known, not traced"):
        jax.jit(lambda step: Config(steps=(step,)).size)(2.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 1.5}, "size must be a whole number, got 1.5"),
        ({"size": True}, "size must be a whole number, got True"),
        ({"limit": "x"}, "limit must be a finite number or None, got 'x'"),
        ({"limit": float("nan")}, "limit must be a finite number or None, got nan"),
        ({"limit": np.array([True])}, "limit must be a finite number or None, got array"),
        ({"limit": np.zeros(99, complex)}, "limit must be a finite number or None, got a ndarray"),
        ({"bounds": (1.0,)}, r"bounds must have 2 entries, got \(1.0,\)"),
        ({"bounds": 1.0}, "bounds must be of type tuple, got 1.0"),
        ({"steps": (1.0, None)}, "steps must be a finite number, got None"),
        ({"part": 5}, "part must be of type str or Named, got 5"),
        ({"part": Part}, "part must be of type str or Named, got the class Part; make an instance"),
        ({"flag": 1}, "flag must be of type bool, got 1"),
        ({"other": None}, "other must be of type dict, got None"),
    ],
)
def test_other_values_are_refused_by_the_name_of_the_field(options, message):
    with pytest.raises(DistaxError, match=message):
        Config(**options)
