"""One formula per file; nothing here learns."""
