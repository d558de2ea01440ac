"""Where the chart's files are, and where a browser finds the docs: `home` of Chart.yaml, and nowhere else."""

from pathlib import Path

import yaml

CHART = Path(__file__).parent / "darwin-operator"
HOME = str(yaml.safe_load((CHART / "Chart.yaml").read_text())["home"])


def page(path: str) -> str:
    """The address of a page of this repository."""
    return f"{HOME}/blob/main/{path}"
