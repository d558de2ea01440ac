"""Results as tables: `report.py` prints the last ones kept, `report.py --write` puts them into the README beside it."""

import argparse
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
NAMES = ("mri", "merge", "overhead", "health", "s3", "scale")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose columns line up: the first to the left, the others to the right."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]

    def line(row: Sequence[str]) -> str:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        return f"| {' | '.join(cells)} |"

    rule = f"|{'-' * (widths[0] + 2)}|{'|'.join('-' * (width + 1) + ':' for width in widths[1:])}|"
    return "\n".join([line(head), rule, *map(line, rows)])


def _where(kept: Mapping[str, Any]) -> str:
    machine, versions, load = kept["machine"], kept["versions"], kept["load"]
    return (
        f"{kept['date']}, commit {kept['commit'] or 'unknown'}; {machine['cpu']}, {machine['cores']} cores, "
        f"{machine['memory_gb']:.0f} GB; load before: {load['before']}; "
        f"{', '.join(f'{name} {version}' for name, version in versions.items())}"
    )


def _goals(kept: Mapping[str, Any], what: str) -> str:
    rows = [
        (
            goal["name"],
            f"{goal['reached']:.3g}",
            "" if goal["met"] is None else f"{goal['sense']} {goal['limit']:g}",
            {True: "yes", False: "no", None: ""}[goal["met"]],
        )
        for goal in kept["goals"]
    ]
    return table((what, "reached", "goal", "met"), rows)


def scaled(kept: Mapping[str, Any]) -> str:
    """The operator's curve in Markdown: a column a size."""
    sizes = kept["curve"]
    half = [one["done_at_half"] for one in sizes]
    rows = [
        ("candidates", [f"{one['candidates']}" for one in sizes]),
        ("one of them takes", [one["candidate_takes"] for one in sizes]),
        ("until the last is scored, s", [f"{one['seconds']:.0f}" for one in sizes]),
        ("start: until each has its Job, s", [f"{one['start_seconds']:.1f}" for one in sizes]),
        ("second start: until each was looked at, s", [f"{one['restart_seconds']:.1f}" for one in sizes]),
        ("its writes", [f"{one['restart_writes']}" for one in sizes]),
        ("event to Job, p50, s", [f"{one['event_to_job_p50']:.2f}" for one in sizes]),
        ("event to Job, p99, s", [f"{one['event_to_job_p99']:.2f}" for one in sizes]),
        ("a look, p50, s", [f"{one['look_p50']:.3f}" for one in sizes]),
        ("a look, p99, s", [f"{one['look_p99']:.3f}" for one in sizes]),
        ("with 0, 1, 2 scored at half-time", [" ".join(str(one.get(n, 0)) for n in "012") for one in half]),
        ("writes, a run", [f"{one['writes_a_run']:.1f}" for one in sizes]),
        ("requests, a run", [f"{one['requests'] / one['experiments']:.1f}" for one in sizes]),
        ("the operator's processor time, s", [f"{one['cpu_seconds']:.0f}" for one in sizes]),
        ("the machine's, all programs, s", [str(one.get("machine_cpu_seconds", "")) for one in sizes]),
        ("peak memory, MB", [f"{max(one['peak_bytes'], one['restart_peak_bytes']) / 1e6:.0f}" for one in sizes]),
        ("a ledger, bytes", [f"{one['ledger_bytes']:.0f}" for one in sizes]),
        ("a status, bytes", [f"{one['status_bytes']:.0f}" for one in sizes]),
        ("load before", [f"{one['load_before']}" for one in sizes]),
    ]
    curve = table(("experiments", *(f"{one['experiments']:,}" for one in sizes)), [(name, *row) for name, row in rows])
    writes = kept["writes"]
    whole = (
        f"A whole run of two candidates, from nothing to its verdict: {writes['whole_run_jobs']:.0f} Jobs, "
        f"{writes['whole_run']:.0f} writes. Kubernetes {kept['kubernetes']}."
    )
    return "\n\n".join([_where(kept), curve, _goals(kept, "goal"), whole])


def overhead(kept: Mapping[str, Any]) -> str:
    """What a candidate costs beside its benchmark, in Markdown: a row a kind of candidate."""
    rows = [
        (
            name,
            f"{of['ask']:.2f}",
            f"{of['become']:.3f}",
            f"{of['rest']:.3f}",
            f"{of['overhead']:.3f}",
            f"{of['share']:.1%}",
        )
        for name, of in kept["candidates"].items()
    ]
    head = ("candidate", "benchmark, s", "becoming it, s", "all else, s", "overhead, s", "beside the benchmark")
    return "\n\n".join([_where(kept), table(head, rows), _goals(kept, "ratio")])


def checked(kept: Mapping[str, Any]) -> str:
    """What the health check says of children, in Markdown: a row a kind of child."""
    rows = []
    for kind in dict.fromkeys(one["kind"] for one in kept["children"]):
        those = [one for one in kept["children"] if one["kind"] == kind]
        flags = Counter(flag for one in those for flag in one["flags"].values())
        damaged = [one["damaged_times"] for one in those if one["damaged"]]
        rows.append(
            (
                kind,
                "rows permuted" if damaged else "",
                str(len(those)),
                ", ".join(f"{count} {flag}" for flag, count in flags.items()) or "none",
                f"{max(one['greatest_times'] for one in those):.2f}",
                f"{min(damaged):.2f}" if damaged else "",
            )
        )
    head = ("child", "damage", "children", "flags", "undamaged layers, at most", "the damaged, at least")
    return "\n\n".join([_where(kept), table(head, rows), _goals(kept, "goal")])


def report(kept: Mapping[str, Any]) -> str:
    """A result in Markdown: where it was measured, every contender, every goal, and what else there is to say."""
    contenders = [
        (
            name,
            f"{of['seconds']:.2f}",
            f"{of['lowest']:.2f} to {of['highest']:.2f}",
            f"{of['rate'] / 1e9:.2f}",
            f"{of['inside_seconds']:.2f}" if of["inside_seconds"] else "",
            f"{of['inside_rate'] / 1e9:.2f}" if of["inside_seconds"] else "",
            f"{of['cpu_seconds']:.2f}",
            f"{of['peak_bytes'] / 1e9:.2f}",
            f"{of['private_bytes'] / 1e9:.2f}",
        )
        for name, of in kept["summary"].items()
    ]
    head = ("process", "s", "range", "GB/s", "work alone, s", "GB/s", "CPU s", "peak GB", "private GB")
    parts = [_where(kept), table(head, contenders), _goals(kept, "ratio")]
    if kept.get("agreement"):
        rows = [(name, f"{value:.6g}") for name, value in kept["agreement"].items()]
        parts.append(table(("agreement", "value"), rows))
    return "\n\n".join(parts)


def main() -> None:
    """Print the results kept, and write them into the README where asked to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--write", action="store_true", help="replace the tables in README.md")
    given = parser.parse_args()
    readme = HERE / "README.md"
    text = readme.read_text()
    for name in NAMES:
        path = HERE / "results" / f"{name}.json"
        if not path.exists():
            continue
        shown = {"scale": scaled, "overhead": overhead, "health": checked}.get(name, report)(
            json.loads(path.read_text())
        )
        print(f"{name}\n\n{shown}\n")
        before, opened, rest = text.partition(f"<!-- {name} -->\n")
        text = f"{before}{opened}\n{shown}\n\n{''.join(rest.partition(f'<!-- /{name} -->')[1:])}"
    if given.write:
        readme.write_text(text)


if __name__ == "__main__":
    main()
