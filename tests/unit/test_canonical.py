"""Equal values have equal digests, on every machine, and a setting added later changes none of them."""

import hashlib
import math
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darwinmerge.canonical import canonical, digest, digest_lines, rounded
from darwinmerge.experiment.load import parse
from darwinmerge.experiment.manifest import Mri
from darwinmerge.experiment.merging import Merge
from darwinmerge.experiment.searching import Evolution, Search
from darwinmerge.experiment.types import Frozen
from darwinmerge.pipeline.tasks import FatherModel, LinearModel, MotherModel
from tests.build import manifest_text


class Before(Frozen):
    a: int
    ratio: float = 0.5


class After(Frozen):
    a: int
    ratio: float = 0.5
    added: Literal["Old", "New"] = "Old"


def test_canonical_json_is_sorted_and_has_no_blanks_and_no_default_values() -> None:
    assert canonical(Before(a=1, ratio=0.25)) == b'{"a":1,"ratio":0.25}'
    assert canonical(Before(a=1)) == b'{"a":1}'
    assert canonical({"b": [1, (2, 3)], "a": None, "\u00e9": True}) == '{"a":null,"b":[1,[2,3]],"\u00e9":true}'.encode()


def test_the_digest_is_the_sha256_of_the_canonical_json() -> None:
    assert digest({"a": 1}) == hashlib.sha256(b'{"a":1}').hexdigest()
    assert digest_lines([{"a": 1}, 2]) == hashlib.sha256(b'{"a":1}\n2\n').hexdigest()


def test_a_setting_added_later_changes_no_digest_while_it_has_its_default() -> None:
    assert digest(Before(a=1)) == digest(After(a=1))
    assert digest(Before(a=1)) != digest(After(a=1, added="New"))


def test_writing_a_default_out_changes_no_digest() -> None:
    plain, written = manifest_text(), manifest_text(mri={"weight": "0.7", "bins": 256}, seed=0, health={})
    assert digest(parse(plain)) == digest(parse(written))


def test_another_value_changes_the_digest() -> None:
    assert digest(parse(manifest_text())) != digest(parse(manifest_text(seed=1)))


def test_discriminators_tell_models_apart_though_all_else_is_default() -> None:
    assert len({digest(FatherModel()), digest(MotherModel()), digest(LinearModel())}) == 3


@pytest.mark.parametrize("settings", [Mri(), Evolution(), Search(), Merge()], ids=lambda model: type(model).__name__)
def test_settings_that_are_all_default_leave_nothing_in_a_digest(settings: Frozen) -> None:
    assert canonical(settings) == b"{}"


def test_whole_numbers_are_one_value_as_integer_and_float() -> None:
    assert digest({"x": 1.0}) == digest({"x": 1})
    assert digest({"x": -0.0}) == digest({"x": 0})


@given(st.floats(min_value=1e-300, max_value=1e300), st.booleans())
def test_rounding_keeps_twelve_significant_digits(x: float, negative: bool) -> None:
    x = -x if negative else x
    assert abs(rounded(x) - x) <= 5.0001e-12 * abs(x)
    assert len(repr(rounded(x)).partition("e")[0].replace("-", "").replace(".", "").strip("0")) <= 12
    assert rounded(rounded(x)) == rounded(x)


@given(st.floats(min_value=0.1, max_value=10))
def test_numbers_that_differ_beyond_the_twelfth_digit_have_one_digest(x: float) -> None:
    x = rounded(x)
    assert digest([math.nextafter(x, math.inf)]) == digest([x])


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_a_number_has_no_digest(value: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        digest({"x": value})
