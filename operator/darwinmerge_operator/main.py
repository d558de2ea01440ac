"""`darwin-operator`: settings, logs, health, and kopf's watches that feed the queue.

kopf is asked for little: it watches, with label selectors at the server, and calls a handler that adds a key to the
queue. It never patches anything, so that no finalizer of ours can ever hold a resource.
"""

import asyncio
import logging
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import aiohttp
import click
import kopf
from kubernetes import client, config
from kubernetes.config import ConfigException
from pythonjsonlogger.json import JsonFormatter
from urllib3.exceptions import HTTPError

from darwinmerge import __version__
from darwinmerge_operator.api import Api, Gone, Key, Refused
from darwinmerge_operator.health import Health, serve
from darwinmerge_operator.job import LABEL
from darwinmerge_operator.metrics import Metrics
from darwinmerge_operator.news import News, NoDiffs, NoProgress
from darwinmerge_operator.patience import Backoffs, Pace
from darwinmerge_operator.reconcile import Reconciler
from darwinmerge_operator.remembered import Remembered
from darwinmerge_operator.resource import GROUP, PLURAL, RETRY, VERSION
from darwinmerge_operator.workqueue import WorkQueue

WATCH_SECONDS = 240  # of one watch request, as the server ends it; a client waits somewhat longer
AGAIN_SECONDS = 5.0  # after which an API server is asked again at the start
STOP_SECONDS = 8.0  # for reconciliations that are in the middle of something
EXPERIMENT = f"{LABEL}/experiment"

EXAMPLES = """
\b
Examples:
  darwin-operator --worker-image registry.example/darwin-gpu:1     every namespace
  darwin-operator --worker-image ... -n team-a -n team-b           these two, and no reads elsewhere
  DARWIN_OPERATOR_NAMESPACE="team-a team-b" darwin-operator ...    the same

It talks to the API server of its Pod's ServiceAccount, else to that of KUBECONFIG. charts/darwin-operator installs it.
"""
log = logging.getLogger(__name__)


@click.command(epilog=EXAMPLES, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(__version__, prog_name="darwin-operator")
@click.option("--worker-image", required=True, help="Image of the workers of runs that are accepted from now on.")
@click.option("-n", "--namespace", multiple=True, help="Namespace to serve; may be repeated. Default: all of them.")
@click.option("--threads", default=4, type=click.IntRange(1, 64), help="Runs that are reconciled at the same time.")
@click.option("--kueue", is_flag=True, help="Ask Kueue why it holds a run; its Workloads may be listed.")
@click.option("--port", default=8080, type=click.IntRange(1, 65535), help="Port of /healthz and /metrics.")
@click.option("--log-format", default="json", type=click.Choice(["json", "text"]), help="One line a record.")
@click.option(
    "--log-level", default="info", type=click.Choice(["debug", "info", "warning", "error"]), help="Least level."
)
def operator(
    worker_image: str,
    namespace: tuple[str, ...],
    threads: int,
    kueue: bool,
    port: int,
    log_format: str,
    log_level: str,
) -> None:
    """Carry out every DarwinMerge of a cluster: model MRI, evolution, benchmarks, verdict, as Jobs.

    Every option can be given by environment: DARWIN_OPERATOR_WORKER_IMAGE, DARWIN_OPERATOR_NAMESPACE and so on.
    """
    _stop_when_told()
    _log_to_stderr(log_format, log_level)
    try:
        config.load_config()
    except ConfigException as error:
        raise click.ClickException(f"no cluster: neither a Pod's ServiceAccount nor KUBECONFIG: {error}") from error
    configuration = client.Configuration.get_default_copy()
    configuration.retries = False  # the queue comes back later, and lets others in meanwhile
    connection = client.ApiClient(configuration)
    connection.user_agent = f"darwin-operator/{__version__}"
    metrics = Metrics(__version__)

    def asked(verb: str, resource: str, code: str) -> None:
        metrics.asked(verb, resource, code)
        queue.stir()

    api, remembered = Api(connection, asked), Remembered()
    queue: WorkQueue[Key] = WorkQueue(Reconciler(api, worker_image, kueue, remembered, metrics))
    metrics.watch_queue(queue.depth, queue.waited)
    health = Health(queue.lag)
    server = serve(health, metrics.registry, port)
    _require_resource(api, health.waits)
    workers = [threading.Thread(target=queue.run, name=f"reconcile-{n}", daemon=True) for n in range(threads)]
    for worker in workers:
        worker.start()
    log.info("darwin-operator %s serves %s", __version__, ", ".join(namespace) or "all namespaces")
    for seconds in Backoffs():
        try:
            watch(handlers(queue, health, remembered, metrics), namespace)
            break
        except Exception as error:  # of a watch: kopf ends at an answer that it doesn't know, such as 410
            log.warning("nothing is watched, again in %.0f s: %s", seconds, error)
            _stop_when_told()
            health.waits()
            time.sleep(seconds)
            _require_resource(api, health.waits)
    queue.close()
    deadline = time.monotonic() + STOP_SECONDS
    for worker in workers:
        worker.join(max(0.0, deadline - time.monotonic()))
    server.shutdown()


def watch(registry: kopf.OperatorRegistry, namespaces: tuple[str, ...]) -> None:
    """Watch until a signal tells to stop: kopf's own handler of it is forgotten where kopf ends by an error meanwhile.

    Raises:
        Exception: kopf has ended, and nobody told it to.
    """
    told = asyncio.Event()

    @kopf.on.startup(registry=registry)
    async def listen(**_: Any) -> None:
        await asyncio.sleep(0.1)  # kopf sets its own handlers a moment after the first task has started
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, told.set)

    try:
        asyncio.run(
            kopf.operator(
                registry=registry,
                settings=settings(),
                standalone=True,
                clusterwide=not namespaces,
                namespaces=namespaces,
                stop_flag=told,
            )
        )
    except Exception as error:
        if not told.is_set():
            raise
        log.warning("stopped; of the watches, one has failed meanwhile: %s", error)


def _stop_when_told() -> None:
    """End on SIGTERM where kopf, whose own handler is another, doesn't run; a first process has none by itself."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))


def _require_resource(api: Api, waits: Callable[[], None]) -> None:
    """Wait for the API server; but not for a CRD, since kopf would never notice one. `waits` is told that we do."""
    while True:
        waits()
        try:
            return api.require_resource()
        except Gone as error:
            raise click.ClickException(
                f"the cluster has no {PLURAL}.{GROUP}/{VERSION}; install the CRD first: "
                f"kubectl apply -f crds/{PLURAL}.{GROUP}.yaml"
            ) from error
        except (ConnectionError, HTTPError, Refused) as error:
            log.warning("the API server doesn't answer as it should, again in %.0f s: %s", AGAIN_SECONDS, error)
            time.sleep(AGAIN_SECONDS)


def settings() -> kopf.OperatorSettings:
    """kopf's settings."""
    found = kopf.OperatorSettings()
    found.posting.enabled = False  # the story of a run is told by us, once
    found.scanning.disabled = True  # no namespaces and CRDs are read; the one CRD is looked for at the start
    found.watching.server_timeout = WATCH_SECONDS
    found.watching.client_timeout = WATCH_SECONDS + 30
    found.watching.connect_timeout = 10
    found.networking.request_timeout = 60
    found.networking.connect_timeout = 10
    found.networking.error_backoffs = ()  # `Pace` sees to it
    found.persistence.diffbase_storage = NoDiffs()
    found.persistence.progress_storage = NoProgress()
    for kind in (("batch", "v1", "jobs"), ("", "v1", "pods")):
        found.watching.label_selectors[kind] = EXPERIMENT
    return found


def handlers(queue: WorkQueue[Key], health: Health, remembered: Remembered, metrics: Metrics) -> kopf.OperatorRegistry:
    """What kopf calls: nothing is done there but to say which run to look at, and how soon."""
    registry, news, pace = kopf.OperatorRegistry(), News(), Pace(health.watched, metrics.tried, metrics.heard)
    known: dict[Key, tuple[Any, ...]] = {}

    @kopf.on.login(registry=registry)
    async def login(**call: Any) -> Any:
        found = kopf.login_via_client(**call)  # the same cluster as our own requests
        if found is None:
            return None
        connector = aiohttp.TCPConnector(limit=0, ssl=found.as_ssl_context())
        session = aiohttp.ClientSession(connector=connector, headers=found.as_http_headers(), middlewares=[pace])
        return kopf.AiohttpSession(server=found.server, aiohttp_session=session)

    @kopf.on.startup(registry=registry)
    async def beat(**_: Any) -> None:
        tasks.append(asyncio.create_task(health.beat()))

    @kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)
    async def run(
        namespace: str | None, name: str, meta: kopf.Meta, type: str | None, event: kopf.RawEvent, **_: Any
    ) -> None:
        # our own writes of the status are no news
        what = (meta["uid"], meta["generation"], meta.annotations.get(RETRY), meta.get("deletionTimestamp"))
        key = (namespace or "", name)
        if type == "DELETED":
            remembered.forget(key)
        else:
            remembered.keep_run(key, dict(event["object"]))
        if type == "MODIFIED" and known.get(key) == what:
            return
        known[key] = what
        if type == "DELETED":
            del known[key]
        queue.add(key)

    @kopf.on.event("batch", "v1", "jobs", registry=registry)
    @kopf.on.event("", "v1", "pods", registry=registry)
    async def moved(
        namespace: str | None,
        labels: kopf.Labels,
        type: str | None,
        event: kopf.RawEvent,
        **_: Any,
    ) -> None:
        queue.add((namespace or "", labels[EXPERIMENT]), news.delay(type, event["object"]))

    tasks: list[asyncio.Task[None]] = []  # an event loop keeps no strong reference
    return registry


def _log_to_stderr(log_format: str, level: str) -> None:
    names = "%(asctime)s %(levelname)s %(name)s %(message)s"
    handler = logging.StreamHandler(sys.stderr)
    rename = {"asctime": "time", "levelname": "level", "name": "logger"}
    handler.setFormatter(JsonFormatter(names, rename_fields=rename) if log_format == "json" else _Text(names))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("kopf").setLevel(max(logging.WARNING, logging.getLogger().level))
    for chatty in ("asyncio", "urllib3", "kubernetes", "aiohttp"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


class _Text(logging.Formatter):
    """Lines for people, with the run that they are about."""

    def format(self, record: logging.LogRecord) -> str:
        run = [getattr(record, field, "") for field in ("namespace", "darwinmerge")]
        return super().format(record) + (f" [{'/'.join(run)}]" if all(run) else "")


def main() -> None:
    """Run the command line."""
    operator(auto_envvar_prefix="DARWIN_OPERATOR")


if __name__ == "__main__":
    main()
