"""The whole line on a pile of artwork: every row there, every vector right, and only what changed made again."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import embeddings_dagster
from embeddings_dagster_tests.line.project import Project, latest, render_artwork

COUNT = 530  # more than one part holds
MODEL = Path(embeddings_dagster.__file__).parent / "bundled" / "clip"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = Project.make(tmp_path_factory.mktemp("artwork"), COUNT)
    made.run()
    return made


def plain_loop(folder: Path) -> dict[str, np.ndarray]:
    """What a hand-written script does: composite on white by the formula, transformers' processor, model, normalise."""
    import torch
    from transformers import AutoImageProcessor, CLIPModel

    model = CLIPModel.from_pretrained(MODEL, dtype=torch.float32).eval()
    processor = AutoImageProcessor.from_pretrained(MODEL, backend="pil")
    vectors = {}
    paths = sorted(folder.glob("*.png"))
    for start in range(0, len(paths), 64):
        pixels = []
        for path in paths[start : start + 64]:
            rgba = np.asarray(Image.open(path), dtype=np.float64)
            alpha = rgba[:, :, 3:] / 255
            rgb = np.rint(rgba[:, :, :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)
            pixels.append(Image.fromarray(rgb))
        with torch.inference_mode():
            inputs = processor(images=pixels, return_tensors="pt")
            features = model.get_image_features(**inputs).pooler_output.numpy()
        features /= np.linalg.norm(features, axis=1, keepdims=True)
        vectors.update({f"art:{path.name}": row for path, row in zip(paths[start : start + 64], features, strict=True)})
    return vectors


def test_every_picture_has_the_vector_that_a_plain_loop_gives_it(project: Project) -> None:
    expected = plain_loop(project.pictures)
    found = project.vectors()
    assert len(found) == COUNT
    assert found.keys() == expected.keys()
    assert max(float(np.abs(found[each] - expected[each]).max()) for each in expected) < 1e-5


def test_ten_new_and_two_changed_pictures_cost_twelve(project: Project, tmp_path: Path) -> None:
    root = tmp_path / "copy"
    shutil.copytree(project.root, root, ignore=shutil.ignore_patterns("cache"))
    more = Project(root)
    before = {name: latest(more.chain(name)) for name in ("raw_images", "rgb_images", "embeddings")}
    render_artwork(tmp_path / "fresh", 12, seed=8)
    for number in range(1, 11):
        shutil.copy(tmp_path / "fresh" / f"{number:04d}.png", more.pictures / f"new-{number}.png")
    changed = ["0100.png", "0525.png"]
    for name, fresh in zip(changed, ("0011.png", "0012.png"), strict=True):
        shutil.copy(tmp_path / "fresh" / fresh, more.pictures / name)
    old = more.vectors()

    more.run()

    new = more.vectors()
    touched = {f"art:new-{number}.png" for number in range(1, 11)} | {f"art:{name}" for name in changed}
    assert new.keys() - old.keys() == touched - {f"art:{name}" for name in changed}
    assert {each for each in old if not np.array_equal(old[each], new[each])} == {f"art:{name}" for name in changed}
    for name, manifest in before.items():
        after = latest(more.chain(name))
        kept = {part.file for part in manifest.parts}
        added = [part for part in after.parts if part.file not in kept]
        assert kept <= {part.file for part in after.parts}, f"{name} wrote a part anew"
        assert [part.rows for part in added] == [12]
        runs = more.chain(name).rows(after, ["image_id", "run_id"])
        run_ids = dict(zip(*(column.to_pylist() for column in runs.columns), strict=True))
        newest = run_ids["art:new-1.png"]
        assert {each for each, run_id in run_ids.items() if run_id == newest} == touched
    segments = list((root / "data" / "indexes" / "clip").glob("*/segments/*/rows.parquet"))
    assert len(segments) == 2
