"""Two folders as one: an adapter's files over those of the model that it is on."""

from collections.abc import Collection, Mapping
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

from darwinmerge.checkpoint.files import Bytes, Files


class Overlay:
    """The files of both; where both have one of a name, it is the upper one's, but for those in `below`."""

    def __init__(self, lower: Files, upper: Files, below: Collection[str]) -> None:
        """Lay `upper` over `lower`; of the names in `below`, only `lower`'s files count."""
        self._lower, self._upper = lower, upper
        self._uppers = frozenset(name for name in upper.sizes if name not in below)
        kept = {name: size for name, size in upper.sizes.items() if name in self._uppers}
        self.sizes: Mapping[str, int] = dict(sorted({**lower.sizes, **kept}.items()))
        self.threads = max(lower.threads, upper.threads)
        self.block, self.piece = lower.block, lower.piece

    def __str__(self) -> str:
        """Both places."""
        return f"{self._upper} on {self._lower}"

    def stretch(self, name: str, start: int, stop: int) -> Bytes:
        """See `Files.stretch`."""
        return self._of(name).stretch(name, start, stop)

    def sha256(self, name: str) -> str:
        """See `Files.sha256`."""
        return self._of(name).sha256(name)

    def vouched(self, name: str) -> str | None:
        """See `Files.vouched`."""
        return self._of(name).vouched(name)

    def identity(self, name: str) -> dict[str, str | int] | None:
        """See `Files.identity`."""
        return self._of(name).identity(name)

    def keep(self) -> None:
        """See `Files.keep`."""
        self._lower.keep()
        self._upper.keep()

    def local(self, names: Collection[str]) -> Path:
        """See `Files.local`: links in a private folder, which goes when the process ends."""
        folder = Path(self._links.name)
        for holder in (self._lower, self._upper):
            own = [name for name in names if self._of(name) is holder]
            at = holder.local(own).absolute()
            for name in own:
                if not (folder / name).is_symlink():
                    (folder / name).symlink_to(at / name)
        return folder

    def _of(self, name: str) -> Files:
        return self._upper if name in self._uppers else self._lower

    @cached_property
    def _links(self) -> "TemporaryDirectory[str]":
        return TemporaryDirectory(prefix="darwin-model-")
