"""What all tests share: as many threads as there are cores, not that many in each worker; and S3 on loopback."""

import os

# Workers and the commands they start share the cores. Two OpenMP teams that wait for each other by spinning take
# fifteen times as long as one thread each. Set before torch or faiss is loaded, and inherited by subprocesses.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from embeddings_dagster_tests.storage_fixtures import s3, s3_server

__all__ = ["s3", "s3_server"]
