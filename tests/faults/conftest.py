"""Only `test_*.py` holds tests; the other files are programs, which import each other as such."""

collect_ignore_glob = ["[!t]*.py"]
