import math
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embeddings_dagster.sources.numbers import named_currency, parse_number, parse_price


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (12, 12.0),
        (12.5, 12.5),
        (Decimal("12.50"), 12.5),
        ("12.5", 12.5),
        ("12,50 €", 12.5),
        ("1.234,56", 1234.56),
        ("$1,234.56", 1234.56),
        ("€12.50", 12.5),
        ("EUR 12", 12.0),
        ("12.00EUR", 12.0),
        ("1 234,56 €", 1234.56),
        ("1\u202f234,56\u00a0€", 1234.56),
        ("1'234.50 CHF", 1234.5),
        ("1’234.50 Fr.", 1234.5),
        ("1,23,456.00", 123456.0),
        ("1.234.567", 1234567.0),
        ("12,-", 12.0),
        ("99:-", 99.0),
        ("1 299,95 kr", 1299.95),
        ("kr. 99,95", 99.95),
        ("12 500 Ft", 12500.0),
        ("Rp 150.000", 150000.0),
        ("US $15.00", 15.0),
        ("1 500 руб.", 1500.0),
        ("₪ 15", 15.0),
        ("1,200円", 1200.0),
        ("£12.00 GBP", 12.0),
        ("€1.234,00 EUR", 1234.0),
        ("$12.00 CAD", 12.0),
        ("12.–", 12.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("+5", 5.0),
        ("1e-3", 0.001),
        ("0", 0.0),
        ("  7\n", 7.0),
    ],
)
def test_numbers_are_read_as_people_and_programs_write_them(value: object, number: float) -> None:
    assert parse_price(value) == number


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1,234", 1234),
        ("1.234", 1.234),
        ("1.234 €", 1234),
        ("0,125", 0.125),
        ("0.125 €", 0.125),
        ("1234,567", 1234.567),
    ],
)
def test_one_divider_before_three_digits_is_read_by_the_documented_rule(text: str, number: float) -> None:
    assert parse_number(text) == number


@pytest.mark.parametrize(
    "value", [None, "", " \t", "nan", "NaN", "null", "None", "N/A", "-", "–", math.nan, Decimal("NaN"), Decimal("sNaN")]
)
def test_nothing_is_not_a_number_and_not_an_error(value: object) -> None:
    assert parse_price(value) is None


@pytest.mark.parametrize(
    "value",
    [
        *("free", "€", "$", "12 50", "10 - 20 €", "from 12 €", "12 EUR/kg", "$12 €", "£12 EUR", "1,2,3", "--5"),
        *(
            "12 pcs",
            "0x10",
            "१२",
            "1_000",
            "12\x00",
            "9" * 101,
            "12" + " " * 90 + "1",
            True,
            [12],
            {"amount": 12},
            b"12",
        ),
    ],
)
def test_what_is_no_number_is_an_error_that_repeats_it(value: object) -> None:
    with pytest.raises(ValueError, match=r"is no number$") as caught:
        parse_price(value)
    assert len(str(caught.value)) < 100


@pytest.mark.parametrize(
    "value", [math.inf, -math.inf, "1e999", 10**400, pytest.param(10**5000, id="digits"), Decimal("Infinity"), "inf"]
)
def test_infinity_is_an_error(value: object) -> None:
    with pytest.raises(ValueError, match=r"is no (finite )?number$"):
        parse_price(value)


@pytest.mark.parametrize("value", [-1, "-5 €", "€ -5", "-$5", "−5"])
def test_a_price_below_zero_is_an_error_and_a_number_below_zero_is_none(value: object) -> None:
    assert parse_number(value) in (-1, -5)
    with pytest.raises(ValueError, match=r" is below 0$"):
        parse_price(value)


@pytest.mark.parametrize(
    ("value", "currency"),
    [
        ("$1,234.56", "USD"),
        ("12,50 €", "EUR"),
        ("£5", "GBP"),
        ("chf 5", "CHF"),
        ("100 zł", "PLN"),
        ("A$5", "AUD"),
        ("99:-", "SEK"),
        ("99 kr", "SEK"),
        ("kr 99 NOK", "NOK"),
        ("$12.00 CAD", "CAD"),
        ("£12.00 GBP", "GBP"),
        ("$12 €", None),
        ("-$5", "USD"),
        ("12.5", None),
        ("pcs 12", None),
        (12.5, None),
        (None, None),
        pytest.param("$" * 10**6, None, id="long"),
    ],
)
def test_a_price_may_name_its_currency(value: object, currency: str | None) -> None:
    assert named_currency(value) == currency


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_that_a_program_wrote_is_read_back(number: float) -> None:
    assert parse_number(repr(number)) == number
    assert parse_number(number) == number


@given(st.integers(0, 10**12), st.sampled_from([(",", "."), (".", ","), (" ", ","), ("'", ".")]))
def test_grouped_cents_are_read_back(cents: int, marks: tuple[str, str]) -> None:
    group, decimal = marks
    text = f"{cents / 100:,.2f}".replace(",", "g").replace(".", decimal).replace("g", group)
    assert parse_number(f"{text} €") == pytest.approx(cents / 100)


@given(
    st.text() | st.text("0123456789.,'-+ €$eE", max_size=30) | st.none() | st.floats() | st.integers() | st.booleans()
)
def test_any_value_is_a_finite_number_nothing_or_an_error(value: object) -> None:
    try:
        found = parse_price(value)
    except ValueError:
        return
    assert found is None or (math.isfinite(found) and found >= 0)
