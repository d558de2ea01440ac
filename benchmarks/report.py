"""Results as tables: `report.py` prints the last ones kept, `report.py --write` puts them into the README beside it."""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
NAMES = ("mri", "merge", "s3")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose columns line up: the first to the left, the others to the right."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]

    def line(row: Sequence[str]) -> str:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        return f"| {' | '.join(cells)} |"

    rule = f"|{'-' * (widths[0] + 2)}|{'|'.join('-' * (width + 1) + ':' for width in widths[1:])}|"
    return "\n".join([line(head), rule, *map(line, rows)])


def report(kept: Mapping[str, Any]) -> str:
    """A result in Markdown: where it was measured, every contender, every goal, and what else there is to say."""
    machine, versions, load = kept["machine"], kept["versions"], kept["load"]
    where = (
        f"{kept['date']}, commit {kept['commit'] or 'unknown'}; {machine['cpu']}, {machine['cores']} cores, "
        f"{machine['memory_gb']:.0f} GB; load before: {load['before']}; "
        f"{', '.join(f'{name} {version}' for name, version in versions.items())}"
    )
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
    ratios = [
        (
            goal["name"],
            f"{goal['reached']:.3g}",
            "" if goal["met"] is None else f"{goal['sense']} {goal['limit']:g}",
            {True: "yes", False: "no", None: ""}[goal["met"]],
        )
        for goal in kept["goals"]
    ]
    parts = [where, table(head, contenders), table(("ratio", "reached", "goal", "met"), ratios)]
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
        shown = report(json.loads(path.read_text()))
        print(f"{name}\n\n{shown}\n")
        before, opened, rest = text.partition(f"<!-- {name} -->\n")
        text = f"{before}{opened}\n{shown}\n\n{''.join(rest.partition(f'<!-- /{name} -->')[1:])}"
    if given.write:
        readme.write_text(text)


if __name__ == "__main__":
    main()
