"""Colours to sRGB by the picture's embedded profile, where it has one that makes sense.

A profile is advice. One that is larger than 8 MiB, does not parse, or is for another colour space than the pixels is
ignored, and the colours are taken as they stand: grey and RGB as sRGB, CMYK by Pillow's plain inversion. A profile
that is sRGB under whatever name leaves each pixel exactly as it is.
"""

from io import BytesIO

import numpy as np
from PIL import Image, ImageCms

MAX_PROFILE_BYTES = 8 * 2**20
_SPACES = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}
# The corners and inner points of the colour cube at which a profile is compared with sRGB.
_STEPS = np.linspace(0, 255, 9).round().astype(np.uint8)
_LATTICE = Image.fromarray(np.stack(np.meshgrid(_STEPS, _STEPS, _STEPS), axis=-1).reshape(27, 27, 3))


def to_srgb(colours: Image.Image, profile: object) -> Image.Image:
    """`colours` (mode `L`, `RGB` or `CMYK`) as `RGB` in sRGB; `profile` is the embedded ICC profile's bytes, or None.

    Relative colorimetric with black point compensation, which keeps neutral greys neutral.
    """
    transform = _transform(colours.mode, profile)
    if transform is None:
        return colours if colours.mode == "RGB" else colours.convert("RGB")
    return transform.apply(colours)


def _transform(mode: str, profile: object) -> ImageCms.ImageCmsTransform | None:
    if not isinstance(profile, bytes) or not 0 < len(profile) <= MAX_PROFILE_BYTES:
        return None
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        if source.profile.xcolor_space.strip() != _SPACES[mode]:
            return None
        transform = ImageCms.ImageCmsTransform(
            source,
            ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")),
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        return None if mode == "RGB" and _changes_nothing(transform) else transform
    except MemoryError:
        raise
    except Exception:  # a broken profile is reported in many classes, and is never a reason to lose the picture
        return None


def _changes_nothing(transform: ImageCms.ImageCmsTransform) -> bool:
    before = np.asarray(_LATTICE).astype(np.int16)
    after = np.asarray(transform.apply(_LATTICE)).astype(np.int16)
    return int(np.abs(after - before).max()) <= 1
