"""What a run may be told, in the launchpad or with `-c run.yaml`. Empty fields mean: as the settings say."""

from collections.abc import Mapping
from typing import Any

import dagster as dg
from pydantic import Field, ValidationError

from embeddings_dagster.errors import SettingsError
from embeddings_dagster.settings_models import ModelSettings


class StageConfig(dg.Config):
    """Run config of `raw_images` and `rgb_images`."""

    retry_failed: bool = Field(default=False, description="Try recorded failures again, also those that will not heal.")
    force: bool = Field(default=False, description="Make every row anew, present or not.")
    heal: bool = Field(default=False, description="Make the rows anew that lie in damaged files, and no others.")
    download: bool | None = Field(default=None, description="Fetch the pictures of catalogues that are not here.")


class RefreshConfig(dg.Config):
    """Run config of an index or the catalogue."""

    force: bool = Field(default=False, description="Plan every row anew, whatever there is.")
    heal: bool = Field(default=False, description="Make the segments of an index anew of which a file is damaged.")


class EncodeConfig(StageConfig):
    """Run config of an embeddings asset."""

    device: str | None = Field(default=None, description="auto, cpu, cuda, cuda:N or mps.")
    precision: str | None = Field(
        default=None,
        description="Precision the model computes in: fp32, bf16, fp16 or auto; int8 is said in the settings.",
    )
    batch_size: int | None = Field(default=None, description="Images the model takes at once; halved when memory ends.")

    def applied_to(self, model: ModelSettings) -> ModelSettings:
        """The settings' model with this run's own device, precision and batch size.

        Raises:
            SettingsError: a value is not one the settings would accept.
        """
        given = {"device": self.device, "precision": self.precision, "batch_size": self.batch_size}
        changed = {name: value for name, value in given.items() if value is not None}
        if "int8" in (self.precision, model.precision) and self.precision not in (None, model.precision):
            raise SettingsError(
                f"run config precision: {self.precision} where the settings say {model.precision}; vectors of int8 are "
                "others than those of floats, under a fingerprint of their own; change `precision` in the settings"
            )
        try:
            return ModelSettings.model_validate({**model.model_dump(), **changed})
        except ValidationError as error:
            raise SettingsError("\n".join(map(_told, error.errors()))) from None


def _told(mistake: Mapping[str, Any]) -> str:
    where = " ".join(["run config", *map(str, mistake["loc"])])  # what does not fit together has no key
    return f"{where}: {mistake['msg'].removeprefix('Value error, ')}"
