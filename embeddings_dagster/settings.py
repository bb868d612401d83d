"""Typed settings: `embeddings.yaml`, environment variables over it.

Every mistake is reported at once, each on one line with the file's line (or the variable's name) and the remedy.
Nothing here looks at the disk but `load_settings` (the file itself) and `check_folders`; a source whose disk is not
mounted must not keep the definitions from loading.
"""

import os
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, PrivateAttr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings import SettingsError as EnvironmentUnreadable

from embeddings_dagster import ids
from embeddings_dagster.errors import SettingsError
from embeddings_dagster.settings_models import TEXT_SUFFIX, ModelName, ModelSettings, SaidModel
from embeddings_dagster.settings_sources import Section, Source, missing, places
from embeddings_dagster.settings_yaml import Document, explain, parse_yaml

FILE_NAME = "embeddings.yaml"
FILE_VARIABLE = "EMBEDDINGS_SETTINGS"
ENV_PREFIX = "EMBEDDINGS_"
OTHER_VARIABLES = {FILE_VARIABLE, "EMBEDDINGS_KILL_AT"}  # read elsewhere, not keys of the settings


def _source_name(name: str) -> str:
    if not ids.is_source_name(name):
        raise ValueError("a source's name is made of a-z, 0-9 and '-', and starts with a letter or digit")
    return name


def plain_address(root: str) -> str:
    """The root of a store as it is, if it is a path, or `scheme://bucket/prefix` and nothing more.

    Raises:
        ValueError: it holds what does not belong there; it is not repeated, since that may be a secret.
    """
    scheme, separator, address = root.partition("://")
    if not separator:
        return root
    if any(each in address for each in "@?#") or "::" in root:
        raise ValueError(
            "a store's address is scheme://bucket/prefix, without a user, a password, a key or a query; credentials "
            "come from the environment, ~/.aws or the machine's role (docs/object-storage.md)"
        )
    if scheme in ("s3", "s3a") and not all(address.rstrip("/").split("/")):
        raise ValueError(f"a store's address is scheme://bucket/prefix, with one '/' between names, and not {root!r}")
    return root


SourceName = Annotated[str, AfterValidator(_source_name)]


class RgbSettings(Section):
    """How pixels are made; a change of `background` makes every picture anew."""

    background: str = Field("#ffffff", pattern=r"^#[0-9a-fA-F]{6}$")
    max_pixels: int = Field(100_000_000, ge=1)
    max_bytes: int = Field(256 * 2**20, ge=1)
    max_seconds: float = Field(60, gt=0, description="for one picture, in a process of its own where that is needed")
    thumbnail_size: int = Field(256, ge=16, le=1024)


class RemovalSettings(Section):
    """A plan that removes more than both of a source stops and asks."""

    fraction: float = Field(0.2, ge=0, le=1)
    images: int = Field(100, ge=0)


class IndexSettings(Section):
    """What an index promises, and how its segments are made; takes effect on those made from then on."""

    recall_target: float = Field(0.95, gt=0, le=1, description="mean recall@10; 1: every search is exact")
    hnsw_rows: int = Field(20_000, ge=1, description="a segment with fewer rows is flat, and exact")
    segment_rows: int = Field(1_000_000, ge=1_000, description="no segment is larger: bounds memory and time of one")


class GcSettings(Section):
    """What garbage collection leaves; see docs/maintenance.md."""

    older_than_days: float = Field(7, ge=1, le=36_500, description="younger things stay, whatever they are")
    keep: int = Field(3, ge=1, description="complete versions of each batch, index and the rest that stay")


class AnalysisSettings(Section):
    """How pictures are compared with each other; see docs/analysis.md for what was measured."""

    model: ModelName | None = Field(None, description="whose vectors; default: the first model")
    duplicate_bits: int = Field(7, ge=0, le=7, description="of 64 of the perceptual hash, that may differ")
    duplicate_cosine: float = Field(0.93, ge=-1, le=1, description="least cosine of two pictures nearly the same")
    map_pictures: int = Field(1000, ge=4, le=4000, description="pictures on the map, chosen evenly")


class DagsterSettings(Section):
    """What Dagster is told: pools, tags, retries, and how often to look."""

    gpu_pool_limit: int | None = Field(None, ge=1, description="default: the number of GPUs, or 1")
    batches_per_run: int = Field(1, ge=1, description="partitions a backfill gives to one run")
    sensor_seconds: int = Field(30, ge=5)
    sensor_batches: int = Field(50, ge=1, le=1000, description="runs a sensor asks for in one tick, at most")
    reconcile_cron: str = "0 3 * * *"
    refresh_cron: str = Field("0 4 * * 0", description="when the pictures of catalogues are asked for again")
    compact_cron: str = Field("15 * * * *", description="when segments of the indexes are merged, where any are due")
    analyse_cron: str = Field("0 5 * * *", description="when near-duplicates, the map and the canaries are looked at")
    gc_cron: str = Field("30 5 * * 0", description="when what nobody needs any more is taken away")
    max_retries: int = Field(3, ge=0)
    retry_seconds: float = Field(10, ge=0)
    owners: list[str] = Field(default_factory=list)
    op_tags: dict[str, str | dict[str, Any]] = Field(default_factory=dict, description="for cluster launchers")


def _bundled_models() -> dict[str, ModelSettings]:
    return {
        "clip": ModelSettings(kind="clip", model="bundled:clip"),
        "dino": ModelSettings(kind="dino", model="bundled:dino"),
    }


class Settings(BaseSettings):
    """All of `embeddings.yaml`, with paths resolved against the folder it lies in."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
    )

    data: Annotated[str, AfterValidator(plain_address)] = "data"
    cache: str | None = None
    batch_images: int = Field(4096, ge=1, le=100_000)
    sources: dict[SourceName, Source] = Field(default_factory=dict)
    models: dict[ModelName, SaidModel] = Field(default_factory=_bundled_models)
    rgb: RgbSettings = RgbSettings()
    removals: RemovalSettings = RemovalSettings()
    index: IndexSettings = IndexSettings()
    analysis: AnalysisSettings = AnalysisSettings()
    gc: GcSettings = GcSettings()
    dagster: DagsterSettings = DagsterSettings()

    @field_validator("models")
    @classmethod
    def _names_differ(cls, models: dict[str, ModelSettings]) -> dict[str, ModelSettings]:
        for name, model in models.items():
            if model.reads_text and model.texts and name + TEXT_SUFFIX in models:
                raise ValueError(f"{name + TEXT_SUFFIX!r} is the name of the texts of {name!r}; choose another")
        return models

    @model_validator(mode="after")
    def _analysed_model_is_there(self) -> Self:
        named = self.analysis.model
        if named is not None and named not in self.models:
            raise ValueError(f"analysis.model: no model {named!r} under `models`; name one of {', '.join(self.models)}")
        return self

    _root: Path = PrivateAttr(default_factory=Path.cwd)
    _document: Document | None = PrivateAttr(default=None)
    _file: Path | None = PrivateAttr(default=None)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return env_settings, init_settings

    @property
    def root(self) -> Path:
        """The folder that relative paths start from."""
        return self._root

    @property
    def spaces(self) -> dict[str, ModelSettings]:
        """Every set of vectors that is made, by name: that of each model's pictures, and `<model>_text` of the texts of
        records, where a source has such records and the model reads text."""
        has_texts = any(source.carries_text for source in self.sources.values())
        spaces = {}
        for name, model in self.models.items():
            spaces[name] = model
            if has_texts and model.texts and model.reads_text:
                spaces[name + TEXT_SUFFIX] = model.model_copy(update={"side": "text"})
        return spaces

    @property
    def data_root(self) -> str:
        """The store's root: an absolute local path or an fsspec URL."""
        return self.data if "://" in self.data else str(self.resolve(self.data))

    @property
    def cache_root(self) -> Path:
        """Local folder of derived files; may be deleted at any time."""
        if self.cache is not None:
            return self.resolve(self.cache)
        return self.resolve("cache") if "://" in self.data else Path(self.data_root) / "cache"

    def image_cache(self, source: str) -> Path:
        """Local folder of a source's downloads: beside the data where that is local, else under the cache."""
        root = self.cache_root if "://" in self.data else Path(self.data_root)
        return root / "image_cache" / source

    def resolve(self, path: str | Path) -> Path:
        return (self._root / os.path.expanduser(path)).absolute()  # Path.expanduser raises where there is no such user

    def source_path(self, name: str) -> Path:
        return self.resolve(self.sources[name].path)

    def place(self, *path: str) -> str:
        """A key with the line it stands in, as messages name it: `sources.photos.path (embeddings.yaml:4)`."""
        key = ".".join(path)
        return f"{key} ({self._document.where(path)})" if self._document else key

    def outdated_sources(self) -> set[str]:
        """The sources that their file has not any more as it was read: whoever runs for long, and goes on with them,
        brings back what was forgotten since. None where it cannot be read: it may be in the middle of an edit."""
        if self._file is None or self._document is None:
            return set()
        try:
            now = parse_yaml(self._file).data.get("sources") or {}
        except (SettingsError, OSError):
            return set()
        if not isinstance(now, dict):
            return set()
        then = self._document.data.get("sources") or {}
        return {name for name in self.sources if name in then and (name not in now or now[name] != then[name])}

    def check_folders(self) -> list[str]:
        """One line for each source folder or file that is not there, with its place in the file and the remedy."""
        problems = []
        for name, source in self.sources.items():
            for key, named, kinds in places(source):
                path = self.resolve(named)
                state = missing(path, kinds)
                if state:
                    where = f"{self._where('sources', name, key)}: sources.{name}.{key}"
                    problems.append(f"{where}: {str(path)!r} {state}; create it, mount it, or correct the path")
        return problems

    def _where(self, *path: str) -> str:
        return self._document.where(path) if self._document else "settings"


def find_settings(start: Path | None = None) -> Path | None:
    """The settings file in force: `EMBEDDINGS_SETTINGS`, else `embeddings.yaml` in the folder or one above it."""
    named = os.environ.get(FILE_VARIABLE)
    if named:
        return Path(os.path.expanduser(named)).absolute()
    folder = (start or Path.cwd()).absolute()
    return next((each / FILE_NAME for each in (folder, *folder.parents) if (each / FILE_NAME).is_file()), None)


def load_settings(path: Path | None = None) -> Settings:
    """Read the settings file at `path` (default: `find_settings()`; none found: defaults, no sources).

    Raises:
        SettingsError: the file is missing, is not YAML, or holds mistakes: one line for each.
    """
    path = path or find_settings()
    document = Document("defaults", {}, {}) if path is None else parse_yaml(path)
    settings = settings_from(document, root=path.parent.absolute() if path else Path.cwd())
    settings._file = path and path.absolute()
    return settings


def settings_from(document: Document, *, root: Path) -> Settings:
    """Validate a parsed document, the environment over it."""
    problems = _unknown_variables()
    try:
        settings = Settings(**document.data)
    except ValidationError as error:
        problems += explain(error, document, Settings, ENV_PREFIX)
    except (EnvironmentUnreadable, RecursionError) as error:
        problems.append(f"environment variables {ENV_PREFIX}…: {error}; correct its JSON, or unset it")
    if problems:
        raise SettingsError("\n".join(problems))
    settings._root = root
    settings._document = document
    for name, model in settings.models.items():
        settings.models[name] = _with_whole_paths(settings, model)
    return settings


def _with_whole_paths(settings: Settings, model: ModelSettings) -> ModelSettings:
    """Files and folders relative to the settings' file, and not to where a command is typed."""

    def whole(name: str) -> str:
        return str(settings.resolve(name)) if name.startswith((".", "~")) else name

    network = model.network
    if network is not None:
        preprocess = network.preprocess and whole(network.preprocess)
        network = network.model_copy(update={"architecture": whole(network.architecture), "preprocess": preprocess})
    named = whole(model.model) if model.kind != "custom" else str(settings.resolve(model.model))
    return model.model_copy(update={"model": named, "network": network})


def _unknown_variables() -> list[str]:
    known = [ENV_PREFIX + name.upper() for name in Settings.model_fields]
    return [
        f"environment variable {name}: sets nothing here; unset it, or use one of {', '.join(known)}"
        for name in sorted(os.environ)
        if name.startswith(ENV_PREFIX) and name not in OTHER_VARIABLES and name.split("__")[0] not in known
    ]
