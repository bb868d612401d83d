from embeddings_dagster.images import DecodeRules, recipe


def test_the_recipe_follows_the_background_and_nothing_that_leaves_pixels_alone() -> None:
    usual = recipe(DecodeRules())
    assert len(usual) == 12
    assert recipe(DecodeRules(background=(0, 0, 0))) != usual
    assert recipe(DecodeRules(max_pixels=5, max_bytes=5, thumbnail_size=16)) == usual
