"""Budget, ledger of receipts, annotators."""
