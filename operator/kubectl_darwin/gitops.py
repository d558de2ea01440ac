"""Who else writes a run: what Argo CD and Flux leave on what they apply; pure.

Both set back what a person changes and git doesn't say. Flux even where git doesn't mention the field: it takes over
whatever a manager called kubectl... has set, and drops it. Annotations that git doesn't mention are safe with both.
"""

from collections.abc import Mapping
from typing import Any

from darwinmerge.experiment.types import Frozen

TRACKED = "argocd.argoproj.io/tracking-id"
INSTANCE = "app.kubernetes.io/instance"  # Helm sets it too, so that alone it says nothing
ARGO = ("argocd-controller", "argocd-application-controller")
KUSTOMIZE, HELM = "kustomize.toolkit.fluxcd.io", "helm.toolkit.fluxcd.io"
FLUX = {KUSTOMIZE: "Kustomization", HELM: "HelmRelease"}


class Keeper(Frozen):
    """Who keeps a run as git has it."""

    tool: str
    kind: str
    name: str
    namespace: str = ""

    @property
    def words(self) -> str:
        """As a person calls it."""
        return f"{self.tool} ({self.kind} {f'{self.namespace}/' if self.namespace else ''}{self.name})"

    @property
    def instead(self) -> str:
        """What to do where git can't be waited for."""
        if self.tool == "Argo CD":
            return f"argocd app set {self.name} --sync-policy none"
        where = f" -n {self.namespace}" if self.namespace else ""
        return f"flux suspend {self.kind.lower()} {self.name}{where}"


def keeper_of(run: Mapping[str, Any]) -> Keeper | None:
    """Who keeps a run as git has it; None where nobody is known to."""
    metadata = run["metadata"]
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    for group, kind in FLUX.items():
        if name := labels.get(f"{group}/name"):
            return Keeper(tool="Flux", kind=kind, name=name, namespace=labels.get(f"{group}/namespace", ""))
    managers = [entry.get("manager") for entry in metadata.get("managedFields") or []]
    application = annotations.get(TRACKED, "").partition(":")[0]
    if application or any(manager in ARGO for manager in managers):
        return Keeper(tool="Argo CD", kind="Application", name=application or labels.get(INSTANCE, "unknown"))
    return None
