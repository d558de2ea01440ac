"""A store in S3 when S3 is not at its best, beside what every store must do (test_store.py)."""

import hashlib
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from darwinmerge.errors import BadConfiguration, BadInput, DarwinError, StoreUnreachable
from darwinmerge.s3 import client, get, parse
from darwinmerge.store import S3Store, open_store
from darwinmerge.store.s3 import PART, UPLOADS
from tests.proxy import Cut, Flip, Lose, Proxy, Say, proxy
from tests.s3 import BUCKET, S3, free_ports

KEY = "results/mri-0123456789abcdef.json"


@pytest.fixture
def prefix(tmp_path: Path) -> str:
    """A place in the bucket that no other test uses."""
    return f"runs/{tmp_path.name}"


@pytest.fixture
def store(s3: S3, prefix: str) -> S3Store:
    return S3Store(BUCKET, prefix)


@pytest.fixture
def between(s3: S3, prefix: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """A proxy between this process and the server, which is asked twice and no oftener."""
    with proxy(s3.endpoint) as found:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", found.endpoint)
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
        client.cache_clear()
        yield found


@pytest.fixture
def disturbed(between: Proxy, prefix: str) -> S3Store:
    """A store behind the proxy, which has written once."""
    store = S3Store(BUCKET, prefix)
    store.create("first", b"1")
    return store


def as_role(s3: S3, role: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in s3.environment(role).items():
        monkeypatch.setenv(name, value)
    client.cache_clear()


def uploads(s3: S3, prefix: str) -> list[str]:
    found = s3.client().list_multipart_uploads(Bucket=BUCKET, Prefix=f"{prefix}/").get("Uploads", [])
    return [upload["Key"].removeprefix(f"{prefix}/") for upload in found]


# ---- places


@pytest.mark.parametrize(
    ("uri", "found"),
    [
        ("s3://bucket/a/b", ("bucket", "a/b")),
        ("s3://bucket/a/b/", ("bucket", "a/b")),
        ("s3://my.bucket-1/a b%20c", ("my.bucket-1", "a b%20c")),
        ("s3://bucket/", ("bucket", "")),
        ("s3://bucket", ("bucket", "")),
    ],
)
def test_a_uri_is_a_bucket_and_a_prefix(uri: str, found: tuple[str, str]) -> None:
    assert parse(uri) == found


@pytest.mark.parametrize(
    "uri",
    ["s3:///prefix", "s3://bucket/a//b", "s3://bucket/../x", "file:///x"],
)
def test_a_uri_that_names_no_place_in_s3_is_refused_with_how_to_write_it(uri: str) -> None:
    with pytest.raises(BadConfiguration, match=f"{re.escape(uri)}: .*write s3://bucket/prefix"):
        parse(uri)


@pytest.mark.parametrize(("uri", "bucket"), [("s3://b/x", "b"), ("s3://a bucket/x", "a bucket"), ("s3://-ab", "-ab")])
def test_a_name_that_no_bucket_can_have_is_refused_with_the_rule(uri: str, bucket: str) -> None:
    with pytest.raises(BadConfiguration, match="can't be the name of a bucket: it has 3 to 255"):
        parse(uri)


def test_stores_of_one_bucket_do_not_see_each_other(s3: S3, prefix: str) -> None:
    one, other = (open_store(f"s3://{BUCKET}/{prefix}/{name}") for name in ("a", "ab"))
    other.create(KEY, b"x")
    assert one.head(KEY) is None
    assert list(one.list("")) == []


def test_a_store_lies_where_its_uri_says(s3: S3, store: S3Store, prefix: str) -> None:
    store.create(KEY, b"hello")
    assert store.uri == f"s3://{BUCKET}/{prefix}"
    assert s3.client().get_object(Bucket=BUCKET, Key=f"{prefix}/{KEY}")["Body"].read() == b"hello"


def test_more_objects_than_the_server_lists_at_a_time_are_all_listed_in_order(store: S3Store) -> None:
    names = [f"rows/{number:04d}" for number in range(1100)]
    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(lambda name: store.create(name, b""), names))
    assert [stat.key for stat in store.list("rows/")] == names


def test_what_a_console_puts_there_for_a_folder_is_no_object(s3: S3, store: S3Store, prefix: str) -> None:
    s3.client().put_object(Bucket=BUCKET, Key=f"{prefix}/results/", Body=b"")
    store.create(KEY, b"x")
    assert [stat.key for stat in store.list("")] == [KEY]


def test_an_object_that_is_another_than_was_looked_at_is_not_read(s3: S3, store: S3Store, prefix: str) -> None:
    store.create(KEY, b"hello")
    etag = s3.client().head_object(Bucket=BUCKET, Key=f"{prefix}/{KEY}")["ETag"]
    assert get(BUCKET, f"{prefix}/{KEY}", 1, 3, etag) == b"el"
    with pytest.raises(BadInput, match=f"s3://{BUCKET}/{prefix}/{KEY}: the object was changed"):
        get(BUCKET, f"{prefix}/{KEY}", 1, 3, '"another"')


# ---- uploads


def test_of_uploads_at_once_one_is_there_whole(store: S3Store) -> None:
    contents = [bytes([number]) * (PART + number) for number in range(3)]
    with ThreadPoolExecutor(len(contents)) as pool:
        refs = list(pool.map(lambda content: store.put_shard(KEY, [content]), contents))
    found = store.read(KEY)
    assert found in contents
    assert hashlib.sha256(found).hexdigest() in [ref.sha256 for ref in refs]


def test_an_upload_whose_source_fails_is_aborted(s3: S3, store: S3Store, prefix: str) -> None:
    def parts() -> Iterator[bytes]:
        yield bytes(PART)
        yield bytes(PART)
        assert uploads(s3, prefix) == [KEY]
        raise RuntimeError("the source failed")

    with pytest.raises(RuntimeError, match="the source failed"):
        store.put_shard(KEY, parts())
    assert uploads(s3, prefix) == []
    assert store.head(KEY) is None


def test_an_upload_that_came_second_is_aborted(s3: S3, store: S3Store, prefix: str) -> None:
    store.create(KEY, b"first")
    assert store.put_shard(KEY, [bytes(PART + 1)]).size == 5
    assert uploads(s3, prefix) == []


def test_uploads_that_killed_processes_left_are_aborted_when_they_are_old(
    s3: S3, store: S3Store, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (f"{prefix}/children/x", f"{prefix}-other/children/x"):
        s3.client().create_multipart_upload(Bucket=BUCKET, Key=name)
    store.put_shard("a", [bytes(PART)])
    assert uploads(s3, prefix) == ["children/x"]  # another process may be at it
    monkeypatch.setattr("darwinmerge.store.s3.STALE", timedelta(0))
    store.put_shard("b", [bytes(PART)])
    assert uploads(s3, prefix) == []
    assert uploads(s3, f"{prefix}-other") == ["children/x"]


def test_no_more_parts_wait_than_memory_is_meant_for(disturbed: S3Store, between: Proxy) -> None:
    def parts() -> Iterator[bytes]:
        for made in range(4 * UPLOADS):
            assert made - between.count("PUT .*partNumber=") <= 2 * UPLOADS
            yield bytes(PART)

    assert disturbed.put_shard(KEY, parts()).size == 4 * UPLOADS * PART


# ---- a server with troubles


def test_a_server_that_is_busy_for_a_while_is_asked_again(disturbed: S3Store, between: Proxy) -> None:
    between.on("PUT", Say(503, "SlowDown"), times=1)
    assert disturbed.create(KEY, b"hello")
    between.on("GET", Say(500, "InternalError"), times=1)
    assert disturbed.read(KEY) == b"hello"


@pytest.mark.parametrize(
    ("answer", "error", "says"),
    [
        (Say(503, "SlowDown"), StoreUnreachable, "SlowDown"),
        (Say(500, "InternalError"), StoreUnreachable, "InternalError"),
        (Say(502), StoreUnreachable, "502"),
        (Say(400, "ExpiredToken"), StoreUnreachable, "ExpiredToken .*renew them and run again"),
        (Say(403, "AccessDenied"), BadConfiguration, "AccessDenied .*docs/store.md"),
        (Say(400, "AuthorizationHeaderMalformed"), BadConfiguration, "set AWS_REGION"),
        (Say(301, "PermanentRedirect"), BadConfiguration, "set AWS_REGION"),
        (Say(501, "NotImplemented"), BadConfiguration, "this server can't do it"),
    ],
    ids=lambda value: getattr(value, "code", None),
)
def test_an_error_names_bucket_key_and_cause(
    disturbed: S3Store, between: Proxy, prefix: str, answer: Say, error: type[DarwinError], says: str
) -> None:
    between.on("/results/", answer)
    for use in (disturbed.read, lambda key: disturbed.create(key, b"x"), lambda key: disturbed.put_shard(key, [b"x"])):
        with pytest.raises(error, match=f"^s3://{BUCKET}/{prefix}/{KEY}: .*{says}"):
            use(KEY)


def test_an_answer_that_breaks_off_is_asked_for_again(disturbed: S3Store, between: Proxy) -> None:
    disturbed.create(KEY, b"0123456789" * 1000)
    between.on("GET", Cut(), times=2)
    assert disturbed.read(KEY, 10, 5010) == b"0123456789" * 500


def test_an_answer_that_always_breaks_off_is_an_error(disturbed: S3Store, between: Proxy, prefix: str) -> None:
    disturbed.create(KEY, b"0123456789" * 1000)
    between.on("GET", Cut())
    with pytest.raises(StoreUnreachable, match=f"^s3://{BUCKET}/{prefix}/{KEY}: .*broken"):
        disturbed.read(KEY)


def test_a_server_that_always_hangs_up_is_an_error(disturbed: S3Store, between: Proxy, prefix: str) -> None:
    between.on("", Lose())
    for use in (disturbed.read, disturbed.head, lambda key: disturbed.create(key, b"x")):
        with pytest.raises(StoreUnreachable, match=f"^s3://{BUCKET}/{prefix}/{KEY}: Connection was closed"):
            use(KEY)


def test_a_write_whose_answer_is_lost_is_done(disturbed: S3Store, between: Proxy) -> None:
    between.on("PUT", Lose(), times=1)
    disturbed.create(KEY, b"hello")
    assert disturbed.read(KEY) == b"hello"


def test_an_upload_is_done_though_answers_are_lost(s3: S3, disturbed: S3Store, between: Proxy, prefix: str) -> None:
    between.on("partNumber=1", Lose(), times=1)
    between.on(r"POST .*uploadId", Lose(), times=1)
    whole = bytes(range(256)) * (PART // 256 + 1)
    ref = disturbed.put_shard(KEY, [whole])
    assert (ref.size, ref.sha256) == (len(whole), hashlib.sha256(whole).hexdigest())
    assert disturbed.read(KEY) == whole
    assert uploads(s3, prefix) == []


def test_a_part_that_is_damaged_on_its_way_makes_no_object(
    s3: S3, disturbed: S3Store, between: Proxy, prefix: str
) -> None:
    between.on("partNumber=2", Flip())
    with pytest.raises(StoreUnreachable, match=f"^s3://{BUCKET}/{prefix}/{KEY}: UploadPart: "):
        disturbed.put_shard(KEY, [bytes(2 * PART)])
    assert disturbed.head(KEY) is None
    assert uploads(s3, prefix) == []


def test_two_writers_of_whom_the_server_takes_neither_try_again(disturbed: S3Store, between: Proxy) -> None:
    between.on(KEY, Say(409, "ConditionalRequestConflict"), times=2)
    assert disturbed.create(KEY, b"hello")


def test_a_completion_that_the_server_refuses_for_good_is_an_error(
    s3: S3, disturbed: S3Store, between: Proxy, prefix: str
) -> None:
    between.on("POST .*uploadId", Say(409, "ConditionalRequestConflict"))
    with pytest.raises(StoreUnreachable, match=f"{KEY}: the upload could not be completed: ConditionalRequestConflict"):
        disturbed.put_shard(KEY, [bytes(PART)])
    assert uploads(s3, prefix) == []


def test_a_server_that_ignores_conditions_is_refused(between: Proxy, prefix: str) -> None:
    between.on("PUT", Say(200))
    with pytest.raises(BadConfiguration, match="the server ignores If-None-Match"):
        S3Store(BUCKET, prefix).create(KEY, b"x")
    assert not between.count("PUT")


def test_a_server_is_asked_once_whether_it_keeps_conditions(disturbed: S3Store, between: Proxy, prefix: str) -> None:
    before = len(between.done)
    disturbed.create("second", b"2")
    assert between.done[before:] == [f"PUT /{BUCKET}/{prefix}/second"]


# ---- no way in


def test_who_may_only_read_cannot_write(s3: S3, store: S3Store, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store.create(KEY, b"hello")
    as_role(s3, "reader", monkeypatch)
    reader = S3Store(BUCKET, prefix)
    assert reader.read(KEY) == b"hello"
    with pytest.raises(BadConfiguration, match=f"^s3://{BUCKET}/{prefix}/.*: PutObject: AccessDenied"):
        reader.create("other", b"x")


def test_a_bucket_that_is_not_there(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    as_role(s3, "admin", monkeypatch)
    with pytest.raises(BadConfiguration, match=r"^s3://no-such-bucket/x/results/.*NoSuchBucket .*; create the bucket"):
        open_store("s3://no-such-bucket/x").head(KEY)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("AWS_ACCESS_KEY_ID", "nobody", "InvalidAccessKeyId .*check AWS_ACCESS_KEY_ID"),
        ("AWS_SECRET_ACCESS_KEY", "wrong", "SignatureDoesNotMatch .*check AWS_SECRET_ACCESS_KEY"),
        ("AWS_ACCESS_KEY_ID", "", "[Cc]redentials.*set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
    ],
    ids=["unknown key", "wrong secret", "no key"],
)
def test_credentials_that_are_none(
    s3: S3, prefix: str, monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str
) -> None:
    monkeypatch.setenv(name, value)
    client.cache_clear()
    with pytest.raises(BadConfiguration, match=f"^s3://{BUCKET}/{prefix}/{KEY}: .*{says}"):
        open_store(f"s3://{BUCKET}/{prefix}").head(KEY)


def test_a_server_that_is_not_there(s3: S3, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{free_ports(1)[0]}")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    client.cache_clear()
    with pytest.raises(StoreUnreachable, match=f"^s3://{BUCKET}/{prefix}/{KEY}: Could not connect"):
        open_store(f"s3://{BUCKET}/{prefix}").head(KEY)


@pytest.mark.parametrize(("name", "value"), [("AWS_PROFILE", "nobody"), ("AWS_ENDPOINT_URL_S3", "localhost")])
def test_an_environment_that_makes_no_client_is_refused_at_once(
    s3: S3, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    client.cache_clear()
    with pytest.raises(BadConfiguration, match=f"no S3 client: .*{value}.*check AWS_PROFILE"):
        open_store(f"s3://{BUCKET}/x")


@pytest.mark.parametrize("name", ["AWS_REGION", "AWS_DEFAULT_REGION"])
def test_the_region_is_the_environments(s3: S3, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.delenv("AWS_REGION")
    monkeypatch.setenv(name, "eu-central-1")
    client.cache_clear()
    assert client().meta.region_name == "eu-central-1"


def test_a_region_need_not_be_named(s3: S3, store: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_REGION")
    client.cache_clear()
    assert store.create(KEY, b"x")


def test_a_server_that_has_a_name_is_asked_by_path(s3: S3, store: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3.endpoint.replace("127.0.0.1", "localhost"))
    client.cache_clear()
    assert store.create(KEY, b"x")


def test_without_boto3_the_remedy_is_said() -> None:
    code = (
        "import sys; sys.modules['boto3'] = None; from darwinmerge.store import open_store; open_store('s3://bucket/x')"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "pip install 'darwinmerge[s3]'" in run.stderr
