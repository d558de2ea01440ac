"""The chart's README, written from the comments of its values: `python -m charts.manual FILE`.

The comments are the one place where a value is explained. A comment stands on the lines above its key, `## ` opens a
section, and what lies in a mapping is indented by two more. Keys without a comment, such as those of `resources`, are
explained by the key above them.
"""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from charts.project import CHART

KEY = re.compile(r"^(?P<indent> *)(?P<key>\w+):")

HEAD = """# {name}

{description}.

```sh
helm install {name} charts/{name} --namespace darwin-system --create-namespace \\
  --set image.repository=registry.example/darwin-operator --set workerImage.repository=registry.example/darwin-gpu
helm test {name} --namespace darwin-system
```

It needs {needs}, and no webhook, certificate or database.
[docs/operator.md](../../docs/operator.md) is the guide;
[docs/operations/install.md](../../docs/operations/install.md) says how to upgrade and uninstall it.

Its [dashboards](files/dashboards) can be imported into Grafana by hand too, and its [alerts](files/rules.yaml) be read
by Prometheus itself: [docs/metrics.md](../../docs/metrics.md#dashboards-and-alerts).

A value that is wrong or unknown is refused by name. Made by `make docs` from [values.yaml](values.yaml).
"""


class Value(NamedTuple):
    """A key with a comment."""

    section: str
    path: str  # with dots
    about: str  # the comment, in one line
    default: Any


def values(text: str) -> Iterator[Value]:
    """The explained keys of a values file, in its order.

    Raises:
        ValueError: a line is neither a comment nor a key.
    """
    section, path, defaults = "", [""], yaml.safe_load(text)
    comment: list[str] = []
    for line in text.splitlines():
        bare = line.lstrip()
        if line.startswith("## "):
            section = line.removeprefix("## ")
        elif bare.startswith("# "):
            comment.append(bare.removeprefix("# "))
        elif match := KEY.match(line):
            path = [*path[: len(match["indent"]) // 2], match["key"]]
            default = defaults
            for key in path:
                default = default[key]
            if comment:
                yield Value(section, ".".join(path), " ".join(comment), default)
            comment = []
        elif bare:
            raise ValueError(f"neither a comment nor a key: {line!r}")


def text() -> str:
    """The page."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    needs = "Kubernetes " + chart["kubeVersion"].removeprefix(">=").removesuffix(".0-0") + " or newer"
    page = [HEAD.format(name=chart["name"], description=chart["description"], needs=needs)]
    section = ""
    found = list(values((CHART / "values.yaml").read_text()))
    for value in found:
        if value.section != section:
            section = value.section
            page.append(f"\n## {section}\n\n| value | default | |\n|---|---|---|\n")
        told_by_parts = any(other.path.startswith(f"{value.path}.") for other in found)
        default = "" if told_by_parts else f"`{json.dumps(value.default)}`"
        page.append(f"| `{value.path}` | {default} | {value.about.replace('|', chr(92) + '|')} |\n")
    return "".join(page)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(text())
