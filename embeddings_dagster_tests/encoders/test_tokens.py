"""Texts become what the model was trained with; long ones are cut into chunks that fit, and nothing of them is lost."""

import re
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embeddings_dagster.encoders.tokens import Tokens, open_tokenizer
from embeddings_dagster.errors import ModelError
from embeddings_dagster_tests.encoders import tiny, tiny_kin

LIMIT = 12
LIKELY = (
    "a",
    "red",
    "heart",
    "dog",
    "Dog.",
    "end!",
    "…",
    "unfathomably",
    "日本語。",
    "犬、",
    "👩‍🚀",
    "\ud800",
    "x" * 70,
)
BLANKS = (" ", "\n", "\n\n", "\t ", "\u3000", "")
words_and_blanks = st.lists(st.sampled_from(LIKELY + BLANKS), max_size=60).map("".join)


def read(folder: Path, change: Callable[[Any], None] = lambda tokenizer: None) -> Tokens:
    import transformers

    config = transformers.AutoConfig.from_pretrained(folder)
    tokenizer = open_tokenizer(folder, config, folder.name)
    change(tokenizer)
    return Tokens(tokenizer, config, folder.name)


def words_folder(folder: Path, config: Any = None, **changes: object) -> Path:
    """One word a token, between a start and an end, for the text side of a CLIP."""
    config = config or tiny_kin.metaclip_2()
    for name, value in changes.items():
        setattr(config.text_config, name, value)
    config.save_pretrained(folder)
    tiny.save_tokenizer(folder)
    return folder


def pieces_folder(folder: Path) -> Path:
    """The tokenizer of a SigLIP, of SentencePiece."""
    pytest.importorskip("sentencepiece", reason="the tokenizer of SigLIP needs it")
    config = tiny_kin.siglip()
    config.save_pretrained(folder)
    tiny_kin.save_siglip_files(folder, config)
    return folder


def gemma_folder(folder: Path) -> Path:
    """The tokenizer of a SigLIP 2, whose pieces may span words."""
    tiny_kin.siglip().save_pretrained(folder)
    tiny_kin.save_gemma_tokenizer(folder)
    return folder


@pytest.fixture(scope="session")
def words(tmp_path_factory: pytest.TempPathFactory) -> Tokens:
    return read(words_folder(tmp_path_factory.mktemp("words")))


@pytest.fixture(scope="session")
def pieces(tmp_path_factory: pytest.TempPathFactory) -> Tokens:
    return read(pieces_folder(tmp_path_factory.mktemp("pieces")))


@pytest.fixture(scope="session")
def gemma(tmp_path_factory: pytest.TempPathFactory) -> Tokens:
    return read(gemma_folder(tmp_path_factory.mktemp("gemma")))


@pytest.fixture(scope="session", params=["words", "pieces", "gemma"])
def tokens(request: pytest.FixtureRequest) -> Tokens:
    """Each of the three."""
    found: Tokens = request.getfixturevalue(request.param)
    return found


def visible(text: str) -> str:
    return re.sub(r"\s", "", text)


def test_a_clip_is_given_what_is_there_and_a_mask(words: Tokens) -> None:
    given = words.inputs(["a red heart", "dog", "", "dog " * 50])
    assert given["input_ids"].tolist() == [
        [2, 4, 5, 6, 3, *[0] * 7],
        [2, 7, 3, *[0] * 9],
        [2, 3, *[0] * 10],
        [2, *[7] * 10, 3],
    ]
    assert given["attention_mask"].sum(dim=1).tolist() == [5, 3, 2, LIMIT]
    assert words.inputs(["dog"])["input_ids"].shape == (1, 3), "no longer than the longest"


def test_a_siglip_is_given_as_many_tokens_as_it_reads_and_no_mask(pieces: Tokens) -> None:
    given = pieces.inputs(["A red heart!", "", "dog " * 50])
    assert set(given) == {"input_ids"}
    assert given["input_ids"].shape == (3, LIMIT)
    assert given["input_ids"][1].tolist() == [1] * LIMIT
    alone = pieces.inputs(["a red heart"])["input_ids"]
    assert given["input_ids"][0].tolist() == alone[0].tolist(), "neither case nor punctuation is read"


def test_a_siglip_2_is_given_texts_that_are_filled_up_on_the_right(gemma: Tokens) -> None:
    given = gemma.inputs(["a red", "dog " * 50])
    assert set(given) == {"input_ids"}
    ids = given["input_ids"]
    assert ids.shape == (2, LIMIT)
    assert ids[0].tolist().count(0) > 6
    assert ids[0, -1] == 0
    assert ids[1, -1] == 1, "cut, and still with its end"


def test_texts_are_filled_up_on_the_right_whatever_the_tokenizer_says(tmp_path: Path) -> None:
    def on_the_left(tokenizer: Any) -> None:
        tokenizer.padding_side = "left"

    given = read(words_folder(tmp_path), on_the_left).inputs(["dog", "a red heart"])
    assert given["input_ids"].tolist() == [[2, 7, 3, 0, 0], [2, 4, 5, 6, 3]]


def test_half_a_surrogate_pair_is_read_as_a_character_nobody_knows(tokens: Tokens) -> None:
    broken, unknown = tokens.inputs(["dog \ud83d"]), tokens.inputs(["dog \ufffd"])
    assert broken["input_ids"].tolist() == unknown["input_ids"].tolist()


def test_what_fits_is_one_chunk_as_it_is(tokens: Tokens) -> None:
    assert tokens.chunks("") == [("", 1)]
    for text in (" \n ", "  a dog\n"):
        assert [chunk for chunk, _ in tokens.chunks(text)] == [text]


@pytest.mark.parametrize(
    ("text", "chunks"),
    [
        ("a red dog eats pizza. a blue cat sleeps. a face", ["a red dog eats pizza.", "a blue cat sleeps. a face"]),
        ('a dog says "a cat!" it says no more of pizza', ['a dog says "a cat!"', "it says no more of pizza"]),
        ("a dog and a red cat\na blue pizza a face", ["a dog and a red cat", "a blue pizza a face"]),
        ("dog " * 12 + "cat", [" ".join(["dog"] * 9), "dog dog dog cat"]),
        ("犬 犬。" * 5, ["犬 犬。犬 犬。犬 犬。", "犬 犬。犬 犬。"]),
    ],
    ids=["sentences", "a quotation", "lines", "words", "no spaces between sentences"],
)
def test_chunks_end_with_sentences_else_with_words(words: Tokens, text: str, chunks: list[str]) -> None:
    """Ten words or marks fit beside the start and the end."""
    assert [chunk for chunk, _ in words.chunks(text)] == chunks


def test_a_chunk_comes_with_the_number_of_its_own_tokens(words: Tokens) -> None:
    assert [own for _, own in words.chunks("a red dog eats pizza. a blue cat sleeps. a face")] == [6, 7]


def test_a_word_that_is_too_long_is_cut(words: Tokens) -> None:
    marks = "-a" * 9 + "-"
    assert "".join(chunk for chunk, _ in words.chunks(f"dog {marks}")) == "dog" + marks
    assert words.chunks(f"dog {marks}")[0] == ("dog", 1)


@settings(max_examples=120, deadline=None)
@given(text=st.one_of(words_and_blanks, st.text(max_size=120)))
def test_chunks_fit_and_lose_or_repeat_nothing(tokens: Tokens, text: str) -> None:
    chunks = tokens.chunks(text)
    assert visible("".join(chunk for chunk, _ in chunks)) == visible(text)
    if len(chunks) == 1:
        assert chunks[0][0] in (text, text.strip()), "to some tokenizers blanks are tokens"
    for chunk, own in chunks:
        assert 1 <= own <= LIMIT
        assert len(chunks) == 1 or chunk.strip() == chunk != ""
        assert tokens.chunks(chunk) == [(chunk, own)], "it fits"


class Counting:
    """A tokenizer that counts how often and how much it is asked."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer, self.calls, self.characters = tokenizer, 0, 0
        self.pad_token_id, self.model_max_length = tokenizer.pad_token_id, tokenizer.model_max_length

    def __call__(self, text: str, **options: Any) -> Any:
        self.calls += 1
        self.characters += len(text)
        return self.tokenizer(text, **options)


@pytest.mark.parametrize("folder", [words_folder, pieces_folder, gemma_folder], ids=["words", "pieces", "gemma"])
@pytest.mark.parametrize(
    "text",
    ["a dog. " * 9_000, "x" * 60_000, "-" * 60_000, "a" + " " * 60_000 + "dog", "a " + "-b" * 30_000 + " dog" * 99],
    ids=["sentences", "a word", "marks", "blanks", "a word among words"],
)
def test_a_long_text_takes_but_a_few_looks_at_each_of_its_chunks(
    folder: Callable[[Path], Path], text: str, tmp_path: Path
) -> None:
    import transformers

    config = transformers.AutoConfig.from_pretrained(folder(tmp_path))
    counting = Counting(open_tokenizer(tmp_path, config, "a model"))
    chunks = Tokens(counting, config, "a model").chunks(text)
    assert visible("".join(chunk for chunk, _ in chunks)) == visible(text)
    assert counting.calls <= 10 * len(chunks) + 20
    assert counting.characters <= 12 * len(text)


def test_a_character_that_takes_more_than_the_limit_is_a_chunk_of_its_own(tmp_path: Path) -> None:
    def spell_out(tokenizer: Any) -> None:
        from tokenizers.normalizers import NFKC

        tokenizer.backend_tokenizer.normalizer = NFKC()  # U+FDFA becomes eighteen letters in four words

    tokens = read(words_folder(tmp_path, max_position_embeddings=4), spell_out)
    assert tokens.chunks("a \ufdfa dog") == [("a", 1), ("\ufdfa", 4), ("dog", 1)]
    assert tokens.inputs(["\ufdfa"])["input_ids"].shape == (1, 4)


def test_the_limit_is_what_both_tokenizer_and_network_allow(tmp_path: Path) -> None:
    def at_most_seven(tokenizer: Any) -> None:
        tokenizer.model_max_length = 7

    assert read(words_folder(tmp_path)).limit == LIMIT
    assert read(tmp_path, at_most_seven).limit == 7
    assert read(words_folder(tmp_path, tiny_kin.altclip())).limit == LIMIT, "of 13 positions padding takes one"


def test_threads_may_share_it(tokens: Tokens) -> None:
    def both(text: str) -> object:
        return tokens.inputs([text, "a"])["input_ids"].tolist(), tokens.chunks(text)

    texts = ["a dog. " * (n % 9) for n in range(40)]
    expected = [both(text) for text in texts]
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(both, texts)) == expected


def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    misfit = r"does not fit it: an empty text becomes \[2, 3\], the end token is {} of {}; take all its files"
    with pytest.raises(ModelError, match=misfit.format(9, 12)):
        read(words_folder(tmp_path, eos_token_id=9))
    with pytest.raises(ModelError, match=misfit.format(3, 3)):
        read(words_folder(tmp_path, eos_token_id=3, vocab_size=3))
    few = read(words_folder(tmp_path, vocab_size=6))
    assert few.inputs(["a red"])["input_ids"].shape == (1, 4)
    with pytest.raises(ModelError, match="does not fit it: it gives the token 6 of 6; take all its files"):
        few.inputs(["a red heart"])


def test_an_old_clip_may_say_that_its_end_token_is_2(tmp_path: Path) -> None:
    assert read(words_folder(tmp_path, tiny.clip_config(), eos_token_id=2)).limit == 8
    tiny.save_tokenizer(tmp_path, ends=False)
    assert read(tmp_path).limit == 8


def test_a_tokenizer_without_padding_is_refused(tmp_path: Path) -> None:
    def without_padding(tokenizer: Any) -> None:
        tokenizer.pad_token = None

    with pytest.raises(ModelError, match="has no padding token; set pad_token in its files"):
        read(words_folder(tmp_path), without_padding)


def test_a_limit_that_leaves_nothing_of_a_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="reads 2 tokens, and 2 of them stand for start and end: nothing of a text"):
        read(words_folder(tmp_path, max_position_embeddings=2))


def test_a_tokenizer_that_is_not_there_is_named(tmp_path: Path) -> None:
    folder = words_folder(tmp_path)
    (folder / "tokenizer.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ModelError, match=r"the tokenizer of the model .* cannot be read \(.*\); take all its files"):
        read(folder)


def test_a_tokenizer_of_sentencepiece_asks_for_its_extra(tmp_path: Path) -> None:
    folder = pieces_folder(tmp_path)
    script = (
        "import sys; sys.modules['sentencepiece'] = None\n"
        "import transformers\n"
        "from pathlib import Path\n"
        "from embeddings_dagster.encoders.tokens import open_tokenizer\n"
        "from embeddings_dagster.errors import MissingExtra\n"
        f"folder = Path({str(folder)!r})\n"
        "try:\n"
        "    open_tokenizer(folder, transformers.AutoConfig.from_pretrained(folder), 'mine')\n"
        "except MissingExtra as error:\n"
        "    print(error)\n"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert said.strip() == (
        "the tokenizer of the model 'mine' needs the package 'sentencepiece', which is not installed. "
        "Install it with: pip install 'embeddings-dagster[siglip]'"
    )
