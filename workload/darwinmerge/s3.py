"""What every use of S3 shares: the client, URIs, a read that outlives a cut connection, errors that name the object.

Endpoint, region, profile and credentials come by the usual AWS means (environment, `~/.aws/config`, the identity of a
pod or an instance), since an engine with settings of its own for them would be the one program of a cluster that
differs. boto3 loads with the first client, so that what never touches S3 neither pays for it nor needs it.
"""

import functools
import os
import random
import re
import time
from collections.abc import Collection, Iterator
from typing import Any

from darwinmerge.errors import BadConfiguration, BadInput, DarwinError, StoreUnreachable
from darwinmerge.uri import without_user

ATTEMPTS = 10  # at one request, with exponential back-off: about a minute of throttling; AWS_MAX_ATTEMPTS overrides it
BODY_ATTEMPTS = 5  # at one answer whose body broke off: botocore repeats a request only until its headers are there
CONNECT_SECONDS, READ_SECONDS = 5, 60
CONNECTIONS = 64  # kept open by one process: more threads than this would open and close theirs at each request

ABSENT = ("NoSuchKey", "404")  # codes of an answer; a proxy that answers in a server's place gives a status only
CHANGED = ("PreconditionFailed", "412")
BEYOND = ("InvalidRange", "416")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]")  # what some server allows; each has rules of its own
_REMEDIES = {  # of what only a person can mend, by the server's code
    "AccessDenied": "allow these credentials to do it; docs/store.md lists what is needed",
    "AllAccessDisabled": "allow these credentials to do it",
    "NoSuchBucket": "create the bucket, or correct its name",
    "InvalidBucketName": "correct the bucket's name",
    "InvalidAccessKeyId": "the server doesn't know this access key; check AWS_ACCESS_KEY_ID or AWS_PROFILE",
    "SignatureDoesNotMatch": "check AWS_SECRET_ACCESS_KEY and AWS_REGION",
    "AuthorizationHeaderMalformed": "set AWS_REGION to the bucket's region",
    "PermanentRedirect": "set AWS_REGION to the bucket's region, or AWS_ENDPOINT_URL_S3 to its endpoint",
    "IllegalLocationConstraintException": "set AWS_REGION to the bucket's region",
    "NotImplemented": "this server can't do it; docs/store.md lists what a store needs",
}
_EXPIRED = ("ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "InvalidToken", "RequestExpired")


def parse(uri: str) -> tuple[str, str]:
    """Bucket and prefix of `s3://bucket/prefix`; the prefix has no `/` at its ends, and may be empty.

    Nothing is percent-decoded: keys are taken as they are written, as the AWS command line does.

    Raises:
        BadConfiguration: it is no such URI, or the prefix has empty, `.` or `..` parts.
    """
    scheme, _, rest = uri.partition("://")
    bucket, _, prefix = rest.partition("/")
    prefix, told = prefix.removesuffix("/"), without_user(uri)
    if scheme != "s3" or not bucket:
        raise BadConfiguration(f"{told}: not a place in S3; write s3://bucket/prefix")
    if not _NAME.fullmatch(bucket):
        rule = "it has 3 to 255 letters, digits, '.', '_' and '-', and begins and ends with a letter or digit"
        raise BadConfiguration(f"{told}: the first part can't be the name of a bucket: {rule}")
    if prefix and any(part in ("", ".", "..") for part in prefix.split("/")):
        raise BadConfiguration(f"{told}: the prefix has an empty, '.' or '..' part; write s3://bucket/prefix")
    return bucket, prefix


@functools.cache
def client() -> Any:
    """This process's S3 client; threads may share it.

    Raises:
        BadConfiguration: boto3 isn't installed, or what the environment says of AWS makes no client.
    """
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
        from botocore.session import Session
    except ImportError:
        raise BadConfiguration("s3:// needs boto3, which isn't installed: pip install 'darwinmerge[s3]'") from None
    try:
        session = Session()
        attempts = session.get_config_variable("max_attempts") or ATTEMPTS
        config = Config(
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            max_pool_connections=CONNECTIONS,
            tcp_keepalive=True,
            retries={"mode": "standard", "total_max_attempts": attempts},
        )
        region = os.environ.get("AWS_REGION") or None  # as other SDKs; botocore reads AWS_DEFAULT_REGION only
        return boto3.Session(botocore_session=session).client("s3", region_name=region, config=config)
    except (BotoCoreError, ValueError) as error:
        raise BadConfiguration(f"no S3 client: {error}; check AWS_PROFILE, AWS_REGION and AWS_ENDPOINT_URL") from error


def code(error: Exception) -> str:
    """The server's code for an error, such as `NoSuchKey`; without a body to say it, the status; empty if none."""
    answer = getattr(error, "response", None) or {}  # None in botocore's word for a connection that was closed
    return str(answer.get("Error", {}).get("Code", ""))


class Refused(Exception):
    """The server's answer to a request is a code that the caller has an answer to."""


def call(operation: str, bucket: str, key: str, expected: Collection[str] = (), **arguments: Any) -> dict[str, Any]:
    """The answer to one request about an object or a prefix.

    Raises:
        Refused: the server's code is among the `expected` ones.
        DarwinError: all else; see `named`.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        answer: dict[str, Any] = getattr(client(), operation)(Bucket=bucket, **arguments)
        return answer
    except (BotoCoreError, ClientError) as error:
        if code(error) in expected:
            raise Refused(code(error)) from None
        raise named(error, bucket, key) from error


def get(bucket: str, key: str, start: int = 0, stop: int | None = None, etag: str | None = None) -> bytes:
    """Bytes `start` to `stop` (exclusive; None: the end) of an object; fewer where it ends sooner.

    Raises:
        KeyError: there is no such object.
        BadInput: its ETag isn't `etag` (if that is given).
        DarwinError: all else; see `named`.
    """
    from botocore.exceptions import HTTPClientError, IncompleteReadError

    asked = {"Key": key}
    if start or stop is not None:
        asked["Range"] = f"bytes={start}-{'' if stop is None else max(start, stop - 1)}"
    if etag is not None:
        asked["IfMatch"] = etag
    for attempt in range(BODY_ATTEMPTS):
        if attempt:
            pause(attempt)
        try:
            data: bytes = call("get_object", bucket, key, (*ABSENT, *CHANGED, *BEYOND), **asked)["Body"].read()
            return data if stop is None else data[: max(0, stop - start)]
        except Refused as answer:
            if str(answer) in BEYOND:
                return b""
            if str(answer) in ABSENT:
                raise KeyError(key) from None
            raise BadInput(f"s3://{bucket}/{key}: the object was changed while it was in use") from None
        except (HTTPClientError, IncompleteReadError) as error:
            broken = error
    raise named(broken, bucket, key) from broken


def listed(bucket: str, prefix: str, **arguments: Any) -> Iterator[tuple[str, str, int]]:
    """Key, ETag and size of every object under a prefix, in the server's order.

    Raises:
        DarwinError: see `named`.
    """
    for page in _pages(bucket, prefix, **arguments):
        yield from ((found["Key"], found["ETag"], found["Size"]) for found in page.get("Contents", ()))


def folders(bucket: str, prefix: str) -> Iterator[str]:
    """What keys under a prefix have before their next `/`, the prefix included, in the server's order.

    Raises:
        DarwinError: see `named`.
    """
    for page in _pages(bucket, prefix, Delimiter="/"):
        yield from (found["Prefix"].removesuffix("/") for found in page.get("CommonPrefixes", ()))


def _pages(bucket: str, prefix: str, **arguments: Any) -> Iterator[dict[str, Any]]:
    more: dict[str, str] = {}
    while True:
        page = call("list_objects_v2", bucket, prefix, Prefix=prefix, **arguments, **more)
        yield page
        if not page.get("IsTruncated"):
            return
        more = {"ContinuationToken": page["NextContinuationToken"]}


def pause(attempt: int) -> None:
    """Wait before what failed `attempt` times is tried again: longer each time, and not in step with others."""
    time.sleep(random.random() * 0.1 * 2**attempt)


def named(error: Exception, bucket: str, key: str) -> DarwinError:
    """What to say of a `BotoCoreError` or `ClientError` about an object or a prefix.

    `BadConfiguration` where only a person can mend it. `StoreUnreachable` for all else, expired credentials included:
    another attempt reads them anew, and what is stored stays.
    """
    from botocore import exceptions as known

    place = f"s3://{bucket}/{key}"
    if isinstance(error, known.ClientError):
        said = error.response["Error"].get("Message", "").strip().rstrip(".")
        cause = f"{error.operation_name}: {code(error)}" + (f" ({said})" if said else "")
        if code(error) in _REMEDIES:
            return BadConfiguration(f"{place}: {cause}; {_REMEDIES[code(error)]}")
        if code(error) in _EXPIRED:
            return StoreUnreachable(f"{place}: {cause}; the credentials have expired: renew them and run again")
        return StoreUnreachable(f"{place}: {cause}")
    if isinstance(error, (known.NoCredentialsError, known.PartialCredentialsError, known.SSOError)):
        remedy = "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        return BadConfiguration(f"{place}: {error}; {remedy}")
    return StoreUnreachable(f"{place}: {error}")
