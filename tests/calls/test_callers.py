"""One person is one unit, however a gateway writes the number; a withheld number is a unit a call."""

from __future__ import annotations

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st
from phonenumbers import PhoneNumberFormat, PhoneNumberType

from calls.callers import LONGEST, caller_form, check_region
from calls.pseudonyms import pseudonym, unit_of_call, unit_of_id
from parley.errors import ParleyError

BERLIN = "+4930123456"


@pytest.mark.parametrize(
    ("written", "region"),
    [
        ("+4930123456", ""), ("+49 30 123 456", ""), ("+49 (0)30 123-456", ""), ("0049 30 123456", ""),
        ("0049 30 123456", "US"), ("011 49 30 123456", "US"), ("030 123456", "DE"), ("(030) 123 456", "DE"),
        ("030/123456", "DE"), ("tel:+49-30-123456", ""), ("sip:+4930123456@gateway.example;user=phone", ""),
        ('"Anna" <sip:+4930123456@10.0.0.1:5060>', ""), ("\u202f+49\u00a030\u00a0123456 ".strip("\u202f"), ""),
        ("+49 30 123456;ext=12", ""), ("\uff0b\uff14\uff19\uff13\uff10\uff11\uff12\uff13\uff14\uff15\uff16", ""),
    ],
)  # fmt: skip
def test_every_spelling_of_a_number_is_one_caller(written: str, region: str) -> None:
    assert caller_form(written, region) == BERLIN
    assert unit_of_call(written, "CA1", "key", region) == unit_of_id(BERLIN, "key")


REGIONS = ("DE", "US", "RU", "AU", "JP", "BR", "SG", "KR", "TH", "GB")


@pytest.mark.parametrize("region", REGIONS)
@pytest.mark.parametrize("number", ["493012345678", "4915123456789", "14155552671", "6582345678"])
def test_a_number_from_abroad_is_one_caller_in_every_region(number: str, region: str) -> None:
    written = ("+{}", "00{}", "00 {}", "(00) {}", "tel:+{}", "sip:00{}@10.0.0.5:5060")
    own = {"US": "011", "RU": "810", "AU": "0011", "JP": "010"}.get(region, "00")
    found = {form: caller_form(form.format(number), region) for form in (*written, own + "{}")}
    assert found == dict.fromkeys(found, f"+{number}")


@pytest.mark.parametrize("region", REGIONS)
def test_a_number_of_the_country_keeps_its_reading(region: str) -> None:
    for kind in (PhoneNumberType.FIXED_LINE, PhoneNumberType.MOBILE):
        number = phonenumbers.example_number_for_type(region, kind)
        assert number is not None
        e164 = phonenumbers.format_number(number, PhoneNumberFormat.E164)
        for written in (
            phonenumbers.national_significant_number(number),
            phonenumbers.format_number(number, PhoneNumberFormat.NATIONAL),
            f"00{e164[1:]}",
        ):
            assert caller_form(written, region) == e164, written


@pytest.mark.parametrize(
    ("written", "region", "form"),
    [("0061414570776", "AU", "+61414570776"), ("001 49 30 12345678", "KR", "+493012345678"),
     ("0015 49 30 12345678", "BR", "+493012345678"), ("0052", "DE", "0052")],
)  # fmt: skip
def test_a_carrier_of_the_country_is_no_part_of_the_number(written: str, region: str, form: str) -> None:
    assert caller_form(written, region) == form


@pytest.mark.parametrize(
    "withheld",
    [
        "", "  ", "anonymous", "Anonymous", "ANONYMOUS", "unknown", "Restricted", "Private Number", "No Caller ID",
        "+266696687", "+7378742833", "+2562533", "+8656696", "+86282452253", "266696687", "1266696687",
        "anonymous@anonymous.invalid", "sip:anonymous@anonymous.invalid", '"Anonymous" <sip:c8oq84zk7z@anon.invalid>',
        "sip:anonymous@provider.example", "0", "0000000000", "+", "\ud800", "x" * (LONGEST + 1),
    ],
)  # fmt: skip
def test_a_withheld_number_is_a_unit_a_call(withheld: str) -> None:
    assert caller_form(withheld) is None
    assert unit_of_id(withheld, "key") is None
    first, second = (unit_of_call(withheld, call, "key") for call in ("CA1", "CA2"))
    assert first != second and unit_of_call(withheld, "CA1", "key") == first


@pytest.mark.parametrize(
    ("one", "other"),
    [("+4930123456", "+4930123457"), ("alice", "bob"), ("sip:alice@a.example", "sip:alice@b.example"), ("1001", "1002"),
     ("unknown1", "unknown2"), ("+14155552671", "+4914155552671")],
)  # fmt: skip
def test_different_callers_stay_apart(one: str, other: str) -> None:
    assert None is not caller_form(one) != caller_form(other)


def test_a_sip_user_is_one_caller_whatever_its_host_is_written_like() -> None:
    assert (
        caller_form("SIP:anna@Example.COM;transport=tls")
        == caller_form("sips:anna@example.com")
        == "sip:anna@example.com"
    )


def test_a_pseudonym_has_one_form_too() -> None:
    unit = pseudonym(BERLIN, "key")

    assert unit_of_id(unit.upper(), "key") == unit_of_id(f" {unit} ", "key") == unit


@given(st.text(max_size=40), st.sampled_from(["", "DE", "US"]))
def test_whatever_a_gateway_sends_has_a_unit_and_its_form_is_final(text: str, region: str) -> None:
    known = caller_form(text, region)

    assert len(unit_of_call(text, "CA1", "key", region)) == 64
    assert known is None or caller_form(known, region) in (known, None) or "@" in known or ":" in known


def test_a_region_that_is_none_is_named() -> None:
    assert check_region("DE") == "DE" and check_region("") == ""
    with pytest.raises(ParleyError, match="PARLEY_REGION"):
        check_region("XX")
