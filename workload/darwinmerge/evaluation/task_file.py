"""Task files of the user's: data files that lie beside them, and code only where the manifest allows it by name."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from darwinmerge.errors import BadConfiguration, BadInput

REMEDY = "name the task in spec.evaluation.allowCode if you trust it"


class _Tagged(yaml.SafeLoader):
    """YAML in which a tag is only a word: lm-eval's own loader would import code."""


def _tag(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> str:
    return f"!{suffix}"


_Tagged.add_multi_constructor("!", _tag)


def read(path: Path) -> dict[str, Any]:
    """A task file as it is written, nothing in it carried out.

    Raises:
        BadInput: it can't be read.
    """
    try:
        config = yaml.load(path.read_text(), _Tagged)
    except (OSError, yaml.YAMLError) as error:
        raise BadInput(f"{path}: {error}") from None
    if not isinstance(config, dict):
        raise BadInput(f"{path}: not a task: a mapping is expected")
    return config


def code_in(path: Path) -> list[str]:
    """Code that a task file brings, itself or by what it includes, one line each."""
    return [f"{file}: {what}" for file, config in _with_included(path) for what in _code(config)]


def _with_included(path: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    path = path.resolve()  # as lm-eval does, before it follows `include`
    config = read(path)
    yield path, config
    included = config.get("include") or []
    for other in included if isinstance(included, list) else [included]:
        yield from _with_included(path.parent / str(other))


def _code(config: dict[str, Any]) -> Iterator[str]:
    if "class" in config:
        yield f"class {config['class']}"
    if config.get("unsafe_code"):
        yield "unsafe_code: it runs what the model answers"
    if (config.get("dataset_kwargs") or {}).get("trust_remote_code"):
        yield "trust_remote_code: its data set brings a loader"
    yield from (f"{key}: {value}" for key, value in _leaves(config) if value.startswith("!"))
    yield from _fetched_metrics(config)


def _fetched_metrics(config: dict[str, Any]) -> Iterator[str]:
    """Metrics that lm-eval hasn't: Hugging Face's `evaluate` would load them as code, from a path or the hub."""
    from lm_eval.api.registry import METRIC_REGISTRY

    listed = config.get("metric_list") or []
    for entry in listed if isinstance(listed, list) else [listed]:
        name = entry.get("metric") if isinstance(entry, dict) else entry
        if entry.get("hf_evaluate") if isinstance(entry, dict) else False:
            yield f"hf_evaluate: the metric {name} is loaded as code"
        elif isinstance(name, str) and not name.startswith("!") and name not in METRIC_REGISTRY:
            yield f"metric {name}: lm-eval has none of this name, and would load one as code"


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, part in value.items():
            yield from _leaves(part, f"{key}.{name}".lstrip("."))
    elif isinstance(value, list):
        for part in value:
            yield from _leaves(part, key)
    elif isinstance(value, str):
        yield key, value


def config_of(path: Path, allowed: bool) -> dict[str, Any]:
    """A task's whole configuration, with absolute data files: relative ones start at the YAML's folder, or one above.

    Raises:
        BadConfiguration: it brings code, and the manifest doesn't allow that.
        BadInput: a data file isn't there.
    """
    from lm_eval.tasks._yaml_loader import load_yaml

    code = code_in(path)
    if code and not allowed:
        raise BadConfiguration(f"it runs code of its own ({'; '.join(code)}); {REMEDY}")
    config: dict[str, Any] = dict(load_yaml(path, resolve_func=allowed))
    kwargs = dict(config.get("dataset_kwargs") or {})
    for key in ("data_files", "data_dir"):
        if key in kwargs:
            kwargs[key] = _absolute(kwargs[key], path)
    return config | {"dataset_kwargs": kwargs}


def _absolute(value: Any, path: Path) -> Any:
    if isinstance(value, dict):
        return {key: _absolute(part, path) for key, part in value.items()}
    if isinstance(value, list):
        return [_absolute(part, path) for part in value]
    if not isinstance(value, str) or "://" in value or Path(value).is_absolute():
        return value
    tried = [folder / value for folder in (path.parent, path.parent.parent)]
    found = next((file for file in tried if file.exists()), None)
    if found is None:
        raise BadInput(f"{path}: data file {value} is neither beside it nor one folder up")
    return str(found.resolve())
