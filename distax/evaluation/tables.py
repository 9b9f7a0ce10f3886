"""Evaluation results as rows of text: for the terminal, for notebooks, and for LaTeX."""

from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol, runtime_checkable

from distax.runtime.terminal import printable

OF_INTERVAL = "± (95% interval)"
"""Label of half the widths of intervals."""


@runtime_checkable
class Scored(Protocol):
    """An evaluation of images or frames."""

    def to_dict(self) -> dict[str, Any]:
        """Returns its scores, and their intervals in the same places below `intervals`."""


class Quantity(NamedTuple):
    """A score as tables show it.

    Attributes:
      label: its name, and its unit unless that is percent.
      path: its place in an evaluation, and in the evaluation's intervals.
      scale: factor from its unit there to the one in the table.
      digits: number of decimals.
    """

    label: str
    path: tuple[str, ...]
    scale: float = 100.0
    digits: int = 1

    def write(self, scores: Any, intervals: Any, plus_minus: str = "±") -> str:
        """Formats the score, with half the width of its interval if that is known; or a dash.

        Args:
          scores: an evaluation as a dictionary, or the part of it for one number of targets.
          intervals: the intervals of the same part, or None.
          plus_minus: text between the two.
        """
        value, ends = _at(scores, self.path), _at(intervals, self.path)
        if value is None:
            return "–"
        text = self._number(value)
        return f"{text}{plus_minus}{self._number((ends[1] - ends[0]) / 2)}" if ends else text

    def _number(self, value: float) -> str:
        return f"{self.scale * value:.{self.digits}f}"


_RATES = (
    Quantity("precision", ("precision",)),
    Quantity("recall", ("recall",)),
    Quantity("F1", ("f1",)),
    Quantity("Jaccard", ("jaccard",)),
    Quantity("RMSE / 0.001 px", ("rmse",), 1000.0),
    Quantity("efficiency", ("efficiency",)),
    Quantity("false per image", ("false_rate",), 1.0, 2),
    Quantity("intensity bias", ("intensity_bias",)),
    Quantity("intensity error", ("intensity_error",)),
)
COUNT_ACCURACY = Quantity("count accuracy / %", ("count_accuracy",))
RMSE = Quantity("RMSE / px", ("rmse",), 1.0, 4)
PD = Quantity("Pd", ("pd",))
FA = Quantity("Fa / million px", ("fa",), 1e6, 2)
BY_OWN_SCORE = Quantity("CSO-mAP by own score", ("cso_map_by_score",), digits=2)
GOSPA = Quantity("GOSPA / px", ("gospa",), 1.0, 4)


def score_rows(result: Scored, name: str) -> dict[str, list[str]]:
    """Formats CSO-mAP and the APs in percent: a row for each ranking, or one row if both agree.

    Below each row are half the widths of the intervals, if these are known.

    Args:
      result: the evaluation.
      name: label of the row with detections ranked by intensity.
    """
    scores = result.to_dict()
    rows: dict[str, list[str]] = {}
    own = "… ranked by its own score instead of intensity"
    for label, of_interval, ranking in ((name, "", ""), (own, " of these", "_by_score")):
        mean, aps = f"cso_map{ranking}", f"ap{ranking}"
        row = _percent([scores[mean], *scores[aps].values()])
        if row in rows.values():
            continue
        rows[label] = row
        if (ends := scores["intervals"]) is not None:
            halves = ((high - low) / 2 for low, high in [ends[mean], *ends[aps].values()])
            rows[OF_INTERVAL + of_interval] = _percent(halves)
    return rows


def _percent(shares: Iterable[float]) -> list[str]:
    return [f"{100 * share:.2f}" for share in shares]


def by_count_rows(result: Scored) -> list[list[str]]:
    """Formats headings and a row for each number of true targets, then one for all images.

    Detections are ranked by the estimator's own score. Half the width of an interval is on a line
    of its own.
    """
    scores = result.to_dict()
    nearest = next(iter(scores["ap"]))
    quantities = [
        COUNT_ACCURACY,
        Quantity("CSO-mAP", ("cso_map_by_score",)),
        Quantity(f"within {nearest} px / %", ("within", nearest)),
        RMSE,
        Quantity("Cramér–Rao bound / px", ("bound",), 1.0, 4),
        *(
            Quantity(f"in {float(level):.0%} region / %", ("coverage", level))
            for level in scores["coverage"] or ()
        ),
    ]
    groups = [(count, group, ("by_count", count)) for count, group in scores["by_count"].items()]
    rows = [["targets", "images", *(quantity.label for quantity in quantities)]]
    for label, group, place in [*groups, ("all", scores, ())]:
        ends = _at(scores["intervals"], place)
        cells = [quantity.write(group, ends, "\n±") for quantity in quantities]
        rows.append([label, str(group["images"]), *cells])
    return rows


def rate_rows(result: Scored) -> list[list[str]]:
    """Formats headings and a row for each rate of pairs within the matching radii.

    Returns:
      The rows; none for an evaluation of an earlier release.
    """
    scores = result.to_dict()
    if scores["rates"] is None:
        return []
    rows = [["in %, within px", *scores["rates"]]]
    for quantity in _RATES:
        cells = (
            quantity.write(rates, _at(scores["intervals"], ("rates", radius)))
            for radius, rates in scores["rates"].items()
        )
        rows.append([quantity.label, *cells])
    return rows


def latex_row(result: Scored, name: str) -> str:
    """Formats the main scores as one row of a LaTeX table, below a comment with its columns.

    Rates are those of pairs within the largest matching radius. A number has half the width of its
    95% interval behind ±.

    Args:
      result: the evaluation of images or frames.
      name: content of the first column.
    """
    scores = result.to_dict()
    radius = list(scores["ap"])[-1]
    columns = [
        Quantity("CSO-mAP", ("cso_map",), digits=2),
        *(column for column in (BY_OWN_SCORE,) if column.path[0] in scores),
        *(Quantity(f"AP-{key[-2:]}", ("ap", key), digits=2) for key in scores["ap"]),
        *(column for column in (COUNT_ACCURACY, PD, FA) if column.path[0] in scores),
        *(rate._replace(path=("rates", radius, *rate.path)) for rate in _RATES),
        GOSPA,
    ]
    number = "images" if "images" in scores else "frames"
    headings = ["method", number, *(column.label for column in columns)]
    cells = [str(scores[number])]
    cells += [column.write(scores, scores["intervals"]) for column in columns]
    comment = (
        f"in % unless stated; AP ranked by intensity; rates of pairs within {radius} px; ± half a "
        "95% interval"
    )
    row = " & ".join([_escape(name), *map(_latex_number, cells)])
    return f"% {' & '.join(headings)} ({comment})\n{row} \\\\"


def _latex_number(text: str) -> str:
    return "--" if text == "–" else "$" + text.replace("±", r" \pm ") + "$"


def _escape(name: str) -> str:
    special = {character: "\\" + character for character in "&%$#_{}"}
    special |= {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(special.get(character, character) for character in printable(name))


def _at(tree: Any, path: tuple[str, ...]) -> Any:
    """Returns what is at a place of nested dictionaries; None if there is nothing."""
    for name in path:
        tree = None if tree is None else tree.get(name)
    return tree
