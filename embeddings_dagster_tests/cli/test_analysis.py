"""`duplicates` and `map` as they are typed."""

import json
import shutil
from pathlib import Path

from PIL import Image

from embeddings_dagster_tests.cli.conftest import Command


def test_duplicates_before_any_run_say_how_to_find_them(project: Path, command: Command) -> None:
    said = command("duplicates")
    assert said.code == 1
    assert "embeddings duplicates --refresh" in said.err


def test_none_are_said_to_be_none(project: Path, command: Command) -> None:
    said = command("duplicates", "--refresh", "--sheet", "sheet.jpg")
    assert (said.code, said.out) == (0, "no pictures are nearly the same\n")
    assert "no contact sheet was written" in said.err
    assert not Path("sheet.jpg").exists()


def test_duplicates_are_listed_and_drawn(project: Path, command: Command) -> None:
    shutil.copy2("pics/dog.png", "pics/dog again.png")
    Image.open("pics/pizza.png").convert("RGBA").resize((300, 300)).save("pics/pizza large.png")
    assert command("run").code == 0
    said = command("duplicates", "--refresh", "--sheet", "sheet.jpg")
    lines = [" ".join(line.split()) for line in said.out.splitlines()]
    assert lines[0] == "pictures stands for them others least cosine most bits"
    assert lines[1].startswith("2 pics:dog again.png pics:dog.png 1.000 0")
    assert lines[2].startswith("2 pics:pizza large.png pics:pizza.png")
    assert "4 of 7 pictures in 2 clusters, 1 of them exact copies; clip, generation 1" in said.err
    assert Image.open("sheet.jpg").format == "JPEG"
    document = json.loads(command("duplicates", "--json", "-k", "1").out)
    assert (document["clusters"], document["members"]) == (2, 4)
    [cluster] = document["listed"]
    assert [(each["image_id"], each["exact"]) for each in cluster["members"]] == [
        ("pics:dog again.png", True),
        ("pics:dog.png", True),
    ]


def test_a_map_is_drawn_of_any_model_in_either_format(project: Path, command: Command) -> None:
    said = command("map", "--out", "map.png")
    assert (said.code, said.out) == (0, "map.png: 5 of 5 pictures by clip\n")
    assert Image.open("map.png").format == "PNG"
    document = json.loads(command("map", "--out", "small.jpg", "--model", "dino", "--json").out)
    assert (document["model"], document["shown"], document["file"]) == ("dino", 5, "small.jpg")
    assert Image.open("small.jpg").format == "JPEG"
    assert command("map", "--out", "map.gif").code == 2
    said = command("map", "--model", "nobody")
    assert (said.code, "no model of pictures 'nobody'" in said.err) == (1, True)
    said = command("map", "--out", "gone/map.png")
    assert (said.code, "cannot be written" in said.err) == (1, True)
