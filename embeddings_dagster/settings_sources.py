"""What the settings may say of a source, by kind. Its name and its place in the file are the business of `settings`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Section(BaseModel):
    """A part of the settings: unknown keys are mistakes, values do not change once read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


FieldType = Literal["text", "number", "integer", "boolean", "time"]
FieldName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Prefix = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]*$", description="put before each local id")]
Columns = list[str]


class GroupSettings(Section):
    """Which pictures belong together: those whose records have the same value of `field`, or by a CSV `file` with the
    columns id and group."""

    field: str | None = Field(None, min_length=1)
    file: Path | None = None
    margin: float = Field(0.02, ge=0, le=2, description="by which the mean cosine within groups is above that across")

    @model_validator(mode="after")
    def _says_one(self) -> Self:
        if (self.field is None) == (self.file is None):
            raise ValueError("groups come from a `field` of the records or from a `file`; give one of the two")
        return self


class AnySource(Section):
    """What a source of any kind may say."""

    path: Path
    prefix: Prefix = ""
    groups: GroupSettings | None = Field(None, description="whose pictures are to be alike; see docs/analysis.md")


class RecordSource(AnySource):
    """A source whose pictures have records."""

    fields: dict[FieldName, FieldType] = Field(
        default_factory=dict, description="metadata that becomes a typed column `meta_<name>` of raw_images"
    )


class ItemSource(RecordSource):
    """A source of items that have fields of their own."""

    text: list[str] = Field(
        default_factory=list, description="metadata whose words are the text of an item's pictures, such as its title"
    )

    @property
    def carries_text(self) -> bool:
        """Whether its records may carry text."""
        return bool(self.text)


class FolderSource(AnySource):
    """Every decodable picture below a folder."""

    kind: Literal["folder"]
    hidden: bool = Field(False, description="take hidden files and folders too")
    follow_symlinks: bool = Field(False, description="take links to files inside the folder; never linked folders")

    @property
    def carries_text(self) -> bool:
        """Files have no records, so they carry none."""
        return False


class ScrapedSource(ItemSource):
    """Batches that a scraper leaves in a folder: a JSON file of items each, their pictures beside it."""

    kind: Literal["scraped"]


class CatalogColumns(Section):
    """Which columns of a catalogue mean what; the first of a list that a row fills is taken."""

    id: Columns = Field(default=["product_id", "id"], description="else the number of the row")
    image: Columns = Field(default=["image_url"], description="each one that is filled is a picture of the item")


class DownloadSettings(Section):
    """How pictures are fetched. Private addresses are refused unless they are named in `private_hosts`."""

    enabled: bool = Field(True, description="fetch what the cache lacks; `run --no-download` for one run")
    concurrency: int = Field(8, ge=1, le=64, description="downloads at one time")
    per_host: int = Field(4, ge=1, le=64, description="of them from one host")
    requests_per_second: float | None = Field(None, gt=0, description="to one host, at most; default: no limit")
    connect_seconds: float = Field(10, gt=0)
    read_seconds: float = Field(20, gt=0, description="silence that is waited out")
    total_seconds: float = Field(120, gt=0, description="for one picture, with all of its retries")
    retries: int = Field(3, ge=0, le=10)
    retry_seconds: float = Field(0.5, ge=0, description="before the first retry; then twice as long each time")
    retry_after_seconds: float = Field(60, ge=0, description="a longer Retry-After is left to the next run")
    redirects: int = Field(5, ge=0, le=20)
    respect_noai: bool = Field(True, description="heed an X-Robots-Tag of noai, noimageai, noindex or noimageindex")
    user_agent: str = Field("embeddings-dagster", min_length=1)
    private_hosts: list[str] = Field(default_factory=list, description="names or addresses allowed to be private")


class CatalogSource(ItemSource):
    """A table of products or the like, with the addresses of their pictures."""

    kind: Literal["catalog"]
    format: Literal["auto", "csv", "tsv", "jsonl", "parquet"] = "auto"
    encoding: str = Field("auto", description="of CSV, TSV and JSONL; auto: UTF-8, else Windows-1252")
    columns: CatalogColumns = CatalogColumns()
    repeated: Literal["first", "last"] = Field("first", description="which row counts where an id is repeated")
    download: DownloadSettings = DownloadSettings()


class ComicsSource(RecordSource):
    """Pages by page specs (`path`: a list file, or a folder of specs), with panels and their text."""

    kind: Literal["comics"]
    images: Path | None = Field(None, description="where the page images lie; default: the folder of `path`")
    batches: Literal["list", "book"] = Field("list", description="cut the list, or one batch for each parent folder")

    @property
    def carries_text(self) -> bool:
        """Panels and pages have what is said in them."""
        return True


Source = Annotated[FolderSource | ScrapedSource | CatalogSource | ComicsSource, Field(discriminator="kind")]


def places(source: Source) -> Iterator[tuple[str, Path, frozenset[str]]]:
    """The paths a source names, by key, and what may lie there."""
    file, folder = frozenset({"file"}), frozenset({"folder"})
    if isinstance(source, CatalogSource):
        yield "path", source.path, file
    elif isinstance(source, ComicsSource):
        yield "path", source.path, file | folder
        if source.images is not None:
            yield "images", source.images, folder
    else:
        yield "path", source.path, folder
    if source.groups is not None and source.groups.file is not None:
        yield "groups", source.groups.file, file


def missing(path: Path, kinds: frozenset[str]) -> str:
    """What is wrong with a path that should be there; nothing, if it is."""
    if (path.is_dir() and "folder" in kinds) or (path.is_file() and "file" in kinds):
        return ""
    return f"is not a {' or '.join(sorted(kinds))}" if path.exists() else "does not exist"
