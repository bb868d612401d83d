"""The benchmark of encoding at a size that takes seconds: what it makes, counts and tells, not how long it takes."""

import importlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
IMAGES = 6


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """Its modules; a step is called here rather than in a process of its own."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    names = ("inputs", "contestants", "parts", "results", "report", "child", "ceilings", "project", "models")
    modules = {name: importlib.import_module(f"encoding_{name}") for name in names}
    monkeypatch.setattr(modules["ceilings"], "SECONDS", 0.01)
    monkeypatch.setattr(modules["ceilings"], "SIDE", 64)
    monkeypatch.setattr(modules["ceilings"], "BATCHES", 2)
    threads = torch.get_num_threads()
    yield SimpleNamespace(**modules)
    torch.set_num_threads(threads)


@pytest.fixture
def sizes(bench: SimpleNamespace, tmp_path: Path) -> Any:
    one = (bench.contestants.DEFAULT,)
    return bench.parts.Sizes(tmp_path, IMAGES, (4, 8), 4, 8, 4, variants=one)


def here(bench: SimpleNamespace) -> Any:
    return lambda spec: json.loads(json.dumps(bench.child.STEPS[spec["step"]](json.loads(json.dumps(spec)))))


def quiet(_: str) -> None:
    return None


@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_a_picture_is_the_same_whenever_it_is_drawn_and_keeps_its_pixels_under_another_comment(
    bench: SimpleNamespace, kind: str
) -> None:
    draw, _ = bench.inputs.INPUTS[kind]
    data = draw(3, 96)
    assert draw(3, 96) == data != draw(4, 96)
    told = bench.inputs.commented(data, "another")
    assert told != data
    before, after = (np.asarray(Image.open(io.BytesIO(each))) for each in (data, told))
    np.testing.assert_array_equal(before, after)
    assert before.shape == (96, 96, 4 if kind == "png" else 3)


def test_every_picture_of_a_pile_has_bytes_of_its_own_and_a_share_of_them_can_be_changed(
    bench: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench.inputs, "DISTINCT", 3)
    folder = bench.inputs.pile(tmp_path, "small", 20)

    def contents() -> list[bytes]:
        return [path.read_bytes() for path in sorted(folder.rglob("*.jpg"))]

    before = contents()
    assert len(set(before)) == 20
    assert bench.inputs.change(folder, "small", 20, 0.1, "now") == 2
    assert sum(a != b for a, b in zip(before, contents(), strict=True)) == 2


def test_unlike_pictures_have_unlike_vectors(bench: SimpleNamespace, tmp_path: Path) -> None:
    """Else a cosine between two precisions would say nothing."""
    spec = {"step": "loop", "batch": 4, "threads": 0, "device": "cpu", "count": 8}
    spec |= {"pictures": str(bench.inputs.pile(tmp_path / "small", "small", 8)), "vectors": str(tmp_path / "v.npy"),
             "model": str(bench.models.model_folder(tmp_path, "trivial_clip", write=True))}  # fmt: skip
    here(bench)(spec)
    vectors = np.load(spec["vectors"])
    assert np.median((vectors @ vectors.T)[np.triu_indices(8, 1)]) < 0.99


@pytest.mark.parametrize("section", ["committed", pytest.param("files", marks=pytest.mark.torture)])
def test_a_round_gives_every_contestant_its_figures_and_the_loops_vectors(
    bench: SimpleNamespace, sizes: Any, section: str
) -> None:
    """Those of other projects are left out where they are not installed, as in the report."""
    part = bench.parts.encoding(sizes, "trivial_clip", "small", section)
    results = bench.results.Results(sizes.work / "results.json")
    bench.results.measure(part, results, here(bench), rounds=1, tell=quiet)
    record = results.parts[part.name]
    assert set(record["rounds"][0]) == {each.name for each in part.contestants}
    for name in ("loop-1", "loop-32-alone", "fp32_torch_exact"):
        assert record["cosines"][name]["least"] > 0.99999
    assert record["rounds"][0]["fp32_torch_exact"]["precisions"] == {"fp32": IMAGES}
    text = bench.report.report(results.parts, "command", [])
    assert "| fp32, torch, exact |" in text
    assert "| loop, one picture at a time |" in text


def test_what_was_interrupted_goes_on_with_what_is_missing(bench: SimpleNamespace, sizes: Any) -> None:
    done: list[str] = []

    def run(spec: dict[str, Any]) -> dict[str, Any]:
        done.append(spec["how"])
        if len(done) == 3:
            raise KeyboardInterrupt
        return {"cpu": 1.0, "wall": 1.0, "images": 4}

    part = bench.parts.orchestration(sizes)
    file = sizes.work / "results.json"
    with pytest.raises(KeyboardInterrupt):
        bench.results.measure(part, bench.results.Results(file), run, rounds=2, tell=quiet)
    results = bench.results.Results(file)
    bench.results.measure(part, results, run, rounds=2, tell=quiet)
    assert done == ["stages", "run", "stages", "stages", "run"]
    assert [sorted(each) for each in results.parts[part.name]["rounds"]] == [["run", "stages"]] * 2


@pytest.mark.torture
def test_memory_is_measured_at_each_size(bench: SimpleNamespace, sizes: Any) -> None:
    results = bench.results.Results(sizes.work / "results.json")
    bench.results.measure(bench.parts.memory(sizes), results, here(bench), rounds=1, tell=quiet)
    figures = results.parts["memory"]["rounds"][0]
    assert all(0 < figures[name]["baseline"] <= figures[name]["peak"] for name in ("4", "8"))
    assert "| 8 images |" in bench.report.report(results.parts, "command", [])


def test_a_second_run_finds_what_was_changed_and_no_more(bench: SimpleNamespace, tmp_path: Path) -> None:
    """In a process of its own, through Dagster, as it is measured."""
    pictures = bench.inputs.pile(tmp_path / "pictures", "small", 4)
    bench.project.write_project(tmp_path, pictures, "small", None)
    spec = {"step": "run", "how": "run", "root": str(tmp_path), "pictures": str(pictures), "kind": "small", "count": 4}
    assert bench.results.child(spec)["images"] == 4
    here(bench)({**spec, "how": "stages", "change": 0.25})
    opened = bench.project.Opened(tmp_path)
    rows = list(opened.rows("pictures", "raw_images", ("image_id", "run_id")))
    assert len(rows) == 4
    assert sum(row["run_id"] == "benchmark" for row in rows) == 1


def test_the_ceilings_of_a_gpu_are_those_of_the_decoder_and_the_model_alone(bench: SimpleNamespace, sizes: Any) -> None:
    """On this machine's CPU: the steps are the same."""
    folder = bench.models.model_folder(sizes.work, "trivial_clip", write=True)
    pictures = bench.inputs.pile(sizes.work / "small", "small", 4)
    variant = sizes.variants[0]
    model = bench.contestants.settings("clip", folder, variant, device="cpu", threads=2)
    bench.project.write_project(sizes.work / "p", pictures, "small", {variant.name: model})
    common = {"root": str(sizes.work / "p"), "model": variant.name, "device": "cpu", "precision": "fp32"}
    run = here(bench)
    run({**common, "step": "commit", "files": ""})
    assert run({**common, "step": "decoding"})["images"] == 4
    assert run({**common, "step": "model", "folder": str(folder), "at_once": [3]})["images"] == 6


def figures(cpu: float, **more: Any) -> dict[str, Any]:
    return {"cpu": cpu, "wall": cpu, "images": 10, "operations": 10**9, **more}


def test_the_report_sets_each_ratio_beside_its_target(bench: SimpleNamespace, sizes: Any) -> None:
    """Over the best of the loops, round by round; what misses its target is said to."""
    ours = {"warming_cpu": 1.0, "precisions": {"fp32": 10}}
    record = {
        "section": "committed", "about": {"images": 10}, "machine": bench.results.machine(),
        "facts": {"title": "A model", "targets": {"fp32": 1.1, "int8": 3.5}, "operations": 10**8, "calibration": {}},
        "titles": {name: name for name in ("gemm-fp32", "loop-1", "loop-32", "a_torch", "b_openvino")},
        "precisions": {"a_torch": "fp32", "b_openvino": "int8"}, "unlike": {"mean": 0.5, "least": 0.1},
        "cosines": {"a_torch": {"least": 1.0, "mean": 1.0}, "b_openvino": {"least": 0.98, "mean": 0.99}},
        "rounds": [{"gemm-fp32": figures(1.0), "loop-1": figures(5.0), "loop-32": figures(4.0 * slow),
                    "a_torch": figures(2.0 * slow, **ours), "b_openvino": figures(1.0, **ours)} for slow in (1, 1, 2)],
    }  # fmt: skip
    text = bench.report.report({"x": record}, "command", [])
    assert "| committed: A model | fp32 | a_torch | 2.00 | 1.1 | 1.000000 | 0.99999 | reached |" in text
    assert "| committed: A model | int8 | b_openvino | 4.00 (4.00–8.00) | 3.5 | 0.980000 | 0.99 | **missed** |" in text
    assert "Not measured: there was none here" in text


def test_a_gpus_figures_are_judged_by_the_lower_ceiling(bench: SimpleNamespace) -> None:
    record = {
        "section": "gpu", "about": {"images": 10}, "facts": {"title": "A model", "target": 5},
        "machine": bench.results.machine(), "titles": {"decoding-a": "d", "model-a": "m", "a": "a"}, "precisions": {},
        "rounds": [{"decoding-a": figures(0.5), "model-a": figures(0.9), "a": figures(1.0)}],
    }  # fmt: skip
    assert "| a | 10 | 5 | 20 | 11 | 90% | reached |" in bench.report.report({"x": record}, "command", [])
