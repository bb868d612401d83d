"""Which fingerprint a model of the settings has in this project: by its files, and by what it was calibrated on."""

from embeddings_dagster.encoders import ModelIdentity, identify
from embeddings_dagster.settings_models import ModelSettings
from embeddings_dagster.stages.calibration import with_calibration
from embeddings_dagster.store import Store


def identity(store: Store, name: str, model: ModelSettings, *, download: bool = True) -> ModelIdentity:
    """The identity of the model that the settings call `name`.

    Raises:
        ModelUnavailable: its files are not here, or no run has calibrated it for int8 yet.
        ModelError: its files are not those of a model of that kind.
    """
    return identify(with_calibration(store, name, model, download=download), download=download)
