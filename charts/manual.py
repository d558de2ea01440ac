"""The chart's README, written from the comments of its values: `python -m charts.manual FILE`.

The comments are the one place where a value is explained. What the file must look like for that, and does: each key has
its comment on the lines above it, `## ` opens a section, and a mapping's keys are indented by two more.
"""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

CHART = Path(__file__).parent / "darwin-operator"
KEY = re.compile(r"^(?P<indent> *)(?P<key>[A-Za-z_]+):")

HEAD = """# {name}

{description}.

```sh
helm install {name} charts/{name} --namespace darwin-system --create-namespace \\
  --set image.repository=registry.example/darwin-operator --set workerImage.repository=registry.example/darwin-gpu
helm test {name} --namespace darwin-system
```

It needs {needs}, and no webhook, certificate or database. What it installs and how to use it says
[docs/operator.md](../../docs/operator.md). A value that is wrong or unknown is refused by name.

This page is made by `make docs` from [values.yaml](values.yaml).
"""


class Value(NamedTuple):
    """A key of the values."""

    section: str
    path: str  # with dots
    about: str  # its comment, in one line; empty where the mapping above says all
    default: Any  # None of a mapping whose keys follow


def values(text: str) -> Iterator[Value]:
    """The keys of a values file, in its order."""
    section, comment = "", []
    path: list[str] = []
    defaults = yaml.safe_load(text)
    for line in text.splitlines():
        if line.startswith("## "):
            section = line.removeprefix("## ")
        elif line.lstrip().startswith("# "):
            comment.append(line.lstrip().removeprefix("# "))
        elif match := KEY.match(line):
            path = [*path[: len(match["indent"]) // 2], match["key"]]
            default = defaults
            for key in path:
                default = default[key]
            mapping = isinstance(default, dict) and default
            yield Value(section, ".".join(path), " ".join(comment), None if mapping else default)
            comment = []
        elif line.strip():
            raise ValueError(f"neither a comment nor a key: {line!r}")


def text() -> str:
    """The page."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    needs = "Kubernetes " + chart["kubeVersion"].removeprefix(">=").removesuffix(".0-0") + " or newer"
    page = [HEAD.format(name=chart["name"], description=chart["description"], needs=needs)]
    section = ""
    for value in values((CHART / "values.yaml").read_text()):
        if value.section != section:
            section = value.section
            page.append(f"\n## {section}\n\n| value | default | |\n|---|---|---|\n")
        default = "" if value.default is None else f"`{json.dumps(value.default)}`"
        about = value.about.replace("|", "\\|")
        page.append(f"| `{value.path}` | {default} | {about} |\n")
    return "".join(page)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(text())
