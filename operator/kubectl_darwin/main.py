"""`kubectl-darwin`, which kubectl finds on PATH and runs as `kubectl darwin`.

All that it knows of a run is what the operator knows: the resource, its ledger, its Jobs and Pods; read with the rights
of whoever asks. Frame, exit codes and wording are those of `darwin`, which does the same for runs of a laptop.
"""

import click

from darwinmerge.cli.main import Lazy, Topics, run
from kubectl_darwin.arguments import takes_cluster

NAME = "kubectl darwin"
COMMANDS: Topics = {
    "Look": ("status", "history", "best", "diff"),
    "Read": ("logs", "report"),
    "Change": ("suspend", "resume", "retry"),
    "Before and besides": ("validate", "version"),
}

EXAMPLES = """
\b
Examples:
  kubectl darwin status                      all runs of the namespace; -A: of all namespaces
  kubectl darwin status my-merge -w          one of them as a live screen
  kubectl darwin history my-merge -o csv     every candidate
  kubectl darwin best my-merge               genome and merge settings of the best one, as YAML
  kubectl darwin diff my-merge other         what differs in two experiments, and what came of it
  kubectl darwin logs my-merge -f            of its Pods; of what has ended, from the store
  kubectl darwin report my-merge             its report, in a browser
  kubectl darwin suspend my-merge            free its GPUs; kubectl darwin resume my-merge goes on
  kubectl darwin retry my-merge              try again what has failed
  kubectl darwin validate -f merge.yaml      offline, and by the API server

Exit codes are those of darwin: 0; 78 where you must change something (a name, a right, a file); 69 where the API server
or S3 doesn't answer; 75 interrupted; 70 a defect of ours.
"""


@click.group(
    cls=Lazy,
    package="kubectl_darwin",
    topics=COMMANDS,
    epilog=EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@takes_cluster
def cli(debug: bool, **_: str) -> None:
    """Watch and steer DarwinMerges in a Kubernetes: the evolution of language models, as the operator carries it out.

    Your kubeconfig, context and rights are used, as by kubectl. What lies in a store (logs of Pods that are gone, the
    report) is read with S3 credentials of your own.
    """


def main() -> None:
    """Run the command line."""
    run(cli, NAME)


if __name__ == "__main__":
    main()
