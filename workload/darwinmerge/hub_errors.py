"""What is said of a model hub's errors, and for how long it wants to be left alone."""

import re
from typing import Any, Literal
from urllib.parse import urlsplit

from darwinmerge import __version__
from darwinmerge.errors import BadConfiguration, BadInput, DarwinError, StoreUnreachable
from darwinmerge.uri import without_user

LONGEST_WAIT = 600.0  # seconds that the hub may ask for; its limits count by five minutes
AGAIN = (408, 425, 429, 500, 502, 503, 504)  # statuses that pass by themselves
_LIMIT = re.compile(r";\s*r\s*=\s*0\s*;\s*t\s*=\s*(\d+)")  # in a `RateLimit` header: nothing left for t seconds
_TOKEN = (
    "set HF_TOKEN to a token that may {} it (in a cluster: by a secretKeyRef in spec.cluster.template.env, or as a "
    "key of the Secret that spec.cluster.store.credentialsSecret names)"
)
May = Literal["read", "write"]


def asked_wait(response: Any) -> float | None:
    """Seconds that an answer asks to wait, by `Retry-After` or the hub's `RateLimit`; None where it doesn't."""
    if response is None:
        return None
    after, limit = response.headers.get("Retry-After", ""), _LIMIT.search(response.headers.get("RateLimit", ""))
    if after.strip().isdigit():
        return float(after)
    return float(limit[1]) if limit and response.status_code == 429 else None


def named(error: BaseException, place: str, may: May = "read") -> DarwinError:
    """What to say of an error of the hub, or on the way to it, about a model or a file.

    `BadConfiguration` and `BadInput` where only a person can mend it, `StoreUnreachable` for what passes. The text of
    an error from below is told only where it can't hold a header.
    """
    import httpx2
    from huggingface_hub.errors import HFValidationError, OfflineModeIsEnabled

    if isinstance(error, DarwinError):
        return error
    if isinstance(error, RuntimeError) and error.__cause__:  # in which huggingface_hub wraps the errors of an upload
        return named(error.__cause__, place, may)
    response = getattr(error, "response", None)
    if response is not None:
        return _refused(response, place) if may == "write" else _answered(response, place)
    if isinstance(error, OfflineModeIsEnabled):
        remedy = "unset HF_HUB_OFFLINE and TRANSFORMERS_OFFLINE, or give a folder of this machine"
        return BadConfiguration(f"{place}: the hub is switched off by the environment; {remedy}")
    if isinstance(error, HFValidationError):
        return BadConfiguration(f"{place}: not a model's name on the hub")
    if isinstance(error, (httpx2.UnsupportedProtocol, httpx2.InvalidURL)):
        return BadConfiguration(f"{place}: {told_hub()} is no place of a hub; correct HF_ENDPOINT")
    if isinstance(error, (httpx2.NetworkError, httpx2.TimeoutException, httpx2.RemoteProtocolError, httpx2.ProxyError)):
        return StoreUnreachable(f"{place}: {type(error).__name__}: {error or 'no answer'} ({told_hub()})")
    return StoreUnreachable(f"{place}: {type(error).__name__} ({told_hub()})")


def _answered(response: Any, place: str) -> DarwinError:
    """What to say of an answer with an error."""
    status, code, token = response.status_code, response.headers.get("X-Error-Code", ""), _TOKEN.format("read")
    model = place.removeprefix("hf://").partition("@")[0]
    if code == "GatedRepo":
        page = f"accept its terms at {told_hub()}/{model}"
        return BadConfiguration(f"{place}: {model} is gated, and you may not read it ({status}); {page}, and {token}")
    if code == "RevisionNotFound":
        return BadInput(f"{place}: {model} has no such revision; give a branch, a tag or a whole commit")
    if code == "EntryNotFound":
        return BadInput(f"{place}: {model} has no such file at this revision")
    if status == 404:
        return BadInput(f"{place}: the hub has no such model ({told_hub()}); correct its name, or {token}")
    if status in (401, 403):
        who = "with this token" if "authorization" in sent_headers() else "to those without a token"
        return BadConfiguration(f"{place}: the hub shows no such model {who} ({status}); correct its name, or {token}")
    if status in AGAIN:
        return StoreUnreachable(f"{place}: the hub answers {status}")
    return BadInput(f"{place}: the hub answers {status}{f' ({code})' if code else ''}; look at {told_hub()}/{model}")


def _refused(response: Any, place: str) -> DarwinError:
    """What to say of an answer with an error to an upload."""
    status, says = response.status_code, response.headers.get("X-Error-Message", "")[:200]
    if status == 412:
        return StoreUnreachable(f"{place}: somebody else committed at the same time; run again")
    if status in AGAIN or origin_of(str(response.request.url)) != origin_of(endpoint()):  # signatures expire
        return StoreUnreachable(f"{place}: the hub, or its storage, answers {status} to an upload")
    said = f"({status}{': ' if says else ''}{says})"
    if status in (401, 403):
        return BadConfiguration(f"{place}: the hub takes no upload with this token {said}; {_TOKEN.format('write')}")
    return BadInput(f"{place}: the hub refuses the upload {said}; look at {told_hub()}")


def told_hub() -> str:
    """The endpoint, for messages."""
    return without_user(endpoint())


def endpoint() -> str:
    """Where the hub is."""
    from huggingface_hub import constants

    return constants.ENDPOINT


def origin_of(url: str) -> tuple[str, str]:
    """Scheme and host of a URL: who gets a token."""
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


def sent_headers() -> dict[str, str]:
    """Headers of a request to the hub, the token among them.

    Raises:
        BadConfiguration: the token can't be one; it isn't shown.
    """
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    headers: dict[str, str] = build_hf_headers(library_name="darwinmerge", library_version=__version__)
    if not re.fullmatch(r"(Bearer [!-~]+)?", headers.get("authorization", "")):
        raise BadConfiguration("HF_TOKEN: it holds what no token has (spaces, line ends, letters beyond ASCII)")
    return headers
