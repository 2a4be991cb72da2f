"""xmr_ray: distributed active learning for cross-modal (image-text) retrieval, on Ray."""

__version__ = "0.1.0"
