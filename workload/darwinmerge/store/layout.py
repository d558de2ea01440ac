"""Where each thing of an experiment lies in its store.

    experiment.json                   what this store belongs to; a store of another experiment is refused
    run.json                          the experiment as it was last run: a store is enough to go on
    environment.json                  the kind of machine and software that its scores are measured with
    digests/<digest>.json             SHA-256 of a parent's large files, by place, size and time, or ETag
    commits/<digest>.json             which commit a parent's branch or tag on a hub was, by its URI
    results/<stage>-<id>.json         one result a task: Done, Rejected or Superseded
    costs/<stage>-<id>.json           seconds, peak memory and machine of the attempt that finished a task
    generations/<g>.json              the genomes of a generation, recorded before the first is merged
    tables/<digest>.parquet           MRI tables and Phase 1's history
    rows/<digest>.json                which rows of the benchmark are for search, finalists and verdict
    scores/<recipe>/<terms>/<c>.json  responses of one model to one chunk of questions
    lm-eval/<recipe>/                 scores and answers in lm-eval's own files, results_*.json and samples_*.jsonl
    answers/<digest>.json             a model's metric on every question of a row set
    staged/<recipe>/                  a child between its merge pod and its evaluation pod, as `children/`
    children/<recipe>/                the winner as a Hugging Face folder, model.safetensors.index.json last
    health/<digest>.json              the health table
    logs/<stage>-<id>/<pod>.jsonl     what the pod whose first order this was has said
    summary.json, summary.txt         the outcome, made anew at the end of every run
    report.html                       the same as a page, made anew after every generation too

Keys hold 16 hex digits of a digest; tables, rows and answers are checked against the whole one on reading. Nothing that
changes from run to run (times, places) stands in any object but `experiment.json`, `run.json`, `digests/`, `commits/`,
`costs/`, `logs/`, summaries, report and a child's `darwin-run.json`, a child's card, which calls the parents as their
folders are called, and the `resolve` result of parents on a hub, which has their commits: two runs of an experiment can
be compared byte for byte.
"""

SHORT = 16

EXPERIMENT = "experiment.json"
RUN = "run.json"
ENVIRONMENT = "environment.json"
SUMMARY = "summary.json"
SUMMARY_TEXT = "summary.txt"
REPORT = "report.html"
CHILD_RECORD = "darwin.json"  # in a child's folder: what it is made of
CHILD_RUN = "darwin-run.json"  # beside it: when and where it was made
RESULTS = "results/"
COSTS = "costs/"
STAGED = "staged/"


def result(stage: str, task_id: str) -> str:
    """Key of a task's result."""
    return f"{RESULTS}{stage}-{task_id[:SHORT]}.json"


def cost(stage: str, task_id: str) -> str:
    """Key of what a task's last attempt cost."""
    return f"{COSTS}{stage}-{task_id[:SHORT]}.json"


def generation(number: int) -> str:
    """Key of a generation's genomes; generations count from 1."""
    return f"generations/{number:04d}.json"


def table(digest: str) -> str:
    """Key of a Parquet table by the digest of its rows."""
    return f"tables/{digest[:SHORT]}.parquet"


def rows(digest: str) -> str:
    """Key of the row sets by their digest."""
    return f"rows/{digest[:SHORT]}.json"


def chunk(recipe: str, terms: str, number: int) -> str:
    """Key of one chunk's responses: a model (its recipe's digest) asked under given terms."""
    return f"scores/{recipe[:SHORT]}/{terms[:SHORT]}/{number:04d}.json"


def answers(digest: str) -> str:
    """Key of per-question metrics by their digest."""
    return f"answers/{digest[:SHORT]}.json"


def harness(recipe: str, file: str) -> str:
    """Key of one of lm-eval's own files on a model."""
    return f"lm-eval/{recipe[:SHORT]}/{file}"


def staged(recipe: str) -> str:
    """Prefix of a candidate that is merged and not yet scored."""
    return f"{STAGED}{recipe[:SHORT]}/"


def log_folder(stage: str, task_id: str) -> str:
    """Prefix of what the logs of all pods say of a task."""
    return f"logs/{stage}-{task_id[:SHORT]}/"


def log(stage: str, task_id: str, pod: str) -> str:
    """Key of what the log of a pod says of a task."""
    return f"{log_folder(stage, task_id)}{pod}.jsonl"


def file_digest(identity: str) -> str:
    """Key of a file's SHA-256, by the digest of what the file is known by."""
    return f"digests/{identity[:SHORT]}.json"


def commit(uri: str) -> str:
    """Key of the commit that a revision on a hub was, by the digest of its URI."""
    return f"commits/{uri[:SHORT]}.json"


def child(recipe: str) -> str:
    """Prefix of an exported child."""
    return f"children/{recipe[:SHORT]}/"


def health(digest: str) -> str:
    """Key of a health table by its digest."""
    return f"health/{digest[:SHORT]}.json"
