"""Any outside dataset to canonical record batches; the union here is the registry."""

from typing import Annotated

from pydantic import Field

from xmr_ray.readers.ingest import ingest
from xmr_ray.readers.npz import NpzReader
from xmr_ray.readers.parquet import ParquetReader
from xmr_ray.readers.source import Source
from xmr_ray.readers.synthetic import SyntheticReader

Reader = Annotated[NpzReader | ParquetReader | SyntheticReader, Field(discriminator="kind")]

__all__ = ["NpzReader", "ParquetReader", "Reader", "Source", "SyntheticReader", "ingest"]
