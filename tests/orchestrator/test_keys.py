"""The telephone's keys: where a number ends, and what a zero means."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.keys import MOST_DIGITS, PAUSE_S, PAUSE_WHEN_FULL_S, Keyed, KeyPad
from parley.audio import TELEPHONE_RATE


def press(pad: KeyPad, keys: str, most: int | None = 8, asked: bool = True) -> list[Keyed | None]:
    return [pad.press(key, 0, most=most, asked=asked) for key in keys]


def later(seconds: float) -> int:
    return round(seconds * TELEPHONE_RATE)


def test_a_number_ends_with_the_hash() -> None:
    assert press(KeyPad(), "4711#") == [None] * 4 + [Keyed("4711")]


def test_a_number_ends_when_no_key_follows_and_once_only() -> None:
    pad = KeyPad()
    press(pad, "4011")

    assert pad.expired(later(PAUSE_S) - 1) is None
    assert pad.expired(later(PAUSE_S)) == Keyed("4011")
    assert pad.expired(later(PAUSE_S) + 1) is None


def test_one_digit_too_many_is_not_dropped() -> None:
    pad = KeyPad()
    press(pad, "12345678")
    assert pad.expired(later(PAUSE_WHEN_FULL_S)) == Keyed("12345678")
    press(pad, "123456789")
    assert pad.expired(later(PAUSE_WHEN_FULL_S)) == Keyed("123456789")


@pytest.mark.parametrize("asked", [True, False])
def test_a_zero_within_a_number_is_a_digit(asked: bool) -> None:
    assert press(KeyPad(), "40#", asked=asked)[-1] == Keyed("40")


def test_a_zero_where_no_number_is_asked_for_calls_a_person_at_once() -> None:
    assert press(KeyPad(), "0", asked=False) == [Keyed(operator=True)]
    assert press(KeyPad(), "0", most=None, asked=False) == [Keyed(operator=True)]


def test_a_lone_zero_calls_a_person_too_unless_it_is_ended_as_a_number() -> None:
    pad = KeyPad()
    press(pad, "0")

    assert pad.expired(later(PAUSE_S)) == Keyed(operator=True)
    assert press(pad, "0#")[-1] == Keyed("0")


def test_the_star_takes_back() -> None:
    assert press(KeyPad(), "12*34#")[-1] == Keyed("34")


def test_other_keys_mean_nothing_where_no_number_has_a_place() -> None:
    pad = KeyPad()

    assert press(pad, "123#", most=None, asked=False) == [None] * 4
    assert not pad.collecting


@given(st.text(st.sampled_from("0123456789*#ABCDx\u0664"), max_size=200))
def test_whatever_is_pressed_a_number_is_digits_and_bounded(keys: str) -> None:
    for keyed in filter(None, press(KeyPad(), keys)):
        digits = keyed.digits
        assert keyed.operator or (digits.isascii() and digits.isdigit() and len(digits) <= MOST_DIGITS)
