"""Any outside dataset to canonical record batches; the union here is the registry."""

from typing import Annotated

from pydantic import Field

from xmr_ray.corpus.source import RawSource, Source
from xmr_ray.readers.feature_mat import FeatureMatReader
from xmr_ray.readers.feature_shards import FeatureShardsReader
from xmr_ray.readers.hf_dataset import HfDatasetReader
from xmr_ray.readers.ingest import ingest
from xmr_ray.readers.mirflickr import MirflickrReader
from xmr_ray.readers.ms_coco import MsCocoReader
from xmr_ray.readers.npz import NpzReader
from xmr_ray.readers.nus_wide import NusWideReader
from xmr_ray.readers.openclipart import OpenclipartReader
from xmr_ray.readers.parquet import ParquetReader
from xmr_ray.readers.pascal_sentence import PascalSentenceReader
from xmr_ray.readers.pascal_voc import PascalVocReader
from xmr_ray.readers.synthetic import SyntheticReader
from xmr_ray.readers.table import TableReader
from xmr_ray.readers.webdataset import WebdatasetReader
from xmr_ray.readers.wikipedia import WikipediaReader

Reader = Annotated[
    FeatureMatReader
    | FeatureShardsReader
    | HfDatasetReader
    | MirflickrReader
    | MsCocoReader
    | NpzReader
    | NusWideReader
    | OpenclipartReader
    | ParquetReader
    | PascalSentenceReader
    | PascalVocReader
    | SyntheticReader
    | TableReader
    | WebdatasetReader
    | WikipediaReader,
    Field(discriminator="kind"),
]

__all__ = [
    "FeatureMatReader",
    "FeatureShardsReader",
    "HfDatasetReader",
    "MirflickrReader",
    "MsCocoReader",
    "NpzReader",
    "NusWideReader",
    "OpenclipartReader",
    "ParquetReader",
    "PascalSentenceReader",
    "PascalVocReader",
    "RawSource",
    "Reader",
    "Source",
    "SyntheticReader",
    "TableReader",
    "WebdatasetReader",
    "WikipediaReader",
    "ingest",
]
