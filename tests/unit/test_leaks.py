"""The search for secrets finds one that was planted, in every form that it might take."""

import base64
import gzip
import io
import zipfile
import zlib

import pytest

from tests.leaks import leaks

SECRET = "0123456789abcdef0123456789abcdef"
TOLD = f"AWS_SECRET_ACCESS_KEY={SECRET}, said the worker".encode()


def zipped(data: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("log", data)
    return packed.getvalue()


@pytest.mark.parametrize(
    "planted",
    [
        pytest.param(TOLD, id="as it is"),
        *(pytest.param(base64.b64encode(b"x" * n + TOLD), id=f"base64, {n} later") for n in range(3)),
        pytest.param(base64.b64encode(SECRET.encode()), id="as a Secret has it"),
        pytest.param(gzip.compress(TOLD), id="gzip"),
        pytest.param(zlib.compress(TOLD), id="zlib"),
        pytest.param(zipped(TOLD), id="zip"),
        pytest.param(
            f"{{'binaryData': {{'ledger': '{base64.b64encode(gzip.compress(TOLD)).decode()}'}}}}".encode(), id="ledger"
        ),
    ],
)
def test_a_planted_secret_is_found(planted: bytes) -> None:
    assert leaks([SECRET], {"here": planted, "elsewhere": b"nothing"}) == ["here"]


def test_so_is_a_token_of_a_service_account() -> None:
    head, body = (
        base64.urlsafe_b64encode(part).decode().rstrip("=")
        for part in (b'{"alg":"RS256","kid":"a-key-of-the-api-server"}', b'{"iss":"k"}' * 3)
    )
    assert leaks([], {"log": f"Authorization: Bearer {head}.{body}.c2ln", "other": "a.b.c"}) == ["log"]


def test_what_is_no_secret_is_none() -> None:
    assert (
        leaks([SECRET], {"log": "secret: s3", "packed": gzip.compress(b"nothing"), "broken": b"\x1f\x8bnothing"}) == []
    )
