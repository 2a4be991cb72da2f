"""Any outside dataset to canonical record batches; the union here is the registry."""
