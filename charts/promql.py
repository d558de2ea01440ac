"""Pieces of PromQL that know the metrics there are.

A query with a misspelt name or label is no error to Prometheus: it finds nothing, and so does whoever looks at the
panel. So all of them are made here, and what `metric.py` doesn't have is refused.
"""

import re
from collections.abc import Iterable

from darwinmerge_operator.figures import ENDED, HELD, PHASES
from darwinmerge_operator.metric import OPERATOR, RUN

RUN_LABELS = ("namespace", "name")  # whose run it is
TARGET_LABELS = ("job", "namespace")  # that Prometheus adds; a run's own namespace wins by honor_labels
PARTS = {"_bucket": ("le",), "_sum": (), "_count": ()}  # of a histogram, and their labels
WORKING = tuple(phase for phase in PHASES if phase not in (*HELD, *ENDED))


def labels_of(name: str) -> frozenset[str]:
    """The labels that a metric has.

    Raises:
        ValueError: there is no such metric.
    """
    if name in RUN:
        return frozenset((*RUN_LABELS, *RUN[name].labels, *TARGET_LABELS))
    whole, part = _whole(name)
    if whole not in OPERATOR or (OPERATOR[whole].kind == "histogram") != bool(part):
        raise ValueError(f"no metric {name}; metric.py has {', '.join((*RUN, *OPERATOR))}")
    return frozenset((*OPERATOR[whole].labels, *PARTS.get(part, ()), *TARGET_LABELS))


def of(name: str, /, over: str = "", **labels: str) -> str:
    """A selector, over a time if one is named.

    Args:
        name: a metric; of a histogram one of its parts.
        over: a range, 5m say.
        **labels: the value that each is to have; `=~a|b`, `!~a|b` or `!=a` says it in another way.

    Raises:
        ValueError: there is no such metric, or it has no such label.
    """
    known(name, labels)
    parts = [f'{label}{how}"{value}"' for label, (how, value) in ((k, _matched(v)) for k, v in labels.items())]
    return name + (f"{{{','.join(parts)}}}" if parts else "") + (f"[{over}]" if over else "")


def most(name: str, /, *by: str, **labels: str) -> str:
    """The greatest value for each of some labels: one series, also where an old Pod and a new one tell the same."""
    known(name, by)
    return f"max{_by(by)} ({of(name, **labels)})"


def total(name: str, /, *by: str, over: str = "", **labels: str) -> str:
    """The sum for each of some labels; over a time, its rate."""
    known(name, by)
    selected = of(name, over, **labels)
    return f"sum{_by(by)} ({f'rate({selected})' if over else selected})"


def quantile(q: float, name: str, /, *by: str, over: str = "", **labels: str) -> str:
    """A quantile of a histogram; without a time, since the operator was started."""
    return f"histogram_quantile({q}, {total(f'{name}_bucket', 'le', *by, over=over, **labels)})"


def in_phase(*phases: str) -> str:
    """The runs that are in one of some phases, one series each; to be joined by `and on (namespace, name)`."""
    if unknown := {*phases} - {*PHASES}:
        raise ValueError(f"no phase {', '.join(sorted(unknown))}")
    return most("darwin_merge_phase", *RUN_LABELS, phase=f"=~{'|'.join(phases)}") + " == 1"


def known(name: str, labels: Iterable[str]) -> None:
    """Raises ValueError where a metric has no such label."""
    if unknown := {*labels} - labels_of(name):
        raise ValueError(f"{name} has no label {', '.join(sorted(unknown))}")


def names_in(expression: str) -> set[str]:
    """The metrics of an expression, as metric.py calls them."""
    return {name if name in RUN else _whole(name)[0] for name in re.findall(r"\bdarwin_\w+", expression)}


def _whole(name: str) -> tuple[str, str]:
    part = next((part for part in PARTS if name.endswith(part)), "")
    return name.removesuffix(part), part


def _by(labels: tuple[str, ...]) -> str:
    return f" by ({', '.join(labels)})" if labels else ""


def _matched(value: str) -> tuple[str, str]:
    how = next((how for how in ("=~", "!~", "!=") if value.startswith(how)), "")
    return how or "=", value.removeprefix(how)
