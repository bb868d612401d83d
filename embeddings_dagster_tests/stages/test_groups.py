"""The group check: the formulas are those of all pairs, the sample's folders cohere, shuffled ones do not."""

import csv
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embeddings_dagster.errors import SettingsError, SourceError
from embeddings_dagster.settings import load_settings
from embeddings_dagster.settings_sources import GroupSettings
from embeddings_dagster.stages.analysis_pictures import Pictures, newest_index
from embeddings_dagster.stages.catalog import refresh_catalog
from embeddings_dagster.stages.groups import cohesion, groups_cohere, source_cohesion
from embeddings_dagster_tests.stages.gallery import EMOJI, MODEL, Gallery, gallery

GROUPS = EMOJI.parent / "groups.csv"
FOLDERS = ("faces", "nature", "travel")


def by_pairs(codes: list[int], vectors: np.ndarray) -> tuple[float, float]:
    """The definitions, spelt out."""
    inside = [i for i, code in enumerate(codes) if code >= 0]
    pairs = [(i, j) for i in inside for j in inside if i != j]
    cosines = {(i, j): float(vectors[i].astype(float) @ vectors[j].astype(float)) for i, j in pairs}
    within = [value for (i, j), value in cosines.items() if codes[i] == codes[j]]
    across = [value for (i, j), value in cosines.items() if codes[i] != codes[j]]
    return float(np.mean(within)), float(np.mean(across))


@given(st.lists(st.integers(-1, 3), min_size=4, max_size=30), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_means_in_one_pass_are_the_means_of_all_pairs(codes: list[int], seed: int) -> None:
    vectors = np.random.default_rng(seed).standard_normal((len(codes), 6)).astype(np.float32)
    measured = cohesion(np.array(codes), 4, 6, lambda some: vectors[some])
    sizes = [codes.count(code) for code in range(4)]
    if max(sizes) < 2 or sum(size > 0 for size in sizes) < 2:
        assert measured is None
        return
    assert measured is not None
    assert measured[0].tolist() == sizes
    assert measured[3] == pytest.approx(by_pairs(codes, vectors), abs=1e-6)
    for code, size in enumerate(sizes):
        if size > 1:
            alone = [0 if each == code else 1 if each >= 0 else -1 for each in codes]
            mine = [i for i, each in enumerate(alone) if each == 0]
            pairs = [float(vectors[i] @ vectors[j]) for i in mine for j in mine if i != j]
            assert measured[1][code] == pytest.approx(np.mean(pairs), abs=1e-5)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Gallery:
    """Three folders of the sample's emoji, ten pictures each, indexed and in the catalogue."""
    from datetime import timedelta

    from embeddings_dagster.stages import looks as looks_module
    from embeddings_dagster.stages import settling as settling_module

    with pytest.MonkeyPatch.context() as patch:
        for module in (looks_module, settling_module):
            patch.setattr(module, "APART", timedelta(0))
        made = gallery(tmp_path_factory.mktemp("groups"))
        for folder in FOLDERS:
            files = sorted((EMOJI / folder).iterdir())[:10]
            made.put({f"{folder}/{file.name}": file.read_bytes() for file in files})
        made.step()
        refresh_catalog(made.context)
    return made


def pictures(sample: Gallery) -> Pictures:
    index = newest_index(sample.store, MODEL)
    assert index is not None
    return Pictures.open(index)


def found(sample: Gallery, said: GroupSettings):
    return source_cohesion(sample.store, sample.settings, "pics", said, pictures(sample))


def dealt_out_anew(path: Path) -> Path:
    """The shipped groups of these pictures, shuffled among them."""
    with GROUPS.open() as handle:
        rows = [row for row in csv.reader(handle) if (EMOJI / row[0]).exists() and row[1] in FOLDERS]
    mine = [row for folder in FOLDERS for row in [each for each in rows if each[1] == folder][:10]]
    groups = [group for _, group in mine]
    random.Random(3).shuffle(groups)
    path.write_text("id,group\n" + "".join(f"{row[0]},{group}\n" for row, group in zip(mine, groups, strict=True)))
    return path


def test_the_samples_folders_cohere(sample: Gallery) -> None:
    cohesion_of = found(sample, GroupSettings(file=GROUPS))
    assert cohesion_of.passed
    assert cohesion_of.failing == []
    assert {(each.group, each.size) for each in cohesion_of.groups} == {("faces", 10), ("nature", 10), ("travel", 10)}
    assert cohesion_of.within > cohesion_of.across + 0.1
    assert not found(sample, GroupSettings(file=GROUPS, margin=0.9)).passed


def test_shuffled_groups_fail(sample: Gallery, tmp_path: Path) -> None:
    cohesion_of = found(sample, GroupSettings(file=dealt_out_anew(tmp_path / "shuffled.csv")))
    assert not cohesion_of.passed
    assert cohesion_of.failing
    assert "not above" in str(cohesion_of)


def test_ids_may_be_whole_or_local_or_without_extension_in_any_dress(sample: Gallery, tmp_path: Path) -> None:
    file = tmp_path / "groups.csv"
    names = [f"{folder}/{each.name}" for folder in FOLDERS for each in sorted((EMOJI / folder).iterdir())[:10]]
    dressed = [
        [f"pics:{name}", name, name.rpartition(".")[0], Path(name).stem][number % 4]
        for number, name in enumerate(names)
    ]
    rows = [f"x,{name}, {names[number].partition('/')[0]} \n" for number, name in enumerate(dressed)]
    file.write_bytes(("Extra,ID,Group\n" + "".join(rows) + "x,nobody,faces\nx,,\n").encode("utf-8-sig"))
    cohesion_of = found(sample, GroupSettings(file=file))
    assert (cohesion_of.pictures, cohesion_of.outside, len(cohesion_of.groups)) == (30, 0, 3)


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16"])
def test_a_file_as_spreadsheets_save_it_is_read(sample: Gallery, tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "groups.csv"
    rows = [f"{each.stem},é{folder}\r\n" for folder in FOLDERS for each in sorted((EMOJI / folder).iterdir())[:10]]
    file.write_bytes(("id,group\r\n" + "".join(rows)).encode(encoding))
    assert {each.group for each in found(sample, GroupSettings(file=file)).groups} == {f"é{each}" for each in FOLDERS}


def test_a_field_of_the_records_makes_groups(sample: Gallery) -> None:
    with pytest.raises(SourceError, match="leaves nothing to compare"):
        found(sample, GroupSettings(field="title"))  # each has its own
    with pytest.raises(SourceError, match="0 are in 0 groups by the field 'nothing'"):
        found(sample, GroupSettings(field="nothing"))


@pytest.mark.parametrize("text", ["", "name,kind\na,b\n", "\x00\xff"])
def test_a_file_of_no_use_is_named_with_the_remedy(sample: Gallery, tmp_path: Path, text: str) -> None:
    file = tmp_path / "groups.csv"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(SourceError, match=r"groups\.csv .*correct it"):
        found(sample, GroupSettings(file=file))


def test_the_check_says_what_failed_and_goes_on(sample: Gallery) -> None:
    source = sample.settings.sources["pics"].model_copy(update={"groups": GroupSettings(file=Path("gone.csv"))})
    settings = sample.settings.model_copy(update={"sources": {"pics": source}})
    settings._root = sample.root
    result = groups_cohere(sample.store, settings, MODEL)
    assert not result.passed
    assert "gone.csv cannot be read" in result.description
    good = source.model_copy(update={"groups": GroupSettings(file=GROUPS)})
    result = groups_cohere(sample.store, settings.model_copy(update={"sources": {"pics": good}}), MODEL)
    assert result.passed
    assert result.detail["pics"]["failing_groups"] == 0  # type: ignore[index]


def test_without_an_index_there_is_nothing_to_compare(tmp_path: Path) -> None:
    empty = gallery(tmp_path)
    assert groups_cohere(empty.store, empty.settings, MODEL).passed


def test_settings_say_one_of_field_and_file_and_a_missing_file_is_told(tmp_path: Path) -> None:
    file = tmp_path / "embeddings.yaml"
    start = "sources:\n  pics:\n    kind: folder\n    path: .\n    groups:\n"
    file.write_text(start + "      field: brand\n      file: groups.csv\n")
    with pytest.raises(SettingsError, match=r"sources\.pics\.groups: .*give one of the two"):
        load_settings(file)
    file.write_text(start + "      file: groups.csv\n")
    assert any("groups.csv" in problem for problem in load_settings(file).check_folders())
