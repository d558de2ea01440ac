"""What helps, by a condition's reason: the words of docs/operator.md, where somebody stands before it."""

from collections.abc import Mapping

from darwinmerge_operator.status import Condition

RETRY = "kubectl darwin retry"
ANOTHER = "in another DarwinMerge, with another store"  # an experiment doesn't change
REMEDIES: Mapping[str, str] = {
    "BadConfiguration": "change the manifest as the message says, and apply it",
    "BadInput": "mend the data, or the manifest that names it; then " + RETRY,
    "DeadlineExceeded": "raise spec.cluster.activeDeadlineSeconds",
    "EvaluatorFailed": f"mend the task's own code; then {RETRY}",
    "Internal": f"a defect of ours: kubectl darwin logs has what an issue needs; {RETRY} may help",
    "LedgerRefused": "what the API server says of the ConfigMap; it goes on by itself",
    "JobRefused": "what the API server says of the Job (quota, policy); it is asked again by itself",
    "OutOfDisk": "more ephemeral storage for the stage that is named, in spec.cluster.stages",
    "OutOfMemory": "a larger memory limit for the stage that is named, in spec.cluster.stages",
    "PendingDeadlineExceeded": "room in the cluster, or a larger spec.cluster.pendingDeadlineSeconds",
    "PodPending": "room in the cluster, the image, the Secret or volume, or the template; it goes on by itself",
    "PodRefused": "quota, Pod Security or the ServiceAccount, as the message says; it goes on by itself",
    "StoreUnreachable": f"S3, and spec.cluster.store; then {RETRY}",
    "TooManyDisruptions": f"a priority class, so that the cluster takes fewer Pods away; then {RETRY}",
    "TooManyInterruptions": f"find who stops the workers, as the message says; then {RETRY}",
    "VersionSkew": "operator and workers of one version: spec.cluster.image, or helm upgrade",
    "NoCandidate": f"kubectl darwin history has each candidate's reason; other parents or spec.search.bounds {ANOTHER}",
    "NonFiniteScores": f"a parent answers with NaN: check its weights, or spec.evaluation.dtype {ANOTHER}",
    "EvaluatorError": f"mend the task's own code, and begin anew {ANOTHER}",
    "TooManyRejected": f"kubectl darwin history says why; a greater spec.evolution.maxFailedCandidates {ANOTHER}",
    "Suspended": "kubectl darwin resume goes on",
    "Queued": "quota in Kueue's queue: kubectl get workloads; it goes on by itself",
}


def matters(condition: Condition) -> bool:
    """Whether a person should read it: what is wrong, what holds it back, how it ended."""
    if condition.type in ("Accepted", "Ready"):
        return condition.status == "False"
    if condition.type == "MRIInformative":
        return condition.status == "False"
    if condition.type == "Served":
        return True
    return condition.status == "True" and condition.type != "Reconciling"
