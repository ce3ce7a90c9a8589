"""Tables of a suite whose truth is known, in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

from ..classes import BY_KEY
from .bootstrap import Estimate, verdict
from .markdown import Row, markdown_table
from .suite_results import DISEASES, MEAN, SIZES_ML, TISSUES, Choice, SuiteResults


def truth_tables(results: SuiteResults) -> list[tuple[str, str]]:
    """Every table with its caption."""
    tables = [(f"Dice in %, pooled over {results.drawn}", dice_table(results))]
    if len(results.methods) > 1:
        tables.append(
            (
                f"Dice of {results.methods[0]} less that of each rival, in points: paired over "
                f"{results.drawn}; "
                "where the rival stands (apart: the two intervals of the table above do not overlap)",
                difference_table(results) + "\n" + exceptions(results),
            )
        )
    tables.append(("Mean Dice of whole cases, in %", case_table(results)))
    bordered = "matched lesions" if results.drawn == "lesions" else "the whole class in a chest"
    tables.append((f"HD95 of {bordered}, mm: median; mean; measured of all", border_table(results)))
    tables.append(
        (f"Volume error of single {results.drawn}, % of the true volume: median", volume_table(results))
    )
    tables.append(("Lung without lesions, and doubt, cost: means over cases", doubt_table(results)))
    if results.methods:
        tables += _parts(results, results.methods[0])
    return tables


def dice_table(results: SuiteResults) -> str:
    """Pooled Dice with intervals, one line a method."""
    keys = _columns(results)
    rows = [[method, *(_percent(results.dice(method, key)) for key in keys)] for method in results.methods]
    return markdown_table(["", *map(_name, keys)], rows)


def difference_table(results: SuiteResults) -> str:
    """How far the first method is ahead of each of the others."""
    keys = _columns(results)
    product, rows = results.methods[0], []
    for rival in results.methods[1:]:
        cells = []
        for key in keys:
            ours, theirs = results.dice(product, key), results.dice(rival, key)
            ahead = ours.minus(theirs)
            if not isfinite(ahead.value):
                cells.append("")
                continue
            apart = ours.low > theirs.high or theirs.low > ours.high
            place = verdict(ahead) + (", apart" if apart else "")
            cells.append(f"{100 * ahead.value:+.1f} {_interval(ahead, 100)} {place}")
        rows.append([rival, *cells])
    return markdown_table(["", *map(_name, keys)], rows)


def exceptions(results: SuiteResults) -> str:
    """One line a rival and disease where it is not below the first method with intervals apart."""
    product, lines = results.methods[0], []
    for rival in results.methods[1:]:
        for key in (k for k in results.classes if k in DISEASES):
            ours, theirs = results.dice(product, key), results.dice(rival, key)
            place = verdict(ours.minus(theirs))
            if place != "below":
                lines.append(f"- {rival}, {_name(key).lower()}: {place}")
            elif ours.low <= theirs.high:
                lines.append(f"- {rival}, {_name(key).lower()}: below, but the intervals overlap")
    if not lines:
        return f"Every rival is below {product} in every disease, with intervals apart.\n"
    return "\n".join(['Exceptions to "below, with intervals apart":', "", *lines]) + "\n"


def case_table(results: SuiteResults) -> str:
    """Dice of whole cases."""
    rows = [[m, *(_number(100 * results.case_dice(m, k)) for k in results.classes)] for m in results.methods]
    return markdown_table(["", *map(_name, results.classes)], rows)


def border_table(results: SuiteResults) -> str:
    """HD95 of matched lesions."""
    keys = _diseases(results)
    rows = [[method, *(_border(results, method, key) for key in ["", *keys])] for method in results.methods]
    return markdown_table(["", "all", *map(_name, keys)], rows)


def volume_table(results: SuiteResults) -> str:
    """Median volume error of lesions."""
    keys = _diseases(results)
    rows = [
        [method, *(_signed(results.volume_error(method, key)) for key in keys)] for method in results.methods
    ]
    return markdown_table(["", *map(_name, keys)], rows)


def doubt_table(results: SuiteResults) -> str:
    """False pathology, AUROC of entropy, and cost."""
    rows = []
    for method in results.methods:
        false = results.of_cases(method, "false_pathology_percent")
        auroc = results.of_cases(method, "auroc")
        ranked = f"{auroc.value:.3f} {_interval(auroc, 1, 3)}" if isfinite(auroc.value) else ""
        seconds = results.of_cases(method, "cpu_seconds").value
        rows.append([method, f"{false.value:.2f} {_interval(false, 1, 2)}", ranked, f"{seconds:.1f}"])
    head = [
        "",
        "false pathology, % of lesion-free lung",
        "AUROC of entropy against error",
        "CPU seconds a case, preparation left out for rivals",
    ]
    return markdown_table(head, rows)


def _parts(results: SuiteResults, method: str) -> list[tuple[str, str]]:
    """The first method by kind, size, volume and family; only where lesions are told apart."""
    kinds = sorted({u["kind"] for u in results.lesions(method) if u["kind"]})
    if not kinds:
        return []
    rows = [[_words(kind), *_kind_cells(results, method, kind)] for kind in kinds]
    head = ["kind", "class", "lesions", "Dice in %", "HD95: median; mean; matched", "volume error, %"]
    by_kind = markdown_table(head, rows)
    sizes = [(_size(low, high), _by_size(low, high)) for low, high in SIZES_ML]
    families = sorted({str(r["family"]) for r in results.records})
    volumes = sorted({(r["volume"], r["spacing_zyx"][0]) for r in results.records})
    return [
        (f"{method} by kind of lesion", by_kind),
        (
            f"{method}: Dice in % by true volume of the lesion",
            _part_table(results, method, "volume", sizes),
        ),
        (
            f"{method}: Dice in % by texture family",
            _part_table(results, method, "family", [(f, _of_case("family", f)) for f in families]),
        ),
        (
            f"{method}: Dice in % by CT (its name tells the kernel)",
            _part_table(
                results,
                method,
                "CT",
                [(f"{name}, {thick:g} mm slices", _of_case("volume", name)) for name, thick in volumes],
            ),
        ),
    ]


def _part_table(results: SuiteResults, method: str, title: str, parts: Sequence[tuple[str, Choice]]) -> str:
    keys = [*(k for k in TISSUES if k in results.classes), MEAN, *_rest(results)]
    rows = []
    for name, choose in parts:
        count = sum(bool(u["kind"]) for u in results.lesions(method, "", choose))
        rows.append([name, str(count), *(_percent(results.dice(method, k, choose)) for k in keys)])
    return markdown_table([title, "lesions", *map(_name, keys)], rows)


def _kind_cells(results: SuiteResults, method: str, kind: str) -> Row:
    choose: Choice = lambda record, unit: unit["kind"] == kind  # noqa: E731
    lesions = results.lesions(method, "", choose)
    key = lesions[0]["class_key"]
    return [
        BY_KEY[key].name,
        str(len(lesions)),
        _percent(results.dice(method, key, choose)),
        _border(results, method, "", choose),
        _signed(results.volume_error(method, "", choose)),
    ]


def _by_size(low: float, high: float) -> Choice:
    return lambda record, unit: bool(unit["kind"]) and low <= unit["volume_ml"] < high


def _of_case(name: str, value: str) -> Choice:
    return lambda record, unit: str(record[name]) == value


def _columns(results: SuiteResults) -> list[str]:
    """Classes of a table, the mean after the four tissues."""
    first = [k for k in results.classes if k not in TISSUES and k not in _rest(results)]
    return [*first, *(k for k in TISSUES if k in results.classes), MEAN, *_rest(results)]


def _rest(results: SuiteResults) -> list[str]:
    return [k for k in results.classes if k in ("cavity", "vessel")]


def _diseases(results: SuiteResults) -> list[str]:
    return [k for k in results.classes if k in DISEASES]


def _name(key: str) -> str:
    return "**mean of four**" if key == MEAN else BY_KEY[key].name


def _border(results: SuiteResults, method: str, key: str, choose: Choice | None = None) -> str:
    if not key and choose is None:
        choose = lambda record, unit: unit["class_key"] in DISEASES  # noqa: E731
    middle, mean, matched = results.borders(method, key, choose)
    of = f"{matched}/{len(results.lesions(method, key, choose))}"
    return f"{middle.value:.1f} {_interval(middle, 1)}; {mean.value:.1f}; {of}" if matched else of


def _percent(estimate: Estimate) -> str:
    return f"{100 * estimate.value:.1f} {_interval(estimate, 100)}" if isfinite(estimate.value) else ""


def _signed(estimate: Estimate) -> str:
    return f"{estimate.value:+.0f} {_interval(estimate, 1, 0)}" if isfinite(estimate.value) else ""


def _number(value: float) -> str:
    return f"{value:.1f}" if isfinite(value) else ""


def _interval(estimate: Estimate, scale: float, digits: int = 1) -> str:
    return f"[{scale * estimate.low:.{digits}f}, {scale * estimate.high:.{digits}f}]"


def _size(low: float, high: float) -> str:
    return f"{low:g} to {high:g} ml" if isfinite(high) else f"from {low:g} ml"


def _words(kind: str) -> str:
    return kind.replace("_", " ")
