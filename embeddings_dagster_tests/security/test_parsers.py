"""No parser of outside data does anything but answer or refuse, and there is none that is not tried."""

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import strategies as st

from embeddings_dagster_tests.security import fuzzing
from embeddings_dagster_tests.security.fuzzing import Overlong, Parser, Tally, fuzz, judge
from embeddings_dagster_tests.security.registry import ELSEWHERE, PACKAGE, PARSERS, parsing_modules

EXAMPLES, FULL = 40, 5_000
CASES = [pytest.param(parser, case, id=f"{parser.name}: {said}") for parser in PARSERS for said, case in parser.cases]


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.name)
def test_a_parser_answers_or_refuses(parser: Parser) -> None:
    assert fuzz(parser, EXAMPLES).tried > 0


@pytest.mark.torture
@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.name)
def test_a_parser_answers_or_refuses_thousands_of_times(parser: Parser) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    assert fuzz(parser, FULL, seed).tried > 0


def unbounded(read: Callable[[Any], object]) -> None:
    judge(Parser("none", "none", (), st.just(b""), read), b"", Tally())


def test_a_parser_that_never_ends_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzzing, "MOST_SECONDS", 0.3)
    with pytest.raises(Overlong, match="s of work"):
        unbounded(lambda _: max(number for number in iter(int, 1)))


@pytest.mark.skipif(not fuzzing.STATUS.exists(), reason="no /proc tells what a process held")
def test_a_parser_that_takes_memory_for_little_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzzing, "MOST_BYTES", 2**20)
    with pytest.raises(Overlong, match="MiB of memory"):
        unbounded(lambda _: bytearray(b"1") * 2**27)


@pytest.mark.parametrize(("parser", "case"), CASES)
def test_what_was_found_once_stays_mended(parser: Parser, case: Any) -> None:
    judge(parser, case, Tally())


def test_every_module_that_parses_is_tried() -> None:
    tried = {module for parser in PARSERS for module in parser.modules}
    assert parsing_modules() - tried - ELSEWHERE.keys() == set(), (
        "add a parser to the registry, or say where it is tried"
    )


def test_the_registry_names_modules_that_are_there() -> None:
    named = {module for parser in PARSERS for module in parser.modules} | ELSEWHERE.keys()
    assert [each for each in sorted(named) if not (PACKAGE / f"{each.replace('.', '/')}.py").is_file()] == []


def test_parsers_have_names_of_their_own_and_sentences_for_their_cases() -> None:
    assert len({parser.name for parser in PARSERS}) == len(PARSERS)
    assert all(said for parser in PARSERS for said, _ in parser.cases)
