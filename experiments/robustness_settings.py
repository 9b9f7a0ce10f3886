"""Settings of `robustness.py`; each changes one condition."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from distax.imaging.scenes import ScenePrior
from distax.imaging.sensor import Sensor

Hosts = Literal["any", "edge", "corner"]


@dataclass(frozen=True)
class Setting:
    """Conditions of the images.

    Attributes:
      sensor: sensor that the estimator assumes.
      prior: prior of the scenes, known to the estimator.
      sigma: true width of the PSF in pixels; None for the sensor's.
      fitted: True to fit the sensor to the images first, from `sensor`.
      hosts: position of the host pixels: anywhere, at an edge of the image, or in a corner.
      in_turn: True to place the targets of a scene one after the other.
    """

    sensor: Sensor = Sensor()
    prior: ScenePrior = ScenePrior()
    sigma: float | None = None
    hosts: Hosts = "any"
    in_turn: bool = False
    fitted: bool = False

    @property
    def true_sensor(self) -> Sensor:
        """Sensor that takes the images."""
        return self.sensor if self.sigma is None else replace(self.sensor, sigma=self.sigma)


@dataclass(frozen=True)
class Sweep:
    """Settings that differ in one condition; a row of panels in the figure.

    Attributes:
      title: the condition.
      unit: label of the axis.
      settings: names of settings by label on the axis.
    """

    title: str
    unit: str
    settings: Mapping[str, str]


BASE = "CSIST-100K"
_EDGES = ScenePrior(border=0)
_TRIPLES = ScenePrior(max_targets=3)
_ERRORS = (-0.1, -0.05, 0.05, 0.1)


def _off(error: float) -> str:
    """Names the true σ by its difference from the usual one."""
    return f"σ {100 * error:+.0f}%"


SETTINGS: dict[str, Setting] = {
    BASE: Setting(),
    **{f"read noise {n}": Setting(Sensor(read_noise=float(n))) for n in (1, 2, 5, 10)},
    **{f"{_off(e)}, told": Setting(Sensor(sigma=0.5 * (1 + e))) for e in _ERRORS},
    **{f"{_off(e)}, told wrong": Setting(sigma=0.5 * (1 + e)) for e in _ERRORS},
    **{f"{_off(e)}, fitted": Setting(sigma=0.5 * (1 + e), fitted=True) for e in _ERRORS},
    **{f"background {n}": Setting(Sensor(background=float(n))) for n in (5, 20)},
    **{f"gain {n}": Setting(Sensor(gain=float(n))) for n in (10, 1)},
    "no saturation, 12 bit": Setting(Sensor(saturation=None, bit_depth=12)),
    "14 bit, 50 times brighter": Setting(
        Sensor(saturation=12_750.0, bit_depth=14, read_noise=5.0, gain=2.0),
        ScenePrior(min_intensity=11_000.0, max_intensity=12_500.0),
    ),
    "σ 0.45 and 0.6 px": Setting(Sensor(sigma=(0.45, 0.6))),
    "intensities 50 to 250": Setting(prior=ScenePrior(min_intensity=50.0)),
    "placed in turn": Setting(in_turn=True),
    "up to 6, cluster 1.2 px": Setting(prior=ScenePrior(max_targets=6, cluster=1.2)),
    "separation 0.3": Setting(prior=ScenePrior(separation=0.3)),
    "separation 0.8, up to 4": Setting(prior=ScenePrior(separation=0.8, max_targets=4)),
    "cluster 1 px, up to 3": Setting(prior=_TRIPLES),
    "cluster 1.5 px, up to 3": Setting(prior=replace(_TRIPLES, cluster=1.5)),
    "cluster 2 px, up to 3": Setting(prior=replace(_TRIPLES, cluster=2.0)),
    "host at an edge": Setting(prior=_EDGES, hosts="edge"),
    "host in a corner": Setting(prior=_EDGES, hosts="corner"),
}

SWEEPS = (
    Sweep(
        "Read noise",
        "standard deviation / counts",
        {"0": BASE} | {str(n): f"read noise {n}" for n in (1, 2, 5, 10)},
    ),
    *(
        Sweep(
            f"σ of the PSF, {how}",
            "its true value less 0.5 px / %",
            {
                **{f"{100 * e:+.0f}": f"{_off(e)}, {how}" for e in _ERRORS[:2]},
                "0": BASE,
                **{f"{100 * e:+.0f}": f"{_off(e)}, {how}" for e in _ERRORS[2:]},
            },
        )
        for how in ("told", "told wrong", "fitted")
    ),
    Sweep("Background", "counts", {"0": BASE, "5": "background 5", "20": "background 20"}),
    Sweep(
        "Shot noise",
        "electrons per count",
        {"∞": BASE, "10": "gain 10", "1": "gain 1"},
    ),
    Sweep(
        "Cameras and scenes of other kinds",
        "",
        {
            "14 bit": "14 bit, 50 times brighter",
            "elongated": "σ 0.45 and 0.6 px",
            "unequal": "intensities 50 to 250",
            "in turn": "placed in turn",
            "up to 6": "up to 6, cluster 1.2 px",
        },
    ),
    Sweep("Saturation", "", {"255 counts, 8 bit": BASE, "none, 12 bit": "no saturation, 12 bit"}),
    Sweep(
        "Smallest distance",
        "Rayleigh units (0.61 px)",
        {
            "0.3": "separation 0.3",
            "0.52": BASE,
            "0.8 (up to 4)": "separation 0.8, up to 4",
        },
    ),
    Sweep(
        "Side of the square that holds up to 3 targets",
        "px",
        {n: f"cluster {n} px, up to 3" for n in ("1", "1.5", "2")},
    ),
    Sweep(
        "Host pixel",
        "",
        {"inside": BASE, "at an edge": "host at an edge", "in a corner": "host in a corner"},
    ),
)
