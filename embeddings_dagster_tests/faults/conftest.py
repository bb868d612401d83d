"""The command in this process, and an environment that leads nowhere else."""

from embeddings_dagster_tests.cli.conftest import _own_environment as _own_environment
from embeddings_dagster_tests.cli.conftest import command as command
