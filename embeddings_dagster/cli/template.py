"""The settings file that `init` writes: every key there is, the defaults commented out, a reason beside each.

A test holds it to the settings model: it parses, a line uncommented is still valid, and no key is missing.
"""

import itertools
import re
from collections.abc import Container, Mapping
from pathlib import Path

import yaml

HEAD = """\
# Settings of embeddings_dagster. Relative paths start from the folder of this file.
# A line that is commented out shows the default. An environment variable goes over any key, levels joined by
# two underscores: EMBEDDINGS_DATA=/big/disk, EMBEDDINGS_DAGSTER__GPU_POOL_LIMIT=2.

# The store: a folder, or an fsspec URL such as s3://bucket/prefix.
data: data

# Look-up tables and remembered checks. Always on a local disk; may be deleted at any time.
# cache: data/cache

# Images in a batch, the unit that is planned and committed. A new value moves no image that has its place.
# batch_images: 4096

# Where pictures come from. A source's name (a-z, 0-9, -) begins the id of each of its images: keep it.
sources:
"""

SOURCE = """\
  {name}:
    kind: folder
    path: {path}
    # prefix: ""                # put before each image's id
    # hidden: false             # take hidden files and folders too
    # follow_symlinks: false    # take links to files inside the folder; linked folders never
    # groups:                   # which pictures are to be alike, such as {{file: groups.csv}}; docs/analysis.md
"""

OTHER_KINDS = """\

  # The other kinds of source; docs/sources.md says more of each.
  #
  # shop:                       # a table of products or the like: CSV, TSV, JSON Lines or Parquet
  #   kind: catalog
  #   path: products.csv
  #   prefix: ""
  #   format: auto              # auto | csv | tsv | jsonl | parquet
  #   encoding: auto            # UTF-8, else Windows-1252
  #   columns:
  #     id: [product_id, id]    # the first that a row fills; else the number of the row
  #     image: [image_url]      # each that is filled is a picture of the item
  #   repeated: first           # first | last: which row counts where an id is repeated
  #   groups:                   # which pictures are to be alike:
  #     field: category         # a field of the records,
  #     file:                   # or instead a CSV of the columns id and group;
  #     margin: 0.02            # by which cosines within groups are above those across
  #   fields: {}                # metadata that becomes typed columns of raw_images, such as {price: number}
  #   text: []                  # metadata that is encoded as text, such as [title, description]
  #   download:
  #     enabled: true           # false: only what the cache has
  #     concurrency: 8          # downloads at one time,
  #     per_host: 4             # of them from one host
  #     requests_per_second:    # to one host, at most; empty: no limit
  #     connect_seconds: 10
  #     read_seconds: 20        # silence that is waited out
  #     total_seconds: 120      # for one picture with all of its retries
  #     retries: 3
  #     retry_seconds: 0.5      # before the first of them; then twice as long each time
  #     retry_after_seconds: 60 # a longer Retry-After is left to the next run
  #     redirects: 5
  #     respect_noai: true      # leave alone what asks for it: noai, noimageai, noindex, noimageindex
  #     user_agent: embeddings-dagster
  #     private_hosts: []       # names or addresses that may be private, such as [intranet.example.org]
  #
  # fashion:                    # batches that a scraper leaves: a folder each, with batch.json and pictures
  #   kind: scraped
  #   path: scraped
  #   prefix: ""
  #   fields: {}                # such as {price: number, brand: text, scraped_at: time}
  #   text: []                  # such as [title, description]
  #
  # comics:                     # pages with panels, by page specs
  #   kind: comics
  #   path: specs.txt           # a list of specs, or a folder of them
  #   images:                   # where the page images lie; empty: the folder of `path`
  #   batches: list             # list: cut in batches of batch_images | book: one for each parent folder
  #   prefix: ""
  #   fields: {}
"""

TAIL = """\

# Each model becomes two assets, <name>_embeddings and <name>_index. `bundled:clip` and `bundled:dino` come with the
# package; they are small, work offline, and know emoji. For real pictures put a hub id or a folder in their place,
# such as openai/clip-vit-base-patch32 or facebook/dinov2-small, and pin its revision.
models:
  clip:
    kind: clip                  # clip: finds by text and by image | dino: finds by image alone
    model: bundled:clip
    # revision: main            # a commit of the hub repository
    # device: auto              # auto | cpu | cuda | cuda:1 | mps
    # precision: fp32           # bf16, fp16: within .999 | int8: within .99, fastest on a CPU | auto: bf16 or fp32
    # backend: torch            # openvino: faster on a CPU; needs the extra of that name, and so does int8
    # preprocessing: exact      # as the model's own, bit for bit | fast: within a level of brightness
    # batch_size: auto          # regions; or a number; halved by itself when memory runs out
    # threads: 2                # that decode ahead of the model
    # streams:                  # batches encoded side by side; empty: one for each core
    # parity:                   # least cosine to float32 of the first images of a run; empty: 0.999, int8 0.99
    # calibration: 1            # raise it to calibrate int8 anew, on the pictures there are then
    # texts: true               # encode the texts of records too, as <name>_text
  dino:
    kind: dino
    model: bundled:dino
  # pages:                      # one's own network; docs/models.md
  #   kind: custom
  #   model: page_encoder.pth   # its weights: .pth (weights only) or .safetensors
  #   network:
  #     architecture: page_encoder:PageEncoder        # a module, or a file: ./page_encoder.py:PageEncoder
  #     arguments: {{}}
  #     dimension: 384
  #     image_size: 224
  #     resize: squash          # squash | crop | pad
  #     mean: [0, 0, 0]
  #     std: [1, 1, 1]
  #     preprocess:             # a function, named like the architecture, instead of the four above
  #     regions: alone          # alone | together: an image and its panels at once
  #     max_regions:            # of an image, itself included; empty: any number
  #     normalised: true        # scaled to length 1; false: as they come
  #     text: false             # it has encode_text

# Near-duplicates, the map of all pictures, and checks on both; docs/analysis.md.
# analysis:
#   model:                      # whose vectors; empty: the first of the models
#   duplicate_bits: 7           # of the 64 of a perceptual hash that may differ, and
#   duplicate_cosine: 0.93      # the least cosine, where two pictures are nearly the same
#   map_pictures: 1000          # on the map, chosen evenly

# How pixels are made. A new background makes every picture anew.
# rgb:
#   background: "#ffffff"
#   max_pixels: 100000000       # a larger picture is recorded as failed
#   max_bytes: 268435456        # and so is a larger file,
#   max_seconds: 60             # and one that takes longer to decode
#   thumbnail_size: 256

# A run that would remove more than both of a source stops and asks for --allow-removals.
# removals:
#   fraction: 0.2
#   images: 100

# What an index promises. It measures and tunes itself on your own pictures; what is set here counts for segments made
# from then on.
# index:
#   recall_target: 0.95         # mean share of the true ten best that a search finds; 1: every search is exact
#   hnsw_rows: 20000            # a segment with fewer rows is searched by comparing all of them, and exact
#   segment_rows: 1000000       # no segment is larger: bounds the memory and the time that making one takes

# What garbage collection leaves: each version until so long after a newer one came, and the newest few in any case.
# gc:
#   older_than_days: 7
#   keep: 3

# What Dagster is told.
# dagster:
#   gpu_pool_limit: {gpus}           # encoding steps at one time; default: the number of GPUs, or 1
#   batches_per_run: 1          # that a backfill gives to one run
#   sensor_seconds: 30          # between two looks at the sources
#   sensor_batches: 50          # runs asked for in one look, at most
#   reconcile_cron: "0 3 * * *" # when everything is compared with everything
#   refresh_cron: "0 4 * * 0"   # when the pictures of catalogues are asked for again
#   compact_cron: "15 * * * *"  # when segments of the indexes are merged, where any are due
#   analyse_cron: "0 5 * * *"   # when near-duplicates, the map and the canaries are looked at
#   gc_cron: "30 5 * * 0"       # when what nobody needs any more is taken away
#   max_retries: 3              # of what can heal
#   retry_seconds: 10           # before the first of them; then twice as long each time
#   owners: []                  # of the assets, such as ["me@example.org", "team:vision"]
#   op_tags: {{}}                 # for cluster launchers, such as {{"dagster-k8s/config": {{}}}}
"""


def render(sources: Mapping[str, str], *, gpus: int = 1) -> str:
    """The text of a new `embeddings.yaml` with a folder source for each (name, path)."""
    blocks = [SOURCE.format(name=scalar(name), path=scalar(path)) for name, path in sources.items()]
    return HEAD + "\n".join(blocks) + OTHER_KINDS + TAIL.format(gpus=gpus)


def scalar(text: str) -> str:
    """`text` as a YAML value, quoted where a bare one would be read as something else (`no`, `2024`)."""
    return yaml.safe_dump(text, width=1_000_000, allow_unicode=True).removesuffix("...\n").strip()


def source_name(folder: Path, taken: Container[str] = ()) -> str:
    """A valid name after the folder's own, numbered where it is taken."""
    base = re.sub(r"[^a-z0-9]+", "-", folder.name.lower()).strip("-") or "pictures"
    names = (base if number == 1 else f"{base}-{number}" for number in itertools.count(1))
    return next(name for name in names if name not in taken)
