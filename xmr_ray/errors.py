"""The error tree: every error that xmr_ray raises on purpose.

    XmrError
    ├── ConfigError          a configuration key, kind or value that cannot be used
    ├── CorpusError          a corpus on disk that is missing, misaligned or damaged
    │   └── ReaderError      an outside dataset that cannot be read
    ├── LedgerError          labels, receipts and the budget
    ├── AnnotatorError       people cannot be asked, or their answers cannot be fetched
    ├── StrategyError        a strategy that was asked for what cannot be given
    ├── RetrievalError       embeddings that cannot be ranked
    ├── RunError             a run directory: locked, foreign, or of another configuration
    │   └── CheckpointError  networks on disk that cannot be loaded
    ├── TrainingError        a fit whose loss or weights are no numbers any more
    ├── ResourceError        what is asked of the cluster could stall or does not exist
    └── StorageError         reading or writing failed

A message says what was wrong, the value, what was expected, the first offending `pair_id` or path, and what to do next.
"""


class XmrError(Exception):
    """Root of every error that xmr_ray raises on purpose."""


class ConfigError(XmrError):
    """A configuration key, kind or value cannot be used."""


class CorpusError(XmrError):
    """A corpus on disk is missing, misaligned or damaged."""


class ReaderError(CorpusError):
    """An outside dataset cannot be read."""


class LedgerError(XmrError):
    """Labels, receipts or the budget contradict each other."""


class AnnotatorError(XmrError):
    """People cannot be asked, or their answers cannot be fetched."""


class StrategyError(XmrError):
    """A strategy was asked for what it cannot give."""


class RetrievalError(XmrError):
    """Embeddings cannot be ranked."""


class RunError(XmrError):
    """A run directory is locked, foreign, or belongs to another configuration."""


class CheckpointError(RunError):
    """Networks on disk cannot be loaded."""


class TrainingError(XmrError):
    """A fit cannot go on: its loss or its weights are not finite."""


class ResourceError(XmrError):
    """The resources asked for could stall the cluster or do not exist."""


class StorageError(XmrError):
    """Reading or writing storage failed."""
