"""Evaluation results as rows of text: for the terminal, for notebooks, and for LaTeX."""

from typing import Any, NamedTuple

from distax.evaluation.results import SCORE_HEADINGS, Evaluation, to_percent
from distax.runtime.html import plain_table

OF_INTERVAL = "± (95% interval)"
"""Label of half the widths of intervals."""


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
GOSPA = Quantity("GOSPA / px", ("gospa",), 1.0, 4)


def score_rows(result: Evaluation, name: str) -> dict[str, list[str]]:
    """Formats CSO-mAP and the APs in percent: a row for each ranking, or one row if both agree.

    Below each row are half the widths of the intervals, if these are known.

    Args:
      result: the evaluation.
      name: label of the row with detections ranked by intensity.
    """
    rows: dict[str, list[str]] = {}
    own = "… ranked by its own score instead of intensity"
    for label, ranking in ((name, ""), (own, "_by_score")):
        mean, aps = (getattr(result, field + ranking) for field in ("cso_map", "ap"))
        row = [f"{value:.2f}" for value in to_percent(mean, aps.values())]
        if row in rows.values():
            continue
        rows[label] = row
        if (ends := result.intervals) is not None:
            intervals = [ends[f"cso_map{ranking}"], *ends[f"ap{ranking}"].values()]
            halves = to_percent(0, ((high - low) / 2 for low, high in intervals))[1:]
            rows[OF_INTERVAL + ("" if label == name else " of these")] = [
                f"{half:.2f}" for half in halves
            ]
    return rows


def by_count_rows(result: Evaluation) -> list[list[str]]:
    """Formats headings and a row for each number of true targets, then one for all images.

    Detections are ranked by the estimator's own score. Half the width of an interval is on a line
    of its own.
    """
    nearest = next(iter(result.ap))
    quantities = [
        COUNT_ACCURACY,
        Quantity("CSO-mAP", ("cso_map_by_score",)),
        Quantity(f"within {nearest} px / %", ("within", nearest)),
        RMSE,
        Quantity("Cramér–Rao bound / px", ("bound",), 1.0, 4),
        *(
            Quantity(f"in {float(level):.0%} region / %", ("coverage", level))
            for level in result.coverage or ()
        ),
    ]
    groups = [(count, group, ("by_count", count)) for count, group in result.by_count.items()]
    rows = [["targets", "images", *(quantity.label for quantity in quantities)]]
    for label, scores, place in [*groups, ("all", result.to_dict(), ())]:
        ends = _at(result.intervals, place)
        cells = [quantity.write(scores, ends, "\n±") for quantity in quantities]
        rows.append([label, str(scores["images"]), *cells])
    return rows


def rate_rows(result: Evaluation) -> list[list[str]]:
    """Formats headings and a row for each rate of pairs within the matching radii.

    Returns:
      The rows; none for an evaluation of an earlier release.
    """
    if result.rates is None:
        return []
    rows = [["in %, within px", *result.rates]]
    for quantity in _RATES:
        cells = (
            quantity.write(rates, _at(result.intervals, ("rates", radius)))
            for radius, rates in result.rates.items()
        )
        rows.append([quantity.label, *cells])
    return rows


def latex_row(result: Evaluation, name: str) -> str:
    """Formats the main scores as one row of a LaTeX table, below a comment with its columns.

    Rates are those of pairs within the largest matching radius. A number has half the width of its
    95% interval behind ±.

    Args:
      result: the evaluation.
      name: content of the first column.
    """
    scores = result.to_dict()
    radius = list(result.ap)[-1]
    columns = [
        Quantity("CSO-mAP", ("cso_map",), digits=2),
        *(Quantity(f"AP-{key[-2:]}", ("ap", key), digits=2) for key in result.ap),
        COUNT_ACCURACY,
        *(rate._replace(path=("rates", radius, *rate.path)) for rate in _RATES),
        GOSPA,
    ]
    return latex_lines(
        [("method", name), ("images", str(result.images))]
        + [(column.label, column.write(scores, result.intervals)) for column in columns],
        f"in % unless stated; rates of pairs within {radius} px",
    )


def latex_lines(cells: list[tuple[str, str]], note: str) -> str:
    """Formats cells of text as a row of a LaTeX table, below a comment.

    Args:
      cells: heading and content of each.
      note: what the comment says besides the headings.
    """
    headings = " & ".join(heading for heading, _ in cells)
    return f"% {headings} ({note}; ± half a 95% interval)\n{_latex_row(cells)}"


def _latex_row(cells: list[tuple[str, str]]) -> str:
    name, *numbers = (content for _, content in cells)
    return " & ".join([_escape(name), *map(_latex_number, numbers)]) + r" \\"


def _latex_number(text: str) -> str:
    return "--" if text == "–" else "$" + text.replace("±", r" \pm ") + "$"


def _escape(name: str) -> str:
    special = {character: "\\" + character for character in "&%$#_{}"}
    special |= {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(special.get(character, character) for character in name)


def to_html(result: Evaluation) -> str:
    """Formats tables of the scores, the rates and the results by number of targets."""
    scores = [[name, *row] for name, row in score_rows(result, "ranked by intensity").items()]
    headings, *by_count = by_count_rows(result)
    tables = [plain_table(SCORE_HEADINGS, scores), plain_table(headings, by_count)]
    if rates := rate_rows(result):
        tables.append(plain_table(rates[0], rates[1:]))
    return "".join(tables)


def _at(tree: Any, path: tuple[str, ...]) -> Any:
    """Returns what is at a place of nested dictionaries; None if there is nothing."""
    for name in path:
        tree = None if tree is None else tree.get(name)
    return tree
