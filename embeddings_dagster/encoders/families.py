"""Families of models by the `model_type` of their config.json: what their vectors are called, how they read text.

Nothing here loads torch or transformers. A family is listed once a test loads a model of it and finds transformers' own
vectors; so one that is new to transformers is refused, and not tried on someone's pictures.
"""

from dataclasses import dataclass

from embeddings_dagster.errors import ModelError


@dataclass(frozen=True)
class Family:
    """What is particular to one architecture.

    `outputs`: the weights whose first axis is the vectors' length, as the checkpoint names them, perhaps behind a
    prefix. `end_token`: the feature of a text is that of its end token; `old_end`: its number in config.json may be an
    old one that transformers overlooks. `fills_up`: texts are always filled up to the limit and nothing is masked, as
    in training; the feature is that of the last position.
    """

    outputs: tuple[str, ...]
    end_token: bool = False
    old_end: bool = False
    fills_up: bool = False


_PROJECTIONS = ("visual_projection.weight", "text_projection.weight")
_CLIP = Family(_PROJECTIONS, end_token=True, old_end=True)
_BERT = Family(_PROJECTIONS)

CLIP_KIN = {
    "clip": _CLIP,
    "clipseg": _CLIP,
    "metaclip_2": Family(_PROJECTIONS, end_token=True),
    "groupvit": Family(("visual_projection.3.weight", "text_projection.3.weight"), end_token=True, old_end=True),
    "siglip": Family(("vision_model.head.layernorm.weight", "text_model.head.weight"), fills_up=True),
    "align": Family(("text_projection.weight",)),
    "altclip": _BERT,
    "blip": _BERT,
    "chinese_clip": _BERT,
    "vision-text-dual-encoder": _BERT,
}

DINO_KIN = {
    "dinov2": Family(("layernorm.weight",)),
    "dinov2_with_registers": Family(("layernorm.weight",)),
    "dinov3_vit": Family(("norm.weight",)),
    "vit": Family(("layernorm.weight",)),
}

KINDS = {"clip": CLIP_KIN, "dino": DINO_KIN}

# These have features of pictures and of texts too, but not one vector for each that depends on nothing else.
UNFIT = {
    "aimv2": "transformers masks its texts in two ways, so that a text's vector depends on those beside it",
    "siglip2": "its pictures keep their shapes (NaFlex); take a SigLIP 2 of fixed resolution, whose type is siglip",
    "flava": "its features are one vector for each patch and word",
    "blip-2": "its features of texts are one vector for each word",
    "tipsv2": "its image processor needs torchvision, whose pixels depend on the version",
    "owlvit": "it finds objects, and has no vector of a whole picture that its text was trained with",
    "owlv2": "it finds objects, and has no vector of a whole picture that its text was trained with",
}


def family_of(kind: str, model_type: str, name: str) -> Family:
    """The family of the model `name`, which is to be of `kind` clip or dino.

    Raises:
        ModelError: it is of another kind, or of none that fits.
    """
    found = KINDS[kind].get(model_type)
    if found is not None:
        return found
    if model_type in UNFIT:
        raise ModelError(f"the model {name!r} (type {model_type}) cannot be used: {UNFIT[model_type]}")
    other = next((other for other, kin in KINDS.items() if model_type in kin), None)
    remedy = f"set its `kind` to {other}" if other else "correct `kind` or `model`, or make it a model of kind custom"
    known = ", ".join(sorted(KINDS[kind]))
    raise ModelError(f"the model {name!r} is of type {model_type!r}, and kind {kind} takes {known}; {remedy}")
